//! Sticky tables: the persistence templates, each of which keeps a client with its destination.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::traffic::UnixTime;
use crate::config::{Cidr, DestAddr, ValueError, quote, serde_as_string};

/// Which templates are meant; all that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StickyFilter {
    /// Those of this service.
    pub service: Option<String>,
    /// Those that one of these clients would be brought by: it is theirs, or that of a network that they are in.
    pub client: Option<Clients>,
    /// Those that lead to this destination; without a port, to any of this address.
    pub destination: Option<DestAddr>,
}

/// One client or a network of them: `192.0.2.7`, `192.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clients(Cidr);

impl Clients {
    /// Whether they have an address in common with a network.
    #[must_use]
    pub fn meet(&self, network: Cidr) -> bool {
        self.0.contains(network.addr()) || network.contains(self.0.addr())
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = if self.0.addr().is_ipv4() { 32 } else { 128 };
        if self.0.prefix() == whole { self.0.addr().fmt(f) } else { self.0.fmt(f) }
    }
}

impl FromStr for Clients {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Clients, ValueError> {
        if text.contains('/') {
            return text.parse().map(Clients);
        }
        let addr: IpAddr = text.parse().map_err(|_| {
            let message = format!("{} is not an address", quote(text));
            ValueError::new(message, "write ADDRESS or ADDRESS/LENGTH, as in 192.0.2.7 or 192.0.2.0/24")
        })?;
        Cidr::new(addr, if addr.is_ipv4() { 32 } else { 128 }).map(Clients)
    }
}

serde_as_string!(Clients);

/// The answer to `sticky.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StickyPage {
    /// When the page was read; templates change while pages are turned.
    pub as_of: UnixTime,
    /// The templates that were asked for.
    pub entries: Vec<StickyEntry>,
    /// Where the next page begins: to be given back as it is. None when this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StickyEntry {
    /// The name of the service.
    pub service: String,
    /// The client with the prefix that the service's netmask leaves of it.
    pub client: Cidr,
    /// The destination; without a port under those that keep the packet's.
    pub destination: DestAddr,
    /// How many connections it has brought there that have not ended.
    pub connections: u64,
    /// Seconds until it expires if no connection is opened.
    pub expires_in: f64,
}

/// The answer to `sticky.clear`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StickyCleared {
    /// Since when they are gone.
    pub as_of: UnixTime,
    /// How many there were. Their connections go on.
    pub cleared: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_meet_the_networks_that_they_are_in_or_hold() {
        for (clients, network, meet) in [
            ("192.0.2.7", "192.0.2.7/32", true),
            ("192.0.2.7", "192.0.2.8/32", false),
            ("192.0.2.7", "192.0.2.0/24", true),
            ("192.0.2.0/24", "192.0.2.7/32", true),
            ("192.0.2.9/24", "192.0.2.0/28", true),
            ("192.0.2.0/25", "192.0.2.128/25", false),
            ("0.0.0.0/0", "192.0.2.7/32", true),
            ("0.0.0.0/0", "2001:db8::7/128", false),
            ("2001:db8::7", "2001:db8::/64", true),
            ("2001:db8:1::/48", "2001:db8:2::/64", false),
        ] {
            let (parsed, net): (Clients, Cidr) = (clients.parse().unwrap(), network.parse().unwrap());
            assert_eq!(parsed.meet(net), meet, "{clients} {network}");
            assert_eq!(parsed.to_string(), clients);
        }
        for bad in ["", "web", "192.0.2.7/", "192.0.2.7/33", "192.0.2.7:80", "2001:db8::/129"] {
            assert!(bad.parse::<Clients>().is_err(), "{bad}");
        }
    }
}
