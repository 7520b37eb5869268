//! From words to a [`Command`], with ipvsadm's own messages for what it would refuse, in the order in which it would
//! find it.

use super::Refusal;
use super::command::{
    Checksum, Columns, Command, Format, Listing, Method, Persistent, Protocol, Server, ServerOptions,
    ServiceOptions, Tunnel, TunnelKind, VirtualService,
};
use super::grammar::{Opt, Tag, Verb};
use super::names::Names;
use super::scan::{Found, Scanner};
use super::values;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How long clients stay with their real server when `-p` says no time, in seconds: what ipvsadm 1.31 does, whatever
/// its manual says.
const PERSISTENT: u32 = 360;

/// The scheduler when none is named.
const SCHEDULER: &str = "wlc";

/// Understands a command line; `program` is what it was called as.
///
/// # Errors
/// What ipvsadm says of it, with its exit code.
pub(crate) fn parse(words: &[&str], program: &str, names: &dyn Names) -> Result<Command, Refusal> {
    let mut scanner = Scanner::new(words);
    let mut draft = match scanner.option() {
        Ok(Some(Found { tag: Tag::Verb(verb), value, .. })) => Draft::new(verb, value, names)?,
        Ok(Some(Found { tag: Tag::Help, .. })) => return Ok(Command::Help),
        Ok(Some(Found { tag: Tag::Version, .. })) => return Ok(Command::Version),
        Ok(_) | Err(_) => {
            return Err(Refusal::failed(format!(
                "Try `{program} -h' or '{program} --help' for more information."
            )));
        }
    };
    while let Some(found) = scanner.option().map_err(|fault| Refusal::failed(fault.to_string()))? {
        draft.take(found)?;
    }
    let others = draft.timeouts(scanner.others())?;
    if let Some(other) = others.first() {
        return Err(Refusal::usage(format!("unexpected argument {other}")));
    }
    draft.check()?;
    draft.finish()
}

/// A command line as far as it has been read.
struct Draft<'a> {
    names: &'a dyn Names,
    verb: Verb,
    given: BTreeSet<Opt>,
    service: Option<VirtualService>,
    scheduler: String,
    flags: Option<&'a str>,
    persistent: Option<u32>,
    mask: Option<&'a str>,
    engine: Option<String>,
    server: Option<Server>,
    options: ServerOptions,
    timeouts: [u32; 3],
}

impl<'a> Draft<'a> {
    fn new(verb: Verb, value: Option<&str>, names: &'a dyn Names) -> Result<Draft<'a>, Refusal> {
        let known = matches!(value, None | Some("master" | "backup"));
        match verb {
            Verb::StartDaemon if !known => {
                return Err(Refusal::usage("illegal start-daemon parameter specified"));
            }
            Verb::StopDaemon if !known => return Err(Refusal::usage("illegal start_daemon specified")),
            _ => {}
        }
        let options = ServerOptions {
            forward: Method::Gatewaying,
            weight: 1,
            upper: 0,
            lower: 0,
            tunnel: Tunnel::default(),
        };
        Ok(Draft {
            names,
            verb,
            given: BTreeSet::new(),
            service: None,
            scheduler: SCHEDULER.to_owned(),
            flags: None,
            persistent: None,
            mask: None,
            engine: None,
            server: None,
            options,
            timeouts: [0; 3],
        })
    }

    /// Notes that an option is given; each may be given once.
    fn give(&mut self, opt: Opt) -> Result<(), Refusal> {
        if self.given.insert(opt) {
            return Ok(());
        }
        Err(Refusal::usage(format!("multiple '{}' options specified", opt.name())))
    }

    fn take(&mut self, found: Found<'a>) -> Result<(), Refusal> {
        let value = found.value.unwrap_or_default();
        match found.tag {
            Tag::Tcp => self.address(Protocol::Tcp, value),
            Tag::Udp => self.address(Protocol::Udp, value),
            Tag::Sctp => self.address(Protocol::Sctp, value),
            Tag::Mark => {
                self.give(Opt::Service)?;
                let mark = values::mark(value);
                let mark =
                    mark.ok_or_else(|| Refusal::usage(format!("invalid fwmark value `{value}' specified")))?;
                self.service = Some(VirtualService::Mark(mark, false));
                Ok(())
            }
            Tag::Ipv6 => match &mut self.service {
                Some(VirtualService::Mark(_, ipv6)) => {
                    *ipv6 = true;
                    Ok(())
                }
                _ => Err(Refusal::usage("-6 used before -f")),
            },
            Tag::Gatewaying => self.method(Method::Gatewaying),
            Tag::Ipip => self.method(Method::Ipip),
            Tag::Masquerading => self.method(Method::Masquerading),
            Tag::Sort => Ok(()),
            Tag::Opt(opt) => {
                self.give(opt)?;
                self.option(opt, found.value, value)
            }
            Tag::Verb(_) | Tag::Help | Tag::Version => {
                Err(Refusal::usage(format!("invalid option `{}'", found.word)))
            }
        }
    }

    fn address(&mut self, protocol: Protocol, text: &str) -> Result<(), Refusal> {
        self.give(Opt::Service)?;
        let place = values::server(text, protocol, self.names);
        let place = place.ok_or_else(|| Refusal::usage("illegal virtual server address[:port] specified"))?;
        self.service = Some(VirtualService::Address(protocol, place.addr, place.port.unwrap_or(0)));
        Ok(())
    }

    fn method(&mut self, method: Method) -> Result<(), Refusal> {
        self.give(Opt::Forward)?;
        self.options.forward = method;
        Ok(())
    }

    fn option(&mut self, opt: Opt, given: Option<&'a str>, value: &'a str) -> Result<(), Refusal> {
        let count = |what: &str, least, most| {
            let number = values::number(value, least, most);
            number.ok_or_else(|| Refusal::usage(format!("illegal {what} specified")))
        };
        match opt {
            Opt::Scheduler => value.clone_into(&mut self.scheduler),
            Opt::SchedFlags => self.flags = Some(value),
            Opt::Persistent => self.persistent = Some(given.map_or(Ok(PERSISTENT), |text| timeout(text, 1))?),
            Opt::Netmask => self.mask = Some(value),
            Opt::Engine => self.engine = Some(value.to_owned()),
            Opt::Server => {
                let protocol = match self.service {
                    Some(VirtualService::Address(protocol, ..)) => protocol,
                    _ => Protocol::Tcp,
                };
                let server = values::server(value, protocol, self.names);
                let illegal = || Refusal::usage("illegal real server address[:port] specified");
                self.server = Some(server.ok_or_else(illegal)?);
            }
            Opt::Weight => self.options.weight = count("weight", 0, values::MOST)?,
            Opt::Upper => self.options.upper = count("u_threshold", 0, values::MOST)?,
            Opt::Lower => self.options.lower = count("l_threshold", 0, values::MOST)?,
            Opt::TunType => {
                let kind = TunnelKind::of(value);
                self.options.tunnel.kind =
                    kind.ok_or_else(|| Refusal::usage("illegal tunnel type specified"))?;
            }
            Opt::TunPort => {
                let port = count("tunnel port", 1, u16::MAX.into())?;
                self.options.tunnel.port = u16::try_from(port).ok();
            }
            Opt::TunNocsum => self.options.tunnel.checksum = Checksum::No,
            Opt::TunCsum => self.options.tunnel.checksum = Checksum::Yes,
            Opt::TunRemcsum => self.options.tunnel.checksum = Checksum::Remote,
            Opt::SyncId => drop(count("syncid", 0, 255)?),
            Opt::McastPort => drop(count("mcast-port", 1, u16::MAX.into())?),
            Opt::McastTtl => drop(count("mcast-ttl", 1, 255)?),
            Opt::SyncMaxlen => drop(count("sync-maxlen", 1, 65_535 - 20 - 8)?),
            Opt::McastGroup => values::group(value).map_err(Refusal::usage)?,
            _ => {}
        }
        Ok(())
    }

    /// Takes the three values of `--set` from the words that are no options.
    fn timeouts(&mut self, others: Vec<&'a str>) -> Result<Vec<&'a str>, Refusal> {
        if self.verb != Verb::Set {
            return Ok(others);
        }
        let Some((three, rest)) = others.split_at_checked(3) else {
            return Err(Refusal::usage("--set option requires 3 timeout values"));
        };
        for (to, text) in self.timeouts.iter_mut().zip(three) {
            *to = timeout(text, 0)?;
        }
        Ok(rest.to_vec())
    }

    /// Whether the options go with the command and with each other.
    fn check(&self) -> Result<(), Refusal> {
        if let Some(text) = self.flags {
            values::flags(text, &self.scheduler).map_err(Refusal::usage)?;
        }
        self.check_options()?;
        match self.verb {
            Verb::Add | Verb::Edit => self.check_service(),
            Verb::AddServer | Verb::EditServer => self.check_server(),
            Verb::List => self.check_list(),
            _ => Ok(()),
        }
    }

    fn check_options(&self) -> Result<(), Refusal> {
        let (legal, command) = (self.verb.legal(), self.verb.name());
        let all = self.given.iter().chain(legal.needs).copied().collect::<BTreeSet<Opt>>();
        let mut first = None;
        for opt in all {
            let name = opt.name();
            let refusal = if !self.given.contains(&opt) {
                format!("You need to supply the '{name}' option for the '{command}' command")
            } else if legal.one_of.contains(&opt) {
                match first.replace(name) {
                    None => continue,
                    Some(first) => format!(
                        "The option '{name}' conflicts with the '{first}' option in the '{command}' command"
                    ),
                }
            } else if legal.needs.contains(&opt) || legal.may.contains(&opt) {
                continue;
            } else {
                format!("Illegal '{name}' option with the '{command}' command")
            };
            return Err(Refusal::usage(refusal));
        }
        Ok(())
    }

    fn check_service(&self) -> Result<(), Refusal> {
        let one_packet = self.given.contains(&Opt::OnePacket);
        match self.service {
            Some(VirtualService::Address(_, _, 0)) if self.persistent.is_none() => {
                Err(Refusal::usage("Zero port specified for non-persistent service"))
            }
            Some(VirtualService::Address(Protocol::Tcp | Protocol::Sctp, ..)) if one_packet => {
                Err(Refusal::usage("One-Packet Scheduling is only for UDP virtual services"))
            }
            _ => Ok(()),
        }
    }

    fn check_server(&self) -> Result<(), Refusal> {
        let ServerOptions { forward, tunnel, .. } = self.options;
        let (Some(service), Some(server)) = (self.service, self.server) else { return Ok(()) };
        if service.is_ipv6() != server.addr.is_ipv6() && forward != Method::Ipip {
            return Err(Refusal::usage("Different address family is allowed only for tunneling servers"));
        }
        let of_tunnels = [Opt::TunType, Opt::TunPort, Opt::TunNocsum, Opt::TunCsum, Opt::TunRemcsum];
        let mut given = of_tunnels.into_iter().filter(|opt| self.given.contains(opt)).peekable();
        if given.peek().is_some() && forward != Method::Ipip {
            return Err(Refusal::usage("Tunnel options conflict with forward method"));
        }
        let kind = tunnel.kind.name();
        if tunnel.kind == TunnelKind::Gue && tunnel.port.is_none() {
            let refusal = format!("You need to supply the 'tun-port' option for the '{kind}' tunnel type");
            return Err(Refusal::usage(refusal));
        }
        let mut first = None;
        for opt in given.filter(|opt| *opt != Opt::TunType) {
            let name = opt.name();
            if !tunnel.kind.allows().contains(&opt) {
                return Err(Refusal::usage(format!("Illegal '{name}' option with the '{kind}' tunnel type")));
            }
            if opt == Opt::TunPort {
                continue;
            }
            if let Some(first) = first.replace(name) {
                return Err(Refusal::usage(format!(
                    "The option '{name}' conflicts with the '{first}' option in the '{kind}' tunnel type"
                )));
            }
        }
        Ok(())
    }

    fn check_list(&self) -> Result<(), Refusal> {
        let has = |opts: &[Opt]| opts.iter().any(|opt| self.given.contains(opt));
        let conflict = has(&[Opt::Connection, Opt::Timeout, Opt::Daemon])
            && has(&[Opt::Stats, Opt::Rate, Opt::Thresholds])
            || has(&[Opt::Timeout, Opt::Daemon]) && has(&[Opt::PersistentConn]);
        if conflict { Err(Refusal::usage("options conflicts in the list command")) } else { Ok(()) }
    }

    fn finish(self) -> Result<Command, Refusal> {
        let format = self.format();
        let service = || self.service.ok_or_else(|| Refusal::usage("no virtual service specified"));
        let server = || self.server.ok_or_else(|| Refusal::usage("no real server specified"));
        Ok(match self.verb {
            Verb::Add => Command::Add(service()?, self.service_options()?),
            Verb::Edit => Command::Edit(service()?, self.service_options()?),
            Verb::Delete => Command::Delete(service()?),
            Verb::Clear => Command::Clear,
            Verb::AddServer => Command::AddServer(service()?, server()?, self.options),
            Verb::EditServer => Command::EditServer(service()?, server()?, self.options),
            Verb::DeleteServer => Command::DeleteServer(service()?, server()?),
            Verb::List => Command::List(self.listing(), format),
            Verb::Save => Command::Save(format),
            Verb::Restore => Command::Restore,
            Verb::Zero => Command::Zero(self.service),
            Verb::Set => Command::SetTimeouts(self.timeouts),
            Verb::StartDaemon => Command::StartDaemon,
            Verb::StopDaemon => Command::StopDaemon,
        })
    }

    fn service_options(&self) -> Result<ServiceOptions, Refusal> {
        let ipv6 = self.service.is_some_and(|service| service.is_ipv6());
        let mask = self.mask.map(|text| values::mask(text, ipv6, self.names).map_err(Refusal::usage));
        let mask = mask.transpose()?;
        let flags = self.flags.map_or(Ok(Vec::new()), |text| values::flags(text, &self.scheduler));
        Ok(ServiceOptions {
            scheduler: self.scheduler.clone(),
            flags: flags.map_err(Refusal::usage)?,
            persistence: self.persistent.map(|timeout| Persistent { timeout, mask }),
            one_packet: self.given.contains(&Opt::OnePacket),
            engine: self.engine.clone(),
        })
    }

    fn listing(&self) -> Listing {
        let has = |opt| self.given.contains(&opt);
        match self.service {
            _ if has(Opt::Connection) => Listing::Connections,
            Some(service) => Listing::One(service),
            None if has(Opt::Timeout) => Listing::Timeouts,
            None if has(Opt::Daemon) => Listing::Daemons,
            None => Listing::All,
        }
    }

    fn format(&self) -> Format {
        let has = |opt| self.given.contains(&opt);
        let columns = [
            (Opt::Stats, Columns::Stats),
            (Opt::Rate, Columns::Rate),
            (Opt::Thresholds, Columns::Thresholds),
            (Opt::PersistentConn, Columns::PersistentConn),
            (Opt::TunInfo, Columns::TunInfo),
        ];
        let columns = columns.into_iter().find(|(opt, _)| has(*opt)).map(|(_, columns)| columns);
        Format {
            numeric: has(Opt::Numeric),
            exact: has(Opt::Exact),
            unsorted: has(Opt::NoSort),
            columns: columns.unwrap_or_default(),
            engines: has(Opt::PersistentConn),
        }
    }
}

fn timeout(text: &str, least: u32) -> Result<u32, Refusal> {
    let seconds = values::number(text, least, values::LONGEST);
    seconds.ok_or_else(|| Refusal::usage(format!("invalid timeout value `{text}' specified")))
}

impl VirtualService {
    /// Whether its clients come by IPv6.
    pub(crate) fn is_ipv6(&self) -> bool {
        matches!(self, VirtualService::Address(_, IpAddr::V6(_), _) | VirtualService::Mark(_, true))
    }
}
