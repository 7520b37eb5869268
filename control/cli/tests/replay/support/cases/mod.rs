//! All cases.

mod change;
mod destinations;
mod errors;
mod floods;
mod forward;
mod fragments;
mod helper;
mod paths;
mod ports;
mod refuse;
mod resolve;
mod schedule;
mod services;
mod six;
mod sticky;

use super::Case;

/// Every golden case, in the order of their names' appearance here.
pub(crate) fn all() -> Vec<Case> {
    let cases = [
        forward::cases(),
        ports::cases(),
        helper::cases(),
        schedule::cases(),
        services::cases(),
        sticky::cases(),
        refuse::cases(),
        errors::cases(),
        paths::cases(),
        fragments::cases(),
        floods::cases(),
        resolve::cases(),
        change::cases(),
        destinations::cases(),
        six::cases(),
    ];
    cases.into_iter().flatten().collect()
}
