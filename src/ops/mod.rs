//! Owns: the operations that take most of a step's time, each with its own backward pass. On the CPU device
//! and in f32 an operation is *fused*: one pass over the numbers, with SIMD and on all threads. Elsewhere it
//! is composed of Burn's own operations, or runs a GPU kernel if there is one.
//! Must not know: models, passes, training.
//! Invariant: all implementations of an operation compute what its *reference*, of Burn's operations, does.
//!
//! Shape letters as in the model: `B` rows, `T` positions, `N` positions of all rows, `D` width, `H` heads,
//! `G` key/value heads, `K` head width, `V` vocabulary. Queries, keys and values are *packed* in one matrix
//! `[N, (H+2G)·K]`: a position's queries, then its keys, then its values, head by head.
//!
//! In attention, `S` *query positions* of each row attend to `C` *prefix positions*, which precede them (in a cache,
//! for example), and to each other. Names: `current` is what belongs to the query positions, `prefix` the rest.

mod activations;
pub mod adamw;
pub mod attention;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod cube;
mod dropout;
pub(crate) mod graph;
mod linear;
pub mod magnitudes;
mod matmul;
mod norm;
mod rotary;
pub mod score;
mod simd;
#[cfg(test)]
mod tests;
pub mod threads;
pub mod trace;

pub use activations::{gelu, swiglu};
pub use attention::{AttentionMask, attention};
use burn::tensor::{DType, FloatDType, Tensor};
pub use dropout::{Dropout, dropout};
pub use linear::linear;
pub use norm::norm;
pub use rotary::apply_rotary;

/// The number type of the model's matrix products. Products are accumulated in f32 if the device can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MatmulPrecision {
    #[default]
    F32,
    /// The residual stream, norms, softmax, losses and all parameters stay f32.
    Bf16,
}

impl MatmulPrecision {
    /// Returns `x` in the number type of a product's operand.
    pub(crate) fn cast_operand<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        if self == Self::Bf16 && x.dtype() != DType::BF16 { x.cast(FloatDType::BF16) } else { x }
    }
}

/// Returns `x` cast to f32.
pub(crate) fn to_f32<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if x.dtype() == DType::F32 { x } else { x.cast(FloatDType::F32) }
}

/// Returns `x` cast to the number type of `like`.
pub(crate) fn cast_like<const D: usize, const E: usize>(x: Tensor<D>, like: &Tensor<E>) -> Tensor<D> {
    if x.dtype() == like.dtype() { x } else { x.cast(like.dtype()) }
}

/// The head layout of packed queries, keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads, `H`.
    pub queries: usize,
    /// Key/value heads, `G`, which divides `H`: `H/G` adjacent query heads share one.
    pub keys: usize,
    /// Numbers per head, `K`.
    pub width: usize,
}

impl Heads {
    /// Returns the numbers of a packed position, `(H+2G)·K`.
    pub fn packed_width(self) -> usize {
        (self.queries + 2 * self.keys) * self.width
    }
}
