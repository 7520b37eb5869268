//! The configuration file. To be written.
