//! Random configurations, and random changes of them.

use super::traffic::{Dice, method};
use crate::snapshot::{Health, Intent, Limits, Method, OnRemoval, Ports, SchedulerKind, Timeouts};
use crate::sticky::Persistence;
use crate::testing::site::{Destination, Service, Site, real, real6, vip, vip6};
use crate::time::Seconds;
use sheave_proto::wire::flow::Proto;
use sheave_proto::wire::tunnel::Encapsulation;
use std::net::IpAddr;

const SCHEDULERS: [SchedulerKind; 14] = [
    SchedulerKind::Rr,
    SchedulerKind::Rr,
    SchedulerKind::Wrr,
    SchedulerKind::Wrr,
    SchedulerKind::Lc,
    SchedulerKind::Wlc,
    SchedulerKind::Wlc,
    SchedulerKind::Sed,
    SchedulerKind::Nq,
    SchedulerKind::Fo,
    SchedulerKind::Ovf,
    SchedulerKind::First,
    SchedulerKind::Twos,
    SchedulerKind::Source,
];

/// So many of them choose as the model does; the others may choose anyone.
const KNOWN: usize = 12;

const TUNNELS: [Encapsulation; 6] = [
    Encapsulation::Ipip,
    Encapsulation::Ipip,
    Encapsulation::Gre { checksum: false },
    Encapsulation::Gre { checksum: true },
    Encapsulation::Gue { port: 6080, checksum: true },
    Encapsulation::Gue { port: 6081, checksum: false },
];

/// A site with some services.
pub(super) fn site(dice: &mut Dice) -> Site {
    let mut site = Site::default();
    for _ in 0..3 + dice.roll(5) {
        add_service(&mut site, dice);
    }
    site
}

fn add_service(site: &mut Site, dice: &mut Dice) {
    let v6 = dice.once_in(3);
    let (vip, ports, proto) = listen(dice, v6);
    if is_there(site, (vip, ports, proto)) {
        return;
    }
    let number = site.services.len();
    let port = if let Ports::One(port) = ports { port } else { 0 };
    let service = site.add(vip, port, proto, Method::Nat, 0);
    service.ports = ports;
    service.scheduler = *dice.pick(&SCHEDULERS);
    service.timeouts = timeouts(dice);
    service.on_removal = *dice.pick(&[OnRemoval::Reset, OnRemoval::Keep, OnRemoval::Drop]);
    service.backup_below = u16::from(dice.small(3));
    if dice.once_in(3) {
        (0..1 + dice.roll(2)).for_each(|_| add_listen(site, dice, number));
    }
    if dice.once_in(3) {
        persist(site, dice, number);
    }
    let method = method(dice);
    for _ in 0..1 + dice.roll(4) {
        add_destination(site, dice, number, method);
    }
}

/// Something to listen on.
fn listen(dice: &mut Dice, v6: bool) -> (IpAddr, Ports, Proto) {
    let vip: IpAddr = if v6 { vip6(dice.small(4)).into() } else { vip(dice.small(4)).into() };
    let ports =
        *dice.pick(&[Ports::One(80), Ports::One(53), Ports::One(443), Ports::Range(5000, 5003), Ports::Any]);
    (vip, ports, *dice.pick(&[Proto::Tcp, Proto::Tcp, Proto::Udp]))
}

/// Two listens may overlap, but not be the same.
fn is_there(site: &Site, listen: (IpAddr, Ports, Proto)) -> bool {
    site.services.iter().any(|service| !service.removed && service.listens().contains(&listen))
}

/// Makes a service a bundle, or a larger one.
fn add_listen(site: &mut Site, dice: &mut Dice, index: usize) {
    let more = listen(dice, site.services[index].vip.is_ipv6());
    if !is_there(site, more) {
        site.services[index].more.push(more);
    }
}

/// Keeps the clients of a service with their destinations. Only where the model knows the scheduler's choice.
fn persist(site: &mut Site, dice: &mut Dice, index: usize) {
    let v6 = site.services[index].vip.is_ipv6();
    let timeout = Seconds(*dice.pick(&[1, 5, 20, 90, 300]));
    let prefix =
        *dice.pick(&[None, Some(if v6 { 127 } else { 31 }), Some(if v6 { 126 } else { 30 }), Some(24)]);
    site.services[index].scheduler = *dice.pick(&SCHEDULERS[..KNOWN]);
    site.persistent.push((u16::try_from(index).expect("few services"), Persistence { timeout, prefix }));
}

fn timeouts(dice: &mut Dice) -> Timeouts {
    let mut seconds = || Seconds(*dice.pick(&[1, 5, 15, 60, 300, 900]));
    Timeouts { tcp: seconds(), tcp_fin: seconds(), udp: seconds() }
}

fn add_destination(site: &mut Site, dice: &mut Dice, index: usize, method: Method) {
    let Service { vip, ports, .. } = site.services[index];
    let bundle = !site.services[index].more.is_empty();
    let n = dice.small(6);
    let mut d = site.destination_for(vip, n, 80, method);
    if method == Method::Tunnel && dice.once_in(3) {
        d.addr = if vip.is_ipv4() { real6(n).into() } else { real(n).into() };
    }
    d.encapsulation = *dice.pick(&TUNNELS);
    d.port = match (method, ports) {
        (Method::Nat, Ports::One(_)) if !bundle => d.port,
        // Under a range or a bundle, to one port or each to its own.
        (Method::Nat, _) => d.port.filter(|_| dice.once_in(2)),
        (_, Ports::One(port)) => Some(port),
        (_, _) => None,
    };
    let twice = |other: &Destination| !other.removed && (other.addr, other.port) == (d.addr, d.port);
    if site.services[index].destinations.iter().any(twice) {
        return;
    }
    d.weight = u32::from(dice.small(6));
    d.backup = dice.once_in(8);
    d.limits = limits(dice);
    if dice.once_in(30) {
        d.method = Method::Local;
    }
    site.services[index].destinations.push(d);
}

fn limits(dice: &mut Dice) -> Limits {
    if !dice.once_in(5) {
        return Limits::default();
    }
    let upper = u32::from(dice.small(8));
    let lower = u32::from(dice.small(8)).min(upper);
    Limits { upper, lower, connections: if dice.once_in(2) { u32::from(dice.small(6)) } else { 0 } }
}

/// Changes something.
pub(super) fn change(site: &mut Site, dice: &mut Dice) {
    let index = dice.roll(site.services.len());
    if site.services.iter().filter(|s| !s.removed).count() < 10 && dice.once_in(8) {
        add_service(site, dice);
        return;
    }
    if site.services[index].removed {
        return;
    }
    let kept = site.persistent.iter().any(|(service, _)| usize::from(*service) == index);
    match dice.roll(12) {
        0 if dice.once_in(3) => site.services[index].removed = true,
        1 => {
            let all = if kept { &SCHEDULERS[..KNOWN] } else { &SCHEDULERS[..] };
            site.services[index].scheduler = *dice.pick(all);
        }
        // Connections that are over all of a sudden have ended in the past: what that makes of templates is open.
        2 if !kept => site.services[index].timeouts = timeouts(dice),
        3 => site.mtu = [*dice.pick(&[1500, 1500, 1400, 1280]), *dice.pick(&[1500, 1500, 1350, 1280])],
        4 if dice.once_in(4) => site.default_route = !site.default_route,
        5 | 6 => {
            let method = method(dice);
            add_destination(site, dice, index, method);
        }
        7 if dice.once_in(2) => site.default_route = true,
        7 if dice.once_in(2) => add_listen(site, dice, index),
        7 => {
            // Its destinations stay as they are: one port, or each packet's.
            let more = &mut site.services[index].more;
            if !more.is_empty() {
                more.swap_remove(dice.roll(more.len()));
            }
        }
        _ => change_destination(site, dice, index),
    }
}

fn change_destination(site: &mut Site, dice: &mut Dice, index: usize) {
    let service = &mut site.services[index];
    if service.destinations.is_empty() {
        return;
    }
    let at = dice.roll(service.destinations.len());
    let (on_removal, sorry) = (service.on_removal, service.sorry);
    let d = &mut service.destinations[at];
    match dice.roll(9) {
        0 | 1 if on_removal == OnRemoval::Keep => {
            d.unscheduled = true;
            d.begin_again(true);
        }
        0 | 1 => d.removed = true,
        2 => d.begin_again(false),
        3 => d.intent = *dice.pick(&[Intent::Ready, Intent::Ready, Intent::Drain, Intent::Maint]),
        4 => d.health = *dice.pick(&[Health::Up, Health::Up, Health::Down]),
        5 => d.backup = !d.backup,
        6 => {
            let id = d.id;
            service.sorry = if sorry.is_some() { None } else { Some(id) };
        }
        _ => d.weight = u32::from(dice.small(6)),
    }
}
