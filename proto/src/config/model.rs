//! The model: what a configuration says, with every default filled in.
//!
//! A `Config` holds only values that passed the checks of their types. Whether they fit together is what
//! [`validate`](super::validate) says. The spellings of its JSON form are those of the file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};

use super::addr::{Cidr, DestAddr, Listen};
use super::value::{Cores, Duration, Owner, Timeout, Weight};
use super::words::{Forward, Mode, OnRemoval, Scheduler, Wait};
use crate::wire::eth::Mac;

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Config {
    /// `[director]`.
    pub director: Director,
    /// `[[interface]]`; none means every Ethernet interface that is up.
    #[serde(rename = "interface")]
    pub interfaces: Vec<Interface>,
    /// `[[neighbour]]`.
    #[serde(rename = "neighbour")]
    pub neighbours: Vec<Neighbour>,
    /// `[[route]]`.
    #[serde(rename = "route")]
    pub routes: Vec<Route>,
    /// `[[service]]`.
    #[serde(rename = "service")]
    pub services: Vec<Service>,
}

impl Config {
    /// The service that a name or a listen string means.
    #[must_use]
    pub fn find_service(&self, reference: &str) -> Option<usize> {
        let named = self.services.iter().position(|service| service.name == reference);
        named.or_else(|| {
            let listen: Listen = reference.parse().ok()?;
            self.services.iter().position(|service| service.listens.contains(&listen))
        })
    }
}

/// The director itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Director {
    /// Its name among directors; none is the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where the workers run.
    pub cores: Cores,
    /// The path of the control socket, whose mode is 0660.
    pub socket: PathBuf,
    /// Who owns the socket; none is the user that runs the director.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_owner: Option<Owner>,
    /// The group of the socket; none is that of the user that runs the director.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_group: Option<Owner>,
    /// How workers wait.
    pub wait: Wait,
    /// How many connections the table holds, whatever their method.
    pub max_connections: u32,
    /// The key of the hash schedulers; directors that shall choose alike share it.
    pub hash_key: String,
    /// How virtual addresses are announced.
    pub announce: Announce,
}

impl Director {
    /// The default path of the control socket.
    pub const SOCKET: &'static str = "/run/sheave/control.sock";
    /// The default size of the connection table.
    pub const CONNECTIONS: u32 = 1_000_000;
    /// The greatest size of the connection table.
    pub const MOST_CONNECTIONS: u32 = 1 << 27;
    /// The default key of the hash schedulers.
    pub const HASH_KEY: &'static str = "sheave";
}

impl Default for Director {
    fn default() -> Self {
        Director {
            name: None,
            cores: Cores::Auto,
            socket: PathBuf::from(Self::SOCKET),
            socket_owner: None,
            socket_group: None,
            wait: Wait::Adaptive,
            max_connections: Self::CONNECTIONS,
            hash_key: Self::HASH_KEY.to_owned(),
            announce: Announce::default(),
        }
    }
}

/// How a virtual address is announced when it comes up, and from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Announce {
    /// Announcements in a block; 0 is none at all.
    pub repeat: u8,
    /// From the first block to the second; zero is no second block.
    pub delay: Duration,
    /// Between single announcements from then on; zero is never again.
    pub refresh: Duration,
}

impl Default for Announce {
    fn default() -> Self {
        Announce { repeat: 5, delay: Duration::from_secs(5), refresh: Duration::from_secs(60) }
    }
}

/// An interface that the director serves.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Interface {
    /// The kernel's name of it.
    pub name: String,
    /// How it is attached.
    pub mode: Mode,
    /// Its address; none is what the kernel says. Replay needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// Its addresses with their connected networks; empty is what the kernel says. Replay needs them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Cidr>,
    /// The largest packet; none is what the kernel says, in replay 1500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
}

impl Interface {
    /// An interface of which only the name is given.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Interface {
        Interface { name: name.into(), mode: Mode::Auto, mac: None, addresses: Vec::new(), mtu: None }
    }

    /// How errors and plans call it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("interface {}", super::value::bare(&self.name))
    }
}

/// A static neighbour.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Neighbour {
    /// Its address.
    pub address: std::net::IpAddr,
    /// Its hardware address.
    pub mac: Mac,
    /// The interface that it is reached through.
    pub interface: String,
}

impl Neighbour {
    /// How errors and plans call it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("neighbour {}", self.address)
    }
}

/// A static route.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Route {
    /// The network; its host bits are zero.
    pub to: Cidr,
    /// The next hop; none is on the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<std::net::IpAddr>,
    /// The interface that leads there.
    pub interface: String,
}

impl Route {
    /// How errors and plans call it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("route {}", self.to)
    }
}

/// A virtual service.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Service {
    /// What it listens on; never empty, and one unless it is a bundle.
    #[serde(rename = "listen", serialize_with = "one_or_list")]
    pub listens: Vec<Listen>,
    /// Its name; the listen string unless one is given.
    pub name: String,
    /// How destinations are chosen.
    pub scheduler: Scheduler,
    /// The forwarding method of destinations that name none.
    pub forward: Forward,
    /// The timeouts of its connection entries.
    pub timeouts: Timeouts,
    /// Whether clients stay with their destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// The one interface on which its address is answered and announced, if named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// What happens to connections of a destination that goes away.
    pub on_removal: OnRemoval,
    /// Its destinations in the order of the configuration.
    #[serde(rename = "destination")]
    pub destinations: Vec<Destination>,
}

fn one_or_list<S: Serializer>(listens: &[Listen], serializer: S) -> Result<S::Ok, S::Error> {
    match listens {
        [one] => one.serialize(serializer),
        list => list.serialize(serializer),
    }
}

impl Service {
    /// A service with every default and no destination.
    #[must_use]
    pub fn new(listen: Listen) -> Service {
        Service {
            listens: vec![listen],
            name: listen.to_string(),
            scheduler: Scheduler::Wlc,
            forward: Forward::Nat,
            timeouts: Timeouts::default(),
            persistence: None,
            interface: None,
            on_removal: OnRemoval::Reset,
            destinations: Vec::new(),
        }
    }

    /// The first listen; the only one unless the service is a bundle.
    ///
    /// # Panics
    /// When `listens` was emptied by hand.
    #[must_use]
    pub fn listen(&self) -> &Listen {
        self.listens.first().expect("a service has a listen")
    }

    /// The name of a service that gives none: its listens.
    #[must_use]
    pub fn default_name(listens: &[Listen]) -> String {
        listens.iter().map(Listen::to_string).collect::<Vec<_>>().join(",")
    }

    /// How errors, plans and events call it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("service {}", super::value::bare(&self.name))
    }

    /// How errors, plans and events call one of its destinations.
    #[must_use]
    pub fn destination_label(&self, destination: &DestAddr) -> String {
        format!("destination {destination} of {}", self.label())
    }

    /// The forwarding method of one of its destinations.
    #[must_use]
    pub fn forward_of(&self, destination: &Destination) -> Forward {
        destination.forward.unwrap_or(self.forward)
    }

    /// Which of its destinations an address means; without a port, the service's is meant.
    #[must_use]
    pub fn find_destination(&self, address: &DestAddr) -> Option<usize> {
        let ports = self.listen().ports;
        self.destinations.iter().position(|destination| destination.address.same_under(address, ports))
    }
}

/// How long entries of a service live without a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Timeouts {
    /// Established TCP connections.
    pub tcp: Timeout,
    /// TCP connections in FIN_WAIT.
    pub tcp_fin: Timeout,
    /// UDP.
    pub udp: Timeout,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { tcp: Timeout::known(900), tcp_fin: Timeout::known(120), udp: Timeout::known(300) }
    }
}

/// Clients stay with the destination they were given first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Persistence {
    /// For so long after the last use.
    pub timeout: Timeout,
    /// Clients with so many bits of their address in common count as one; none is the whole address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netmask: Option<u8>,
}

impl Default for Persistence {
    fn default() -> Self {
        Persistence { timeout: Timeout::known(360), netmask: None }
    }
}

/// A destination: a real server as a member of a service.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Destination {
    /// Where it is.
    pub address: DestAddr,
    /// Its share of new connections.
    pub weight: Weight,
    /// How packets reach it; none is the service's method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// It counts as overloaded from so many connections on; 0 is never.
    pub upper_threshold: u32,
    /// An overloaded one is given connections again below so many; 0 is three quarters of the upper.
    pub lower_threshold: u32,
}

impl Destination {
    /// A destination with every default.
    #[must_use]
    pub fn new(address: DestAddr) -> Destination {
        Destination { address, weight: Weight::ONE, forward: None, upper_threshold: 0, lower_threshold: 0 }
    }
}
