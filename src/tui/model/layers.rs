//! Owns: what is known of the layers: of each the last row, and how its numbers have changed.
//! Must not know: colours, how they are drawn.
//! Invariant: at most `MAX_LAYERS` layers, each with short histories, for a run of any length.

use super::history::SeriesHistory;
use crate::schema::layer_rows::LayerRow;

/// More layers than the largest model has: attention and MLP of 1024 blocks, and four others.
const MAX_LAYERS: usize = 2100;

/// Buckets of a history: as many as a wide screen has cells for it.
const MAX_BUCKETS: usize = 64;

/// A number that is drawn over the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerNumber {
    WeightRms,
    GradNorm,
    UpdateRatio,
    ActivationRms,
}

impl LayerNumber {
    pub const ALL: [LayerNumber; 4] = [Self::WeightRms, Self::GradNorm, Self::UpdateRatio, Self::ActivationRms];

    fn value_in(self, row: &LayerRow) -> Option<f64> {
        match self {
            Self::WeightRms => Some(row.weight_rms()),
            Self::GradNorm => row.grad_norm,
            Self::UpdateRatio => row.update_ratio(),
            Self::ActivationRms => row.activation_rms,
        }
    }
}

/// A layer over the steps.
#[derive(Clone, Debug)]
pub struct LayerHistory {
    /// What was measured last. Its histograms are of the last row that had them.
    pub last: LayerRow,
    series: [SeriesHistory; LayerNumber::ALL.len()],
}

impl LayerHistory {
    fn new(row: LayerRow) -> Self {
        let mut history =
            Self { last: row.clone(), series: LayerNumber::ALL.map(|_| SeriesHistory::with_max_buckets(MAX_BUCKETS)) };
        history.push(row);
        history
    }

    fn push(&mut self, row: LayerRow) {
        for number in LayerNumber::ALL {
            if let Some(value) = number.value_in(&row) {
                self.series[number as usize].push(row.step, value);
            }
        }
        self.last = row;
    }

    pub fn series(&self, number: LayerNumber) -> &SeriesHistory {
        &self.series[number as usize]
    }

    /// Returns a number at `step`, or the last one before; without a step the newest one, if the last row has one.
    pub fn value_at(&self, number: LayerNumber, step: Option<u64>) -> Option<f64> {
        match step {
            Some(step) => self.series(number).bucket_at(step).map(|bucket| bucket.mean),
            None => number.value_in(&self.last).filter(|value| value.is_finite()),
        }
    }
}

/// The layers of a run, in their order.
#[derive(Clone, Debug, Default)]
pub struct LayerHistories {
    layers: Vec<LayerHistory>,
}

impl LayerHistories {
    /// Adds what was measured at a step.
    pub fn add(&mut self, rows: Vec<LayerRow>) {
        for row in rows {
            match self.layers.iter().position(|layer| layer.last.layer == row.layer) {
                Some(at) => self.layers[at].push(row),
                None if self.layers.len() < MAX_LAYERS => self.layers.push(LayerHistory::new(row)),
                None => {}
            }
        }
    }

    pub fn all(&self) -> &[LayerHistory] {
        &self.layers
    }

    /// Returns the step that was measured last.
    pub fn last_step(&self) -> Option<u64> {
        self.layers.iter().map(|layer| layer.last.step).max()
    }

    /// Returns the number of retained buckets.
    #[cfg(test)]
    pub fn retained_buckets(&self) -> usize {
        self.layers.iter().flat_map(|layer| &layer.series).map(|series| series.buckets().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64, layer: &str, grad_norm: Option<f64>) -> LayerRow {
        LayerRow { step, layer: layer.into(), params: 4, weight_norm: step as f64, grad_norm, ..LayerRow::default() }
    }

    #[test]
    fn values_are_those_of_the_step() {
        let mut layers = LayerHistories::default();
        for step in [1, 50, 100] {
            layers.add(vec![row(step, "embedding", Some(step as f64)), row(step, "feedback", None)]);
        }
        assert_eq!((layers.all().len(), layers.last_step()), (2, Some(100)));
        let (embedding, feedback) = (&layers.all()[0], &layers.all()[1]);
        assert_eq!(embedding.value_at(LayerNumber::GradNorm, Some(99)), Some(50.0));
        assert_eq!(embedding.value_at(LayerNumber::WeightRms, None), Some(50.0));
        assert_eq!(feedback.value_at(LayerNumber::GradNorm, None), None);
    }

    #[test]
    fn layers_and_steps_are_bounded() {
        let mut layers = LayerHistories::default();
        (0..3000).for_each(|layer| layers.add(vec![row(1, &layer.to_string(), None)]));
        assert_eq!(layers.all().len(), MAX_LAYERS);
        (2..2000).for_each(|step| layers.add(vec![row(step, "7", Some(1.0))]));
        assert!(layers.retained_buckets() <= MAX_LAYERS + 2 * MAX_BUCKETS);
    }
}
