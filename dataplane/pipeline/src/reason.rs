//! Every outcome of a packet that is not a plain forward, once: its name, its verdict, its help text.
//!
//! The counters, `sheave counters`, docs/counters.md and replay's `reason` all come from this table. Adding a
//! reason is adding a row here, and a test that reaches it.

use crate::verdict::VerdictKind;

macro_rules! reasons {
    ($($variant:ident $kind:ident $name:literal $help:literal;)+) => {
        /// Why a packet had another outcome than a plain forward.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $help] $variant,)+
        }

        impl Reason {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)+];

            /// The name: in counters, on the command line, in replay.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)+ }
            }

            /// One sentence for operators.
            pub const fn help(self) -> &'static str {
                match self { $(Reason::$variant => $help,)+ }
            }

            /// The verdict that this reason belongs to.
            pub const fn kind(self) -> VerdictKind {
                match self { $(Reason::$variant => VerdictKind::$kind,)+ }
            }
        }
    };
}

reasons! {
    // Left to the kernel.
    NotOurs             Pass "not-ours" "no service, destination or VIP of ours is concerned";
    NotOurMac           Pass "not-our-mac" "sent to another station's unicast address";
    NotOurProtocol      Pass "not-our-protocol" "a protocol that the director does not handle";
    NoService           Pass "no-service" "for a VIP, but no service listens on this port";
    NoEntry             Pass "no-entry" "TCP other than a SYN, or a reply of a real server, without a connection";
    OwnAddress          Pass "own-address" "a real server's answer to one of the director's own addresses";
    ArpSeen             Pass "arp-seen" "ARP that is not for a VIP, or an answer that was learned from";
    IcmpNotOurs         Pass "icmp-not-ours" "ICMP that concerns no connection of ours";
    FragmentNotOurs     Pass "fragment-not-ours" "a fragment of a datagram that is left to the kernel";
    LocalNode           Pass "local-node" "the director's own stack is the destination";
    NdpSeen             Pass "ndp-seen" "neighbour discovery that is not for a VIP, or an answer that was learned from";
    // Answered by the director itself.
    ArpReply            Reply "arp-reply" "ARP request for a VIP, answered";
    NdpReply            Reply "ndp-reply" "neighbour solicitation for a VIP, answered";
    EchoReply           Reply "echo-reply" "ICMP echo request to a VIP, answered";
    NoDestination       Reply "no-destination" "no usable destination: port unreachable sent";
    TtlExceeded         Reply "ttl-exceeded" "time to live ran out: time exceeded sent";
    FragNeeded          Reply "frag-needed" "too large for the way out and may not be fragmented: told the sender";
    TunnelError         Reply "tunnel-error" "an ICMP error about a packet in a tunnel of ours: told the client what it means to it";
    Reset               Reply "reset" "the connection's destination was removed or failed: reset sent";
    SynCookie           Reply "syn-cookie" "a SYN answered with a cookie: the real server hears of the client when it has shown that it exists";
    SynProxied          Reply "syn-proxied" "a packet of a connection that the SYN proxy is making: told the other end what it needs";
    // Handed to the control thread.
    VipConflict         Punt "vip-conflict" "another station claims a VIP";
    // Kept back.
    Resolving           Hold "resolving" "waits for the next hop's hardware address";
    FragmentEarly       Hold "fragment-early" "a fragment that came before the first one of its datagram: waits for it";
    // Dropped: malformed.
    ArpMalformed        Drop "arp-malformed" "ARP cut short or with impossible lengths";
    NdpMalformed        Drop "ndp-malformed" "neighbour discovery from beyond the link, cut short or contradictory";
    IpTruncated         Drop "ip-truncated" "IP header cut short";
    IpVersion           Drop "ip-version" "IP version does not match the Ethernet type";
    IpHeaderLength      Drop "ip-header-length" "IP header length below 20 or beyond the packet";
    IpExtensions        Drop "ip-extension-headers" "IPv6 extension headers that are cut short, too many or misplaced";
    IpTotalLength       Drop "ip-total-length" "IP total length contradicts the header or the frame";
    IpChecksum          Drop "ip-checksum" "wrong IP header checksum";
    Martian             Drop "martian-source" "source is loopback, multicast, broadcast, unspecified or the VIP itself";
    FragmentMalformed   Drop "fragment-malformed" "an empty fragment, one of a length that none but the last has, or one beyond the longest datagram";
    FragmentTiny        Drop "fragment-tiny" "a fragment that ends or begins within the transport header";
    FragmentOverlap     Drop "fragment-overlap" "a fragment that overlaps another, and all others of its datagram after it";
    FragmentDuplicate   Drop "fragment-duplicate" "a fragment that is here already";
    FragmentTooMany     Drop "fragment-too-many" "a datagram of too many fragments, or too many that came before the first one";
    TcpTruncated        Drop "tcp-truncated" "TCP header cut short";
    TcpOffset           Drop "tcp-data-offset" "TCP data offset below 5 or beyond the segment";
    TcpFlags            Drop "tcp-flags" "a TCP segment that would open a connection and close it at once (SYN with FIN)";
    TcpChecksum         Drop "tcp-checksum" "wrong TCP checksum of a packet that the SYN proxy would answer";
    UdpTruncated        Drop "udp-truncated" "UDP header cut short";
    UdpLength           Drop "udp-length" "UDP length below 8 or beyond the packet";
    IcmpTruncated       Drop "icmp-truncated" "ICMP message cut short";
    IcmpChecksum        Drop "icmp-checksum" "wrong ICMP checksum";
    IcmpQuote           Drop "icmp-quote" "an ICMP error to a VIP whose quoted packet is cut short or contradicts itself";
    // Dropped: cannot serve now.
    NoDestinationQuiet  Drop "no-destination-quiet" "no usable destination, and the error was rate limited or not allowed";
    TtlExceededQuiet    Drop "ttl-exceeded-quiet" "time to live ran out, and the error was rate limited or not allowed";
    FragNeededQuiet     Drop "frag-needed-quiet" "too large, and the error was rate limited or not allowed";
    TunnelErrorQuiet    Drop "tunnel-error-quiet" "an ICMP error about a packet in a tunnel of ours: nothing to tell the client, or it was rate limited";
    FragmentNoRoom      Drop "fragment-no-room" "too many datagrams whose fragments are on their way";
    FragmentUnmatched   Drop "fragment-unmatched" "the first fragment of its datagram did not come in time";
    FragmentRefused     Drop "fragment-refused" "a fragment of a datagram whose first fragment was dropped or answered";
    Removed             Drop "destination-removed" "the connection's destination was removed or failed, and no reset is sent: by on-removal, or rate limited";
    Flood               Drop "flood" "a new connection that needs an entry, while more begin than the director takes entries for";
    CookieWrong         Drop "cookie-wrong" "in flood mode: TCP without a connection that acknowledges no SYN cookie of ours";
    SynProxyWaits       Drop "syn-proxy-waits" "a packet of a connection whose real server has not answered the SYN proxy yet, or not well";
    SynProxyFull        Drop "syn-proxy-full" "too many connections wait for their real servers' answer to the SYN proxy";
    TableFull           Drop "table-full" "the connection table has no room for a new connection";
    SideRecordsFull     Drop "side-records-full" "no room for what the director must remember of this connection beside its entry";
    EntryBusy           Drop "entry-busy" "another worker is just making this connection's entry";
    NatTupleInUse       Drop "nat-tuple-in-use" "every destination is already in use by this client and port through another service";
    NoRoute             Drop "no-route" "no route to the next hop";
    HoldFull            Drop "hold-full" "too many packets wait for hardware addresses";
    Unresolved          Drop "unresolved" "the next hop's hardware address was not learned in time";
    NoFrame             Drop "no-frame" "no free frame for an answer, or for all fragments of a packet that is too large for its way out";
    NoRoom              Drop "no-room" "no room in the frame for the outer header";
    PortGone            Drop "port-gone" "the interface that it should leave by is gone or has no queue";
    TxFull              Drop "tx-full" "the way out is full";
    HandoffFull         Drop "handoff-full" "the ring to the worker that owns the way out is full";
    PassQueueFull       Drop "pass-queue-full" "the way back to the kernel is full";
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_spelled_alike() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(
            names
                .iter()
                .all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
        );
        assert!(Reason::ALL.iter().enumerate().all(|(i, r)| *r as usize == i));
    }
}
