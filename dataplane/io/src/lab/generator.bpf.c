// SPDX-License-Identifier: Apache-2.0
//
// The laboratory's packet generator: run by BPF_PROG_RUN on live frames, it makes each one a packet of the schedule
// and sends it out of an interface. Never attached to anything.
//
//      schedule[position] --> flow, rank, count, shape        shapes[shape] --> a header, its sums, a length
//                                  |                                  |
//                                  v                                  v
//      source address and port, sequence number         everything else of the packet
//
// The kernel recycles the frames' pages without restoring them, and whoever received the frame may have rewritten its
// header: so the whole header is written every time. What lies behind it is written once, by the kernel, from the
// pattern that BPF_PROG_RUN is given.
//
// The structures are mirrored in generator.rs.

#include <linux/bpf.h>

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define be16(x) __builtin_bswap16(x)
#define be32(x) __builtin_bswap32(x)

#define UINT(name, value) int(*name)[value]
#define TYPE(name, type) type *name

static void *(*const map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static __u64 (*const ktime)(void) = (void *)BPF_FUNC_ktime_get_ns;
static long (*const adjust_tail)(struct xdp_md *ctx, int delta) = (void *)BPF_FUNC_xdp_adjust_tail;
static long (*const redirect)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect;

#define HEADER 96
#define SHAPES 8
#define ENTRIES (1 << 20)

// generator.rs: PORT_BITS, FIRST_PORT.
#define PORT_BITS 14
#define FIRST_PORT 1024

struct config {
	__u64 interval;   // between packets, in 1/256 ns; 0: as fast as possible
	__u64 slack;      // how far behind its schedule it may catch up, in the same unit
	__u32 ifindex;    // out of which interface
	__u32 entries;    // of the schedule in use
	__u32 first_host; // the last 32 bits of flow 0's address, in host order
	__u32 settled;    // flows below are the same in each round
	__u32 fresh;      // the others of a round lie so many beyond those of the last
	__u32 opening;    // added to the shape's number in the first round
	__u32 canvas;     // bytes of a frame as it comes
	__u32 unused;
};

struct state {
	__u64 due; // when the next packet is, in 1/256 ns
	__u64 sent;
	__u64 bytes;
	__u64 late;  // packets that were left out because they were too far behind
	__u64 early; // frames that were not used because no packet was due
	__u64 first; // when the first and the last packet were sent, in ns
	__u64 last;
	__u32 position;
	__u32 round;
};

struct entry {
	__u32 flow;
	__u32 rank;  // how many packets of this flow come before it in a round
	__u32 count; // how many there are in a round
	__u32 shape;
};

struct shape {
	__u32 length;
	__u32 ip_sum; // of the header as it stands here, not folded, in the machine's order
	__u32 l4_sum; // the same of the pseudo-header, the header and the payload
	__u32 unused;
	__u8 header[HEADER];
};

#define ARRAY(name, valuetype, entries)                                                                              \
	struct {                                                                                                     \
		UINT(type, BPF_MAP_TYPE_ARRAY);                                                                      \
		TYPE(key, __u32);                                                                                    \
		TYPE(value, valuetype);                                                                              \
		UINT(max_entries, entries);                                                                          \
	} name SEC(".maps")

ARRAY(config, struct config, 1);
ARRAY(state, struct state, 1);
ARRAY(schedule, struct entry, ENTRIES);
ARRAY(shapes, struct shape, SHAPES);

// Words at any address: the compiler would go byte by byte, but where this runs no access has to be aligned.
#define PUT(type, to, value) (*(type *)(void *)(to) = (value))

INLINE void copy(__u8 *to, const __u8 *from, __u32 bytes)
{
	__u32 at = 0;

#pragma unroll
	for (; at + 8 <= bytes; at += 8)
		PUT(__u64, to + at, *(const __u64 *)(from + at));
	if (bytes & 4) {
		PUT(__u32, to + at, *(const __u32 *)(from + at));
		at += 4;
	}
	if (bytes & 2)
		PUT(__u16, to + at, *(const __u16 *)(from + at));
}

INLINE __u16 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

INLINE __u64 halves(__u32 word)
{
	return (__u64)(word & 0xffff) + (word >> 16);
}

// Whether a packet is due.
INLINE int is_due(struct config *c, struct state *s, __u64 now)
{
	__u64 fine = now << 8;

	if (!c->interval)
		return 1;
	if (!s->due)
		s->due = fine;
	if (fine < s->due) {
		s->early += 1;
		return 0;
	}
	if (fine - s->due > c->slack) {
		s->late += (fine - s->due) / c->interval;
		s->due = fine;
	}
	s->due += c->interval;
	return 1;
}

struct places {
	__u32 header; // bytes up to the end of the stamp
	__u32 source; // last 32 bits of the source address
	__u32 ip_sum; // 0: none
	__u32 l4_sum;
	__u32 port;
	__u32 seq; // stamp: sequence number (4), time (8)
	int udp;
};

INLINE int generate(struct xdp_md *ctx, const struct places at)
{
	__u32 zero = 0, number;
	struct config *c = map_lookup(&config, &zero);
	struct state *s = map_lookup(&state, &zero);
	struct entry *e;
	struct shape *shape;
	__u64 now = ktime();
	__u32 flow, seq, host;
	__u16 port, check;
	__u64 sum;
	__u8 *data;

	if (!c || !s || !is_due(c, s, now))
		return XDP_DROP;
	if (s->position >= c->entries) {
		s->position = 0;
		s->round += 1;
	}
	e = map_lookup(&schedule, &s->position);
	if (!e)
		return XDP_DROP;
	number = e->shape + (s->round ? 0 : c->opening);
	shape = map_lookup(&shapes, &number);
	if (!shape)
		return XDP_DROP;
	if (adjust_tail(ctx, (int)shape->length - (int)c->canvas))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	if ((void *)(data + at.header) > (void *)(long)ctx->data_end)
		return XDP_DROP;

	flow = e->flow;
	seq = be32(s->round * e->count + e->rank);
	if (flow >= c->settled) {
		flow += s->round * c->fresh;
		seq = 0;
	}
	host = be32(c->first_host + (flow >> PORT_BITS));
	port = be16(FIRST_PORT + (flow & ((1 << PORT_BITS) - 1)));

	copy(data, shape->header, at.header);
	PUT(__u32, data + at.source, host);
	PUT(__u16, data + at.port, port);
	PUT(__u32, data + at.seq, seq);
	PUT(__u64, data + at.seq + 4, now);
	if (at.ip_sum)
		PUT(__u16, data + at.ip_sum, ~folded(shape->ip_sum + halves(host)));
	sum = (__u64)shape->l4_sum + halves(host) + port + halves(seq) + halves(now) + halves(now >> 32);
	check = ~folded(sum);
	if (at.udp && !check)
		check = 0xffff;
	PUT(__u16, data + at.l4_sum, check);

	s->position += 1;
	s->sent += 1;
	s->bytes += shape->length;
	if (!s->first)
		s->first = now;
	s->last = now;
	return redirect(c->ifindex, 0);
}

#define PROGRAM(name, ...)                                                                                           \
	SEC("xdp") int name(struct xdp_md *ctx)                                                                      \
	{                                                                                                            \
		return generate(ctx, (struct places){ __VA_ARGS__ });                                                \
	}

PROGRAM(udp4, .header = 54, .source = 26, .ip_sum = 24, .l4_sum = 40, .port = 34, .seq = 42, .udp = 1)
PROGRAM(tcp4, .header = 66, .source = 26, .ip_sum = 24, .l4_sum = 50, .port = 34, .seq = 54, .udp = 0)
PROGRAM(udp6, .header = 74, .source = 34, .ip_sum = 0, .l4_sum = 60, .port = 54, .seq = 62, .udp = 1)
PROGRAM(tcp6, .header = 86, .source = 34, .ip_sum = 0, .l4_sum = 70, .port = 54, .seq = 74, .udp = 0)

char LICENSE[] SEC("license") = "Apache-2.0";
