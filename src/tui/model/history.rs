//! Owns: `SeriesHistory`, one series of values over steps, bounded for a run of any length; and its smoothing.
//! Must not know: which series it is, how it is drawn.
//! Invariant: at most as many buckets as it was created for, ascending in step. The smallest and the largest value ever
//! pushed are kept. All values are finite; a value that was not leaves a gap.

/// Maximum number of buckets: several times the number of dots in a wide terminal.
pub const MAX_BUCKETS: usize = 2048;

/// Adjacent values of a series, merged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    pub first_step: u64,
    pub last_step: u64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    pub count: u64,
    /// Whether values that were not finite are missing before this bucket.
    pub gap_before: bool,
}

impl Bucket {
    fn new(step: u64, value: f64) -> Self {
        Self { first_step: step, last_step: step, min: value, max: value, mean: value, count: 1, gap_before: false }
    }

    fn merged_with(self, next: Bucket) -> Self {
        let count = self.count + next.count;
        Self {
            first_step: self.first_step,
            last_step: next.last_step,
            min: self.min.min(next.min),
            max: self.max.max(next.max),
            mean: self.mean + (next.mean - self.mean) * (next.count as f64 / count as f64),
            count,
            gap_before: self.gap_before || next.gap_before,
        }
    }
}

#[derive(Clone, Debug)]
pub struct SeriesHistory {
    buckets: Vec<Bucket>,
    values_per_bucket: u64,
    max_buckets: usize,
    latest: Option<f64>,
    pending_gap: bool,
}

impl Default for SeriesHistory {
    fn default() -> Self {
        Self::with_max_buckets(MAX_BUCKETS)
    }
}

impl SeriesHistory {
    /// Creates an empty history of at most so many buckets, at least 2.
    pub fn with_max_buckets(max_buckets: usize) -> Self {
        Self { buckets: Vec::new(), values_per_bucket: 1, max_buckets, latest: None, pending_gap: false }
    }

    /// Adds `value` at `step`, if the steps ascend. A value that is not finite leaves a gap.
    pub fn push(&mut self, step: u64, value: f64) {
        let ascends = self.buckets.last().is_none_or(|last| step > last.last_step);
        if !ascends {
            return;
        }
        if !value.is_finite() {
            self.pending_gap = !self.buckets.is_empty();
            return;
        }
        self.latest = Some(value);
        let gap_before = std::mem::take(&mut self.pending_gap);
        let next = Bucket { gap_before, ..Bucket::new(step, value) };
        match self.buckets.last_mut() {
            Some(bucket) if bucket.count < self.values_per_bucket && !next.gap_before => {
                *bucket = bucket.merged_with(next)
            }
            _ => self.push_bucket(next),
        }
    }

    fn push_bucket(&mut self, bucket: Bucket) {
        if self.buckets.len() >= self.max_buckets {
            self.merge_pairs();
        }
        self.buckets.push(bucket);
    }

    /// Merges adjacent pairs of buckets. From then on a bucket takes twice as many values.
    fn merge_pairs(&mut self) {
        // Gaps start new buckets early. If most buckets are not full, they still have room.
        let full = self.buckets.iter().filter(|bucket| bucket.count >= self.values_per_bucket).count();
        let merged = |pair: &[Bucket]| pair.iter().skip(1).fold(pair[0], |a, b| a.merged_with(*b));
        self.buckets = self.buckets.chunks(2).map(merged).collect();
        if full * 2 >= self.max_buckets {
            self.values_per_bucket = self.values_per_bucket.saturating_mul(2);
        }
    }

    #[cfg(test)]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    pub fn buckets_in(&self, first: u64, last: u64) -> &[Bucket] {
        let start = self.buckets.partition_point(|bucket| bucket.last_step < first);
        let end = self.buckets.partition_point(|bucket| bucket.first_step <= last);
        &self.buckets[start..end.max(start)]
    }

    /// Iterates over the buckets with the moving average. `smoothing` is the weight of the past per step: so a series that is
    /// measured at few steps lags no farther behind than one that is measured at every step.
    pub fn smoothed(&self, smoothing: f64) -> impl Iterator<Item = (&Bucket, f64)> {
        let mut average = MovingAverage::default();
        let mut last_step = None;
        // Most buckets are as far apart, so the power is cached.
        let mut known = (1, smoothing);
        self.buckets.iter().map(move |bucket| {
            // A first value at step 0 counts as one step: without any it would have no weight.
            let steps = (bucket.last_step - last_step.unwrap_or(bucket.first_step.saturating_sub(1))).max(1);
            last_step = Some(bucket.last_step);
            if steps != known.0 {
                known = (steps, smoothing.powf(steps as f64));
            }
            // As if all its values were equal to their mean.
            (bucket, average.add(bucket.mean, known.1))
        })
    }

    /// Returns the moving average at the last bucket that starts at or before `step`.
    pub fn smoothed_at(&self, step: u64, smoothing: f64) -> Option<f64> {
        self.smoothed(smoothing).take_while(|(bucket, _)| bucket.first_step <= step).last().map(|(_, smooth)| smooth)
    }

    /// Returns the last bucket that starts at or before `step`.
    pub fn bucket_at(&self, step: u64) -> Option<&Bucket> {
        self.buckets[..self.buckets.partition_point(|bucket| bucket.first_step <= step)].last()
    }

    pub fn latest(&self) -> Option<f64> {
        self.latest
    }

    #[cfg(test)]
    pub fn last_step(&self) -> Option<u64> {
        self.buckets.last().map(|bucket| bucket.last_step)
    }

    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

/// An exponential moving average with bias correction, as in Adam: no pull towards 0 at the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct MovingAverage {
    sum: f64,
    weight: f64,
}

impl MovingAverage {
    /// Adds `value`, with `smoothing` as the weight of the past. Returns the average.
    pub fn add(&mut self, value: f64, smoothing: f64) -> f64 {
        self.sum = smoothing * self.sum + (1.0 - smoothing) * value;
        self.weight = smoothing * self.weight + (1.0 - smoothing);
        self.sum / self.weight
    }

    /// Returns the average, or none before the first value.
    pub fn get(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_million_steps_stay_bounded_and_keep_their_extremes() {
        let mut history = SeriesHistory::default();
        for step in 0..10_000_000_u64 {
            let value = match step {
                1_234_567 => 99.0,
                7_654_321 => -99.0,
                _ => (step % 7) as f64,
            };
            history.push(step, value);
        }
        let buckets = history.buckets();
        assert!(buckets.len() <= MAX_BUCKETS && buckets.len() > MAX_BUCKETS / 4);
        let max = buckets.iter().map(|b| b.max).fold(f64::MIN, f64::max);
        let min = buckets.iter().map(|b| b.min).fold(f64::MAX, f64::min);
        assert_eq!((min, max), (-99.0, 99.0));
        assert_eq!((buckets[0].first_step, buckets[buckets.len() - 1].last_step), (0, 9_999_999));
        assert!(buckets.windows(2).all(|pair| pair[0].last_step < pair[1].first_step));
        assert!((history.smoothed_at(9_999_999, 0.9).unwrap() - 3.0).abs() < 1.0);
    }

    #[test]
    fn values_that_are_not_finite_leave_a_gap_and_steps_that_do_not_ascend_are_ignored() {
        let mut history = SeriesHistory::default();
        for (step, value) in [(1, f64::NAN), (2, f64::INFINITY), (3, 5.0), (3, 6.0), (2, 7.0)] {
            history.push(step, value);
        }
        assert_eq!(history.buckets().len(), 1);
        assert!(!history.buckets()[0].gap_before, "there is no value before it");
        assert_eq!(history.latest(), Some(5.0));
        history.push(4, f64::NAN);
        history.push(5, 4.0);
        assert!(history.buckets()[1].gap_before);
    }

    #[test]
    fn gaps_do_not_exceed_the_bound() {
        let mut history = SeriesHistory::default();
        for step in 0..1_000_000 {
            history.push(step, if step % 2 == 0 { f64::NAN } else { 1.0 });
        }
        assert!(history.buckets().len() <= MAX_BUCKETS);
        // Values after the gaps are kept at full resolution.
        (1_000_000..1_010_000).for_each(|step| history.push(step, 1.0));
        assert!(history.buckets_in(1_000_000, u64::MAX).len() > 100, "{}", history.values_per_bucket);
    }

    #[test]
    fn the_average_of_a_constant_is_the_constant_from_the_first_value() {
        let mut average = MovingAverage::default();
        assert_eq!(average.get(), None);
        for _ in 0..5 {
            assert!((average.add(3.0, 0.99) - 3.0).abs() < 1e-12);
        }
    }

    #[test]
    fn smoothing_is_exact_while_buckets_hold_one_value() {
        let (mut history, mut average) = (SeriesHistory::default(), MovingAverage::default());
        for (step, value) in [(1, 4.0), (2, 2.0), (3, 9.0)] {
            history.push(step, value);
            average.add(value, 0.5);
        }
        assert_eq!(history.smoothed_at(3, 0.5), average.get());
        assert_eq!(history.smoothed_at(2, 0.0), Some(2.0));
        assert_eq!(history.smoothed_at(0, 0.5), None);
        assert_eq!(history.buckets_in(2, 9).len(), 2);
        assert_eq!(history.buckets_in(9, 4).len(), 0);
    }

    #[test]
    fn a_value_at_step_0_has_a_weight() {
        let mut history = SeriesHistory::default();
        history.push(0, 9.0);
        for smoothing in [0.0, 0.9] {
            assert!((history.smoothed_at(0, smoothing).unwrap() - 9.0).abs() < 1e-9, "{smoothing}");
        }
    }

    #[test]
    fn a_short_history_is_bounded_and_ends_at_the_newest_step() {
        let mut history = SeriesHistory::with_max_buckets(64);
        (0..10_000).for_each(|step| history.push(step, step as f64));
        assert!((32..=64).contains(&history.buckets().len()), "{}", history.buckets().len());
        assert_eq!((history.last_step(), history.latest()), (Some(9_999), Some(9_999.0)));
    }

    #[test]
    fn merging_keeps_the_mean() {
        let mut history = SeriesHistory::default();
        (0..4 * MAX_BUCKETS as u64).for_each(|step| history.push(step, step as f64));
        let mean: f64 =
            history.buckets().iter().map(|b| b.mean * b.count as f64).sum::<f64>() / (4.0 * MAX_BUCKETS as f64);
        assert!((mean - (4.0 * MAX_BUCKETS as f64 - 1.0) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_sparse_series_lags_no_farther_behind_than_a_dense_one() {
        let (mut dense, mut sparse) = (SeriesHistory::default(), SeriesHistory::default());
        for step in 1..=2000_u64 {
            let value = if step <= 1000 { 5.0 } else { 1.0 };
            dense.push(step, value);
            if step % 100 == 0 {
                sparse.push(step, value);
            }
        }
        for step in [1000, 1100, 1500] {
            let [dense, sparse] = [&dense, &sparse].map(|history| history.smoothed_at(step, 0.9).unwrap());
            assert!((dense - sparse).abs() < 1e-3, "{step}: {dense} and {sparse}");
        }
        assert_eq!(sparse.smoothed_at(100, 0.9), Some(5.0));
    }
}
