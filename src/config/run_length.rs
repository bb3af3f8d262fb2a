//! Owns: the length of a run: a number of updates, of input tokens or of floating-point operations, whichever ends first.
//! Must not know: what a step does, what it costs.
//! Invariant: a run ends with the first step at which a limit is reached.

use super::{Config, Run};

/// The work that a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkDone {
    /// Number of updates.
    pub step: u64,
    /// Input tokens of the plain passes.
    pub tokens: u64,
    /// Floating-point operations of all updates; none if they are not known.
    pub flop: Option<f64>,
}

impl Run {
    /// Returns whether the run has reached one of its limits.
    pub fn is_complete(&self, done: &WorkDone) -> bool {
        done.step >= self.steps || self.budget_fraction(done).is_some_and(|fraction| fraction >= 1.0)
    }

    /// Returns the number of updates that the whole run is expected to have: `run.steps`, or fewer if a budget of tokens or
    /// operations ends the run before. That is concluded from the mean cost of the updates done; before the first one,
    /// it is `run.steps`.
    pub fn expected_steps(&self, done: &WorkDone) -> u64 {
        match self.budget_fraction(done) {
            Some(fraction) if fraction > 0.0 => {
                // Rounding must not add a step.
                let steps = (done.step as f64 / fraction * (1.0 - 1e-9)).ceil().max(done.step as f64);
                (steps as u64).min(self.steps)
            }
            _ => self.steps,
        }
    }

    /// Whether a number of tokens or operations may end the run before `run.steps`.
    pub fn has_budget(&self) -> bool {
        self.max_tokens > 0 || self.max_flop > 0.0
    }

    /// Returns the used fraction of the budget of which most is used; none without a budget.
    fn budget_fraction(&self, done: &WorkDone) -> Option<f64> {
        let tokens = (self.max_tokens > 0).then(|| done.tokens as f64 / self.max_tokens as f64);
        let flop = done.flop.filter(|_| self.max_flop > 0.0).map(|flop| flop / self.max_flop);
        tokens.into_iter().chain(flop).reduce(f64::max)
    }
}

impl Config {
    /// Returns the learning rate of update `step` (the first is 1), after the work `done`. Its decay ends with the run: with a
    /// budget of tokens or operations, the expected number of updates takes the place of `run.steps`.
    pub fn lr_after(&self, done: &WorkDone, step: u64) -> f64 {
        self.optim.lr_at(step, self.run.expected_steps(done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(step: u64, flop: f64) -> WorkDone {
        WorkDone { step, tokens: step * 10, flop: Some(flop) }
    }

    #[test]
    fn the_first_limit_that_is_reached_ends_the_run() {
        let by_steps = Run { steps: 50, ..Run::default() };
        assert!(by_steps.is_complete(&done(50, 1.0)) && !by_steps.is_complete(&done(49, 1e30)));
        let by_tokens = Run { max_tokens: 95, ..by_steps.clone() };
        assert_eq!([9, 10].map(|step| by_tokens.is_complete(&done(step, 0.0))), [false, true]);
        let by_flop = Run { max_flop: 1e3, ..by_tokens };
        assert_eq!([999.0, 1000.0].map(|flop| by_flop.is_complete(&done(3, flop))), [false, true]);
        assert!(!by_flop.is_complete(&WorkDone { flop: None, ..done(3, 0.0) }));
    }

    #[test]
    fn the_length_follows_from_the_mean_cost_so_far() {
        let run = Run { steps: 1000, max_flop: 300.0, ..Run::default() };
        assert_eq!(run.expected_steps(&WorkDone::default()), 1000);
        for step in 1..=100 {
            assert_eq!(run.expected_steps(&done(step, step as f64 * 3.0)), 100, "{step}");
        }
        // Dearer steps shorten the run; what is done is never less than the whole.
        assert_eq!(run.expected_steps(&done(50, 200.0)), 75);
        assert_eq!(run.expected_steps(&done(76, 301.0)), 76);
        assert_eq!(Run { steps: 20, ..run }.expected_steps(&done(2, 6.0)), 20);
    }

    #[test]
    fn the_rate_has_decayed_when_the_budget_is_used() {
        let run = Run { steps: 1 << 40, max_flop: 100.0, ..Run::default() };
        let mut config = Config { run, ..Config::default() };
        config.optim.warmup = 2;
        let last = config.lr_after(&done(99, 99.0), 100);
        assert!((last - config.optim.min_lr).abs() < 1e-12, "{last}");
        let half = config.lr_after(&done(50, 50.0), 51);
        assert!((half - 0.5 * (config.optim.lr + config.optim.min_lr)).abs() < 1e-9, "{half}");
    }
}
