//! Owns: attention of a few positions of each row over others, from packed queries, keys and values to mixed values, as one
//! operation with its own backward pass, which finds the scores again instead of keeping them.
//! Must not know: where positions come from, what is done with the result.
//! Invariant: a position sees what its [`Sight`] says and nothing else.

mod blocks;
mod kernel;
#[cfg(test)]
pub(super) mod plain;
mod shares;
mod sight;

use super::Heads;
use super::graph::{Values, constant, operand, operation, ours, place, recompute};
use super::trace::Work;
use blocks::{Blocks, SCORES};
use burn::tensor::Tensor;
pub use sight::Sight;

/// `softmax(q·kᵀ/√K)·v` of every head, `[B·S, H·K]`: the positions of `own` `[B·S, (H+2G)·K]` look at the keys and values
/// of `before` `[B·C, (H+2G)·K]` and at their own, as far as `sight` says.
pub fn attention(own: Tensor<2>, before: Option<Tensor<2>>, sight: &Sight, heads: Heads) -> Tensor<2> {
    let work = work(sight, heads, before.as_ref().is_some_and(tracked));
    if !ours(&own) {
        let _span = work.goes();
        return blocked(own, before, sight, heads, SCORES);
    }
    // A constant has no place in the graph, and none of its gradients is found.
    let mut operands = vec![operand(own)];
    let constants = match before {
        Some(before) if tracked(&before) => {
            operands.push(operand(before));
            None
        }
        before => before.map(constant),
    };
    let sight = sight.clone();
    operation(
        work,
        operands,
        |mut operands| {
            let before = constants.or_else(|| operands.get(1).cloned());
            let own = operands.swap_remove(0);
            let (mixed, sums) = kernel::forward(&own, before.as_ref(), &sight, heads);
            (mixed, State { own, before, sums, sight, heads })
        },
        |state, grad, wanted| kernel::backward(&state, &grad, wanted.len() > 1 && wanted[1]),
    )
}

/// Elsewhere than on the CPU: in groups of rows of at most so many scores.
pub(super) fn blocked(
    own: Tensor<2>,
    before: Option<Tensor<2>>,
    sight: &Sight,
    heads: Heads,
    scores: usize,
) -> Tensor<2> {
    let (constant, earlier) = (own.clone().inner(), before.clone().map(Tensor::inner));
    let blocks = Blocks { own: constant, before: earlier, sight: sight.clone(), heads, scores };
    let mut operands = vec![place(own)];
    operands.extend(before.filter(tracked).map(place));
    recompute(operands, blocks.forward(), blocks)
}

/// Whether `before` has a place in the graph.
fn tracked(before: &Tensor<2>) -> bool {
    before.is_require_grad() || before.device().is_autodiff()
}

/// As `model::cost` counts it: scores and mixing, a masked score as much as a visible one; back, twice that, and once with
/// constant keys and values.
fn work(sight: &Sight, heads: Heads, tracked: bool) -> Work {
    let [own, before] = [sight.own(), sight.before()]
        .map(|keys| 4.0 * (sight.rows() * sight.own() * heads.queries * heads.width * keys) as f64);
    let back = if tracked { 2.0 } else { 1.0 };
    Work { name: "attention", forward: own + before, backward: 2.0 * own + back * before }
}

/// What the way back needs.
#[derive(Clone, Debug)]
struct State {
    own: Values,
    before: Option<Values>,
    /// ln Σ e^score of every head and position, as the kernel lays them out.
    sums: Vec<f32>,
    sight: Sight,
    heads: Heads,
}
