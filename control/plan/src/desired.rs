//! What is wanted: services with their destinations, static neighbours and routes, interfaces, the director's
//! settings. Valid as a whole, always.

use sheave_proto::api::{ErrorCode, ErrorReply, Op};
use sheave_proto::config::{Config, ConfigError, DestAddr, Destination, Intent, Service, validate};

/// A desired state. It is never edited: a change makes another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    config: Config,
}

/// No service, every default: what the director starts with when there is no file.
impl Default for Desired {
    fn default() -> Desired {
        Desired { config: Config::default() }
    }
}

impl Desired {
    /// The state that a configuration describes.
    ///
    /// # Errors
    /// Everything that [`validate`] finds.
    pub fn new(config: Config) -> Result<Desired, Vec<ConfigError>> {
        let errors = validate(&config);
        if errors.is_empty() { Ok(Desired { config }) } else { Err(errors) }
    }

    /// The state as a configuration, with every default filled in.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The service that a name or listen string means.
    ///
    /// # Errors
    /// When there is none.
    pub fn service(&self, reference: &str) -> Result<&Service, ErrorReply> {
        let at = self.config.find_service(reference);
        at.map(|at| &self.config.services[at]).ok_or_else(|| no_service(reference))
    }

    /// The state that a request asks for: one of the operations that change something, or `config.plan`, which is
    /// `config.apply` for whoever only wants to look.
    ///
    /// # Errors
    /// Everything that is wrong with the request or with the state that it asks for. This state stands then.
    pub fn request(&self, op: &Op) -> Result<Desired, ErrorReply> {
        let mut config = self.config.clone();
        edit(&mut config, op)?;
        Ok(Desired::new(config)?)
    }
}

/// Does to a configuration what an operation asks for, without a look at whether the whole is valid then: for
/// whoever has many operations, and looks once at the end.
///
/// # Errors
/// What is wrong with the operation. The configuration is as it was then.
pub fn edit(config: &mut Config, op: &Op) -> Result<(), ErrorReply> {
    match op {
        Op::ServiceAdd(service) => add_service(config, service)?,
        Op::ServiceSet { service, patch } => patch.apply(service_of(config, service)?.1),
        Op::ServiceRemove { service } => {
            let at = service_of(config, service)?.0;
            config.services.remove(at);
        }
        Op::DestinationAdd { service, destination } => {
            add_destination(service_of(config, service)?.1, destination)?;
        }
        Op::DestinationSet { service, address, patch } => {
            let service = service_of(config, service)?.1;
            let at = destination_of(service, address)?;
            patch.apply(&mut service.destinations[at]);
        }
        Op::DestinationRemove { service, address } => {
            let service = service_of(config, service)?.1;
            let at = destination_of(service, address)?;
            service.destinations.remove(at);
        }
        Op::DestinationDrain { service, address, .. } => {
            let service = service_of(config, service)?.1;
            let at = destination_of(service, address)?;
            service.destinations[at].state = Intent::Drain;
        }
        Op::TimeoutsSet(patch) => patch.apply_to_director(&mut config.director.timeouts),
        Op::ConfigApply(source) | Op::ConfigPlan(source) => *config = source.resolve()?,
        _ => {
            let message = "it changes nothing";
            return Err(ErrorReply::new(
                ErrorCode::Invalid,
                "request",
                message,
                "send an operation that does",
            ));
        }
    }
    Ok(())
}

/// The service that a name or listen string means, with its position.
fn service_of<'c>(config: &'c mut Config, reference: &str) -> Result<(usize, &'c mut Service), ErrorReply> {
    let at = config.find_service(reference);
    at.and_then(|at| Some((at, config.services.get_mut(at)?))).ok_or_else(|| no_service(reference))
}

fn no_service(reference: &str) -> ErrorReply {
    let object = format!("service {}", reference.escape_debug());
    ErrorReply::not_found(object, "give the name or the listen string of a service that service.list shows")
}

fn destination_of(service: &Service, address: &DestAddr) -> Result<usize, ErrorReply> {
    service.find_destination(address).ok_or_else(|| {
        let object = service.destination_label(address);
        ErrorReply::not_found(object, "give the address of a destination that destination.list shows")
    })
}

fn add_service(config: &mut Config, service: &Service) -> Result<(), ErrorReply> {
    let same = |other: &&Service| {
        other.name == service.name || other.listens.iter().any(|listen| service.listens.contains(listen))
    };
    if let Some(other) = config.services.iter().find(same) {
        let message = format!("there is one already, listening on {}", other.listen());
        let remedy = "change it with service.set, or remove it first";
        return Err(ErrorReply::new(ErrorCode::Exists, other.label(), message, remedy));
    }
    config.services.push(service.clone());
    Ok(())
}

fn add_destination(service: &mut Service, destination: &Destination) -> Result<(), ErrorReply> {
    if service.find_destination(&destination.address).is_some() {
        let object = service.destination_label(&destination.address);
        let remedy = "change it with destination.set, or remove it first";
        return Err(ErrorReply::new(ErrorCode::Exists, object, "there is one already", remedy));
    }
    service.destinations.push(destination.clone());
    Ok(())
}
