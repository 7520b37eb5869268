//! Regions: made, handed on, refused.

#![cfg(all(not(loom), not(miri)))]

use sheave_table::{Payload, Region, RegionConfig, Reserve, Table};
use std::{
    fs::File,
    os::{fd::OwnedFd, unix::fs::FileExt},
};

fn config() -> RegionConfig {
    RegionConfig {
        narrow_slots: 1000,
        wide_slots: 100,
        side_records: 200,
        ids_bytes: 1001,
        seed: 77,
        tick_base_ns: 5_000_000_000,
        huge_pages: false,
        populate: true,
    }
}

fn handed_on(region: &Region) -> OwnedFd {
    region.fd().try_clone_to_owned().expect("descriptors are left")
}

fn insert<const K: usize>(table: &Table<K>, key: [u64; K], payload: u64) -> u64 {
    match table.reserve(&key, table.hash(&key)) {
        Reserve::Reserved(slot) => slot.publish(Payload::new(payload)).expect("one thread").bits(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_region_hands_on_what_is_in_it() {
    let mut first = Region::create(&config()).expect("memory");
    let handle = insert(first.narrow(), [5], 50);
    insert(first.wide().expect("asked for"), [1, 2, 3], 60);
    let record = first.side().alloc().expect("room");
    first.side().write(record, [1, 2, 3, 4]);
    let gone = first.side().alloc().expect("room");
    first.side().alloc().expect("room");
    first.side().free(gone);
    first.write_ids(b"17 = web").expect("they fit");
    // As if killed with a slot claimed.
    let Reserve::Reserved(claimed) = first.narrow().reserve(&[6], first.narrow().hash(&[6])) else {
        panic!("room");
    };
    std::mem::forget(claimed);

    let second = Region::attach(handed_on(&first)).expect("a region");
    assert_eq!((second.seed(), second.tick_base_ns()), (77, 5_000_000_000));
    assert_eq!(second.read_ids().as_deref(), Some(&b"17 = web"[..]));
    let narrow = second.narrow();
    let found = narrow.get(&[5], narrow.hash(&[5])).expect("published");
    assert_eq!((found.handle.bits(), found.payload.bits()), (handle, 50));
    assert_eq!(narrow.len(), 1);
    let wide = second.wide().expect("as before");
    assert_eq!(wide.get(&[1, 2, 3], wide.hash(&[1, 2, 3])).map(|f| f.payload.bits()), Some(60));
    // What was claimed is free again.
    insert(narrow, [6], 61);
    // Records: two in use, the free one comes first.
    assert_eq!(second.side().in_use(), 2);
    assert_eq!(second.side().read(record), [1, 2, 3, 4]);
    assert_eq!(second.side().alloc(), Some(gone));
    let rest = std::iter::from_fn(|| second.side().alloc()).count();
    assert_eq!(rest, 200 - 3);
}

/// With more in the overflow area than lookups may miss, and nothing but it counted.
#[test]
fn what_overflowed_is_found_after_the_handover() {
    let first = Region::create(&RegionConfig { narrow_slots: 8, ..config() }).expect("memory");
    let mut made = 0;
    for i in 1..100 {
        if let Reserve::Reserved(slot) = first.narrow().reserve(&[i], first.narrow().hash(&[i])) {
            slot.publish(Payload::new(i)).expect("one thread");
            made += 1;
        }
    }
    assert!(first.narrow().overflowed() > 0);
    let second = Region::attach(handed_on(&first)).expect("a region");
    let (narrow, found) = (second.narrow(), |i: &u64| second.narrow().get(&[*i], first.narrow().hash(&[*i])));
    assert_eq!((1..100).filter(|i| found(i).is_some()).count(), made);
    assert_eq!(narrow.overflowed(), first.narrow().overflowed());
}

#[test]
fn ids_are_the_last_ones_written() {
    let mut region = Region::create(&config()).expect("memory");
    assert_eq!(region.read_ids(), None);
    for len in [0, 1, 7, 8, 9, 1001, 3] {
        let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).expect("small")).collect();
        region.write_ids(&bytes).expect("they fit");
        assert_eq!(region.read_ids(), Some(bytes));
    }
    let error = region.write_ids(&[0; 1002]).expect_err("one too many").to_string();
    assert_eq!(error, "table region: 1002 bytes of ids, room for 1001: raise ids_bytes");
    assert_eq!(region.read_ids().map(|bytes| bytes.len()), Some(3));
}

/// The last write was cut short: the one before it counts.
#[test]
fn ids_survive_a_write_that_never_ended() {
    let mut region = Region::create(&config()).expect("memory");
    region.write_ids(b"whole and old").expect("they fit");
    region.write_ids(b"new").expect("they fit");
    let file = File::from(handed_on(&region));
    let mut memory = vec![0; region.bytes()];
    file.read_exact_at(&mut memory, 0).expect("readable");
    let at = memory.windows(3).rposition(|bytes| bytes == b"new").expect("it is in there");
    file.write_all_at(b"nxw", at as u64).expect("writable");
    let region = Region::attach(handed_on(&region)).expect("a region");
    assert_eq!(region.read_ids().as_deref(), Some(&b"whole and old"[..]));
}

#[test]
fn a_region_without_wide_table_has_none() {
    let region = Region::create(&RegionConfig { wide_slots: 0, side_records: 0, ids_bytes: 0, ..config() });
    let mut region = region.expect("memory");
    assert!(region.wide().is_none());
    assert_eq!(region.side().alloc(), None);
    assert_eq!(region.write_ids(b"").map_err(|e| e.kind()), Ok(()));
}

/// Huge pages or not, what comes out works, and is as large as asked.
#[test]
fn huge_pages_are_a_wish() {
    let region = Region::create(&RegionConfig { huge_pages: true, ..config() }).expect("memory");
    assert!(region.bytes() >= 1000 * 16 + 100 * 32 + 200 * 32);
    insert(region.narrow(), [1], 1);
    let again = Region::attach(handed_on(&region)).expect("a region");
    assert_eq!(again.bytes(), region.bytes());
    assert_eq!(again.huge_pages(), region.huge_pages());
}

/// Attaching after `damage` to the words of the header.
fn refused(damage: impl Fn(&File)) -> String {
    let region = Region::create(&config()).expect("memory");
    damage(&File::from(handed_on(&region)));
    let error = Region::attach(handed_on(&region)).expect_err("damaged");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    error.to_string()
}

fn write_word(file: &File, word: u64, value: u64) {
    file.write_all_at(&value.to_ne_bytes(), word * 8).expect("writable");
}

#[test]
fn what_is_not_ours_is_refused_with_the_reason() {
    let none = "table region: the memory is no table region: start without it";
    assert_eq!(refused(|file| write_word(file, 0, 0)), none);
    assert_eq!(
        refused(|file| write_word(file, 1, 9)),
        "table region: written in version 9, this program reads 1: start without it, connections are lost"
    );
    assert_eq!(
        refused(|file| write_word(file, 2, 0x0102_0304_0506_0708u64.swap_bytes())),
        "table region: written in the other byte order: start without it, connections are lost"
    );
    for word in 3..10 {
        assert_eq!(
            refused(|file| write_word(file, word, 12345)),
            "table region: the header is damaged: start without it, connections are lost",
            "word {word}"
        );
    }
}

#[test]
fn a_file_or_an_unsealed_memory_is_refused() {
    let file = File::open("/dev/null").expect("there is one");
    let error = Region::attach(file.into()).expect_err("no memory file").to_string();
    assert!(error.starts_with("table region: the descriptor is no memory file"), "{error}");

    let flags = rustix::fs::MemfdFlags::CLOEXEC | rustix::fs::MemfdFlags::ALLOW_SEALING;
    let unsealed = rustix::fs::memfd_create("test", flags).expect("memory");
    let error = Region::attach(unsealed).expect_err("not sealed").to_string();
    assert!(error.starts_with("table region: the memory file is not sealed"), "{error}");
}

/// Whoever holds the descriptor cannot take the memory away from under the tables.
#[test]
fn a_region_cannot_be_cut_short() {
    let region = Region::create(&config()).expect("memory");
    let file = File::from(handed_on(&region));
    assert!(file.set_len(0).is_err());
    assert!(file.set_len(region.bytes() as u64 * 2).is_err());
}

#[test]
fn a_table_beyond_all_bounds_is_refused() {
    let error =
        Region::create(&RegionConfig { narrow_slots: u64::MAX / 2, ..config() }).expect_err("too many");
    assert_eq!(error.to_string(), "table region: more slots than a table can have: lower max-connections");
}
