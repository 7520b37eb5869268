//! Instructions of the packet path, counted by callgrind: the same on every run and every machine of one kind, unlike
//! time. What is counted is `Rig::process`.
//!
//! The program runs itself under valgrind, once for each case: `instructions count CASE`.
//!
//! `perf/instructions.csv` says what each case costs. `-- check` fails when one costs something else, beyond a small
//! band; `-- write` writes the file anew. docs/performance.md says when to.

use sheave_perf::{Better, CHUNK, Outcome, Rig, Setup};
use sheave_pipeline::snapshot::Method;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const FLOWS: u32 = 1 << 14;
/// Enough that what is done once vanishes, few enough for a simulated processor.
const CHUNKS: u32 = 64;
/// What is counted, and only that.
const COUNTED: &str = "--toggle-collect=*sheave_perf::rig::Rig::process";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packet {
    In,
    Out,
    Opening,
    /// All ten of a connection, from SYN to FIN; what is counted is a connection.
    All,
}

struct Case {
    name: &'static str,
    method: Method,
    v6: bool,
    packet: Packet,
    burst: usize,
}

impl Case {
    /// What its instructions are counted for.
    const fn unit(&self) -> &'static str {
        if matches!(self.packet, Packet::All) { "connection" } else { "packet" }
    }
}

const fn case(name: &'static str, method: Method, packet: Packet, burst: usize) -> Case {
    Case { name, method, v6: false, packet, burst }
}

const fn case6(name: &'static str, method: Method, packet: Packet, burst: usize) -> Case {
    Case { name, method, v6: true, packet, burst }
}

const CASES: [Case; 15] = [
    case("nat-in-64", Method::Nat, Packet::In, 64),
    case("nat-out-64", Method::Nat, Packet::Out, 64),
    case("nat-in-32", Method::Nat, Packet::In, 32),
    case("nat-in-1", Method::Nat, Packet::In, 1),
    case("nat-out-1", Method::Nat, Packet::Out, 1),
    case("dr-64", Method::DirectRoute, Packet::In, 64),
    case("tun-64", Method::Tunnel, Packet::In, 64),
    case("new-nat-64", Method::Nat, Packet::Opening, 64),
    case("new-dr-64", Method::DirectRoute, Packet::Opening, 64),
    case("life-nat-64", Method::Nat, Packet::All, 64),
    case6("nat6-in-64", Method::Nat, Packet::In, 64),
    case6("nat6-out-64", Method::Nat, Packet::Out, 64),
    case6("dr6-64", Method::DirectRoute, Packet::In, 64),
    case6("tun6-64", Method::Tunnel, Packet::In, 64),
    case6("new-nat6-64", Method::Nat, Packet::Opening, 64),
];

/// How far a count may be from the one in the file: what another machine's C library makes of it, and no more.
const BAND: f64 = 0.02;

/// The file.
fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.csv")
}

/// Processes the packets of a case: under callgrind.
fn count(case: &Case) {
    if case.packet == Packet::All {
        return count_all(case);
    }
    let mut rig = Rig::of(&Setup { v6: case.v6, ..Setup::new(case.method, FLOWS) });
    let mut packets = match case.packet {
        Packet::In => rig.establish().0,
        Packet::Out => rig.establish().1.expect("replies come under NAT"),
        Packet::Opening | Packet::All => rig.syns(),
    };
    for _ in 0..CHUNKS {
        rig.receive(&mut packets);
        rig.process(case.burst);
        if case.packet == Packet::Opening {
            rig.expire();
        }
    }
    assert_eq!(rig.otherwise(), 0, "every packet was forwarded");
}

/// The same for whole connections, nearly all of which take the place of one that is over.
fn count_all(case: &Case) {
    let mut rig = Rig::of(&Setup {
        v6: case.v6,
        reals: 1,
        connections: FLOWS.into(),
        ..Setup::new(case.method, FLOWS / 4)
    });
    let mut exchanges = rig.exchanges();
    for _ in 0..CHUNKS {
        for packets in &mut exchanges {
            rig.receive(packets);
            rig.process(case.burst);
        }
    }
    assert_eq!(rig.otherwise(), 0, "every packet was forwarded");
}

/// Instructions a packet, or a connection.
fn measure(case: &Case) -> Result<f64, String> {
    let own = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", COUNTED])
        .arg(own)
        .args(["count", case.name])
        .output()
        .map_err(|error| format!("valgrind: {error}: install it: apt-get install valgrind"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}: {text}", case.name));
    }
    let line = text.lines().find_map(|line| line.split("Collected :").nth(1));
    let all: f64 = line.and_then(|line| line.trim().parse().ok()).unwrap_or(0.0);
    if all == 0.0 {
        return Err(format!(
            "{}: callgrind found nothing to count by the name of {COUNTED}: {text}",
            case.name
        ));
    }
    Ok(all / (f64::from(CHUNKS) * CHUNK as f64))
}

/// What the file says of each case.
fn expected() -> BTreeMap<String, f64> {
    let text = std::fs::read_to_string(committed()).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(','));
    lines.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect()
}

/// What is wrong with a count, beside what the file says.
fn compare(name: &str, count: f64, expected: Option<f64>) -> Result<(), String> {
    let Some(expected) = expected else {
        return Err(format!("{name}: {count:.1} instructions, and not in perf/instructions.csv: add it"));
    };
    let change = count / expected - 1.0;
    if change.abs() <= BAND {
        return Ok(());
    }
    let why = if change > 0.0 { "it costs more now: find out why" } else { "it costs less now: keep that" };
    Err(format!("{name}: {count:.1} instructions instead of {expected:.1} ({:+.1} %): {why}", change * 100.0))
}

fn all(check: bool, write: bool) -> Result<(), String> {
    let expected = expected();
    let (mut nat, mut wrong) = (Vec::new(), Vec::new());
    let mut file = String::from("case,instructions\n");
    for case in &CASES {
        let count = measure(case)?;
        println!("instructions/{:<12} {count:7.1} a {}", case.name, case.unit());
        file += &format!("{},{count:.1}\n", case.name);
        wrong.extend(compare(case.name, count, expected.get(case.name).copied()).err());
        nat.extend(["nat-in-64", "nat-out-64"].contains(&case.name).then_some(count));
    }
    record(nat.iter().sum::<f64>() / nat.len() as f64)?;
    if write {
        let path = committed();
        return std::fs::write(&path, file).map_err(|error| format!("{}: {error}", path.display()));
    }
    let known = |name: &String| CASES.iter().any(|case| case.name == name.as_str()) || name == "case";
    let gone = expected.keys().filter(|name| !known(name));
    wrong.extend(gone.map(|name| format!("{name}: in perf/instructions.csv, but nobody counts it")));
    if wrong.is_empty() {
        return Ok(());
    }
    let advice = "where that is meant, write the file anew: make instructions-write: see docs/performance.md";
    let report = format!("{}\n{advice}", wrong.join("\n"));
    if check {
        return Err(report);
    }
    println!("{report}");
    Ok(())
}

fn record(value: f64) -> Result<(), String> {
    let outcome = Outcome {
        id: "P2".into(),
        name: "NAT in memory, established, 16 k flows, burst 64, mean of in and out".into(),
        value,
        unit: "instructions/packet",
        against: None,
        target: 320.0,
        stretch: 280.0,
        better: Better::Lower,
        runs: 1,
        spread: 0.0,
    };
    sheave_perf::tell(&outcome, env!("CARGO_TARGET_TMPDIR"))
        .map_err(|error| format!("perf/summary.json: {error}"))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["count", name] => {
            count(CASES.iter().find(|case| case.name == name).expect("a case"));
            Ok(())
        }
        ["check"] => all(true, false),
        ["write"] => all(false, true),
        // Among other benches: whoever has no valgrind has the others.
        _ => all(false, false).or_else(|what| {
            println!("instructions: not counted: {what}");
            if what.starts_with("valgrind") { Ok(()) } else { Err(what) }
        }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(what) => {
            what.lines().for_each(|line| eprintln!("error: instructions: {line}"));
            ExitCode::FAILURE
        }
    }
}
