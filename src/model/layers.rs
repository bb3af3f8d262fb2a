//! Owns: the small layers: norm and MLP, in both architectures.
//! Must not know: attention, positions, the rest of the block.
//! Invariant: each layer acts on every position separately.

use super::ModelShape;
use super::held_dropout::apply_held;
use super::init::WeightInit;
use crate::config::Arch;
use crate::ops::{self, Dropout, MatmulPrecision};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::Tensor;

/// LayerNorm (`gpt2`) or RMSNorm (`llama`, Zhang and Sennrich, arXiv 1910.07467), over the last axis.
#[derive(Module, Debug)]
pub struct Norm {
    pub weight: Param<Tensor<1>>,
    /// Shift `[D]`: present in a LayerNorm, absent in an RMSNorm.
    pub bias: Option<Param<Tensor<1>>>,
    eps: f64,
}

impl Norm {
    pub(super) fn new(shape: &ModelShape, init: &mut WeightInit) -> Self {
        Self {
            weight: init.constant(shape.width, 1.0),
            bias: (shape.arch == Arch::Gpt2).then(|| init.constant(shape.width, 0.0)),
            eps: shape.norm_eps,
        }
    }

    /// Creates an RMSNorm over `width` numbers, for the queries or keys of a head.
    pub(super) fn of_heads(width: usize, eps: f64, init: &WeightInit) -> Self {
        Self { weight: init.constant(width, 1.0), bias: None, eps }
    }

    /// Normalizes `x` `[N, D]` over `D`.
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        ops::norm(x, self.weight.val(), self.bias.as_ref().map(Param::val), self.eps)
    }
}

/// `down(gelu(up(x)))` (`gpt2`) or `down(silu(gate(x)) · up(x))` (`llama`, SwiGLU, arXiv 2002.05202).
#[derive(Module, Debug)]
pub struct Mlp {
    /// Weight `[D, F]` of a SwiGLU, where `F` is the MLP's inner width.
    pub gate: Option<Linear>,
    pub up: Linear,
    pub down: Linear,
}

impl Mlp {
    pub(super) fn new(shape: &ModelShape, init: &mut WeightInit) -> Self {
        let (d, f, bias) = (shape.width, shape.mlp_width, shape.arch == Arch::Gpt2);
        Self {
            gate: (shape.arch == Arch::Llama).then(|| init.linear(d, f, bias)),
            up: init.linear(d, f, bias),
            down: init.residual_linear(f, d, bias),
        }
    }

    /// Returns `residual + MLP(x)`, with numbers of the MLP dropped; both arguments and the result are `[N, D]`.
    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        residual: Tensor<2>,
        precision: MatmulPrecision,
        masks: ResidualMasks,
    ) -> Tensor<2> {
        let inner = match &self.gate {
            Some(gate) => ops::swiglu(ops::linear(x, &[gate, &self.up], None, precision)),
            None => ops::gelu(ops::linear(x, &[&self.up], None, precision)),
        };
        residual_linear(inner, &self.down, residual, precision, masks)
    }
}

/// What is dropped of a layer's output before it is added to the residual stream.
#[derive(Clone, Default)]
pub(super) struct ResidualMasks {
    pub drawn: Option<Dropout>,
    /// Factors `[B, D]` that a row keeps at all its positions.
    pub held: Option<Tensor<2>>,
}

/// Returns `residual + linear(x)`, with numbers of the latter dropped.
pub(super) fn residual_linear(
    x: Tensor<2>,
    linear: &Linear,
    residual: Tensor<2>,
    precision: MatmulPrecision,
    masks: ResidualMasks,
) -> Tensor<2> {
    let ResidualMasks { drawn, held } = masks;
    if drawn.is_none() && held.is_none() {
        return ops::linear(x, &[linear], Some(residual), precision);
    }
    let out = ops::linear(x, &[linear], None, precision);
    let out = match held {
        Some(factors) => apply_held(out, factors),
        None => out,
    };
    match drawn {
        Some(dropout) => ops::dropout(out, Some(residual), dropout),
        None => out + residual,
    }
}
