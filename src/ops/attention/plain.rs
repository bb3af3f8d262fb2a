//! Owns: attention of Burn's own operations with Burn's own way back, which the others are held to.
//! Must not know: the others.
//! Invariant: a position sees what its [`Sight`] says and nothing else.

use super::Sight;
use crate::ops::{Heads, f32};
use burn::tensor::{Tensor, activation};

/// The same of Burn's own operations.
pub(in crate::ops) fn composed(
    own: Tensor<2>,
    before: Option<Tensor<2>>,
    sight: &Sight,
    heads: Heads,
) -> Tensor<2> {
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
