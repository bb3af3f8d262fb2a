//! Owns: time and FLOP by part of a step, for plain and for recycled steps, and the total cost of recycling so far.
//! Must not know: how it is drawn.
//! Invariant: constant in size. Times cover the steps that were timed by part; FLOP cover all steps.

use super::history::MovingAverage;
use crate::schema::metrics::{Metric, StepRow};

/// Weight of previous steps in the average cost.
const SMOOTHING: f64 = 0.95;

/// The parts of a step: name, time in ms, FLOP.
pub const STEP_PARTS: [(&str, Metric, Metric); 4] = [
    ("plain pass", Metric::PlainMs, Metric::PlainFlop),
    ("recycled passes", Metric::RecycledMs, Metric::RecycledFlop),
    ("head and loss", Metric::HeadMs, Metric::HeadFlop),
    ("update", Metric::UpdateMs, Metric::UpdateFlop),
];

/// Average cost of one kind of step.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepCost {
    pub steps: u64,
    /// Milliseconds by part, in the order of [`STEP_PARTS`].
    pub ms: [MovingAverage; STEP_PARTS.len()],
    /// FLOP by part, in the order of [`STEP_PARTS`].
    pub flop: [MovingAverage; STEP_PARTS.len()],
    pub step_ms: MovingAverage,
}

impl StepCost {
    fn add(&mut self, row: &StepRow) {
        self.steps += 1;
        let update = |average: &mut MovingAverage, metric| {
            if let Some(value) = finite_value(row, metric) {
                average.add(value, SMOOTHING);
            }
        };
        for (part, (_, ms, flop)) in STEP_PARTS.iter().enumerate() {
            update(&mut self.ms[part], *ms);
            update(&mut self.flop[part], *flop);
        }
        update(&mut self.step_ms, Metric::StepMs);
    }
}

#[derive(Clone, Debug, Default)]
pub struct RunCost {
    /// Steps with a plain pass only.
    pub plain: StepCost,
    /// Steps with recycled passes.
    pub recycled: StepCost,
    pub recycled_positions: f64,
    /// Milliseconds of all timed steps: (recycling, total).
    timed_ms: (f64, f64),
    /// FLOP of all steps: (recycling, total).
    flop: (f64, f64),
}

impl RunCost {
    pub fn add(&mut self, row: &StepRow) {
        if row.step() == 0 {
            return;
        }
        let positions = finite_value(row, Metric::Recycled);
        if positions.is_some() {
            self.recycled.add(row)
        } else {
            self.plain.add(row)
        }
        let positions = positions.unwrap_or(0.0);
        self.recycled_positions += positions;
        if let (Some(_), Some(step)) = (finite_value(row, Metric::PlainMs), finite_value(row, Metric::StepMs)) {
            self.timed_ms.0 += finite_value(row, Metric::LatentMs).unwrap_or(0.0) * positions;
            self.timed_ms.1 += step;
        }
        self.flop.0 += finite_value(row, Metric::LatentFlop).unwrap_or(0.0) * positions;
        self.flop.1 += STEP_PARTS.iter().filter_map(|(_, _, flop)| finite_value(row, *flop)).sum::<f64>();
    }

    pub fn share_of_time(&self) -> Option<f64> {
        (self.timed_ms.1 > 0.0).then(|| self.timed_ms.0 / self.timed_ms.1)
    }

    pub fn share_of_flop(&self) -> Option<f64> {
        (self.flop.1 > 0.0).then(|| self.flop.0 / self.flop.1)
    }
}

fn finite_value(row: &StepRow, metric: Metric) -> Option<f64> {
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
        row.set_if_some(Metric::Recycled, recycled);
        row.set_if_some(Metric::LatentMs, recycled.map(|_| 4.0));
        row.set_if_some(Metric::LatentFlop, recycled.map(|_| 2e8));
        row.set_if_some(Metric::RecycledFlop, recycled.map(|_| 2e9));
        row
    }

    #[test]
    fn recycling_takes_its_share_of_the_run() {
        let mut cost = RunCost::default();
        assert_eq!(cost.share_of_time(), None);
        [row(0, None), row(1, None), row(2, Some(10.0))].iter().for_each(|row| cost.add(row));
        assert_eq!((cost.plain.steps, cost.recycled.steps), (1, 1), "step 0 does not count");
        assert_eq!(cost.share_of_time(), Some(0.2));
        assert!((cost.share_of_flop().unwrap() - 2.0 / 14.0).abs() < 1e-12);
        assert_eq!(cost.plain.ms[0].get(), Some(60.0));
    }
}
