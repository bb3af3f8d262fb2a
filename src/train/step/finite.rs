//! Owns: noticing values that are not finite in the rows of a run.
//! Must not know: the loop, who is told.
//! Invariant: a verdict depends on the rows so far alone; a metric is told once until it is finite again.

use crate::schema::metrics::{Metric, StepRow};

/// Watches the metrics of a run.
#[derive(Clone, Debug, Default)]
pub(in crate::train) struct FiniteWatch {
    /// The metric that was not finite, and has not been measured as finite since.
    bad: Option<Metric>,
}

/// A change of the verdict.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::train) enum FiniteChange {
    /// A metric is not finite, in words.
    NotFinite(String),
    Recovered,
}

impl FiniteWatch {
    /// Takes the row of a step into account. Returns the new verdict if it changes.
    pub fn observe(&mut self, row: &StepRow) -> Option<FiniteChange> {
        let value = |metric: Metric| row.get(metric).map(|value| (metric, value));
        let found = Metric::ALL.iter().filter_map(|metric| value(*metric)).find(|(_, value)| !value.is_finite());
        match (self.bad, found) {
            (None, Some((metric, value))) => {
                self.bad = Some(metric);
                let name = metric.spec().name;
                Some(FiniteChange::NotFinite(format!("{name} was {value} at step {}", row.step())))
            }
            (Some(bad), None) if row.get(bad).is_some() => {
                self.bad = None;
                Some(FiniteChange::Recovered)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_finite_is_told_at_its_step_and_once() {
        let row = |step, metric, value| {
            let mut row = StepRow::new(step);
            row.set(Metric::LossPlain, 2.0);
            row.set(metric, value);
            row
        };
        let mut watch = FiniteWatch::default();
        assert_eq!(watch.observe(&row(1, Metric::ValidPlain, 2.0)), None);
        let Some(FiniteChange::NotFinite(text)) = watch.observe(&row(2, Metric::ValidPlain, f64::NAN)) else {
            panic!()
        };
        assert_eq!(text, format!("{} was NaN at step 2", Metric::ValidPlain.spec().name));
        assert_eq!(watch.observe(&row(3, Metric::GradNorm, f64::INFINITY)), None, "told already");
        assert_eq!(watch.observe(&row(4, Metric::GradNorm, 1.0)), None, "not measured again");
        assert_eq!(watch.observe(&row(5, Metric::ValidPlain, 2.0)), Some(FiniteChange::Recovered));
    }
}
