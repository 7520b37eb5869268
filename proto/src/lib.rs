//! Every byte that crosses a boundary: packets on the wire, the control API on the socket, the configuration
//! file. Formats and their meaning, nothing that acts on them: no I/O, no clock, no state.

#![forbid(unsafe_code)]

pub mod api;
pub mod config;
pub mod wire;
