//! The rules of services with a helper: the connections that follow from others need listens, which nobody else may
//! have.

use super::super::addr::{Listen, Ports};
use super::super::error::Spot;
use super::super::model::Config;
use super::super::service::Service;
use super::super::words::Forward;
use super::Check;

impl<'c> Check<'c> {
    pub(super) fn helpers(&mut self, config: &'c Config) {
        for (at, service) in config.services.iter().enumerate().filter(|(_, s)| s.helper.is_some()) {
            let spot = Spot::Service(at);
            self.helper_alone(spot, service);
            for listen in service.listens.iter().filter(|listen| listen.speaks_ftp()) {
                self.helper_listen(spot, service, *listen, config);
            }
        }
    }

    /// What a helper does not work with.
    fn helper_alone(&mut self, spot: Spot, service: &Service) {
        let label = || service.label();
        if service.forward != Forward::Nat {
            let message = format!("helper does not work under {}", service.forward);
            let remedy = "remove it, and keep clients of every port at one server by persistence; or use forward = \
                          \"nat\"";
            self.wrong(spot, "helper", label(), message, remedy);
        }
        if service.syn_proxy {
            let message = "helper does not work behind syn-proxy";
            self.wrong(spot, "helper", label(), message, "remove one of the two");
        }
        for destination in &service.destinations {
            let own =
                destination.forward.filter(|own| *own != Forward::Nat && service.forward == Forward::Nat);
            if let Some(own) = own {
                let label = service.destination_label(&destination.address);
                let message = format!("forward {own} does not work with a helper");
                self.wrong(spot, "helper", label, message, "use forward = \"nat\", or remove the helper");
            }
        }
    }

    fn helper_listen(&mut self, spot: Spot, service: &Service, listen: Listen, config: &Config) {
        let label = service.label();
        if listen.ports.single().is_none_or(|port| port == 1) {
            let message = format!("helper does not work with ports {} of TCP", listen.ports);
            self.wrong(spot, "helper", label, message, "listen on one port");
            return;
        }
        let data = Service::data_listens(&listen);
        let others = config.services.iter().flat_map(|other| other.listens.iter().map(move |l| (other, l)));
        let wide = |ports| !matches!(ports, Ports::One(_));
        let taken =
            others.filter(|(_, l)| l.addr == listen.addr && l.proto == listen.proto).find(|(other, l)| {
                let second = other.helper.is_some() && **l != listen;
                second || wide(l.ports) || data.contains(l)
            });
        if let Some((owner, other)) = taken {
            let message = format!(
                "helper needs port {} and the unprivileged ones of {} for data connections, and {} listens on {other}",
                listen.ports.single().map_or(0, |port| port - 1),
                listen.addr,
                owner.label()
            );
            self.wrong(spot, "helper", label, message, "give one of the two an address of its own");
        }
    }
}
