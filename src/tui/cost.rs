//! Owns: what steps cost by part, plain ones and those that recycle, and what all recycling has cost so far.
//! Must not know: how it is drawn.
//! Invariant: constant in size; time is that of steps that were timed by part, operations those of all steps.

use super::history::Average;
use crate::record::registry::{Metric, StepRow};

/// Weight of the past in what a step costs now.
const SMOOTHING: f64 = 0.95;

/// The parts of a step: name, time, operations.
pub const PARTS: [(&str, Metric, Metric); 4] = [
    ("plain pass", Metric::PlainMs, Metric::PlainFlop),
    ("recycled passes", Metric::RecycledMs, Metric::RecycledFlop),
    ("head and loss", Metric::HeadMs, Metric::HeadFlop),
    ("update", Metric::UpdateMs, Metric::UpdateFlop),
];

/// What a kind of step costs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kind {
    /// How many there were.
    pub steps: u64,
    /// Milliseconds by part.
    pub ms: [Average; PARTS.len()],
    /// Operations by part.
    pub flop: [Average; PARTS.len()],
    /// Milliseconds of the whole step.
    pub step_ms: Average,
}

impl Kind {
    fn add(&mut self, row: &StepRow) {
        self.steps += 1;
        let take = |average: &mut Average, metric| {
            if let Some(value) = finite(row, metric) {
                average.add(value, SMOOTHING);
            }
        };
        for (part, (_, ms, flop)) in PARTS.iter().enumerate() {
            take(&mut self.ms[part], *ms);
            take(&mut self.flop[part], *flop);
        }
        take(&mut self.step_ms, Metric::StepMs);
    }
}

/// The costs of a run so far.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Steps with a plain pass alone.
    pub plain: Kind,
    /// Steps with recycled passes, too.
    pub recycled: Kind,
    /// Positions recycled so far.
    pub positions: f64,
    /// Of timed steps: recycling, everything; ms.
    ms: (f64, f64),
    /// Of all steps: recycling, everything; operations.
    flop: (f64, f64),
}

impl Cost {
    /// Adds a step.
    pub fn add(&mut self, row: &StepRow) {
        if row.step() == 0 {
            return;
        }
        let positions = finite(row, Metric::Recycled);
        if positions.is_some() {
            self.recycled.add(row)
        } else {
            self.plain.add(row)
        }
        let positions = positions.unwrap_or(0.0);
        self.positions += positions;
        if let (Some(_), Some(step)) = (finite(row, Metric::PlainMs), finite(row, Metric::StepMs)) {
            self.ms.0 += finite(row, Metric::LatentMs).unwrap_or(0.0) * positions;
            self.ms.1 += step;
        }
        self.flop.0 += finite(row, Metric::LatentFlop).unwrap_or(0.0) * positions;
        self.flop.1 += PARTS.iter().filter_map(|(_, _, flop)| finite(row, *flop)).sum::<f64>();
    }

    /// Share of the run's time that recycling took.
    pub fn share_of_time(&self) -> Option<f64> {
        (self.ms.1 > 0.0).then(|| self.ms.0 / self.ms.1)
    }

    /// Share of the run's operations that recycling took.
    pub fn share_of_flop(&self) -> Option<f64> {
        (self.flop.1 > 0.0).then(|| self.flop.0 / self.flop.1)
    }
}

fn finite(row: &StepRow, metric: Metric) -> Option<f64> {
    row.get(metric).filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64, recycled: Option<f64>) -> StepRow {
        let mut row = StepRow::new(step);
        row.set(Metric::PlainMs, 60.0);
        row.set(Metric::PlainFlop, 6e9);
        row.set(Metric::StepMs, if recycled.is_some() { 120.0 } else { 80.0 });
        row.set_if(Metric::Recycled, recycled);
        row.set_if(Metric::LatentMs, recycled.map(|_| 4.0));
        row.set_if(Metric::LatentFlop, recycled.map(|_| 2e8));
        row.set_if(Metric::RecycledFlop, recycled.map(|_| 2e9));
        row
    }

    #[test]
    fn recycling_is_a_share_of_the_run() {
        let mut cost = Cost::default();
        assert_eq!(cost.share_of_time(), None);
        [row(0, None), row(1, None), row(2, Some(10.0))].iter().for_each(|row| cost.add(row));
        assert_eq!((cost.plain.steps, cost.recycled.steps), (1, 1), "step 0 is no step");
        assert_eq!(cost.share_of_time(), Some(0.2));
        assert!((cost.share_of_flop().unwrap() - 2.0 / 14.0).abs() < 1e-12);
        assert_eq!(cost.plain.ms[0].get(), Some(60.0));
    }
}
