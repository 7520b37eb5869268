//! The hash of the hash schedulers: keyed, and the same on every director that has the same key.
//!
//! SipHash-1-3 over one layout of 24 bytes for flows and destinations alike, which the purpose in the first byte
//! keeps apart. Neither a seed nor the order of anything goes into it.

use siphasher::sip::SipHasher13;
use std::net::IpAddr;

/// The key: directors that shall choose alike share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u64; 2]);

/// What is hashed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// An address that a connection comes from or goes to, with a port or 0.
    Flow = 0,
    /// A destination, with the number of its hash.
    Member = 1,
}

impl HashKey {
    /// The key that a text stands for.
    pub fn of(text: &str) -> HashKey {
        HashKey([0, 1].map(|half| SipHasher13::new_with_keys(0, half).hash(text.as_bytes())))
    }

    /// The hash of an address and port, one of as many as wanted.
    #[inline]
    pub(super) fn hash(&self, purpose: Purpose, addr: IpAddr, port: u16, number: u32) -> u64 {
        let mut bytes = [0; 24];
        bytes[0] = purpose as u8;
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        bytes[4..8].copy_from_slice(&number.to_be_bytes());
        match addr {
            IpAddr::V4(addr) => {
                bytes[1] = 4;
                bytes[8..12].copy_from_slice(&addr.octets());
            }
            IpAddr::V6(addr) => {
                bytes[1] = 6;
                bytes[8..24].copy_from_slice(&addr.octets());
            }
        }
        SipHasher13::new_with_keys(self.0[0], self.0[1]).hash(&bytes)
    }
}

impl Default for HashKey {
    fn default() -> HashKey {
        HashKey::of("sheave")
    }
}

/// A number below `bound` from all bits of a hash, without a division.
#[inline]
pub(super) fn reduce(hash: u64, bound: u64) -> u64 {
    ((u128::from(hash) * u128::from(bound)) >> 64) as u64
}

/// A place among `len` from all bits of a hash.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "below the length, which is a usize")]
pub(super) fn place(hash: u64, len: usize) -> usize {
    reduce(hash, len as u64) as usize
}

/// Another hash from a hash: for one more try.
#[inline]
pub(super) fn again(hash: u64, attempt: usize) -> u64 {
    super::rng::mix(hash.wrapping_add((attempt as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}
