//! What the rim knows of the host: its interfaces, the kernel's routes and neighbours.
//!
//! The configuration's own interfaces, routes and neighbours are not repeated here: the compiler merges them in,
//! and they win. In replay there is no kernel, and the configuration says everything.

use crate::dealer::Exhausted;
use crate::desired::Desired;
use crate::ids::Ids;
use sheave_frame::PortId;
use sheave_proto::config::{Cidr, ConfigError};
use sheave_proto::wire::eth::Mac;
use std::net::IpAddr;

/// The largest packet of an interface for which nobody names one.
pub const DEFAULT_MTU: u16 = 1500;

/// The host as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// The interfaces that are served; their order does not matter.
    pub interfaces: Vec<Link>,
    /// Routes of the main table.
    pub routes: Vec<KernelRoute>,
    /// Neighbours with a hardware address that is usable.
    pub neighbours: Vec<KernelNeighbour>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its number, from [`Ids::port`].
    pub port: PortId,
    /// Its hardware address.
    pub mac: Mac,
    /// The largest IP packet that it sends.
    pub mtu: u16,
    /// Its addresses with their connected networks.
    pub addresses: Vec<Cidr>,
    /// Whether it can send; one that cannot has no routes.
    pub up: bool,
}

/// A route of the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelRoute {
    /// The network.
    pub to: Cidr,
    /// Of routes to one network, the one with the lowest metric counts.
    pub metric: u32,
    /// The interface that leads there.
    pub port: PortId,
    /// The gateway; none on the link.
    pub via: Option<IpAddr>,
}

/// A neighbour of the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelNeighbour {
    /// The interface that it is on.
    pub port: PortId,
    /// Its address.
    pub addr: IpAddr,
    /// Its hardware address.
    pub mac: Mac,
}

impl Environment {
    /// The environment of a replay: exactly the interfaces of the configuration, all up, and no kernel.
    ///
    /// # Errors
    /// Every interface of which the configuration does not say what the kernel would.
    pub fn of_configuration(desired: &Desired, ids: &mut Ids) -> Result<Environment, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut interfaces = Vec::new();
        for declared in &desired.config().interfaces {
            let missing = |what: &str, example: &str| {
                ConfigError::invalid(
                    declared.label(),
                    format!("{what} not given, and a replay asks no kernel"),
                    format!("add {example}"),
                )
            };
            if declared.addresses.is_empty() {
                errors.push(missing("addresses are", "addresses = [\"ADDRESS/LENGTH\"]"));
            }
            let Some(mac) = declared.mac else {
                errors.push(missing("mac is", "mac = \"02:00:00:00:00:01\""));
                continue;
            };
            match ids.port(&declared.name) {
                Ok(port) => interfaces.push(Link {
                    name: declared.name.clone(),
                    port,
                    mac,
                    mtu: declared.mtu.unwrap_or(DEFAULT_MTU),
                    addresses: declared.addresses.clone(),
                    up: true,
                }),
                Err(full) => errors.push(exhausted(&full)),
            }
        }
        if errors.is_empty() { Ok(Environment { interfaces, ..Environment::default() }) } else { Err(errors) }
    }

    /// The interface with this number.
    pub fn link(&self, port: PortId) -> Option<&Link> {
        self.interfaces.iter().find(|link| link.port == port)
    }
}

/// The error of a limit, as one of the configuration that runs into it.
pub(crate) fn exhausted(full: &Exhausted) -> ConfigError {
    ConfigError::invalid(
        full.what,
        format!("the limit of {} is reached", full.limit),
        "remove some, or wait a few seconds if some were removed just now",
    )
}
