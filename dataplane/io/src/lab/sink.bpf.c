// SPDX-License-Identifier: Apache-2.0
//
// The laboratory's sink: counts what arrives at an interface, copies a sample of it to user space with the time of its
// arrival, and drops it.
//
// sink_tc hangs on the ingress of the kernel's receive path, which on veth costs the sender less than native XDP: that
// has to move frames which were sent by a socket into memory of its own first. sink_xdp is for real devices.
// take gives everything to the AF_XDP socket of the queue.
//
// The structures are mirrored in sink.rs.

#include <linux/bpf.h>
#include <linux/if_ether.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define be16(x) __builtin_bswap16(x)

#define UINT(name, value) int(*name)[value]
#define TYPE(name, type) type *name

static void *(*const map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*const ktime)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*const load_skb)(const void *skb, __u32 at, void *to, __u32 len) = (void *)BPF_FUNC_skb_load_bytes;
static long (*const load_xdp)(struct xdp_md *ctx, __u32 at, void *to, __u32 len) = (void *)BPF_FUNC_xdp_load_bytes;
static void *(*const reserve)(void *ring, __u64 size, __u64 flags) = (void *)BPF_FUNC_ringbuf_reserve;
static void (*const submit)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_submit;
static void (*const discard)(void *data, __u64 flags) = (void *)BPF_FUNC_ringbuf_discard;
static long (*const redirect_map)(void *map, __u64 key, __u64 flags) = (void *)BPF_FUNC_redirect_map;

// Waking the reader would cost the sender, on whose processor this runs; the reader looks by itself.
#define NO_WAKEUP 1

#define DROP 2 // TC_ACT_SHOT
#define GO_ON 0xffffffff // TC_ACT_UNSPEC

#define BROADCAST 1 // PACKET_BROADCAST
#define MULTICAST 2 // PACKET_MULTICAST

#define SMALL 112
#define LARGE 2032

struct config {
	__u32 port_at; // where the client's port stands in a frame
	__u32 mask;    // a flow is sampled when its port has none of these bits
	__u32 every;   // of the sampled flows' packets, which: those whose number has none of these bits
	__u32 aside;   // the end of a hardware address: frames to it are counted apart and never sampled; 0: none
};

struct counts {
	__u64 packets;
	__u64 bytes;
	__u64 others;  // neither IPv4 nor IPv6, or to a group: left alone
	__u64 sampled;
	__u64 lost;    // samples for which there was no room
	__u64 first;   // time of the first and the last packet
	__u64 last;
	__u64 aside;   // packets set aside, which are not among the others
};

struct record {
	__u64 time;
	__u32 length;
	__u32 unused;
	__u8 bytes[];
};

struct {
	UINT(type, BPF_MAP_TYPE_ARRAY);
	TYPE(key, __u32);
	TYPE(value, struct config);
	UINT(max_entries, 1);
} config SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	TYPE(key, __u32);
	TYPE(value, struct counts);
	UINT(max_entries, 1);
} counts SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_RINGBUF);
	UINT(max_entries, 1 << 25);
} samples SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_XSKMAP);
	TYPE(key, __u32);
	TYPE(value, __u32);
	UINT(max_entries, 64);
} sockets SEC(".maps");

#define LOAD(ctx, at, to, len) (xdp ? load_xdp(ctx, at, to, len) : load_skb(ctx, at, to, len))

// A reservation has a constant size; most packets fit the small one.
#define SAMPLE(room)                                                                                                 \
	do {                                                                                                         \
		struct record *r = reserve(&samples, sizeof(*r) + (room), 0);                                        \
		if (!r) {                                                                                            \
			n->lost += 1;                                                                                \
			return;                                                                                      \
		}                                                                                                    \
		r->time = now;                                                                                       \
		r->length = len;                                                                                     \
		r->unused = 0;                                                                                       \
		if (LOAD(ctx, 0, r->bytes, len)) {                                                                   \
			n->lost += 1;                                                                                \
			discard(r, 0);                                                                               \
			return;                                                                                      \
		}                                                                                                    \
		n->sampled += 1;                                                                                     \
		submit(r, NO_WAKEUP);                                                                                        \
	} while (0)

INLINE void count(void *ctx, __u32 len, struct counts *n, const int xdp)
{
	__u32 zero = 0;
	struct config *c = map_lookup(&config, &zero);
	__u16 port = 0;
	__u32 station = 0;
	__u64 now;

	if (c && c->aside && !LOAD(ctx, 2, &station, 4) && station == c->aside) {
		n->aside += 1;
		return;
	}
	n->packets += 1;
	n->bytes += len;
	if (!c)
		return;
	if (c->mask && (LOAD(ctx, c->port_at, &port, 2) || (be16(port) & c->mask)))
		return;
	if (n->packets & c->every)
		return;
	now = ktime();
	if (!n->first)
		n->first = now;
	n->last = now;
	if (len >= 14 && len <= SMALL) {
		SAMPLE(SMALL);
	} else if (len > SMALL && len <= LARGE) {
		SAMPLE(LARGE);
	} else {
		n->lost += 1;
	}
}

// Whether it is for the sink to count, and to drop. What stations say to groups they say unasked.
INLINE struct counts *taken(__be16 type, int to_group)
{
	__u32 zero = 0;
	struct counts *n = map_lookup(&counts, &zero);

	if (!n)
		return 0;
	if (!to_group && (type == be16(ETH_P_IP) || type == be16(ETH_P_IPV6)))
		return n;
	n->others += 1;
	return 0;
}

SEC("classifier") int sink_tc(struct __sk_buff *skb)
{
	struct counts *n = taken(skb->protocol, skb->pkt_type == BROADCAST || skb->pkt_type == MULTICAST);

	if (!n)
		return GO_ON;
	count(skb, skb->len, n, 0);
	return DROP;
}

SEC("xdp") int sink_xdp(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct counts *n;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	n = taken(eth->h_proto, eth->h_dest[0] & 1);
	if (!n)
		return XDP_PASS;
	count(ctx, ctx->data_end - ctx->data, n, 1);
	return XDP_DROP;
}

SEC("xdp") int take(struct xdp_md *ctx)
{
	return redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS);
}

char LICENSE[] SEC("license") = "Apache-2.0";
