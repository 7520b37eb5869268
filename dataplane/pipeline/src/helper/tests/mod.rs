//! Control channels as they are on the wire, line by line and cut into segments.

mod edit;
mod grammar;
mod stream;
mod talk;

use super::*;
use sheave_proto::wire::checksum::Sum;
use std::net::Ipv4Addr;

/// A header of 24 bytes, so with an option, whose checksum is filled in by [`segment`].
const HEADER: [u8; 24] = [
    0x9c, 0x40, 0x00, 0x15, 0, 0, 0, 0, 0x0a, 0x0b, 0x0c, 0x0d, 0x60, 0x18, 0xfa, 0xf0, 0, 0, 0, 0, 1, 1, 1,
    0,
];

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 100);

/// What the checksum is computed over besides the segment.
fn pseudo(len: usize) -> Sum {
    Sum::pseudo_v4(CLIENT, VIP, 6, u16::try_from(len).unwrap())
}

/// A segment with a right checksum.
fn segment(seq: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [HEADER.as_slice(), payload].concat();
    bytes[4..8].copy_from_slice(&seq.to_be_bytes());
    let sum = pseudo(bytes.len()).bytes(&bytes).checksum();
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// What is left of the sum over a segment: zero if its checksum is right.
fn residue(bytes: &[u8]) -> u16 {
    pseudo(bytes.len()).bytes(bytes).checksum()
}

fn control() -> Control {
    Control {
        client: (CLIENT, 40000).into(),
        vip: (VIP, 21).into(),
        real: (Ipv4Addr::new(198, 19, 1, 11), 2121).into(),
    }
}

fn control_v6() -> Control {
    Control {
        client: "[2001:db8::1]:40000".parse().unwrap(),
        vip: "[2001:db8:18::100]:21".parse().unwrap(),
        real: "[2001:db8:19::11]:21".parse().unwrap(),
    }
}

/// A channel that is listened to.
struct Channel {
    control: Control,
    stream: Stream,
    expected: Vec<Expectation>,
    /// Added to every port asked for; none is given without.
    shift: Option<u16>,
}

impl Channel {
    fn new(control: Control) -> Channel {
        Channel { control, stream: Stream::default(), expected: Vec::new(), shift: Some(0) }
    }

    /// What becomes of a payload, and the report.
    fn say(&mut self, side: Side, seq: u32, payload: &[u8]) -> (Vec<u8>, Report) {
        let mut buf = segment(seq, payload);
        let len = buf.len();
        buf.resize(len + ROOM, 0xaa);
        let mut segment = Segment::new(&mut buf, len).unwrap();
        let (shift, expected) = (self.shift, &mut self.expected);
        let report = Helper::Ftp.inspect((&self.control, side), &mut self.stream, &mut segment, |wanted| {
            let port = wanted.vport.checked_add(shift?)?;
            expected.push(wanted);
            Some(port)
        });
        assert_eq!(segment.len(), len.checked_add_signed(report.change as isize).unwrap());
        let new_len = segment.len();
        buf.truncate(new_len);
        assert_eq!(residue(&buf), 0, "the checksum is not in step");
        (buf.split_off(HEADER.len()), report)
    }

    /// A real server's segment right behind a line end.
    fn reply(&mut self, payload: &[u8]) -> (Vec<u8>, Report) {
        let _ = self.say(Side::Real, 1000, b"220 Ready.\r\n");
        self.say(Side::Real, 1012, payload)
    }

    fn command(&mut self, payload: &[u8]) -> (Vec<u8>, Report) {
        self.say(Side::Client, 1000, payload)
    }
}

/// The report with these notes, once each.
fn noted(change: i32, notes: &[Note]) -> Report {
    let mut report = Report { change, ..Report::default() };
    notes.iter().for_each(|note| report.note(*note));
    report
}
