//! Owns: dropout masks that a row keeps from its first position to its last: which channels of what attention and MLP add.
//! Must not know: what the rows are, why a mask is held.
//! Invariant: a mask depends on the key and the row's own number, not on the batch that the row is in.

use crate::ops::Dropout;
use crate::rng::{RngKey, RngPurpose};
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::Arc;

/// The held masks of the rows of a batch.
#[derive(Clone, Debug)]
pub struct HeldDropout {
    rate: f64,
    key: RngKey,
    /// Number of the stream of each row, `[B]`.
    rows: Arc<Vec<usize>>,
}

impl HeldDropout {
    /// Creates masks that drop a channel with probability `rate`; `None` if that is 0.
    pub fn new(rate: f64, key: RngKey, rows: Vec<usize>) -> Option<Self> {
        (rate > 0.0).then(|| Self { rate, key, rows: Arc::new(rows) })
    }

    /// Returns the factors `[B, D]` of a block's attention (`place` 0) or MLP (1): 0 for a dropped channel.
    pub(super) fn factors(&self, layer: usize, place: usize, width: usize, device: &Device) -> Tensor<2> {
        let of_row = |row: &usize| {
            let key = RngKey { batch: (2 * layer + place) as u64, ..self.key };
            let mask = Dropout::new(self.rate, key.stream(RngPurpose::HeldDropout, *row).bits());
            mask.map_or_else(|| vec![1.0; width], |mask| mask.first_row(width))
        };
        let factors: Vec<f32> = self.rows.iter().flat_map(of_row).collect();
        Tensor::from_data(TensorData::new(factors, [self.rows.len(), width]), device)
    }
}

/// Multiplies each row `[S, D]` of `x` `[B·S, D]` by its factors, `[B, D]`.
pub(super) fn apply_held(x: Tensor<2>, factors: Tensor<2>) -> Tensor<2> {
    let ([n, d], [b, _]) = (x.dims(), factors.dims());
    (x.reshape([b, n / b, d]) * factors.unsqueeze_dim(1)).reshape([n, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::{KvCache, ModelShape, Transformer};
    use burn::tensor::Int;

    fn embedded(model: &Transformer, rows: &[&[i32]]) -> Tensor<3> {
        let data = TensorData::new(rows.concat(), [rows.len(), rows[0].len()]);
        model.embed(Tensor::<2, Int>::from_data(data, &Device::flex()))
    }

    #[test]
    fn a_mask_is_held_over_positions_and_batches() {
        let config = config::Model { width: 16, layers: 2, heads: 2, ..Default::default() };
        let model = Transformer::new(ModelShape::from_config(&config, 11, 8), 3, 0.3, &Device::flex());
        let held = |rows: Vec<usize>| {
            model.clone().with_held_dropout(HeldDropout::new(0.4, RngKey { step: 7, ..RngKey::default() }, rows))
        };
        let tokens: [&[i32]; 2] = [&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]];
        let both = held(vec![4, 9]);
        let whole: Vec<f32> = both.forward(embedded(&both, &tokens)).hidden.try_into_vec_as().unwrap();
        let plain: Vec<f32> = model.forward(embedded(&model, &tokens)).hidden.try_into_vec_as().unwrap();
        let (first, second) = whole.split_at(whole.len() / 2);
        assert!(first != second && whole != plain);
        // Position by position, in a batch of its own.
        let alone = held(vec![9]);
        let mut cache = KvCache::new(1, 8);
        for (at, wanted) in second.chunks(16).enumerate() {
            let hidden = alone.forward_cached(embedded(&alone, &[&tokens[1][at..=at]]), &mut cache);
            let found: Vec<f32> = hidden.try_into_vec_as().unwrap();
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5), "position {at}");
        }
    }
}
