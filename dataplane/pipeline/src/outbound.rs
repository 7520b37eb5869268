//! Packets from NAT destinations to clients.

use crate::context::{Account, Context};
use crate::entry::Reply;
use crate::ids::RealId;
use crate::inbound::Gone;
use crate::keeper::destination_of;
use crate::parse::Packet;
use crate::reason::Reason;
use crate::rewrite;
use crate::tcp_state::Seen;
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_proto::wire::icmpv4;
use std::net::{IpAddr, Ipv4Addr};

impl Context<'_> {
    /// Handles a packet from the address and port of a NAT destination. Without a connection it is the real
    /// server's own business.
    pub(crate) fn outbound(&mut self, frame: Frame, packet: &Packet, real: RealId) -> Verdict {
        let found = self.table().get(&packet.key, packet.hash);
        let connection =
            found.and_then(|found| self.keeper().replied(packet.key, real, Reply::from(found.payload)));
        let Some((connection, (listen, service))) =
            connection.and_then(|c| Some((c, self.snapshot.serving(c.listen()?)?)))
        else {
            return self.end(frame, Reason::NoEntry);
        };
        let entry = connection.entry();
        if entry.expired(&service.timeouts, self.tick) || listen.proto != packet.proto {
            return self.end(frame, Reason::NoEntry);
        }
        if destination_of(self.snapshot, listen.service, entry).is_none() {
            return self.end(frame, Reason::Removed).of(listen.service);
        }
        let named = |verdict: Verdict| verdict.of(listen.service).to(entry.destination);
        if packet.ip.ttl <= 1 {
            let reasons = [Reason::TtlExceeded, Reason::TtlExceededQuiet];
            let source = self.own_address(&frame);
            return named(self.error(frame, &packet.ip, source, icmpv4::Error::TimeExceeded, reasons));
        }
        let IpAddr::V4(vip) = listen.vip else {
            return self.end(frame, Reason::NoEntry);
        };
        let Some((hop, mtu)) = self
            .snapshot
            .next_hop(packet.ip.dst.into())
            .and_then(|hop| Some((hop, self.snapshot.interface(hop.port)?.mtu)))
        else {
            return named(self.end(frame, Reason::NoRoute));
        };
        if let Err(Gone) = self.touch(connection, packet, Seen::Out) {
            return self.end(frame, Reason::NoEntry);
        }
        if packet.ip.total_len > usize::from(mtu) {
            let source = self.own_address(&frame);
            return named(self.too_large(frame, packet, mtu, source));
        }
        let mut frame = frame;
        match rewrite::nat_out(&mut frame, packet, (vip, listen.port)) {
            Ok(()) => {
                let (service, destination) = (listen.service, entry.destination);
                let account = Account { service, destination, outbound: true, bytes: packet.bytes() };
                self.forward(frame, hop, account)
            }
            Err(reason) => named(self.end(frame, reason)),
        }
    }

    /// The director's address on the interface that a frame came in on: what it answers real servers from.
    fn own_address(&self, frame: &Frame) -> Option<Ipv4Addr> {
        self.snapshot.interface(frame.ingress())?.addresses.first().copied()
    }
}
