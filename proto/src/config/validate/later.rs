//! What has a meaning that the data path does not carry out yet: refused by name, never accepted and ignored.
//!
//! A feature is a line of a table here. Whoever makes the data path carry it out deletes the line.

use super::super::error::{ConfigError, ConfigErrorKind, Place, Spot};
use super::super::model::{Config, Interface};
use super::super::service::Service;
use super::Check;

/// A feature of a `T`: the key that asks for it, what to do instead, and each use of it, as in `sloppy is`.
type Later<T> = (&'static str, &'static str, fn(&T) -> Vec<String>);

const INTERFACE: &[Later<Interface>] =
    &[("queue-cores", LEAVE, |i| when(!i.queue_cores.is_empty(), "queue-cores is"))];

const SERVICE: &[Later<Service>] = &[("syn-proxy", LEAVE, |s| when(s.syn_proxy, "syn-proxy is"))];

const LEAVE: &str = "leave it out";

fn when(used: bool, what: &str) -> Vec<String> {
    used.then(|| what.to_owned()).into_iter().collect()
}

impl Check<'_> {
    /// Everything that a configuration asks for too early.
    pub(super) fn later(&mut self, config: &Config) {
        for (at, interface) in config.interfaces.iter().enumerate() {
            self.features(INTERFACE, Spot::Interface(at), interface, || interface.label());
        }
        for (at, service) in config.services.iter().enumerate() {
            self.features(SERVICE, Spot::Service(at), service, || service.label());
        }
    }

    fn features<T>(&mut self, table: &[Later<T>], spot: Spot, of: &T, label: impl Fn() -> String) {
        for (key, remedy, uses) in table {
            for what in uses(of) {
                self.not_yet(spot, key, label(), &what, remedy);
            }
        }
    }

    fn not_yet(&mut self, spot: Spot, key: &'static str, object: String, what: &str, remedy: &str) {
        let kind = ConfigErrorKind::NotSupported;
        let error = ConfigError::invalid(object, format!("{what} not supported yet"), remedy);
        self.found.push(ConfigError { kind, place: Some(Place { spot, key }), ..error });
    }
}
