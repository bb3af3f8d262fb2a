//! Owns: `History`, one metric's values over steps, bounded however long the run is.
//! Must not know: which metric it holds, how it is drawn.
//! Invariant: at most `CAPACITY` buckets, ascending in step; the smallest and the largest value ever pushed are
//! still there; nothing in it is NaN or infinite.

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
    /// Moving average after its last value.
    pub smooth: f64,
}

/// A series of (step, value) with its moving average.
#[derive(Clone, Debug)]
pub struct History {
    buckets: Vec<Bucket>,
    per_bucket: u64,
    filled: u64,
    average: Average,
    latest: Option<f64>,
}

impl Default for History {
    fn default() -> Self {
        Self { buckets: Vec::new(), per_bucket: 1, filled: 0, average: Average::default(), latest: None }
    }
}

impl History {
    /// Adds `value` at `step`; `smoothing` is the weight of the past in the moving average. Values that are not
    /// finite, and steps that do not ascend, are left out.
    pub fn push(&mut self, step: u64, value: f64, smoothing: f64) {
        let ascends = self.buckets.last().is_none_or(|last| step > last.last);
        if !value.is_finite() || !ascends {
            return;
        }
        let smooth = self.average.add(value, smoothing);
        self.latest = Some(value);
        let room = self.filled < self.per_bucket;
        match self.buckets.last_mut() {
            Some(bucket) if room => {
                *bucket = Bucket {
                    first: bucket.first,
                    last: step,
                    min: bucket.min.min(value),
                    max: bucket.max.max(value),
                    smooth,
                };
                self.filled += 1;
            }
            _ => self.open(Bucket { first: step, last: step, min: value, max: value, smooth }),
        }
    }

    fn open(&mut self, bucket: Bucket) {
        if self.buckets.len() == CAPACITY {
            self.halve();
        }
        self.buckets.push(bucket);
        self.filled = 1;
    }

    /// Merges neighbours two by two; from now on a bucket takes twice as many values.
    fn halve(&mut self) {
        self.buckets = self
            .buckets
            .chunks(2)
            .map(|pair| {
                pair.iter().skip(1).fold(pair[0], |a, b| Bucket {
                    first: a.first,
                    last: b.last,
                    min: a.min.min(b.min),
                    max: a.max.max(b.max),
                    smooth: b.smooth,
                })
            })
            .collect();
        self.per_bucket *= 2;
    }

    /// The buckets, ascending.
    pub fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    /// The buckets that end at or after `step`.
    pub fn since(&self, step: u64) -> &[Bucket] {
        let start = self.buckets.partition_point(|bucket| bucket.last < step);
        &self.buckets[start..]
    }

    /// The last value.
    pub fn latest(&self) -> Option<f64> {
        self.latest
    }

    /// The moving average now.
    pub fn smoothed(&self) -> Option<f64> {
        self.buckets.last().map(|bucket| bucket.smooth)
    }

    /// Whether nothing has been pushed.
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
            history.push(step, value, 0.9);
        }
        let buckets = history.buckets();
        assert!(buckets.len() <= CAPACITY && buckets.len() > CAPACITY / 4);
        let max = buckets.iter().map(|b| b.max).fold(f64::MIN, f64::max);
        let min = buckets.iter().map(|b| b.min).fold(f64::MAX, f64::min);
        assert_eq!((min, max), (-99.0, 99.0));
        assert_eq!((buckets[0].first, buckets[buckets.len() - 1].last), (0, 9_999_999));
        assert!(buckets.windows(2).all(|pair| pair[0].last < pair[1].first));
    }

    #[test]
    fn what_is_not_finite_or_does_not_ascend_is_left_out() {
        let mut history = History::default();
        for (step, value) in [(1, f64::NAN), (2, f64::INFINITY), (3, 5.0), (3, 6.0), (2, 7.0)] {
            history.push(step, value, 0.5);
        }
        assert_eq!(history.buckets().len(), 1);
        assert_eq!(history.latest(), Some(5.0));
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
    fn without_smoothing_the_average_is_the_value() {
        let mut history = History::default();
        history.push(1, 4.0, 0.0);
        history.push(2, 2.0, 0.0);
        assert_eq!(history.smoothed(), Some(2.0));
        assert_eq!(history.since(2).len(), 1);
    }
}
