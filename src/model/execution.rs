//! Owns: how a model is computed, which changes no result beyond rounding: the precision of matrix products,
//! and activation checkpointing of blocks.
//! Must not know: what is computed.
//! Invariant: parameters, norms, softmax, losses and the residual stream are f32, whatever the precision of
//! products.

use super::attention::KeysValues;
use super::head;
use super::rotary::RotaryAngles;
use super::transformer::TransformerBlock;
use crate::config::{self, Dtype};
use crate::ops::AttentionMask;
use crate::ops::graph::{CustomBackward, Gradient, any_operand, gradient, with_custom_backward};
use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use std::sync::{Arc, Mutex, PoisonError};

pub use crate::ops::MatmulPrecision;

/// How a model is computed, as opposed to what it computes.
#[derive(Clone, Debug, Default)]
pub struct Execution {
    /// Precision of the operands of matrix products: f32 or bf16.
    pub matmul_precision: MatmulPrecision,
    /// Activation checkpointing (Chen et al., arXiv 1604.06174): a block keeps only its input, and its
    /// forward pass runs again during the backward pass.
    pub checkpointing: bool,
    block_gradients: BlockGradients,
}

impl Execution {
    /// Uses this precision of products, with or without activation checkpointing.
    pub fn new(precision: MatmulPrecision, checkpointing: bool) -> Self {
        Self { matmul_precision: precision, checkpointing, block_gradients: BlockGradients::default() }
    }

    /// Reads the options from the `[run]` section.
    pub fn from_config(run: &config::Run) -> Self {
        let precision = match run.dtype {
            Dtype::F32 => MatmulPrecision::F32,
            Dtype::Bf16 => MatmulPrecision::Bf16,
        };
        Self::new(precision, run.activation_checkpointing)
    }

    /// Returns the parameter gradients of checkpointed blocks that backward passes computed since the last
    /// call.
    pub(super) fn take_block_gradients(&self) -> GradientsParams {
        std::mem::take(&mut *self.block_gradients.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Parameter gradients of checkpointed blocks. They bypass the graph, which knows only the inputs of these
/// blocks.
#[derive(Clone, Default)]
struct BlockGradients(Arc<Mutex<GradientsParams>>);

impl std::fmt::Debug for BlockGradients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockGradients")
    }
}

/// What [`Block::forward`] needs in addition to its input.
#[derive(Clone, Debug)]
pub(super) struct BlockContext {
    pub angles: Option<RotaryAngles>,
    pub mask: AttentionMask,
    /// Keys and values of the preceding positions. Constant if the block is checkpointed.
    pub prefix: Option<KeysValues>,
    pub precision: MatmulPrecision,
}

/// A block of which the graph keeps only the input.
#[derive(Clone, Debug)]
struct CheckpointedBlock {
    block: TransformerBlock,
    input: Tensor<2>,
    context: BlockContext,
    block_gradients: BlockGradients,
}

/// Runs `block` on `x` `[N, D]` so that the graph keeps only `x`. The returned keys and values are constants.
pub(super) fn forward_checkpointed(
    block: &TransformerBlock,
    x: Tensor<2>,
    context: BlockContext,
    execution: &Execution,
) -> (Tensor<2>, KeysValues) {
    // A constant input has no gradient, so the block would not run again and its parameters would get no
    // gradient.
    let x = if x.is_tracked() { x } else { Tensor::from_inner(x.inner()).require_grad() };
    let input = x.clone().inner();
    let (out, keys_values) = block.valid().forward(input.clone(), &context);
    let checkpoint = CheckpointedBlock {
        block: block.clone(),
        input,
        context,
        block_gradients: execution.block_gradients.clone(),
    };
    (with_custom_backward(vec![any_operand(x)], out, checkpoint), keys_values)
}

impl CustomBackward for CheckpointedBlock {
    fn backward(self, grad: Tensor<2>, _: &[bool]) -> Vec<Gradient> {
        // New leaves, because the model's own belong to the graph whose backward pass is running.
        let block = self.block.map(&mut NewLeaves);
        let input = Tensor::from_inner(self.input).require_grad();
        let (out, _) = block.forward(input.clone(), &self.context);
        let mut grads = head::surrogate_loss(out, grad.clone()).backward();
        let to_input = input.grad_remove(&mut grads).unwrap_or_else(|| grad.zeros_like());
        let more = GradientsParams::from_grads(grads, &block);
        let mut found = self.block_gradients.0.lock().unwrap_or_else(PoisonError::into_inner);
        super::accumulator::accumulate_gradients(&block, &mut found, more);
        vec![gradient(to_input)]
    }
}

/// Turns every parameter into a leaf of a new graph.
struct NewLeaves;

impl ModuleMapper for NewLeaves {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, _) = param.consume();
        Param::initialized(id, Tensor::from_inner(value.inner()).require_grad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arch, Model};
    use crate::model::{GatherIndex, HiddenStates, ModelShape, Transformer, flatten_rows};
    use burn::tensor::{Device, Int, TensorData};

    fn model(arch: Arch, checkpointing: bool) -> Transformer {
        let config = Model { arch, width: 16, layers: 3, heads: 2, ..Default::default() };
        let shape = ModelShape::from_config(&config, 11, 6);
        Transformer::new(shape, 3, 0.3, &Device::flex().autodiff())
            .with_execution(Execution::new(MatmulPrecision::F32, checkpointing))
    }

    fn embedded(model: &Transformer) -> Tensor<3> {
        let ids = TensorData::new((0..12).map(|at| at * 5 % 11).collect::<Vec<i32>>(), [2, 6]);
        model.embed(Tensor::<2, Int>::from_data(ids, &Device::flex()))
    }

    /// Returns the hidden states, and the gradients of a weighted sum of them with respect to all parameters.
    fn states_and_gradients(model: &Transformer, states: &HiddenStates) -> (Vec<f32>, Vec<f32>) {
        let hidden = flatten_rows(&states.hidden);
        let weights = hidden.clone().inner().cos();
        let grads = head::surrogate_loss(hidden.clone(), weights).backward();
        let mut grads = GradientsParams::from_grads(grads, model);
        let again = model.execution().take_block_gradients();
        assert_eq!(!again.is_empty(), model.execution().checkpointing);
        crate::model::accumulator::accumulate_gradients(model, &mut grads, again);
        struct Read<'a>(&'a GradientsParams, Vec<f32>);
        impl burn::module::ModuleVisitor for Read<'_> {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let grad = self.0.get::<D>(param.id).unwrap_or_else(|| param.val().inner().zeros_like());
                self.1.extend(grad.try_into_vec_as::<f32>().unwrap());
            }
        }
        let mut read = Read(&grads, Vec::new());
        model.visit(&mut read);
        (hidden.inner().try_into_vec_as().unwrap(), read.1)
    }

    #[test]
    fn checkpointed_blocks_learn_the_same() {
        for arch in [Arch::Gpt2, Arch::Llama] {
            let [kept, again] = [false, true].map(|checkpointing| {
                let model = model(arch, checkpointing);
                let whole = model.forward(embedded(&model));
                let whole_learned = states_and_gradients(&model, &whole);
                // A few positions with constant inputs, over constant keys and values of the whole rows.
                let before = whole.detached();
                let places = GatherIndex::new(&[vec![2, 4], vec![3]], 6, &Device::flex());
                let fed = places.gather(&before.hidden);
                let (_, few) = model.forward_sparse(fed, &places, &before.keys_values, true);
                (whole_learned, states_and_gradients(&model, &few))
            });
            assert_eq!(kept, again, "{arch:?}");
            assert!(kept.1.1.iter().any(|grad| *grad != 0.0));
        }
    }

    #[test]
    fn recomputation_is_counted() {
        let [kept, again] = [false, true].map(|checkpointing| {
            let model = model(Arch::Llama, checkpointing);
            let states = model.forward(embedded(&model));
            (states.flop, states.backward_flop)
        });
        assert_eq!(kept.0, again.0);
        assert_eq!(again.1, kept.1 + kept.0);
    }
}
