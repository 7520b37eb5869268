//! The laboratory's calls on the kernel: what generates packets and what swallows them at full speed.
//!
//! Owns: the generator ([`LiveGenerator`], packets made by a BPF program on live frames), the sink ([`Sink`]), and a way to
//! give all of an interface to one socket ([`TakeAll`]). What packets look like, and what is right about those that
//! arrive, is the business of `perf/pktgen`.
//!
//! Nothing of it is used by a director. Nothing outlives the process.

mod generator;
mod sink;

pub use generator::{
    ENTRIES, Entry, FIRST_PORT, GeneratorConfig, GeneratorState, HEADER, LiveGenerator, PORT_BITS, Program,
    SHAPES, Shape,
};
pub use sink::{Counts, Hook, Sample, Sampling, Sink, TakeAll};

use std::io;

/// An error that names its object.
fn failed<E: std::error::Error>(what: &str) -> impl FnOnce(E) -> io::Error + '_ {
    move |error| {
        let mut text = format!("{what}: {error}");
        let mut source = error.source();
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        io::Error::other(text)
    }
}

fn missing(what: &str) -> io::Error {
    io::Error::other(format!("{what}: not in the program: build again"))
}
