//! A flood of SYNs, each of another client: S1a and S1b.

use crate::outcome;
use sheave_perf::{Better, CHUNK, Rig, Setup};
use sheave_pipeline::snapshot::Method;

/// A minute of a million SYNs a second.
const SECONDS: u32 = 60;
const CHUNKS: u32 = 1_000_000 / 512;
const NANOSECONDS: u64 = 1_000_000_000 / 1_000_000 * 512;
const ESTABLISHED: u32 = 1 << 16;
const CONNECTIONS: u64 = 1 << 20;
/// What a director has by default: of connections that begin in a second, and of those that are not established.
const RATE: u32 = 200_000;
const HALF_OPEN: u64 = CONNECTIONS / 4;

/// S1a: established NAT connections that are lost. S1b: entries beyond those of the established ones and of as many
/// others as may have begun.
pub(crate) fn lost() {
    let setup = Setup { connections: CONNECTIONS, ..Setup::new(Method::Nat, ESTABLISHED) };
    let mut rig = Rig::of(&setup);
    let (_, replies) = rig.establish();
    let mut replies = replies.expect("replies come under NAT");
    let before = rig.entries();
    rig.bound(RATE, HALF_OPEN);
    let (mut lost, mut most) = (0, 0);
    for second in 0..SECONDS {
        for chunk in 0..CHUNKS {
            rig.receive_strangers((second * CHUNKS + chunk) * 512);
            rig.process(64);
            rig.pass(NANOSECONDS);
        }
        most = most.max(rig.entries());
        // A reply finds its way by its entry alone.
        let otherwise = rig.otherwise();
        for _ in 0..ESTABLISHED as usize / CHUNK {
            rig.receive(&mut replies);
            rig.process(64);
        }
        lost = lost.max(rig.otherwise() - otherwise);
    }
    let name = "established connections that a minute of 1 M SYN/s loses, of 65,536";
    outcome("S1a", name, "connections", (0.0, 0.0), Better::Lower, vec![lost as f64]);
    let budget = before as f64 + 2.0 * HALF_OPEN as f64;
    let beyond = (most as f64 - budget).max(0.0);
    outcome(
        "S1b",
        "entries beyond the flood's share, the same",
        "entries",
        (0.0, 0.0),
        Better::Lower,
        vec![beyond],
    );
}
