//! Connections behind the SYN proxy ([`crate::syn_proxy`]): those of services that ask for it, and those that begin under
//! NAT in flood mode.
//!
//! ```text
//!   SYN                 answered with a cookie, nothing is kept
//!   ACK of a cookie     entry in SYN_RECV with a side record: connecting; SYN to the real server
//!   its SYN+ACK         the record is open, the entry ESTABLISHED; ACK to both
//!   from then on        both ways through the record: numbers are translated
//! ```
//!
//! While a connection is being made, the first word of its record says how far that is; whoever changes that word has
//! done the step. The worker that has sent the SYN sends it again ([`Waiting`]).
//!
//! What comes of clients' packets is here, what comes of real servers' in `answered`.

mod answered;
mod waiting;

pub(crate) use waiting::Waiting;

use crate::connect::Chosen;
use crate::context::Context;
use crate::entry::Entry;
use crate::helped::segment_mut;
use crate::inbound::{Aside, Served, Step};
use crate::keeper::Connection;
use crate::mss::Clamp;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::seq::Numbers;
use crate::snapshot::{Destination, NextHop};
use crate::syn_cookie::Offer;
use crate::syn_proxy::{self, Accepted, Connecting, Ends, Segment, Stage};
use crate::tables::Wish;
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_proto::wire::checksum::{Delta, l4_checksum};
use sheave_proto::wire::eth::{self, Tags};
use sheave_proto::wire::flow::{FlowKey, Proto};
use sheave_proto::wire::tcp_options::SynOptions;
use sheave_proto::wire::{ipv4, ipv6, tcp};
use std::net::IpAddr;

/// The scale of the windows that clients are shown, before anybody knows the real server's.
const WINDOW_SCALE: u8 = 7;
/// Times that a step is tried while others change the connection.
const ATTEMPTS: usize = 4;
/// Words of the record: how far it is, and the stamps or offsets.
const STATE: usize = 0;
const STAMPS: usize = 2;

/// What a packet says.
struct Said {
    flow: FlowKey,
    segment: Segment,
}

/// The tags of a frame: what the proxy sends of a connection has those of the packet that it answers.
fn tags_of(frame: &Frame) -> Tags {
    eth::parse(frame.bytes()).map_or(Tags::NONE, |eth| Tags::of(frame.bytes(), &eth))
}

/// The two flows of a connection.
fn ends(client: &FlowKey, to: &Destination) -> Ends {
    let real = FlowKey { dst: to.addr, dport: to.port.unwrap_or(client.dport), ..*client };
    Ends { client: *client, real }
}

/// A largest segment as a service allows it.
fn clamped(mss: u16, clamp: Clamp) -> u16 {
    match clamp {
        Clamp::To(most) => mss.min(most),
        Clamp::Auto | Clamp::Off => mss,
    }
}

/// Puts a packet of the proxy's in the place of the one in a frame, behind the Ethernet header with its tags.
fn put(frame: &mut Frame, l3: usize, packet: &syn_proxy::Packet) -> Option<()> {
    frame.set_len(l3 + syn_proxy::Packet::MAX_LEN).ok()?;
    let len = packet.write(frame.bytes_mut().get_mut(l3..)?).ok()?;
    frame.set_len(l3 + len).ok()
}

/// Translates the numbers of a packet where they lie.
fn renumber(frame: &mut Frame, packet: &Packet, translate: impl FnOnce(&mut [u8]) -> Delta) -> Option<()> {
    let segment = segment_mut(frame, packet, 0)?;
    let delta = translate(segment);
    tcp::HeaderMut::new(segment)?.update_checksum(delta);
    Some(())
}

impl<'a> Context<'a> {
    /// Reads a TCP packet for the proxy. One with a wrong checksum says nothing: what is made of it would have a right
    /// one.
    fn said(&self, frame: &Frame, packet: &Packet) -> Result<Said, Reason> {
        let ip = packet.ip(frame).ok_or(Reason::IpTruncated)?;
        let end = usize::from(packet.l3) + usize::from(packet.len);
        let bytes = frame.bytes().get(usize::from(packet.l4)..end).ok_or(Reason::TcpTruncated)?;
        let number = Proto::Tcp.number();
        let sum = match (ip.src, ip.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => l4_checksum(src, dst, number, bytes),
            (IpAddr::V6(src), IpAddr::V6(dst)) => l4_checksum(src, dst, number, bytes),
            _ => return Err(Reason::IpVersion),
        };
        if sum != 0 {
            return Err(Reason::TcpChecksum);
        }
        let tcp = tcp::parse(bytes).map_err(|_| Reason::TcpTruncated)?;
        let (sport, dport) = (packet.sport, packet.dport);
        let flow = FlowKey { proto: Proto::Tcp, src: ip.src, dst: ip.dst, sport, dport };
        Ok(Said { flow, segment: Segment { tcp, options: SynOptions::read(bytes) } })
    }

    /// Answers a client's SYN with a cookie.
    #[cold]
    pub(crate) fn answer_with_cookie(
        &mut self,
        mut frame: Frame,
        packet: &Packet,
        served: Served<'_>,
    ) -> Verdict {
        let Said { flow, segment } = match self.said(&frame, packet) {
            Ok(said) => said,
            Err(reason) => return self.end(frame, reason),
        };
        let headers = if packet.v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN } + tcp::HEADER_LEN;
        let mtu = self.snapshot.interface(frame.ingress()).map_or(0, |interface| interface.mtu);
        let fits = mtu.saturating_sub(u16::try_from(headers).unwrap_or(0));
        let offer = Offer { mss: clamped(fits, served.service.mss_clamp), window_scale: WINDOW_SCALE };
        let answer = syn_proxy::answer(&self.shared.cookies, &flow, &segment, (offer, self.now));
        match put(&mut frame, usize::from(packet.l3), &answer) {
            Some(()) => self.reply(frame, flow.src, Reason::SynCookie),
            None => self.end(frame, Reason::NoRoom),
        }
    }

    /// A packet that opens no connection, and may acknowledge a cookie.
    #[cold]
    pub(crate) fn accept_cookie(&mut self, frame: Frame, packet: &Packet, served: Served<'a>) -> Verdict {
        let Said { flow, segment } = match self.said(&frame, packet) {
            Ok(said) => said,
            Err(reason) => return self.end(frame, reason),
        };
        let Some(mut accepted) = syn_proxy::check(&self.shared.cookies, &flow, &segment, self.now) else {
            let flooded = self.in_flood(packet);
            return self.end(frame, if flooded { Reason::CookieWrong } else { Reason::NoEntry });
        };
        accepted.agreed.mss = clamped(accepted.agreed.mss, served.service.mss_clamp);
        if !self.room_to_wait() {
            return self.end(frame, Reason::SynProxyFull);
        }
        for _ in 0..ATTEMPTS {
            match self.make_proxied(packet, served, &accepted) {
                Step::Aside(id, destination, aside) => {
                    let to = Chosen { service: served.id, id, destination };
                    return self.ask_real(frame, packet, to, (&flow, aside));
                }
                // It believes that it is connected.
                Step::Refuse(Reason::NoDestination) if self.may_reset() => return self.send_reset(frame),
                Step::Refuse(reason) => return self.refuse(frame, packet, served, reason),
                Step::To(..) | Step::Again => {}
            }
        }
        self.end(frame, Reason::EntryBusy)
    }

    /// Makes the entries of a connection of a client that has acknowledged its cookie.
    fn make_proxied(&mut self, packet: &Packet, served: Served<'a>, accepted: &Accepted) -> Step<'a> {
        match self.tables().reserve(&packet.key, packet.hash) {
            Wish::Reserved(reserved) => self.schedule_for(packet, served, reserved, Some(accepted)),
            // Another packet of the client's was faster.
            Wish::Exists(_) => Step::Refuse(Reason::SynProxyWaits),
            Wish::Busy => Step::Refuse(Reason::EntryBusy),
            Wish::Full if self.make_room(&packet.key, packet.hash) => Step::Again,
            Wish::Full => Step::Refuse(Reason::TableFull),
        }
    }

    /// Sends a real server the SYN of a client that has acknowledged its cookie, in the frame of that.
    fn ask_real(
        &mut self,
        frame: Frame,
        packet: &Packet,
        to: Chosen<'_>,
        (flow, aside): (&FlowKey, Aside),
    ) -> Verdict {
        let named = |verdict: Verdict| verdict.of(to.service).to(to.id);
        let Some(Stage::Connecting(connecting)) = Stage::from_words(aside.record.words) else {
            return named(self.end(frame, Reason::EntryBusy));
        };
        if let Some(found) = self.tables().get(&packet.key, packet.hash) {
            self.wait_for_answer((found.place, packet.key), (aside.id, tags_of(&frame)), connecting);
        }
        let syn = connecting.syn(&ends(flow, to.destination));
        named(self.send_instead(frame, packet, (&syn, to.destination.next_hop)))
    }

    /// Sends a packet of the proxy's to a real server, in the frame of the one that it answers.
    fn send_instead(
        &mut self,
        mut frame: Frame,
        packet: &Packet,
        (own, hop): (&syn_proxy::Packet, Option<NextHop>),
    ) -> Verdict {
        let Some(hop) = hop else { return self.end(frame, Reason::NoRoute) };
        if put(&mut frame, usize::from(packet.l3), own).is_none() {
            return self.end(frame, Reason::NoRoom);
        }
        let sent = self.deliver(frame, &hop, None);
        Verdict::because(sent.err().unwrap_or(Reason::SynProxied))
    }

    /// A client's packet of a connection that the proxy has made.
    pub(crate) fn proxied_in(
        &mut self,
        mut frame: Frame,
        packet: &Packet,
        to: Chosen<'_>,
        aside: Aside,
    ) -> Verdict {
        let named = |verdict: Verdict| verdict.of(to.service).to(to.id);
        match Stage::from_words(aside.record.words) {
            Some(Stage::Open(offsets)) => {
                let numbers = Numbers { offsets, ..Numbers::default() };
                match renumber(&mut frame, packet, |segment| numbers.to_real(segment)) {
                    Some(()) => self.send_in(frame, packet, to),
                    None => named(self.end(frame, Reason::TcpTruncated)),
                }
            }
            Some(Stage::Connecting(connecting)) => {
                named(self.client_waits(frame, packet, to, (aside, connecting)))
            }
            Some(Stage::Closed(_)) | None => named(self.end(frame, Reason::EntryBusy)),
        }
    }

    /// A client speaks before its real server has answered.
    fn client_waits(
        &mut self,
        frame: Frame,
        packet: &Packet,
        to: Chosen<'_>,
        (aside, connecting): (Aside, Connecting),
    ) -> Verdict {
        let Said { flow, segment } = match self.said(&frame, packet) {
            Ok(said) => said,
            Err(reason) => return self.end(frame, reason),
        };
        let Some(step) = connecting.from_client(&ends(&flow, to.destination), &segment) else {
            return self.another_begins(frame, packet, (&flow, &segment));
        };
        if let Stage::Connecting(now) = step.stage {
            self.note(aside, now);
        } else if let Some(connection) = self.connection_at(packet, Some(aside)) {
            self.keeper().retire(connection);
        }
        match step.to_real {
            Some(reset) => self.send_instead(frame, packet, (&reset, to.destination.next_hop)),
            None => self.end(frame, Reason::SynProxyWaits),
        }
    }

    /// A packet that is not of the connection that waits under its ports: a SYN is answered as ever; who acknowledges the
    /// answer takes the place of the one that waits.
    fn another_begins(
        &mut self,
        frame: Frame,
        packet: &Packet,
        (flow, segment): (&FlowKey, &Segment),
    ) -> Verdict {
        let serving = packet.key.listen().and_then(|listen| self.snapshot.serving(listen));
        let Some((listen, service)) = serving else { return self.end(frame, Reason::NoService) };
        let served = Served { listen, service, id: listen.service };
        if packet.opens() {
            return self.answer_with_cookie(frame, packet, served);
        }
        if syn_proxy::check(&self.shared.cookies, flow, segment, self.now).is_none() {
            return self.end(frame, Reason::SynProxyWaits);
        }
        if let Some(connection) = self.connection_at(packet, None) {
            self.keeper().retire(connection);
        }
        self.accept_cookie(frame, packet, served)
    }

    /// The connection of a client's packet, if it still is the one with this record.
    fn connection_at(&self, packet: &Packet, aside: Option<Aside>) -> Option<Connection> {
        let found = self.tables().get(&packet.key, packet.hash)?;
        let same = aside.is_none_or(|aside| Entry::from(found.payload).record() == Some(aside.id));
        same.then_some(Connection { place: found.place, key: packet.key, payload: found.payload })
    }

    /// Keeps what a client has said of itself. Who is faster knows better.
    fn note(&self, aside: Aside, now: Connecting) {
        let (old, new) = (aside.record.words, Stage::Connecting(now).words());
        for word in [STAMPS, STATE] {
            let changes = old[word] != new[word];
            if changes && self.shared.side.change(aside.id, word, old[word], new[word]).is_err() {
                return;
            }
        }
    }
}
