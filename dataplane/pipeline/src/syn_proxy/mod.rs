//! The SYN proxy of NAT services: a real server hears of a connection when its client has shown that it
//! exists.
//!
//! ```text
//!     client                       director                          real server
//!       | SYN, C                      |                                   |
//!       |---------------------------->|                                   |
//!       |  SYN+ACK, cookie, window 0  |  nothing is remembered            |
//!       |<----------------------------|                                   |
//!       | ACK, cookie + 1             |                                   |
//!       |---------------------------->|  Connecting                       |
//!       |                             | SYN, C, what was agreed on        |
//!       |                             |---------------------------------->|  again after 1, 2 and 4 s
//!       |                             |                        SYN+ACK, R |
//!       |                             |<----------------------------------|
//!       | ACK, window of the real     | ACK, R + 1                        |
//!       |<----------------------------|---------------------------------->|
//!       |<======== Open: all numbers are translated, by cookie - R ======>|
//! ```
//!
//! - **Window 0.** The client is connected before there is anybody to take its data. So that it sends none,
//!   the SYN+ACK closes the window, and the acknowledgement that follows the real server's SYN+ACK opens it.
//!   Should that be lost, the client's probe of the closed window goes to the real server, whose answer opens
//!   it. Data that comes before all the same is dropped, and comes again.
//! - **Numbers.** The real server gets the client's own; only its own differ from those that the client sees
//!   ([`Offsets`]): sequence, timestamps, and the scale of its windows where it is not the promised one.
//! - The real server's SYN+ACK, should it come again, is translated and forwarded like all else. The client
//!   answers with an acknowledgement, which is what the real server misses.
//!
//! Pure: what happens to a connection goes in, what it becomes and what is to be sent comes out. It describes
//! packets ([`Packet`]), which [`Packet::write`] writes. What it does not do: choose the real server, count,
//! limit resets.
//!
//! Not negotiated with either side: ECN, and what newer options offer. RFC 4987 §3.6 has the drawbacks of
//! cookies.

mod packet;
mod record;
#[cfg(test)]
mod tests;

pub use packet::Packet;

use crate::seq::{Offsets, Windows};
use crate::syn_cookie::{Cookies, Negotiated, Offer};
use crate::time::{Seconds, Tick, Time};
use sheave_proto::wire::flow::FlowKey;
use sheave_proto::wire::tcp::{Tcp, TcpFlags};
use sheave_proto::wire::tcp_options::SynOptions;

const SYN_ACK: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
const RST_ACK: TcpFlags = TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0);

/// SYNs that are sent to a real server, at most: after the last it has eight seconds.
const MAX_TRIES: u8 = 4;

/// The two flows of a connection, both as the client's packets have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Client to VIP.
    pub client: FlowKey,
    /// Client to real server.
    pub real: FlowKey,
}

/// A segment of one end's: its header and its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The header.
    pub tcp: Tcp,
    /// The options, those of a SYN among them.
    pub options: SynOptions,
}

/// Answers a client's SYN, and forgets it.
#[must_use]
pub fn answer(cookies: &Cookies, flow: &FlowKey, syn: &Segment, (offer, now): (Offer, Time)) -> Packet {
    let answer = cookies.make(flow, syn.tcp.seq, &syn.options, (offer, now));
    Packet {
        flow: flow.reversed(),
        seq: answer.isn,
        ack: syn.tcp.seq.wrapping_add(1),
        flags: SYN_ACK,
        window: 0,
        options: answer.options,
    }
}

/// What was agreed on with a client that acknowledges a cookie. `None` for any other segment.
///
/// A probe of the closed window counts too (RFC 9293 §3.8.4: its number is the one before the next): the
/// acknowledgement itself may have been lost.
#[must_use]
pub fn check(cookies: &Cookies, flow: &FlowKey, ack: &Segment, now: Time) -> Option<Accepted> {
    let Tcp { seq, ack: number, flags, window, .. } = ack.tcp;
    let ours = flags.contains(TcpFlags::ACK) && !flags.intersects(TcpFlags::SYN | TcpFlags::RST);
    let cookie = number.wrapping_sub(1);
    let isn = [seq.wrapping_sub(1), seq].into_iter().filter(|_| ours);
    let found = |isn| Some((isn, cookies.check(flow, (isn, cookie), ack.options.timestamps, now)?));
    let (isn, agreed) = isn.filter_map(found).next()?;
    Some(Accepted { isn, cookie, agreed, window })
}

/// A client that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The client's initial sequence number.
    pub isn: u32,
    /// The one that it knows us by.
    pub cookie: u32,
    /// What was agreed on.
    pub agreed: Negotiated,
    /// Its window, as in the header.
    pub window: u16,
}

/// A connection whose real server has not answered yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connecting {
    client: Accepted,
    /// SYNs sent so far.
    tries: u8,
    /// When the last was.
    sent: Tick,
}

/// What a connection has become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The real server has yet to answer.
    Connecting(Connecting),
    /// Both ends are connected. Segments are translated and forwarded from here on.
    Open(Offsets),
    /// It is over; why.
    Closed(Closed),
}

/// Why a connection came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closed {
    /// The client has reset it.
    ByClient,
    /// The real server has refused it.
    ByReal,
    /// The real server did not answer.
    NoAnswer,
}

/// What comes of a segment, or of time's passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// What the connection is now.
    pub stage: Stage,
    /// To be sent to the client.
    pub to_client: Option<Packet>,
    /// To be sent to the real server.
    pub to_real: Option<Packet>,
}

impl Connecting {
    /// Begins to connect a client: the connection, and the SYN for the real server.
    #[must_use]
    pub fn new(ends: &Ends, client: Accepted, now: Tick) -> (Connecting, Packet) {
        let connecting = Connecting::begin(client, now);
        (connecting, connecting.syn(ends))
    }

    /// The connection alone.
    pub(crate) fn begin(client: Accepted, now: Tick) -> Connecting {
        Connecting { client, tries: 1, sent: now }
    }

    /// A segment from the client. `None` if it is not of this connection, but perhaps of another between the
    /// same ports: a SYN is answered like any other, and an acknowledgement checked for a cookie.
    #[must_use]
    pub fn from_client(self, ends: &Ends, segment: &Segment) -> Option<Step> {
        let Tcp { seq, ack, flags, window, .. } = segment.tcp;
        let next = self.next();
        if flags.contains(TcpFlags::SYN) {
            // The one that was answered, once more; another answer would have another number.
            return (seq == self.client.isn).then_some(self.stay());
        }
        if flags.contains(TcpFlags::RST) {
            // RFC 5961 §3.2: only the very number that is next; the window is closed.
            let step = if seq == next {
                self.close(Closed::ByClient, (None, Some(self.reset_real(ends))))
            } else {
                self.stay()
            };
            return Some(step);
        }
        if !flags.contains(TcpFlags::ACK) {
            return Some(self.stay());
        }
        if ack != self.client.cookie.wrapping_add(1) {
            return None;
        }
        let timestamps = match (self.client.agreed.timestamps, segment.options.timestamps) {
            (Some((_, ours)), Some((value, _))) => Some((value, ours)),
            (agreed, _) => agreed,
        };
        let agreed = Negotiated { timestamps, ..self.client.agreed };
        let client = Accepted { agreed, window, ..self.client };
        Some(Connecting { client, ..self }.stay())
    }

    /// A segment from the real server. `offer` is what the client was promised.
    pub fn from_real(self, ends: &Ends, segment: &Segment, offer: Offer) -> Step {
        let Tcp { ack, flags, .. } = segment.tcp;
        let acks = flags.contains(TcpFlags::ACK);
        let right = acks && ack == self.next();
        if flags.contains(TcpFlags::RST) {
            let reset = Some(self.reset_client(ends));
            return if right { self.close(Closed::ByReal, (reset, None)) } else { self.stay() };
        }
        if right && flags.contains(TcpFlags::SYN) {
            return self.open(ends, segment, offer);
        }
        if acks {
            // RFC 9293 §3.10.7.3: what it speaks of is an earlier connection. It gives that up; our SYN comes
            // again.
            let flow = ends.real;
            let reset = Packet { seq: ack, ack: 0, flags: TcpFlags::RST, ..Packet::of(flow) };
            return Step { to_real: Some(reset), ..self.stay() };
        }
        self.stay()
    }

    /// Time passes: the SYN is sent again, or it is all over.
    pub fn poll(self, ends: &Ends, now: Tick) -> Step {
        if !self.sent.expired(self.patience(), now) {
            return self.stay();
        }
        if self.tries >= MAX_TRIES {
            let resets = (Some(self.reset_client(ends)), Some(self.reset_real(ends)));
            return self.close(Closed::NoAnswer, resets);
        }
        let again = Connecting { tries: self.tries + 1, sent: now, ..self };
        Step { to_real: Some(again.syn(ends)), ..again.stay() }
    }

    /// How long the real server has for its answer to the last SYN.
    #[must_use]
    pub fn patience(self) -> Seconds {
        Seconds(1 << self.tries.clamp(1, MAX_TRIES).wrapping_sub(1))
    }

    /// The client's next number.
    fn next(&self) -> u32 {
        self.client.isn.wrapping_add(1)
    }

    fn stay(self) -> Step {
        Step { stage: Stage::Connecting(self), to_client: None, to_real: None }
    }

    fn close(self, why: Closed, (to_client, to_real): (Option<Packet>, Option<Packet>)) -> Step {
        Step { stage: Stage::Closed(why), to_client, to_real }
    }

    /// The SYN for the real server: the client's own, as far as it is remembered.
    pub(crate) fn syn(&self, ends: &Ends) -> Packet {
        let Accepted { isn, agreed, window, .. } = self.client;
        let options = SynOptions {
            mss: Some(agreed.mss),
            window_scale: agreed.window_scale,
            sack_permitted: agreed.sack_permitted,
            timestamps: agreed.timestamps.map(|(value, _)| (value, 0)),
        };
        // The client's window is scaled; that of a SYN is not.
        let windows = Windows { to_client: 0, to_real: agreed.window_scale.unwrap_or(0) };
        let window = windows.to_real(window);
        Packet { seq: isn, flags: TcpFlags::SYN, window, options, ..Packet::of(ends.real) }
    }

    /// The real server has answered.
    fn open(self, ends: &Ends, syn_ack: &Segment, offer: Offer) -> Step {
        let Accepted { cookie, agreed, window, .. } = self.client;
        let theirs = syn_ack.options;
        let offsets = Offsets {
            seq: cookie.wrapping_sub(syn_ack.tcp.seq),
            // The client goes on from the timestamp that it has echoed.
            timestamps: match (agreed.timestamps, theirs.timestamps) {
                (Some((_, ours)), Some((real, _))) => ours.wrapping_sub(real),
                _ => 0,
            },
            windows: windows(agreed.window_scale, theirs.window_scale, offer.window_scale),
        };
        let stamps = |stamps| SynOptions { timestamps: stamps, ..SynOptions::default() };
        let client_stamp = agreed.timestamps.map(|(value, _)| value);
        let to_real = Packet {
            seq: self.next(),
            ack: syn_ack.tcp.seq.wrapping_add(1),
            flags: TcpFlags::ACK,
            window: offsets.windows.to_real(window),
            options: stamps(client_stamp.zip(theirs.timestamps.map(|(value, _)| value))),
            ..Packet::of(ends.real)
        };
        // The window of a SYN+ACK is not scaled, that of this acknowledgement is, as promised.
        let promised = agreed.window_scale.map_or(0, |_| offer.window_scale);
        let to_client = Packet {
            seq: cookie.wrapping_add(1),
            ack: self.next(),
            flags: TcpFlags::ACK,
            window: syn_ack.tcp.window.checked_shr(promised.into()).unwrap_or(0),
            options: stamps(agreed.timestamps.map(|(value, ours)| (ours, value))),
            ..Packet::of(ends.client.reversed())
        };
        Step { stage: Stage::Open(offsets), to_client: Some(to_client), to_real: Some(to_real) }
    }

    /// Tells the client that there is nobody.
    fn reset_client(&self, ends: &Ends) -> Packet {
        let flow = ends.client.reversed();
        Packet {
            seq: self.client.cookie.wrapping_add(1),
            ack: self.next(),
            flags: RST_ACK,
            ..Packet::of(flow)
        }
    }

    /// Tells the real server that the client has gone.
    fn reset_real(&self, ends: &Ends) -> Packet {
        Packet { seq: self.next(), flags: TcpFlags::RST, ..Packet::of(ends.real) }
    }
}

/// How windows are scaled anew: `client` is the client's scale, `real` the real server's, `promised` what the
/// client was told of the latter. Without the client's, nobody scales.
fn windows(client: Option<u8>, real: Option<u8>, promised: u8) -> Windows {
    let signed = |scale: u8| i8::try_from(scale).unwrap_or(0);
    match (client, real) {
        (None, _) => Windows::default(),
        (Some(_), Some(real)) => Windows { to_client: signed(real) - signed(promised), to_real: 0 },
        // The real server does not scale: it neither gives nor takes.
        (Some(client), None) => Windows { to_client: -signed(promised), to_real: client },
    }
}
