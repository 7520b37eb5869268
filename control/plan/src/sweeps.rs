//! When nothing can still mean a removed object: counts quiet periods from the workers' sweeps.

/// Turns the number of sweep passes that each worker has completed into quiet periods. One is over when every
/// worker has completed a pass that began after the period did.
#[derive(Debug, Clone, Default)]
pub struct Sweeps {
    start: Vec<u64>,
    period: u64,
}

/// A pass that was under way when the period began, and one that began within it.
const PASSES: u64 = 2;

impl Sweeps {
    /// No period yet.
    pub fn new() -> Sweeps {
        Sweeps::default()
    }

    /// Takes the passes completed by each worker, in the order of the workers. Returns the number of the period
    /// when one is over now. Workers that come or go change the shares of all: a period starts over then.
    pub fn observe(&mut self, passes: &[u64]) -> Option<u64> {
        if self.start.len() != passes.len() {
            self.start = passes.to_vec();
            return None;
        }
        if self.start.iter().zip(passes).any(|(start, now)| now.saturating_sub(*start) < PASSES) {
            return None;
        }
        self.start = passes.to_vec();
        self.period += 1;
        Some(self.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_waits_for_the_slowest_worker() {
        let mut sweeps = Sweeps::new();
        assert_eq!(sweeps.observe(&[10, 20]), None, "the first look only starts a period");
        assert_eq!(sweeps.observe(&[19, 21]), None);
        assert_eq!(sweeps.observe(&[19, 22]), Some(1));
        assert_eq!(sweeps.observe(&[21, 23]), None, "counted from the end of the last period");
        assert_eq!(sweeps.observe(&[21, 24]), Some(2));
        assert_eq!(sweeps.observe(&[21, 24, 0]), None, "another worker: the period starts over");
        assert_eq!(sweeps.observe(&[23, 26, 2]), Some(3));
    }

    #[test]
    fn without_workers_every_look_is_a_quiet_period() {
        let mut sweeps = Sweeps::new();
        assert_eq!(sweeps.observe(&[]), Some(1));
        assert_eq!(sweeps.observe(&[]), Some(2));
    }
}
