//! The TCP state machine of IPVS: three tables (client's packets, real server's packets, client's packets when
//! those of the real server do not pass here) and the timeouts.
//!
//! It follows what a director sees, it is not a TCP: no sequence numbers, no windows.

use crate::snapshot::Timeouts;
use crate::time::Seconds;
use sheave_proto::wire::tcp::TcpFlags;

/// The states, numbered as the columns of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TcpState {
    /// New.
    None,
    /// Established.
    Established,
    /// The real server opens.
    SynSent,
    /// The client opens.
    SynRecv,
    /// One side has closed.
    FinWait,
    /// Both have.
    TimeWait,
    /// Reset, or closed for good.
    Close,
    /// The client has closed, the real server has not.
    CloseWait,
    /// The real server has closed after the client.
    LastAck,
    /// Not reached by any packet of a new connection; IPVS has it.
    Listen,
    /// A SYN of the real server that answers one; reached with flood protection only.
    SynAck,
}

use TcpState::{
    Close as CL, CloseWait as CW, Established as ES, FinWait as FW, LastAck as LA, Listen as LI,
    SynAck as SA, SynRecv as SR, SynSent as SS, TimeWait as TW,
};

impl TcpState {
    /// All, by their numbers.
    pub const ALL: [TcpState; 11] = [TcpState::None, ES, SS, SR, FW, TW, CL, CW, LA, LI, SA];

    /// The state of a number; what is no state's reads as `None`.
    #[inline]
    pub(crate) fn from_code(code: u64) -> TcpState {
        usize::try_from(code).ok().and_then(|i| TcpState::ALL.get(i).copied()).unwrap_or(TcpState::None)
    }

    /// Whether a connection in this state counts as active.
    #[inline]
    pub const fn is_active(self) -> bool {
        matches!(self, ES | SS | SR | SA)
    }

    /// How long an entry in this state outlives its last packet.
    #[inline]
    pub const fn timeout(self, timeouts: &Timeouts) -> Seconds {
        match self {
            ES => timeouts.tcp,
            FW => timeouts.tcp_fin,
            // A new entry has 3 s until its first change of state, and nothing comes back here.
            TcpState::None => Seconds(3),
            SS | TW | LI | SA => Seconds(120),
            SR | CW => Seconds(60),
            LA => Seconds(30),
            CL => Seconds(10),
        }
    }

    /// The name, as IPVS shows it.
    pub const fn name(self) -> &'static str {
        match self {
            TcpState::None => "NONE",
            ES => "ESTABLISHED",
            SS => "SYN_SENT",
            SR => "SYN_RECV",
            FW => "FIN_WAIT",
            TW => "TIME_WAIT",
            CL => "CLOSE",
            CW => "CLOSE_WAIT",
            LA => "LAST_ACK",
            LI => "LISTEN",
            SA => "SYNACK",
        }
    }
}

/// Which table a packet goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Seen {
    /// From the client.
    In,
    /// From the real server.
    Out,
    /// From the client, when the real server's packets do not pass here.
    InOnly,
}

/// The one flag of a segment that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Event {
    Syn,
    Fin,
    Ack,
    Rst,
}

impl Event {
    /// RST before SYN before FIN before ACK; `None` for a segment with none of them, which changes nothing.
    #[inline]
    pub(crate) fn of(flags: TcpFlags) -> Option<Event> {
        if flags.contains(TcpFlags::RST) {
            Some(Event::Rst)
        } else if flags.contains(TcpFlags::SYN) {
            Some(Event::Syn)
        } else if flags.contains(TcpFlags::FIN) {
            Some(Event::Fin)
        } else if flags.contains(TcpFlags::ACK) {
            Some(Event::Ack)
        } else {
            None
        }
    }
}

type Row = [TcpState; 11];

#[rustfmt::skip]
const TABLES: [[Row; 4]; 3] = [
    //  NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    [
        [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
        [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW],
        [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
        [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR],
    ],
    [
        [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR],
        [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW],
        [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES],
        [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL],
    ],
    [
        [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR],
        [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW],
        [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES],
        [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL],
    ],
];

/// The state after a segment.
#[inline]
pub(crate) fn next(state: TcpState, seen: Seen, event: Event) -> TcpState {
    TABLES[seen as usize][event as usize][state as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables as changes: each line names a table and a flag, then `from>to` for all eleven columns.
    const CHANGES: &str = "
        in syn: NONE>SYN_RECV ESTABLISHED>ESTABLISHED SYN_SENT>ESTABLISHED SYN_RECV>SYN_RECV FIN_WAIT>SYN_RECV \
                TIME_WAIT>SYN_RECV CLOSE>SYN_RECV CLOSE_WAIT>SYN_RECV LAST_ACK>SYN_RECV LISTEN>SYN_RECV SYNACK>SYN_RECV
        in fin: NONE>CLOSE ESTABLISHED>CLOSE_WAIT SYN_SENT>SYN_SENT SYN_RECV>TIME_WAIT FIN_WAIT>TIME_WAIT \
                TIME_WAIT>TIME_WAIT CLOSE>CLOSE CLOSE_WAIT>CLOSE_WAIT LAST_ACK>LAST_ACK LISTEN>LISTEN SYNACK>TIME_WAIT
        in ack: NONE>ESTABLISHED ESTABLISHED>ESTABLISHED SYN_SENT>SYN_SENT SYN_RECV>ESTABLISHED FIN_WAIT>FIN_WAIT \
                TIME_WAIT>TIME_WAIT CLOSE>CLOSE CLOSE_WAIT>CLOSE_WAIT LAST_ACK>CLOSE LISTEN>LISTEN SYNACK>ESTABLISHED
        in rst: NONE>CLOSE ESTABLISHED>CLOSE SYN_SENT>CLOSE SYN_RECV>SYN_RECV FIN_WAIT>CLOSE TIME_WAIT>CLOSE \
                CLOSE>CLOSE CLOSE_WAIT>CLOSE LAST_ACK>LAST_ACK LISTEN>LISTEN SYNACK>SYN_RECV
        out syn: NONE>SYN_SENT ESTABLISHED>ESTABLISHED SYN_SENT>SYN_SENT SYN_RECV>SYN_RECV FIN_WAIT>SYN_SENT \
                TIME_WAIT>SYN_SENT CLOSE>SYN_SENT CLOSE_WAIT>SYN_SENT LAST_ACK>SYN_SENT LISTEN>LISTEN SYNACK>SYN_RECV
        out fin: NONE>TIME_WAIT ESTABLISHED>FIN_WAIT SYN_SENT>SYN_SENT SYN_RECV>TIME_WAIT FIN_WAIT>FIN_WAIT \
                TIME_WAIT>TIME_WAIT CLOSE>CLOSE CLOSE_WAIT>TIME_WAIT LAST_ACK>LAST_ACK LISTEN>LISTEN SYNACK>TIME_WAIT
        out ack: NONE>ESTABLISHED ESTABLISHED>ESTABLISHED SYN_SENT>SYN_SENT SYN_RECV>ESTABLISHED FIN_WAIT>FIN_WAIT \
                TIME_WAIT>TIME_WAIT CLOSE>CLOSE CLOSE_WAIT>CLOSE_WAIT LAST_ACK>LAST_ACK LISTEN>ESTABLISHED SYNACK>ESTABLISHED
        out rst: NONE>CLOSE ESTABLISHED>CLOSE SYN_SENT>SYN_SENT SYN_RECV>CLOSE FIN_WAIT>CLOSE TIME_WAIT>TIME_WAIT \
                CLOSE>CLOSE CLOSE_WAIT>CLOSE LAST_ACK>CLOSE LISTEN>CLOSE SYNACK>CLOSE
        only syn: NONE>SYN_RECV ESTABLISHED>ESTABLISHED SYN_SENT>ESTABLISHED SYN_RECV>SYN_RECV FIN_WAIT>SYN_RECV \
                TIME_WAIT>SYN_RECV CLOSE>SYN_RECV CLOSE_WAIT>SYN_RECV LAST_ACK>SYN_RECV LISTEN>SYN_RECV SYNACK>SYN_RECV
        only fin: NONE>CLOSE ESTABLISHED>FIN_WAIT SYN_SENT>SYN_SENT SYN_RECV>TIME_WAIT FIN_WAIT>FIN_WAIT \
                TIME_WAIT>TIME_WAIT CLOSE>CLOSE CLOSE_WAIT>CLOSE_WAIT LAST_ACK>LAST_ACK LISTEN>LISTEN SYNACK>TIME_WAIT
        only ack: NONE>ESTABLISHED ESTABLISHED>ESTABLISHED SYN_SENT>SYN_SENT SYN_RECV>ESTABLISHED FIN_WAIT>FIN_WAIT \
                TIME_WAIT>TIME_WAIT CLOSE>CLOSE CLOSE_WAIT>CLOSE_WAIT LAST_ACK>CLOSE LISTEN>LISTEN SYNACK>ESTABLISHED
        only rst: NONE>CLOSE ESTABLISHED>CLOSE SYN_SENT>CLOSE SYN_RECV>SYN_RECV FIN_WAIT>CLOSE TIME_WAIT>CLOSE \
                CLOSE>CLOSE CLOSE_WAIT>CLOSE LAST_ACK>LAST_ACK LISTEN>LISTEN SYNACK>CLOSE";

    #[test]
    fn every_cell_is_as_in_ipvs() {
        let named = |name: &str| *TcpState::ALL.iter().find(|s| s.name() == name).expect("a state's name");
        let mut cells = 0;
        for line in CHANGES.lines().filter(|l| !l.trim().is_empty()) {
            let (head, changes) = line.split_once(':').expect("a head");
            let (table, flag) = head.trim().split_once(' ').expect("table and flag");
            let seen = match table {
                "in" => Seen::In,
                "out" => Seen::Out,
                _ => Seen::InOnly,
            };
            let event = match flag {
                "syn" => Event::Syn,
                "fin" => Event::Fin,
                "ack" => Event::Ack,
                _ => Event::Rst,
            };
            for change in changes.split_whitespace() {
                let (from, to) = change.split_once('>').expect("a change");
                assert_eq!(next(named(from), seen, event), named(to), "{table} {flag} {from}");
                cells += 1;
            }
        }
        assert_eq!(cells, 3 * 4 * 11);
    }

    #[test]
    fn the_weightiest_flag_counts() {
        let all = TcpFlags(0x17);
        assert_eq!(Event::of(all), Some(Event::Rst));
        assert_eq!(Event::of(TcpFlags(0x13)), Some(Event::Syn));
        assert_eq!(Event::of(TcpFlags(0x11)), Some(Event::Fin));
        assert_eq!(Event::of(TcpFlags(0x18)), Some(Event::Ack));
        assert_eq!(Event::of(TcpFlags::PSH | TcpFlags::URG), None);
        assert_eq!(Event::of(TcpFlags(0)), None);
    }

    #[test]
    fn opening_and_established_states_are_active_and_timeouts_are_those_of_ipvs() {
        let timeouts = Timeouts { tcp: Seconds(900), tcp_fin: Seconds(121), udp: Seconds(300) };
        let rows: Vec<_> = TcpState::ALL
            .iter()
            .map(|s| format!("{} {} {}", s.name(), s.timeout(&timeouts).0, u8::from(s.is_active())))
            .collect();
        assert_eq!(
            rows,
            [
                "NONE 3 0",
                "ESTABLISHED 900 1",
                "SYN_SENT 120 1",
                "SYN_RECV 60 1",
                "FIN_WAIT 121 0",
                "TIME_WAIT 120 0",
                "CLOSE 10 0",
                "CLOSE_WAIT 60 0",
                "LAST_ACK 30 0",
                "LISTEN 120 0",
                "SYNACK 120 1",
            ]
        );
        assert!((0u64..).zip(TcpState::ALL).all(|(code, s)| TcpState::from_code(code) == s));
    }
}
