//! What can be said: the commands and options of ipvsadm 1.31, and which go together.
//!
//! Names are those of ipvsadm's own messages, which scripts look for.

/// How an option takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Value,
    /// The next word unless it begins with a dash.
    MayValue,
}

/// The first option of a command line: what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Add,
    Edit,
    Delete,
    Clear,
    List,
    AddServer,
    DeleteServer,
    EditServer,
    Set,
    StartDaemon,
    StopDaemon,
    Restore,
    Save,
    Zero,
}

/// An option that a message can name; in the order in which conflicts are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Opt {
    Numeric,
    Connection,
    Service,
    Scheduler,
    Persistent,
    Netmask,
    Server,
    Forward,
    Weight,
    Upper,
    Lower,
    McastInterface,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    NoSort,
    SyncId,
    Exact,
    OnePacket,
    Engine,
    SchedFlags,
    McastGroup,
    McastPort,
    McastTtl,
    SyncMaxlen,
    TunInfo,
    TunType,
    TunPort,
    TunNocsum,
    TunCsum,
    TunRemcsum,
}

/// What a word that begins with a dash means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Verb(Verb),
    Help,
    Version,
    Tcp,
    Udp,
    Sctp,
    Mark,
    Ipv6,
    Sort,
    Gatewaying,
    Ipip,
    Masquerading,
    /// An option that is one of a kind.
    Opt(Opt),
}

/// One line of the table of options.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) long: &'static str,
    pub(super) short: Option<char>,
    pub(super) takes: Takes,
    pub(super) tag: Tag,
}

const fn spec(long: &'static str, short: char, takes: Takes, tag: Tag) -> Spec {
    let short = if short == '\0' { None } else { Some(short) };
    Spec { long, short, takes, tag }
}

/// Every option.
pub(super) const SPECS: &[Spec] = {
    use Takes::{MayValue, Nothing, Value};
    &[
        spec("add-service", 'A', Nothing, Tag::Verb(Verb::Add)),
        spec("edit-service", 'E', Nothing, Tag::Verb(Verb::Edit)),
        spec("delete-service", 'D', Nothing, Tag::Verb(Verb::Delete)),
        spec("clear", 'C', Nothing, Tag::Verb(Verb::Clear)),
        spec("list", 'L', Nothing, Tag::Verb(Verb::List)),
        spec("list", 'l', Nothing, Tag::Verb(Verb::List)),
        spec("zero", 'Z', Nothing, Tag::Verb(Verb::Zero)),
        spec("add-server", 'a', Nothing, Tag::Verb(Verb::AddServer)),
        spec("edit-server", 'e', Nothing, Tag::Verb(Verb::EditServer)),
        spec("delete-server", 'd', Nothing, Tag::Verb(Verb::DeleteServer)),
        spec("set", '\0', Nothing, Tag::Verb(Verb::Set)),
        spec("help", 'h', Nothing, Tag::Help),
        spec("version", 'v', Nothing, Tag::Version),
        spec("restore", 'R', Nothing, Tag::Verb(Verb::Restore)),
        spec("save", 'S', Nothing, Tag::Verb(Verb::Save)),
        spec("start-daemon", '\0', Value, Tag::Verb(Verb::StartDaemon)),
        spec("stop-daemon", '\0', Value, Tag::Verb(Verb::StopDaemon)),
        spec("tcp-service", 't', Value, Tag::Tcp),
        spec("udp-service", 'u', Value, Tag::Udp),
        spec("sctp-service", '\0', Value, Tag::Sctp),
        spec("fwmark-service", 'f', Value, Tag::Mark),
        spec("ipv6", '6', Nothing, Tag::Ipv6),
        spec("scheduler", 's', Value, Tag::Opt(Opt::Scheduler)),
        spec("sched-flags", 'b', Value, Tag::Opt(Opt::SchedFlags)),
        spec("persistent", 'p', MayValue, Tag::Opt(Opt::Persistent)),
        spec("netmask", 'M', Value, Tag::Opt(Opt::Netmask)),
        spec("pe", '\0', Value, Tag::Opt(Opt::Engine)),
        spec("ops", 'o', Nothing, Tag::Opt(Opt::OnePacket)),
        spec("real-server", 'r', Value, Tag::Opt(Opt::Server)),
        spec("gatewaying", 'g', Nothing, Tag::Gatewaying),
        spec("ipip", 'i', Nothing, Tag::Ipip),
        spec("masquerading", 'm', Nothing, Tag::Masquerading),
        spec("tun-type", '\0', Value, Tag::Opt(Opt::TunType)),
        spec("tun-port", '\0', Value, Tag::Opt(Opt::TunPort)),
        spec("tun-nocsum", '\0', Nothing, Tag::Opt(Opt::TunNocsum)),
        spec("tun-csum", '\0', Nothing, Tag::Opt(Opt::TunCsum)),
        spec("tun-remcsum", '\0', Nothing, Tag::Opt(Opt::TunRemcsum)),
        spec("weight", 'w', Value, Tag::Opt(Opt::Weight)),
        spec("u-threshold", 'x', Value, Tag::Opt(Opt::Upper)),
        spec("l-threshold", 'y', Value, Tag::Opt(Opt::Lower)),
        spec("numeric", 'n', Nothing, Tag::Opt(Opt::Numeric)),
        spec("connection", 'c', Nothing, Tag::Opt(Opt::Connection)),
        spec("timeout", '\0', Nothing, Tag::Opt(Opt::Timeout)),
        spec("daemon", '\0', Nothing, Tag::Opt(Opt::Daemon)),
        spec("stats", '\0', Nothing, Tag::Opt(Opt::Stats)),
        spec("rate", '\0', Nothing, Tag::Opt(Opt::Rate)),
        spec("thresholds", '\0', Nothing, Tag::Opt(Opt::Thresholds)),
        spec("persistent-conn", '\0', Nothing, Tag::Opt(Opt::PersistentConn)),
        spec("tun-info", '\0', Nothing, Tag::Opt(Opt::TunInfo)),
        spec("nosort", '\0', Nothing, Tag::Opt(Opt::NoSort)),
        spec("sort", '\0', Nothing, Tag::Sort),
        spec("exact", 'X', Nothing, Tag::Opt(Opt::Exact)),
        spec("syncid", '\0', Value, Tag::Opt(Opt::SyncId)),
        spec("sync-maxlen", '\0', Value, Tag::Opt(Opt::SyncMaxlen)),
        spec("mcast-interface", '\0', Value, Tag::Opt(Opt::McastInterface)),
        spec("mcast-group", '\0', Value, Tag::Opt(Opt::McastGroup)),
        spec("mcast-port", '\0', Value, Tag::Opt(Opt::McastPort)),
        spec("mcast-ttl", '\0', Value, Tag::Opt(Opt::McastTtl)),
    ]
};

impl Opt {
    /// How messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Opt::Service => "service-address",
            Opt::Forward => "forwarding-method",
            other => {
                let spec = SPECS.iter().find(|spec| spec.tag == Tag::Opt(other));
                spec.map_or("", |spec| spec.long)
            }
        }
    }
}

/// Which options a command needs, may have, and may have one of.
#[derive(Debug)]
pub(super) struct Legal {
    pub(super) needs: &'static [Opt],
    pub(super) may: &'static [Opt],
    pub(super) one_of: &'static [Opt],
}

impl Verb {
    /// How messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Verb::Clear => "flush",
            other => {
                let spec = SPECS.iter().find(|spec| spec.tag == Tag::Verb(other));
                spec.map_or("", |spec| spec.long)
            }
        }
    }

    /// What goes with it.
    pub(super) fn legal(self) -> Legal {
        use Opt::{
            Connection, Daemon, Engine, Exact, Forward, Lower, McastGroup, McastInterface, McastPort,
            McastTtl, Netmask, NoSort, Numeric, OnePacket, Persistent, PersistentConn, Rate, SchedFlags,
            Scheduler, Server, Service, Stats, SyncId, SyncMaxlen, Thresholds, Timeout, TunCsum, TunInfo,
            TunNocsum, TunPort, TunRemcsum, TunType, Upper, Weight,
        };
        let (needs, may, one_of): (&[Opt], &[Opt], &[Opt]) = match self {
            Verb::Add | Verb::Edit => {
                (&[Service], &[Scheduler, Persistent, Netmask, OnePacket, Engine, SchedFlags], &[])
            }
            Verb::Delete => (&[Service], &[], &[]),
            Verb::AddServer | Verb::EditServer => (
                &[Service, Server],
                &[Forward, Weight, Upper, Lower, TunType, TunPort, TunNocsum, TunCsum, TunRemcsum],
                &[],
            ),
            Verb::DeleteServer => (&[Service, Server], &[], &[]),
            Verb::List => (
                &[],
                &[Numeric, Stats, Rate, Thresholds, PersistentConn, NoSort, SyncId, Exact, TunInfo],
                &[Connection, Service, Timeout, Daemon],
            ),
            Verb::Save => (&[], &[Numeric], &[]),
            Verb::Zero => (&[], &[Service], &[]),
            Verb::StartDaemon => {
                (&[], &[McastInterface, SyncId, McastGroup, McastPort, McastTtl, SyncMaxlen], &[])
            }
            Verb::StopDaemon => (&[], &[SyncId], &[]),
            Verb::Clear | Verb::Set | Verb::Restore => (&[], &[], &[]),
        };
        Legal { needs, may, one_of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_is_spelled_once_and_named() {
        let mut words: Vec<String> = SPECS.iter().map(|spec| spec.long.to_owned()).collect();
        words.dedup();
        words.extend(SPECS.iter().filter_map(|spec| spec.short).map(String::from));
        let count = words.len();
        words.sort();
        words.dedup();
        assert_eq!(words.len(), count);
        for spec in SPECS {
            match spec.tag {
                Tag::Opt(opt) => assert_eq!(opt.name(), spec.long),
                Tag::Verb(verb) => assert!(verb == Verb::Clear || verb.name() == spec.long),
                _ => {}
            }
        }
    }
}
