/* SPDX-License-Identifier: Apache-2.0 */
/* What is ours, by what the addresses of a packet are to us and by the endpoints that listen or answer there. */

#ifndef SHEAVE_OURS_H
#define SHEAVE_OURS_H

#include "packet.h"

// What a frame is.
struct judgement {
	__u32 ours;
	struct address src;
	struct entry *opened; // the VIP at which it opens a connection, if it does
};

INLINE __u32 roles_of(const struct address *addr)
{
	struct entry *entry = map_lookup(&addresses, addr);

	return entry ? entry->roles : 0;
}

INLINE int has_ports(__u8 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP;
}

// Whether `port` at an address with these roles is of this kind. The protocol has ports.
INLINE int is_endpoint(enum kind kind, __u32 roles, const struct address *addr, __be16 port, __u8 proto)
{
	__u32 udp = proto == IPPROTO_UDP;
	struct endpoint key = { .addr = *addr, .port = port, .proto = proto, .kind = kind };

	if (roles & ((udp ? EVERY_UDP : EVERY_TCP) << kind))
		return 1;
	if (!(roles & ((udp ? SOME_UDP : SOME_TCP) << kind)))
		return 0;
	return map_lookup(&endpoints, &key) != 0;
}

// Whether any port there may be meant by a later fragment: it does not say which, nor always by which protocol.
INLINE int may_be_endpoint(enum kind kind, __u32 roles, __u8 proto)
{
	__u32 either = 0;

	if (proto == IPPROTO_TCP || is_extension(proto))
		either |= SOME_TCP;
	if (proto == IPPROTO_UDP || is_extension(proto))
		either |= SOME_UDP;
	return (roles & (either << kind)) != 0;
}

// Whether the kernel's own connections live there. A VIP is ours even where the operator has given it to the kernel.
INLINE int is_kernels(__u32 roles)
{
	return (roles & OWN) && !(roles & VIP);
}

#define TCP_FLAGS 13
#define TCP_SYN 0x02
#define TCP_ACK 0x10

// A TCP packet that wants a connection. One too short to say so is the worker's to refuse.
INLINE int opens(const struct packet *packet, const struct frame *frame)
{
	__u8 *flags;

	if (packet->proto != IPPROTO_TCP)
		return 0;
	flags = bytes_at(frame, packet->payload + TCP_FLAGS, sizeof(*flags));
	return flags && (*flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

INLINE void judge_later(struct judgement *judgement, const struct packet *packet, __u32 to)
{
	judgement->ours = may_be_endpoint(SERVICE, to, packet->proto);
	if (!judgement->ours && !is_kernels(to))
		judgement->ours = may_be_endpoint(REAL, roles_of(&packet->src), packet->proto);
}

INLINE void judge_ports(struct judgement *judgement, const struct packet *packet, struct entry *dst,
			const struct frame *frame)
{
	struct l4ports *ports = bytes_at(frame, packet->payload, sizeof(*ports));
	__u32 to = dst ? dst->roles : 0;

	if (!ports)
		return;
	if (dst && is_endpoint(SERVICE, to, &packet->dst, ports->dst, packet->proto)) {
		judgement->ours = 1;
		if (opens(packet, frame)) {
			judgement->opened = dst;
			judgement->src = packet->src;
		}
		return;
	}
	if (is_kernels(to))
		return;
	judgement->ours =
		is_endpoint(REAL, roles_of(&packet->src), &packet->src, ports->src, packet->proto);
	// All fragments of a datagram go one way, and the later ones do not say to which port.
	if (!judgement->ours && packet->part == FIRST)
		judge_later(judgement, packet, to);
}

// Whether a quoted packet is one that the director put into a tunnel.
INLINE int is_tunnelled(const struct packet *quoted, const struct l4ports *ports, __u32 to)
{
	switch (quoted->proto) {
	case IPPROTO_IPIP:
	case IPPROTO_IPV6:
		return (to & TUNNEL_IP) != 0;
	case IPPROTO_GRE:
		return (to & TUNNEL_GRE) != 0;
	case IPPROTO_UDP:
		return ports && is_endpoint(GUE, to, &quoted->dst, ports->dst, quoted->proto);
	}
	return 0;
}

// An error that a VIP does not get is ours by the packet that it quotes: one that went into a tunnel, or on to a NAT
// destination. What else is sent to the director's own addresses is about the kernel's connections.
INLINE int quotes_ours(const struct packet *quoted, __u32 outer_to, const struct frame *frame)
{
	struct l4ports *ports = 0;
	__u32 to = roles_of(&quoted->dst);

	if (has_ports(quoted->proto) && quoted->part != LATER)
		ports = bytes_at(frame, quoted->payload, sizeof(*ports));
	if ((outer_to & TUNNEL_SOURCE) && is_tunnelled(quoted, ports, to))
		return 1;
	if (is_kernels(outer_to) || !ports)
		return 0;
	return is_endpoint(REAL, to, &quoted->dst, ports->dst, quoted->proto);
}

struct icmp {
	__u8 type, code;
	__be16 check;
	__be32 rest;
};

// RFC 792. (linux/icmp.h wants the headers of the C library.)
enum { UNREACHABLE = 3, SOURCE_QUENCH = 4, ECHO_REQUEST = 8, TIME_EXCEEDED = 11, PARAMETER_PROBLEM = 12 };

INLINE int icmpv4_is_ours(const struct packet *packet, __u32 to, const struct frame *frame)
{
	struct icmp *icmp = bytes_at(frame, packet->payload, sizeof(*icmp));
	struct packet quoted;

	if (packet->part != WHOLE || !icmp)
		return 0;
	switch (icmp->type) {
	case ECHO_REQUEST:
		return to & VIP;
	case UNREACHABLE:
	case SOURCE_QUENCH:
	case TIME_EXCEEDED:
	case PARAMETER_PROBLEM:
		if (to & VIP)
			return 1;
		return parse_ipv4(&quoted, frame, packet->payload + sizeof(*icmp)) && quotes_ours(&quoted, to, frame);
	}
	return 0;
}

// RFC 4443 and RFC 4861. The types of errors are those below 128.
enum { FIRST_INFORMATIONAL = 128, ECHO_REQUEST_V6 = 128, SOLICITATION = 135, ADVERTISEMENT = 136 };

struct neighbour_discovery {
	struct icmp icmp;
	struct in6_addr target;
};

// Announcements included: the director must see another station that claims its VIP.
INLINE int discovery_is_ours(const struct packet *packet, const struct frame *frame)
{
	struct neighbour_discovery *discovery = bytes_at(frame, packet->payload, sizeof(*discovery));
	struct address target;

	if (packet->proto != IPPROTO_ICMPV6 || packet->part != WHOLE || !discovery)
		return 0;
	if (discovery->icmp.type != SOLICITATION && discovery->icmp.type != ADVERTISEMENT)
		return 0;
	target = address_v6(&discovery->target);
	return roles_of(&target) & VIP;
}

INLINE int icmpv6_is_ours(const struct packet *packet, __u32 to, const struct frame *frame)
{
	struct icmp *icmp = bytes_at(frame, packet->payload, sizeof(*icmp));
	struct packet quoted;

	if (packet->part != WHOLE || !icmp)
		return 0;
	if (icmp->type == ECHO_REQUEST_V6)
		return to & VIP;
	if (icmp->type >= FIRST_INFORMATIONAL)
		return discovery_is_ours(packet, frame);
	if (to & VIP)
		return 1;
	return parse_ipv6(&quoted, frame, packet->payload + sizeof(*icmp)) && quotes_ours(&quoted, to, frame);
}

INLINE void judge_ip(struct judgement *judgement, const struct packet *packet, const struct frame *frame)
{
	struct entry *dst = map_lookup(&addresses, &packet->dst);
	__u32 to = dst ? dst->roles : 0;

	if (packet->dst.family == 4 && packet->proto == IPPROTO_ICMP)
		judgement->ours = icmpv4_is_ours(packet, to, frame);
	else if (packet->dst.family == 6 && packet->proto == IPPROTO_ICMPV6)
		judgement->ours = icmpv6_is_ours(packet, to, frame);
	else if (packet->part == LATER)
		judge_later(judgement, packet, to);
	else if (has_ports(packet->proto))
		judge_ports(judgement, packet, dst, frame);
}

// RFC 826, for Ethernet and IPv4. The addresses are not aligned.
struct arp {
	__be16 htype, ptype;
	__u8 hlen, plen;
	__be16 op;
	__u8 sha[ETH_ALEN], spa[4], tha[ETH_ALEN], tpa[4];
} __attribute__((packed));

INLINE int is_vip_v4(const __u8 *bytes)
{
	struct address address;
	__be32 addr;

	__builtin_memcpy(&addr, bytes, sizeof(addr));
	address = address_v4(addr);
	return roles_of(&address) & VIP;
}

// Announcements included, as with neighbour discovery.
INLINE int arp_is_ours(const struct frame *frame, __u32 at)
{
	struct arp *arp = bytes_at(frame, at, sizeof(*arp));

	if (!arp)
		return 0;
	if (arp->htype != be16(1) || arp->ptype != be16(ETH_P_IP) || arp->hlen != ETH_ALEN || arp->plen != 4)
		return 0;
	if (arp->op != be16(1) && arp->op != be16(2))
		return 0;
	return is_vip_v4(arp->tpa) || is_vip_v4(arp->spa);
}

// Broadcast and multicast are never load balanced; of them only ARP and neighbour discovery are looked at. Whether a
// unicast hardware address is ours is for the worker.
INLINE void judge(struct judgement *judgement, const struct frame *frame)
{
	struct ethhdr *eth = bytes_at(frame, 0, sizeof(*eth));
	__u32 at = sizeof(*eth);
	struct packet packet;
	__u32 to_many;
	__be16 type;

	if (!eth)
		return;
	type = eth->h_proto;
	to_many = eth->h_dest[0] & 1;
	if (!skip_tags(frame, &at, &type))
		return;
	if (type == be16(ETH_P_ARP)) {
		judgement->ours = arp_is_ours(frame, at);
	} else if (type == be16(ETH_P_IP) && !to_many) {
		if (parse_ipv4(&packet, frame, at))
			judge_ip(judgement, &packet, frame);
	} else if (type == be16(ETH_P_IPV6)) {
		if (!parse_ipv6(&packet, frame, at))
			return;
		if (to_many)
			judgement->ours = discovery_is_ours(&packet, frame);
		else
			judge_ip(judgement, &packet, frame);
	}
}

#endif
