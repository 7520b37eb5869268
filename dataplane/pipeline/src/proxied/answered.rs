//! Packets of real servers of connections that the proxy makes or has made.

use super::{STAMPS, STATE, Said, WINDOW_SCALE, put, renumber, tags_of};
use crate::connect::Chosen;
use crate::context::Context;
use crate::entry::{Entry, Flags, State};
use crate::inbound::Aside;
use crate::keeper::Connection;
use crate::packet::Packet;
use crate::reason::Reason;
use crate::seq::{Numbers, Offsets};
use crate::syn_cookie::Offer;
use crate::syn_proxy::{Connecting, Stage, Step};
use crate::tcp_state::TcpState;
use crate::verdict::Verdict;
use sheave_frame::Frame;
use sheave_table::Update;

/// Times that an entry is looked at again because others change it.
const ATTEMPTS: usize = 4;

impl Context<'_> {
    /// A real server's packet of a connection that the proxy has made. Gives it back, translated, when there is nothing
    /// left to do but to send it on; otherwise what became of it.
    pub(crate) fn proxied_out(
        &mut self,
        mut frame: Frame,
        packet: &Packet,
        (to, connection): (Chosen<'_>, Connection),
        aside: Aside,
    ) -> Result<Frame, Verdict> {
        let named = |verdict: Verdict| verdict.of(to.service).to(to.id);
        match Stage::from_words(aside.record.words) {
            Some(Stage::Open(offsets)) => {
                let numbers = Numbers { offsets, ..Numbers::default() };
                match renumber(&mut frame, packet, |segment| numbers.to_client(segment)) {
                    Some(()) => Ok(frame),
                    None => Err(named(self.end(frame, Reason::TcpTruncated))),
                }
            }
            Some(Stage::Connecting(connecting)) => {
                Err(named(self.real_answers(frame, packet, (to, connection), (aside, connecting))))
            }
            Some(Stage::Closed(_)) | None => Err(named(self.end(frame, Reason::EntryBusy))),
        }
    }

    /// A real server's answer to the SYN.
    fn real_answers(
        &mut self,
        frame: Frame,
        packet: &Packet,
        (to, connection): (Chosen<'_>, Connection),
        (aside, connecting): (Aside, Connecting),
    ) -> Verdict {
        let Said { segment, .. } = match self.said(&frame, packet) {
            Ok(said) => said,
            Err(reason) => return self.end(frame, reason),
        };
        let Some(ends) = self.ends_of(connection.key, to.destination) else {
            return self.end(frame, Reason::NoService);
        };
        // Of what the client was promised, only the scale counts here.
        let step = connecting.from_real(&ends, &segment, Offer { mss: 0, window_scale: WINDOW_SCALE });
        let done = match step.stage {
            Stage::Connecting(_) => true,
            Stage::Open(offsets) => self.open_proxied(connection, aside, offsets),
            Stage::Closed(_) => self.may_reset() && self.keeper().retire(connection),
        };
        if done { self.tell_both(frame, packet, to, &step) } else { self.end(frame, Reason::EntryBusy) }
    }

    /// Sends what a step says, in the frame of the real server's packet and, if there are two, in one more.
    fn tell_both(&mut self, mut frame: Frame, packet: &Packet, to: Chosen<'_>, step: &Step) -> Verdict {
        let Some(client) = &step.to_client else {
            return match &step.to_real {
                Some(real) => self.send_instead(frame, packet, (real, to.destination.next_hop)),
                None => self.end(frame, Reason::SynProxyWaits),
            };
        };
        let l3 = usize::from(packet.l3);
        // Without a free frame the client's next packet says the same.
        self.send_fresh(step.to_real.as_ref(), to.destination.next_hop, tags_of(&frame));
        match put(&mut frame, l3, client) {
            Some(()) => self.reply(frame, client.flow.dst, Reason::SynProxied),
            None => self.end(frame, Reason::NoRoom),
        }
    }

    /// The real server has answered: the connection is established. `false` when another worker has seen to that.
    fn open_proxied(&mut self, connection: Connection, aside: Aside, offsets: Offsets) -> bool {
        let (old, new) = (aside.record.words, Stage::Open(offsets).words());
        let side = self.shared.side;
        // The offsets first: who reads that it is open must find them.
        let changed = side.change(aside.id, STAMPS, old[STAMPS], new[STAMPS]).is_ok()
            && side.change(aside.id, STATE, old[STATE], new[STATE]).is_ok();
        if !changed {
            return false;
        }
        self.keeper().first_reply(&connection);
        let mut connection = connection;
        for _ in 0..ATTEMPTS {
            let old = connection.entry();
            let state = State::Tcp(TcpState::Established);
            let flags = old.flags.with(Flags::ASSURED).with(Flags::REPLIED);
            let new = Entry { tick: self.tick, state, flags, ..old };
            match self.keeper().update(connection, new) {
                Ok(()) => return true,
                Err(Update::Gone) => return false,
                Err(Update::Changed(payload)) => connection.payload = payload,
            }
        }
        true
    }
}
