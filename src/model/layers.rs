//! Owns: the small layers: norm and MLP, in both faces.
//! Must not know: attention, positions, the rest of the block.
//! Invariant: each acts on every position alone.

use super::Shape;
use super::init::Init;
use crate::config::Arch;
use crate::ops::{self, Products};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::Tensor;

/// LayerNorm with bias (`gpt2`) or RMSNorm (`llama`, Zhang and Sennrich, arXiv 1910.07467), over the last axis.
#[derive(Module, Debug)]
pub struct Norm {
    /// Scale `[D]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[D]`; its presence makes it a LayerNorm.
    pub bias: Option<Param<Tensor<1>>>,
    eps: f64,
}

impl Norm {
    pub(super) fn new(shape: &Shape, init: &mut Init) -> Self {
        Self {
            weight: init.constant(shape.width, 1.0),
            bias: (shape.arch == Arch::Gpt2).then(|| init.constant(shape.width, 0.0)),
            eps: shape.norm_eps,
        }
    }

    /// `x`: `[N, D]`, as the result.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        ops::norm(x, self.weight.val(), self.bias.as_ref().map(Param::val), self.eps)
    }
}

/// `down(gelu(up(x)))` (`gpt2`, tanh form) or `down(silu(gate(x)) · up(x))` (`llama`, SwiGLU, arXiv 2002.05202).
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[D, F]`; its presence makes it a SwiGLU.
    pub gate: Option<Linear>,
    /// `[D, F]`.
    pub up: Linear,
    /// `[F, D]`.
    pub down: Linear,
}

impl Mlp {
    pub(super) fn new(shape: &Shape, init: &mut Init) -> Self {
        let (d, f, bias) = (shape.width, shape.mlp_width, shape.arch == Arch::Gpt2);
        Self {
            gate: (shape.arch == Arch::Llama).then(|| init.linear(d, f, bias)),
            up: init.linear(d, f, bias),
            down: init.residual(f, d, bias),
        }
    }

    /// `x`: `[N, D]`, as the result, which is added to `onto`.
    pub fn forward(&self, x: Tensor<2>, onto: Tensor<2>, products: Products) -> Tensor<2> {
        let inner = match &self.gate {
            Some(gate) => ops::swiglu(ops::linear(x, &[gate, &self.up], None, products)),
            None => ops::gelu(ops::linear(x, &[&self.up], None, products)),
        };
        ops::linear(inner, &[&self.down], Some(onto), products)
    }
}
