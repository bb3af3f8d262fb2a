//! Owns: attention composed of Burn's operations, with Burn's own backward pass: the reference of the others.
//! Must not know: the other implementations.
//! Invariant: a position attends to what its [`AttentionMask`] allows and to nothing else.

use super::{AttentionMask, probs_dropout};
use crate::ops::{Dropout, Heads, to_f32};
use burn::tensor::{Tensor, activation};

/// Computes what [`crate::ops::attention()`] does, from the same arguments.
pub(in crate::ops) fn attention(
    current: Tensor<2>,
    prefix: Option<Tensor<2>>,
    mask: &AttentionMask,
    heads: Heads,
    dropout: Option<Dropout>,
) -> Tensor<2> {
    let ([n, _], b) = (current.dims(), mask.rows());
    let mask = mask.dense(&current.device().without_autodiff());
    let q = unpack_heads(&current, b, 0, heads.queries, heads.width) * (heads.width as f64).powf(-0.5);
    let [k, v] = keys_values(&current, b, heads);
    let scores = q.clone().matmul(k.transpose());
    let mixed = match prefix {
        None => drop(softmax(scores, mask), dropout).matmul(v),
        // Two products instead of a joined one: a constant prefix is neither copied nor differentiated.
        Some(prefix) => {
            let [prefix_keys, prefix_values] = keys_values(&prefix, b, heads);
            let c = prefix_keys.dims()[2];
            let scores = Tensor::cat(vec![q.matmul(prefix_keys.transpose()), scores], 3);
            let probs = softmax(scores, mask);
            let [current, prefix] = [probs.clone().narrow(3, c, n / b), probs.narrow(3, 0, c)];
            drop(prefix, dropout.map(|dropout| probs_dropout(dropout)[1])).matmul(prefix_values)
                + drop(current, dropout).matmul(v)
        }
    };
    mixed.swap_dims(1, 2).reshape([n, heads.queries * heads.width])
}

/// Drops probabilities `[B, H, S, keys]`.
fn drop(probs: Tensor<4>, mask: Option<Dropout>) -> Tensor<4> {
    match mask {
        Some(mask) => {
            let factors = mask.apply(probs.clone().inner().ones_like(), 0);
            probs * Tensor::from_inner(factors)
        }
        None => probs,
    }
}

/// Computes in f32 and returns probabilities in the number type of the scores.
fn softmax(scores: Tensor<4>, mask: Tensor<4>) -> Tensor<4> {
    let dtype = scores.dtype();
    let probs = activation::softmax(to_f32(scores) + mask, 3);
    if dtype == probs.dtype() { probs } else { probs.cast(dtype) }
}

/// Returns keys and values, `[B, H, S, K]` each; a head is repeated for all query heads that share it.
fn keys_values(packed: &Tensor<2>, b: usize, heads: Heads) -> [Tensor<4>; 2] {
    [heads.queries, heads.queries + heads.keys]
        .map(|from| repeat_heads(unpack_heads(packed, b, from, heads.keys, heads.width), heads.queries / heads.keys))
}

/// Returns `count` heads from head `from` on, `[B, count, S, K]`.
fn unpack_heads(packed: &Tensor<2>, b: usize, from: usize, count: usize, k: usize) -> Tensor<4> {
    let [n, _] = packed.dims();
    packed.clone().narrow(1, from * k, count * k).reshape([b, n / b, count, k]).swap_dims(1, 2)
}

/// Expands `[B, G, S, K]` to `[B, G·times, S, K]`, each head `times` in a row.
fn repeat_heads(x: Tensor<4>, times: usize) -> Tensor<4> {
    if times == 1 {
        return x;
    }
    let [b, g, s, k] = x.dims();
    x.unsqueeze_dim::<5>(2).expand([b, g, times, s, k]).reshape([b, g * times, s, k])
}
