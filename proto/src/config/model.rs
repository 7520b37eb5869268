//! The model: what a configuration says, with every default filled in. Services and their destinations are in
//! [`service`](super::service).
//!
//! A `Config` holds only values that passed the checks of their types. Whether they fit together is what
//! [`validate`](super::validate) says. The spellings of its JSON form are those of the file.

use std::path::PathBuf;

use serde::Serialize;

use super::addr::{Cidr, Listen};
use super::service::{Service, Timeouts};
use super::value::{Cores, Duration, Owner};
use super::words::{Mode, Wait};
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

    /// The timeouts of a service: its own, and the director's for those that it does not set.
    #[must_use]
    pub fn timeouts_of(&self, service: &Service) -> Timeouts {
        service.timeouts.or(self.director.timeouts)
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
    /// The timeouts of services that do not set their own.
    pub timeouts: Timeouts,
    /// What is done about floods of new connections.
    pub flood: Flood,
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
            timeouts: Timeouts::default(),
            flood: Flood::default(),
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

/// What is done about floods of new connections. All numbers count new connections; a rate is a second's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Flood {
    /// How many a worker takes entries for in a second; beyond it flood mode begins. 0 is no bound.
    pub new_connections: u32,
    /// How many a second are let in from each source address, before a worker sees them. 0 is no bound.
    pub source_rate: u32,
    /// How many of one source may come at once; 0 is as many as its rate lets in within a second.
    pub source_burst: u32,
    /// How many a second are let in to each virtual address, before a worker sees them. 0 is no bound.
    pub vip_rate: u32,
    /// How many to one virtual address may come at once; 0 is as many as its rate lets in within a second.
    pub vip_burst: u32,
}

impl Default for Flood {
    fn default() -> Self {
        Flood { new_connections: 200_000, source_rate: 0, source_burst: 0, vip_rate: 0, vip_burst: 0 }
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
    /// Queue i is served by the worker on core `queue_cores[i mod len]`; empty deals the queues out over all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queue_cores: Vec<u16>,
}

impl Interface {
    /// An interface of which only the name is given.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Interface {
        Interface {
            name: name.into(),
            mode: Mode::Auto,
            mac: None,
            addresses: Vec::new(),
            mtu: None,
            queue_cores: Vec::new(),
        }
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
