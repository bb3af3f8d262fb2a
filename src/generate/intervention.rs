//! Owns: what a generation feeds at latents instead of the states, to test whether the states are used.
//! Must not know: policies, what is done with the answers.
//! Invariant: the number of latents and their positions are those of the undisturbed generation.

use crate::model::{Feedback, index_tensor};
use crate::rng::{RngKey, RngPurpose};
use burn::tensor::{Tensor, TensorData};

/// What is fed in the place of a state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum LatentSource {
    /// The state itself.
    #[default]
    State,
    /// The state of the next unfinished row, cyclically: that of another question.
    Transplant,
    /// The learned pause vector.
    Pause,
    /// Zeros.
    Zero,
    /// The mean of the states of all unfinished rows.
    Mean,
    /// Normal noise with the root mean square of the state.
    Noise,
}

impl LatentSource {
    /// Whether it feeds states of other rows of the batch.
    pub fn uses_other_rows(self) -> bool {
        matches!(self, Self::Transplant | Self::Mean)
    }
}

/// Replaces the states that are fed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Intervention {
    pub source: LatentSource,
    /// The only latent that is replaced, counted from 0; `None`: all.
    pub only: Option<usize>,
}

/// The rows whose states are replaced.
pub(super) struct ReplacedRows<'a> {
    /// Number of latents that each row was fed before, `[B]`.
    pub latents: &'a [usize],
    /// Whether each row has ended, `[B]`.
    pub ended: &'a [bool],
    /// Seed of the noise, and the number of each row's stream, `[B]`.
    pub seed: u64,
    pub stream_ids: &'a [usize],
}

impl Intervention {
    /// Returns what is fed instead of `states` `[B, D]`, which are transformed into input space.
    pub(super) fn apply(self, states: Tensor<2>, rows: &ReplacedRows<'_>, feedback: &Feedback) -> Tensor<2> {
        let ([b, d], device) = (states.dims(), states.device());
        let replacement = match self.source {
            LatentSource::State => return states,
            LatentSource::Transplant => {
                states.clone().select(0, index_tensor(&next_unfinished_rows(rows.ended), &device))
            }
            LatentSource::Pause => feedback.pause.val().unsqueeze::<2>().expand([b, d]),
            LatentSource::Zero => states.zeros_like(),
            LatentSource::Mean => {
                let going: Vec<usize> = (0..b).filter(|row| !rows.ended[*row]).collect();
                states.clone().select(0, index_tensor(&going, &device)).mean_dim(0).expand([b, d])
            }
            LatentSource::Noise => {
                let noise = Tensor::from_data(TensorData::new(normal_noise(rows, d), [b, d]), &device);
                noise * crate::model::rms(states.clone(), 1)
            }
        };
        let Some(only) = self.only else { return replacement };
        let replaced: Vec<bool> = rows.latents.iter().map(|latents| *latents == only).collect();
        let mask = Tensor::<2, burn::tensor::Bool>::from_data(TensorData::new(replaced, [b, 1]), &device);
        states.mask_where(mask.expand([b, d]), replacement)
    }
}

/// Returns `d` normal numbers for each row, from streams of the seed, the number of the latent and the row's own number.
fn normal_noise(rows: &ReplacedRows<'_>, d: usize) -> Vec<f32> {
    let of_row = |(row, latents): (usize, &usize)| {
        let key = RngKey { seed: rows.seed, step: *latents as u64, ..RngKey::default() };
        let mut stream = key.stream(RngPurpose::Jitter, rows.stream_ids.get(row).copied().unwrap_or(row));
        (0..d).map(|_| stream.normal() as f32).collect::<Vec<_>>()
    };
    rows.latents.iter().enumerate().flat_map(of_row).collect()
}

/// Returns for each row the next row that has not ended, cyclically; the row itself if there is none.
fn next_unfinished_rows(ended: &[bool]) -> Vec<usize> {
    let count = ended.len();
    (0..count).map(|row| (1..count).map(|by| (row + by) % count).find(|other| !ended[*other]).unwrap_or(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_from_the_next_unfinished_row() {
        assert_eq!(next_unfinished_rows(&[false; 3]), [1, 2, 0]);
        assert_eq!(next_unfinished_rows(&[false, true, false]), [2, 2, 0]);
        assert_eq!(next_unfinished_rows(&[true, false, true]), [1, 1, 1]);
    }
}
