/* SPDX-License-Identifier: Apache-2.0 */
/* The maps of the steering program. layout.rs mirrors every struct and number here; addresses and ports are in
 * network byte order. */

#ifndef SHEAVE_MAPS_H
#define SHEAVE_MAPS_H

#include "bpf.h"

// Queues of one interface; a power of two. mod.rs: QUEUES_PER_PORT.
#define QUEUES_PER_PORT 64
#define PORTS 128

// The family is part of the key: no IPv6 packet can pretend to come from an IPv4 address.
struct address {
	__be32 word[4]; // IPv4: the first
	__u32 family;   // 4 or 6
};

// What an address is to us, as bits of `struct entry.roles`.
enum role {
	VIP = 1 << 0,
	OWN = 1 << 1,           // of the director itself
	TUNNEL_SOURCE = 1 << 2, // what the director's tunnels begin at
	TUNNEL_IP = 1 << 3,     // a destination by IP in IP
	TUNNEL_GRE = 1 << 4,    // a destination by GRE
};

// What has ports, besides. Of each kind the roles hold four bits, `enum ported` shifted by the kind.
enum kind {
	SERVICE = 8, // packets to it are ours
	REAL = 12,   // a NAT destination: packets from it are ours
	GUE = 16,    // a destination by GUE
};

enum ported {
	SOME_TCP = 1 << 0, // at least one port
	SOME_UDP = 1 << 1,
	EVERY_TCP = 1 << 2, // no need to look the port up
	EVERY_UDP = 1 << 3,
};

struct entry {
	__u32 roles;
	__u32 unused;
	__u64 full_at; // of a VIP: its bucket, see flood.h
};

struct endpoint {
	struct address addr;
	__be16 port;
	__u8 proto;
	__u8 kind;
};

struct port {
	__u32 base;    // of its queues in `xsks`
	__u32 generic; // whether reinjected frames come by again
};

// Nanoseconds: what a new connection costs, and what a bucket holds. No cost, no limit.
struct limit {
	__u64 cost, depth;
};

struct limits {
	struct limit source, vip;
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

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	TYPE(key, struct address);
	TYPE(value, struct entry);
	UINT(max_entries, 131072);
	UINT(map_flags, BPF_F_NO_PREALLOC);
} addresses SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_HASH);
	TYPE(key, struct endpoint);
	TYPE(value, __u8);
	UINT(max_entries, 131072);
	UINT(map_flags, BPF_F_NO_PREALLOC);
} endpoints SEC(".maps");

struct {
	UINT(type, BPF_MAP_TYPE_ARRAY);
	TYPE(key, __u32);
	TYPE(value, struct limits);
	UINT(max_entries, 1);
} limits SEC(".maps");

// The least recently seen source gives way to a new one: a flood from more sources than this is the VIP's bucket's.
struct {
	UINT(type, BPF_MAP_TYPE_LRU_HASH);
	TYPE(key, struct address);
	TYPE(value, __u64); // full_at
	UINT(max_entries, 65536);
} sources SEC(".maps");

enum counter { TAKEN, PASSED, NO_SOCKET, LET_THROUGH, REINJECTED, FLOOD_SOURCE, FLOOD_VIP, COUNTERS };

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

#endif
