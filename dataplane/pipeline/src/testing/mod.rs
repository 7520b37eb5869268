//! A small network, a pipeline to drive in it, and packets to send: for tests, benches and fuzzing.
//!
//! ```text
//!   clients 192.0.2.0/24        +----------+
//!      router 198.18.0.2 ------ | director | ------ real servers 198.19.1.0/24
//!                            d0 +----------+ d1
//!          198.18.0.1, VIPs 198.18.0.100..      198.19.1.1
//! ```
//!
//! Packets are built and read by another library than the one that the pipeline uses: a mistake must be made
//! twice to go unnoticed.

mod cut;
mod error;
mod fuzz;
mod fuzz_proxy;
mod lab;
pub mod model;
mod packet;
mod site;

pub use cut::{cut, together};
pub use error::Error;
pub use fuzz::{packet_path, packet_path_seeds};
pub use fuzz_proxy::{syn_proxy, syn_proxy_seeds};
pub use lab::{Drained, Lab};
pub use packet::{Packet, Seen, Seen6};
pub use site::{
    CLIENT_SIDE, DIRECTOR, DIRECTOR_V6, Destination, NAT_REAL_PORT, ROUTER_MAC, SERVER_SIDE, Service, Site,
    mac_of, real, real6, vip, vip6,
};
