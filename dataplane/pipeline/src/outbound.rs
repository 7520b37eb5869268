//! Packets from NAT destinations to clients.

use crate::answer::Problem;
use crate::connect::Chosen;
use crate::context::{Account, Context};
use crate::entry::Reply;
use crate::ids::{DestId, RealId};
use crate::inbound::Aside;
use crate::keeper::{ASIDE, Connection, at_home, destination_aside, destination_of};
use crate::key::KeyParts;
use crate::mss::Way;
use crate::packet::Packet;
use crate::parse::out_key;
use crate::reason::Reason;
use crate::rewrite;
use crate::side::{Home, Kind};
use crate::snapshot::Listen;
use crate::tcp_state::Seen;
use crate::transition::Gone;
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_proto::wire::tcp::TcpFlags;
use std::net::IpAddr;

/// Whose packet it is.
#[derive(Clone, Copy)]
struct Of<'s> {
    listen: &'s Listen,
    connection: Connection,
    /// What becomes of it when the connection ends meanwhile.
    gone: Reason,
}

impl Context<'_> {
    /// Handles a packet from the address and port of a NAT destination. Without a connection it is the real
    /// server's own business.
    #[inline(always)]
    pub(crate) fn outbound(&mut self, frame: Frame, packet: &Packet, real: RealId) -> Verdict {
        let Some((connection, (listen, service))) =
            self.replied(packet, real).and_then(|c| Some((c, self.snapshot.serving(c.key.listen()?)?)))
        else {
            return self.end(frame, Reason::NoEntry);
        };
        let entry = connection.entry();
        if entry.expired(&service.timeouts, self.tick) || listen.proto != packet.proto {
            return self.end(frame, Reason::NoEntry);
        }
        let of = Of { listen, connection, gone: Reason::NoEntry };
        if entry.flags.intersects(ASIDE) {
            return self.outbound_aside(frame, packet, of);
        }
        let home = Home { destination: entry.destination, generation: entry.generation };
        let kept = || destination_aside(self.shared, self.snapshot, listen.service, &connection);
        let Some((id, _)) = at_home(self.snapshot, listen.service, home).or_else(kept) else {
            return self.end(frame, Reason::Removed).of(listen.service);
        };
        self.send_out(frame, packet, of, id)
    }

    /// The same of one with a side record, or that has left its destination.
    #[cold]
    #[inline(never)]
    fn outbound_aside(&mut self, mut frame: Frame, packet: &Packet, of: Of<'_>) -> Verdict {
        let service = of.listen.service;
        let at = destination_of(self.shared, self.snapshot, service, &of.connection);
        let aside = of.connection.entry().record().zip(of.connection.record(self.shared));
        let (Some((id, destination)), Some((record, aside))) = (at, aside) else {
            return self.end(frame, Reason::Removed).of(service);
        };
        let (mut packet, mut of) = (*packet, of);
        if aside.kind == Kind::Helper {
            let to = Chosen { service, id, destination };
            let vip = (of.listen.vip, of.listen.port_of(of.connection.key)).into();
            match self.said_by_real(&mut frame, &packet, (to, vip), Aside { id: record, record: aside }) {
                Ok(len) => packet.len = len,
                Err(reason) => return self.end(frame, reason).of(service).to(id),
            }
            // It is not what came any more, and so not the kernel's.
            of.gone = Reason::EntryBusy;
        }
        if aside.kind == Kind::Proxied {
            let to = (Chosen { service, id, destination }, of.connection);
            match self.proxied_out(frame, &packet, to, Aside { id: record, record: aside }) {
                Ok(translated) => frame = translated,
                Err(verdict) => return verdict,
            }
        }
        self.send_out(frame, &packet, of, id)
    }

    /// Sends a real server's packet on to its client.
    #[inline(always)]
    fn send_out(&mut self, mut frame: Frame, packet: &Packet, of: Of<'_>, id: DestId) -> Verdict {
        let Of { listen, connection, gone } = of;
        let named = |verdict: Verdict| verdict.of(listen.service).to(id);
        let client = KeyParts::of(packet.key).client.0;
        if packet.ttl <= 1 {
            return named(self.refuse_reply(frame, packet, Problem::TimeExceeded));
        }
        let Some(hop) = self.snapshot.next_hop(client) else {
            return named(self.end(frame, Reason::NoRoute));
        };
        if let Err(Gone) = self.touch(connection, packet, Seen::Out) {
            return self.end(frame, gone);
        }
        let vip = (listen.vip, listen.port_of(connection.key));
        let account =
            Account { service: listen.service, destination: id, outbound: true, bytes: packet.bytes() };
        if packet.len > hop.mtu {
            return self.too_large_out(frame, packet, vip, &hop, account);
        }
        if packet.flags.contains(TcpFlags::SYN) {
            let way = Way { link: hop.mtu, usable: hop.mtu };
            self.clamp_mss(&mut frame, packet, listen.service, way);
        }
        match rewrite::nat_out(&mut frame, packet, vip) {
            Ok(()) => self.forward(frame, &hop, account),
            Err(reason) => named(self.end(frame, reason)),
        }
    }

    /// The connection that a packet from a NAT destination belongs to.
    #[inline(always)]
    pub(crate) fn replied(&mut self, packet: &Packet, real: RealId) -> Option<Connection> {
        let tables = self.tables();
        let reply = match packet.hint.and_then(|place| tables.confirm(place, &packet.key)) {
            Some(payload) => Some(payload),
            None => tables.get(&packet.key, packet.hash).map(|found| found.payload),
        };
        match reply {
            Some(payload) => self.keeper().replied(&packet.key, real, Reply::from(payload)),
            None => self.replied_as_another(packet, real),
        }
    }

    /// The same for a connection from before the port had a name of its own, made through a destination that keeps
    /// each packet's port.
    #[cold]
    fn replied_as_another(&mut self, packet: &Packet, real: RealId) -> Option<Connection> {
        let addr = self.snapshot.real(real)?.addr;
        let keeping =
            self.snapshot.port_keeping_real(addr, packet.proto).filter(|keeping| *keeping != real)?;
        let key = out_key(self.snapshot, KeyParts::of(packet.key).client, packet.sport, keeping);
        let found = self.tables().get(&key, self.tables().hash(&key))?;
        self.keeper().replied(&key, keeping, Reply::from(found.payload))
    }

    #[cold]
    fn refuse_reply(&mut self, frame: Frame, packet: &Packet, problem: Problem) -> Verdict {
        let source = self.own_address(&frame, packet);
        let reasons = [Reason::TtlExceeded, Reason::TtlExceededQuiet];
        self.error(frame, source, problem, reasons)
    }

    /// The director's address on the interface that a frame came in on: what it answers real servers from.
    pub(crate) fn own_address(&self, frame: &Frame, packet: &Packet) -> Option<IpAddr> {
        let source = packet.ip(frame)?.src;
        self.snapshot.interface(frame.ingress())?.source(source)
    }
}
