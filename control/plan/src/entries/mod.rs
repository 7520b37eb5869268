//! What the tables hold, in the API's words: connections and persistence templates, in pages. A page looks at a
//! bounded part of the tables, whatever the filter lets through, and takes nothing from the workers: they do not notice.

mod connections;
mod sticky;

use sheave_pipeline::entry::Entry;
use sheave_pipeline::ids::ServiceId;
use sheave_pipeline::key::Key;
use sheave_pipeline::time::Tick;
use sheave_pipeline::{Shared, Snapshot, tables};
use sheave_proto::api::{ErrorCode, ErrorReply, UnixTime};

/// Buckets that one request looks at, at most.
const BUCKETS: u64 = 65_536;

/// The tables at a moment.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The tables.
    pub shared: &'a Shared,
    /// What gives their numbers names.
    pub snapshot: &'a Snapshot,
    /// The moment, in the tables' time.
    pub now: Tick,
    /// The same, as answers say it.
    pub as_of: UnixTime,
}

/// An entry, where it is and what it is found by.
type Found = (tables::Place, Key, Entry);

impl View<'_> {
    /// Entries from a place on that `shown` makes something of: at most `limit`. Says where the next page begins.
    fn walk<T>(
        &self,
        start: Place,
        limit: usize,
        shown: impl Fn(&Found) -> Option<T>,
    ) -> (Vec<T>, Option<Place>) {
        let mut entries = Vec::new();
        let mut place = Some(start);
        let mut left = BUCKETS;
        while let Some(at) = place
            && left > 0
            && entries.len() < limit
        {
            left -= 1;
            let mut found: Vec<Found> = Vec::new();
            let next = self.shared.tables.scan(at.bucket, 1, |place, key, payload| {
                found.push((place, key, Entry::from(payload)));
            });
            place = next.map(|bucket| Place { bucket, skip: 0 });
            for (n, found) in found.iter().enumerate().skip(at.skip) {
                if entries.len() == limit {
                    place = Some(Place { bucket: at.bucket, skip: n });
                    break;
                }
                entries.extend(shown(found));
            }
        }
        (entries, place)
    }

    fn service_named(&self, name: &str) -> Option<ServiceId> {
        self.snapshot.services().find(|(_, service)| service.name == name).map(|(id, _)| id)
    }
}

/// Where a page begins: a bucket, and how many of its entries earlier pages have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Place {
    bucket: u64,
    skip: usize,
}

impl Place {
    fn read(cursor: Option<&str>) -> Result<Place, ErrorReply> {
        let Some(cursor) = cursor else { return Ok(Place::default()) };
        let bad = || {
            let object = format!("cursor {:?}", cursor.escape_debug().to_string());
            let remedy = "give back the cursor of the page before";
            ErrorReply::new(ErrorCode::Invalid, object, "it is none of ours", remedy)
        };
        let (bucket, skip) = cursor.split_once('.').ok_or_else(bad)?;
        Ok(Place { bucket: bucket.parse().map_err(|_| bad())?, skip: skip.parse().map_err(|_| bad())? })
    }

    fn write(self) -> String {
        format!("{}.{}", self.bucket, self.skip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_others_are_refused() {
        let place = Place { bucket: 77, skip: 3 };
        assert_eq!(Place::read(Some(&place.write())), Ok(place));
        assert_eq!(Place::read(None), Ok(Place::default()));
        for bad in ["", "7", "7.", ".7", "x.1", "1.-1", "1.2.3"] {
            let error = Place::read(Some(bad)).expect_err(bad);
            assert_eq!(error.first.code, ErrorCode::Invalid);
        }
    }
}
