//! Fragments of datagrams, IPv4 and IPv6: all of them go where the first one goes, whichever comes first.
//!
//! Only the first fragment has ports. What the pipeline decides about it is noted with its datagram; later
//! fragments are handled by that note, and those that come before it are held back until it is there. Nothing
//! is put together here: fragments leave as they came.
//!
//! ```text
//!                      +-- first ---> handled like any packet --> decide --+
//!   fragment -> arrive |                                                   v
//!              (shared)+-- later, decided ------------------> handled by the decision --> handled
//!                      |                                                   ^
//!                      +-- early --> hold (own) --> take_settled, each turn +
//! ```
//!
//! [`Datagrams`] is shared by all workers, since fragments of one datagram may reach different ones; [`Early`]
//! is a worker's own list of frames that it holds back.
//!
//! What is noticed, on whichever workers the fragments arrive and in whichever order: every overlap, also with
//! what lies behind the end that the last fragment sets (the datagram is dropped from there on, RFC 5722),
//! exact duplicates (dropped alone, RFC 8200 §4.5), more than [`PIECES`](datagrams::PIECES) fragments (the
//! datagram is dropped). Fragments that are wrong by themselves (tiny, uneven, beyond 65535 bytes) do not
//! become a [`Piece`]. What it costs is bounded: datagrams in number and time, held frames in number a
//! datagram, in number a worker and in time. Where there is no room the oldest gives way to the newest: a flood
//! of fragments shortens how far apart the fragments of a datagram may come, it does not end their service.
//!
//! RFC 6946: an IPv6 packet with a fragment header that says "first and last" is whole. It is no business of
//! this module's.

mod datagrams;
mod early;
mod piece;

pub use datagrams::Datagrams;
pub(crate) use datagrams::{Arrived, Decision};
pub(crate) use early::{Early, Settled};
pub(crate) use piece::{DatagramKey, Piece, Refused};

#[cfg(test)]
mod tests;
