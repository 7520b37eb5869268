// SPDX-License-Identifier: Apache-2.0
//
// The steering program: takes what the director serves to the AF_XDP socket of the queue, and passes everything
// else to the kernel. It never changes a frame, and drops only new connections beyond a limit that is set.
//
//      frame --> ours? --no--> XDP_PASS --> the kernel's stack
//                  | yes                         ^
//                  v                             | tc ingress redirect (reinject, below)
//        a connection too many? --yes--> XDP_DROP
//                  | no                          |
//                  v                             |
//             socket on this queue? --no--> XDP_PASS
//                  | yes                         |
//                  v                             |
//             AF_XDP RX ring --> worker --pass--> TAP
//
// Ours is, behind up to two 802.1Q or 802.1ad tags, IPv4 and IPv6 alike:
// - ARP and neighbour discovery about a VIP, also another station's claim to it;
// - TCP and UDP to a service, or from a NAT destination to an address that is not the director's own; of later
//   fragments, which have no ports, those between the same addresses;
// - echo requests and ICMP errors to a VIP; errors about packets to a NAT destination; errors to a tunnel's source
//   about packets in that tunnel. ICMP in fragments is the kernel's.
//
// What cannot be read is the kernel's too: a frame that ends early, a seventh extension header, a third tag. The
// program is a filter: lengths, checksums, hop limits and hardware addresses are the worker's to judge. Only the
// frame's bytes are seen: a tag that the hardware (or veth) has taken off into the descriptor is not there.
//
//      bpf.h  maps.h     what the kernel and the maps offer
//      packet.h          bytes to headers
//      ours.h            headers and sets to a judgement
//      flood.h           limits
//
// A frame that a worker passes goes into a TAP device, whose ingress program sends it on into the receive path of
// the interface that it came in on. With native XDP that is behind the steering program. With generic XDP it is
// before it, so the frame is marked (by a hash) to be let through once.

#include "flood.h"
#include "maps.h"
#include "ours.h"

#define HASHED_WORDS 12

// Of the frame's beginning, which holds addresses, ids, sequence numbers and checksums.
INLINE __u64 hash(void *data, void *end)
{
	__u64 h = 0x9e3779b97f4a7c15ull;
	__u64 *words = data;

#pragma unroll
	for (int i = 0; i < HASHED_WORDS; i++) {
		if ((void *)(words + i + 1) > end)
			break;
		h = (h ^ words[i]) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	return h;
}

INLINE int is_marked(void *data, void *end)
{
	__u64 key = hash(data, end);
	__u32 *times = map_lookup(&marks, &key);

	if (!times)
		return 0;
	// Two CPUs in a race let one frame too many through, or one come by again: both mend themselves.
	if (*times > 1)
		*times -= 1;
	else
		map_delete(&marks, &key);
	return 1;
}

INLINE void mark(void *data, void *end)
{
	__u64 key = hash(data, end);
	__u32 *times = map_lookup(&marks, &key);
	__u32 once = 1;

	if (times)
		*times += 1;
	else
		map_update(&marks, &key, &once, BPF_ANY);
}

INLINE int pass(__u32 why)
{
	count(why);
	return XDP_PASS;
}

INLINE int steer_frame(struct xdp_md *ctx)
{
	const struct frame frame = { ctx, (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	struct judgement judgement = {};
	__u32 ifindex = ctx->ingress_ifindex;
	struct port *port;
	long verdict;

	judge(&judgement, &frame);
	if (!judgement.ours)
		return pass(PASSED);
	port = map_lookup(&ports, &ifindex);
	if (!port || ctx->rx_queue_index >= QUEUES_PER_PORT)
		return pass(NO_SOCKET);
	if (port->generic && is_marked(frame.data, frame.end))
		return pass(LET_THROUGH);
	if (judgement.opened) {
		__u32 limit = exceeded(&judgement.src, judgement.opened);

		if (limit != COUNTERS) {
			count(limit);
			return XDP_DROP;
		}
	}
	verdict = redirect_map(&xsks, port->base + ctx->rx_queue_index, XDP_PASS);
	count(verdict == XDP_REDIRECT ? TAKEN : NO_SOCKET);
	return verdict;
}

SEC("xdp")
int steer(struct xdp_md *ctx)
{
	return steer_frame(ctx);
}

// For interfaces whose MTU is beyond a page: frames in several buffers reach the kernel, none is taken.
SEC("xdp.frags")
int steer_frags(struct xdp_md *ctx)
{
	return steer_frame(ctx);
}

SEC("classifier")
int reinject(struct __sk_buff *skb)
{
	__u32 tap = skb->ifindex;
	__u32 *target = map_lookup(&pass_targets, &tap);
	struct port *port;
	__u32 ifindex;

	if (!target)
		return 2; // TC_ACT_SHOT: no interface to put it on
	ifindex = *target;
	port = map_lookup(&ports, &ifindex);
	if (port && port->generic) {
		pull_data(skb, skb->len < HASHED_WORDS * 8 ? skb->len : HASHED_WORDS * 8);
		mark((void *)(long)skb->data, (void *)(long)skb->data_end);
	}
	count(REINJECTED);
	return redirect(ifindex, BPF_F_INGRESS);
}

// No helper used here is for programs under the GPL only.
char LICENSE[] SEC("license") = "Apache-2.0";
