//! What a command changes: one request to the director, or a whole configuration that it applies at once.
//!
//! A firewall mark stands for the service named `fwm-MARK`, whose listens are what elsewhere the rules of a firewall
//! are that set the mark. So `-D` and `-C` take its destinations and leave its listens, and `-A` fills it again.

use super::command::{
    Checksum, Command, Flag, Mask, Method, Persistent, Protocol, Server, ServerOptions, ServiceOptions,
    TunnelKind, VirtualService,
};
use super::table::{MARK, mark_of};
use super::{Refusal, ftp};
use sheave_proto::api::{ErrorCode, ErrorReply, Op};
use sheave_proto::config::{
    Config, DestAddr, Destination, DestinationPatch, Duration, Forward, Listen, Persistence, Ports,
    Scheduler, SchedulerFlag, Service, ServicePatch, Timeout, TunnelPort, TunnelType, ValueError, Weight,
};
use sheave_proto::wire::flow::Proto;
use std::collections::BTreeSet;

/// How a change is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// By one request.
    One(Op),
    /// By applying a configuration.
    Whole(Box<Config>),
}

/// What a command changes in a configuration.
///
/// # Errors
/// What ipvsadm or its kernel would say; or why the director cannot be asked for it, and what to use instead.
pub(crate) fn change(config: &Config, command: &Command) -> Result<Change, Refusal> {
    match asked(config, command)? {
        Change::One(op) => shaped(config, command, op),
        whole @ Change::Whole(_) => Ok(whole),
    }
}

/// A change after which a service of port 21 is what it is to be.
fn shaped(config: &Config, command: &Command, op: Op) -> Result<Change, Refusal> {
    let (Command::Add(service, _)
    | Command::Edit(service, _)
    | Command::AddServer(service, ..)
    | Command::EditServer(service, ..)
    | Command::DeleteServer(service, _)) = command
    else {
        return Ok(Change::One(op));
    };
    let VirtualService::Address(Protocol::Tcp, addr, 21) = *service else { return Ok(Change::One(op)) };
    let mut changed = config.clone();
    sheave_plan::edit(&mut changed, &op).map_err(|reply| refused(command, &reply))?;
    let plain = changed.clone();
    changed.services.iter_mut().filter(|of| of.listen().addr == addr).for_each(ftp::shape);
    Ok(if changed == plain { Change::One(op) } else { Change::Whole(Box::new(changed)) })
}

fn asked(config: &Config, command: &Command) -> Result<Change, Refusal> {
    match command {
        Command::Add(service, options) => add(config, service, options).map(Change::One),
        Command::Edit(service, options) => {
            let service = known(config, service, "No such service")?;
            let patch = patch(options)?;
            Ok(Change::One(Op::ServiceSet { service: reference(service), patch }))
        }
        Command::Delete(service) => delete(config, service),
        Command::Clear => Ok(Change::Whole(Box::new(cleared(config)))),
        Command::AddServer(service, server, options) => {
            let found = known(config, service, "Service not defined")?;
            let destination = destination(service, server, options)?;
            Ok(Change::One(Op::DestinationAdd { service: reference(found), destination }))
        }
        Command::EditServer(service, server, options) => {
            let found = known(config, service, "Service not defined")?;
            let made = destination(service, server, options)?;
            let (address, patch) = (made.address, edited(made));
            Ok(Change::One(Op::DestinationSet { service: reference(found), address, patch }))
        }
        Command::DeleteServer(service, server) => {
            let found = known(config, service, "Service not defined")?;
            let port = server.port.filter(|port| *port != 0 && !ftp::has_data(found));
            let address = DestAddr { addr: server.addr, port };
            Ok(Change::One(Op::DestinationRemove { service: reference(found), address }))
        }
        Command::SetTimeouts(seconds) => timeouts(config, *seconds),
        Command::Zero(_) => {
            Err(Refusal::cannot("counters", "rules cannot set them to 0", "run -Z by itself"))
        }
        Command::StartDaemon | Command::StopDaemon => Err(Refusal::cannot(
            "sync daemon",
            "the director does not send or take the kernel's synchronization messages",
            "give directors the same configuration and a hash scheduler (-s mh): they choose alike",
        )),
        Command::List(..) | Command::Save(_) | Command::Restore | Command::Help | Command::Version => {
            Err(Refusal::cannot("command", "it changes nothing", "run it by itself"))
        }
    }
}

/// The service that a command line means, by its name.
///
/// # Errors
/// When there is none.
pub(crate) fn named(config: &Config, service: &VirtualService) -> Result<String, Refusal> {
    known(config, service, "No such service").map(reference)
}

/// Carries out a command on a configuration.
///
/// # Errors
/// As [`change`], and what the director would refuse. The configuration is as it was then.
pub(crate) fn edit(config: &mut Config, command: &Command) -> Result<(), Refusal> {
    match change(config, command)? {
        Change::Whole(changed) => *config = *changed,
        Change::One(op) => sheave_plan::edit(config, &op).map_err(|reply| refused(command, &reply))?,
    }
    Ok(())
}

/// What ipvsadm says where the director refuses a change.
pub(crate) fn refused(command: &Command, reply: &ErrorReply) -> Refusal {
    let of_destination = reply.first.object.starts_with("destination ");
    let text = match (command, reply.first.code) {
        (Command::Add(..), ErrorCode::Exists) => "Service already exists",
        (Command::Edit(..) | Command::Delete(_), ErrorCode::NotFound) => "No such service",
        (Command::AddServer(..), ErrorCode::Exists) => "Destination already exists",
        (Command::EditServer(..) | Command::DeleteServer(..), ErrorCode::NotFound) if of_destination => {
            "No such destination"
        }
        (
            Command::AddServer(..) | Command::EditServer(..) | Command::DeleteServer(..),
            ErrorCode::NotFound,
        ) => "Service not defined",
        (_, ErrorCode::Invalid | ErrorCode::NotSupported) => return Refusal::usage(reply.to_string()),
        _ => return Refusal::failed(reply.to_string()),
    };
    Refusal::failed(text)
}

fn listen(service: &VirtualService) -> Result<Listen, Refusal> {
    let VirtualService::Address(protocol, addr, port) = *service else {
        return Err(Refusal::failed("No such service"));
    };
    let proto = match protocol {
        Protocol::Tcp => Proto::Tcp,
        Protocol::Udp => Proto::Udp,
        Protocol::Sctp => {
            let object = format!("service {addr}:{port}/sctp");
            return Err(Refusal::cannot(object, "SCTP is not forwarded", "use -t or -u"));
        }
    };
    let ports = if port == 0 { Ports::Any } else { Ports::One(port) };
    Ok(Listen { addr, ports, proto })
}

/// The service of a configuration that a command line means.
fn find<'c>(config: &'c Config, service: &VirtualService) -> Result<Option<&'c Service>, Refusal> {
    if let VirtualService::Mark(mark, ipv6) = service {
        let is = |of: &&Service| mark_of(of) == Some(*mark) && of.listen().addr.is_ipv6() == *ipv6;
        return Ok(config.services.iter().find(is));
    }
    let listen = listen(service)?;
    let is = |of: &&Service| mark_of(of).is_none() && of.listens.contains(&listen);
    Ok(config.services.iter().find(is))
}

fn known<'c>(config: &'c Config, service: &VirtualService, missing: &str) -> Result<&'c Service, Refusal> {
    find(config, service)?.ok_or_else(|| Refusal::failed(missing))
}

fn reference(service: &Service) -> String {
    service.name.clone()
}

fn add(config: &Config, service: &VirtualService, options: &ServiceOptions) -> Result<Op, Refusal> {
    let patch = patch(options)?;
    match (find(config, service)?, service) {
        (Some(found), VirtualService::Mark(..)) if found.destinations.is_empty() => {
            Ok(Op::ServiceSet { service: reference(found), patch })
        }
        (Some(_), _) => Err(Refusal::failed("Service already exists")),
        (None, VirtualService::Mark(mark, _)) => Err(Refusal::cannot(
            format!("service {MARK}{mark}"),
            "packets have no firewall marks here",
            format!(
                "name its listens in the configuration, as in [[service]] name = \"{MARK}{mark}\", \
                 listen = [\"198.18.0.100:80/tcp\", \"198.18.0.100:443/tcp\"]; then -A, -a, -e, -d and -D \
                 of -f {mark} work"
            ),
        )),
        (None, VirtualService::Address(..)) => {
            let mut made = Service::new(listen(service)?);
            patch.apply(&mut made);
            Ok(Op::ServiceAdd(Box::new(made)))
        }
    }
}

fn delete(config: &Config, service: &VirtualService) -> Result<Change, Refusal> {
    let found = known(config, service, "No such service")?;
    if mark_of(found).is_some() {
        if found.destinations.is_empty() {
            return Err(Refusal::failed("No such service"));
        }
        let mut config = config.clone();
        let at = config.services.iter().position(|of| of.name == found.name);
        if let Some(of) = at.and_then(|at| config.services.get_mut(at)) {
            of.destinations.clear();
        }
        return Ok(Change::Whole(Box::new(config)));
    }
    if found.listens.len() > 1 && !ftp::has_data(found) {
        let wrong = format!("it has {} listens", found.listens.len());
        let remedy = format!("remove all of it with 'sheave service remove {}'", found.name);
        return Err(Refusal::cannot(found.label(), wrong, remedy));
    }
    Ok(Change::One(Op::ServiceRemove { service: reference(found) }))
}

fn cleared(config: &Config) -> Config {
    let mut config = config.clone();
    config.services.retain(|service| mark_of(service).is_some());
    config.services.iter_mut().for_each(|service| service.destinations.clear());
    config
}

fn timeouts(config: &Config, seconds: [u32; 3]) -> Result<Change, Refusal> {
    let mut config = config.clone();
    let mut timeouts = config.director.timeouts;
    let keys = [&mut timeouts.tcp, &mut timeouts.tcp_fin, &mut timeouts.udp];
    for (key, seconds) in keys.into_iter().zip(seconds).filter(|(_, seconds)| *seconds > 0) {
        *key = timeout(seconds, "timeouts")?;
    }
    config.director.timeouts = timeouts;
    Ok(Change::Whole(Box::new(config)))
}

fn timeout(seconds: u32, object: &str) -> Result<Timeout, Refusal> {
    Timeout::try_from(Duration::from_secs(seconds)).map_err(|error| value(object, &error))
}

fn value(object: &str, error: &ValueError) -> Refusal {
    Refusal::usage(format!("error: {object}: {error}"))
}

/// The settings that a command line names or leaves at their defaults: all that it can name.
fn patch(options: &ServiceOptions) -> Result<ServicePatch, Refusal> {
    if let Some(engine) = &options.engine {
        let object = format!("persistence engine {}", engine.escape_debug());
        let remedy = "leave --pe out: -p with -M keeps clients together by their address";
        return Err(Refusal::cannot(object, "there are none here", remedy));
    }
    let scheduler: Scheduler = options
        .scheduler
        .parse()
        .map_err(|_| Refusal::failed("Scheduler or persistence engine not found"))?;
    let flags: Result<BTreeSet<SchedulerFlag>, Refusal> =
        options.flags.iter().map(|flag| scheduler_flag(*flag, scheduler)).collect();
    let persistence = options.persistence.map(persistence).transpose()?;
    let mut patch = ServicePatch {
        scheduler: Some(scheduler),
        scheduler_flags: Some(flags?),
        persistence: Some(persistence),
        one_packet: Some(options.one_packet),
        ..ServicePatch::default()
    };
    // What only another scheduler knows cannot stay.
    if scheduler != Scheduler::Mh {
        patch.mh_table = Some(None);
    }
    if scheduler != Scheduler::Random {
        patch.draws = Some(None);
    }
    Ok(patch)
}

fn scheduler_flag(flag: Flag, scheduler: Scheduler) -> Result<SchedulerFlag, Refusal> {
    Ok(match (flag, scheduler) {
        (Flag::ShFallback, _) | (Flag::Number(1), Scheduler::Sh) => SchedulerFlag::ShFallback,
        (Flag::ShPort, _) | (Flag::Number(2), Scheduler::Sh) => SchedulerFlag::ShPort,
        (Flag::MhFallback, _) | (Flag::Number(1), Scheduler::Mh) => SchedulerFlag::MhFallback,
        (Flag::MhPort, _) | (Flag::Number(2), Scheduler::Mh) => SchedulerFlag::MhPort,
        (Flag::Number(number), _) => {
            let wrong = format!("scheduler {scheduler} has no such flag");
            return Err(Refusal::cannot(format!("flag-{number}"), wrong, "leave it out"));
        }
    })
}

fn persistence(persistent: Persistent) -> Result<Persistence, Refusal> {
    let netmask = match persistent.mask {
        None | Some(Mask::Prefix(128) | Mask::Bits(u32::MAX)) => None,
        Some(Mask::Prefix(bits)) => Some(bits),
        Some(Mask::Bits(bits)) => {
            let mask = std::net::Ipv4Addr::from_bits(bits);
            let remedy = "write one whose set bits all come first, as in 255.255.255.0";
            let ones = bits.leading_ones();
            let length = u8::try_from(ones).ok().filter(|_| ones == bits.count_ones());
            Some(length.ok_or_else(|| Refusal::cannot(format!("mask {mask}"), "it has a gap", remedy))?)
        }
    };
    Ok(Persistence { timeout: timeout(persistent.timeout, "persistence")?, netmask })
}

fn destination(
    service: &VirtualService,
    server: &Server,
    options: &ServerOptions,
) -> Result<Destination, Refusal> {
    let forward = match options.forward {
        Method::Gatewaying => Forward::Dr,
        Method::Ipip => Forward::Tun,
        Method::Masquerading => Forward::Nat,
    };
    // The port of DR and TUN is the service's, whatever is written.
    let port = server.port.filter(|port| forward == Forward::Nat && *port != 0);
    let every_port = matches!(service, VirtualService::Address(_, _, 0));
    let port = port.filter(|_| !every_port || server.port.is_some());
    let mut made = Destination::new(DestAddr { addr: server.addr, port });
    let object = format!("destination {}", made.address);
    made.weight = Weight::try_from(options.weight).map_err(|error| value(&object, &error))?;
    made.forward = Some(forward);
    made.upper_threshold = options.upper;
    made.lower_threshold = options.lower;
    if options.tunnel.checksum == Checksum::Remote {
        let remedy = "use --tun-csum or --tun-nocsum";
        return Err(Refusal::cannot(object, "remote checksum offload is not done", remedy));
    }
    made.tunnel_checksum = options.tunnel.checksum == Checksum::Yes;
    made.tunnel = match options.tunnel.kind {
        TunnelKind::Ipip => None,
        TunnelKind::Gue => Some(TunnelType::Gue),
        TunnelKind::Gre => Some(TunnelType::Gre),
    };
    let port = options.tunnel.port.map(|port| TunnelPort::try_from(u32::from(port)));
    made.tunnel_port = port.transpose().map_err(|error| value(&object, &error))?;
    Ok(made)
}

/// The same as a change of one that is there.
fn edited(made: Destination) -> DestinationPatch {
    DestinationPatch {
        weight: Some(made.weight),
        forward: Some(made.forward),
        tunnel: Some(made.tunnel),
        tunnel_port: Some(made.tunnel_port),
        tunnel_checksum: Some(made.tunnel_checksum),
        upper_threshold: Some(made.upper_threshold),
        lower_threshold: Some(made.lower_threshold),
        ..DestinationPatch::default()
    }
}
