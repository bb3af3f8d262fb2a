//! Owns: how long a step usually takes, and from when on a run has stalled.
//! Must not know: clocks, threads, who is told.
//! Invariant: memory is bounded; a verdict depends on the durations given alone.

use std::collections::VecDeque;
use std::time::Duration;

/// Number of last steps that count.
const KEPT_STEPS: usize = 65;
/// Steps that must have been seen before a run can stall: the first ones compile kernels.
const MIN_STEPS: usize = 3;
/// A step is late after so many times the median step,
const LATE_FACTOR: u32 = 10;
/// and not before this time.
const MIN_LATE: Duration = Duration::from_secs(60);

/// The durations of the last steps.
#[derive(Clone, Debug, Default)]
pub struct StepDurations {
    last: VecDeque<Duration>,
}

impl StepDurations {
    /// Adds the time between two steps.
    pub fn push(&mut self, duration: Duration) {
        self.last.push_back(duration);
        if self.last.len() > KEPT_STEPS {
            self.last.pop_front();
        }
    }

    /// Returns the median of the last steps; `None` before there are enough.
    pub fn median(&self) -> Option<Duration> {
        if self.last.len() < MIN_STEPS {
            return None;
        }
        let mut sorted: Vec<Duration> = self.last.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// Returns the time after which a step counts as stalled: ten median steps, and at least a minute.
    pub fn stall_limit(&self) -> Option<Duration> {
        Some(self.median()?.saturating_mul(LATE_FACTOR).max(MIN_LATE))
    }

    /// Describes a step that has taken `elapsed` so far; `None` if that is not unusual.
    pub fn stall_text(&self, elapsed: Duration, step: u64) -> Option<String> {
        let median = self.median().filter(|_| self.stall_limit().is_some_and(|limit| elapsed > limit))?;
        Some(format!(
            "stalled: no step for {:.0} s (a step usually takes {:.2} s); step {step} does not end: look at the machine, \
             its disk and its GPU",
            elapsed.as_secs_f64(),
            median.as_secs_f64()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_stalls_after_ten_median_steps_and_a_minute() {
        let seconds = Duration::from_secs;
        let mut steps = StepDurations::default();
        assert_eq!(steps.stall_text(seconds(1000), 1), None, "too few steps to know");
        (0..5).for_each(|_| steps.push(Duration::from_millis(100)));
        // One long step, such as one with a validation, is no new usual.
        steps.push(seconds(50));
        assert_eq!((steps.median(), steps.stall_limit()), (Some(Duration::from_millis(100)), Some(seconds(60))));
        assert_eq!(steps.stall_text(seconds(60), 7), None);
        assert!(steps.stall_text(seconds(61), 7).unwrap().contains("no step for 61 s (a step usually takes 0.10 s)"));
        (0..1000).for_each(|_| steps.push(seconds(30)));
        assert_eq!(steps.stall_limit(), Some(seconds(300)));
        assert_eq!(steps.last.len(), KEPT_STEPS);
    }
}
