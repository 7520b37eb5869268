//! What is done without being asked: hearing the workers, and what time brings.

use super::{Director, PUNTS, REFRESH_NEIGHBOURS, SWEEP};
use crate::pressure::Table;
use crate::show;
use sheave_frame::PortId;
use sheave_pipeline::{Punt, Reason, Time, counters};
use sheave_proto::api::EventBody;
use sheave_proto::wire::arp::{self, Arp};
use sheave_proto::wire::eth::Mac;
use sheave_proto::wire::ndp::{self, Advertisement, Ndp};
use sheave_worker::{Command, Inject};
use std::net::IpAddr;

impl Director {
    /// Takes what the workers have to say.
    pub(crate) fn take_punts(&mut self) -> bool {
        for _ in 0..PUNTS {
            match self.dataplane.next_punt() {
                None => return false,
                Some(Punt::Resolve { port, neighbour }) => self.resolve(port, neighbour),
                Some(Punt::Conflict { port, vip, mac }) => self.conflict(port, vip, mac),
            }
        }
        true
    }

    fn conflict(&mut self, port: PortId, vip: IpAddr, mac: Mac) {
        let place = (port, vip);
        if !self.conflicts.is_news(place, self.now) {
            return;
        }
        let interface = self.compiler.ids().port_name(port).unwrap_or("?").to_owned();
        tracing::warn!(%vip, %mac, interface = %interface, "another station claims a VIP: announcing it again");
        self.events.note(EventBody::VipConflict { address: vip, interface, mac });
        self.announcer.again(place, self.now);
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self) {
        self.statistics.sample(self.now);
        if self.serving.tend(self.now, &mut self.dataplane)
            || self.serving.next_due().is_some_and(|due| due <= self.now)
        {
            self.reconcile();
        }
        self.announce();
        self.advance_drains();
        if self.now >= self.next_sweep {
            self.next_sweep = self.now.after(SWEEP);
            self.sweep();
        }
        if self.now >= self.next_look {
            self.next_look = self.now.after(REFRESH_NEIGHBOURS);
            self.resolve_next_hops(true);
        }
        self.dataplane.tend();
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Time {
        let mut due = self.statistics.next_due().min(self.next_sweep).min(self.next_look);
        for other in
            [self.announcer.next_due(), self.serving.next_due(), self.drains.next_due()].into_iter().flatten()
        {
            due = due.min(other);
        }
        if self.serving.closing() || self.dataplane.behind() {
            due = due.min(self.now.after(Time::SECOND / 100));
        }
        due
    }

    fn sweep(&mut self) {
        if self.dataplane.publisher.seen_by_all(self.dataplane.publisher.epoch()) {
            self.seen = self.epoch;
        }
        let live = &self.dataplane.shared.live;
        let passes: Vec<u64> = (0..self.dataplane.workers.len()).map(|w| live.passes(w)).collect();
        if let Some(period) = self.sweeps.observe(&passes) {
            self.compiler.ids_mut().quiet(period);
        }
        live.want_passes(self.compiler.ids().rests());
        let connections = |id| {
            let dest = live.destination(id);
            u64::from(dest.active()) + u64::from(dest.inactive())
        };
        self.stale |= self.compiler.retire(self.seen, connections);
        self.watch_pressure();
        let snapshot = self.current.pin();
        let failed = self.resolver.settle(self.now, |(port, addr)| snapshot.neighbour(port, addr).is_some());
        drop(snapshot);
        for (port, address) in failed {
            let interface = self.compiler.ids().port_name(port).unwrap_or("?").to_owned();
            tracing::warn!(%address, interface, "next hop does not answer");
            self.events.note(EventBody::NeighbourFailed { address, interface });
        }
    }

    /// Says when floods and a full table begin and are over.
    fn watch_pressure(&mut self) {
        let live = &self.dataplane.shared.live;
        let workers = (0..self.dataplane.workers.len()).map(|worker| live.worker(worker).flood());
        let table = Table { connections: show::connections(self), refused: self.statistics.slot(refused()) };
        for body in self.pressure.look(workers, table) {
            match &body {
                EventBody::FloodEntered { worker, rate } => {
                    tracing::warn!(
                        worker,
                        rate,
                        "flood: new connections get no entries where none is needed"
                    );
                }
                EventBody::TableFull { connections } => {
                    tracing::warn!(connections, "the connection table is full: raise max-connections");
                }
                _ => tracing::info!("over: {}", body.name()),
            }
            self.events.note(body);
        }
    }

    fn announce(&mut self) {
        for announcement in self.announcer.due(self.now) {
            let (port, vip) = announcement.place;
            let snapshot = self.current.pin();
            let from = snapshot.interface(port).map(|i| (i.mac, i.name.clone()));
            drop(snapshot);
            let Some((mac, interface)) = from else { continue };
            let Some(worker) = self.worker_of(port) else { continue };
            for frame in announcements(vip, mac) {
                if let Some(inject) = Inject::new(port, &frame) {
                    self.dataplane.tell(worker, Command::Inject(inject));
                }
            }
            if announcement.first {
                tracing::info!(%vip, interface, "VIP announced");
                self.events.note(EventBody::VipAnnounced { address: vip, interface });
            }
        }
    }

    fn worker_of(&self, port: PortId) -> Option<usize> {
        let (_, interface) = self.serving.interfaces().find(|(_, i)| i.port == port)?;
        interface.queues().first().map(|queue| queue.worker)
    }
}

/// The counter of connections that found no room.
fn refused() -> usize {
    counters::reason(Reason::TableFull)
}

/// The frames that announce a VIP: for IPv4 both forms of gratuitous ARP, because stations differ in which they
/// believe; for IPv6 an unsolicited advertisement.
fn announcements(vip: IpAddr, mac: Mac) -> Vec<Vec<u8>> {
    match vip {
        IpAddr::V4(vip) => [Arp::gratuitous_request(mac, vip), Arp::gratuitous_reply(mac, vip)]
            .iter()
            .map(|form| {
                let mut frame = [0; arp::FRAME_LEN];
                form.emit(&mut frame, Mac::BROADCAST);
                frame.to_vec()
            })
            .collect(),
        IpAddr::V6(vip) => {
            let mut frame = [0; ndp::FRAME_LEN];
            let link = (mac, ndp::multicast_mac(ndp::ALL_NODES));
            let news = Ndp::Advertisement(Advertisement::announcement(vip, mac));
            let len = news.emit_frame(&mut frame, link, (vip, ndp::ALL_NODES));
            vec![frame.get(..len).unwrap_or(&frame).to_vec()]
        }
    }
}
