//! The time of day, for people: what is shown and what happened when.

use sheave_proto::api::UnixTime;
use std::time::{SystemTime, UNIX_EPOCH};

/// The time of day.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the time of day; nothing is decided by it"
)]
pub(crate) fn now() -> UnixTime {
    UnixTime::since_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
