//! A worker on its own thread, as the director starts it.

use sheave_frame::{PoolId, Port, PortId};
use sheave_io::{MemPort, PassPath, PortSet, mem_pool};
use sheave_pipeline::testing::Site;
use sheave_pipeline::{Pipeline, Resolve, Settings, Shared, counters};
use sheave_table::{CounterPage, Publisher, spsc};
use sheave_worker::{
    Clock, Command, Inject, Mesh, Parts, PortPage, PortState, Start, Stats, Wait, available_cores, spawn,
};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn a_sleeping_worker_obeys_at_once_and_ends_when_told() {
    let ports = PortSet::new().expect("descriptors");
    let publisher = Publisher::new(Box::new(Site::default().snapshot()), 1);
    let (_page, writer) = CounterPage::with_writer(counters::PAGE_LEN);
    let settings = Settings { worker: 0, workers: 1, resolve: Resolve::Control, seed: 1 };
    let (commands, commands_out) = spsc::ring(8);
    let (punts_in, punts) = spsc::ring(8);
    let (told, news) = mpsc::channel();
    let stats = Arc::new(Stats::default());
    let parts = Parts {
        pipeline: Pipeline::new(settings, Arc::new(Shared::on_heap(1024, 1)), writer),
        pool: mem_pool(PoolId(0), 64, 2048),
        snapshots: publisher.reader().expect("a place"),
        links: Mesh::build(&[ports.waker()]).remove(0),
        commands: commands_out,
        punts: punts_in,
        notify: Arc::new(move || {
            // Nobody listens any more at the end.
            let _ = told.send(());
        }),
        kernel: Box::new(PassPath::new()),
        stats: stats.clone(),
    };
    let core = *available_cores().last().expect("a core");
    let start = Start { core, wait: Wait::Adaptive, clock: Clock::start(), ports, commands, punts };
    let mut handle = spawn(parts, start).expect("a thread");
    let (mem, wire) = MemPort::new(PortId(0), 8);
    let page = Arc::new(PortPage::new(mem.caps()));
    handle.send(Command::Open(Box::new(mem), page.clone())).expect("room");
    let frame = [7; 60];
    handle.send(Command::Inject(Inject::new(PortId(0), &frame).expect("short"))).expect("room");
    handle.send(Command::Close(PortId(0), 0)).expect("room");
    // The worker tells when a port is closed; nothing else wakes us.
    news.recv_timeout(Duration::from_secs(20)).expect("told");
    assert_eq!((page.state(), wire.take_all()), (PortState::Closed, vec![frame.to_vec()]));
    assert_eq!(stats.injected(), 1);
    assert!(!handle.is_finished());
    handle.send(Command::Stop).expect("room");
    handle.join();
    assert!(stats.turns() > 0);
}
