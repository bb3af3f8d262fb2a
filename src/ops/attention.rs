//! Owns: attention of a few positions of each row over others, from packed queries, keys and values to mixed values, as one
//! operation with its own backward pass, which finds the scores again instead of keeping them.
//! Must not know: where positions come from, what is done with the result.
//! Invariant: a position sees what its [`Sight`] says and nothing else.

mod kernel;
mod sight;

use super::graph::{Values, constant, operand, operation, ours};
use super::trace::Work;
use super::{Heads, f32};
use burn::tensor::{Tensor, activation};
pub use sight::Sight;

/// `softmax(q·kᵀ/√K)·v` of every head, `[B·S, H·K]`: the positions of `own` `[B·S, (H+2G)·K]` look at the keys and values
/// of `before` `[B·C, (H+2G)·K]` and at their own, as far as `sight` says.
pub fn attention(own: Tensor<2>, before: Option<Tensor<2>>, sight: &Sight, heads: Heads) -> Tensor<2> {
    let work = work(sight, heads, before.as_ref().is_some_and(tracked));
    if !ours(&own) {
        let _span = work.goes();
        return composed(own, before, sight, heads);
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

/// The same of Burn's own operations.
pub(super) fn composed(own: Tensor<2>, before: Option<Tensor<2>>, sight: &Sight, heads: Heads) -> Tensor<2> {
    let ([n, _], b) = (own.dims(), sight.rows());
    let mask = sight.mask(&own.device().without_autodiff());
    let q = part(&own, b, 0, heads.queries, heads.width) * (heads.width as f64).powf(-0.5);
    let [k, v] = keys_values(&own, b, heads);
    let scores = q.clone().matmul(k.transpose());
    let mixed = match before {
        None => softmax(scores, mask).matmul(v),
        // Side by side, not joined: where `before` is constant, nothing of its length is copied or has a gradient.
        Some(before) => {
            let [earlier, values] = keys_values(&before, b, heads);
            let c = earlier.dims()[2];
            let scores = Tensor::cat(vec![q.matmul(earlier.transpose()), scores], 3);
            let shares = softmax(scores, mask);
            shares.clone().narrow(3, 0, c).matmul(values) + shares.narrow(3, c, n / b).matmul(v)
        }
    };
    mixed.swap_dims(1, 2).reshape([n, heads.queries * heads.width])
}

/// In f32, whatever the scores are of; the shares are of the same.
fn softmax(scores: Tensor<4>, mask: Tensor<4>) -> Tensor<4> {
    let dtype = scores.dtype();
    let shares = activation::softmax(f32(scores) + mask, 3);
    if dtype == shares.dtype() { shares } else { shares.cast(dtype) }
}

/// Keys and values `[B, H, S, K]`, each head as often as queries share it.
fn keys_values(packed: &Tensor<2>, b: usize, heads: Heads) -> [Tensor<4>; 2] {
    [heads.queries, heads.queries + heads.keys]
        .map(|from| repeat(part(packed, b, from, heads.keys, heads.width), heads.queries / heads.keys))
}

/// `count` heads from head `from` on, `[B, count, S, K]`.
fn part(packed: &Tensor<2>, b: usize, from: usize, count: usize, k: usize) -> Tensor<4> {
    let [n, _] = packed.dims();
    packed.clone().narrow(1, from * k, count * k).reshape([b, n / b, count, k]).swap_dims(1, 2)
}

/// `[B, G, S, K]` to `[B, G·times, S, K]`, each head `times` in a row.
fn repeat(x: Tensor<4>, times: usize) -> Tensor<4> {
    if times == 1 {
        return x;
    }
    let [b, g, s, k] = x.dims();
    x.unsqueeze_dim::<5>(2).expand([b, g, times, s, k]).reshape([b, g * times, s, k])
}
