//! Owns: how fast the run goes and when it will be over.
//! Must not know: metrics, the screen, the wall clock (the caller says what time it is).
//! Invariant: neither the first steps (they compile kernels) nor pauses count.

use std::collections::VecDeque;
use std::time::Duration;

/// Steps that say nothing about the pace.
const WARM_UP: u32 = 5;
/// Samples kept, at least `SPACING` apart: the pace is that of the last minutes.
const SAMPLES: usize = 128;
const SPACING: Duration = Duration::from_secs(1);

/// The pace of a run.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    samples: VecDeque<(u64, Duration)>,
    latest: Option<(u64, Duration)>,
    seen: u32,
    paused_since: Option<Duration>,
    paused: Duration,
}

impl Clock {
    /// The run holds (`true`) or goes on, since `now`.
    pub fn hold(&mut self, holds: bool, now: Duration) {
        match (holds, self.paused_since) {
            (true, None) => self.paused_since = Some(now),
            (false, Some(since)) => {
                self.paused += now.saturating_sub(since);
                self.paused_since = None;
            }
            _ => {}
        }
    }

    /// `step` updates were done at `now`.
    pub fn step(&mut self, step: u64, now: Duration) {
        self.seen = self.seen.saturating_add(1);
        if self.seen <= WARM_UP {
            return;
        }
        let sample = (step, self.active(now));
        self.latest = Some(sample);
        let due = self.samples.back().is_none_or(|last| sample.1.saturating_sub(last.1) >= SPACING);
        if due {
            self.samples.push_back(sample);
        }
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// Time that was not spent holding.
    fn active(&self, now: Duration) -> Duration {
        let holding = self.paused_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        now.saturating_sub(self.paused + holding)
    }

    /// Seconds a step, validation and checkpoints included.
    pub fn seconds_per_step(&self) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.latest?);
        let steps = last.0.checked_sub(first.0).filter(|steps| *steps > 0)?;
        Some(last.1.saturating_sub(first.1).as_secs_f64() / steps as f64)
    }

    /// What is left until `total` steps are done.
    pub fn eta(&self, total: u64, now: Duration) -> Option<Duration> {
        let (step, at) = self.latest?;
        let pace = self.seconds_per_step()?;
        let left = total.saturating_sub(step) as f64 * pace;
        let since = self.active(now).saturating_sub(at).as_secs_f64();
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
        let mut clock = Clock::default();
        for step in 1..=u64::from(WARM_UP) {
            clock.step(step, seconds(step * 100));
        }
        assert_eq!(clock.eta(100, seconds(500)), None);
        for step in 6..=16 {
            clock.step(step, seconds(500 + step));
        }
        assert_eq!(clock.seconds_per_step(), Some(1.0));
        assert_eq!(clock.eta(100, seconds(516)), Some(seconds(84)));
        assert_eq!(clock.eta(100, seconds(520)), Some(seconds(80)), "it counts down between steps");
    }

    #[test]
    fn pauses_do_not_count() {
        let mut clock = Clock::default();
        for step in 1..=10 {
            clock.step(step, seconds(step));
        }
        clock.hold(true, seconds(10));
        clock.hold(true, seconds(500));
        assert_eq!(clock.eta(20, seconds(900)), Some(seconds(10)));
        clock.hold(false, seconds(1010));
        clock.step(11, seconds(1011));
        assert_eq!(clock.seconds_per_step(), Some(1.0));
    }

    #[test]
    fn samples_stay_bounded_and_follow_the_present_pace() {
        let mut clock = Clock::default();
        for step in 1..=1000 {
            clock.step(step, seconds(step * 10));
        }
        for step in 1001..=2000 {
            clock.step(step, seconds(10_000 + (step - 1000) * 2));
        }
        assert!(clock.samples.len() <= SAMPLES);
        assert_eq!(clock.seconds_per_step(), Some(2.0));
    }
}
