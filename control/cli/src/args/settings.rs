//! Settings of services and destinations on the command line, and the changes that they ask for.

use super::words;
use clap::{Args, ValueEnum};
use sheave_proto::config::{
    BackupBelow, DestAddr, DestinationPatch, Draws, Forward, Helper, MhTable, MssClamp, OnRemoval,
    Persistence, Scheduler, SchedulerFlag, ServicePatch, SlowStart, Sorry, Timeout, TimeoutsPatch,
    TunnelPort, TunnelType, ValueError, Weight,
};
use std::collections::BTreeSet;

/// Settings of a service; what is not given stays as it is, or at its default for a new one.
#[derive(Debug, Args)]
pub struct ServiceSettings {
    /// A variant of the scheduler; may be given more than once, and replaces those before
    #[arg(long, value_name = "FLAG", value_parser = words(SchedulerFlag::ALL, SchedulerFlag::as_str))]
    pub scheduler_flag: Vec<SchedulerFlag>,
    /// mh: slots of the table [default: 65537]
    #[arg(long, value_name = "SLOTS", value_parser = number::<MhTable>)]
    pub mh_table: Option<MhTable>,
    /// random: how many destinations are drawn [default: 2]
    #[arg(long, value_name = "N", value_parser = number::<Draws>)]
    pub draws: Option<Draws>,
    /// Where connections go when no destination can take them: ADDRESS or ADDRESS:PORT, by the service's method
    #[arg(long, value_name = "ADDRESS")]
    pub sorry: Option<DestAddr>,
    /// Backup destinations are used while fewer others than this are usable [default: 1]
    #[arg(long, value_name = "N", value_parser = number::<BackupBelow>)]
    pub backup_below: Option<BackupBelow>,
    /// How long a new or recovered destination takes to grow to its weight [default: no time]
    #[arg(long, value_name = "DURATION")]
    pub slow_start: Option<SlowStart>,
    /// How destinations are chosen: rr, wrr, lc, wlc, ... [default: wlc]
    #[arg(long, short, value_parser = words(Scheduler::ALL, Scheduler::as_str))]
    pub scheduler: Option<Scheduler>,
    /// Forwarding method of destinations that name none [default: nat]
    #[arg(long, short, value_name = "METHOD", value_parser = words(Forward::ALL, Forward::as_str))]
    pub forward: Option<Forward>,
    /// What happens to TCP connections of a removed destination [default: reset]
    #[arg(long, value_name = "WHAT", value_parser = words(OnRemoval::ALL, OnRemoval::as_str))]
    pub on_removal: Option<OnRemoval>,
    /// The one interface on which the virtual address is answered and announced
    #[arg(long)]
    pub interface: Option<String>,
    /// Keep clients with their destination for so long after their last use [default: not at all]
    #[arg(long, value_name = "DURATION")]
    pub persistence: Option<Timeout>,
    /// With --persistence: clients with so many bits of their address in common count as one [default: all of them]
    #[arg(long, value_name = "BITS", requires = "persistence")]
    pub netmask: Option<u8>,
    /// UDP: schedule each packet by itself [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub one_packet: Option<bool>,
    /// TCP: take up connections that are under way [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub sloppy: Option<bool>,
    /// TCP under NAT: let the director complete handshakes first [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub syn_proxy: Option<bool>,
    /// What follows the connections that a protocol announces
    #[arg(long, value_name = "PROTOCOL", value_parser = words(Helper::ALL, Helper::as_str))]
    pub helper: Option<Helper>,
    /// TCP: the largest segments that SYNs may announce: auto, off or bytes [default: auto]
    #[arg(long, value_name = "BYTES")]
    pub mss_clamp: Option<MssClamp>,
    /// Whether clients are told of packets that are too large for a tunnel [default: true]
    #[arg(long, value_name = "BOOL")]
    pub pmtu_discovery: Option<bool>,
    /// Timeout of established TCP connections [default: 15m]
    #[arg(long, value_name = "DURATION")]
    pub tcp_timeout: Option<Timeout>,
    /// Timeout of TCP connections in FIN_WAIT [default: 2m]
    #[arg(long, value_name = "DURATION")]
    pub tcp_fin_timeout: Option<Timeout>,
    /// Timeout of UDP [default: 5m]
    #[arg(long, value_name = "DURATION")]
    pub udp_timeout: Option<Timeout>,
    /// Put a setting back to its default; may be given more than once
    #[arg(long, value_name = "SETTING", value_enum)]
    pub unset: Vec<Unset>,
}

/// A setting of a service that can be put back to its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[expect(missing_docs, reason = "they are called what they are")]
pub enum Unset {
    Draws,
    Helper,
    Interface,
    MhTable,
    Persistence,
    SchedulerFlags,
    SlowStart,
    Sorry,
    TcpTimeout,
    TcpFinTimeout,
    UdpTimeout,
}

impl Unset {
    fn apply(self, patch: &mut ServicePatch) {
        match self {
            Unset::Draws => patch.draws = Some(None),
            Unset::Helper => patch.helper = Some(None),
            Unset::Interface => patch.interface = Some(None),
            Unset::MhTable => patch.mh_table = Some(None),
            Unset::Persistence => patch.persistence = Some(None),
            Unset::SchedulerFlags => patch.scheduler_flags = Some(BTreeSet::new()),
            Unset::SlowStart => patch.slow_start = Some(None),
            Unset::Sorry => patch.sorry = Some(None),
            Unset::TcpTimeout => patch.timeouts.tcp = Some(None),
            Unset::TcpFinTimeout => patch.timeouts.tcp_fin = Some(None),
            Unset::UdpTimeout => patch.timeouts.udp = Some(None),
        }
    }
}

impl ServiceSettings {
    /// The change that they ask for.
    pub(crate) fn patch(&self) -> ServicePatch {
        let ServiceSettings { scheduler, forward, on_removal, mh_table, draws, backup_below, .. } = *self;
        let ServiceSettings { slow_start, one_packet, sloppy, helper, mss_clamp, pmtu_discovery, .. } = *self;
        let flags = &self.scheduler_flag;
        let persistence = self.persistence.map(|timeout| Persistence { timeout, netmask: self.netmask });
        let mut patch = ServicePatch {
            scheduler,
            scheduler_flags: (!flags.is_empty()).then(|| flags.iter().copied().collect()),
            mh_table: mh_table.map(Some),
            draws: draws.map(Some),
            forward,
            on_removal,
            persistence: persistence.map(Some),
            one_packet,
            sloppy,
            syn_proxy: self.syn_proxy,
            helper: helper.map(Some),
            mss_clamp,
            pmtu_discovery,
            sorry: self.sorry.map(|address| Some(Sorry { address, forward: None })),
            backup_below,
            slow_start: slow_start.map(Some),
            interface: self.interface.clone().map(Some),
            timeouts: TimeoutsPatch {
                tcp: self.tcp_timeout.map(Some),
                tcp_fin: self.tcp_fin_timeout.map(Some),
                udp: self.udp_timeout.map(Some),
            },
        };
        self.unset.iter().for_each(|setting| setting.apply(&mut patch));
        patch
    }
}

/// Settings of a destination; what is not given stays as it is, or at its default for a new one.
#[derive(Debug, Args)]
pub struct DestinationSettings {
    /// Its share of new connections, 0 to 2147483647 [default: 1]
    #[arg(long, short, value_parser = weight)]
    pub weight: Option<Weight>,
    /// Its forwarding method [default: the service's]
    #[arg(long, short, value_name = "METHOD", value_parser = words(Forward::ALL, Forward::as_str))]
    pub forward: Option<Forward>,
    /// It is overloaded from so many connections on; 0 is never [default: 0]
    #[arg(long, value_name = "N")]
    pub upper_threshold: Option<u32>,
    /// It no longer is below so many; 0 is three quarters of the upper [default: 0]
    #[arg(long, value_name = "N")]
    pub lower_threshold: Option<u32>,
    /// It never gets more connections than this; 0 is no limit [default: 0]
    #[arg(long, value_name = "N")]
    pub connection_limit: Option<u32>,
    /// Whether it waits until others are missing [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub backup: Option<bool>,
    /// Under tun: what the tunnel is made of [default: ipip]
    #[arg(long, value_name = "TYPE", value_parser = words(TunnelType::ALL, TunnelType::as_str))]
    pub tunnel: Option<TunnelType>,
    /// With gue: the UDP port of the tunnel's end [default: 6080]
    #[arg(long, value_name = "PORT", value_parser = number::<TunnelPort>)]
    pub tunnel_port: Option<TunnelPort>,
    /// With gre and gue: whether the outer header has a checksum [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub tunnel_checksum: Option<bool>,
}

impl DestinationSettings {
    /// The change that they ask for.
    pub(crate) fn patch(&self) -> DestinationPatch {
        let DestinationSettings { weight, upper_threshold, lower_threshold, connection_limit, .. } = *self;
        DestinationPatch {
            weight,
            forward: self.forward.map(Some),
            upper_threshold,
            lower_threshold,
            connection_limit,
            backup: self.backup,
            tunnel: self.tunnel.map(Some),
            tunnel_port: self.tunnel_port.map(Some),
            tunnel_checksum: self.tunnel_checksum,
            ..DestinationPatch::default()
        }
    }
}

/// A weight, by the reader of the configuration's values.
fn weight(text: &str) -> Result<Weight, String> {
    let number: u32 = text.parse().map_err(|_| "not a whole number from 0 on".to_owned())?;
    Weight::try_from(number).map_err(|error| error.to_string())
}

/// A bounded number, by the reader of the configuration's values.
fn number<T: TryFrom<u32, Error = ValueError>>(text: &str) -> Result<T, String> {
    let number: u32 = text.parse().map_err(|_| "not a whole number from 0 on".to_owned())?;
    T::try_from(number).map_err(|error| error.to_string())
}
