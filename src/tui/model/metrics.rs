//! Owns: `RunMetrics`, the metrics of a run: last values, histories, and what was not finite.
//! Must not know: what a metric means, how it is drawn.
//! Invariant: bounded for a run of any length; every value in it is finite.

use super::history::SeriesHistory;
use crate::config::WorkDone;
use crate::schema::metrics::{Metric, StepRow};
use crate::tui::text;
use std::sync::OnceLock;

/// Selects a series of values over steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Series {
    Metric(Metric),
    /// The first metric minus the second, at the same step.
    Difference(Metric, Metric),
}

/// The differences whose history is kept: recycling minus each of its controls.
pub const TRACKED_DIFFERENCES: [(Metric, Metric); 5] = [
    (Metric::LossRecycledAtRecycled, Metric::LossPlainAtRecycled),
    (Metric::ValidRecycled, Metric::ValidPlainAtRecycled),
    (Metric::ValidRecycled, Metric::ValidPause),
    (Metric::ValidRecycled, Metric::ValidMasked),
    (Metric::ValidRecycled, Metric::ValidShuffled),
];

#[derive(Clone, Debug, Default)]
pub struct RunMetrics {
    /// The last finite value of every metric, after the first step.
    latest: Option<StepRow>,
    first_step: Option<u64>,
    /// The last value that was not finite, as text, and how many there were.
    pub not_finite: Option<(String, u64)>,
    /// The histories of all metrics, after the first step.
    histories: Vec<SeriesHistory>,
    differences: [SeriesHistory; TRACKED_DIFFERENCES.len()],
}

impl RunMetrics {
    pub fn add(&mut self, row: &StepRow) {
        let step = row.step();
        let latest = self.latest.get_or_insert_with(|| StepRow::new(0));
        self.histories.resize_with(Metric::ALL.len(), SeriesHistory::default);
        for (metric, history) in Metric::ALL.iter().zip(&mut self.histories) {
            let Some(value) = row.get(*metric) else { continue };
            history.push(step, value);
            if value.is_finite() {
                latest.set(*metric, value);
                continue;
            }
            let times = self.not_finite.as_ref().map_or(0, |(_, times)| *times) + 1;
            let text = format!("{} was {value} at step {}", metric.spec().name, text::with_separators(step));
            self.not_finite = Some((text, times));
        }
        self.first_step.get_or_insert(step);
        for ((one, other), history) in TRACKED_DIFFERENCES.iter().zip(&mut self.differences) {
            if let (Some(one), Some(other)) = (row.get(*one), row.get(*other)) {
                history.push(step, one - other);
            }
        }
    }

    pub fn latest(&self, metric: Metric) -> Option<f64> {
        self.latest.as_ref()?.get(metric)
    }

    /// Returns the number of optimizer steps done.
    pub fn current_step(&self) -> u64 {
        self.latest.as_ref().map_or(0, StepRow::step)
    }

    /// Returns the work that the run has done.
    pub fn work_done(&self) -> WorkDone {
        self.latest.as_ref().map(StepRow::work_done).unwrap_or_default()
    }

    pub fn first_step(&self) -> Option<u64> {
        self.first_step
    }

    /// Returns the history of `series`; an empty one for a difference that is not kept.
    pub fn history(&self, series: Series) -> &SeriesHistory {
        static NONE: OnceLock<SeriesHistory> = OnceLock::new();
        let found = match series {
            Series::Metric(metric) => self.histories.get(metric as usize),
            Series::Difference(one, other) => {
                let index = TRACKED_DIFFERENCES.iter().position(|pair| *pair == (one, other));
                index.map(|index| &self.differences[index])
            }
        };
        found.unwrap_or_else(|| NONE.get_or_init(SeriesHistory::default))
    }

    #[cfg(test)]
    pub fn retained_buckets(&self) -> usize {
        self.histories.iter().chain(&self.differences).map(|history| history.buckets().len()).sum()
    }
}
