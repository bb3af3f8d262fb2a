//! Owns: which numbers of a model are dropped while it is trained: rates, and a mask for each forward pass, layer and place.
//! Must not know: how a mask is made, what the passes are.
//! Invariant: masks are a function of the key and of the number of the forward pass. A model without a key drops nothing.

use crate::config;
use crate::ops::Dropout;
use crate::rng::{RngKey, RngPurpose};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The dropout of a model that is being trained.
#[derive(Clone, Debug)]
pub struct ModelDropout {
    rates: config::Dropout,
    key: RngKey,
    forward_passes: Arc<AtomicU64>,
}

impl ModelDropout {
    /// Creates the dropout of the passes over a batch; `None` if nothing is dropped.
    pub fn new(rates: &config::Dropout, key: RngKey) -> Option<Self> {
        let drops = rates.embedding > 0.0 || rates.attention > 0.0 || rates.residual > 0.0;
        drops.then(|| Self { rates: rates.clone(), key, forward_passes: Arc::default() })
    }

    /// Returns the masks of the next forward pass.
    pub(super) fn next_pass(&self) -> PassDropout {
        let pass = self.forward_passes.fetch_add(1, Ordering::Relaxed);
        PassDropout { rates: self.rates.clone(), key: RngKey { pass, ..self.key } }
    }
}

/// The dropout of one forward pass.
#[derive(Clone, Debug)]
pub(super) struct PassDropout {
    rates: config::Dropout,
    key: RngKey,
}

impl PassDropout {
    /// Returns the mask of the inputs of the first block.
    pub fn of_embeddings(&self) -> Option<Dropout> {
        self.mask(self.rates.embedding, 0)
    }

    pub fn of_block(&self, layer: usize) -> BlockDropout {
        let mask = |rate, place| self.mask(rate, 3 * layer + place);
        BlockDropout {
            attention: mask(self.rates.attention, 1),
            after_attention: mask(self.rates.residual, 2),
            after_mlp: mask(self.rates.residual, 3),
        }
    }

    fn mask(&self, rate: f64, place: usize) -> Option<Dropout> {
        Dropout::new(rate, self.key.stream(RngPurpose::Dropout, place).bits())
    }
}

/// The masks of one block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BlockDropout {
    /// Of the probabilities of attention.
    pub attention: Option<Dropout>,
    /// Of what attention adds to the residual stream.
    pub after_attention: Option<Dropout>,
    /// Of what the MLP adds to it.
    pub after_mlp: Option<Dropout>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelShape, Transformer};
    use burn::tensor::{Device, Int, Tensor, TensorData};

    fn states(model: &Transformer) -> Vec<f32> {
        let ids = TensorData::new((0..12).map(|at| at * 5 % 11).collect::<Vec<i32>>(), [2, 6]);
        let tokens = Tensor::<2, Int>::from_data(ids, &Device::flex());
        model.forward(model.embed(tokens)).hidden.try_into_vec_as().unwrap()
    }

    #[test]
    fn every_rate_drops_and_every_pass_draws_anew() {
        let config = config::Model { width: 16, layers: 2, heads: 2, ..Default::default() };
        let model = Transformer::new(ModelShape::from_config(&config, 11, 6), 3, 0.3, &Device::flex());
        let plain = states(&model);
        let with = |embedding, attention, residual, step| {
            let key = RngKey { step, ..RngKey::default() };
            model.clone().with_dropout(ModelDropout::new(&config::Dropout { embedding, attention, residual }, key))
        };
        assert_eq!(states(&with(0.0, 0.0, 0.0, 1)), plain);
        for (embedding, attention, residual) in [(0.3, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, 0.3)] {
            let model = with(embedding, attention, residual, 1);
            let [first, second] = [states(&model), states(&model)];
            assert!(first != plain && second != plain && first != second);
            assert_eq!(states(&with(embedding, attention, residual, 1)), first);
            assert_ne!(states(&with(embedding, attention, residual, 2)), first);
        }
    }

    #[test]
    fn no_two_places_share_a_mask() {
        let rates = config::Dropout { embedding: 0.1, attention: 0.1, residual: 0.1 };
        let pass = ModelDropout::new(&rates, RngKey::default()).unwrap().next_pass();
        let blocks = [0, 1].map(|layer| pass.of_block(layer));
        let masks = blocks.iter().flat_map(|block| [block.attention, block.after_attention, block.after_mlp]);
        let masks: Vec<_> = masks.chain([pass.of_embeddings()]).map(Option::unwrap).collect();
        for (at, mask) in masks.iter().enumerate() {
            assert!(!masks[at + 1..].contains(mask));
        }
    }
}
