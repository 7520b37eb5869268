/* SPDX-License-Identifier: Apache-2.0 */
/* From bytes to headers. Every parser says 0 for what it cannot read to the end; nothing here knows what is ours.
 * Places are offsets, not pointers: the verifier forgets how it came to a number, and has fewer ways to follow. */

#ifndef SHEAVE_PACKET_H
#define SHEAVE_PACKET_H

#include "maps.h"
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#define MAX_TAGS 2
#define MAX_EXTENSIONS 6

// Which part of its datagram a packet is.
enum part {
	WHOLE,
	FIRST, // with ports, without the end
	LATER, // without ports
};

// The frame, and the context from which functions that are not inlined take it again.
struct frame {
	struct xdp_md *ctx;
	void *data, *end;
};

struct packet {
	struct address src, dst;
	__u32 payload; // behind the IP headers, from the frame's first byte; of a later part nothing to look at
	__u32 part;
	__u8 proto;
};

// The ports stand first in TCP and UDP alike.
struct l4ports {
	__be16 src, dst;
};

// Beyond all that two walks over extension headers can reach. The verifier wants to see it.
#define MAX_OFFSET 0x7fff

// `size` bytes from an offset on, or nothing where the frame ends before.
INLINE void *bytes_at(const struct frame *frame, __u32 offset, __u32 size)
{
	void *at = frame->data + (offset & MAX_OFFSET);

	return at + size > frame->end ? 0 : at;
}

struct tag {
	__be16 tci, type;
};

// Past at most two 802.1Q or 802.1ad tags: the offset of what they stand before, and its type.
INLINE int skip_tags(const struct frame *frame, __u32 *at, __be16 *type)
{
#pragma unroll
	for (int i = 0; i < MAX_TAGS; i++) {
		struct tag *tag;

		if (*type != be16(ETH_P_8021Q) && *type != be16(ETH_P_8021AD))
			break;
		tag = bytes_at(frame, *at, sizeof(*tag));
		if (!tag)
			return 0;
		*type = tag->type;
		*at += sizeof(*tag);
	}
	return 1;
}

INLINE struct address address_v4(__be32 addr)
{
	struct address address = { .word = { addr, 0, 0, 0 }, .family = 4 };

	return address;
}

INLINE struct address address_v6(const struct in6_addr *addr)
{
	struct address address;

	__builtin_memcpy(address.word, addr, sizeof(address.word));
	address.family = 6;
	return address;
}

#define MORE_FRAGMENTS 0x2000
#define FRAGMENT_OFFSET 0x1fff

INLINE int parse_ipv4(struct packet *packet, const struct frame *frame, __u32 at)
{
	struct iphdr *ip = bytes_at(frame, at, sizeof(*ip));

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return 0;
	packet->src = address_v4(ip->saddr);
	packet->dst = address_v4(ip->daddr);
	packet->proto = ip->protocol;
	packet->payload = at + ((__u32)ip->ihl << 2);
	packet->part = WHOLE;
	if (ip->frag_off & be16(FRAGMENT_OFFSET))
		packet->part = LATER;
	else if (ip->frag_off & be16(MORE_FRAGMENTS))
		packet->part = FIRST;
	return 1;
}

// Headers between IPv6 and what it carries (RFC 8200 §4; IANA's list). All begin alike and have eight bytes at least.
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, DESTINATION = 60 };

struct extension {
	__u8 next;
	__u8 len;       // behind the first eight bytes, in units of eight (authentication: behind two units of four)
	__be16 more;    // fragment: offset and flag; routing: type and segments left
	__be32 rest;
};

#define MORE_FRAGMENTS_V6 0x0001
#define FRAGMENT_OFFSET_V6 0xfff8
#define SEGMENTS_LEFT 0x00ff

INLINE int is_extension(__u32 next)
{
	return next == HOP_BY_HOP || next == ROUTING || next == FRAGMENT || next == AUTHENTICATION ||
	       next == DESTINATION;
}

// What a walk over extension headers ends with, as one number: a function that is not inlined returns no more.
#define UNREADABLE (~0u)
#define WALKED(at, part, next) ((at) << 16 | (part) << 8 | (next))
#define WALKED_AT(walked) ((walked) >> 16)
#define WALKED_PART(walked) ((walked) >> 8 & 0xff)
#define WALKED_NEXT(walked) ((walked) & 0xff)

// Over at most MAX_EXTENSIONS headers from `at` on, the first of which is a `next`. Not inlined, and global: so the
// verifier looks at it once, not once for every way to it.
//
// Of a later fragment the protocol is the one that its own header names, which may be a further extension header.
__attribute__((noinline)) __u32 walk_extensions(struct xdp_md *ctx, __u32 at, __u32 next)
{
	const struct frame frame = { ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	__u32 fragmented = 0, part = WHOLE;

	for (int i = 0; i < MAX_EXTENSIONS && is_extension(next) && part != LATER; i++) {
		struct extension *extension = bytes_at(&frame, at, sizeof(*extension));
		__u32 len = 8;

		if (!extension)
			return UNREADABLE;
		if (next == FRAGMENT) {
			if (fragmented)
				return UNREADABLE;
			fragmented = 1;
			if (extension->more & be16(FRAGMENT_OFFSET_V6))
				part = LATER;
			else if (extension->more & be16(MORE_FRAGMENTS_V6))
				part = FIRST;
		} else if (next == AUTHENTICATION) {
			if (!extension->len)
				return UNREADABLE;
			len += (__u32)extension->len << 2;
		} else {
			// RFC 8200 §4.3: hop-by-hop options come first. With segments left, the packet is on its
			// way to somewhere else still: routing is the kernel's.
			if (next == HOP_BY_HOP && i)
				return UNREADABLE;
			if (next == ROUTING && (extension->more & be16(SEGMENTS_LEFT)))
				return UNREADABLE;
			len += (__u32)extension->len << 3;
		}
		next = extension->next;
		at += len;
	}
	if (is_extension(next) && part != LATER)
		return UNREADABLE;
	return WALKED(at & MAX_OFFSET, part, next & 0xff);
}

INLINE int parse_ipv6(struct packet *packet, const struct frame *frame, __u32 at)
{
	struct ipv6hdr *ip = bytes_at(frame, at, sizeof(*ip));
	__u32 walked;

	if (!ip || ip->version != 6)
		return 0;
	packet->src = address_v6(&ip->saddr);
	packet->dst = address_v6(&ip->daddr);
	packet->part = WHOLE;
	packet->proto = ip->nexthdr;
	packet->payload = at + sizeof(*ip);
	if (!is_extension(ip->nexthdr))
		return 1;
	walked = walk_extensions(frame->ctx, packet->payload, ip->nexthdr);
	packet->part = WALKED_PART(walked);
	packet->proto = WALKED_NEXT(walked);
	packet->payload = WALKED_AT(walked);
	return walked != UNREADABLE;
}

#endif
