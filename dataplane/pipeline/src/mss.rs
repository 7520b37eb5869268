//! The largest segment that a SYN may announce, so that TCP stays below what the way can carry.
//!
//! A SYN tells the other side how large its segments may be. What a SYN of the client says concerns the
//! segments of the real server, what a SYN+ACK says those of the client. With direct routing and tunnels the
//! director sees the first only: there it helps real servers that send through the same narrow way or measure
//! their own announcement by the client's. The client's own segments are held to the way by path MTU discovery.
//!
//! A SYN without the option is left without: it stands for 536 or 1220 bytes (RFC 9293 §3.7.1), which fit
//! nearly everywhere.

use sheave_proto::wire::tcp_options::clamp_mss;
use sheave_proto::wire::{ipv4, ipv6, tcp};

/// A service's `mss-clamp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clamp {
    /// To what the way leaves, where that is less than its link's MTU.
    #[default]
    Auto,
    /// Not at all.
    Off,
    /// To this many bytes.
    To(u16),
}

/// The way of a connection's packets to its real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// MTU of the link out.
    pub(crate) link: u16,
    /// Bytes of a packet that fits: what the path carries, less what a tunnel puts in front.
    pub(crate) usable: u16,
}

impl Clamp {
    /// The largest segment that a SYN may announce on `way`; `None` for any. Zero is nobody's: a way that has
    /// no room for one byte of TCP is left to path MTU discovery.
    pub(crate) fn largest(self, way: Way, v6: bool) -> Option<u16> {
        // RFC 9293 §3.7.1: of the fixed headers alone; options of either header are the sender's to subtract.
        let headers = if v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN } + tcp::HEADER_LEN;
        match self {
            Clamp::Off => None,
            Clamp::To(bytes) => Some(bytes),
            Clamp::Auto if way.usable >= way.link => None,
            Clamp::Auto => way.usable.checked_sub(u16::try_from(headers).ok()?).filter(|bytes| *bytes != 0),
        }
    }
}

/// Lowers what a SYN announces to `largest`, with its checksum. `segment` is the TCP header and what follows;
/// one that is no SYN has nothing to announce, which is for the caller to see.
pub(crate) fn announce(segment: &mut [u8], largest: u16) {
    let delta = clamp_mss(segment, largest);
    if let Some(mut header) = tcp::HeaderMut::new(segment) {
        header.update_checksum(delta);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{Ipv4Header, TcpHeader, TcpOptionElement};
    use proptest::prelude::*;

    const ETHERNET: Way = Way { link: 1500, usable: 1500 };

    #[test]
    fn auto_clamps_where_the_way_is_narrower_than_its_link() {
        for (link, path, overhead, v4, v6) in [
            (1500, 1500, 0, None, None),
            (1400, 1400, 0, None, None),
            (1500, 1500, 20, Some(1440), Some(1420)),
            (1500, 1400, 0, Some(1360), Some(1340)),
            (1500, 1400, 44, Some(1316), Some(1296)),
            (1500, 68, 20, Some(8), None),
            (1500, 60, 20, None, None),
            (1500, 61, 20, Some(1), None),
            (1500, 30, 20, None, None),
        ] {
            let way = Way { link, usable: path - overhead };
            let largest = [false, true].map(|v6| Clamp::Auto.largest(way, v6));
            assert_eq!(largest, [v4, v6], "{way:?}");
            assert_eq!(Clamp::Off.largest(way, false), None);
            assert_eq!(Clamp::To(900).largest(way, true), Some(900));
        }
        assert_eq!(Clamp::default().largest(ETHERNET, false), None);
    }

    /// A segment with the options, as others write it.
    fn segment(options: &[TcpOptionElement], payload: &[u8], ip: &Ipv4Header) -> Vec<u8> {
        let mut tcp = TcpHeader::new(40_000, 80, 7, 8192);
        tcp.syn = true;
        tcp.set_options(options).expect("at most 40 bytes");
        tcp.checksum = tcp.calc_checksum_ipv4(ip, payload).expect("fits");
        [tcp.to_bytes().as_slice(), payload].concat()
    }

    fn option() -> impl Strategy<Value = TcpOptionElement> {
        prop_oneof![
            Just(TcpOptionElement::Noop),
            Just(TcpOptionElement::SelectiveAcknowledgementPermitted),
            any::<u8>().prop_map(TcpOptionElement::WindowScale),
            (any::<u32>(), any::<u32>()).prop_map(|(a, b)| TcpOptionElement::Timestamp(a, b)),
        ]
    }

    proptest! {
        #[test]
        fn others_read_the_lower_one(
            before in prop::collection::vec(option(), 0..4),
            after in prop::collection::vec(option(), 0..2),
            announced in prop::option::of(any::<u16>()),
            largest in any::<u16>(),
            payload in prop::collection::vec(any::<u8>(), 0..9),
        ) {
            let list = |mss: Option<u16>| -> Vec<_> {
                let mss = mss.map(TcpOptionElement::MaximumSegmentSize);
                before.iter().cloned().chain(mss).chain(after.iter().cloned()).collect()
            };
            prop_assume!(list(announced).iter().map(size).sum::<usize>() <= 40);
            let ip = Ipv4Header { source: [192, 0, 2, 1], destination: [198, 18, 0, 100], ..Default::default() };
            let mut bytes = segment(&list(announced), &payload, &ip);
            announce(&mut bytes, largest);
            prop_assert_eq!(bytes, segment(&list(announced.map(|mss| mss.min(largest))), &payload, &ip));
        }

        #[test]
        fn anything_stays_as_long_as_it_is_and_breaks_nothing(
            mut bytes in prop::collection::vec(any::<u8>(), 0..80),
            largest in any::<u16>(),
        ) {
            let len = bytes.len();
            announce(&mut bytes, largest);
            let once = bytes.clone();
            announce(&mut bytes, largest);
            prop_assert_eq!((bytes.len(), &bytes), (len, &once));
        }
    }

    fn size(option: &TcpOptionElement) -> usize {
        match option {
            TcpOptionElement::Noop => 1,
            TcpOptionElement::MaximumSegmentSize(_) => 4,
            TcpOptionElement::WindowScale(_) => 3,
            TcpOptionElement::SelectiveAcknowledgementPermitted => 2,
            TcpOptionElement::Timestamp(..) => 10,
            TcpOptionElement::SelectiveAcknowledgement(..) => 34,
        }
    }
}
