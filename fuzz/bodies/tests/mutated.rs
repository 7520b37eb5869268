//! The packets of the corpus, each damaged in a few places: nearly valid input, which random bytes never are.

use proptest::prelude::*;
use sheave_fuzz::wire;
use std::fs;
use std::path::Path;

fn corpus() -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/wire");
    let entries = fs::read_dir(dir).expect("the corpus is there");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    // In the same order everywhere, so that a failing seed of proptest means the same packet.
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).expect("a readable input")).collect()
}

#[derive(Debug, Clone)]
enum Damage {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Append(Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    let bytes = || prop::collection::vec(any::<u8>(), 1..20);
    let edge = prop_oneof![Just(0), Just(0xff), Just(0x45), Just(0x50), any::<u8>()];
    prop_oneof![
        4 => (index(), edge).prop_map(|(at, value)| Damage::Set(at, value)),
        4 => (index(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => index().prop_map(Damage::Cut),
        1 => (index(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => bytes().prop_map(Damage::Append),
    ]
}

fn apply(packet: &mut Vec<u8>, damage: Damage) {
    // Headers are what is worth damaging; most of them lie within the first 80 bytes.
    let within = packet.len().min(80);
    match damage {
        Damage::Set(at, value) if within > 0 => packet[at.index(within)] = value,
        Damage::Flip(at, bit) if within > 0 => packet[at.index(within)] ^= 1 << bit,
        Damage::Cut(at) => packet.truncate(at.index(packet.len() + 1)),
        Damage::Insert(at, bytes) => {
            let at = at.index(within + 1);
            packet.splice(at..at, bytes);
        }
        Damage::Append(bytes) => packet.extend(bytes),
        Damage::Set(..) | Damage::Flip(..) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn damaged_packets_are_read_as_etherparse_reads_them(
        mut packet in prop::sample::select(corpus()),
        damages in prop::collection::vec(damage(), 0..4),
    ) {
        for damage in damages {
            apply(&mut packet, damage);
        }
        wire(&packet);
    }

    #[test]
    fn random_bytes_are_read_as_etherparse_reads_them(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        wire(&bytes);
    }
}
