//! What the fuzz targets do with their input. A body takes any bytes, and panics when something does not hold
//! that must; it does nothing else.
//!
//! The same functions are called by libFuzzer (`fuzz/fuzz_targets`), by the test that replays the committed
//! corpora, and by property tests that mutate valid packets.

#![forbid(unsafe_code)]

mod api;
mod config;
mod packet_path;
mod syn_proxy;
mod wire;

pub use api::api;
pub use config::config;
pub use packet_path::packet_path;
pub use syn_proxy::syn_proxy;
pub use wire::wire;

/// A body.
pub type Body = fn(&[u8]);

/// Every target: its name, which is also that of its corpus, and its body.
pub const TARGETS: &[(&str, Body)] = &[
    ("api", api),
    ("config", config),
    ("packet_path", packet_path),
    ("syn_proxy", syn_proxy),
    ("wire", wire),
];
