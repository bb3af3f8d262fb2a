//! Owns: noticing that training diverges while all its numbers are still finite.
//! Must not know: the loop, who is told.
//! Invariant: a verdict depends on the rows so far alone. A fresh model, whose loss is near ln V, is healthy.

use crate::schema::metrics::{Metric, StepRow};

/// Steps in a row that must look alike before the verdict changes.
const STEPS_IN_A_ROW: u32 = 3;
/// Largest loss of a healthy model, as a multiple of the loss ln V of one that knows nothing, plus [`EXTRA_NATS`].
const UNIFORM_FACTOR: f64 = 1.5;
const EXTRA_NATS: f64 = 2.0;
/// Gradient norms above this are no longer those of training, whatever the model.
const MAX_GRAD_NORM: f64 = 1e6;

/// Watches the losses and gradient norms of a run.
#[derive(Clone, Debug)]
pub(in crate::train) struct DivergenceWatch {
    max_loss: f64,
    diverged: bool,
    /// Number of last rows that contradict `diverged`.
    contradictions: u32,
}

/// A change of the verdict.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::train) enum DivergenceChange {
    /// Training has begun to diverge, for this reason.
    Diverged(String),
    Recovered,
}

impl DivergenceWatch {
    pub fn new(vocab_size: usize) -> Self {
        let max_loss = UNIFORM_FACTOR * (vocab_size as f64).ln() + EXTRA_NATS;
        Self { max_loss, diverged: false, contradictions: 0 }
    }

    /// Takes the row of a step into account. Returns the new verdict if it changes.
    pub fn observe(&mut self, row: &StepRow, lr: f64) -> Option<DivergenceChange> {
        let too_large = self.too_large(row);
        self.contradictions = if too_large.is_some() == self.diverged { 0 } else { self.contradictions + 1 };
        if self.contradictions < STEPS_IN_A_ROW {
            return None;
        }
        self.contradictions = 0;
        self.diverged = !self.diverged;
        Some(match too_large {
            Some((what, value, limit)) => DivergenceChange::Diverged(format!(
                "training diverges: step {}: {what} is {value:.3e} (healthy: at most {limit:.3e}); lower `optim.lr` (now \
                 {lr:.1e}) or clip gradients (`optim.clip`)",
                row.step()
            )),
            None => DivergenceChange::Recovered,
        })
    }

    /// Returns the first value of the row that is too large, with its name and limit.
    fn too_large(&self, row: &StepRow) -> Option<(&'static str, f64, f64)> {
        let limits = [
            (Metric::LossPlain, "the plain loss", self.max_loss),
            (Metric::LossRecycled, "the recycled loss", self.max_loss),
            (Metric::GradNorm, "the gradient norm", MAX_GRAD_NORM),
        ];
        limits.into_iter().find_map(|(metric, what, limit)| {
            row.get(metric).filter(|value| *value > limit).map(|value| (what, value, limit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(loss: f64, grad_norm: f64) -> StepRow {
        let mut row = StepRow::new(7);
        row.set(Metric::LossPlain, loss);
        row.set(Metric::GradNorm, grad_norm);
        row
    }

    #[test]
    fn large_finite_numbers_are_divergence_and_a_fresh_model_is_not() {
        let mut watch = DivergenceWatch::new(50_257);
        // ln 50257 is 10.8.
        for _ in 0..10 {
            assert_eq!(watch.observe(&row(11.2, 30.0), 1.0), None);
        }
        // A single spike is not enough.
        assert_eq!(watch.observe(&row(5000.0, 30.0), 1.0), None);
        assert_eq!(watch.observe(&row(9.0, 30.0), 1.0), None);
        assert_eq!(watch.observe(&row(5000.0, 30.0), 1.0), None);
        assert_eq!(watch.observe(&row(9.0, 1.7e13), 1.0), None);
        let Some(DivergenceChange::Diverged(text)) = watch.observe(&row(9.0, 1.7e13), 1.0) else { panic!() };
        assert!(text.contains("step 7: the gradient norm is 1.700e13"), "{text}");
        assert_eq!(watch.observe(&row(5000.0, 1.0), 1.0), None, "said once");
        assert_eq!((watch.observe(&row(9.0, 1.0), 1.0), watch.observe(&row(9.0, 1.0), 1.0)), (None, None));
        assert_eq!(watch.observe(&row(9.0, 1.0), 1.0), Some(DivergenceChange::Recovered));
    }
}
