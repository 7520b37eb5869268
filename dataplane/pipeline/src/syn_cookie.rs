//! SYN cookies: answering a SYN without remembering it.
//!
//! All that the director must know when the client's acknowledgement comes is in the sequence number that it
//! acknowledges, and in the timestamp that it echoes. Nothing is stored, so that a flood of SYNs costs
//! nothing but their answers.
//!
//! ```text
//!   sequence number of the SYN+ACK, less a hash of the flow
//!   31      27 26   24 23                                      0
//!   +---------+-------+------------------------------------------+
//!   | counter |  mss  | keyed hash of flow, client's number,     |
//!   |         |       | counter (all of it) and mss              |
//!   +---------+-------+------------------------------------------+
//!
//!   timestamp of the SYN+ACK, if the client sent one
//!   31                                        6    5      4   3      0
//!   +------------------------------------------+-------+------+--------+
//!   | milliseconds, from somewhere             | spare | SACK | window |     window scale: 15 for none
//!   +------------------------------------------+-------+------+--------+
//! ```
//!
//! - The counter counts 64 s; a cookie is good for that of its making and the next: 64 to 128 s.
//! - Of the 2^32 acknowledgements that somebody who sees none of our packets can try, 16 are good.
//! - The number grows with the counter above what is fixed for a flow, as RFC 9293 §3.4.1 wants initial
//!   numbers to.
//! - Only a client that sends timestamps gets window scale and SACK: elsewhere there is no room to remember
//!   them. The bits in the timestamp are not protected. A client that changes them lies about itself alone.
//! - ECN is not negotiated.
//!
//! The key is the caller's: random, made at start, never shown. With it anybody could open connections from
//! any address. Read RFC 4987 §3.6 first.

use crate::time::Time;
use sheave_proto::wire::flow::FlowKey;
use sheave_proto::wire::tcp_options::SynOptions;
use siphasher::sip::SipHasher24;
use std::fmt;

/// Maximum segment sizes that a cookie can tell apart: a client's is rounded down. The first is for whatever
/// is less, the next two are what is assumed without the option (RFC 9293 §3.7.1), then come tunnels,
/// Ethernet and jumbo frames.
const SIZES: [u16; 8] = [88, 536, 1220, 1360, 1400, 1440, 1460, 8940];

const COUNTER: u64 = 64 * Time::SECOND;
const COUNTER_AT: u32 = 27;
const SIZE_AT: u32 = 24;
const HASH_MASK: u32 = (1 << SIZE_AT) - 1;

const SCALE_MASK: u32 = 0xf;
const SACK: u32 = 1 << 4;
const STAMP_MASK: u32 = 0x3f;

/// What the director promises clients before it knows which real server they get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// The largest segment that clients may send.
    pub mss: u16,
    /// The scale of the windows that clients will be shown, at most 14.
    pub window_scale: u8,
}

/// The answer to a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Its sequence number.
    pub isn: u32,
    /// Its options.
    pub options: SynOptions,
}

/// What a client's acknowledgement says that was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    /// The largest segment that the client takes, perhaps rounded down.
    pub mss: u16,
    /// The scale of the client's windows. With it the director's are scaled as it has offered.
    pub window_scale: Option<u8>,
    /// Whether the client understands selective acknowledgements.
    pub sack_permitted: bool,
    /// The client's timestamp, and ours that it echoes.
    pub timestamps: Option<(u32, u32)>,
}

/// A maker of cookies.
#[derive(Clone)]
pub struct Cookies(SipHasher24);

/// The key is not shown.
impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cookies").finish_non_exhaustive()
    }
}

impl Cookies {
    /// Cookies under a secret key.
    #[must_use]
    pub fn new(key: [u64; 2]) -> Cookies {
        Cookies(SipHasher24::new_with_keys(key[0], key[1]))
    }

    /// The answer to a SYN: `flow` is the client's, to the VIP; `isn` and `options` are the SYN's.
    #[must_use]
    pub fn make(
        &self,
        flow: &FlowKey,
        isn: u32,
        options: &SynOptions,
        (offer, now): (Offer, Time),
    ) -> Answer {
        let without = if flow.dst.is_ipv4() { 536 } else { 1220 };
        let size = size_below(options.mss.unwrap_or(without));
        let (base, stamps) = self.base(flow);
        let cookie = base.wrapping_add(self.cookie(flow, isn, counter(now), size));
        let Some((value, _)) = options.timestamps else {
            return Answer {
                isn: cookie,
                options: SynOptions { mss: Some(offer.mss), ..SynOptions::default() },
            };
        };
        let bits = options.window_scale.map_or(SCALE_MASK, u32::from)
            | if options.sack_permitted { SACK } else { 0 };
        let stamp = stamps.wrapping_add(milliseconds(now)) & !STAMP_MASK | bits;
        let options = SynOptions {
            mss: Some(offer.mss),
            window_scale: options.window_scale.map(|_| offer.window_scale),
            sack_permitted: options.sack_permitted,
            timestamps: Some((stamp, value)),
        };
        Answer { isn: cookie, options }
    }

    /// What was agreed on with a client, by its first segment without SYN: its sequence number less one is
    /// `isn`, its acknowledgement number less one is `cookie`. `None` if we have not answered such a SYN, or
    /// not lately.
    #[must_use]
    pub fn check(
        &self,
        flow: &FlowKey,
        (isn, cookie): (u32, u32),
        timestamps: Option<(u32, u32)>,
        now: Time,
    ) -> Option<Negotiated> {
        let found = cookie.wrapping_sub(self.base(flow).0);
        let size = (found >> SIZE_AT) & 7;
        let (now, before) = (Some(counter(now)), counter(now).checked_sub(1));
        [now, before].into_iter().flatten().find(|&then| self.cookie(flow, isn, then, size) == found)?;
        let bits = timestamps.map(|(_, echo)| echo & STAMP_MASK);
        Some(Negotiated {
            mss: *SIZES.get(usize::try_from(size).ok()?)?,
            window_scale: bits.and_then(scale),
            sack_permitted: bits.is_some_and(|bits| bits & SACK != 0),
            timestamps,
        })
    }

    /// Where the numbers of a flow begin: those of its sequence, and those of its timestamps.
    #[expect(clippy::cast_possible_truncation, reason = "both halves are wanted")]
    fn base(&self, flow: &FlowKey) -> (u32, u32) {
        let hash = self.hash(flow, 0, 0, 8);
        (hash as u32, (hash >> 32) as u32)
    }

    /// A cookie without its base.
    #[expect(clippy::cast_possible_truncation, reason = "fields are cut out of longer numbers")]
    fn cookie(&self, flow: &FlowKey, isn: u32, counter: u64, size: u32) -> u32 {
        let hash = self.hash(flow, isn, counter, size) as u32;
        ((counter as u32) << COUNTER_AT) | (size << SIZE_AT) | (hash & HASH_MASK)
    }

    fn hash(&self, flow: &FlowKey, isn: u32, counter: u64, size: u32) -> u64 {
        let [a, b, c, d, e] = flow.words();
        let words = [a, b, c, d, e, (u64::from(size) << 32) | u64::from(isn), counter];
        self.0.hash(words.map(u64::to_be_bytes).as_flattened())
    }
}

fn counter(now: Time) -> u64 {
    now.0 / COUNTER
}

#[expect(clippy::cast_possible_truncation, reason = "timestamps are modulo 2^32")]
fn milliseconds(now: Time) -> u32 {
    (now.0 / (Time::SECOND / 1000)) as u32
}

/// Which of the [`SIZES`] is the largest that is no more than `mss`; the first if none is.
fn size_below(mss: u16) -> u32 {
    let sizes = SIZES.iter().skip(1).take_while(|size| **size <= mss);
    sizes.fold(0, |index, _| index + 1)
}

/// The window scale in the low bits of a timestamp.
fn scale(bits: u32) -> Option<u8> {
    u8::try_from(bits & SCALE_MASK).ok().filter(|scale| *scale <= 14)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sheave_proto::wire::flow::Proto;

    const OFFER: Offer = Offer { mss: 1420, window_scale: 7 };
    const KEY: [u64; 2] = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

    fn flow() -> FlowKey {
        FlowKey {
            proto: Proto::Tcp,
            src: "192.0.2.1".parse().unwrap(),
            dst: "198.18.0.100".parse().unwrap(),
            sport: 40000,
            dport: 80,
        }
    }

    fn flow_v6() -> FlowKey {
        FlowKey { src: "2001:db8::1".parse().unwrap(), dst: "2001:db8:18::100".parse().unwrap(), ..flow() }
    }

    fn at(seconds: u64) -> Time {
        Time(seconds * Time::SECOND)
    }

    const FULL: SynOptions = SynOptions {
        mss: Some(1460),
        window_scale: Some(9),
        sack_permitted: true,
        timestamps: Some((77, 0)),
    };

    #[test]
    fn a_client_with_timestamps_gets_all() {
        let cookies = Cookies::new(KEY);
        let answer = cookies.make(&flow(), 1000, &FULL, (OFFER, at(100)));
        let (stamp, echo) = answer.options.timestamps.unwrap();
        let expected = SynOptions {
            mss: Some(1420),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some((stamp, 77)),
        };
        assert_eq!((answer.options, echo, stamp & 0x3f), (expected, 77, 0x19));
        let agreed = cookies.check(&flow(), (1000, answer.isn), Some((78, stamp)), at(101));
        let expected = Negotiated {
            mss: 1460,
            window_scale: Some(9),
            sack_permitted: true,
            timestamps: Some((78, stamp)),
        };
        assert_eq!(agreed, Some(expected));
    }

    #[test]
    fn a_client_without_timestamps_gets_a_segment_size() {
        let cookies = Cookies::new(KEY);
        let options = SynOptions { timestamps: None, ..FULL };
        let answer = cookies.make(&flow(), 1000, &options, (OFFER, at(100)));
        assert_eq!(answer.options, SynOptions { mss: Some(1420), ..SynOptions::default() });
        let expected = Negotiated { mss: 1460, window_scale: None, sack_permitted: false, timestamps: None };
        assert_eq!(cookies.check(&flow(), (1000, answer.isn), None, at(100)), Some(expected));
    }

    #[test]
    fn segment_sizes_are_rounded_down() {
        let cookies = Cookies::new(KEY);
        for (flow, mss, expected) in [
            (flow(), None, 536),
            (flow_v6(), None, 1220),
            (flow(), Some(0), 88),
            (flow(), Some(535), 88),
            (flow(), Some(536), 536),
            (flow(), Some(1459), 1440),
            (flow(), Some(1460), 1460),
            (flow(), Some(8939), 1460),
            (flow(), Some(65535), 8940),
        ] {
            let answer = cookies.make(&flow, 5, &SynOptions { mss, ..SynOptions::default() }, (OFFER, at(0)));
            let agreed = cookies.check(&flow, (5, answer.isn), None, at(0)).unwrap();
            assert_eq!(agreed.mss, expected, "{mss:?}");
        }
    }

    #[test]
    fn a_cookie_is_good_for_one_to_two_counts() {
        let cookies = Cookies::new(KEY);
        for made in [0, 63, 64, 100, 64 * 31, 64 * 32 + 1, 1 << 30] {
            let answer = cookies.make(&flow(), 1000, &FULL, (OFFER, at(made)));
            let good = |now| cookies.check(&flow(), (1000, answer.isn), None, at(now)).is_some();
            assert!(good(made) && good(made + 64), "{made}");
            assert!(!good(made + 128), "{made}");
            assert!(!good(made + 64 * 32), "the counter's low bits come again");
            assert!(made < 64 || !good(made - 64), "{made}");
        }
    }

    #[test]
    fn everything_counts() {
        let cookies = Cookies::new(KEY);
        let answer = cookies.make(&flow(), 1000, &FULL, (OFFER, at(100)));
        let good = |flow: &FlowKey, isn| cookies.check(flow, (isn, answer.isn), None, at(100)).is_some();
        assert!(good(&flow(), 1000));
        assert!(!good(&flow(), 1001));
        for other in [
            FlowKey { src: "192.0.2.2".parse().unwrap(), ..flow() },
            FlowKey { dst: "198.18.0.101".parse().unwrap(), ..flow() },
            FlowKey { sport: 40001, ..flow() },
            FlowKey { dport: 81, ..flow() },
            flow().reversed(),
        ] {
            assert!(!good(&other, 1000), "{other}");
        }
        let other = Cookies::new([KEY[0], KEY[1] ^ 1]);
        assert_eq!(other.check(&flow(), (1000, answer.isn), None, at(100)), None);
        assert_eq!(format!("{cookies:?}"), "Cookies(..)");
    }

    #[test]
    fn numbers_grow_with_the_counter() {
        let cookies = Cookies::new(KEY);
        let number = |seconds| cookies.make(&flow(), 1000, &FULL, (OFFER, at(seconds))).isn;
        for count in 0..40 {
            let step = number(64 * (count + 1)).wrapping_sub(number(64 * count));
            assert!((1..1 << 28).contains(&step), "{count}: {step:#x}");
        }
    }

    proptest! {
        #[test]
        fn what_was_agreed_on_comes_back(
            isn: u32, mss: Option<u16>, scale in prop::option::of(0u8..=14), sack: bool, stamp: Option<u32>,
            key: [u64; 2], seconds in 0u64..1 << 33, v6: bool,
        ) {
            let flow = if v6 { flow_v6() } else { flow() };
            let cookies = Cookies::new(key);
            let options = SynOptions {
                mss, window_scale: scale, sack_permitted: sack, timestamps: stamp.map(|value| (value, 0)),
            };
            let answer = cookies.make(&flow, isn, &options, (OFFER, at(seconds)));
            let echo = answer.options.timestamps.map(|(value, _)| (7, value));
            let agreed = cookies.check(&flow, (isn, answer.isn), echo, at(seconds + 1)).unwrap();
            prop_assert_eq!(agreed.window_scale, scale.filter(|_| stamp.is_some()));
            prop_assert_eq!(agreed.sack_permitted, sack && stamp.is_some());
            prop_assert_eq!(agreed.timestamps, echo);
            let wanted = mss.unwrap_or(if v6 { 1220 } else { 536 });
            prop_assert!(agreed.mss <= wanted.max(88) && SIZES.contains(&agreed.mss));
            prop_assert_eq!(answer.options.timestamps.map(|(_, echo)| echo), stamp);
        }

        #[test]
        fn a_guess_is_not_good(isn: u32, guess: u32, seconds in 0u64..1 << 33) {
            // Sixteen of 2^32 are.
            prop_assert_eq!(Cookies::new(KEY).check(&flow(), (isn, guess), None, at(seconds)), None);
        }
    }
}
