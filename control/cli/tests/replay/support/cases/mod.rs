//! All cases.

mod change;
mod errors;
mod forward;
mod refuse;
mod resolve;

use super::Case;

/// Every golden case, in the order of their names' appearance here.
pub(crate) fn all() -> Vec<Case> {
    [forward::cases(), refuse::cases(), errors::cases(), resolve::cases(), change::cases()]
        .into_iter()
        .flatten()
        .collect()
}
