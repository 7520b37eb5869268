//! Whether a destination is given connections, and how far it is on its way back to its weight.

use crate::director::Director;
use crate::show::destination_id;
use sheave_pipeline::ids::DestId;
use sheave_pipeline::live::DestLive;
use sheave_pipeline::scheduler::share_of_weight;
use sheave_pipeline::snapshot::Limits;
use sheave_pipeline::time::Seconds;
use sheave_proto::api::DestinationState;
use sheave_proto::config::{Destination, Intent, Service};

/// Whether a destination is given connections. What the operator intends stands before what the numbers say.
pub(crate) fn state(director: &Director, service: &Service, destination: &Destination) -> DestinationState {
    match destination.state {
        Intent::Maint => DestinationState::Maint,
        Intent::Drain => DestinationState::Drain,
        Intent::Ready if destination.weight.get() == 0 => DestinationState::Quiesced,
        Intent::Ready if overloaded(director, service, destination) => DestinationState::Overloaded,
        Intent::Ready if destination.backup && !needs_backups(director, service) => DestinationState::Standby,
        Intent::Ready => DestinationState::Up,
    }
}

fn live<'d>(director: &'d Director, service: &Service, destination: &Destination) -> Option<&'d DestLive> {
    destination_id(director, service, destination).map(|id| director.dataplane.shared.live.destination(id))
}

fn overloaded(director: &Director, service: &Service, destination: &Destination) -> bool {
    let limits = Limits {
        upper: destination.upper_threshold,
        lower: destination.lower_threshold,
        connections: destination.connection_limit,
    };
    live(director, service, destination).is_some_and(|live| live.overloaded(&limits))
}

/// Whether fewer others may be used than a service wants without its backups.
fn needs_backups(director: &Director, service: &Service) -> bool {
    let usable = |d: &&Destination| {
        !d.backup && d.state == Intent::Ready && d.weight.get() > 0 && !overloaded(director, service, d)
    };
    service.destinations.iter().filter(usable).count() < usize::from(service.backup_below.get())
}

/// The part of its weight that a destination counts with, while that is not all of it.
pub(crate) fn slow_start(director: &Director, service: &Service, id: Option<DestId>) -> Option<f64> {
    let duration = u16::try_from(service.slow_start?.as_secs()).unwrap_or(u16::MAX);
    let live = director.dataplane.shared.live.destination(id?);
    Some(share_of_weight(live, Seconds(duration), director.now)).filter(|share| *share < 1.0)
}
