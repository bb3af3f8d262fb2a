//! Owns: the magnitudes of the residual stream during one forward pass.
//! Must not know: who asks for them, what a pass is for.
//! Invariant: only the first forward pass after its creation is measured, and the pass computes what it does without.

use crate::ops::magnitudes::square_sum_and_max;
use burn::tensor::Tensor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Measures the residual stream where it leaves a part of the model. Clones share what is measured.
#[derive(Clone, Default)]
pub struct ActivationTap(Arc<TapState>);

#[derive(Default)]
struct TapState {
    pass_began: AtomicBool,
    measured: Mutex<Vec<MeasuredActivations>>,
}

/// The magnitudes of activations, on the device.
#[derive(Clone, Debug)]
pub struct MeasuredActivations {
    /// `[Σ x², max |x|]`, `[2]`.
    pub magnitudes: Tensor<1>,
    /// How many numbers were measured.
    pub count: usize,
}

impl ActivationTap {
    /// Returns whether the forward pass that begins now is the one to measure: the first.
    pub(super) fn begin_pass(&self) -> bool {
        !self.0.pass_began.swap(true, Ordering::Relaxed)
    }

    /// Measures activations `[N, D]`.
    pub(super) fn measure(&self, activations: &Tensor<2>) {
        let count = activations.shape().num_elements();
        let magnitudes = square_sum_and_max(activations.clone());
        let mut measured = self.0.measured.lock().unwrap_or_else(PoisonError::into_inner);
        measured.push(MeasuredActivations { magnitudes, count });
    }

    /// Returns what was measured, in order: after the embeddings, after attention and MLP of each block, after the last norm.
    pub fn take_measured(&self) -> Vec<MeasuredActivations> {
        std::mem::take(&mut *self.0.measured.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for ActivationTap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ActivationTap")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arch, Model};
    use crate::model::block_context::BlockContext;
    use crate::model::{Execution, MatmulPrecision, ModelShape, Transformer, flatten_rows};
    use crate::ops::AttentionMask;
    use crate::ops::score::surrogate_loss;
    use burn::module::Module;
    use burn::tensor::{Device, Int, TensorData};

    fn model(checkpointing: bool) -> (Transformer, ActivationTap) {
        let config = Model { arch: Arch::Gpt2, width: 16, layers: 2, heads: 2, ..Default::default() };
        let model = Transformer::new(ModelShape::from_config(&config, 11, 6), 3, 0.3, &Device::flex().autodiff());
        let tap = ActivationTap::default();
        let execution =
            Execution { activation_tap: Some(tap.clone()), ..Execution::new(MatmulPrecision::F32, checkpointing) };
        (model.with_execution(execution), tap)
    }

    fn embedded(model: &Transformer) -> Tensor<3> {
        let ids = TensorData::new((0..12).map(|at| at * 5 % 11).collect::<Vec<i32>>(), [2, 6]);
        model.embed(Tensor::<2, Int>::from_data(ids, &Device::flex()))
    }

    /// Returns square sum and largest magnitude of activations, from their numbers.
    fn magnitudes(activations: &Tensor<2>) -> [f64; 2] {
        let numbers: Vec<f32> = activations.clone().try_into_vec_as().unwrap();
        let square = numbers.iter().map(|number| f64::from(*number).powi(2)).sum();
        [square, numbers.iter().map(|number| f64::from(number.abs())).fold(0.0, f64::max)]
    }

    #[test]
    fn the_residual_stream_is_measured_after_each_part() {
        let (model, tap) = model(false);
        let plain = model.valid();
        // By hand, part by part.
        let positions = plain.positions.as_ref().unwrap().weight.val().reshape([1, 6, 16]);
        let mut x = (embedded(&plain) + positions).reshape([12, 16]);
        let mut wanted = vec![magnitudes(&x)];
        for block in &plain.blocks {
            let context = BlockContext {
                angles: None,
                mask: AttentionMask::causal(2, 6, 0),
                prefix: None,
                precision: MatmulPrecision::F32,
                dropout: Default::default(),
                held: [None, None],
                tap: None,
            };
            let attended = block.attention.forward(block.norm1.forward(x.clone()), x.clone(), &context).0;
            x = block.forward(x, &context).0;
            wanted.extend([magnitudes(&attended), magnitudes(&x)]);
        }
        wanted.push(magnitudes(&plain.norm.forward(x)));
        model.forward(embedded(&model));
        let measured = tap.take_measured();
        assert_eq!(measured.len(), wanted.len());
        for (measured, wanted) in measured.into_iter().zip(wanted) {
            assert_eq!(measured.count, 12 * 16);
            let found: Vec<f32> = measured.magnitudes.try_into_vec_as().unwrap();
            let near = |index: usize| (f64::from(found[index]) / wanted[index] - 1.0).abs() < 1e-5;
            assert!(near(0) && near(1), "{found:?} {wanted:?}");
        }
    }

    #[test]
    fn only_the_first_pass_is_measured_and_blocks_that_run_again_are_not() {
        let [kept, again] = [false, true].map(|checkpointing| {
            let (model, tap) = model(checkpointing);
            let states = model.forward(embedded(&model));
            model.forward(embedded(&model));
            let hidden = flatten_rows(&states.hidden);
            let _ = surrogate_loss(hidden.clone(), hidden.inner()).backward();
            let measured = tap.take_measured().into_iter();
            measured.map(|measured| measured.magnitudes.try_into_vec_as::<f32>().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!(kept.len(), 2 + 2 * 2);
        assert_eq!(kept, again);
    }
}
