//! The pipeline against a slow and obvious model of NAT: a map of connections.

use sheave_pipeline::snapshot::{Method, SchedulerKind};
use sheave_pipeline::testing::{Lab, NAT_REAL_PORT, Packet, Seen, Site, real, vip};
use sheave_pipeline::{Reason, Resolve, VerdictKind};
use sheave_proto::wire::flow::Proto;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

const REALS: u8 = 4;

/// A small generator: the same numbers every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

type End = (Ipv4Addr, u16);

#[derive(Debug, Clone)]
struct Modelled {
    service: usize,
    real: u8,
    state: &'static str,
    used: u64,
}

/// Connections by client and service; who answers a client from where follows from them.
struct Model {
    proto: Vec<Proto>,
    next: Vec<u8>,
    connections: HashMap<(End, usize), Modelled>,
}

/// The states of a NAT connection that plain traffic reaches, as (state, direction and flag) -> state.
fn step(state: &'static str, from_client: bool, flags: u8) -> &'static str {
    let flag = match flags {
        f if f & Packet::RST != 0 => "rst",
        f if f & Packet::SYN != 0 => "syn",
        f if f & Packet::FIN != 0 => "fin",
        f if f & Packet::ACK != 0 => "ack",
        _ => return state,
    };
    match (state, from_client, flag) {
        ("SR", _, "ack") => "ES",
        ("SR", _, "fin") => "TW",
        ("SR", false, "rst") => "CL",
        ("ES", true, "fin") => "CW",
        ("ES", false, "fin") => "FW",
        ("ES", _, "rst") => "CL",
        ("FW", true, "syn") => "SR",
        ("FW", true, "fin") => "TW",
        ("FW", false, "syn") => "SS",
        ("FW", _, "rst") => "CL",
        ("CW", true, "syn") => "SR",
        ("CW", false, "syn") => "SS",
        ("CW", false, "fin") => "TW",
        ("CW", _, "rst") => "CL",
        ("TW", true, "rst") => "CL",
        ("TW" | "CL", true, "syn") => "SR",
        ("TW" | "CL", false, "syn") => "SS",
        ("SS", true, "syn") => "ES",
        ("SS", true, "rst") => "CL",
        (state, _, _) => state,
    }
}

fn lifetime(state: &str) -> u64 {
    match state {
        "ES" => 900,
        "FW" | "TW" | "SS" => 120,
        "SR" | "CW" => 60,
        "CL" => 10,
        _ => 300,
    }
}

impl Model {
    /// Expires to the second, as the pipeline's ticks do.
    fn live(&mut self, key: (End, usize), now: u64) -> Option<&mut Modelled> {
        if self.connections.get(&key).is_some_and(|c| now - c.used > lifetime(c.state)) {
            self.connections.remove(&key);
        }
        self.connections.get_mut(&key)
    }

    fn taken(&mut self, client: End, real: u8, now: u64, proto: Proto) -> bool {
        let services: Vec<usize> = (0..self.proto.len()).filter(|s| self.proto[*s] == proto).collect();
        services.into_iter().any(|s| self.live((client, s), now).is_some_and(|c| c.real == real))
    }

    fn client(&mut self, client: End, service: usize, flags: u8, now: u64) -> Result<u8, Reason> {
        let tcp = self.proto[service] == Proto::Tcp;
        let opens = !tcp || flags == Packet::SYN;
        if let Some(connection) = self.live((client, service), now) {
            if !(tcp && opens && ["TW", "CL"].contains(&connection.state)) {
                connection.used = now;
                if tcp {
                    connection.state = step(connection.state, true, flags);
                }
                return Ok(connection.real);
            }
            self.connections.remove(&(client, service));
        }
        if !opens {
            let bogus =
                flags & (Packet::SYN | Packet::FIN | Packet::RST | Packet::ACK) == Packet::SYN | Packet::FIN;
            return Err(if bogus { Reason::TcpFlags } else { Reason::NoEntry });
        }
        for _ in 0..REALS {
            let real = self.next[service] % REALS;
            self.next[service] = real + 1;
            if !self.taken(client, real, now, self.proto[service]) {
                let state = if tcp { "SR" } else { "UDP" };
                self.connections.insert((client, service), Modelled { service, real, state, used: now });
                return Ok(real);
            }
        }
        Err(Reason::NatTupleInUse)
    }

    fn server(&mut self, client: End, real: u8, proto: Proto, flags: u8, now: u64) -> Result<usize, Reason> {
        for service in 0..self.proto.len() {
            if self.proto[service] != proto {
                continue;
            }
            if let Some(connection) = self.live((client, service), now).filter(|c| c.real == real) {
                connection.used = now;
                if proto == Proto::Tcp {
                    connection.state = step(connection.state, false, flags);
                }
                return Ok(connection.service);
            }
        }
        Err(Reason::NoEntry)
    }
}

#[test]
fn nat_does_what_the_model_does() {
    for seed in 0..4 {
        let mut dice = Dice(seed);
        let mut site = Site::default();
        let protos = [Proto::Tcp, Proto::Tcp, Proto::Tcp, Proto::Udp, Proto::Udp];
        for (n, proto) in (0u8..).zip(protos) {
            site.add(vip(n), 80, proto, Method::Nat, REALS).scheduler = SchedulerKind::Rr;
        }
        let snapshot = site.snapshot();
        let mut lab = Lab::new(Resolve::Control);
        let mut model =
            Model { proto: protos.to_vec(), next: vec![0; protos.len()], connections: HashMap::new() };
        for _ in 0..3000 {
            lab.wait([0, 0, 0, 1, 20, 200][usize::try_from(dice.roll(6)).expect("small")]);
            let now = lab.now.0 / 1_000_000_000;
            if dice.roll(3) == 0 {
                lab.expire(&snapshot);
            }
            let client = (Ipv4Addr::new(192, 0, 2, 1), 1000 + u16::try_from(dice.roll(8)).expect("small"));
            let flags = [0x02, 0x02, 0x10, 0x10, 0x11, 0x04, 0x03, 0x00]
                [usize::try_from(dice.roll(8)).expect("small")];
            let service = usize::try_from(dice.roll(5)).expect("small");
            let (packet, expected) = if dice.roll(3) > 0 {
                let to = (site.services[service].vip, 80);
                let packet = Packet::from_client(protos[service], client, to, flags);
                let way = |real_| ((client.0, client.1), (real(real_), NAT_REAL_PORT));
                (packet, model.client(client, service, flags, now).map(way))
            } else {
                let n = u8::try_from(dice.roll(u64::from(REALS))).expect("small");
                let packet = Packet::from_real(protos[service], (real(n), NAT_REAL_PORT), client, flags);
                let way = |s: usize| match site.services[s].vip {
                    IpAddr::V4(vip) => ((vip, 80), client),
                    IpAddr::V6(_) => panic!("IPv4"),
                };
                (packet, model.server(client, n, protos[service], flags, now).map(way))
            };
            let (verdict, out) = lab.send(&snapshot, packet.port, &packet.bytes());
            match expected {
                Ok((src, dst)) => {
                    assert_eq!(verdict.kind(), VerdictKind::Forward, "{packet:?}: {verdict:?}");
                    let flow = Seen::of(&out.sent[0].1).flow();
                    assert_eq!(flow, (SocketAddrV4::new(src.0, src.1), SocketAddrV4::new(dst.0, dst.1)));
                }
                Err(reason) => assert_eq!(verdict.reason(), Some(reason), "{packet:?}"),
            }
        }
    }
}
