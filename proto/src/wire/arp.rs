//! ARP for IPv4 over Ethernet (RFC 826; announcements: RFC 5227).
//!
//! ```text
//!   0     2     4  5  6     8            14         18           24         28
//!   +-----+-----+--+--+-----+------------+----------+------------+----------+
//!   |  1  |0800 | 6| 4| op  | sender mac | sender ip| target mac | target ip|
//!   +-----+-----+--+--+-----+------------+----------+------------+----------+
//! ```

use super::Malformed;
use super::eth::{self, Mac, ethertype};
use super::field::Field;
use std::net::Ipv4Addr;

/// Bytes of the ARP packet.
pub const PACKET_LEN: usize = 28;
/// Bytes of a whole frame. Shorter than Ethernet's least (60): whoever sends it pads.
pub const FRAME_LEN: usize = eth::HEADER_LEN + PACKET_LEN;

const HARDWARE: Field<0, 2> = Field;
const PROTOCOL: Field<2, 2> = Field;
const HARDWARE_LEN: Field<4, 1> = Field;
const PROTOCOL_LEN: Field<5, 1> = Field;
const OPERATION: Field<6, 2> = Field;
const SENDER_MAC: Field<8, 6> = Field;
const SENDER_IP: Field<14, 4> = Field;
const TARGET_MAC: Field<18, 6> = Field;
const TARGET_IP: Field<24, 4> = Field;

/// The first 8 bytes but for the operation.
const ETHERNET: u16 = 1;
const MAC_LEN: u8 = 6;
const IPV4_LEN: u8 = 4;

/// What the packet asks or says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender address.
    Reply,
    /// Something else (reverse ARP and the like), by its number.
    Other(u16),
}

impl Operation {
    const fn number(self) -> u16 {
        match self {
            Operation::Request => 1,
            Operation::Reply => 2,
            Operation::Other(number) => number,
        }
    }

    const fn from_number(number: u16) -> Operation {
        match number {
            1 => Operation::Request,
            2 => Operation::Reply,
            other => Operation::Other(other),
        }
    }
}

/// An ARP packet about IPv4 over Ethernet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arp {
    /// What it asks or says.
    pub operation: Operation,
    /// The sender's hardware address.
    pub sender_mac: Mac,
    /// The sender's address; unspecified in a probe.
    pub sender_ip: Ipv4Addr,
    /// The target's hardware address; without meaning in a request.
    pub target_mac: Mac,
    /// The target's address.
    pub target_ip: Ipv4Addr,
}

/// Parses the payload of an ARP frame. `None`: well-formed ARP of other hardware or another protocol.
///
/// # Errors
/// [`Malformed::Truncated`] when it ends too early; [`Malformed::BadLength`] when it claims to be IPv4 over
/// Ethernet with other address lengths than those have.
#[inline]
pub fn parse(packet: &[u8]) -> Result<Option<Arp>, Malformed> {
    let fixed = packet.first_chunk::<8>().ok_or(Malformed::Truncated)?;
    if HARDWARE.get_u16(fixed) != ETHERNET || PROTOCOL.get_u16(fixed) != ethertype::IPV4 {
        return Ok(None);
    }
    if HARDWARE_LEN.get_u8(fixed) != MAC_LEN || PROTOCOL_LEN.get_u8(fixed) != IPV4_LEN {
        return Err(Malformed::BadLength);
    }
    let packet = packet.first_chunk::<PACKET_LEN>().ok_or(Malformed::Truncated)?;
    Ok(Some(Arp {
        operation: Operation::from_number(OPERATION.get_u16(packet)),
        sender_mac: Mac(SENDER_MAC.get(packet)),
        sender_ip: SENDER_IP.get_addr(packet),
        target_mac: Mac(TARGET_MAC.get(packet)),
        target_ip: TARGET_IP.get_addr(packet),
    }))
}

impl Arp {
    /// The question for the hardware address of `target_ip`.
    #[must_use]
    pub const fn request(sender_mac: Mac, sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> Arp {
        Arp { operation: Operation::Request, sender_mac, sender_ip, target_mac: Mac::ZERO, target_ip }
    }

    /// The answer to a request for an address that is at `mac`.
    #[must_use]
    pub const fn answer(&self, mac: Mac) -> Arp {
        Arp {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Gratuitous ARP in the form of a request, as keepalived sends it: both addresses are the announced one,
    /// the target hardware address is broadcast.
    #[must_use]
    pub const fn gratuitous_request(mac: Mac, ip: Ipv4Addr) -> Arp {
        Arp {
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: Mac::BROADCAST,
            target_ip: ip,
        }
    }

    /// Gratuitous ARP in the form of a reply.
    #[must_use]
    pub const fn gratuitous_reply(mac: Mac, ip: Ipv4Addr) -> Arp {
        Arp {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: Mac::BROADCAST,
            target_ip: ip,
        }
    }

    /// Writes the whole frame, from the sender's hardware address to `dst`.
    #[inline]
    pub fn emit(&self, frame: &mut [u8; FRAME_LEN], dst: Mac) {
        let mut header = [0; eth::HEADER_LEN];
        eth::emit(&mut header, dst, self.sender_mac, ethertype::ARP);
        let mut packet = [0; PACKET_LEN];
        HARDWARE.set_u16(&mut packet, ETHERNET);
        PROTOCOL.set_u16(&mut packet, ethertype::IPV4);
        HARDWARE_LEN.set_u8(&mut packet, MAC_LEN);
        PROTOCOL_LEN.set_u8(&mut packet, IPV4_LEN);
        OPERATION.set_u16(&mut packet, self.operation.number());
        SENDER_MAC.set(&mut packet, self.sender_mac.0);
        SENDER_IP.set_addr(&mut packet, self.sender_ip);
        TARGET_MAC.set(&mut packet, self.target_mac.0);
        TARGET_IP.set_addr(&mut packet, self.target_ip);
        frame[..eth::HEADER_LEN].copy_from_slice(&header);
        frame[eth::HEADER_LEN..].copy_from_slice(&packet);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);
    const OURS: Mac = Mac([0x02, 0, 0, 0, 0, 0xd0]);
    const HOST_IP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
    const VIP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 100);

    const REQUEST: [u8; FRAME_LEN] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x06, // to all, from the host
        0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x01, // request
        0x02, 0, 0, 0, 0, 0x01, 198, 18, 0, 2, // sender
        0, 0, 0, 0, 0, 0, 198, 18, 0, 100, // target
    ];
    const ANSWER: [u8; FRAME_LEN] = [
        0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0xd0, 0x08, 0x06, //
        0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, 0x02, //
        0x02, 0, 0, 0, 0, 0xd0, 198, 18, 0, 100, //
        0x02, 0, 0, 0, 0, 0x01, 198, 18, 0, 2, //
    ];

    fn emitted(arp: Arp, dst: Mac) -> [u8; FRAME_LEN] {
        let mut frame = [0xaa; FRAME_LEN];
        arp.emit(&mut frame, dst);
        frame
    }

    #[test]
    fn a_request_and_its_answer() {
        let request = Arp::request(HOST, HOST_IP, VIP);
        assert_eq!(emitted(request, Mac::BROADCAST), REQUEST);
        assert_eq!(parse(&REQUEST[eth::HEADER_LEN..]), Ok(Some(request)));
        let answer = request.answer(OURS);
        assert_eq!(emitted(answer, HOST), ANSWER);
        assert_eq!(parse(&ANSWER[eth::HEADER_LEN..]), Ok(Some(answer)));
    }

    #[test]
    fn announcements_have_two_forms() {
        for (arp, operation) in
            [(Arp::gratuitous_request(OURS, VIP), 1), (Arp::gratuitous_reply(OURS, VIP), 2)]
        {
            let expected = [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0xd0, 0x08, 0x06, //
                0x00, 0x01, 0x08, 0x00, 6, 4, 0x00, operation, //
                0x02, 0, 0, 0, 0, 0xd0, 198, 18, 0, 100, //
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 198, 18, 0, 100, //
            ];
            assert_eq!(emitted(arp, Mac::BROADCAST), expected);
        }
    }

    #[test]
    fn refuses_every_shorter_packet() {
        let packet = &REQUEST[eth::HEADER_LEN..];
        for len in 0..PACKET_LEN {
            assert_eq!(parse(&packet[..len]), Err(Malformed::Truncated), "{len} bytes");
        }
        // Ethernet pads it to 60 bytes.
        assert_eq!(parse(&[packet, [0; 18].as_slice()].concat()), parse(packet));
    }

    #[test]
    fn tells_other_arp_from_broken_arp() {
        let with = |at: usize, value: u8| {
            let mut packet = [0; PACKET_LEN];
            packet.copy_from_slice(&REQUEST[eth::HEADER_LEN..]);
            packet[at] = value;
            parse(&packet)
        };
        assert_eq!(with(1, 6), Ok(None));
        assert_eq!(with(3, 6), Ok(None));
        assert_eq!(with(4, 8), Err(Malformed::BadLength));
        assert_eq!(with(5, 16), Err(Malformed::BadLength));
        let operation = with(7, 9).unwrap().map(|arp| arp.operation);
        assert_eq!(operation, Some(Operation::Other(9)));
        assert_eq!(operation.map(Operation::number), Some(9));
    }
}
