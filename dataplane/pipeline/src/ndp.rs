//! Neighbour discovery: what ARP is for IPv4. The director answers for its VIPs, watches for others who do, and
//! learns where it resolves by itself.

use crate::answer::l3_of;
use crate::context::{Context, address};
use crate::output::Punt;
use crate::reason::Reason;
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_proto::wire::eth::{self, Mac};
use sheave_proto::wire::ipv6::{self, Ipv6};
use sheave_proto::wire::ndp::{self, Advertisement, Ndp, Solicitation};
use std::net::{IpAddr, Ipv6Addr};

impl Context<'_> {
    /// Handles a neighbour solicitation or advertisement.
    #[cold]
    pub(crate) fn ndp(&mut self, frame: Frame) -> Verdict {
        let Some((ip, message, from)) = read(&frame) else {
            return self.end(frame, Reason::NdpMalformed);
        };
        // Our own announcements, come back on another interface of the same network.
        if self.is_own_mac(from) {
            return self.end(frame, Reason::NdpSeen);
        }
        match message {
            Ok(Some(Ndp::Solicitation(asked))) => self.solicited(frame, &ip, &asked),
            Ok(Some(Ndp::Advertisement(told))) => self.advertised(frame, &told),
            Ok(None) => self.end(frame, Reason::NdpSeen),
            Err(_) => self.end(frame, Reason::NdpMalformed),
        }
    }

    fn solicited(&mut self, mut frame: Frame, ip: &Ipv6, asked: &Solicitation) -> Verdict {
        let port = frame.ingress();
        let vip = IpAddr::V6(asked.target);
        if let Some(mac) = asked.mac.filter(|mac| is_station(*mac)) {
            self.learn(port, ip.src.into(), mac);
        }
        if ip.src.is_unspecified() && self.snapshot.is_vip(vip) {
            // RFC 4862 §5.4: a probe by somebody who is about to take the VIP. It is answered, too.
            let mac = eth::parse(frame.bytes()).map_or(Mac::ZERO, |eth| eth.src);
            self.out.punts.push(Punt::Conflict { port, vip, mac });
        }
        let mac = self.snapshot.interface(port).map(|interface| interface.mac);
        match mac.filter(|_| self.snapshot.answers(port, vip)) {
            Some(mac) if answer_in_place(&mut frame, ip.src, asked, mac).is_some() => {
                self.out.send(port, frame);
                Verdict::because(Reason::NdpReply)
            }
            _ => self.end(frame, Reason::NdpSeen),
        }
    }

    fn advertised(&mut self, frame: Frame, told: &Advertisement) -> Verdict {
        let (port, addr) = (frame.ingress(), IpAddr::V6(told.target));
        let mac = told.mac.or_else(|| eth::parse(frame.bytes()).ok().map(|eth| eth.src));
        if self.snapshot.is_vip(addr) {
            let mac = mac.unwrap_or(Mac::ZERO);
            self.out.punts.push(Punt::Conflict { port, vip: addr, mac });
            return self.end(frame, Reason::VipConflict);
        }
        if let Some(mac) = mac.filter(|mac| is_station(*mac)) {
            self.learn(port, addr, mac);
        }
        self.end(frame, Reason::NdpSeen)
    }
}

/// Whether a hardware address can be one station's.
fn is_station(mac: Mac) -> bool {
    !mac.is_multicast() && mac != Mac::ZERO
}

type Message = Result<Option<Ndp>, ndp::NdpError>;

/// The IPv6 header, the message, and who sent the frame.
fn read(frame: &Frame) -> Option<(Ipv6, Message, Mac)> {
    let eth = eth::parse(frame.bytes()).ok()?;
    let packet = frame.bytes().get(eth.payload_offset..)?;
    let ip = ipv6::parse(packet).ok()?;
    let message = ip.packet(packet).get(ipv6::HEADER_LEN..)?;
    Some((ip, ndp::parse(&ip, message), eth.src))
}

/// Replaces a solicitation by its answer. Tags stay where they are.
fn answer_in_place(frame: &mut Frame, asker: Ipv6Addr, asked: &Solicitation, mac: Mac) -> Option<()> {
    let from = eth::parse(frame.bytes()).ok()?.src;
    let l3 = l3_of(frame);
    let (answer, to) = asked.answer(asker, mac);
    let mut packet = [0; ndp::PACKET_LEN];
    let len = Ndp::Advertisement(answer).emit(&mut packet, asked.target, to);
    frame.set_len(l3 + len).ok()?;
    frame.bytes_mut().get_mut(l3..)?.copy_from_slice(packet.get(..len)?);
    let link = match asked.mac {
        _ if to.is_multicast() => ndp::multicast_mac(to),
        Some(mac) => mac,
        None => from,
    };
    address(frame, link, mac).then_some(())
}
