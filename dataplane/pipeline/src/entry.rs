//! What a connection's entries hold: the 54 bits of payload that the tables leave to their user. Their keys are in
//! [`crate::key`].
//!
//! ```text
//!  in-entry
//!
//!   53   50 49          42 41                 26 25     20 19    16 15                  0
//!  +-------+--------------+---------------------+---------+--------+---------------------+
//!  | templ |  generation  |     destination     |  flags  | state  |   tick of last use  |
//!  +-------+--------------+---------------------+---------+--------+---------------------+
//!          |  index of a side record, with SIDE |
//!
//!  out-entry (NAT)
//!
//!   53 52                                                                                0
//!  +--+-----------------------------------------------------------------------------------+
//!  |T |                     place of the in-entry                                         |
//!  +--+-----------------------------------------------------------------------------------+
//! ```
//!
//! The in-entry holds the one authoritative word of a connection; packets of either direction change it. An
//! out-entry is tentative (T) from before its in-entry is published until after: whoever meets it then must not
//! take it for a leftover.

use crate::ids::{DestId, Generation};
use crate::snapshot::Timeouts;
use crate::tables::Place;
use crate::tcp_state::TcpState;
use crate::time::{Seconds, Tick};
use sheave_proto::wire::flow::Proto;
use sheave_table::{Handle, Pattern, Payload, RecordId};

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// TCP, in this state.
    Tcp(TcpState),
    /// UDP has one state.
    Udp,
}

impl State {
    const UDP_CODE: u64 = 15;

    #[inline]
    fn code(self) -> u64 {
        match self {
            State::Tcp(tcp) => tcp as u64,
            State::Udp => State::UDP_CODE,
        }
    }

    #[inline]
    fn from_code(code: u64) -> State {
        match code {
            State::UDP_CODE => State::Udp,
            code => State::Tcp(TcpState::from_code(code)),
        }
    }

    /// Whether IPVS counts a connection in this state as active.
    #[inline]
    pub fn is_active(self) -> bool {
        matches!(self, State::Tcp(tcp) if tcp.is_active())
    }

    /// How long an entry in this state outlives its last packet.
    #[inline]
    pub fn timeout(self, timeouts: &Timeouts) -> Seconds {
        match self {
            State::Udp => timeouts.udp,
            State::Tcp(tcp) => tcp.timeout(timeouts),
        }
    }

    /// The name, as in listings.
    pub fn name(self) -> &'static str {
        match self {
            State::Udp => "UDP",
            State::Tcp(tcp) => tcp.name(),
        }
    }
}

/// Flags of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u8);

impl Flags {
    /// None set.
    pub const NONE: Flags = Flags(0);
    /// The real server's packets do not pass the director (DR, TUN).
    pub const NO_OUTPUT: Flags = Flags(1);
    /// Destination and generation are in a side record, whose index is in their place ([`crate::side`]): for as long
    /// as the entry lives.
    pub const SIDE: Flags = Flags(1 << 1);
    /// A persistence template counts it.
    pub const CONTROLLED: Flags = Flags(1 << 2);
    /// TCP: was established once. UDP: is answered, or not seen to be (DR, TUN), and goes on for more than a second.
    pub const ASSURED: Flags = Flags(1 << 3);
    /// Its destination was removed: the field no longer counts, only what becomes of the connection is open.
    pub const DETACHED: Flags = Flags(1 << 4);

    /// Its real server has answered (NAT).
    pub const REPLIED: Flags = Flags(1 << 5);

    const BITS: u32 = 6;

    /// Whether all of `flags` are set.
    #[inline]
    pub const fn contains(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Whether any of `flags` is set.
    #[inline]
    pub const fn intersects(self, flags: Flags) -> bool {
        self.0 & flags.0 != 0
    }

    /// These and `flags`.
    #[inline]
    pub const fn with(self, flags: Flags) -> Flags {
        Flags(self.0 | flags.0)
    }

    /// These without `flags`.
    #[inline]
    pub const fn without(self, flags: Flags) -> Flags {
        Flags(self.0 & !flags.0)
    }
}

/// The payload of an in-entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// When it was last used.
    pub tick: Tick,
    /// Its state.
    pub state: State,
    /// Its flags.
    pub flags: Flags,
    /// Where it goes; without a meaning of its own with [`Flags::SIDE`].
    pub destination: DestId,
    /// Which life of that destination; likewise.
    pub generation: Generation,
    /// Which life of its template counts it, with [`Flags::CONTROLLED`].
    pub template: TemplateLife,
}

/// Templates of one client follow each other with different numbers, so that a connection's end is not taken for that
/// of another template's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TemplateLife(u8);

impl TemplateLife {
    /// Bits of a number.
    pub(crate) const BITS: u32 = 4;

    /// The life of this number, as far as it has bits for that.
    #[expect(clippy::cast_possible_truncation, reason = "its bits are cut out")]
    pub(crate) const fn new(number: u64) -> TemplateLife {
        TemplateLife(number as u8 & ((1 << TemplateLife::BITS) - 1))
    }

    /// Its number.
    pub(crate) const fn number(self) -> u64 {
        self.0 as u64
    }

    /// The next.
    pub(crate) const fn next(self) -> TemplateLife {
        TemplateLife::new(self.number() + 1)
    }
}

const STATE_AT: u32 = 16;
const FLAGS_AT: u32 = 20;
const DESTINATION_AT: u32 = 26;
const GENERATION_AT: u32 = 42;
const TEMPLATE_AT: u32 = 50;

impl Entry {
    /// The payload that says this.
    #[inline(always)]
    pub fn payload(self) -> Payload {
        Payload::new(
            u64::from(self.tick.0)
                | (self.state.code() << STATE_AT)
                | (u64::from(self.flags.0) << FLAGS_AT)
                | (u64::from(self.destination.0) << DESTINATION_AT)
                | (u64::from(self.generation.0) << GENERATION_AT)
                | (self.template.number() << TEMPLATE_AT),
        )
    }

    /// Its side record.
    #[inline]
    pub fn record(self) -> Option<RecordId> {
        let index = (u32::from(self.generation.0) << DestId::BITS) | u32::from(self.destination.0);
        self.flags.contains(Flags::SIDE).then(|| RecordId::from_index(index)).flatten()
    }

    /// The same entry with a side record, which says where it goes instead.
    #[expect(clippy::cast_possible_truncation, reason = "the index is cut in two")]
    pub fn with_record(self, record: RecordId) -> Entry {
        let index = record.index();
        Entry {
            flags: self.flags.with(Flags::SIDE),
            destination: DestId(index as u16),
            generation: Generation((index >> DestId::BITS) as u8),
            ..self
        }
    }

    /// Whether its destination counts it as active; `None` when it counts it no more.
    #[inline]
    pub(crate) fn counted(self) -> Option<bool> {
        (!self.flags.contains(Flags::DETACHED)).then(|| self.state.is_active())
    }

    /// Whether it has outlived the timeout of its state.
    #[inline]
    pub fn expired(self, timeouts: &Timeouts, now: Tick) -> bool {
        self.tick.expired(self.state.timeout(timeouts), now)
    }
}

impl From<Payload> for Entry {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of the word")]
    fn from(payload: Payload) -> Entry {
        let bits = payload.bits();
        Entry {
            tick: Tick(bits as u16),
            state: State::from_code((bits >> STATE_AT) & 0xf),
            flags: Flags((bits >> FLAGS_AT) as u8 & ((1 << Flags::BITS) - 1)),
            destination: DestId((bits >> DESTINATION_AT) as u16),
            generation: Generation((bits >> GENERATION_AT) as u8),
            template: TemplateLife::new(bits >> TEMPLATE_AT),
        }
    }
}

/// The payload of an out-entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// The in-entry.
    pub of: Place,
    /// The in-entry is not published yet.
    pub tentative: bool,
}

impl Reply {
    const TENTATIVE: u64 = 1 << (Payload::BITS - 1);

    /// The payload that says this.
    #[inline]
    pub fn payload(self) -> Payload {
        Payload::new(self.of.bits() | if self.tentative { Reply::TENTATIVE } else { 0 })
    }
}

impl From<Payload> for Reply {
    #[inline]
    fn from(payload: Payload) -> Reply {
        let bits = payload.bits();
        Reply { of: Place::from_bits(bits & !Reply::TENTATIVE), tentative: bits & Reply::TENTATIVE != 0 }
    }
}

/// What an in-entry looks like when a packet changes nothing in it: its connection is established, goes to the destination that
/// it names, and was used in this second already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steady;

impl Steady {
    const COMMON: u64 =
        0xffff | (0xf << STATE_AT) | ((Flags::SIDE.0 as u64 | Flags::DETACHED.0 as u64) << FLAGS_AT);
    const ASSURED: u64 = (Flags::ASSURED.0 as u64) << FLAGS_AT;
    const REPLIED: u64 = (Flags::REPLIED.0 as u64) << FLAGS_AT;
    const NO_OUTPUT: u64 = (Flags::NO_OUTPUT.0 as u64) << FLAGS_AT;

    /// The bits that tell, and what they are.
    #[inline(always)]
    fn bits(proto: Proto, now: Tick) -> (u64, u64) {
        let tick = u64::from(now.0);
        match proto {
            Proto::Udp => (Steady::COMMON, tick | (State::UDP_CODE << STATE_AT)),
            Proto::Tcp => {
                let established = (TcpState::Established as u64) << STATE_AT;
                (Steady::COMMON | Steady::ASSURED, tick | established | Steady::ASSURED)
            }
        }
    }

    /// For a packet of a client that has none of the flags that change a state.
    #[inline(always)]
    pub(crate) fn from_client(proto: Proto, now: Tick) -> Pattern {
        let (mask, want) = Steady::bits(proto, now);
        Pattern::new(mask, want)
    }

    /// For a packet of a real server, likewise.
    #[inline(always)]
    pub(crate) fn from_real(proto: Proto, now: Tick) -> Pattern {
        let (mask, want) = Steady::bits(proto, now);
        Pattern::new(mask | Steady::REPLIED | Steady::NO_OUTPUT, want | Steady::REPLIED)
    }

    /// The destination that such a payload names.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "cut out of the word")]
    pub(crate) const fn destination(payload: Payload) -> DestId {
        DestId((payload.bits() >> DESTINATION_AT) as u16)
    }

    /// Which life of it.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "cut out of the word")]
    pub(crate) const fn generation(payload: Payload) -> Generation {
        Generation((payload.bits() >> GENERATION_AT) as u8)
    }

    /// The in-entry that the payload of an out-entry names, if that is in the same table: for fetching it ahead.
    #[inline(always)]
    pub(crate) fn named(payload: Payload) -> Handle {
        Reply::from(payload).of.handle()
    }

    /// The in-entry that the payload of an out-entry names, if that is a wide one.
    #[inline(always)]
    pub(crate) fn reply_wide(payload: Payload) -> Option<Handle> {
        Reply::from(payload).of.as_wide()
    }

    /// The in-entry that the payload of an out-entry names, if that is a narrow one.
    #[inline(always)]
    pub(crate) fn reply(payload: Payload) -> Option<Handle> {
        Reply::from(payload).of.as_narrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_lie_where_the_picture_says() {
        let entry = Entry {
            tick: Tick(0x1234),
            state: State::Tcp(TcpState::FinWait),
            flags: Flags::ASSURED.with(Flags::NO_OUTPUT),
            destination: DestId(0xabcd),
            generation: Generation(0xff),
            template: TemplateLife::new(0xa),
        };
        assert_eq!(
            entry.payload().bits(),
            (0xa << 50) | (0xff << 42) | (0xabcd << 26) | (0b1001 << 20) | (4 << 16) | 0x1234
        );
    }

    proptest! {
        #[test]
        fn a_payload_reads_back(
            (tick, state, flags, dest, generation, template) in
                (any::<u16>(), 0u64..16, 0u8..64, any::<u16>(), any::<u8>(), 0u64..16),
        ) {
            let state = State::from_code(state);
            let entry = Entry {
                tick: Tick(tick), state, flags: Flags(flags), destination: DestId(dest),
                generation: Generation(generation), template: TemplateLife::new(template),
            };
            prop_assert_eq!(Entry::from(entry.payload()), entry);
        }

        #[test]
        fn the_index_of_a_record_reads_back(index in 0u32..(1 << RecordId::BITS) - 1, dest: u16) {
            let plain = Entry {
                tick: Tick(7), state: State::Udp, flags: Flags::ASSURED, destination: DestId(dest),
                generation: Generation(3), template: TemplateLife::new(5),
            };
            prop_assert_eq!(plain.record(), None);
            let record = RecordId::from_index(index).expect("24 bits");
            let entry = Entry::from(plain.with_record(record).payload());
            prop_assert_eq!(entry.record(), Some(record));
            prop_assert_eq!((entry.tick, entry.state), (plain.tick, plain.state));
            prop_assert!(entry.flags.contains(Flags::ASSURED));
            prop_assert_eq!(entry.template, plain.template);
        }

        #[test]
        fn a_reply_reads_back(bits in 0u64..1 << 53, tentative: bool) {
            let reply = Reply { of: Place::from_bits(bits), tentative };
            prop_assert_eq!(Reply::from(reply.payload()), reply);
        }
    }
}
