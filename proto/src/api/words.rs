//! The vocabularies of the control API beside those of the configuration.

use crate::config::vocabulary;

vocabulary! {
    /// The operations that a request can ask for.
    OpName, "op" {
        /// The director at a glance.
        StatusShow = "status.show",
        /// Every service with its destinations.
        ServiceList = "service.list",
        /// One service with its destinations.
        ServiceShow = "service.show",
        /// Adds a service.
        ServiceAdd = "service.add",
        /// Changes the named keys of a service.
        ServiceSet = "service.set",
        /// Removes a service.
        ServiceRemove = "service.remove",
        /// Every destination, or those of one service.
        DestinationList = "destination.list",
        /// Adds a destination to a service.
        DestinationAdd = "destination.add",
        /// Changes the named keys of a destination.
        DestinationSet = "destination.set",
        /// Removes a destination from its service.
        DestinationRemove = "destination.remove",
        /// Takes no new connections to a destination, and ends those that it has by a deadline.
        DestinationDrain = "destination.drain",
        /// Replaces the whole configuration, atomically.
        ConfigApply = "config.apply",
        /// Says what `config.apply` would change, and changes nothing.
        ConfigPlan = "config.plan",
        /// The configuration in force.
        ConfigShow = "config.show",
        /// Reads the configuration file again and applies it.
        ConfigReload = "config.reload",
        /// Totals and rates of services and destinations.
        StatsShow = "stats.show",
        /// Begins to count anew beside the totals, for those who want numbers since a moment.
        StatsMark = "stats.mark",
        /// The timeouts of services that do not set their own.
        TimeoutsShow = "timeouts.show",
        /// Changes the named timeouts of services that do not set their own.
        TimeoutsSet = "timeouts.set",
        /// A page of connection entries.
        ConnectionsList = "connections.list",
        /// A page of persistence templates.
        StickyList = "sticky.list",
        /// Forgets persistence templates; their connections go on.
        StickyClear = "sticky.clear",
        /// The neighbours that packets can be sent to.
        NeighboursList = "neighbours.list",
        /// The workers with their queues and frames.
        WorkersShow = "workers.show",
        /// Every verdict and reason with its count.
        CountersShow = "counters.show",
        /// From now on events come on this connection too.
        EventsSubscribe = "events.subscribe",
    }
}

vocabulary! {
    /// The state of a connection entry, in the words of IPVS.
    ConnState, "state" {
        /// New.
        None = "none",
        /// Established.
        Established = "established",
        /// The real server opens.
        SynSent = "syn-sent",
        /// The client opens.
        SynRecv = "syn-recv",
        /// One side has closed.
        FinWait = "fin-wait",
        /// Both sides have closed.
        TimeWait = "time-wait",
        /// Reset, or closed for good.
        Close = "close",
        /// The client has closed, the real server has not.
        CloseWait = "close-wait",
        /// The real server has closed after the client.
        LastAck = "last-ack",
        /// Listening.
        Listen = "listen",
        /// Opening, under attack.
        SynAck = "syn-ack",
        /// UDP has one state.
        Udp = "udp",
    }
}

impl ConnState {
    /// Whether a connection in this state counts as active; all others are inactive. UDP counts as inactive,
    /// as in IPVS.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, ConnState::Established | ConnState::SynSent | ConnState::SynRecv | ConnState::SynAck)
    }
}

vocabulary! {
    /// What a counter counts.
    CounterKind, "kind of counter" {
        /// The outcomes of packets.
        Verdict = "verdict",
        /// Why an outcome was not a plain forward.
        Reason = "reason",
        /// Something that happened in a worker or the director.
        Occurrence = "occurrence",
    }
}

vocabulary! {
    /// Whether a destination is given connections, and why not. When several hold, the last in this order is shown.
    DestinationState, "state of a destination" {
        /// It is.
        Up = "up",
        /// Its weight is 0: no new ones, existing ones go on.
        Quiesced = "quiesced",
        /// Its thresholds or its limit say that it has enough connections.
        Overloaded = "overloaded",
        /// It is a backup, and enough others are usable.
        Standby = "standby",
        /// Its health checks fail.
        Down = "down",
        /// The operator drains it: no new ones, existing ones end.
        Drain = "drain",
        /// The operator has taken it out.
        Maint = "maint",
        /// It is removed, and connections of it still go on.
        Removed = "removed",
    }
}

vocabulary! {
    /// Where a neighbour is known from.
    NeighbourOrigin, "origin" {
        /// The configuration.
        Static = "static",
        /// The kernel's table.
        Kernel = "kernel",
    }
}

vocabulary! {
    /// Whether packets can be sent to a neighbour.
    NeighbourState, "state of a neighbour" {
        /// Its hardware address is known.
        Reachable = "reachable",
        /// The kernel is asking for it.
        Resolving = "resolving",
        /// It did not answer.
        Failed = "failed",
    }
}
