//! A client behind the client, which becomes a router; the link between them is narrow.
//!
//! ```text
//!   far  f0 .2 ------ n0 .1  client  c0 .2 ------ (the topology)
//!        198.51.100.0/24, 2001:2:0:2::/64
//! ```

use std::net::IpAddr;

use crate::topology::{Family, addr};
use crate::{Lab, Netns, Result};

/// The far client's addresses.
const FAR: [&str; 2] = ["198.51.100.2", "2001:2:0:2::2"];
/// Those of the client's other interface.
const NEAR: [&str; 2] = ["198.51.100.1", "2001:2:0:2::1"];

/// The far client.
#[derive(Debug)]
pub struct Far {
    /// Where it runs.
    pub netns: Netns,
}

impl Far {
    /// Makes one behind a link with this MTU, of which it does not know, and tells all routers of it.
    ///
    /// # Errors
    /// When the kernel refuses a part.
    pub fn new(lab: &Lab, mtu: u16) -> Result<Self> {
        let netns = Netns::new("far")?;
        for key in ["all.disable_ipv6", "default.disable_ipv6", "lo.disable_ipv6", "default.accept_dad"] {
            netns.sysctl(&format!("net.ipv6.conf.{key}"), "0")?;
        }
        let far = netns.name();
        lab.client.ip(&format!("link add n0 mtu {mtu} type veth peer name f0 mtu 1500 netns {far}"))?;
        for (host, name, [v4, v6]) in [(&lab.client, "n0", NEAR), (&netns, "f0", FAR)] {
            host.ip(&format!("addr add {v4}/24 dev {name}"))?;
            host.ip(&format!("addr add {v6}/64 dev {name} nodad"))?;
            host.ip(&format!("link set {name} up"))?;
        }
        for router in NEAR {
            netns.ip(&format!("route add default via {router}"))?;
        }
        lab.client.sysctl("net.ipv4.ip_forward", "1")?;
        lab.client.sysctl("net.ipv6.conf.all.forwarding", "1")?;
        for router in [&lab.director, &lab.gateway] {
            router.ip(&format!("route add 198.51.100.0/24 via {}", addr::CLIENT))?;
            router.ip(&format!("route add 2001:2:0:2::/64 via {}", addr::six(addr::CLIENT)))?;
        }
        Ok(Self { netns })
    }

    /// Its address.
    #[must_use]
    pub fn address(family: Family) -> &'static str {
        FAR[usize::from(family == Family::V6)]
    }

    /// The address of the router before it.
    #[must_use]
    pub fn router(family: Family) -> &'static str {
        NEAR[usize::from(family == Family::V6)]
    }

    /// The hops to an address that traceroute shows with these arguments.
    ///
    /// # Errors
    /// When it does not get there.
    pub fn trace(&self, arguments: &[&str], to: IpAddr) -> Result<Vec<String>> {
        let to = to.to_string();
        let common = ["traceroute", "-n", "-q", "1", "-w", "2", "-m", "6"];
        let shown = self.netns.exec(&[&common, arguments, &[&to]].concat())?;
        let hop = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        Ok(shown.lines().skip(1).filter_map(hop).collect())
    }
}
