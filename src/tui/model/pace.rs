//! Owns: the speed of the run in steps, and the estimated time left.
//! Must not know: metrics, the screen, the wall clock (the caller passes the time).
//! Invariant: neither the first steps (which compile kernels) nor pauses count.

use std::collections::VecDeque;
use std::time::Duration;

/// Number of first steps that are ignored.
const WARM_UP_STEPS: u32 = 5;
/// Maximum number of samples, at least `MIN_SPACING` apart: the estimate covers the last minutes.
const MAX_SAMPLES: usize = 128;
const MIN_SPACING: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Default)]
pub struct PaceEstimator {
    samples: VecDeque<(u64, Duration)>,
    latest: Option<(u64, Duration)>,
    steps_seen: u32,
    paused_since: Option<Duration>,
    paused_total: Duration,
}

impl PaceEstimator {
    /// Records that the run is paused from `now` on.
    pub fn start_pause(&mut self, now: Duration) {
        self.paused_since.get_or_insert(now);
    }

    /// Records that the run continues from `now` on, if it was paused.
    pub fn end_pause(&mut self, now: Duration) {
        if let Some(since) = self.paused_since.take() {
            self.paused_total += now.saturating_sub(since);
        }
    }

    /// Records that `step` optimizer steps were done at `now`.
    pub fn record_step(&mut self, step: u64, now: Duration) {
        self.steps_seen = self.steps_seen.saturating_add(1);
        if self.steps_seen <= WARM_UP_STEPS {
            return;
        }
        let sample = (step, self.active_time(now));
        self.latest = Some(sample);
        let due = self.samples.back().is_none_or(|last| sample.1.saturating_sub(last.1) >= MIN_SPACING);
        if due {
            self.samples.push_back(sample);
        }
        if self.samples.len() > MAX_SAMPLES {
            self.samples.pop_front();
        }
    }

    fn active_time(&self, now: Duration) -> Duration {
        let current_pause = self.paused_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        now.saturating_sub(self.paused_total + current_pause)
    }

    /// Returns the seconds per step, with validation and checkpoints included.
    pub fn seconds_per_step(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.latest?);
        let steps = last.0.checked_sub(first.0).filter(|steps| *steps > 0)?;
        Some(last.1.saturating_sub(first.1).as_secs_f64() / steps as f64)
    }

    pub fn eta(&self, total: u64, now: Duration) -> Option<Duration> {
        let (step, at) = self.latest?;
        let pace = self.seconds_per_step()?;
        let left = total.saturating_sub(step) as f64 * pace;
        let since = self.active_time(now).saturating_sub(at).as_secs_f64();
        Duration::try_from_secs_f64((left - since).max(0.0)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn the_first_steps_do_not_count() {
        let mut pace = PaceEstimator::default();
        for step in 1..=u64::from(WARM_UP_STEPS) {
            pace.record_step(step, seconds(step * 100));
        }
        assert_eq!(pace.eta(100, seconds(500)), None);
        for step in 6..=16 {
            pace.record_step(step, seconds(500 + step));
        }
        assert_eq!(pace.seconds_per_step(), Some(1.0));
        assert_eq!(pace.eta(100, seconds(516)), Some(seconds(84)));
        assert_eq!(pace.eta(100, seconds(520)), Some(seconds(80)), "it counts down between steps");
    }

    #[test]
    fn pauses_do_not_count() {
        let mut pace = PaceEstimator::default();
        for step in 1..=10 {
            pace.record_step(step, seconds(step));
        }
        pace.start_pause(seconds(10));
        pace.start_pause(seconds(500));
        assert_eq!(pace.eta(20, seconds(900)), Some(seconds(10)));
        pace.end_pause(seconds(1010));
        pace.record_step(11, seconds(1011));
        assert_eq!(pace.seconds_per_step(), Some(1.0));
    }

    #[test]
    fn samples_are_bounded_and_follow_the_current_pace() {
        let mut pace = PaceEstimator::default();
        for step in 1..=1000 {
            pace.record_step(step, seconds(step * 10));
        }
        for step in 1001..=2000 {
            pace.record_step(step, seconds(10_000 + (step - 1000) * 2));
        }
        assert!(pace.samples.len() <= MAX_SAMPLES);
        assert_eq!(pace.seconds_per_step(), Some(2.0));
    }
}
