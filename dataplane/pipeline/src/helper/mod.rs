//! Helpers: protocols that name addresses and ports in what they say, and open further connections to them.
//!
//! A service with a helper has the segments of its connections looked at here, both ways, under NAT. A helper
//! finds the connection that is about to be opened (an [`Expectation`]), has it put into the table under a
//! port of the VIP by the caller, and rewrites what was said in place. What that does to the numbers of the
//! stream is kept in its [`SeqAdjust`]; all segments of the connection are the caller's to translate.
//!
//! What holds for every helper:
//! - **Nobody is sent to a third party.** An address other than the speaker's own is not followed (the FTP
//!   bounce attack, RFC 2577 §3): what was said passes as it is, and is counted.
//! - A real server opens no privileged port to a client by what it says, so that a file's name in a listing,
//!   say, does not open its other services.
//! - What is said is looked at only where a whole line lies in one segment. A line split over two passes as
//!   it is, and is counted.
//! - The same segment again gives the same bytes again, if the caller finds the same expectation again.
//! - No bytes make a helper panic, and none make it read or write beyond the segment and its room.
//!
//! [`ftp`] is the first. TFTP and SIP would be further variants of [`Helper`], each a module with its
//! grammar: the seam is [`Helper::inspect`], and the [`Memory`] word of a stream whose meaning is the
//! helper's own.

mod edit;
pub mod ftp;
mod replies;
#[cfg(test)]
mod tests;

pub use edit::{NoRoom, Segment};

use crate::seq::SeqAdjust;
use sheave_proto::wire::flow::Proto;
use std::net::{IpAddr, SocketAddr};

/// A protocol with a helper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Helper {
    /// FTP's control channel (RFC 959, RFC 2428).
    Ftp,
}

/// Connections that one segment can announce, at most.
pub const MAX_FOUND: u8 = 4;

/// Bytes by which one segment can grow, at most: its buffer should have as much room behind it.
pub const ROOM: usize = MAX_FOUND as usize * ftp::MAX_GROWTH;

/// The connection on which something is said: client to `vip`, which is NAT to `real`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// The client.
    pub client: SocketAddr,
    /// What it has connected to.
    pub vip: SocketAddr,
    /// Where the director sends it.
    pub real: SocketAddr,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The real server.
    Real,
}

/// A connection that will be opened, and must go where its parent goes.
///
/// With a client's port, the real server opens it: real:rport to client:port, which the client sees coming
/// from vip:vport. Without, the client does: from any port to vip:vport, which goes to real:rport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Expectation {
    /// The client.
    pub client: IpAddr,
    /// The client's port, if it is known.
    pub client_port: Option<u16>,
    /// The VIP.
    pub vip: IpAddr,
    /// The VIP's port.
    pub vport: u16,
    /// The real server.
    pub real: IpAddr,
    /// Its port.
    pub rport: u16,
    /// The transport protocol.
    pub proto: Proto,
}

/// What a helper remembers of a stream between segments: a word of its own. Zero at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memory(pub u64);

/// What is known of one side's stream, a word each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stream {
    /// What rewriting has done to its numbers.
    pub adjust: SeqAdjust,
    /// What the helper remembers.
    pub memory: Memory,
}

macro_rules! notes {
    ($($variant:ident $name:literal $help:literal;)+) => {
        /// What can be noted of a line; a counter each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Note {
            $(#[doc = $help] $variant,)+
        }

        impl Note {
            /// All of them, in the order of their counters.
            pub const ALL: &'static [Note] = &[$(Note::$variant,)+];

            /// The name of its counter.
            pub const fn name(self) -> &'static str {
                match self { $(Note::$variant => $name,)+ }
            }

            /// One sentence for operators.
            pub const fn help(self) -> &'static str {
                match self { $(Note::$variant => $help,)+ }
            }
        }
    };
}

notes! {
    Followed  "helper-followed"  "commands and replies that announced a connection: it is expected, and what was said rewritten";
    Foreign   "helper-foreign"   "ignored: they named an address other than the speaker's";
    Forbidden "helper-forbidden" "ignored: they named a port that may not be opened";
    Malformed "helper-malformed" "ignored: they are not as their protocol says";
    Split     "helper-split"     "ignored: they go on in another segment";
    Full      "helper-full"      "ignored: no place to expect a connection, or their segment had announced enough";
    NoRoom    "helper-no-room"   "ignored: what would have to be said does not fit where they lie";
}

/// What came of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct Report {
    /// Bytes by which it has grown; negative if it has shrunk.
    pub change: i32,
    notes: [u16; Note::ALL.len()],
}

impl Report {
    /// How often something is to be noted.
    #[must_use]
    pub fn count(&self, note: Note) -> u16 {
        self.notes[note as usize]
    }

    /// What was noted, and how often.
    pub(crate) fn noted(&self) -> impl Iterator<Item = (Note, u16)> {
        Note::ALL.iter().map(|note| (*note, self.count(*note))).filter(|(_, count)| *count > 0)
    }

    fn note(&mut self, note: Note) {
        let count = &mut self.notes[note as usize];
        *count = count.saturating_add(1);
    }
}

impl Helper {
    /// Looks at a segment on its way through, numbered as its sender counts, and rewrites what must be.
    /// `stream` is the speaker's.
    ///
    /// `expect` notes an expectation and says under which port of the VIP: the one asked for if that is free,
    /// the same one as before if the expectation is there already, `None` if there is no place. A port is
    /// given only where the client opens the connection.
    pub fn inspect(
        self,
        (control, side): (&Control, Side),
        stream: &mut Stream,
        segment: &mut Segment<'_>,
        expect: impl FnMut(Expectation) -> Option<u16>,
    ) -> Report {
        match (self, side) {
            (Helper::Ftp, Side::Client) => ftp::from_client(control, segment, expect),
            (Helper::Ftp, Side::Real) => ftp::from_real(control, stream, segment, expect),
        }
    }
}
