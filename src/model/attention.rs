//! Owns: causal multi-head attention, with grouped key/value heads and rotary positions where the face has them.
//! Must not know: blocks, recycling.
//! Invariant: position `t` sees positions `0..=t` of its own row and nothing else.

use super::init::Init;
use super::{Shape, rotary::Angles};
use crate::config::Arch;
use crate::ops::{self, Heads, Products, Sight};
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{Device, Tensor};

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
    #[module(skip)]
    heads: Heads,
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
            heads: Heads { queries: shape.heads, keys: shape.kv_heads, width: shape.head_width },
        }
    }

    /// `x`: `[B·S, D]`, as the result, which is added to `onto`. Looks at the keys and values of `before`, then at its own, as
    /// `sight` allows. The second result is its own keys and values.
    pub fn forward(
        &self,
        x: Tensor<2>,
        onto: Tensor<2>,
        angles: Option<&Angles>,
        sight: &Sight,
        before: Option<&KeysValues>,
        products: Products,
    ) -> (Tensor<2>, KeysValues) {
        let packed = ops::linear(x, &[&self.q, &self.k, &self.v], None, products);
        let packed = match angles {
            Some(angles) => ops::turn(packed, &angles.cos, &angles.sin, self.heads),
            None => packed,
        };
        let own = KeysValues { packed, rows: sight.rows() };
        let before = before.map(|before| before.packed.clone());
        let mixed = ops::attention(own.packed.clone(), before, sight, self.heads);
        (ops::linear(mixed, &[&self.out], Some(onto), products), own)
    }
}

/// Keys (turned by their positions) and values of one block, for a number of positions of each row.
#[derive(Clone, Debug)]
pub struct KeysValues {
    /// `[B·C, (H+2G)·K]`: with the queries, which nobody looks at any more.
    packed: Tensor<2>,
    rows: usize,
}

impl KeysValues {
    /// Of `[B, C, (H+2G)·K]`.
    pub(super) fn of(grid: Tensor<3>) -> Self {
        let [rows, positions, width] = grid.dims();
        Self { packed: grid.reshape([rows * positions, width]), rows }
    }

    /// `[B, C, (H+2G)·K]`.
    pub(super) fn grid(&self) -> Tensor<3> {
        self.packed.clone().reshape([self.rows, self.positions(), self.width()])
    }

    /// Numbers of a position, `(H+2G)·K`.
    pub(super) fn width(&self) -> usize {
        self.packed.dims()[1]
    }

    pub(super) fn device(&self) -> Device {
        self.packed.device()
    }

    /// `self`, then `next`, along the positions.
    pub fn then(&self, next: &Self) -> Self {
        Self::of(Tensor::cat(vec![self.grid(), next.grid()], 1))
    }

    /// Positions of each row, C.
    pub fn positions(&self) -> usize {
        self.packed.dims()[0] / self.rows
    }

    /// Whether nothing of them is trained.
    pub fn constant(&self) -> bool {
        !self.packed.is_autodiff()
    }

    /// The same without autodiff: constants to whatever comes after.
    pub fn inner(self) -> Self {
        Self { packed: self.packed.inner(), rows: self.rows }
    }
}
