//! Owns: normal noise on fed states, so that rollouts of the same prompt think differently.
//! Must not know: what the rows are, which policy feeds states.
//! Invariant: the noise of a latent depends on the key, the row's own number and the number of the latent in its row, so that
//! it can be drawn again.

use super::rms;
use crate::rng::{RngKey, RngPurpose};
use burn::tensor::{Tensor, TensorData};

/// The noise on the latents of a batch of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct LatentNoise {
    /// Standard deviation, relative to the root mean square of a state.
    pub amplitude: f64,
    pub key: RngKey,
    /// Number of the stream of each row, `[B]`.
    pub rows: Vec<usize>,
}

impl LatentNoise {
    /// Returns `states` `[B, D]` with noise. `latents`: how many latents each row was fed before, `[B]`.
    pub fn add_to(&self, states: Tensor<2>, latents: &[usize]) -> Tensor<2> {
        let [b, d] = states.dims();
        let of_row = |(row, latent): (&usize, &usize)| {
            let mut stream = RngKey { pass: *latent as u64, ..self.key }.stream(RngPurpose::LatentNoise, *row);
            (0..d).map(|_| (self.amplitude * stream.normal()) as f32).collect::<Vec<_>>()
        };
        let noise: Vec<f32> = self.rows.iter().zip(latents).flat_map(of_row).collect();
        let device = states.device().without_autodiff();
        let noise = Tensor::<2>::from_data(TensorData::new(noise, [b, d]), &device);
        let noise = if states.is_autodiff() { Tensor::from_inner(noise) } else { noise };
        states.clone() + rms(states, 1) * noise
    }
}
