//! Workers turned by hand: frames cross, come home, and are never lost.

mod house;

use house::{House, POOL};
use proptest::prelude::*;
use sheave_frame::PortId;
use sheave_io::{FaultInjector, FaultRates, MemHandle, MemPort};
use sheave_pipeline::Punt;
use sheave_pipeline::snapshot::Method;
use sheave_pipeline::testing::{NAT_REAL_PORT, Packet, Seen, Site, real, vip};
use sheave_proto::wire::flow::Proto;
use sheave_worker::{Command, Inject, Lost, PortState, Turn};
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn syn(port: u16) -> Vec<u8> {
    Packet::from_client(Proto::Tcp, (CLIENT, port), (vip(0), 80), Packet::SYN).bytes()
}

fn syn_ack(port: u16) -> Vec<u8> {
    let flags = Packet::SYN | Packet::ACK;
    Packet::from_real(Proto::Tcp, (real(0), NAT_REAL_PORT), (CLIENT, port), flags).bytes()
}

fn flow(frame: &[u8]) -> (String, String) {
    let (src, dst) = Seen::of(frame).flow();
    (src.to_string(), dst.to_string())
}

/// Two workers, each with the one queue of one interface.
fn crossed() -> (House, MemHandle, MemHandle) {
    let mut house = House::new(2, &mut Site::with(Proto::Tcp, Method::Nat, 1));
    let (clients, _) = house.open(0, 0, 1024);
    let (servers, _) = house.open(1, 1, 1024);
    house.settle();
    (house, clients, servers)
}

#[test]
fn nat_crosses_from_worker_to_worker_and_frames_come_home() {
    let (mut house, clients, servers) = crossed();
    assert!(clients.inject(&syn(4000)));
    house.settle();
    let sent = servers.take_all();
    assert_eq!(sent.len(), 1);
    assert_eq!(flow(&sent[0]), ("192.0.2.1:4000".into(), "198.19.1.10:8080".into()));
    assert!(servers.inject(&syn_ack(4000)));
    house.settle();
    let back = clients.take_all();
    assert_eq!(back.len(), 1);
    assert_eq!(flow(&back[0]), ("198.18.0.100:80".into(), "192.0.2.1:4000".into()));
    assert_eq!(house.rooms[0].stats.handed_over(), 1);
    assert_eq!(house.rooms[0].stats.taken_over(), 1);
    house.assert_all_free();
}

#[test]
fn idle_turns_drain_what_was_sent() {
    let mut house = House::new(1, &mut Site::with(Proto::Tcp, Method::Nat, 1));
    let (clients, _) = house.open(0, 0, 4);
    let (servers, _) = house.open(0, 1, 4);
    house.turn(0);
    for port in 4000..4004 {
        assert!(clients.inject(&syn(port)));
    }
    assert_eq!(house.turn(0), Turn::Busy);
    for port in 4004..4008 {
        assert!(clients.inject(&syn(port)));
    }
    house.turn(0);
    assert_eq!(house.rooms[0].worker.frames().backlog, 4, "the wire takes four");
    assert_eq!(servers.take_all().len(), 4);
    house.turn(0);
    assert_eq!(servers.take_all().len(), 4, "nothing came in, and what waited went out");
    house.turn(0);
    house.assert_all_free();
    assert_eq!(house.turn(0), Turn::Idle);
}

#[test]
fn a_way_out_that_stays_full_has_a_bounded_backlog() {
    let mut house = House::new(1, &mut Site::with(Proto::Tcp, Method::Nat, 1));
    let (clients, _) = house.open(0, 0, 1024);
    let (servers, _) = house.open(0, 1, 8);
    house.turn(0);
    for port in 1000..1600 {
        assert!(clients.inject(&syn(port)));
    }
    for _ in 0..20 {
        house.turn(0);
        house.assert_conserved();
    }
    assert_eq!(house.rooms[0].worker.frames().backlog, 512);
    assert_eq!(house.lost(Lost::TxFull), 600 - 512 - 8);
    let mut sent = 0;
    for _ in 0..100 {
        sent += servers.take_all().len();
        house.turn(0);
    }
    assert_eq!(sent, 520);
    house.assert_all_free();
}

#[test]
fn ports_come_and_go_and_frames_for_one_that_is_gone_are_counted() {
    let (mut house, clients, servers) = crossed();
    clients.inject(&syn(4000));
    house.settle();
    assert_eq!(servers.take_all().len(), 1);
    house.tell(1, Command::Close(PortId(1), 0));
    house.settle();
    clients.inject(&syn(4001));
    house.settle();
    assert_eq!((servers.take_all().len(), house.lost(Lost::PortGone)), (0, 1));
    house.assert_all_free();
    // It comes back, on the other worker.
    let (servers, page) = house.open(0, 1, 64);
    assert_eq!(page.state(), PortState::New);
    house.settle();
    assert_eq!(page.state(), PortState::Open);
    clients.inject(&syn(4002));
    house.settle();
    assert_eq!(servers.take_all().len(), 1);
    house.tell(0, Command::Close(PortId(1), 0));
    let told = house.notified.load(Ordering::Relaxed);
    house.settle();
    assert_eq!((page.state(), page.stats().tx_frames), (PortState::Closed, 1));
    assert_eq!(house.notified.load(Ordering::Relaxed), told + 1, "the control thread hears of it");
    house.assert_all_free();
}

#[test]
fn a_closed_port_gives_its_backlog_back() {
    let mut house = House::new(1, &mut Site::with(Proto::Tcp, Method::Nat, 1));
    let (clients, _) = house.open(0, 0, 64);
    house.open(0, 1, 2);
    house.turn(0);
    for port in 1000..1010 {
        clients.inject(&syn(port));
    }
    house.turn(0);
    house.tell(0, Command::Close(PortId(1), 0));
    house.turn(0);
    assert_eq!(house.lost(Lost::PortGone), 8);
    house.assert_all_free();
}

#[test]
fn what_is_not_ours_goes_back_to_the_kernel_while_it_has_room() {
    let mut house = House::new(1, &mut Site::with(Proto::Tcp, Method::Nat, 1));
    let (clients, _) = house.open(0, 0, 64);
    house.turn(0);
    let stray = Packet::from_client(Proto::Tcp, (CLIENT, 4000), (vip(0), 81), Packet::SYN).bytes();
    house.kernel.room.store(1, Ordering::Relaxed);
    clients.inject(&stray);
    clients.inject(&stray);
    house.turn(0);
    assert_eq!(*house.kernel.frames.lock().expect("whole"), [(PortId(0), stray)]);
    assert_eq!((house.rooms[0].stats.passed(), house.lost(Lost::PassQueueFull)), (1, 1));
    house.assert_all_free();
}

#[test]
fn an_unknown_next_hop_is_punted_and_its_packet_held_until_the_snapshot_knows() {
    let mut site = Site::with(Proto::Tcp, Method::Nat, 1);
    site.neighbours = false;
    let mut house = House::new(1, &mut site);
    let (clients, _) = house.open(0, 0, 64);
    let (servers, _) = house.open(0, 1, 64);
    house.turn(0);
    clients.inject(&syn(4000));
    house.turn(0);
    let wish = Punt::Resolve { port: PortId(1), neighbour: real(0).into() };
    assert_eq!(house.rooms[0].punts.pop(), Some(wish));
    assert_eq!(house.rooms[0].worker.frames().held, 1);
    house.assert_conserved();
    site.neighbours = true;
    house.publisher.publish(Box::new(site.snapshot()));
    house.turn(0);
    assert_eq!(servers.take_all().len(), 1);
    house.turn(0);
    house.assert_all_free();
    assert_eq!((house.publisher.reclaim(), house.rooms[0].stats.epoch()), (0, 2));
}

#[test]
fn injected_frames_go_out_wherever_the_interface_is() {
    let (mut house, _clients, servers) = crossed();
    let frame = [0xa5; 42];
    house.tell(0, Command::Inject(Inject::new(PortId(1), &frame).expect("short")));
    house.tell(1, Command::Inject(Inject::new(PortId(1), &frame).expect("short")));
    house.tell(0, Command::Inject(Inject::new(PortId(9), &frame).expect("short")));
    house.settle();
    assert_eq!(servers.take_all(), [frame.to_vec(), frame.to_vec()]);
    assert_eq!(house.lost(Lost::PortGone), 1);
    assert!(Inject::new(PortId(1), &[0; 65]).is_none(), "an announcement, not a payload");
    house.assert_all_free();
}

#[test]
fn a_full_ring_to_another_worker_is_counted_and_drains() {
    let (mut house, clients, servers) = crossed();
    for client in 2000..3100 {
        if clients.waiting() == 64 {
            house.turn(0);
        }
        assert!(clients.inject(&syn(client)));
    }
    house.turn(0);
    house.assert_conserved();
    assert_eq!(house.lost(Lost::HandoffFull), 1100 - 1024, "the other worker has not looked into it");
    let mut sent = 0;
    for _ in 0..10 {
        house.settle();
        sent += servers.take_all().len();
    }
    assert_eq!(sent, 1024);
    house.assert_all_free();
}

#[test]
fn a_stopped_worker_has_closed_its_ports() {
    let (mut house, clients, servers) = crossed();
    clients.inject(&syn(4000));
    house.turn(0);
    house.tell(1, Command::Stop);
    assert_eq!(house.turn(1), Turn::Stopped);
    assert_eq!(servers.take_all().len(), 1, "what was on its way went out");
    house.turn(0);
    house.assert_all_free();
    assert_eq!(POOL as usize, house.rooms[0].worker.frames().total);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever the network does to frames, and in whatever order the workers turn, no frame is lost or doubled.
    #[test]
    fn frames_are_conserved_under_faults(
        seed: u64,
        steps in prop::collection::vec((0u8..6, 1000u16..1200, 0u8..8), 1..200),
    ) {
        let mut site = Site::with(Proto::Tcp, Method::Nat, 2);
        let mut house = House::new(2, &mut site);
        let rates = FaultRates {
            drop: 100_000,
            duplicate: 100_000,
            reorder: 100_000,
            corrupt: 100_000,
            truncate: 50_000,
        };
        let mut handles = Vec::new();
        for (worker, port) in [(0, 0), (1, 1)] {
            let (mem, handle) = MemPort::new(PortId(port), 32);
            let faulty = FaultInjector::new(mem, rates, rates, seed ^ u64::from(port));
            house.open_port(worker, Box::new(faulty));
            handles.push(handle);
        }
        for (step, client, count) in steps {
            match step {
                // A full wire loses them, like any.
                0 | 1 => {
                    let _ = (0..count).all(|n| handles[0].inject(&syn(client + u16::from(n))));
                }
                2 => {
                    let _ = (0..count).all(|n| handles[1].inject(&syn_ack(client + u16::from(n))));
                }
                3 => drop(handles[1].take_all()),
                _ => {
                    house.turn(usize::from(step - 4));
                }
            }
            house.assert_conserved();
        }
        for (worker, port) in [(0, 0), (1, 1)] {
            house.tell(worker, Command::Close(PortId(port), 0));
        }
        for _ in 0..8 {
            house.settle();
        }
        house.assert_conserved();
        house.assert_all_free();
    }
}
