//! Draining a destination: no new connections, and an end to those that it has.
//!
//! `destination.drain` sets the destination's `state` to `drain`, as `destination.set` can too, and says how the drain
//! ends. What it says is not part of the configuration: a director that is started again goes on draining, without a
//! deadline. Setting the state to something else calls the drain off.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::traffic::UnixTime;
use crate::config::{Duration, ValueError, serde_as_string, vocabulary, whole_secs};

/// How a drain goes on and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drain {
    /// When it ends at the latest, from now; none is when the last connection has ended.
    pub deadline: Option<Deadline>,
    /// What becomes of the connections that are left at the deadline.
    pub then: Rest,
    /// What persistence templates of the destination still do.
    pub templates: Templates,
}

/// How long a drain may take: 1 s to 24 h in whole seconds; what is written finer is rounded up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(u32);

impl Deadline {
    /// The shortest, in seconds.
    pub const MIN_SECS: u32 = 1;
    /// The longest, in seconds.
    pub const MAX_SECS: u32 = 24 * 3600;

    /// The time in whole seconds.
    #[must_use]
    pub const fn as_secs(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Duration::from_secs(self.0).fmt(f)
    }
}

impl FromStr for Deadline {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        whole_secs(text.parse()?, Self::MIN_SECS, Self::MAX_SECS, "deadline").map(Self)
    }
}

serde_as_string!(Deadline);

vocabulary! {
    /// What becomes of the connections that are left at the deadline of a drain.
    #[derive(Default)]
    Rest, "then" {
        /// They go on until they end, the default.
        #[default]
        Keep = "keep",
        /// Their clients are told with a reset.
        Reset = "reset",
    }
}

vocabulary! {
    /// What persistence templates of a destination do while it is drained.
    #[derive(Default)]
    Templates, "templates" {
        /// Nothing: a client that comes again is given another destination. The default.
        #[default]
        Ignore = "ignore",
        /// They bring their clients to it still, until they expire.
        Honour = "honour",
    }
}

vocabulary! {
    /// How a drain ended.
    DrainEnd, "end of a drain" {
        /// The last connection ended.
        Empty = "empty",
        /// The deadline came, and the rest goes on.
        Kept = "kept",
        /// The deadline came, and the rest was reset.
        Reset = "reset",
        /// The destination was given another state, or removed.
        CalledOff = "called-off",
    }
}

/// A drain that is going on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DrainStatus {
    /// Since when.
    pub since: UnixTime,
    /// When it ends at the latest, if it has a deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<UnixTime>,
    /// What becomes of the rest then.
    pub then: Rest,
    /// What persistence templates still do.
    pub templates: Templates,
}
