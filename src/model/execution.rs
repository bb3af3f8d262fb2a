//! Owns: how a model is computed, which changes no result beyond rounding: the numbers of its products, and whether blocks keep
//! what their backward passes need or find it again.
//! Must not know: what is computed.
//! Invariant: parameters, norms, softmax, losses and the residual stream are f32, whatever products are made of.

use super::attention::KeysValues;
use super::head;
use super::rotary::Angles;
use super::transformer::Block;
use crate::config::{self, Dtype};
use crate::ops::Sight;
use crate::ops::graph::{Gradient, Recompute, gradient, place, recompute};
use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use std::sync::{Arc, Mutex, PoisonError};

pub use crate::ops::Products;

/// How a model is computed.
#[derive(Clone, Debug, Default)]
pub struct Execution {
    /// What products are made of.
    pub products: Products,
    /// Activation checkpointing (Chen et al., arXiv 1604.06174): a block keeps its input alone, and is run once more in the
    /// backward pass.
    pub checkpointing: bool,
    found: Found,
}

impl Execution {
    /// This way.
    pub fn new(products: Products, checkpointing: bool) -> Self {
        Self { products, checkpointing, found: Found::default() }
    }

    /// As a config has it.
    pub fn of(run: &config::Run) -> Self {
        let products = match run.dtype {
            Dtype::F32 => Products::F32,
            Dtype::Bf16 => Products::Bf16,
        };
        Self::new(products, run.activation_checkpointing)
    }

    /// Gradients of parameters that backward passes of blocks have found since the last call.
    pub(super) fn take(&self) -> GradientsParams {
        std::mem::take(&mut *self.found.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Gradients of blocks that were run again: the graph knows their inputs alone.
#[derive(Clone, Default)]
struct Found(Arc<Mutex<GradientsParams>>);

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Found")
    }
}

/// One block's work: what [`Block::forward`] is given beside its input.
#[derive(Clone, Debug)]
pub(super) struct Around {
    pub angles: Option<Angles>,
    pub sight: Sight,
    /// Constant.
    pub before: Option<KeysValues>,
    pub products: Products,
}

/// A block in the graph by its input alone.
#[derive(Clone, Debug)]
struct Again {
    block: Block,
    input: Tensor<2>,
    around: Around,
    found: Found,
}

/// `block` at `x` `[N, D]`, of which the graph keeps `x` alone. Its keys and values are constants.
pub(super) fn checkpointed(
    block: &Block,
    x: Tensor<2>,
    around: Around,
    execution: &Execution,
) -> (Tensor<2>, KeysValues) {
    // A constant has no gradient, and what has none is not run again: it would leave the parameters without one.
    let x = if x.is_tracked() { x } else { Tensor::from_inner(x.inner()).require_grad() };
    let input = x.clone().inner();
    let (out, own) = block.valid().forward(input.clone(), &around);
    let again = Again { block: block.clone(), input, around, found: execution.found.clone() };
    (recompute(vec![place(x)], out, again), own)
}

impl Recompute for Again {
    fn back(self, grad: Tensor<2>, _: &[bool]) -> Vec<Gradient> {
        // Leaves of its own: those of the model belong to the graph that is at work.
        let block = self.block.map(&mut Fresh);
        let input = Tensor::from_inner(self.input).require_grad();
        let (out, _) = block.forward(input.clone(), &self.around);
        let mut grads = head::surrogate(out, grad.clone()).backward();
        let to_input = input.grad_remove(&mut grads).unwrap_or_else(|| grad.zeros_like());
        let more = GradientsParams::from_grads(grads, &block);
        let mut found = self.found.0.lock().unwrap_or_else(PoisonError::into_inner);
        super::ledger::accumulate(&block, &mut found, more);
        vec![gradient(to_input)]
    }
}

/// Every parameter as a leaf of another graph.
struct Fresh;

impl ModuleMapper for Fresh {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, _) = param.consume();
        Param::initialized(id, Tensor::from_inner(value.inner()).require_grad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Arch, Model};
    use crate::model::{Places, Shape, States, Transformer, rows};
    use burn::tensor::{Device, Int, TensorData};

    fn model(arch: Arch, checkpointing: bool) -> Transformer {
        let config = Model { arch, width: 16, layers: 3, heads: 2, ..Default::default() };
        let shape = Shape::from_config(&config, 11, 6);
        Transformer::new(shape, 3, 0.3, &Device::flex().autodiff())
            .executed(Execution::new(Products::F32, checkpointing))
    }

    fn embedded(model: &Transformer) -> Tensor<3> {
        let ids = TensorData::new((0..12).map(|at| at * 5 % 11).collect::<Vec<i32>>(), [2, 6]);
        model.embed(Tensor::<2, Int>::from_data(ids, &Device::flex()))
    }

    /// Hidden states, and the gradients of a weighed sum of them, of every parameter in the model's order.
    fn learned(model: &Transformer, states: &States) -> (Vec<f32>, Vec<f32>) {
        let hidden = rows(&states.hidden);
        let weights = hidden.clone().inner().cos();
        let grads = head::surrogate(hidden.clone(), weights).backward();
        let mut grads = GradientsParams::from_grads(grads, model);
        let again = model.execution().take();
        assert_eq!(!again.is_empty(), model.execution().checkpointing);
        crate::model::ledger::accumulate(model, &mut grads, again);
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
    fn blocks_that_are_run_again_learn_the_same() {
        for arch in [Arch::Gpt2, Arch::Llama] {
            let [kept, again] = [false, true].map(|checkpointing| {
                let model = model(arch, checkpointing);
                let whole = model.row(embedded(&model));
                let whole_learned = learned(&model, &whole);
                // A few positions, fed with constants, against the constant keys and values of the rows.
                let before = whole.detached();
                let places = Places::new(&[vec![2, 4], vec![3]], 6, &Device::flex());
                let fed = places.take(&before.hidden);
                let (_, few) = model.sparse(fed, &places, &before.context, true);
                (whole_learned, learned(&model, &few))
            });
            assert_eq!(kept, again, "{arch:?}");
            assert!(kept.1.1.iter().any(|grad| *grad != 0.0));
        }
    }

    #[test]
    fn running_again_is_counted() {
        let [kept, again] = [false, true].map(|checkpointing| {
            let model = model(Arch::Llama, checkpointing);
            let states = model.row(embedded(&model));
            (states.flop, states.backward_flop)
        });
        assert_eq!(kept.0, again.0);
        assert_eq!(again.1, kept.1 + kept.0);
    }
}
