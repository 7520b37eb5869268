// SPDX-License-Identifier: Apache-2.0
//
// Strips the outer header of IP-in-IP (protocol 4) packets, as the ipip device of a tunnelled real server
// would, for kernels that have no such device. Everything else passes as it came.
//
//     | Ethernet 14 | outer IPv4 20 | inner IPv4 ... |   ->   | Ethernet 14 | inner IPv4 ... |

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>

#define SEC(name) __attribute__((section(name), used))

static long (*bpf_xdp_adjust_head)(struct xdp_md *ctx, int delta) = (void *)BPF_FUNC_xdp_adjust_head;

SEC("xdp")
int decap(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *outer = (void *)(eth + 1);
	struct ethhdr kept;

	if ((void *)(outer + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	if (eth->h_proto != __builtin_bswap16(ETH_P_IP) || outer->ihl != 5 || outer->protocol != 4)
		return XDP_PASS;

	kept = *eth;
	if (bpf_xdp_adjust_head(ctx, sizeof(*outer)))
		return XDP_DROP;
	eth = (void *)(long)ctx->data;
	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	*eth = kept;
	return XDP_PASS;
}

char _license[] SEC("license") = "Apache-2.0";
