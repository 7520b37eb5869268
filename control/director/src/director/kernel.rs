//! What the kernel says and is asked: interfaces that come and go, next hops.

use super::{Director, shown};
use crate::interfaces;
use crate::netlink::Changed;
use crate::serving::News;
use sheave_frame::PortId;
use sheave_proto::api::EventBody;
use std::collections::BTreeSet;
use std::net::IpAddr;

impl Director {
    /// Takes in what netlink heard.
    pub(crate) fn heard(&mut self, changed: Changed) {
        self.links_changed |= changed.links;
        // While a dump runs, an interface may seem to be gone that only has not been told of yet.
        if self.links_changed && self.netlink.settled() {
            self.links_changed = false;
            self.reconcile();
        }
        self.stale |= changed.any();
    }

    /// Brings the served interfaces to what is wanted and there.
    pub(crate) fn reconcile(&mut self) {
        let (wanted, unusable) = interfaces::select(self.netlink.view(), self.desired.config());
        let ids = self.compiler.ids_mut();
        let news = self.serving.reconcile(&wanted, &unusable, self.now, &mut self.dataplane, |name| {
            ids.port(name).map_err(|e| tracing::error!("interface {name}: {e}")).ok()
        });
        for item in news {
            self.stale = true;
            self.tell_of_interface(item);
        }
    }

    fn tell_of_interface(&mut self, news: News) {
        let body = match news {
            News::Attached { name, mode, queues, .. } => {
                tracing::info!(interface = %name, %mode, queues, "interface attached");
                EventBody::InterfaceAttached { interface: name, mode: shown(mode), queues }
            }
            News::Detached { name, port, why } => {
                tracing::warn!(interface = %name, "interface detached: {why}");
                self.announcer.down(port);
                EventBody::InterfaceDetached { interface: name, reason: why }
            }
            News::Failed { name, why } => {
                tracing::warn!(interface = %name, "interface not attached: {why}");
                EventBody::InterfaceDetached { interface: name, reason: why }
            }
        };
        self.events.note(body);
    }

    /// Has the kernel look for the next hops of all destinations: those that are not known, or all of them, so
    /// that an entry which no packet of the kernel's own keeps fresh is verified.
    pub(super) fn resolve_next_hops(&mut self, all: bool) {
        let snapshot = self.current.pin();
        let hops: BTreeSet<(PortId, IpAddr)> = snapshot
            .destinations()
            .filter_map(|(_, destination)| destination.next_hop)
            .filter(|hop| all || hop.mac.is_none())
            .map(|hop| (hop.port, hop.neighbour))
            .collect();
        drop(snapshot);
        for (port, neighbour) in hops {
            self.resolve(port, neighbour);
        }
    }

    pub(super) fn resolve(&mut self, port: PortId, neighbour: IpAddr) {
        let index = self.serving.interfaces().find(|(_, i)| i.port == port).map(|(_, i)| i.index);
        let Some(index) = index else { return };
        if self.netlink.view().permanent.contains(&(index, neighbour)) {
            return;
        }
        if self.resolver.wish((port, neighbour), self.now)
            && let Err(e) = self.netlink.resolve(index, neighbour)
        {
            tracing::debug!("neighbour {neighbour}: the kernel was not asked: {e}");
        }
    }
}
