//! Owns: the small layers: norm and MLP, in both faces.
//! Must not know: attention, positions, the rest of the block.
//! Invariant: each acts on every position alone.

use super::Shape;
use super::init::Init;
use crate::config::Arch;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Tensor, activation};

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

    /// `x`: `[B, T, D]`, as the result.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = match self.bias {
            Some(_) => x.clone() - x.mean_dim(2),
            None => x,
        };
        let scale = (x.clone().square().mean_dim(2) + self.eps).sqrt().recip();
        let normed = x * scale * self.weight.val().unsqueeze();
        match &self.bias {
            Some(bias) => normed + bias.val().unsqueeze(),
            None => normed,
        }
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

    /// `x`: `[B, T, D]`, as the result.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let inner = match &self.gate {
            Some(gate) => activation::silu(gate.forward(x.clone())) * self.up.forward(x),
            None => activation::gelu_approximate(self.up.forward(x)),
        };
        self.down.forward(inner)
    }
}
