//! Sticky tables: the persistence templates, listed in pages and cleared.

use super::{Found, Place, View};
use crate::desired::Desired;
use sheave_pipeline::entry::Entry;
use sheave_pipeline::ids::ServiceId;
use sheave_pipeline::key::{KeyParts, Side};
use sheave_pipeline::sticky;
use sheave_pipeline::tables;
use sheave_proto::api::{ErrorReply, StickyCleared, StickyEntry, StickyFilter, StickyPage};
use sheave_proto::config::{Cidr, DestAddr};

/// Buckets of the wide table that are looked at, at a time, when templates are cleared.
const STRIDE: usize = 1024;

/// A filter whose service was found: `Some(None)` is one that has no templates yet.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    service: Option<Option<ServiceId>>,
    filter: &'a StickyFilter,
}

impl View<'_> {
    /// A page of the templates that the filter lets through.
    ///
    /// # Errors
    /// When the cursor is none of ours, or there is no such service.
    pub fn sticky(
        &self,
        desired: &Desired,
        filter: &StickyFilter,
        (limit, cursor): (u32, Option<&str>),
    ) -> Result<StickyPage, ErrorReply> {
        // Templates are in the wide table, whose buckets come last.
        let first = Place { bucket: self.shared.tables.narrow.buckets(), skip: 0 };
        let start = Place::read(cursor)?.max(first);
        let wanted = self.wanted(desired, filter)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (entries, place) = self.walk(start, limit, |found| self.template(found, wanted));
        Ok(StickyPage { as_of: self.as_of, entries, cursor: place.map(Place::write) })
    }

    /// Removes the templates that the filter lets through: the next connection of each client is scheduled anew. Those
    /// that there are go on.
    ///
    /// # Errors
    /// When there is no such service.
    pub fn clear_sticky(
        &self,
        desired: &Desired,
        filter: &StickyFilter,
    ) -> Result<StickyCleared, ErrorReply> {
        let wanted = self.wanted(desired, filter)?;
        let mut cleared = 0;
        let mut next = Some(self.shared.tables.narrow.buckets());
        while let Some(from) = next {
            let mut found: Vec<(tables::Place, Entry)> = Vec::new();
            next = self.shared.tables.scan(from, STRIDE, |place, key, payload| {
                let entry = Entry::from(payload);
                if self.template(&(place, key, entry), wanted).is_some() {
                    found.push((place, entry));
                }
            });
            let gone = found.into_iter().filter(|(place, entry)| sticky::clear(self.shared, *place, *entry));
            cleared += u64::try_from(gone.count()).unwrap_or(u64::MAX);
        }
        Ok(StickyCleared { as_of: self.as_of, cleared })
    }

    fn wanted<'a>(&self, desired: &Desired, filter: &'a StickyFilter) -> Result<Wanted<'a>, ErrorReply> {
        let service = filter.service.as_deref().map(|name| desired.service(name)).transpose()?;
        Ok(Wanted { service: service.map(|service| self.service_named(&service.name)), filter })
    }

    /// A template that lives, if it is one and wanted.
    fn template(&self, &(place, key, entry): &Found, wanted: Wanted<'_>) -> Option<StickyEntry> {
        let parts = KeyParts::of(key);
        let Side::Template(id) = parts.side else { return None };
        let (service, persistence) = (self.snapshot.service(id)?, self.snapshot.persistence(id)?);
        let record = self.shared.side.of(self.shared.tables, (place, &key), entry)?;
        let destination = self
            .snapshot
            .destination(record.home.destination)
            .filter(|d| d.generation == record.home.generation)?;
        let network = parts.client.0;
        let whole = if network.is_ipv4() { 32 } else { 128 };
        let client = Cidr::new(network, persistence.prefix.unwrap_or(whole).min(whole)).ok()?;
        let filter = wanted.filter;
        let leads =
            |to: DestAddr| to.addr == destination.addr && (to.port.is_none() || to.port == destination.port);
        let shown = sticky::lives(entry, &record, (network, &persistence), self.now)
            && wanted.service.is_none_or(|wanted| wanted == Some(id))
            && filter.client.is_none_or(|clients| clients.meet(client))
            && filter.destination.is_none_or(leads);
        shown.then(|| StickyEntry {
            service: service.name.clone(),
            client,
            destination: DestAddr { addr: destination.addr, port: destination.port },
            connections: sticky::connections(&record),
            expires_in: f64::from(sticky::expires_in(entry, &persistence, self.now)),
        })
    }
}
