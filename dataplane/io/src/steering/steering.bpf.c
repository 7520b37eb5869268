// SPDX-License-Identifier: Apache-2.0
//
// The steering program: takes what the director serves to the AF_XDP socket of the queue, and passes everything
// else to the kernel. It never drops and never changes a frame.
//
//      frame --> ours? --no--> XDP_PASS --> the kernel's stack
//                  | yes                         ^
//                  v                             | tc ingress redirect (reinject, below)
//             socket on this queue? --no--> XDP_PASS
//                  | yes                         |
//                  v                             |
//             AF_XDP RX ring --> worker --pass--> TAP
//
// Ours is: ARP about a VIP; IPv4 TCP and UDP to a service, or from a NAT destination to an address that is not the
// director's own; echo requests to a VIP; ICMP errors about packets of these. Not ours, for now: IPv6, tagged
// frames, fragments.
//
// A frame that a worker passes goes into a TAP device, whose ingress program sends it on into the receive path of
// the interface that it came in on. With native XDP that is behind the steering program. With generic XDP it is
// before it, so the frame is marked (by a hash) to be let through once.
//
// Maps and their value types are mirrored in mod.rs; all addresses and ports are in network byte order.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define be16(x) __builtin_bswap16(x)

// BTF-defined maps: the loader reads these members' types, not their values.
#define UINT(name, value) int(*name)[value]
#define TYPE(name, type) type *name

static void *(*const map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const map_update)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static long (*const map_delete)(void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;
static long (*const redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;
static long (*const redirect)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect;
static long (*const pull_data)(struct __sk_buff *skb, __u32 len) = (void *)BPF_FUNC_skb_pull_data;

// Queues of one interface; a power of two. mod.rs: QUEUES_PER_PORT.
#define QUEUES_PER_PORT 64
#define PORTS 128

struct endpoint {
	__be32 addr;
	__be16 port;
	__u8 proto;
	__u8 zero;
};

struct port {
	__u32 base;    // of its queues in `xsks`
	__u32 generic; // whether reinjected frames come by again
};

struct {
	UINT(type, BPF_MAP_TYPE_XSKMAP);
	TYPE(key, __u32);
	TYPE(value, __u32);
	UINT(max_entries, PORTS * QUEUES_PER_PORT);
} xsks SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	TYPE(key, __u32); // ifindex
	TYPE(value, struct port);
	UINT(max_entries, PORTS);
} ports SEC(".maps");

#define SET(name, keytype, entries)                                                                                  \
	struct {                                                                                                     \
		UINT(type, BPF_MAP_TYPE_HASH);                                                                       \
		TYPE(key, keytype);                                                                                  \
		TYPE(value, __u8);                                                                                   \
		UINT(max_entries, entries);                                                                          \
		UINT(map_flags, BPF_F_NO_PREALLOC);                                                                  \
	} name SEC(".maps")

SET(services, struct endpoint, 65536);
SET(reals, struct endpoint, 65536);
SET(vips, __be32, 16384);
SET(own, __be32, 4096);

enum counter { TAKEN, PASSED, NO_SOCKET, LET_THROUGH, REINJECTED, COUNTERS };

struct {
	UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	TYPE(key, __u32);
	TYPE(value, __u64);
	UINT(max_entries, COUNTERS);
} counters SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	TYPE(key, __u32);   // ifindex of the TAP
	TYPE(value, __u32); // ifindex that its frames came in on
	UINT(max_entries, PORTS);
} pass_targets SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_LRU_HASH);
	TYPE(key, __u64);   // hash of a reinjected frame
	TYPE(value, __u32); // how often it is still to be let through
	UINT(max_entries, 4096);
} marks SEC(".maps");

INLINE void count(__u32 which)
{
	__u64 *counter = map_lookup(&counters, &which);

	if (counter)
		*counter += 1;
}

INLINE int is_vip(__be32 addr)
{
	return map_lookup(&vips, &addr) != 0;
}

INLINE int is_own(__be32 addr)
{
	return map_lookup(&own, &addr) != 0;
}

INLINE int is_service(__be32 addr, __be16 port, __u8 proto)
{
	struct endpoint key = { .addr = addr, .port = port, .proto = proto };

	return map_lookup(&services, &key) != 0;
}

INLINE int is_real(__be32 addr, __be16 port, __u8 proto)
{
	struct endpoint key = { .addr = addr, .port = port, .proto = proto };

	return map_lookup(&reals, &key) != 0;
}

// RFC 826, for Ethernet and IPv4. The addresses are not aligned.
struct arp {
	__be16 htype, ptype;
	__u8 hlen, plen;
	__be16 op;
	__u8 sha[ETH_ALEN], spa[4], tha[ETH_ALEN], tpa[4];
} __attribute__((packed));

INLINE __be32 address(const __u8 *bytes)
{
	__be32 addr;

	__builtin_memcpy(&addr, bytes, sizeof(addr));
	return addr;
}

// Announcements included: the director must see another station that claims its VIP.
INLINE int arp_is_ours(void *data, void *end)
{
	struct arp *arp = data;

	if ((void *)(arp + 1) > end)
		return 0;
	if (arp->htype != be16(1) || arp->ptype != be16(ETH_P_IP) || arp->hlen != ETH_ALEN || arp->plen != 4)
		return 0;
	if (arp->op != be16(1) && arp->op != be16(2))
		return 0;
	return is_vip(address(arp->tpa)) || is_vip(address(arp->spa));
}

// The ports stand first in TCP and UDP alike.
struct l4ports {
	__be16 src, dst;
};

INLINE void *behind(struct iphdr *ip)
{
	return (void *)ip + ((__u32)ip->ihl << 2);
}

// An error is ours by the packet that it quotes: one that a VIP sent to a client, or one that went on to a NAT
// destination. Quotations in errors to the director's own addresses are about the kernel's connections.
INLINE int error_is_ours(void *data, void *end, __be32 to)
{
	struct iphdr *inner = data;
	struct l4ports *ports;

	if ((void *)(inner + 1) > end || inner->version != 4 || inner->ihl < 5)
		return 0;
	if (inner->protocol != IPPROTO_TCP && inner->protocol != IPPROTO_UDP)
		return 0;
	if (inner->frag_off & be16(0x1fff))
		return 0;
	ports = behind(inner);
	if ((void *)(ports + 1) > end)
		return 0;
	if (is_service(inner->saddr, ports->src, inner->protocol))
		return 1;
	return is_real(inner->daddr, ports->dst, inner->protocol) && (!is_own(to) || is_vip(to));
}

// RFC 792. (linux/icmp.h wants the headers of the C library.)
enum { UNREACHABLE = 3, SOURCE_QUENCH = 4, ECHO_REQUEST = 8, TIME_EXCEEDED = 11, PARAMETER_PROBLEM = 12 };

struct icmp {
	__u8 type, code;
	__be16 check;
	__be32 rest;
};

INLINE int icmp_is_ours(void *data, void *end, __be32 to)
{
	struct icmp *icmp = data;

	if ((void *)(icmp + 1) > end)
		return 0;
	switch (icmp->type) {
	case ECHO_REQUEST:
		return is_vip(to);
	case UNREACHABLE:
	case SOURCE_QUENCH:
	case TIME_EXCEEDED:
	case PARAMETER_PROBLEM:
		return error_is_ours(icmp + 1, end, to);
	}
	return 0;
}

INLINE int ipv4_is_ours(void *data, void *end)
{
	struct iphdr *ip = data;
	struct l4ports *ports;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return 0;
	// More fragments, or an offset.
	if (ip->frag_off & be16(0x3fff))
		return 0;
	if (ip->protocol == IPPROTO_ICMP)
		return icmp_is_ours(behind(ip), end, ip->daddr);
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return 0;
	ports = behind(ip);
	if ((void *)(ports + 1) > end)
		return 0;
	if (is_service(ip->daddr, ports->dst, ip->protocol))
		return 1;
	return is_real(ip->saddr, ports->src, ip->protocol) && !is_own(ip->daddr);
}

INLINE int is_ours(void *data, void *end)
{
	struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return 0;
	if (eth->h_proto == be16(ETH_P_ARP))
		return arp_is_ours(eth + 1, end);
	// Broadcast and multicast are never load balanced. Whether a unicast address is ours is for the worker.
	if (eth->h_proto == be16(ETH_P_IP) && !(eth->h_dest[0] & 1))
		return ipv4_is_ours(eth + 1, end);
	return 0;
}

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
	void *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	__u32 ifindex = ctx->ingress_ifindex;
	struct port *port;
	long verdict;

	if (!is_ours(data, end))
		return pass(PASSED);
	port = map_lookup(&ports, &ifindex);
	if (!port || ctx->rx_queue_index >= QUEUES_PER_PORT)
		return pass(NO_SOCKET);
	if (port->generic && is_marked(data, end))
		return pass(LET_THROUGH);
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
