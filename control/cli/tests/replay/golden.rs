//! Golden cases of `sheave replay`: captures and requests in; captures, verdicts and counters out, byte for byte.
//!
//! Each directory of tests/golden is one case: config.toml (its head says what the case shows), control.jsonl,
//! IFACE.in.pcap, and expected/. `support` makes the inputs with etherparse; `REGEN=1 cargo test -p
//! sheave-cli --test replay` writes inputs and outputs anew, for review as a diff. counters.json holds only what
//! is not zero: every other counter is checked to be zero.

use crate::support::Case;
use serde_json::Value;
use sheave_cli::replay::{self, Input, ReplayArgs};
use sheave_pipeline::Reason;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn regenerating() -> bool {
    std::env::var_os("REGEN").is_some()
}

fn directory(case: &Case) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(case.name)
}

/// The files that a case consists of, by name.
fn inputs(case: &Case) -> Vec<(String, Vec<u8>)> {
    let mut files = vec![("config.toml".to_owned(), case.config_text().into_bytes())];
    if !case.control.is_empty() {
        files.push(("control.jsonl".to_owned(), case.control_text().into_bytes()));
    }
    files.extend(case.inputs().iter().map(|name| (format!("{name}.in.pcap"), case.capture(name))));
    files
}

/// Runs a case from the files in `from`, and returns what it wrote.
fn replay(case: &Case, from: &Path, out: &Path, seed: u64) -> Vec<(String, Vec<u8>)> {
    let _absent = std::fs::remove_dir_all(out);
    let input =
        |name: &&str| Input { interface: (*name).to_owned(), file: from.join(format!("{name}.in.pcap")) };
    let args = ReplayArgs {
        config: from.join("config.toml"),
        inputs: case.inputs().iter().map(input).collect(),
        out: out.to_owned(),
        control: (!case.control.is_empty()).then(|| from.join("control.jsonl")),
        seed,
    };
    replay::run(&args).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    files(out)
}

/// Every file of a directory, sorted by name.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let read = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().expect("a name of ours");
        (name, std::fs::read(entry.path()).expect("readable"))
    };
    let mut files: Vec<_> = entries.map(|entry| read(entry.expect("readable"))).collect();
    files.sort();
    files
}

/// The same without what is zero, empty or false.
fn non_zero(value: Value) -> Value {
    let kept = |value: &Value| match value {
        Value::Number(number) => number.as_u64() != Some(0),
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Bool(is) => *is,
        _ => true,
    };
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(k, v)| (k, non_zero(v))).filter(|(_, v)| kept(v)).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(non_zero).collect()),
        other => other,
    }
}

/// counters.json as it is kept.
fn deltas(bytes: &[u8]) -> Vec<u8> {
    let value = serde_json::from_slice(bytes).expect("JSON");
    let mut text = serde_json::to_vec_pretty(&non_zero(value)).expect("serializes");
    text.push(b'\n');
    text
}

fn kept(files: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let keep = |(name, bytes): (String, Vec<u8>)| {
        let bytes = if name == "counters.json" { deltas(&bytes) } else { bytes };
        (name, bytes)
    };
    files.into_iter().map(keep).collect()
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("golden").join(name)
}

fn write(directory: &Path, files: &[(String, Vec<u8>)]) {
    let _absent = std::fs::remove_dir_all(directory);
    std::fs::create_dir_all(directory).expect("writable");
    for (name, bytes) in files {
        std::fs::write(directory.join(name), bytes).expect("writable");
    }
}

/// Text as text, anything else by its length, for a message that can be read.
fn shown(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| format!("{} bytes", bytes.len()), str::to_owned)
}

#[test]
fn every_case_comes_out_as_it_is_kept() {
    for case in crate::support::cases::all() {
        let directory = directory(&case);
        if regenerating() {
            write(&directory, &inputs(&case));
            let out = kept(replay(&case, &directory, &scratch(case.name), 0));
            write(&directory.join("expected"), &out);
            continue;
        }
        for (name, bytes) in inputs(&case) {
            let there = std::fs::read(directory.join(&name)).unwrap_or_default();
            assert!(there == bytes, "{}/{name} is not what the case says: REGEN=1 writes it anew", case.name);
        }
        let out = kept(replay(&case, &directory, &scratch(case.name), 0));
        let expected = files(&directory.join("expected"));
        let names =
            |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&out), names(&expected), "{}", case.name);
        for ((name, got), (_, want)) in out.iter().zip(&expected) {
            assert!(got == want, "{}/{name}: got\n{}\nexpected\n{}", case.name, shown(got), shown(want));
        }
    }
}

#[test]
fn no_directory_is_left_without_a_case() {
    let cases: BTreeSet<_> = crate::support::cases::all().iter().map(|case| case.name.to_owned()).collect();
    assert_eq!(cases.len(), crate::support::cases::all().len(), "each name once");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let names = std::fs::read_dir(root).expect("there").map(|entry| entry.expect("readable").file_name());
    let names: BTreeSet<_> = names.map(|name| name.into_string().expect("a name of ours")).collect();
    assert_eq!(names, cases);
}

/// Reasons that no replay reaches: they need other threads, a kernel or a bug.
const OUT_OF_REACH: &[(Reason, &str)] = &[
    (Reason::EntryBusy, "two workers make one entry"),
    (Reason::FragmentNoRoom, "all workers begin datagrams at one moment"),
    (Reason::SynProxyFull, "thousands of clients wait for their real servers"),
    (Reason::NoFrame, "the pool of a replay is never empty"),
    (Reason::NoRoom, "every frame of a replay has its headroom"),
    (Reason::PortGone, "a worker's: an interface without a queue"),
    (Reason::TxFull, "a worker's: the ring of an interface"),
    (Reason::HandoffFull, "a worker's: the ring to another worker"),
    (Reason::PassQueueFull, "a worker's: the way back to the kernel"),
];
/// Reasons that take a thousand frames: `program` reaches them without files.
const BY_FLOOD: &[Reason] = &[Reason::NoDestinationQuiet, Reason::FragNeededQuiet];

#[test]
fn together_the_cases_reach_every_reason() {
    let mut reached = BTreeSet::new();
    for case in crate::support::cases::all() {
        let counters = std::fs::read(directory(&case).join("expected/counters.json")).expect("kept");
        let counters: Value = serde_json::from_slice(&counters).expect("JSON");
        let reasons = counters["reasons"].as_object().cloned().unwrap_or_default();
        reached.extend(reasons.into_iter().map(|(name, _)| name));
    }
    let exempt = OUT_OF_REACH.iter().map(|(reason, _)| reason).chain(BY_FLOOD);
    let exempt: BTreeSet<_> = exempt.map(|reason| reason.name().to_owned()).collect();
    let all: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.name().to_owned()).collect();
    let missing: Vec<_> = all.difference(&reached).filter(|name| !exempt.contains(*name)).collect();
    assert!(missing.is_empty(), "no case reaches {missing:?}");
    let after_all: Vec<_> = reached.intersection(&exempt).collect();
    assert!(after_all.is_empty(), "{after_all:?} are reached after all: take them off the list");
}

/// etherparse, which the product does not use, finds nothing wrong with what is sent.
#[test]
fn what_is_sent_is_well_formed() {
    let mut packets = 0;
    for case in crate::support::cases::all() {
        for (name, bytes) in files(&directory(&case).join("expected")) {
            if !name.ends_with(".pcap") {
                continue;
            }
            let mut reader = pcap_file::pcap::PcapReader::new(&bytes[..]).expect("a pcap file");
            while let Some(packet) = reader.next_packet() {
                let packet = packet.expect("a whole packet");
                check(&packet.data, case.bad_sums)
                    .unwrap_or_else(|wrong| panic!("{}/{name}: {wrong}", case.name));
                packets += 1;
            }
        }
    }
    assert!(packets > 200, "{packets}");
}

fn check(frame: &[u8], bad_sums: bool) -> Result<(), String> {
    use etherparse::{NetSlice, SlicedPacket};
    let sliced = SlicedPacket::from_ethernet(frame).map_err(|error| error.to_string())?;
    let Some(NetSlice::Ipv4(ip)) = &sliced.net else { return Ok(()) };
    check_ip(ip, &sliced, bad_sums)?;
    // A fragment of an outer packet has a piece of what was in the tunnel.
    if ip.header().protocol() == etherparse::IpNumber::IPV4 && !ip.is_payload_fragmented() {
        let inner = SlicedPacket::from_ip(ip.payload().payload).map_err(|error| error.to_string())?;
        let Some(NetSlice::Ipv4(ip)) = &inner.net else { return Err("no packet in the tunnel".to_owned()) };
        check_ip(ip, &inner, bad_sums)?;
    }
    Ok(())
}

fn check_ip(
    ip: &etherparse::Ipv4Slice<'_>,
    packet: &etherparse::SlicedPacket<'_>,
    bad: bool,
) -> Result<(), String> {
    use etherparse::TransportSlice;
    let header = ip.header().to_header();
    if header.header_checksum != header.calc_header_checksum() {
        return Err(format!("header checksum {:#x}", header.header_checksum));
    }
    let (got, want) = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (
            tcp.checksum(),
            tcp.to_header().calc_checksum_ipv4(&header, tcp.payload()).map_err(|e| e.to_string())?,
        ),
        Some(TransportSlice::Udp(udp)) if udp.checksum() != 0 => (
            udp.checksum(),
            udp.to_header().calc_checksum_ipv4(&header, udp.payload()).map_err(|e| e.to_string())?,
        ),
        Some(TransportSlice::Icmpv4(icmp)) => {
            (icmp.checksum(), icmp.icmp_type().calc_checksum(icmp.payload()))
        }
        _ => return Ok(()),
    };
    if (got == want) == bad { Err(format!("checksum {got:#x}, by etherparse {want:#x}")) } else { Ok(()) }
}

#[test]
fn the_seed_moves_no_choice() {
    // A table that is full refuses by where its hash puts the keys; draws and cookies are the seed's.
    let exempt = ["table-full", "schedulers-by-chance", "syn-proxy", "syn-proxy-unanswered"];
    for case in crate::support::cases::all().iter().filter(|case| !exempt.contains(&case.name)) {
        let from = scratch(&format!("{}.inputs", case.name));
        write(&from, &inputs(case));
        let files = kept(replay(case, &from, &scratch(&format!("{}.seed", case.name)), 8));
        for name in ["verdicts.jsonl", "counters.json"] {
            let got = files.iter().find(|(file, _)| file == name).map(|(_, bytes)| bytes);
            let want = std::fs::read(directory(case).join("expected").join(name)).ok();
            assert!(got == want.as_ref(), "{}/{name}", case.name);
        }
    }
}
