//! What room in front of a packet is worth: an outer header of 20 bytes in front of a packet of 1500 bytes, by growing
//! the frame to the front, or by moving the packet within its frame (docs/adr/0001).

use criterion::{BatchSize, Criterion, Throughput};
use sheave_frame::{Frame, FrameId, PoolId};
use std::hint::black_box;
use std::time::Duration;

const HEADER: [u8; 20] = [0x45; 20];
const PACKET: usize = 1500;
/// Frames in turn. Few stay in the first cache; many do not stay in the second one.
const SETS: [(&str, u32); 2] = [("warm", 8), ("cold", 2048)];

fn frames(count: u32) -> Vec<Frame> {
    let frame = |n| {
        let memory = Box::leak(vec![0; 4096].into_boxed_slice());
        let mut frame = Frame::new(memory, FrameId(n), PoolId(0));
        frame.fill(&[0xab; PACKET]).expect("a packet fits");
        frame
    };
    (0..count).map(frame).collect()
}

fn grow(frame: &mut Frame) {
    let bytes = frame.prepend(20).expect("headroom");
    bytes[..20].copy_from_slice(&HEADER);
}

fn shift(frame: &mut Frame) {
    frame.set_len(PACKET + 20).expect("tailroom");
    let bytes = frame.bytes_mut();
    bytes.copy_within(..PACKET, 20);
    bytes[..20].copy_from_slice(&HEADER);
}

fn headroom(c: &mut Criterion) {
    let mut group = c.benchmark_group("headroom");
    group.throughput(Throughput::Elements(1));
    for (set, count) in SETS {
        for (way, encapsulate) in [("grow", grow as fn(&mut Frame)), ("move", shift)] {
            let mut frames = frames(count);
            let mut at = 0;
            group.bench_function(format!("{way}-{set}"), |b| {
                b.iter_batched(
                    || (),
                    |()| {
                        let frame = &mut frames[at];
                        at = (at + 1) & (count as usize - 1);
                        encapsulate(black_box(&mut *frame));
                        // As it was, without touching the packet.
                        if frame.start() < sheave_frame::HEADROOM {
                            frame.trim_front(20).expect("just grown");
                        } else {
                            frame.set_len(PACKET).expect("just longer");
                        }
                    },
                    BatchSize::SmallInput,
                );
            });
            for frame in frames {
                let (_memory, ..) = frame.into_parts();
            }
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    headroom(&mut criterion);
    criterion.final_summary();
}
