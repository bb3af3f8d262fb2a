//! Owns: causal multi-head attention, with grouped key/value heads, rotary positions and norms of queries and keys if the
//! shape has them.
//! Must not know: blocks, recycling.
//! Invariant: position `t` sees positions `0..=t` of its own row and nothing else.

use super::ModelShape;
use super::block_context::BlockContext;
use super::init::WeightInit;
use super::keys_values::KeysValues;
use super::layers::{Norm, residual_linear};
use crate::ops::{self, Heads};
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::Tensor;

/// Attention of each position over itself and earlier positions.
#[derive(Module, Debug)]
pub struct Attention {
    /// Query projection `[D, H·K]`.
    pub q: Linear,
    /// Key projection `[D, G·K]`.
    pub k: Linear,
    /// Value projection `[D, G·K]`.
    pub v: Linear,
    /// Output projection `[H·K, D]`.
    pub out: Linear,
    /// Norm of each head's queries, `[K]` (Qwen3).
    pub q_norm: Option<Norm>,
    /// Norm of each head's keys, `[K]`.
    pub k_norm: Option<Norm>,
    #[module(skip)]
    heads: Heads,
}

impl Attention {
    pub(super) fn new(shape: &ModelShape, init: &mut WeightInit) -> Self {
        let (d, bias) = (shape.width, shape.qkv_bias);
        let (q_width, kv_width) = (shape.heads * shape.head_width, shape.kv_heads * shape.head_width);
        Self {
            q: init.linear(d, q_width, bias),
            k: init.linear(d, kv_width, bias),
            v: init.linear(d, kv_width, bias),
            out: init.residual_linear(q_width, d, shape.out_bias),
            q_norm: shape.qk_norm.then(|| Norm::of_heads(shape.head_width, shape.norm_eps, init)),
            k_norm: shape.qk_norm.then(|| Norm::of_heads(shape.head_width, shape.norm_eps, init)),
            heads: Heads { queries: shape.heads, keys: shape.kv_heads, width: shape.head_width },
        }
    }

    /// Returns `residual + attention(x)`, both `[B·S, D]`, and the keys and values of the S new positions of
    /// each row. The new positions attend to the positions of the context's prefix and to each other, as its mask allows.
    pub(super) fn forward(&self, x: Tensor<2>, residual: Tensor<2>, context: &BlockContext) -> (Tensor<2>, KeysValues) {
        let BlockContext { angles, mask, prefix, precision, dropout, .. } = context;
        let packed = ops::linear(x, &[&self.q, &self.k, &self.v], None, *precision);
        let packed = self.normalize_heads(packed);
        let packed = match angles {
            Some(angles) => ops::apply_rotary(packed, &angles.cos, &angles.sin, self.heads),
            None => packed,
        };
        let keys_values = KeysValues::new(packed, mask.rows());
        let prefix = prefix.as_ref().map(|prefix| prefix.packed().clone());
        let mixed = ops::attention(keys_values.packed().clone(), prefix, mask, self.heads, dropout.attention);
        (residual_linear(mixed, &self.out, residual, *precision, context.masks_after_attention()), keys_values)
    }

    /// Normalizes the queries and keys of every head in `packed` `[N, (H+2G)·K]`, if the model does that.
    fn normalize_heads(&self, packed: Tensor<2>) -> Tensor<2> {
        let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) else { return packed };
        let (n, Heads { queries, keys, width }) = (packed.dims()[0], self.heads);
        let part = |from: usize, heads: usize| packed.clone().narrow(1, from * width, heads * width);
        let normed = |norm: &Norm, part: Tensor<2>, heads: usize| {
            norm.forward(part.reshape([n * heads, width])).reshape([n, heads * width])
        };
        let q = normed(q_norm, part(0, queries), queries);
        let k = normed(k_norm, part(queries, keys), keys);
        Tensor::cat(vec![q, k, part(queries + keys, keys)], 1)
    }
}
