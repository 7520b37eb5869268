//! Medians, and how far apart runs are.

/// Several runs of one number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runs(Vec<f64>);

impl Runs {
    pub(crate) fn of(mut values: Vec<f64>) -> Runs {
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        Runs(values)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Half lie below. Zero without runs.
    pub(crate) fn median(&self) -> f64 {
        let n = self.0.len();
        match n {
            0 => 0.0,
            _ if n % 2 == 1 => self.0[n / 2],
            _ => f64::midpoint(self.0[n / 2 - 1], self.0[n / 2]),
        }
    }

    /// Between which values the middle half lies.
    pub(crate) fn middle(&self) -> (f64, f64) {
        let n = self.0.len();
        if n == 0 { (0.0, 0.0) } else { (self.0[n / 4], self.0[n - 1 - n / 4]) }
    }

    /// How far the middle half of the runs is apart.
    pub(crate) fn spread(&self) -> f64 {
        let (low, high) = self.middle();
        high - low
    }
}

/// The ratios of two series, turn by turn: what both went through at the same time falls out.
pub(crate) fn ratios(above: &[f64], below: &[f64]) -> Runs {
    Runs::of(above.iter().zip(below).filter(|(_, b)| **b > 0.0).map(|(a, b)| a / b).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads_leave_outliers_alone() {
        let runs = Runs::of(vec![3.0, 1.0, 2.0, 100.0, 2.5]);
        assert_eq!((runs.median(), runs.middle(), runs.spread()), (2.5, (2.0, 3.0), 1.0));
        assert_eq!(Runs::of(vec![1.0, 3.0]).median(), 2.0);
        assert_eq!(Runs::of(vec![f64::NAN]).len(), 0);
        assert_eq!(ratios(&[2.0, 9.0, 5.0], &[1.0, 3.0, 0.0]).median(), 2.5);
    }
}
