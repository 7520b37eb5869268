// SPDX-License-Identifier: Apache-2.0
//
// Strips the outer header of tunnelled packets, IPv4 or IPv6 in IPv4 or IPv6, as the tunnel devices of a real server
// would, for kernels that have none. Everything else passes as it came.
//
//     | Ethernet 14 | outer IPv4 20 or IPv6 40 | inner ... |   ->   | Ethernet 14 | inner ... |

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#define SEC(name) __attribute__((section(name), used))
#define IPIP 4
#define IPV6 41

static long (*bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) = (void *)BPF_FUNC_xdp_adjust_head;

// The bytes of the outer header, and in `inner` the protocol of what is inside; 0 if it is no tunnelled packet.
static __attribute__((always_inline)) int outer(struct xdp_md *ctx, __u8 *inner)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *v4 = (void *)(eth + 1);
	struct ipv6hdr *v6 = (void *)(eth + 1);

	if ((void *)(v4 + 1) > end)
		return 0;
	if (eth->h_proto == __builtin_bswap16(ETH_P_IP) && v4->ihl == 5) {
		*inner = v4->protocol;
		return sizeof(*v4);
	}
	if ((void *)(v6 + 1) > end || eth->h_proto != __builtin_bswap16(ETH_P_IPV6))
		return 0;
	*inner = v6->nexthdr;
	return sizeof(*v6);
}

SEC("xdp")
int decap(struct xdp_md *ctx)
{
	struct ethhdr *eth;
	struct ethhdr kept;
	__u8 inner = 0;
	int strip = outer(ctx, &inner);

	if (!strip || (inner != IPIP && inner != IPV6))
		return XDP_PASS;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	kept = *eth;
	kept.h_proto = __builtin_bswap16(inner == IPIP ? ETH_P_IP : ETH_P_IPV6);
	if (bpf_xdp_adjust_head(ctx, strip))
		return XDP_DROP;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	*eth = kept;
	return XDP_PASS;
}

char _license[] SEC("license") = "Apache-2.0";
