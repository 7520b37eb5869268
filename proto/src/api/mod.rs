//! The control API. To be written.
