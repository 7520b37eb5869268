//! Interrupts of an interface, put off while its sockets have the driver work within their own calls.
//!
//! With `napi_defer_hard_irqs` and `gro_flush_timeout` the kernel leaves the interrupts of a queue masked for as long as
//! somebody polls it in time, and looks itself when nobody does. What an operator has set already stays. What is set here
//! is put back when the interface is let go.

use std::fs;
use std::path::{Path, PathBuf};

/// Empty polls before interrupts come back, and for how many nanoseconds they stay away after a poll: as long as a worker
/// that has gone to sleep may not notice a packet.
const SETTINGS: [(&str, &str); 2] = [("napi_defer_hard_irqs", "2"), ("gro_flush_timeout", "200000")];

/// What the settings were before.
#[derive(Debug, Default)]
pub(crate) struct Deferral {
    before: Vec<PathBuf>,
}

impl Deferral {
    /// Puts off the interrupts of an interface of this network namespace.
    pub(crate) fn of(interface: &str) -> Deferral {
        Deferral::at(&Path::new("/sys/class/net").join(interface))
    }

    fn at(directory: &Path) -> Deferral {
        let mut deferral = Deferral::default();
        for (name, value) in SETTINGS {
            let file = directory.join(name);
            let unset = fs::read_to_string(&file).is_ok_and(|now| now.trim() == "0");
            if !unset {
                continue;
            }
            match fs::write(&file, value) {
                Ok(()) => deferral.before.push(file),
                Err(error) => {
                    tracing::info!(file = %file.display(), %error, "interrupts are not put off: each packet may cause one");
                }
            }
        }
        deferral
    }
}

impl Drop for Deferral {
    fn drop(&mut self) {
        for file in &self.before {
            // The interface may be gone.
            let _ = fs::write(file, "0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_put_back_and_what_an_operator_set_stays() {
        let directory = std::env::temp_dir().join(format!("shv-{}-deferral", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let [irqs, timeout] = SETTINGS.map(|(name, _)| directory.join(name));
        let read = |file: &PathBuf| fs::read_to_string(file).unwrap().trim().to_owned();
        fs::write(&irqs, "0\n").unwrap();
        fs::write(&timeout, "5000\n").unwrap();
        let deferral = Deferral::at(&directory);
        assert_eq!([read(&irqs), read(&timeout)], ["2", "5000"]);
        drop(deferral);
        assert_eq!([read(&irqs), read(&timeout)], ["0", "5000"]);
        fs::remove_dir_all(&directory).unwrap();
        assert!(Deferral::at(&directory).before.is_empty(), "an interface that is gone");
    }
}
