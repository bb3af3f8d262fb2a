//! Owns: causal multi-head attention, with grouped key/value heads and rotary positions where the face has them.
//! Must not know: blocks, recycling.
//! Invariant: position `t` sees positions `0..=t` of its own row and nothing else.

use super::init::Init;
use super::{Shape, rotary::Rotary};
use crate::config::Arch;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Tensor, activation};

/// Causal attention over a whole row.
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

    /// `x`: `[B, T, D]`, as the result. `future`: `[1, 1, T, T]`, 0 where position `t` (row) may see `s` (column),
    /// -inf elsewhere.
    pub fn forward(&self, x: Tensor<3>, rotary: Option<&Rotary>, future: Tensor<4>) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let turn = |y: Tensor<4>| rotary.map_or(y.clone(), |rotary| rotary.turn(y));
        let q = turn(split(self.q.forward(x.clone()), self.heads));
        let k = turn(split(self.k.forward(x.clone()), self.kv_heads));
        let v = split(self.v.forward(x), self.kv_heads);
        let head_width = q.dims()[3];
        let groups = self.heads / self.kv_heads;
        let (k, v) = (repeat_heads(k, groups), repeat_heads(v, groups));
        // Scaling q costs T·K, scaling the scores would cost T·T.
        let scores = (q * (head_width as f64).powf(-0.5)).matmul(k.transpose()) + future;
        let mixed = activation::softmax(scores, 3).matmul(v);
        self.out.forward(mixed.swap_dims(1, 2).reshape([b, t, self.heads * head_width]))
    }
}

/// `[B, T, heads·K]` to `[B, heads, T, K]`.
fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [b, t, width] = x.dims();
    x.reshape([b, t, heads, width / heads]).swap_dims(1, 2)
}

/// `[B, G, T, K]` to `[B, G·groups, T, K]`, each head `groups` times in a row.
fn repeat_heads(x: Tensor<4>, groups: usize) -> Tensor<4> {
    if groups == 1 {
        return x;
    }
    let [b, g, t, k] = x.dims();
    x.unsqueeze_dim::<5>(2).expand([b, g, groups, t, k]).reshape([b, g * groups, t, k])
}
