//! Owns: `History`, one series of values over steps, bounded however long the run is; smoothing it.
//! Must not know: which series it is, how it is drawn.
//! Invariant: at most `CAPACITY` buckets, ascending in step; the smallest and the largest value ever pushed are
//! still there; nothing in it is NaN or infinite; where such a value was left out there is a gap.

/// Most buckets a history keeps: some times more than a wide terminal has dots.
pub const CAPACITY: usize = 2048;

/// Neighbouring values, merged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Step of its first value.
    pub first: u64,
    /// Step of its last value.
    pub last: u64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
    /// Mean of its values.
    pub mean: f64,
    /// How many values.
    pub count: u64,
    /// Whether a value that is not finite was left out before it.
    pub gap: bool,
}

impl Bucket {
    fn of(step: u64, value: f64, gap: bool) -> Self {
        Self { first: step, last: step, min: value, max: value, mean: value, count: 1, gap }
    }

    /// This one and the one after it.
    fn with(self, next: Bucket) -> Self {
        let count = self.count + next.count;
        Self {
            first: self.first,
            last: next.last,
            min: self.min.min(next.min),
            max: self.max.max(next.max),
            mean: self.mean + (next.mean - self.mean) * (next.count as f64 / count as f64),
            count,
            gap: self.gap || next.gap,
        }
    }
}

/// A series of (step, value).
#[derive(Clone, Debug)]
pub struct History {
    buckets: Vec<Bucket>,
    per_bucket: u64,
    latest: Option<f64>,
    gap: bool,
}

impl Default for History {
    fn default() -> Self {
        Self { buckets: Vec::new(), per_bucket: 1, latest: None, gap: false }
    }
}

impl History {
    /// Adds `value` at `step`. A value that is not finite leaves a gap; steps that do not ascend are left out.
    pub fn push(&mut self, step: u64, value: f64) {
        let ascends = self.buckets.last().is_none_or(|last| step > last.last);
        if !ascends {
            return;
        }
        if !value.is_finite() {
            self.gap = !self.buckets.is_empty();
            return;
        }
        self.latest = Some(value);
        let next = Bucket::of(step, value, std::mem::take(&mut self.gap));
        match self.buckets.last_mut() {
            Some(bucket) if bucket.count < self.per_bucket && !next.gap => *bucket = bucket.with(next),
            _ => self.open(next),
        }
    }

    fn open(&mut self, bucket: Bucket) {
        if self.buckets.len() == CAPACITY {
            self.halve();
        }
        self.buckets.push(bucket);
    }

    /// Merges neighbours two by two; from now on a bucket takes twice as many values.
    fn halve(&mut self) {
        // Gaps open buckets that are not full; where most are not, there is room in them yet.
        let full = self.buckets.iter().filter(|bucket| bucket.count >= self.per_bucket).count();
        let merged = |pair: &[Bucket]| pair.iter().skip(1).fold(pair[0], |a, b| a.with(*b));
        self.buckets = self.buckets.chunks(2).map(merged).collect();
        if full * 2 >= CAPACITY {
            self.per_bucket = self.per_bucket.saturating_mul(2);
        }
    }

    /// The buckets, ascending.
    #[cfg(test)]
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The buckets that lie in `first..=last`, wholly or in part.
    pub fn within(&self, first: u64, last: u64) -> &[Bucket] {
        let start = self.buckets.partition_point(|bucket| bucket.last < first);
        let end = self.buckets.partition_point(|bucket| bucket.first <= last);
        &self.buckets[start..end.max(start)]
    }

    /// Each bucket with the moving average after it; `smoothing` is the weight of the past, step by step.
    pub fn smoothed(&self, smoothing: f64) -> impl Iterator<Item = (&Bucket, f64)> {
        let mut average = Average::default();
        // Nearly all buckets hold as many values.
        let mut known = (1, smoothing);
        self.buckets.iter().map(move |bucket| {
            if bucket.count != known.0 {
                known = (bucket.count, smoothing.powf(bucket.count as f64));
            }
            // As if its values had all been their mean.
            (bucket, average.add(bucket.mean, known.1))
        })
    }

    /// The moving average at the last bucket that begins at or before `step`.
    pub fn smoothed_at(&self, step: u64, smoothing: f64) -> Option<f64> {
        self.smoothed(smoothing)
            .take_while(|(bucket, _)| bucket.first <= step)
            .last()
            .map(|(_, smooth)| smooth)
    }

    /// The last bucket that begins at or before `step`.
    pub fn at(&self, step: u64) -> Option<&Bucket> {
        self.buckets[..self.buckets.partition_point(|bucket| bucket.first <= step)].last()
    }

    /// The last value.
    pub fn latest(&self) -> Option<f64> {
        self.latest
    }

    /// The last step.
    #[cfg(test)]
    pub fn last_step(&self) -> Option<u64> {
        self.buckets.last().map(|bucket| bucket.last)
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }
}

/// An exponential moving average, debiased as Adam's moments are: no pull towards 0 at the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Average {
    sum: f64,
    weight: f64,
}

impl Average {
    /// Adds `value` with `smoothing` as the weight of the past; returns the average.
    pub fn add(&mut self, value: f64, smoothing: f64) -> f64 {
        self.sum = smoothing * self.sum + (1.0 - smoothing) * value;
        self.weight = smoothing * self.weight + (1.0 - smoothing);
        self.sum / self.weight
    }

    /// The average, once there is a value.
    pub fn get(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_million_steps_stay_bounded_and_keep_their_extremes() {
        let mut history = History::default();
        for step in 0..10_000_000_u64 {
            let value = match step {
                1_234_567 => 99.0,
                7_654_321 => -99.0,
                _ => (step % 7) as f64,
            };
            history.push(step, value);
        }
        let buckets = history.buckets();
        assert!(buckets.len() <= CAPACITY && buckets.len() > CAPACITY / 4);
        let max = buckets.iter().map(|b| b.max).fold(f64::MIN, f64::max);
        let min = buckets.iter().map(|b| b.min).fold(f64::MAX, f64::min);
        assert_eq!((min, max), (-99.0, 99.0));
        assert_eq!((buckets[0].first, buckets[buckets.len() - 1].last), (0, 9_999_999));
        assert!(buckets.windows(2).all(|pair| pair[0].last < pair[1].first));
        assert!((history.smoothed_at(9_999_999, 0.9).unwrap() - 3.0).abs() < 1.0);
    }

    #[test]
    fn what_is_not_finite_leaves_a_gap_and_what_does_not_ascend_nothing() {
        let mut history = History::default();
        for (step, value) in [(1, f64::NAN), (2, f64::INFINITY), (3, 5.0), (3, 6.0), (2, 7.0)] {
            history.push(step, value);
        }
        assert_eq!(history.buckets().len(), 1);
        assert!(!history.buckets()[0].gap, "nothing is before it");
        assert_eq!(history.latest(), Some(5.0));
        history.push(4, f64::NAN);
        history.push(5, 4.0);
        assert!(history.buckets()[1].gap);
    }

    #[test]
    fn gaps_alone_do_not_make_it_grow() {
        let mut history = History::default();
        for step in 0..1_000_000 {
            history.push(step, if step % 2 == 0 { f64::NAN } else { 1.0 });
        }
        assert!(history.buckets().len() <= CAPACITY);
        // Afterwards as much is seen as before.
        (1_000_000..1_010_000).for_each(|step| history.push(step, 1.0));
        assert!(history.within(1_000_000, u64::MAX).len() > 100, "{}", history.per_bucket);
    }

    #[test]
    fn the_average_of_a_constant_is_the_constant_from_the_first_value() {
        let mut average = Average::default();
        assert_eq!(average.get(), None);
        for _ in 0..5 {
            assert!((average.add(3.0, 0.99) - 3.0).abs() < 1e-12);
        }
    }

    #[test]
    fn smoothing_is_that_of_single_values_as_long_as_buckets_hold_one() {
        let (mut history, mut average) = (History::default(), Average::default());
        for (step, value) in [(1, 4.0), (2, 2.0), (3, 9.0)] {
            history.push(step, value);
            average.add(value, 0.5);
        }
        assert_eq!(history.smoothed_at(3, 0.5), average.get());
        assert_eq!(history.smoothed_at(2, 0.0), Some(2.0));
        assert_eq!(history.smoothed_at(0, 0.5), None);
        assert_eq!(history.within(2, 9).len(), 2);
        assert_eq!(history.within(9, 4).len(), 0);
    }

    #[test]
    fn what_is_merged_keeps_its_mean() {
        let mut history = History::default();
        (0..4 * CAPACITY as u64).for_each(|step| history.push(step, step as f64));
        let mean: f64 =
            history.buckets().iter().map(|b| b.mean * b.count as f64).sum::<f64>() / (4.0 * CAPACITY as f64);
        assert!((mean - (4.0 * CAPACITY as f64 - 1.0) / 2.0).abs() < 1e-6);
    }
}
