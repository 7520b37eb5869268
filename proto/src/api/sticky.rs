//! Sticky tables: the persistence templates, each of which keeps a client with its destination.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::request::ConnectionFilter;
use super::traffic::UnixTime;
use crate::config::{Cidr, DestAddr};

/// Which templates are listed; all that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyFilter {
    /// The service.
    pub service: Option<String>,
    /// The client, whose template may be that of its whole network.
    pub client: Option<IpAddr>,
    /// How many templates a page holds at most.
    pub limit: u32,
    /// Where the page begins: what the page before it said.
    pub cursor: Option<String>,
}

impl Default for StickyFilter {
    fn default() -> Self {
        StickyFilter { service: None, client: None, limit: ConnectionFilter::PAGE, cursor: None }
    }
}

/// The answer to `sticky.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StickyPage {
    /// When the page was read; templates change while pages are turned.
    pub as_of: UnixTime,
    /// The templates that were asked for.
    pub entries: Vec<StickyEntry>,
    /// Where the next page begins: to be given back as it is. None when this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StickyEntry {
    /// The name of the service.
    pub service: String,
    /// The client with the prefix that the service's netmask leaves of it.
    pub client: Cidr,
    /// The destination; without a port under those that keep the packet's.
    pub destination: DestAddr,
    /// How many connections it has brought there that have not ended.
    pub connections: u64,
    /// Seconds until it expires if no connection is opened.
    pub expires_in: f64,
}

/// The answer to `sticky.clear`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StickyCleared {
    /// Since when they are gone.
    pub as_of: UnixTime,
    /// How many there were. Their connections go on.
    pub cleared: u64,
}
