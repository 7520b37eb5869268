//! Errors as routers and hosts send them, built by etherparse, and everything else that claims to be one.

mod bytes;
mod model;
mod nat;
mod tunnelled;
