//! Persistence templates that several workers make and use at once, and that somebody clears beside them.

use sheave_pipeline::entry::{Entry, Flags};
use sheave_pipeline::ids::DestId;
use sheave_pipeline::key::{KeyParts, Side};
use sheave_pipeline::snapshot::{Method, Ports};
use sheave_pipeline::sticky::{self, Persistence};
use sheave_pipeline::testing::{Lab, Packet, Site, vip};
use sheave_pipeline::time::Seconds;
use sheave_pipeline::{Reason, Resolve, Settings, Shared};
use sheave_proto::wire::flow::Proto;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

const WORKERS: usize = 3;
const CLIENTS: u16 = 20;

fn lab(shared: &Arc<Shared>, worker: usize) -> Lab {
    let settings = Settings { worker, workers: WORKERS, resolve: Resolve::Control, seed: 1 };
    Lab::over(Arc::clone(shared), settings, 80)
}

/// 80 and 443 of one VIP, whose clients are kept together.
fn bundle(proto: Proto, prefix: Option<u8>) -> Site {
    let mut site = Site::with(proto, Method::Nat, 3);
    site.services[0].more.push((vip(0).into(), Ports::One(443), proto));
    site.persistent.push((0, Persistence { timeout: Seconds(360), prefix }));
    site
}

/// What there is of a client: its destinations, the connections that its template is to count, and what the template
/// says.
#[derive(Debug, Default, PartialEq)]
struct Kept {
    destinations: BTreeSet<DestId>,
    counted: u64,
    templates: Vec<(DestId, u64)>,
}

fn kept(shared: &Shared) -> BTreeMap<IpAddr, Kept> {
    let mut kept: BTreeMap<IpAddr, Kept> = BTreeMap::new();
    let mut next = Some(0);
    while let Some(from) = next {
        next = shared.tables.scan(from, 1 << 20, |place, key, payload| {
            let (parts, entry) = (KeyParts::of(key), Entry::from(payload));
            let of = kept.entry(parts.client.0).or_default();
            match parts.side {
                Side::In(_) => {
                    of.destinations.insert(entry.destination);
                    of.counted += u64::from(entry.flags.contains(Flags::CONTROLLED));
                }
                Side::Template(_) => {
                    let record = shared.side.of(shared.tables, (place, &key), entry).expect("its record");
                    of.templates.push((record.home.destination, sticky::connections(&record)));
                }
                Side::Out(_) => {}
            }
        });
    }
    kept
}

fn clear_all(shared: &Shared) -> usize {
    let mut found = Vec::new();
    let mut next = Some(0);
    while let Some(from) = next {
        next = shared.tables.scan(from, 1 << 20, |place, key, payload| {
            if matches!(KeyParts::of(key).side, Side::Template(_)) {
                found.push((place, Entry::from(payload)));
            }
        });
    }
    found.into_iter().filter(|(place, entry)| sticky::clear(shared, *place, *entry)).count()
}

#[test]
fn workers_share_every_template() {
    let mut site = bundle(Proto::Tcp, None);
    let snapshot = site.snapshot();
    for round in 0..20 {
        let shared = Arc::new(Shared::on_heap(4096, round));
        let barrier = Barrier::new(WORKERS);
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (shared, snapshot, barrier) = (&shared, &snapshot, &barrier);
                scope.spawn(move || {
                    let mut lab = lab(shared, worker);
                    barrier.wait();
                    for n in 0..200u16 {
                        let last = u8::try_from(n % CLIENTS).expect("small");
                        let port = 1000 * (u16::try_from(worker).expect("small") + 1) + n;
                        let to = (vip(0), if n % 2 == 0 { 80 } else { 443 });
                        for flags in [Packet::SYN, Packet::ACK] {
                            let client = (Ipv4Addr::new(192, 0, 2, last), port);
                            let packet = Packet::from_client(Proto::Tcp, client, to, flags);
                            assert_eq!(lab.burst(snapshot, &[packet.framed()]).len(), 1);
                            lab.drain();
                        }
                    }
                });
            }
        });
        let kept = kept(&shared);
        assert_eq!(kept.len(), usize::from(CLIENTS));
        for (client, of) in &kept {
            let destination = of.destinations.first().copied().expect("connections");
            assert_eq!(of.destinations.len(), 1, "{client}: {of:?}");
            assert_eq!(of.templates, [(destination, of.counted)], "{client}");
            assert!(of.counted > 20, "most of 30 were made: {of:?}");
        }
        let spread: BTreeSet<_> = kept.values().flat_map(|of| &of.destinations).collect();
        assert_eq!(spread.len(), 3);

        // When the connections have ended, so do the templates.
        let mut labs: Vec<Lab> = (0..WORKERS).map(|worker| lab(&shared, worker)).collect();
        for lab in &mut labs {
            lab.wait(30_000);
            lab.expire(&snapshot);
        }
        for lab in &mut labs {
            lab.wait(30_000);
            lab.expire(&snapshot);
        }
        assert!(shared.tables.is_empty());
    }
}

/// Templates are cleared while workers use them: nothing is lost but they, and their records are given back.
#[test]
fn templates_are_cleared_beside_the_workers() {
    let mut site = bundle(Proto::Udp, Some(30));
    site.one_packet.push(0);
    let snapshot = site.snapshot();
    // Room for fewer templates than are made in all.
    let shared = Arc::new(Shared::on_heap(256, 1));
    let barrier = Barrier::new(WORKERS);
    let enough = AtomicBool::new(false);
    let mut cleared = 0;
    std::thread::scope(|scope| {
        for worker in 1..WORKERS {
            let (shared, snapshot, barrier, enough) = (&shared, &snapshot, &barrier, &enough);
            scope.spawn(move || {
                let mut lab = lab(shared, worker);
                barrier.wait();
                let mut n = 0u32;
                while !enough.load(Ordering::Relaxed) {
                    n = n.wrapping_add(7) % 250;
                    let client = (Ipv4Addr::from_bits(0xc000_0200 | n), 1000);
                    let packet = Packet::from_client(Proto::Udp, client, (vip(0), 443), 0);
                    assert_eq!(lab.burst(snapshot, &[packet.framed()]).len(), 1);
                    lab.drain();
                }
                let refused = lab.reason(Reason::TableFull) + lab.reason(Reason::SideRecordsFull);
                assert_eq!(refused, 0, "records of cleared templates are given back");
            });
        }
        barrier.wait();
        while cleared < 2000 {
            cleared += clear_all(&shared);
        }
        enough.store(true, Ordering::Relaxed);
    });
    clear_all(&shared);
    assert!(shared.tables.is_empty());
}

/// A listen goes, and with it its connections, but not the service: nobody is kept for them.
#[test]
fn connections_of_a_listen_that_has_gone_are_counted_out() {
    let mut site = bundle(Proto::Tcp, None);
    let shared = Arc::new(Shared::on_heap(4096, 1));
    let settings = Settings { worker: 0, workers: 1, resolve: Resolve::Control, seed: 1 };
    let mut lab = Lab::over(Arc::clone(&shared), settings, 80);
    let snapshot = site.snapshot();
    for (port, flags) in [(443, Packet::SYN), (80, Packet::SYN), (80, Packet::FIN)] {
        let client = (Ipv4Addr::new(192, 0, 2, 7), port);
        let (ingress, bytes) = Packet::from_client(Proto::Tcp, client, (vip(0), port), flags).framed();
        assert_eq!(lab.send(&snapshot, ingress, &bytes).0.reason(), None);
    }
    let count = |shared: &Shared| kept(shared).values().map(|of| of.templates[0].1).sum::<u64>();
    assert_eq!(count(&shared), 2);
    site.services[0].more.clear();
    let snapshot = site.snapshot();
    lab.wait(1);
    lab.expire(&snapshot);
    assert_eq!(count(&shared), 1);
    lab.wait(1000);
    lab.expire(&snapshot);
    assert!(shared.tables.is_empty());
}

/// Connections that are found over at once, in whatever order: the one that lasted longest counts.
#[test]
fn a_template_is_armed_until_its_last_connection_has_ended() {
    let mut site = Site::with(Proto::Udp, Method::Nat, 3);
    site.persistent.push((0, Persistence { timeout: Seconds(10), prefix: None }));
    let snapshot = site.snapshot();
    let shared = Arc::new(Shared::on_heap(4096, 1));
    let settings = Settings { worker: 0, workers: 1, resolve: Resolve::Control, seed: 1 };
    let mut lab = Lab::over(Arc::clone(&shared), settings, 80);
    let open = |lab: &mut Lab, port| {
        for last in 0..u8::try_from(CLIENTS).expect("few") {
            let client = (Ipv4Addr::new(192, 0, 2, last), port);
            let (port, bytes) = Packet::from_client(Proto::Udp, client, (vip(0), 80), 0).framed();
            let (verdict, _) = lab.send(&snapshot, port, &bytes);
            assert_eq!(verdict.reason(), None);
        }
    };
    open(&mut lab, 1000);
    lab.wait(100);
    open(&mut lab, 1001);
    // They have lasted until 300 and 400 s. Armed again at 110 s and then each minute, templates last until 410 s.
    lab.wait(305);
    lab.expire(&snapshot);
    let kept = kept(&shared);
    assert_eq!(kept.len(), usize::from(CLIENTS));
    assert!(kept.values().all(|of| of.counted == 0 && of.templates[0].1 == 0), "{kept:?}");
    lab.wait(6);
    lab.expire(&snapshot);
    assert!(shared.tables.is_empty());
}
