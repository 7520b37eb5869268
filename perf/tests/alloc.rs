//! No packet costs an allocation.

use allocation_counter::measure;
use sheave_perf::{CHUNK, Rig, Setup, Sizes};
use sheave_pipeline::snapshot::Method;

const METHODS: [Method; 3] = [Method::Nat, Method::DirectRoute, Method::Tunnel];

#[test]
fn forwarding_an_established_flow_allocates_nothing() {
    for (method, v6) in METHODS.into_iter().flat_map(|method| [(method, false), (method, true)]) {
        let mut rig = Rig::of(&Setup { v6, sizes: Sizes::Imix, ..Setup::new(method, 1024) });
        let (data, replies) = rig.establish();
        for mut packets in std::iter::once(data).chain(replies) {
            for burst in [1, 32, 64] {
                rig.receive(&mut packets);
                let before = rig.forwarded();
                let found = measure(|| rig.process(burst));
                assert_eq!(rig.forwarded() - before, CHUNK as u64);
                assert_eq!(found.count_total, 0, "{method:?}, IPv6 {v6}, bursts of {burst}: {found:?}");
            }
        }
    }
}

#[test]
fn opening_a_connection_allocates_nothing() {
    for (method, v6) in METHODS.into_iter().flat_map(|method| [(method, false), (method, true)]) {
        let mut rig = Rig::of(&Setup { v6, ..Setup::new(method, 1024) });
        let mut syns = rig.syns();
        rig.receive(&mut syns);
        let found = measure(|| rig.process(64));
        assert_eq!(rig.forwarded(), CHUNK as u64);
        assert_eq!(found.count_total, 0, "{method:?}, IPv6 {v6}: {found:?}");
    }
}

#[test]
fn the_counter_counts() {
    let found = measure(|| drop(std::hint::black_box(vec![0u8; 100])));
    assert_eq!((found.count_total, found.bytes_total), (1, 100));
}
