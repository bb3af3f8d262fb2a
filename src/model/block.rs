//! Owns: one transformer block, and activation checkpointing of it.
//! Must not know: embeddings, how many blocks there are.
//! Invariant: checkpointing changes no result. The prefix of a checkpointed block is constant.

use super::attention::Attention;
use super::block_context::BlockContext;
use super::execution::{BlockGradients, Execution};
use super::gradients::accumulate_gradients;
use super::keys_values::KeysValues;
use super::layers::{Mlp, Norm};
use crate::ops::graph::{CustomBackward, Gradient, any_operand, gradient, with_custom_backward};
use crate::ops::score::surrogate_loss;
use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;

/// One pre-norm block: attention, then MLP, each added to the residual stream.
#[derive(Module, Debug)]
pub struct TransformerBlock {
    pub norm1: Norm,
    pub attention: Attention,
    pub norm2: Norm,
    pub mlp: Mlp,
}

impl TransformerBlock {
    /// Runs the block on `x` `[N, D]`. Returns its output, and the keys and values of these positions.
    pub(super) fn forward(&self, x: Tensor<2>, context: &BlockContext) -> (Tensor<2>, KeysValues) {
        let (x, keys_values) = self.attention.forward(self.norm1.forward(x.clone()), x, context);
        let measure = |x: &Tensor<2>| context.tap.iter().for_each(|tap| tap.measure(x));
        measure(&x);
        let normed = self.norm2.forward(x.clone());
        let x = self.mlp.forward(normed, x, context.precision, context.masks_after_mlp());
        measure(&x);
        (x, keys_values)
    }
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
    // With a constant input the block would not run again, and its parameters would get no gradient.
    let x = if x.is_tracked() { x } else { Tensor::from_inner(x.inner()).require_grad() };
    let input = x.clone().inner();
    let (out, keys_values) = block.valid().forward(input.clone(), &context);
    // The block runs again in the backward pass, which is not measured.
    let context = BlockContext { tap: None, ..context };
    let checkpoint =
        CheckpointedBlock { block: block.clone(), input, context, block_gradients: execution.block_gradients.clone() };
    (with_custom_backward(vec![any_operand(x)], out, checkpoint), keys_values)
}

impl CustomBackward for CheckpointedBlock {
    fn backward(self, grad: Tensor<2>, _: &[bool]) -> Vec<Gradient> {
        // New leaves, because the model's own belong to the graph whose backward pass is running.
        let block = self.block.map(&mut NewLeaves);
        let input = Tensor::from_inner(self.input).require_grad();
        let (out, _) = block.forward(input.clone(), &self.context);
        let mut grads = surrogate_loss(out, grad.clone()).backward();
        let to_input = input.grad_remove(&mut grads).unwrap_or_else(|| grad.zeros_like());
        let more = GradientsParams::from_grads(grads, &block);
        accumulate_gradients(&block, &mut self.block_gradients.lock(), more);
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
    use crate::config::{self, Arch, Model};
    use crate::model::{
        Execution, GatherIndex, HiddenStates, ModelDropout, ModelShape, Transformer, Visibility, flatten_rows,
    };
    use crate::ops::MatmulPrecision;
    use crate::rng::RngKey;
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
        let grads = surrogate_loss(hidden.clone(), weights).backward();
        let mut grads = GradientsParams::from_grads(grads, model);
        let again = model.execution().take_block_gradients();
        assert_eq!(!again.is_empty(), model.execution().checkpointing);
        accumulate_gradients(model, &mut grads, again);
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
        let rates = config::Dropout { embedding: 0.1, attention: 0.3, residual: 0.2 };
        for (arch, rates) in [(Arch::Gpt2, None), (Arch::Llama, None), (Arch::Llama, Some(rates))] {
            let [kept, again] = [false, true].map(|checkpointing| {
                let dropout = rates.as_ref().and_then(|rates| ModelDropout::new(rates, RngKey::default()));
                let model = model(arch, checkpointing).with_dropout(dropout);
                let whole = model.forward(embedded(&model));
                let whole_learned = states_and_gradients(&model, &whole);
                // A few positions with constant inputs, over constant keys and values of the whole rows.
                let before = whole.detached();
                let places = GatherIndex::new(&[vec![2, 4], vec![3]], 6, &Device::flex());
                let fed = places.gather(&before.hidden);
                let (_, few) = model.forward_sparse(fed, &places, &before.keys_values, Visibility::Joint);
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
