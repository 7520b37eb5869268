//! ARP: the director answers for its VIPs, watches for others who do, and learns where it resolves by itself.

use crate::context::Context;
use crate::output::Punt;
use crate::reason::Reason;
use crate::verdict::Verdict;
use sheave_frame::{Frame, PortId};
use sheave_proto::wire::arp::{self, Arp, Operation};
use sheave_proto::wire::eth::Mac;
use std::net::IpAddr;

impl Context<'_> {
    /// Handles a well-formed ARP packet.
    pub(crate) fn arp(&mut self, mut frame: Frame, arp: &Arp) -> Verdict {
        let port = frame.ingress();
        // Our own announcements, come back on another interface of the same network.
        if self.snapshot.interfaces().any(|(_, interface)| interface.mac == arp.sender_mac) {
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
        self.learn(port, arp);
        let asked =
            arp.operation == Operation::Request && self.snapshot.answers(port, IpAddr::V4(arp.target_ip));
        let mac = self.snapshot.interface(port).map(|interface| interface.mac);
        match mac.filter(|_| asked) {
            Some(mac) if answer_in_place(&mut frame, arp, mac).is_some() => {
                self.out.sends.push((port, frame));
                Verdict::because(Reason::ArpReply)
            }
            _ => self.end(frame, Reason::ArpSeen),
        }
    }

    /// Where the pipeline resolves by itself: learns the sender's address and sends what waited for it.
    fn learn(&mut self, port: PortId, arp: &Arp) {
        // A probe (RFC 5227) names no sender.
        if self.asks()
            && !arp.sender_ip.is_unspecified()
            && self.own.learned.learn(port, IpAddr::V4(arp.sender_ip), arp.sender_mac)
            && self.own.holding.len() != 0
        {
            self.release();
        }
    }
}

/// Replaces a request by its answer.
fn answer_in_place(frame: &mut Frame, request: &Arp, mac: Mac) -> Option<()> {
    frame.set_len(arp::FRAME_LEN).ok()?;
    let bytes = frame.bytes_mut().first_chunk_mut()?;
    request.answer(mac).emit(bytes, request.sender_mac);
    Some(())
}
