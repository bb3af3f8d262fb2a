//! Owns: the keys and values of one block for positions that have passed it.
//! Must not know: how they were computed, how long they are kept.
//! Invariant: every row has as many positions.

use burn::tensor::{Device, Tensor};

/// Keys (already rotated by their positions) and values of one block, for C positions of each row.
#[derive(Clone, Debug)]
pub struct KeysValues {
    /// Queries, keys and values, `[B·C, (H+2G)·K]`. The queries are no longer used.
    packed: Tensor<2>,
    rows: usize,
}

impl KeysValues {
    pub(super) fn new(packed: Tensor<2>, rows: usize) -> Self {
        Self { packed, rows }
    }

    pub(super) fn packed(&self) -> &Tensor<2> {
        &self.packed
    }

    pub(super) fn from_grid(grid: Tensor<3>) -> Self {
        let [rows, positions, width] = grid.dims();
        Self { packed: grid.reshape([rows * positions, width]), rows }
    }

    pub(super) fn to_grid(&self) -> Tensor<3> {
        self.packed.clone().reshape([self.rows, self.positions(), self.width()])
    }

    /// Returns how many numbers a position has: `(H+2G)·K`.
    pub(super) fn width(&self) -> usize {
        self.packed.dims()[1]
    }

    pub(super) fn device(&self) -> Device {
        self.packed.device()
    }

    /// Concatenates `self` and `next` along the positions.
    pub fn concat(&self, next: &Self) -> Self {
        Self::from_grid(Tensor::cat(vec![self.to_grid(), next.to_grid()], 1))
    }

    /// Returns the number of positions of each row, C.
    pub fn positions(&self) -> usize {
        self.packed.dims()[0] / self.rows
    }

    /// Whether they are constants, so that no gradient flows into them.
    pub fn is_constant(&self) -> bool {
        !self.packed.is_autodiff()
    }

    /// Returns them without autodiff: constants to all later computations.
    pub fn inner(self) -> Self {
        Self { packed: self.packed.inner(), rows: self.rows }
    }
}
