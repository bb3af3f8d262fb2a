//! Owns: a few selected positions of each row: gathering, scattering, and their attention mask as a grid.
//! Must not know: why these positions were selected, what is fed at them.
//! Invariant: shorter rows are padded at the end; padding is visible only to padding, and never read.

use crate::ops::AttentionMask;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Whether selected positions attend to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    Isolated,
    Joint,
}

/// Selected positions of all rows, row by row: N positions in total, at most R in one row.
pub struct GatherIndex {
    /// The N positions as ascending indices into `[B·T]`.
    flat_indices: Vec<usize>,
    /// Position in its row of each grid slot, `[B, R]`; padding has position 1.
    pub(super) positions: Tensor<2, Int>,
    /// For each grid slot, which of the N positions it holds, `[B·R]`; 0 for padding.
    slot_sources: Tensor<1, Int>,
    /// The N slots of `[B·R]` that are not padding.
    real_slots: Vec<usize>,
    real_slots_tensor: Tensor<1, Int>,
    rows: usize,
    seq_len: usize,
}

impl GatherIndex {
    /// Builds the index from the ascending positions of each row of `seq_len` (T), at least one in total.
    pub fn new(rows: &[Vec<usize>], seq_len: usize, device: &Device) -> Self {
        let r = rows.iter().map(Vec::len).max().unwrap_or(0);
        let (mut flat_indices, mut at, mut from, mut real) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, positions) in rows.iter().enumerate() {
            for n in 0..r {
                at.push(positions.get(n).copied().unwrap_or(1));
                from.push(positions.get(n).map_or(0, |_| real.len()));
                if let Some(t) = positions.get(n) {
                    real.push(row * r + n);
                    flat_indices.push(row * seq_len + t);
                }
            }
        }
        let positions = index_tensor(&at, device).reshape([rows.len(), r]);
        let (slot_sources, real_slots) = (index_tensor(&from, device), real);
        let real_slots_tensor = index_tensor(&real_slots, device);
        Self { flat_indices, positions, slot_sources, real_slots, real_slots_tensor, rows: rows.len(), seq_len }
    }

    /// Returns the positions as indices into `[B·T]`, a tensor `[N]`.
    pub fn flat_indices(&self) -> Tensor<1, Int> {
        index_tensor(&self.flat_indices, &self.positions.device())
    }

    /// Gathers the states `[N, D]` of the selected positions from `whole` `[B, T, D]`.
    pub fn gather(&self, whole: &Tensor<3>) -> Tensor<2> {
        flatten_rows(whole).select(0, self.flat_indices())
    }

    /// Returns `whole` `[B, T, D]` with `states` `[N, D]` at the selected positions, otherwise bit for bit.
    pub fn scatter(&self, whole: &Tensor<3>, states: Tensor<2>) -> Tensor<3> {
        let [b, t, d] = whole.dims();
        let mut from: Vec<usize> = (0..b * t).collect();
        for (n, position) in self.flat_indices.iter().enumerate() {
            from[*position] = b * t + n;
        }
        Tensor::cat(vec![flatten_rows(whole), states], 0)
            .select(0, index_tensor(&from, &self.positions.device()))
            .reshape([b, t, d])
    }

    /// Arranges states `[N, D]` as a padded grid `[B, R, D]`.
    pub(super) fn to_grid(&self, states: Tensor<2>) -> Tensor<3> {
        let ([b, r], d) = (self.positions.dims(), states.dims()[1]);
        states.select(0, self.slot_sources.clone()).reshape([b, r, d])
    }

    /// Removes the padding from a grid `[B, R, D]`, and returns the states `[N, D]`.
    pub(super) fn without_padding(&self, filled: &Tensor<3>) -> Tensor<2> {
        flatten_rows(filled).select(0, self.real_slots_tensor.clone())
    }

    /// Returns the attention mask of the grid. A position sees itself, and the plain positions before it in its
    /// row, or with [`Visibility::Joint`] the earlier positions of the grid instead of their plain counterparts.
    pub(super) fn attention_mask(&self, visibility: Visibility) -> AttentionMask {
        let ([_, r], t) = (self.positions.dims(), self.seq_len);
        // Padding has position 1.
        let mut limits = vec![1; self.rows * r];
        for (slot, position) in self.real_slots.iter().zip(&self.flat_indices) {
            limits[*slot] = position % t;
        }
        let hidden = (visibility == Visibility::Joint).then(|| {
            let mut hidden = vec![false; self.rows * t];
            self.flat_indices.iter().for_each(|position| hidden[*position] = true);
            hidden
        });
        AttentionMask::sparse(self.rows, r, t, limits, hidden)
    }
}

/// Flattens `[B, T, D]` to one row per position, `[B·T, D]`.
pub fn flatten_rows(whole: &Tensor<3>) -> Tensor<2> {
    whole.clone().flatten(0, 1)
}

pub fn index_tensor(indices: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = indices.iter().map(|index| *index as i32).collect();
    Tensor::from_data(TensorData::new(values, [indices.len()]), device)
}
