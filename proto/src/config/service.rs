//! The model of a virtual service and its destinations.
//!
//! A word that only some schedulers, protocols or methods have is `None` unless it is given, so that one
//! which cannot be carried out is refused, and not ignored; its default is what the method of the same name
//! says, as in [`Service::mh_table`].

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize, Serializer};

use super::addr::{DestAddr, Listen, Ports};
use super::tuning::{BackupBelow, Draws, MhTable, MssClamp, SlowStart, TunnelPort};
use super::value::{Timeout, Weight};
use super::words::{Forward, Helper, Intent, OnRemoval, Scheduler, SchedulerFlag, TunnelType};
use crate::wire::flow::Proto;

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
    /// Variants of the scheduler.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub scheduler_flags: BTreeSet<SchedulerFlag>,
    /// mh: the slots of the table, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mh_table: Option<MhTable>,
    /// random: how many destinations are drawn, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draws: Option<Draws>,
    /// The forwarding method of destinations that name none.
    pub forward: Forward,
    /// The timeouts of its connection entries, as far as they are its own.
    #[serde(skip_serializing_if = "OwnTimeouts::is_empty")]
    pub timeouts: OwnTimeouts,
    /// Whether clients stay with their destination.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// UDP: each packet is scheduled by itself, without an entry.
    pub one_packet: bool,
    /// TCP: a packet without an entry is scheduled also when it opens no connection.
    pub sloppy: bool,
    /// TCP under NAT: the director completes the handshake, with cookies, before it takes an entry.
    pub syn_proxy: bool,
    /// TCP: what becomes of the maximum segment size in a SYN.
    pub mss_clamp: MssClamp,
    /// Whether DF of a packet is kept on the packet that wraps it, so that the path's MTU is found out.
    pub pmtu_discovery: bool,
    /// What follows connections that the protocol announces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub helper: Option<Helper>,
    /// Where connections go when no destination can take them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sorry: Option<Sorry>,
    /// When backup destinations are used.
    pub backup_below: BackupBelow,
    /// How long the weight of a new or recovered destination takes to grow; none is no time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStart>,
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
        Service { listens: vec![listen], name: listen.to_string(), ..Service::defaults() }
    }

    /// The defaults, of nothing yet.
    pub(super) fn defaults() -> Service {
        Service {
            listens: Vec::new(),
            name: String::new(),
            scheduler: Scheduler::Wlc,
            scheduler_flags: BTreeSet::new(),
            mh_table: None,
            draws: None,
            forward: Forward::Nat,
            timeouts: OwnTimeouts::default(),
            persistence: None,
            one_packet: false,
            sloppy: false,
            syn_proxy: false,
            mss_clamp: MssClamp::Auto,
            pmtu_discovery: true,
            helper: None,
            sorry: None,
            backup_below: BackupBelow::default(),
            slow_start: None,
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

    /// The one port of all its listens, if they have one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        let port = self.listen().ports.single();
        port.filter(|_| self.listens.iter().all(|listen| listen.ports.single() == port))
    }

    /// The first port that data connections of FTP begin at.
    pub const FIRST_DATA_PORT: u16 = 1024;

    /// Where the connections begin that follow from those to one of its listens, with `helper = "ftp"`: one port below
    /// (active mode), and every unprivileged one that nobody listens on by itself (passive mode).
    #[must_use]
    pub fn data_listens(control: &Listen) -> Vec<Listen> {
        let unprivileged = Ports::Range(Service::FIRST_DATA_PORT, u16::MAX);
        let below = control.ports.single().and_then(|port| port.checked_sub(1));
        let below = below.filter(|port| (1..Service::FIRST_DATA_PORT).contains(port)).map(Ports::One);
        below.into_iter().chain([unprivileged]).map(|ports| Listen { ports, ..*control }).collect()
    }

    /// All that its helper, if it has one, needs to have steered to it.
    #[must_use]
    pub fn helper_listens(&self) -> Vec<Listen> {
        let controls = self.listens.iter().filter(|listen| self.helper.is_some() && listen.speaks_ftp());
        controls.flat_map(Service::data_listens).collect()
    }

    /// Whether it listens on a port of the protocol.
    #[must_use]
    pub fn speaks(&self, proto: Proto) -> bool {
        self.listens.iter().any(|listen| listen.proto == proto)
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

    /// The slots of its Maglev table.
    #[must_use]
    pub fn mh_table(&self) -> MhTable {
        self.mh_table.unwrap_or_default()
    }

    /// How many destinations `random` draws.
    #[must_use]
    pub fn draws(&self) -> Draws {
        self.draws.unwrap_or_default()
    }

    /// The forwarding method of one of its destinations.
    #[must_use]
    pub fn forward_of(&self, destination: &Destination) -> Forward {
        destination.forward.unwrap_or(self.forward)
    }

    /// A destination's address with the port that it has for every listen; without one, each packet keeps its own.
    #[must_use]
    pub fn full_address(&self, address: &DestAddr) -> DestAddr {
        DestAddr { addr: address.addr, port: address.port.or_else(|| self.port()) }
    }

    /// Which of its destinations an address means; without a port, the service's is meant.
    #[must_use]
    pub fn find_destination(&self, address: &DestAddr) -> Option<usize> {
        let meant = self.full_address(address);
        self.destinations.iter().position(|destination| self.full_address(&destination.address) == meant)
    }
}

/// How long entries live without a packet.
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

/// Those of IPVS.
impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { tcp: Timeout::known(900), tcp_fin: Timeout::known(120), udp: Timeout::known(300) }
    }
}

/// The timeouts that a service sets for itself; `None` is the director's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct OwnTimeouts {
    /// Established TCP connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Timeout>,
    /// TCP connections in FIN_WAIT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_fin: Option<Timeout>,
    /// UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<Timeout>,
}

impl OwnTimeouts {
    /// Whether all are the director's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == OwnTimeouts::default()
    }

    /// These, and the director's for those that are not set.
    #[must_use]
    pub fn or(&self, director: Timeouts) -> Timeouts {
        Timeouts {
            tcp: self.tcp.unwrap_or(director.tcp),
            tcp_fin: self.tcp_fin.unwrap_or(director.tcp_fin),
            udp: self.udp.unwrap_or(director.udp),
        }
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

/// The server that says sorry: it takes connections that no destination can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sorry {
    /// Where it is.
    pub address: DestAddr,
    /// How packets reach it; none is the service's method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
}

impl Sorry {
    /// The same as a destination, with every other setting at its default.
    #[must_use]
    pub fn destination(&self) -> Destination {
        Destination { forward: self.forward, ..Destination::new(self.address) }
    }
}

/// A destination: a real server as a member of a service.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Destination {
    /// Where it is. Under `forward = "local"` it only names it: packets stay as they are.
    pub address: DestAddr,
    /// Its share of new connections.
    pub weight: Weight,
    /// How packets reach it; none is the service's method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// tun: how packets are wrapped, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel: Option<TunnelType>,
    /// tun with GUE: the UDP port that packets are sent to, if given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tunnel_port: Option<TunnelPort>,
    /// tun with GRE or GUE: whether the tunnel's header carries a checksum.
    pub tunnel_checksum: bool,
    /// What the operator intends it to do.
    pub state: Intent,
    /// Whether it is used only while fewer than `backup-below` others are usable.
    pub backup: bool,
    /// It counts as overloaded from so many connections on, active and inactive; 0 is never.
    pub upper_threshold: u32,
    /// An overloaded one is given connections again below so many; 0 is three quarters of the upper.
    pub lower_threshold: u32,
    /// It is never given more connections than this, active and inactive; 0 is no limit.
    pub connection_limit: u32,
}

impl Destination {
    /// A destination with every default.
    #[must_use]
    pub fn new(address: DestAddr) -> Destination {
        Destination {
            address,
            weight: Weight::ONE,
            forward: None,
            tunnel: None,
            tunnel_port: None,
            tunnel_checksum: false,
            state: Intent::Ready,
            backup: false,
            upper_threshold: 0,
            lower_threshold: 0,
            connection_limit: 0,
        }
    }

    /// How packets are wrapped under tun.
    #[must_use]
    pub fn tunnel(&self) -> Tunnel {
        let checksum = self.tunnel_checksum;
        match self.tunnel.unwrap_or(TunnelType::Ipip) {
            TunnelType::Ipip => Tunnel::Ipip,
            TunnelType::Gre => Tunnel::Gre { checksum },
            TunnelType::Gue => Tunnel::Gue { port: self.tunnel_port.unwrap_or_default(), checksum },
        }
    }
}

/// How a tunnelled packet is wrapped, with all that its header needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// An IP header.
    Ipip,
    /// An IP header and a GRE header.
    Gre {
        /// Whether the GRE header carries a checksum.
        checksum: bool,
    },
    /// An IP header, a UDP header and a GUE header.
    Gue {
        /// The UDP port that it is sent to.
        port: TunnelPort,
        /// Whether the UDP header carries a checksum.
        checksum: bool,
    },
}
