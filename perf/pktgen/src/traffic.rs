//! What to send, in the words of its user.

use sheave_io::lab::Program;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Mac, String> {
        let wrong = || format!("{text}: not a hardware address: write it as 02:00:00:00:00:01");
        let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
        let bytes = bytes.map_err(|_| wrong())?;
        bytes.try_into().map(Mac).map_err(|_| wrong())
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Sizes of frames with their frame check sequence of 4 bytes, as RFC 2544 counts them, and how often each comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes(pub Vec<(u16, u32)>);

impl Sizes {
    /// 7 small, 4 medium, 1 large.
    #[must_use]
    pub fn imix() -> Sizes {
        Sizes(vec![(64, 7), (594, 4), (1518, 1)])
    }

    /// One size.
    #[must_use]
    pub fn one(size: u16) -> Sizes {
        Sizes(vec![(size, 1)])
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        if text == "imix" {
            return Ok(Sizes::imix());
        }
        let wrong =
            || format!("size {text}: write 64, imix, or sizes with their weights as in 64:7,594:4,1518:1");
        let one = |part: &str| {
            let (size, weight) = part.split_once(':').unwrap_or((part, "1"));
            match (size.parse(), weight.parse()) {
                (Ok(size @ 64..=3000), Ok(weight @ 1..=1000)) => Ok((size, weight)),
                _ => Err(wrong()),
            }
        };
        let sizes: Vec<_> = text.split(',').map(one).collect::<Result<_, _>>()?;
        // The other half of the shapes is for opening packets.
        if sizes.len() > sheave_io::lab::SHAPES / 2 { Err(wrong()) } else { Ok(Sizes(sizes)) }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [(size, _)] => write!(f, "{size}"),
            _ if *self == Sizes::imix() => f.write_str("imix"),
            sizes => {
                let parts: Vec<String> =
                    sizes.iter().map(|(size, weight)| format!("{size}:{weight}")).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

/// How packets are spread over flows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// Each flow has as many as every other.
    Uniform,
    /// The flow of rank k has a share of `1 / k^s`.
    Zipf(f64),
}

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Spread, String> {
        let exponent = text.strip_prefix("zipf").map(|s| s.strip_prefix(':').unwrap_or("1.1").parse());
        match (text, exponent) {
            ("uniform", _) => Ok(Spread::Uniform),
            (_, Some(Ok(s))) if s > 0.0 && s < 10.0 => Ok(Spread::Zipf(s)),
            _ => Err(format!("spread {text}: unknown: use uniform, zipf or zipf:1.1")),
        }
    }
}

/// What a TCP packet is; of UDP there is one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP with data. The first packet of each flow is a SYN.
    Tcp,
    /// TCP SYNs only.
    Syn,
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Protocol, String> {
        match text {
            "udp" => Ok(Protocol::Udp),
            "tcp" => Ok(Protocol::Tcp),
            "syn" => Ok(Protocol::Syn),
            _ => Err(format!("protocol {text}: unknown: use udp, tcp or syn")),
        }
    }
}

/// The hardware address of the station that serves the port of a flood: a sink sets aside what comes to it.
pub const FLOODED: Mac = Mac([2, 0, 0, 0, 2, 0x0f]);

/// What to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Traffic {
    /// To whom: the service.
    pub to: SocketAddr,
    /// What.
    pub protocol: Protocol,
    /// The sender's hardware address.
    pub source: Mac,
    /// That of the director.
    pub next_hop: Mac,
    /// The address of the first client; each further client has the next one. Its first 96 bits are everybody's.
    pub first_client: IpAddr,
    /// How many flows. A client has 16384 of them.
    pub flows: u32,
    /// Whether each round over the flows has others than the one before.
    pub fresh: bool,
    /// SYNs behind each packet, of flows that nobody has seen before, to the port above: a flood. The flows themselves are
    /// taken to be established.
    pub flood: u32,
    /// How packets are spread over flows.
    pub spread: Spread,
    /// Sizes of packets.
    pub sizes: Sizes,
    /// The order of flows and sizes.
    pub seed: u64,
}

impl Traffic {
    /// 64 byte UDP packets of 16384 flows, in the laboratory's addresses.
    #[must_use]
    pub fn to(to: SocketAddr) -> Traffic {
        let v4 = IpAddr::V4(Ipv4Addr::new(198, 18, 128, 0));
        let v6 = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0x18, 0, 0, 0xc612, 0x8000));
        Traffic {
            to,
            protocol: Protocol::Udp,
            source: Mac([2, 0, 0, 0, 0, 0xe0]),
            next_hop: Mac([2, 0, 0, 0, 0, 0xd0]),
            first_client: if to.is_ipv4() { v4 } else { v6 },
            flows: 1 << sheave_io::lab::PORT_BITS,
            fresh: false,
            flood: 0,
            spread: Spread::Uniform,
            sizes: Sizes::one(64),
            seed: 1,
        }
    }

    /// Which program makes these packets.
    #[must_use]
    pub fn program(&self) -> Program {
        match (self.protocol, self.to.is_ipv4()) {
            (Protocol::Udp, true) => Program::Udp4,
            (Protocol::Udp, false) => Program::Udp6,
            (_, true) => Program::Tcp4,
            (_, false) => Program::Tcp6,
        }
    }

    /// The last 32 bits of the first client's address.
    #[must_use]
    pub fn first_host(&self) -> u32 {
        match self.first_client {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(address) => u32::try_from(address.to_bits() & 0xffff_ffff).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_command_line_are_understood() {
        assert_eq!("imix".parse(), Ok(Sizes::imix()));
        assert_eq!("64".parse(), Ok(Sizes::one(64)));
        assert_eq!("64:7,594:4,1518:1".parse(), Ok(Sizes::imix()));
        assert!("63".parse::<Sizes>().is_err() && "64:0".parse::<Sizes>().is_err());
        assert_eq!("zipf".parse(), Ok(Spread::Zipf(1.1)));
        assert_eq!("zipf:0.9".parse(), Ok(Spread::Zipf(0.9)));
        assert!("pareto".parse::<Spread>().is_err());
        assert_eq!("02:00:00:00:00:d0".parse(), Ok(Mac([2, 0, 0, 0, 0, 0xd0])));
        assert!("02:00:00:00:00".parse::<Mac>().is_err());
        assert_eq!("syn".parse(), Ok(Protocol::Syn));
    }
}
