//! Owns: the operations that a step's time goes to, each with its own backward pass: on the CPU device as one pass over
//! the numbers, at the processor's width and on all threads; elsewhere, and where numbers are not f32, of Burn's own operations.
//! Must not know: models, passes, training.
//! Invariant: both ways compute the same, which their tests hold them to.
//!
//! Shape letters as in the model: `B` rows, `T` positions, `N` positions of all rows, `D` width, `H` heads, `G` key/value heads, `K` head
//! width, `V` vocabulary. Queries, keys and values stand *packed* in one matrix `[N, (H+2G)·K]`: a position's queries,
//! then its keys, then its values, head by head.

pub mod adamw;
pub mod attention;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod cube;
mod gate;
pub(crate) mod graph;
mod linear;
mod norm;
mod product;
pub mod score;
#[cfg(test)]
mod tests;
pub mod threads;
pub mod trace;
mod turn;
mod vector;

pub use attention::{Sight, attention};
use burn::tensor::{DType, FloatDType, Tensor};
pub use gate::{gelu, swiglu};
pub use linear::linear;
pub use norm::norm;
pub use turn::turn;

/// What products of the model are made of. Sums of products are f32 wherever the device allows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Products {
    #[default]
    F32,
    /// The residual stream, norms, softmax, losses and all parameters stay f32.
    Bf16,
}

impl Products {
    /// As a factor of a product.
    pub(crate) fn factor<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        if self == Self::Bf16 && x.dtype() != DType::BF16 { x.cast(FloatDType::BF16) } else { x }
    }
}

/// As f32.
pub(crate) fn f32<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if x.dtype() == DType::F32 { x } else { x.cast(FloatDType::F32) }
}

/// `x` as numbers of the kind that `like` has.
pub(crate) fn alike<const D: usize, const E: usize>(x: Tensor<D>, like: &Tensor<E>) -> Tensor<D> {
    if x.dtype() == like.dtype() { x } else { x.cast(like.dtype()) }
}

/// The heads of packed queries, keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// `H`.
    pub queries: usize,
    /// `G`, which divides `H`: keys and values are shared by `H/G` queries in a row.
    pub keys: usize,
    /// `K`.
    pub width: usize,
}

impl Heads {
    /// Numbers of a packed position, `(H+2G)·K`.
    pub fn packed(self) -> usize {
        (self.queries + 2 * self.keys) * self.width
    }
}
