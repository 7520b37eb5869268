//! What is wanted: services with their destinations, static neighbours and routes, interfaces, the director's
//! settings. Valid as a whole, always.

use sheave_proto::config::{Config, ConfigError, validate};

/// A desired state. It is never edited: a change makes another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Desired {
    config: Config,
}

impl Desired {
    /// The state that a configuration describes.
    ///
    /// # Errors
    /// Everything that [`validate`] finds.
    pub fn new(config: Config) -> Result<Desired, Vec<ConfigError>> {
        let errors = validate(&config);
        if errors.is_empty() { Ok(Desired { config }) } else { Err(errors) }
    }

    /// The state as a configuration, with every default filled in.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// No service, every default: what the director starts with when there is no file.
impl Default for Desired {
    fn default() -> Desired {
        Desired { config: Config::default() }
    }
}
