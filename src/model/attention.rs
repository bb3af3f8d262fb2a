//! Owns: causal multi-head attention, with grouped key/value heads and rotary positions where the face has them.
//! Must not know: blocks, recycling.
//! Invariant: position `t` sees positions `0..=t` of its own row and nothing else.

use super::init::Init;
use super::{Shape, rotary::Angles};
use crate::config::Arch;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Tensor, activation};

/// Attention of positions over earlier ones.
#[derive(Module, Debug)]
pub struct Attention {
    /// `[D, H·K]`.
    pub q: Linear,
    /// `[D, G·K]`.
    pub k: Linear,
    /// `[D, G·K]`.
    pub v: Linear,
    /// `[H·K, D]`.
    pub out: Linear,
    heads: usize,
    kv_heads: usize,
}

impl Attention {
    pub(super) fn new(shape: &Shape, init: &mut Init) -> Self {
        let (d, bias) = (shape.width, shape.arch == Arch::Gpt2);
        let (q_width, kv_width) = (shape.heads * shape.head_width, shape.kv_heads * shape.head_width);
        Self {
            q: init.linear(d, q_width, bias),
            k: init.linear(d, kv_width, bias),
            v: init.linear(d, kv_width, bias),
            out: init.residual(q_width, d, bias),
            heads: shape.heads,
            kv_heads: shape.kv_heads,
        }
    }

    /// `x`: `[1, B·S, D]`, as the result. Looks at the keys and values of `before` `[B, G, C, K]`, then at its own.
    /// `sight`: `[B or 1, 1, S, C+S]`, 0 where a position (row) may see another (column), -inf elsewhere.
    /// The second result is its own keys and values.
    pub fn forward(
        &self,
        x: Tensor<3>,
        rows: usize,
        angles: Option<&Angles>,
        sight: Tensor<4>,
        before: Option<&KeysValues>,
    ) -> (Tensor<3>, KeysValues) {
        let [_, n, _] = x.dims();
        let (b, s) = (rows, n / rows);
        let split = |y: Tensor<3>, heads: usize| {
            let width = y.dims()[2];
            y.reshape([b, s, heads, width / heads]).swap_dims(1, 2)
        };
        let turn = |y: Tensor<4>| match angles {
            Some(angles) => angles.turn(y),
            None => y,
        };
        let q = turn(split(self.q.forward(x.clone()), self.heads));
        let own = KeysValues {
            keys: turn(split(self.k.forward(x.clone()), self.kv_heads)),
            values: split(self.v.forward(x), self.kv_heads),
        };
        let head_width = q.dims()[3];
        let heads = |y: &Tensor<4>| repeat_heads(y.clone(), self.heads / self.kv_heads);
        // Scaling q costs S·K, scaling the scores would cost S·(C+S).
        let q = q * (head_width as f64).powf(-0.5);
        let scores = q.clone().matmul(heads(&own.keys).transpose());
        let mixed = match before {
            None => activation::softmax(scores + sight, 3).matmul(heads(&own.values)),
            // Side by side, not joined: where `before` is constant, nothing of its length is copied or has a gradient.
            Some(before) => {
                let c = before.keys.dims()[2];
                let earlier = q.matmul(heads(&before.keys).transpose());
                let shares = activation::softmax(Tensor::cat(vec![earlier, scores], 3) + sight, 3);
                shares.clone().narrow(3, 0, c).matmul(heads(&before.values))
                    + shares.narrow(3, c, s).matmul(heads(&own.values))
            }
        };
        (self.out.forward(mixed.swap_dims(1, 2).reshape([1, n, self.heads * head_width])), own)
    }
}

/// Keys (turned by their positions) and values of one block, `[B, G, C, K]` each.
#[derive(Clone, Debug)]
pub struct KeysValues {
    /// `[B, G, C, K]`.
    pub keys: Tensor<4>,
    /// `[B, G, C, K]`.
    pub values: Tensor<4>,
}

impl KeysValues {
    /// `self`, then `next`, along the positions.
    pub fn then(&self, next: &Self) -> Self {
        Self {
            keys: Tensor::cat(vec![self.keys.clone(), next.keys.clone()], 2),
            values: Tensor::cat(vec![self.values.clone(), next.values.clone()], 2),
        }
    }

    /// The same without autodiff: constants to whatever comes after.
    pub fn inner(self) -> Self {
        Self { keys: self.keys.inner(), values: self.values.inner() }
    }
}

/// `[B, G, T, K]` to `[B, G·groups, T, K]`, each head `groups` times in a row.
fn repeat_heads(x: Tensor<4>, groups: usize) -> Tensor<4> {
    if groups == 1 {
        return x;
    }
    let [b, g, t, k] = x.dims();
    x.unsqueeze_dim::<5>(2).expand([b, g, groups, t, k]).reshape([b, g * groups, t, k])
}
