/* SPDX-License-Identifier: Apache-2.0 */
/* New connections beyond their rate are dropped here, before they cost a worker anything. A new connection is a TCP
 * packet with SYN and without ACK to a service; UDP has no such sign and is not limited.
 *
 * A bucket of tokens is kept as one number, the time at which it will be full again: a connection moves that time
 * ahead by its cost, and finds the bucket empty where that would be further than the bucket is deep. CPUs that draw
 * from one bucket at once may lose a draw, and so admit a little more than they should; none waits for another. */

#ifndef SHEAVE_FLOOD_H
#define SHEAVE_FLOOD_H

#include "maps.h"

INLINE int draw(__u64 *full_at, const struct limit *limit, __u64 now)
{
	__u64 empty = now + limit->depth;
	__u64 full = *full_at > now ? *full_at : now;

	if (full + limit->cost <= empty) {
		*full_at = full + limit->cost;
		return 1;
	}
	// Empty under an earlier, longer limit must not mean closed under this one.
	if (full > empty)
		*full_at = empty;
	return 0;
}

// A source is an IPv4 address or an IPv6 network of 64 bits, within which a host may take any address it likes.
INLINE int draw_source(struct address source, const struct limit *limit, __u64 now)
{
	__u64 first = now + limit->cost;
	__u64 *full_at;

	if (source.family == 6)
		source.word[2] = source.word[3] = 0;
	full_at = map_lookup(&sources, &source);
	if (full_at)
		return draw(full_at, limit, now);
	// That there is no room for it is no reason to refuse it.
	map_update(&sources, &source, &first, BPF_ANY);
	return 1;
}

// The counter of the limit that a new connection exceeds, or COUNTERS. The source's limit comes first: what one
// source has too many does not use up the share of the others at the VIP.
INLINE __u32 exceeded(const struct address *source, struct entry *vip)
{
	__u32 only = 0;
	struct limits *limit = map_lookup(&limits, &only);
	__u64 now;

	if (!limit || !(limit->source.cost | limit->vip.cost))
		return COUNTERS;
	now = monotonic_ns();
	if (limit->source.cost && !draw_source(*source, &limit->source, now))
		return FLOOD_SOURCE;
	if (limit->vip.cost && !draw(&vip->full_at, &limit->vip, now))
		return FLOOD_VIP;
	return COUNTERS;
}

#endif
