//! Neighbour discovery: solicitations and advertisements over Ethernet (RFC 4861; duplicate addresses: RFC 4862;
//! link-layer options: RFC 2464).
//!
//! ```text
//!   | IPv6, 40, hops 255 | type 135/136, code, checksum | flags    | target, 16 | option: 1 or 2 | 1 | mac, 6 |
//!                                                         R S O
//! ```
//!
//! A message is believed only with a hop limit of 255: no router has passed it on. Which targets are ours, and
//! whom to believe, is for the caller to know. Router discovery and redirects are not read.

use super::checksum::Address;
use super::eth::{self, Mac, ethertype};
use super::field::Field;
use super::icmpv6::{self, CHECKSUM, TYPE_CODE, icmp_type};
use super::ipv6::{self, Ipv6, next_header};
use std::fmt;
use std::net::Ipv6Addr;

/// The hop limit of every such message.
pub const HOP_LIMIT: u8 = 255;
/// Bytes of the longest packet written here, from the IPv6 header on; a probe is one option shorter.
pub const PACKET_LEN: usize = ipv6::HEADER_LEN + BODY_LEN + OPTION_LEN;
/// Bytes of the longest untagged frame written here.
pub const FRAME_LEN: usize = eth::HEADER_LEN + PACKET_LEN;
/// All hosts of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Bytes of a message without options.
const BODY_LEN: usize = 24;
/// Bytes of a link-layer option; options count in units of as many.
const OPTION_LEN: usize = 8;

/// Payload lengths, without and with an option.
const BARE_LEN: u16 = 24;
const WITH_OPTION_LEN: u16 = 32;
const _: () = assert!(BARE_LEN as usize == BODY_LEN && WITH_OPTION_LEN as usize == BODY_LEN + OPTION_LEN);

const FLAGS: Field<4, 1> = Field;
const TARGET: Field<8, 16> = Field;

const OPTION_TYPE: Field<0, 1> = Field;
const OPTION_UNITS: Field<1, 1> = Field;
const OPTION_MAC: Field<2, 6> = Field;

const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Why a message is not to be believed (RFC 4861 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NdpError {
    /// It ends too early.
    Truncated,
    /// The hop limit is not 255: it comes from another network.
    HopLimit,
    /// The code is not 0.
    Code,
    /// The checksum is wrong.
    Checksum,
    /// The target is a multicast address.
    Target,
    /// An option has length 0, goes on behind the message, or holds something else than a MAC address.
    Option,
    /// A probe, from the unspecified address, to somewhere else than the target's group, or with a link-layer
    /// address.
    Probe,
    /// An advertisement to a group that claims to be solicited.
    Solicited,
}

impl fmt::Display for NdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NdpError::Truncated => "truncated",
            NdpError::HopLimit => "hop limit is not 255",
            NdpError::Code => "code is not 0",
            NdpError::Checksum => "wrong checksum",
            NdpError::Target => "target is a multicast address",
            NdpError::Option => "impossible option",
            NdpError::Probe => "impossible probe",
            NdpError::Solicited => "solicited advertisement to a group",
        })
    }
}

impl std::error::Error for NdpError {}

/// Who has the target address?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Solicitation {
    /// The address in question.
    pub target: Ipv6Addr,
    /// The sender's hardware address; none in a probe.
    pub mac: Option<Mac>,
}

/// The sender has the target address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advertisement {
    /// The address that is announced.
    pub target: Ipv6Addr,
    /// Where it is; may be left out of an answer to a unicast solicitation.
    pub mac: Option<Mac>,
    /// The sender is a router.
    pub router: bool,
    /// It answers a solicitation.
    pub solicited: bool,
    /// It replaces what is known of the target's hardware address.
    pub replaces: bool,
}

/// A message of neighbour discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ndp {
    /// Who has the target address?
    Solicitation(Solicitation),
    /// The sender has the target address.
    Advertisement(Advertisement),
}

/// Parses and checks an ICMPv6 message that `ip` carries. `None`: a well-formed message that is neither
/// solicitation nor advertisement, or one too short to have a type.
///
/// # Errors
/// See [`NdpError`].
pub fn parse(ip: &Ipv6, message: &[u8]) -> Result<Option<Ndp>, NdpError> {
    let Some(header) = message.first_chunk::<{ icmpv6::HEADER_LEN }>() else { return Ok(None) };
    let [icmp_type, code] = TYPE_CODE.get(header);
    if !matches!(icmp_type, icmp_type::NEIGHBOUR_SOLICITATION | icmp_type::NEIGHBOUR_ADVERTISEMENT) {
        return Ok(None);
    }
    if ip.hop_limit != HOP_LIMIT {
        return Err(NdpError::HopLimit);
    }
    if !icmpv6::checksum_ok(ip.src, ip.dst, message) {
        return Err(NdpError::Checksum);
    }
    if code != 0 {
        return Err(NdpError::Code);
    }
    let (body, options) = message.split_first_chunk::<BODY_LEN>().ok_or(NdpError::Truncated)?;
    let target = TARGET.get_addr6(body);
    if target.is_multicast() {
        return Err(NdpError::Target);
    }
    Ok(Some(if icmp_type == icmp_type::NEIGHBOUR_SOLICITATION {
        Ndp::Solicitation(solicitation(ip, target, options)?)
    } else {
        Ndp::Advertisement(advertisement(ip, target, FLAGS.get_u8(body), options)?)
    }))
}

fn solicitation(ip: &Ipv6, target: Ipv6Addr, options: &[u8]) -> Result<Solicitation, NdpError> {
    let mac = link_option(options, SOURCE_LINK)?;
    if ip.src.is_unspecified() && (mac.is_some() || ip.dst != solicited_node(target)) {
        return Err(NdpError::Probe);
    }
    Ok(Solicitation { target, mac })
}

fn advertisement(ip: &Ipv6, target: Ipv6Addr, flags: u8, options: &[u8]) -> Result<Advertisement, NdpError> {
    let solicited = flags & SOLICITED != 0;
    if solicited && ip.dst.is_multicast() {
        return Err(NdpError::Solicited);
    }
    Ok(Advertisement {
        target,
        mac: link_option(options, TARGET_LINK)?,
        router: flags & ROUTER != 0,
        solicited,
        replaces: flags & OVERRIDE != 0,
    })
}

/// The hardware address in the first option of a kind. All options are walked: a broken one spoils the message.
fn link_option(mut options: &[u8], kind: u8) -> Result<Option<Mac>, NdpError> {
    let mut found = None;
    while !options.is_empty() {
        let header = options.first_chunk::<OPTION_LEN>().ok_or(NdpError::Option)?;
        let units = usize::from(OPTION_UNITS.get_u8(header));
        if OPTION_TYPE.get_u8(header) == kind && found.is_none() {
            // RFC 2464 §6: of Ethernet, it is one unit long.
            found = Some(if units == 1 { Ok(Mac(OPTION_MAC.get(header))) } else { Err(NdpError::Option) }?);
        }
        options = match units {
            0 => return Err(NdpError::Option),
            _ => options.get(units * OPTION_LEN..).ok_or(NdpError::Option)?,
        };
    }
    Ok(found)
}

/// The group that an address's owner listens to (RFC 4291 §2.7.1).
#[must_use]
pub const fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a as u16, (b as u16) << 8 | c as u16)
}

/// The hardware address of a group (RFC 2464 §7).
#[must_use]
pub const fn multicast_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

impl Solicitation {
    /// The question for the hardware address of `target`, asked from `mac`.
    #[must_use]
    pub const fn request(target: Ipv6Addr, mac: Mac) -> Solicitation {
        Solicitation { target, mac: Some(mac) }
    }

    /// The question whether somebody has `target` already (RFC 4862 §5.4.2); its source is the unspecified
    /// address.
    #[must_use]
    pub const fn probe(target: Ipv6Addr) -> Solicitation {
        Solicitation { target, mac: None }
    }

    /// The answer of the owner at `mac` to the one who asked from `source`, and to whom it goes: all hosts, not
    /// solicited, if that was a probe (RFC 4861 §7.2.4).
    #[must_use]
    pub const fn answer(&self, source: Ipv6Addr, mac: Mac) -> (Advertisement, Ipv6Addr) {
        let asked = !source.is_unspecified();
        let to = if asked { source } else { ALL_NODES };
        let answer = Advertisement { solicited: asked, ..Advertisement::announcement(self.target, mac) };
        (answer, to)
    }
}

impl Advertisement {
    /// The news, to [`ALL_NODES`], that `target` is at `mac` now (RFC 4861 §7.2.6).
    #[must_use]
    pub const fn announcement(target: Ipv6Addr, mac: Mac) -> Advertisement {
        Advertisement { target, mac: Some(mac), router: false, solicited: false, replaces: true }
    }
}

impl Ndp {
    fn parts(&self) -> (u8, u8, Ipv6Addr, (u8, Option<Mac>)) {
        match self {
            Ndp::Solicitation(Solicitation { target, mac }) => {
                (icmp_type::NEIGHBOUR_SOLICITATION, 0, *target, (SOURCE_LINK, *mac))
            }
            Ndp::Advertisement(Advertisement { target, mac, router, solicited, replaces }) => {
                let flag = |set: bool, bit: u8| if set { bit } else { 0 };
                let flags = flag(*router, ROUTER) | flag(*solicited, SOLICITED) | flag(*replaces, OVERRIDE);
                (icmp_type::NEIGHBOUR_ADVERTISEMENT, flags, *target, (TARGET_LINK, *mac))
            }
        }
    }
    /// Writes the packet, from the IPv6 header on, and returns its length.
    #[must_use]
    pub fn emit(&self, packet: &mut [u8; PACKET_LEN], src: Ipv6Addr, dst: Ipv6Addr) -> usize {
        let (icmp_type, flags, target, (kind, mac)) = self.parts();
        let mut body = [0; BODY_LEN];
        TYPE_CODE.set(&mut body, [icmp_type, 0]);
        FLAGS.set_u8(&mut body, flags);
        TARGET.set_addr6(&mut body, target);
        let mut option = [0; OPTION_LEN];
        let mut payload_len = BARE_LEN;
        if let Some(mac) = mac {
            OPTION_TYPE.set_u8(&mut option, kind);
            OPTION_UNITS.set_u8(&mut option, 1);
            OPTION_MAC.set(&mut option, mac.0);
            payload_len = WITH_OPTION_LEN;
        }
        // Where there is no option, its zeros add nothing to the sum.
        let sum = Ipv6Addr::pseudo(src, dst, next_header::ICMPV6, payload_len).bytes(&body).bytes(&option);
        CHECKSUM.set_u16(&mut body, sum.checksum());

        let mut header = [0; ipv6::HEADER_LEN];
        let (next_header, hop_limit) = (next_header::ICMPV6, HOP_LIMIT);
        ipv6::Header { traffic_class: 0, flow_label: 0, payload_len, next_header, hop_limit, src, dst }
            .emit(&mut header);
        packet[..ipv6::HEADER_LEN].copy_from_slice(&header);
        packet[ipv6::HEADER_LEN..PACKET_LEN - OPTION_LEN].copy_from_slice(&body);
        packet[PACKET_LEN - OPTION_LEN..].copy_from_slice(&option);
        ipv6::HEADER_LEN + usize::from(payload_len)
    }

    /// Writes the whole frame, without tags, and returns its length. `link`: its hardware addresses, `ends`: those
    /// of the packet, both from source to destination.
    #[must_use]
    pub fn emit_frame(
        &self,
        frame: &mut [u8; FRAME_LEN],
        link: (Mac, Mac),
        ends: (Ipv6Addr, Ipv6Addr),
    ) -> usize {
        let mut header = [0; eth::HEADER_LEN];
        eth::emit(&mut header, link.1, link.0, ethertype::IPV6);
        let mut packet = [0; PACKET_LEN];
        let len = self.emit(&mut packet, ends.0, ends.1);
        frame[..eth::HEADER_LEN].copy_from_slice(&header);
        frame[eth::HEADER_LEN..].copy_from_slice(&packet);
        eth::HEADER_LEN + len
    }
}

#[cfg(test)]
#[path = "tests/ndp.rs"]
mod tests;
