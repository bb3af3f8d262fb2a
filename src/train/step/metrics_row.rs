//! Owns: the row of a training step: its settings, losses, costs and speed, and whether they are finite.
//! Must not know: validation metrics, how a loss is computed, who records the row.
//! Invariant: all numbers of a row are of the same step. The learner adds learning rate and gradient norm, the loop tokens,
//! epoch, wall time and config version.

use super::readback::mean;
use crate::config::{Control, LossPositions, PositionBudget, Recycle};
use crate::model::accumulator::Timing;
use crate::model::cost::{PartCosts, StepPart};
use crate::recycle::placement::RecycledPositions;
use crate::recycle::schedule::StepSettings;
use crate::schema::metrics::{Metric, StepRow};
use crate::train::TrainError;

/// What the recycled passes of an update train.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum UpdateKind {
    Model,
    /// The pause vector. The recycled loss says nothing of the states, and is reported as [`Metric::LossPause`].
    PauseVector,
}

impl UpdateKind {
    pub fn new(settings: &StepSettings, recycle: &Recycle) -> Self {
        match settings.control == Control::Pause && recycle.control != Control::Pause {
            true => Self::PauseVector,
            false => Self::Model,
        }
    }
}

/// The losses and entropies of one batch on the host, nats.
pub(super) struct BatchReadback {
    /// Whether each target `[B·T]` counts in a loss; `None` if all do.
    pub counted: Option<Vec<bool>>,
    pub plain_nll: Vec<f32>,
    pub plain_entropy: Vec<f32>,
    pub recycled: Option<RecycledReadback>,
}

pub(super) struct RecycledReadback {
    pub nll: Vec<f32>,
    pub positions: RecycledPositions,
    /// The positions of `nll`.
    pub covers: LossPositions,
}

/// Returns the row with the settings and losses of a step.
pub(super) fn loss_row(step: u64, readings: &[BatchReadback], settings: &StepSettings, update: UpdateKind) -> StepRow {
    let mut row = StepRow::new(step);
    row.set(Metric::RecycleProbability, settings.probability);
    match settings.budget {
        PositionBudget::Fraction(fraction) => row.set(Metric::RecycleFraction, fraction),
        PositionBudget::Count(count) => row.set(Metric::RecycleCount, count as f64),
        PositionBudget::EntropyAtLeast(nats) => row.set(Metric::RecycleThreshold, nats),
    }
    row.set(Metric::RecycleWeight, settings.weight);
    row.set(Metric::RecycleScale, settings.scale);
    row.set_if_some(Metric::LossPlain, mean(readings.iter().flat_map(BatchReadback::plain_losses)));
    row.set_if_some(
        Metric::EntropyPlain,
        mean(readings.iter().flat_map(|reading| reading.plain_entropy.iter().copied())),
    );
    let recycled: Vec<(&BatchReadback, &RecycledReadback)> =
        readings.iter().filter_map(|reading| reading.recycled.as_ref().map(|recycled| (reading, recycled))).collect();
    if recycled.is_empty() {
        return row;
    }
    let count: usize = recycled.iter().map(|(_, recycled)| recycled.positions.count()).sum();
    row.set(Metric::Recycled, count as f64);
    row.set(Metric::RecycledPasses, settings.passes as f64);
    let at_recycled = mean(recycled.iter().flat_map(|(reading, r)| r.losses_at_recycled(reading)));
    if update == UpdateKind::PauseVector {
        row.set_if_some(Metric::LossPause, at_recycled);
        return row;
    }
    row.set_if_some(Metric::LossRecycled, mean(recycled.iter().flat_map(|(reading, r)| r.losses(reading))));
    row.set_if_some(Metric::LossRecycledAtRecycled, at_recycled);
    let plain = recycled.iter().flat_map(|(reading, r)| {
        let counted = r.positions.flat_indices().into_iter().filter(|at| reading.counts(*at));
        counted.map(|at| reading.plain_nll[at])
    });
    row.set_if_some(Metric::LossPlainAtRecycled, mean(plain));
    let entropy = recycled
        .iter()
        .flat_map(|(reading, r)| r.positions.flat_indices().into_iter().map(|at| reading.plain_entropy[at]));
    row.set_if_some(Metric::EntropyPlainAtRecycled, mean(entropy));
    row
}

impl BatchReadback {
    /// Whether the target at an index into `[B·T]` counts in a loss.
    fn counts(&self, index: usize) -> bool {
        self.counted.as_ref().is_none_or(|counted| counted[index])
    }

    /// Returns the plain nll of the targets that count, nats.
    fn plain_losses(&self) -> impl Iterator<Item = f32> {
        self.plain_nll.iter().enumerate().filter(|(at, _)| self.counts(*at)).map(|(_, nll)| *nll)
    }
}

impl RecycledReadback {
    /// Returns the nll of the targets that count in the recycled loss, nats.
    fn losses(&self, reading: &BatchReadback) -> Vec<f32> {
        match self.covers {
            LossPositions::Recycled => self.losses_at_recycled(reading),
            LossPositions::All => {
                self.nll.iter().enumerate().filter(|(at, _)| reading.counts(*at)).map(|(_, nll)| *nll).collect()
            }
        }
    }

    /// Returns those at the recycled positions alone.
    fn losses_at_recycled(&self, reading: &BatchReadback) -> Vec<f32> {
        let positions = self.positions.flat_indices().into_iter().enumerate();
        let counted = positions.filter(|(_, at)| reading.counts(*at));
        counted
            .map(|(index, at)| match self.covers {
                LossPositions::All => self.nll[at],
                LossPositions::Recycled => self.nll[index],
            })
            .collect()
    }
}

/// Returns an error if a loss or the gradient norm in `row` is not finite.
pub fn check_finite(row: &StepRow, lr: f64) -> Result<(), TrainError> {
    for (metric, what) in [
        (Metric::LossPlain, "the plain loss"),
        (Metric::LossQuestions, "the loss of the questions"),
        (Metric::RlLoss, "the loss of the rollouts"),
        (Metric::LossRecycled, "the recycled loss"),
        (Metric::LossPause, "the loss with a pause"),
        (Metric::GradNorm, "the gradient norm"),
    ] {
        if let Some(value) = row.get(metric).filter(|value| !value.is_finite()) {
            return Err(TrainError::NotFinite { step: row.step(), what, value, lr });
        }
    }
    Ok(())
}

/// Sets the cost of each part of a step, and of one of its `recycled` positions; seconds only if measured.
pub fn set_step_costs(costs: &PartCosts, timing: Timing, recycled: Option<usize>, row: &mut StepRow) {
    let mut set = |ms: Metric, flop: Metric, parts: &[StepPart], count: f64| {
        row.set(flop, costs.flop(parts) / count);
        if timing == Timing::On {
            row.set(ms, costs.seconds(parts) * 1e3 / count);
        }
    };
    set(Metric::PlainMs, Metric::PlainFlop, &[StepPart::Plain], 1.0);
    set(Metric::HeadMs, Metric::HeadFlop, StepPart::HEAD, 1.0);
    set(Metric::UpdateMs, Metric::UpdateFlop, &[StepPart::Update], 1.0);
    if let Some(recycled) = recycled {
        set(Metric::RecycledMs, Metric::RecycledFlop, &[StepPart::Recycled], 1.0);
        set(Metric::LatentMs, Metric::LatentFlop, StepPart::RECYCLING, recycled as f64);
    }
}

/// Sets the speed of a step of `tokens` input tokens in `seconds`. `peak` is the device's, FLOP/s; a faster step raises it.
pub(in crate::train) fn set_speed(row: &mut StepRow, tokens: u64, seconds: f64, peak: &mut Option<f64>) {
    row.set(Metric::StepMs, seconds * 1e3);
    row.set(Metric::TokensPerS, tokens as f64 / seconds);
    let rate = row.flop() / seconds;
    *peak = peak.map(|peak| peak.max(rate));
    row.set_if_some(Metric::ShareOfPeak, peak.map(|peak| rate / peak));
}
