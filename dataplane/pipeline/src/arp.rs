//! ARP: the director answers for its VIPs, watches for others who do, and learns where it resolves by itself.

use crate::answer::l3_of;
use crate::context::{Context, address};
use crate::output::Punt;
use crate::reason::Reason;
use crate::verdict::Verdict;
use sheave_frame::{Frame, PortId};
use sheave_proto::wire::arp::{self, Arp, Operation};
use sheave_proto::wire::eth::{self, Mac};
use std::net::IpAddr;

impl Context<'_> {
    /// Handles a well-formed ARP packet.
    #[cold]
    pub(crate) fn arp(&mut self, mut frame: Frame) -> Verdict {
        let port = frame.ingress();
        let l3 = l3_of(&frame);
        let Some(Ok(Some(arp))) = frame.bytes().get(l3..).map(arp::parse) else {
            return self.end(frame, Reason::ArpMalformed);
        };
        let arp = &arp;
        // Our own announcements, come back on another interface of the same network.
        if self.is_own_mac(arp.sender_mac) {
            return self.end(frame, Reason::ArpSeen);
        }
        let sender = IpAddr::V4(arp.sender_ip);
        if self.snapshot.is_vip(sender) {
            self.out.punts.push(Punt::Conflict { port, vip: sender, mac: arp.sender_mac });
            return self.end(frame, Reason::VipConflict);
        }
        if arp.sender_mac.is_multicast() || arp.sender_mac == Mac::ZERO {
            return self.end(frame, Reason::ArpSeen);
        }
        // A probe (RFC 5227) names no sender.
        if !arp.sender_ip.is_unspecified() {
            self.learn(port, sender, arp.sender_mac);
        }
        let asked =
            arp.operation == Operation::Request && self.snapshot.answers(port, IpAddr::V4(arp.target_ip));
        let mac = self.snapshot.interface(port).map(|interface| interface.mac);
        match mac.filter(|_| asked) {
            Some(mac) if answer_in_place(&mut frame, l3, arp, mac).is_some() => {
                self.out.send(port, frame);
                Verdict::because(Reason::ArpReply)
            }
            _ => self.end(frame, Reason::ArpSeen),
        }
    }

    /// Whether a hardware address is that of one of the director's interfaces.
    pub(crate) fn is_own_mac(&self, mac: Mac) -> bool {
        self.snapshot.interfaces().any(|(_, interface)| interface.mac == mac)
    }

    /// Where the pipeline resolves by itself: learns an address and sends what waited for it.
    pub(crate) fn learn(&mut self, port: PortId, addr: IpAddr, mac: Mac) {
        if self.asks() && self.own.learned.learn(port, addr, mac) && self.own.holding.len() != 0 {
            self.release();
        }
    }
}

/// Replaces a request by its answer. Tags stay where they are.
fn answer_in_place(frame: &mut Frame, l3: usize, request: &Arp, mac: Mac) -> Option<()> {
    let mut answer = [0; arp::FRAME_LEN];
    request.answer(mac).emit(&mut answer, request.sender_mac);
    let packet = answer.get(eth::HEADER_LEN..)?;
    frame.set_len(l3 + packet.len()).ok()?;
    frame.bytes_mut().get_mut(l3..)?.copy_from_slice(packet);
    address(frame, request.sender_mac, mac).then_some(())
}
