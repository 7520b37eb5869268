//! Instructions of the packet path, counted by callgrind: the same on every run and every machine of one kind, unlike
//! time. What is counted is `Rig::process`.
//!
//! The program runs itself under valgrind, once for each case: `instructions count CASE`.

use sheave_perf::{Better, CHUNK, Outcome, Rig};
use sheave_pipeline::snapshot::Method;
use std::path::Path;
use std::process::Command;

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
}

struct Case {
    name: &'static str,
    method: Method,
    packet: Packet,
    burst: usize,
}

const fn case(name: &'static str, method: Method, packet: Packet, burst: usize) -> Case {
    Case { name, method, packet, burst }
}

const CASES: [Case; 8] = [
    case("nat-in-64", Method::Nat, Packet::In, 64),
    case("nat-out-64", Method::Nat, Packet::Out, 64),
    case("nat-in-1", Method::Nat, Packet::In, 1),
    case("nat-out-1", Method::Nat, Packet::Out, 1),
    case("dr-64", Method::DirectRoute, Packet::In, 64),
    case("tun-64", Method::Tunnel, Packet::In, 64),
    case("new-nat-64", Method::Nat, Packet::Opening, 64),
    case("new-dr-64", Method::DirectRoute, Packet::Opening, 64),
];

/// Processes the packets of a case: under callgrind.
fn count(case: &Case) {
    let mut rig = Rig::new(case.method, FLOWS);
    let mut packets = match case.packet {
        Packet::In => rig.establish().0,
        Packet::Out => rig.establish().1.expect("replies come under NAT"),
        Packet::Opening => rig.syns(),
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

/// Instructions a packet; nothing where there is no valgrind.
fn measure(case: &Case) -> Option<f64> {
    let own = std::env::current_exe().expect("this program");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", COUNTED])
        .arg(own)
        .args(["count", case.name])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {text}", case.name);
    let line = text.lines().find_map(|line| line.split("Collected :").nth(1)).expect("callgrind's sum");
    let all: f64 = line.trim().parse().expect("a number");
    assert!(all > 0.0, "callgrind counts {COUNTED}");
    Some(all / (f64::from(CHUNKS) * CHUNK as f64))
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, verb, name] = &args[..]
        && verb == "count"
    {
        return count(CASES.iter().find(|case| case.name == name).expect("a case"));
    }
    let mut nat = Vec::new();
    for case in &CASES {
        let Some(instructions) = measure(case) else {
            println!("instructions: not counted: valgrind is not installed");
            return;
        };
        println!("instructions/{:<12} {instructions:7.1} a packet", case.name);
        nat.extend(["nat-in-64", "nat-out-64"].contains(&case.name).then_some(instructions));
    }
    let outcome = Outcome {
        id: "P2",
        name: "NAT in memory, established, 16 k flows, burst 64, mean of in and out",
        value: nat.iter().sum::<f64>() / nat.len() as f64,
        unit: "instructions/packet",
        target: 320.0,
        stretch: 280.0,
        better: Better::Lower,
        runs: 1,
        spread: 0.0,
    };
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target directory");
    outcome.record(target).expect("the summary is written");
    println!("{outcome}");
}
