//! Owns: attention of the query positions of each row, from packed queries, keys and values to mixed values.
//! It is one operation with its own backward pass, which computes the scores again instead of keeping them.
//! Must not know: where positions come from, what is done with the result.
//! Invariant: a position attends to what its [`AttentionMask`] allows and to nothing else.

mod blocks;
mod cpu;
mod mask;
mod probs;
#[cfg(test)]
pub(super) mod reference;

use super::graph::{CpuTensor, any_operand, cpu_op, detach, is_native_cpu, operand, with_custom_backward};
use super::trace::OpCost;
use super::{Dropout, Heads};
use blocks::{BlockwiseAttention, MAX_SCORES};
use burn::tensor::Tensor;
pub use mask::AttentionMask;

/// Returns `softmax(q·kᵀ/√K)·v` of every head, `[B·S, H·K]`.
///
/// The query positions, packed in `current` `[B·S, (H+2G)·K]`, attend to the keys and values of `prefix`
/// `[B·C, (H+2G)·K]` and to their own, as far as `mask` allows. Probabilities are dropped by `dropout`, if given.
pub fn attention(
    current: Tensor<2>,
    prefix: Option<Tensor<2>>,
    mask: &AttentionMask,
    heads: Heads,
    dropout: Option<Dropout>,
) -> Tensor<2> {
    let cost = op_cost(mask, heads, prefix.as_ref().is_some_and(is_tracked));
    if !is_native_cpu(&current) {
        let _span = cost.forward_span();
        return blockwise(current, prefix, mask, heads, dropout, MAX_SCORES);
    }
    // A constant has no place in the graph, and its gradients are not computed.
    let mut operands = vec![operand(current)];
    let constants = match prefix {
        Some(prefix) if is_tracked(&prefix) => {
            operands.push(operand(prefix));
            None
        }
        prefix => prefix.map(detach),
    };
    let mask = mask.clone();
    cpu_op(
        cost,
        operands,
        |mut operands| {
            let prefix = constants.or_else(|| operands.get(1).cloned());
            let current = operands.swap_remove(0);
            let (mixed, log_sums) = cpu::forward(&current, prefix.as_ref(), &mask, heads, dropout);
            (mixed, SavedAttention { current, prefix, log_sums, mask, heads, dropout })
        },
        |state, grad, wanted| cpu::backward(&state, &grad, wanted.len() > 1 && wanted[1]),
    )
}

/// Attention on other devices than the CPU: in groups of rows with at most `max_scores` scores each.
pub(super) fn blockwise(
    current: Tensor<2>,
    prefix: Option<Tensor<2>>,
    mask: &AttentionMask,
    heads: Heads,
    dropout: Option<Dropout>,
    max_scores: usize,
) -> Tensor<2> {
    let (constant, constant_prefix) = (current.clone().inner(), prefix.clone().map(Tensor::inner));
    let (mask, prefix_numbers) = (mask.clone(), constant_prefix);
    let blocks = BlockwiseAttention { current: constant, prefix: prefix_numbers, mask, heads, dropout, max_scores };
    let mut operands = vec![any_operand(current)];
    operands.extend(prefix.filter(is_tracked).map(any_operand));
    with_custom_backward(operands, blocks.forward(), blocks)
}

/// Returns whether `prefix` has a place in the graph.
fn is_tracked(prefix: &Tensor<2>) -> bool {
    prefix.is_require_grad() || prefix.device().is_autodiff()
}

/// Returns the operations as `model::cost` counts them: scores and mixing, a masked score as much as a
/// visible one. The backward pass takes twice as many, or as many if keys and values are constant.
fn op_cost(mask: &AttentionMask, heads: Heads, tracked: bool) -> OpCost {
    let [current, prefix] = [mask.query_positions(), mask.prefix_positions()]
        .map(|keys| 4.0 * (mask.rows() * mask.query_positions() * heads.queries * heads.width * keys) as f64);
    let backward = if tracked { 2.0 } else { 1.0 };
    OpCost { name: "attention", forward_flop: current + prefix, backward_flop: 2.0 * current + backward * prefix }
}

/// What the backward pass needs of the forward pass.
#[derive(Clone, Debug)]
struct SavedAttention {
    current: CpuTensor,
    prefix: Option<CpuTensor>,
    /// `ln Σ e^score` of every head and position, `[B, H, S]`.
    log_sums: Vec<f32>,
    mask: AttentionMask,
    heads: Heads,
    dropout: Option<Dropout>,
}

/// The dropout masks of attention's probabilities: of those to query positions, `[B·H·S, S]`, and of those to the prefix,
/// `[B·H·S, C]`.
fn probs_dropout(dropout: Dropout) -> [Dropout; 2] {
    [dropout, dropout.other()]
}
