//! Several workers on one table: whatever they do at once, every connection has one entry, its way back, and is
//! counted once.

use sheave_pipeline::entry::{Entry, Reply};
use sheave_pipeline::ids::DestId;
use sheave_pipeline::key::{Key, KeyParts, Side};
use sheave_pipeline::snapshot::{Method, SchedulerKind};
use sheave_pipeline::tables::Place;
use sheave_pipeline::testing::{Lab, NAT_REAL_PORT, Packet, Site, real, vip};
use sheave_pipeline::{Pipeline, Resolve, Settings, Shared, Snapshot, Time, Verdict};
use sheave_proto::wire::flow::Proto;
use sheave_table::Payload;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Barrier};

const WORKERS: usize = 3;

fn settings(worker: usize) -> Settings {
    Settings { worker, workers: WORKERS, resolve: Resolve::Control, seed: 1 }
}

/// Runs `f` on every worker at once.
fn at_once(shared: &Arc<Shared>, f: impl Fn(usize, &mut Lab) + Sync) {
    let barrier = Barrier::new(WORKERS);
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (f, barrier) = (&f, &barrier);
            scope.spawn(move || {
                let mut lab = Lab::over(Arc::clone(shared), settings(worker), 80);
                barrier.wait();
                f(worker, &mut lab);
            });
        }
    });
}

fn every_entry(shared: &Shared, mut f: impl FnMut(Place, Key, Payload)) {
    let mut next = Some(0);
    while let Some(from) = next {
        next = shared.tables.scan(from, 1 << 20, &mut f);
    }
}

/// Checks that entries and counts agree; gives the destinations of connections by client port and listen.
fn consistent(shared: &Shared, snapshot: &Snapshot) -> HashMap<(u16, u16), DestId> {
    let (mut connections, mut ways_back) = (HashMap::new(), 0);
    let mut counts: HashMap<DestId, (u32, u32)> = HashMap::new();
    every_entry(shared, |place, key, payload| {
        let parts = KeyParts::of(key);
        match parts.side {
            Side::In(listen) => {
                let entry = Entry::from(payload);
                assert!(connections.insert((parts.client.1, listen.0), entry.destination).is_none(), "twice");
                let count = counts.entry(entry.destination).or_default();
                let side = if entry.state.is_active() { &mut count.0 } else { &mut count.1 };
                *side += 1;
                // Its way back leads to it.
                let real = snapshot.destination(entry.destination).and_then(|d| d.real).expect("under NAT");
                let IpAddr::V4(client) = parts.client.0 else { panic!("IPv4") };
                let back = Key::narrow_out(client, parts.client.1, real);
                let found = shared.tables.get(&back, shared.tables.hash(&back)).expect("a way back");
                assert_eq!(Reply::from(found.payload), Reply { of: place, tentative: false });
            }
            Side::Out(_) => ways_back += 1,
            Side::Template(_) => panic!("no persistence here"),
        }
    });
    assert_eq!(ways_back, connections.len());
    for (id, _) in snapshot.destinations() {
        let live = shared.live.destination(id);
        assert_eq!((live.active(), live.inactive()), counts.get(&id).copied().unwrap_or_default(), "{id:?}");
    }
    connections
}

#[test]
fn workers_agree_on_every_connection() {
    let mut site = Site::with(Proto::Tcp, Method::Nat, 3);
    // A second service on the same real servers: reply keys collide.
    site.add(vip(1), 80, Proto::Tcp, Method::Nat, 3);
    for service in &mut site.services {
        service.scheduler = SchedulerKind::Rr;
    }
    let snapshot = site.snapshot();
    for round in 0..20 {
        let shared = Arc::new(Shared::on_heap(512, round));
        at_once(&shared, |worker, lab| {
            for port in 1000..1100u16 {
                for listen in [0, 1] {
                    // Every worker has another order of the two services.
                    let listen = (listen + worker % 2) % 2;
                    let client = (Ipv4Addr::new(192, 0, 2, 1), port);
                    for flags in [Packet::SYN, Packet::ACK, Packet::FIN | Packet::ACK] {
                        let to = (site.services[listen].vip, 80);
                        let packet = Packet::from_client(Proto::Tcp, client, to, flags);
                        ignore(lab.burst(&snapshot, &[packet.framed()]));
                        let from = (real(u8::try_from(port % 3).expect("small")), NAT_REAL_PORT);
                        let reply = Packet::from_real(Proto::Tcp, from, client, flags | Packet::ACK);
                        ignore(lab.burst(&snapshot, &[reply.framed()]));
                        lab.drain();
                    }
                }
            }
        });
        let connections = consistent(&shared, &snapshot);
        assert!(connections.len() > 150, "most of 200 were made: {}", connections.len());
    }
}

#[test]
fn workers_expire_side_by_side() {
    let mut site = Site::with(Proto::Udp, Method::Nat, 3);
    let snapshot = site.snapshot();
    let shared = Arc::new(Shared::on_heap(512, 3));
    at_once(&shared, |worker, lab| {
        for turn in 0..200u16 {
            let client = (Ipv4Addr::new(192, 0, 2, 1), 1000 + (turn * 7) % 60);
            ignore(
                lab.burst(&snapshot, &[Packet::from_client(Proto::Udp, client, (vip(0), 80), 0).framed()]),
            );
            lab.tick(&snapshot);
            // Workers' clocks differ a little.
            lab.now = lab.now.after(((turn as usize + worker) % 3) as u64 * 20 * Time::SECOND);
        }
    });
    consistent(&shared, &snapshot);
    // In the end, all shares together are the whole table.
    let mut labs: Vec<Lab> = (0..WORKERS).map(|w| Lab::over(Arc::clone(&shared), settings(w), 1)).collect();
    for lab in &mut labs {
        lab.wait(30_000);
        lab.expire(&snapshot);
    }
    assert!(consistent(&shared, &snapshot).is_empty());
    assert!(shared.tables.is_empty());
}

/// Outcomes of a race are checked by what is left of it.
fn ignore(verdicts: Vec<Verdict>) {
    assert_eq!(verdicts.len(), 1);
}

#[test]
fn a_pipeline_may_move_to_its_worker() {
    fn may_move<T: Send>() {}
    may_move::<Pipeline>();
    may_move::<Lab>();
}
