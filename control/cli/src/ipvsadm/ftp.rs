//! FTP as IPVS has it: a service of TCP port 21 that gives one of port 21 and what follows from it.
//!
//! What a service of that port is here follows from its persistence and the methods of its real servers, so that saved
//! rules make the same again:
//!
//! - Under NAT the helper reads along, as the kernel's module does.
//! - Persistent without NAT: the data ports belong to it too, so that the client's template brings them to the same real
//!   server, and the client's SYN+ACK of active mode is taken up.
//! - Otherwise port 21 alone.

use sheave_proto::config::{Forward, Helper, Listen, Ports, Service};
use sheave_proto::wire::flow::Proto;

const CONTROL: Ports = Ports::One(21);
/// Active mode comes from port 20, passive mode goes to any unprivileged one.
const DATA: [Ports; 2] = [Ports::One(20), Ports::Range(1024, 65535)];

/// The control listen of a service that is one of port 21 in rules.
pub(super) fn control(service: &Service) -> Option<Listen> {
    let control = *service.listen();
    let is_control = control.proto == Proto::Tcp && control.ports == CONTROL;
    let alone = service.listens.len() == 1;
    let with_data = service.sloppy && service.listens == with_data(control);
    (is_control && (alone || with_data)).then_some(control)
}

/// Whether a service has the data ports, too. Its destinations keep the packet's port then.
pub(super) fn has_data(service: &Service) -> bool {
    service.listens.len() > 1 && control(service).is_some()
}

fn with_data(control: Listen) -> Vec<Listen> {
    let data = DATA.map(|ports| Listen { ports, ..control });
    std::iter::once(control).chain(data).collect()
}

/// Makes a service of port 21 what it is by its persistence and its destinations.
pub(crate) fn shape(service: &mut Service) {
    let Some(control) = control(service) else { return };
    let nat = service.destinations.iter().any(|destination| service.forward_of(destination) == Forward::Nat);
    let kept = service.persistence.is_some() && !nat;
    if has_data(service) && !kept {
        service.sloppy = false;
    }
    service.helper = nat.then_some(Helper::Ftp);
    service.listens = if kept { with_data(control) } else { vec![control] };
    if kept {
        service.sloppy = true;
        // Of DR and TUN it is the service's.
        service.destinations.iter_mut().for_each(|destination| destination.address.port = None);
    }
}
