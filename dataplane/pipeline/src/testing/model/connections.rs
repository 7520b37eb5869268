//! The connections of the model: a map by plain tuples, and the TCP states as IPVS documents them.

use crate::ids::{DestId, Generation};
use crate::snapshot::Timeouts;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// An address and a port.
pub(super) type End = (IpAddr, u16);
/// Protocol, client, what it talks to, and the number of the listen there: a connection is that of a listen.
pub(super) type Tuple = (u8, End, End, u16);

/// One connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) service: usize,
    pub(super) destination: DestId,
    pub(super) generation: Generation,
    /// Where it goes, so that replies are known.
    pub(super) real: End,
    pub(super) nat: bool,
    /// `None` is UDP.
    pub(super) state: Option<usize>,
    /// The second of its last packet.
    pub(super) used: u64,
    /// Its destination is gone, and has been told so.
    pub(super) detached: bool,
    /// The template that counts it.
    pub(super) template: Option<u64>,
}

pub(super) type Connections = BTreeMap<Tuple, Connection>;

const STATES: [&str; 11] = ["NO", "ES", "SS", "SR", "FW", "TW", "CL", "CW", "LA", "LI", "SA"];
const EVENTS: [&str; 4] = ["syn", "fin", "ack", "rst"];

/// The tables as they are documented: direction, flag, the next state for each state in the order of [`STATES`].
const DOCUMENTED: &str = "
    IN       syn | SR | ES | ES | SR | SR | SR | SR | SR | SR | SR | SR
    IN       fin | CL | CW | SS | TW | TW | TW | CL | CW | LA | LI | TW
    IN       ack | ES | ES | SS | ES | FW | TW | CL | CW | CL | LI | ES
    IN       rst | CL | CL | CL | SR | CL | CL | CL | CL | LA | LI | SR
    OUT      syn | SS | ES | SS | SR | SS | SS | SS | SS | SS | LI | SR
    OUT      fin | TW | FW | SS | TW | FW | TW | CL | TW | LA | LI | TW
    OUT      ack | ES | ES | SS | ES | FW | TW | CL | CW | LA | ES | ES
    OUT      rst | CL | CL | SS | CL | CL | TW | CL | CL | CL | CL | CL
    IN-ONLY  syn | SR | ES | ES | SR | SR | SR | SR | SR | SR | SR | SR
    IN-ONLY  fin | CL | FW | SS | TW | FW | TW | CL | CW | LA | LI | TW
    IN-ONLY  ack | ES | ES | SS | ES | FW | TW | CL | CW | CL | LI | ES
    IN-ONLY  rst | CL | CL | CL | SR | CL | CL | CL | CL | LA | LI | CL";

/// The state machine, read from its documentation.
#[derive(Debug)]
pub(super) struct Machine(BTreeMap<(&'static str, &'static str), Vec<usize>>);

impl Machine {
    pub(super) fn new() -> Machine {
        let row = |line: &'static str| {
            let (head, states) = line.split_once('|').expect("a row");
            let (direction, event) = head.trim().split_once(' ').expect("direction and flag");
            let states = states.split('|').map(|state| number(state.trim())).collect();
            ((direction, event.trim()), states)
        };
        Machine(DOCUMENTED.lines().filter(|line| !line.is_empty()).map(row).collect())
    }

    /// The state after a segment with these flags.
    pub(super) fn next(&self, direction: &'static str, state: usize, flags: u8) -> usize {
        // RST before SYN before FIN before ACK.
        let event = [(0x04, 3), (0x02, 0), (0x01, 1), (0x10, 2)].iter().find(|(bit, _)| flags & bit != 0);
        match event {
            Some((_, event)) => self.0[&(direction, EVENTS[*event])][state],
            None => state,
        }
    }
}

fn number(name: &str) -> usize {
    STATES.iter().position(|state| *state == name).expect("a state")
}

impl Connection {
    /// Seconds that it outlives its last packet.
    pub(super) fn lifetime(&self, timeouts: &Timeouts) -> u64 {
        let seconds = match self.state.map(|state| STATES[state]) {
            None => timeouts.udp.0,
            Some("ES") => timeouts.tcp.0,
            Some("FW") => timeouts.tcp_fin.0,
            Some("SS" | "TW" | "LI" | "SA") => 120,
            Some("SR" | "CW") => 60,
            Some("LA") => 30,
            Some("CL") => 10,
            Some(_) => 3,
        };
        u64::from(seconds)
    }

    pub(super) fn is_active(&self) -> bool {
        self.state.is_some_and(|state| matches!(STATES[state], "ES" | "SS" | "SR" | "SA"))
    }

    /// Whether a SYN begins a new connection in its place.
    pub(super) fn is_over(&self) -> bool {
        self.state
            .is_some_and(|state| matches!(STATES[state], "TW" | "CL") || (STATES[state] == "FW" && !self.nat))
    }
}
