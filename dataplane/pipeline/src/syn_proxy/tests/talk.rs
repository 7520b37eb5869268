//! Two ends, each with numbers of its own, talk through the proxy: each reads what the other means.

use super::*;
use crate::seq::Numbers;
use sheave_proto::wire::checksum::Delta;
use sheave_proto::wire::tcp;

/// Two ends that have met: what each has said of itself, and what it was told of the other.
struct Meeting {
    /// The client's SYN, and what it got for it.
    client: (u32, SynOptions),
    proxy_to_client: Packet,
    /// The SYN that the real server got, and its answer.
    proxy_to_real: Packet,
    real: (u32, SynOptions),
    numbers: Numbers,
}

/// Bytes of the two streams, counted from the first, and a window in the sender's units.
#[derive(Debug, Clone, Copy)]
struct Word {
    seq: u32,
    ack: u32,
    window: u16,
}

/// Has two ends meet, who would like these options.
fn meet(isns: (u32, u32), client: SynOptions, real: SynOptions) -> Meeting {
    let client = SynOptions { timestamps: client.timestamps.map(|(value, _)| (value, 0)), ..client };
    let told = answer(&cookies(), &ends().client, &segment(SYN, isns.0, 0, 9, client), (OFFER, now()));
    let echo =
        told.options.timestamps.zip(client.timestamps).map(|((ours, _), (value, _))| stamps(value, ours));
    let next = (isns.0.wrapping_add(1), told.seq.wrapping_add(1));
    let ack = segment(ACK, next.0, next.1, 9, echo.unwrap_or_default());
    let accepted = check(&cookies(), &ends().client, &ack, now()).unwrap();
    let (connecting, syn) = Connecting::new(&ends(), accepted, tick());
    // RFC 7323 §2.2, §3.2: only in answer to the same.
    let real = SynOptions {
        window_scale: syn.options.window_scale.and(real.window_scale),
        timestamps: syn.options.timestamps.and(real.timestamps),
        ..real
    };
    let step =
        connecting.from_real(&ends(), &segment(SYN_ACK, isns.1, syn.seq.wrapping_add(1), 9, real), OFFER);
    let Stage::Open(offsets) = step.stage else { panic!("{step:?}") };
    let numbers = Numbers { offsets, ..Numbers::default() };
    Meeting {
        client: (isns.0, client),
        proxy_to_client: told,
        proxy_to_real: syn,
        real: (isns.1, real),
        numbers,
    }
}

/// The bytes of a window of `of`'s, who scales if `other` does too.
fn bytes(window: u16, of: &SynOptions, other: &SynOptions) -> u64 {
    u64::from(window) << of.window_scale.and(other.window_scale).map_or(0, |_| of.window_scale.unwrap_or(0))
}

impl Meeting {
    /// The client says something, and the real server understands.
    fn client_says(&self, Word { seq, ack, window }: Word) {
        let options = match self.proxy_to_client.options.timestamps {
            Some((first, _)) => stamps(seq, first.wrapping_add(ack)),
            None => PLAIN,
        };
        let numbers = (self.client.0.wrapping_add(seq), self.proxy_to_client.seq.wrapping_add(ack));
        let sent = Packet { window, options, ..packet(ends().real, ACK, numbers.0, numbers.1) };
        let (got, options) = through(&sent, |segment| self.numbers.to_real(segment));
        assert_eq!((got.seq, got.ack), (self.client.0.wrapping_add(seq), self.real.0.wrapping_add(ack)));
        let meant = bytes(window, &self.client.1, &self.proxy_to_client.options);
        let read = bytes(got.window, &self.proxy_to_real.options, &self.real.1);
        // A real server that does not scale knows no larger window.
        assert_eq!(read, if self.real.1.window_scale.is_none() { meant.min(65535) } else { meant });
        if let Some((first, _)) = self.real.1.timestamps {
            assert_eq!(options, stamps(seq, first.wrapping_add(ack)));
        }
    }

    /// The real server says something, and the client understands.
    fn real_says(&self, Word { seq, ack, window }: Word) {
        let options = match self.real.1.timestamps {
            Some((first, _)) => stamps(first.wrapping_add(seq), ack),
            None => PLAIN,
        };
        let numbers = (self.real.0.wrapping_add(seq), self.client.0.wrapping_add(ack));
        let sent = Packet { window, options, ..packet(ends().client, ACK, numbers.0, numbers.1) };
        let (got, options) = through(&sent, |segment| self.numbers.to_client(segment));
        let expected = (self.proxy_to_client.seq.wrapping_add(seq), self.client.0.wrapping_add(ack));
        assert_eq!((got.seq, got.ack), expected);
        let meant = bytes(window, &self.real.1, &self.proxy_to_real.options);
        let read = bytes(got.window, &self.proxy_to_client.options, &self.client.1);
        let unit = bytes(1, &self.proxy_to_client.options, &self.client.1);
        // Never more than was meant, and less only by what the client's unit or the field cannot say.
        assert!(read <= meant, "{read} for {meant}");
        assert!(meant - read < unit || got.window == u16::MAX, "{read} for {meant}");
        if let (Some((first, _)), Some(_)) = (self.proxy_to_client.options.timestamps, options.timestamps) {
            assert_eq!(options, stamps(first.wrapping_add(seq), ack));
        }
    }
}

/// A packet's segment as it arrives, its checksum still right.
fn through(packet: &Packet, translate: impl FnOnce(&mut [u8]) -> Delta) -> (Tcp, SynOptions) {
    let mut bytes = [0; Packet::MAX_LEN];
    let len = packet.write(&mut bytes).unwrap();
    let segment = &mut bytes[ipv4::HEADER_LEN..len];
    let delta = translate(segment);
    tcp::HeaderMut::new(segment).unwrap().update_checksum(delta);
    let sliced = SlicedPacket::from_ip(&bytes[..len]).unwrap();
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(slice))) = (sliced.net, sliced.transport) else {
        panic!("no longer a packet")
    };
    let (src, dst) = (ip.header().source(), ip.header().destination());
    assert_eq!(slice.checksum(), slice.calc_checksum_ipv4(src, dst).unwrap());
    let segment = &bytes[ipv4::HEADER_LEN..len];
    (tcp::parse(segment).unwrap(), SynOptions::read(segment))
}

proptest! {
    #[test]
    fn both_ends_mean_the_same(
        isns: (u32, u32), client in options(), real in options(),
        talk in prop::collection::vec((any::<bool>(), 0u32..100_000, 0u32..100_000, any::<u16>()), 1..20),
    ) {
        let meeting = meet(isns, client, real);
        for (from_client, seq, ack, window) in talk {
            let word = Word { seq, ack, window };
            if from_client { meeting.client_says(word) } else { meeting.real_says(word) }
        }
    }
}
