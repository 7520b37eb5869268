//! What a command line asks for, once it is understood.

use super::grammar::Opt;
use sheave_proto::config::SchedulerFlag;
use std::net::IpAddr;

/// A whole command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// `-A`.
    Add(VirtualService, ServiceOptions),
    /// `-E`: everything that is not named goes back to its default.
    Edit(VirtualService, ServiceOptions),
    /// `-D`.
    Delete(VirtualService),
    /// `-C`.
    Clear,
    /// `-a`.
    AddServer(VirtualService, Server, ServerOptions),
    /// `-e`: everything that is not named goes back to its default.
    EditServer(VirtualService, Server, ServerOptions),
    /// `-d`.
    DeleteServer(VirtualService, Server),
    /// `-L`.
    List(Listing, Format),
    /// `-S`.
    Save(Format),
    /// `-R`.
    Restore,
    /// `-Z`, of one service or of all.
    Zero(Option<VirtualService>),
    /// `--set`, in seconds; 0 leaves a timeout as it is.
    SetTimeouts([u32; 3]),
    /// `--start-daemon`.
    StartDaemon,
    /// `--stop-daemon`.
    StopDaemon,
    /// `--help`.
    Help,
    /// `--version`.
    Version,
}

/// The protocols that the grammar knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// Its name in the table of services of the system.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// Which virtual service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VirtualService {
    /// By protocol, address and port; port 0 is every port.
    Address(Protocol, IpAddr, u16),
    /// By the mark that a firewall gives its packets, with whether they are IPv6.
    Mark(u32, bool),
}

/// Settings of a virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServiceOptions {
    /// The scheduler, as it was written.
    pub(crate) scheduler: String,
    pub(crate) flags: Vec<Flag>,
    pub(crate) persistence: Option<Persistent>,
    pub(crate) one_packet: bool,
    /// A persistence engine, as it was written.
    pub(crate) engine: Option<String>,
}

/// A scheduler's flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flag {
    ShFallback,
    ShPort,
    MhFallback,
    MhPort,
    /// One of the three that have only a number.
    Number(u8),
}

impl Flag {
    /// Those that have a name.
    pub(super) const NAMED: [(&'static str, Flag); 4] = [
        ("sh-fallback", Flag::ShFallback),
        ("sh-port", Flag::ShPort),
        ("mh-fallback", Flag::MhFallback),
        ("mh-port", Flag::MhPort),
    ];
}

impl From<SchedulerFlag> for Flag {
    fn from(flag: SchedulerFlag) -> Flag {
        match flag {
            SchedulerFlag::ShPort => Flag::ShPort,
            SchedulerFlag::ShFallback => Flag::ShFallback,
            SchedulerFlag::MhPort => Flag::MhPort,
            SchedulerFlag::MhFallback => Flag::MhFallback,
        }
    }
}

/// Clients stay with their real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Persistent {
    /// For so many seconds.
    pub(crate) timeout: u32,
    pub(crate) mask: Option<Mask>,
}

/// Which part of a client's address counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mask {
    /// IPv4: the bits that are set.
    Bits(u32),
    /// IPv6: so many bits.
    Prefix(u8),
}

/// A real server of a virtual service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) addr: IpAddr,
    /// None, when none was written.
    pub(crate) port: Option<u16>,
}

/// Settings of a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerOptions {
    pub(crate) forward: Method,
    pub(crate) weight: u32,
    pub(crate) upper: u32,
    pub(crate) lower: u32,
    pub(crate) tunnel: Tunnel,
}

/// How packets reach a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Gatewaying,
    Ipip,
    Masquerading,
}

/// How tunnelled packets are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tunnel {
    pub(crate) kind: TunnelKind,
    /// The port of GUE.
    pub(crate) port: Option<u16>,
    pub(crate) checksum: Checksum,
}

/// The header that tunnelled packets get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TunnelKind {
    #[default]
    Ipip,
    Gue,
    Gre,
}

/// The checksum of that header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Checksum {
    #[default]
    No,
    Yes,
    Remote,
}

impl TunnelKind {
    /// The kind that a word names.
    pub(super) fn of(word: &str) -> Option<TunnelKind> {
        [TunnelKind::Ipip, TunnelKind::Gue, TunnelKind::Gre].into_iter().find(|kind| kind.name() == word)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            TunnelKind::Ipip => "ipip",
            TunnelKind::Gue => "gue",
            TunnelKind::Gre => "gre",
        }
    }

    /// The options that it allows.
    pub(super) fn allows(self) -> &'static [Opt] {
        match self {
            TunnelKind::Ipip => &[],
            TunnelKind::Gue => &[Opt::TunPort, Opt::TunNocsum, Opt::TunCsum, Opt::TunRemcsum],
            TunnelKind::Gre => &[Opt::TunNocsum, Opt::TunCsum],
        }
    }
}

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listing {
    All,
    One(VirtualService),
    Connections,
    Timeouts,
    Daemons,
}

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Format {
    /// Numbers instead of names.
    pub(crate) numeric: bool,
    /// Numbers in full.
    pub(crate) exact: bool,
    /// In the order of the configuration.
    pub(crate) unsorted: bool,
    pub(crate) columns: Columns,
    /// With the data of persistence engines, in the list of connections.
    pub(crate) engines: bool,
}

/// Which columns a list of services has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Columns {
    #[default]
    Plain,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    TunInfo,
}
