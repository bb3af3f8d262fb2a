//! Owns: which positions may attend to which.
//! Must not know: heads, numbers.
//! Invariant: every position attends to itself.

use super::probs::DeviceMask;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use crate::ops::cube::{self, KernelMask};
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::{Arc, OnceLock};

/// An attention mask: in each of B rows, S query positions attend to C prefix positions and to each other.
#[derive(Clone, Debug)]
pub struct AttentionMask {
    rows: usize,
    query_positions: usize,
    prefix_positions: usize,
    kind: MaskKind,
    dense: Arc<OnceLock<Tensor<4>>>,
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    kernel_mask: Arc<OnceLock<KernelMask>>,
}

#[derive(Clone, Debug)]
enum MaskKind {
    /// Attends to the whole prefix, and to preceding query positions.
    Causal,
    Sparse(Arc<SparseMask>),
}

#[derive(Debug)]
struct SparseMask {
    /// Length of the prefix that each query position may attend to, `[B·S]`.
    limits: Vec<usize>,
    /// Prefix positions that no query position attends to, `[B·C]`; empty if there are none.
    hidden: Vec<bool>,
    /// Whether a query position attends to preceding query positions too.
    joint: bool,
}

impl AttentionMask {
    /// Creates the mask of `query_positions` in a row that follow `prefix_positions`.
    pub fn causal(rows: usize, query_positions: usize, prefix_positions: usize) -> Self {
        Self::new(rows, query_positions, prefix_positions, MaskKind::Causal)
    }

    /// Creates the mask of scattered query positions.
    ///
    /// Position `n` of row `b` attends to itself and to the first `limits[b·S+n]` prefix positions. With `joint` it
    /// attends to preceding query positions too, and to no prefix position that `joint` `[B·C]` marks as hidden.
    pub fn sparse(
        rows: usize,
        query_positions: usize,
        prefix_positions: usize,
        limits: Vec<usize>,
        joint: Option<Vec<bool>>,
    ) -> Self {
        let sparse = SparseMask { limits, joint: joint.is_some(), hidden: joint.unwrap_or_default() };
        Self::new(rows, query_positions, prefix_positions, MaskKind::Sparse(Arc::new(sparse)))
    }

    fn new(rows: usize, query_positions: usize, prefix_positions: usize, kind: MaskKind) -> Self {
        Self {
            rows,
            query_positions,
            prefix_positions,
            kind,
            dense: Arc::default(),
            #[cfg(any(feature = "cuda", feature = "wgpu"))]
            kernel_mask: Arc::default(),
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn query_positions(&self) -> usize {
        self.query_positions
    }

    pub fn prefix_positions(&self) -> usize {
        self.prefix_positions
    }

    /// Returns the length of the prefix that a query position attends to, except for hidden positions.
    #[inline]
    pub(super) fn prefix_limit(&self, row: usize, at: usize) -> usize {
        match &self.kind {
            MaskKind::Causal => self.prefix_positions,
            MaskKind::Sparse(sparse) => sparse.limits[row * self.query_positions + at],
        }
    }

    /// Returns which prefix positions of a row are hidden from all query positions, `[C]`; empty if none is.
    #[inline]
    pub(super) fn hidden_prefix(&self, row: usize) -> &[bool] {
        match &self.kind {
            MaskKind::Sparse(sparse) if !sparse.hidden.is_empty() => {
                &sparse.hidden[row * self.prefix_positions..(row + 1) * self.prefix_positions]
            }
            _ => &[],
        }
    }

    /// Returns the first query position that query position `at` attends to; the last one is `at` itself.
    #[inline]
    pub(super) fn first_visible(&self, at: usize) -> usize {
        if self.is_isolated() { at } else { 0 }
    }

    /// Returns whether each query position attends to no other query position.
    pub(super) fn is_isolated(&self) -> bool {
        matches!(&self.kind, MaskKind::Sparse(sparse) if !sparse.joint)
    }

    /// Returns the mask of `count` rows from row `start` on, for the device and number type of `like`.
    pub(super) fn device_mask(&self, start: usize, count: usize, like: &Tensor<2>) -> DeviceMask {
        #[cfg(any(feature = "cuda", feature = "wgpu"))]
        if cube::has_kernels_for(like) {
            let build = || self.build_kernel_mask(&like.device().without_autodiff());
            return DeviceMask::Kernel(self.kernel_mask.get_or_init(build).rows(start, count));
        }
        let mask = self.dense(&like.device());
        DeviceMask::Dense(if mask.dims()[0] == 1 { mask } else { mask.narrow(0, start, count) })
    }

    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn build_kernel_mask(&self, device: &Device) -> KernelMask {
        let (s, c) = (self.query_positions, self.prefix_positions);
        let mut table = vec![0_i32; self.rows * (s + c)];
        for (row, table) in table.chunks_exact_mut(s + c).enumerate() {
            let (limits, hidden) = table.split_at_mut(s);
            for (at, limit) in limits.iter_mut().enumerate() {
                *limit = self.prefix_limit(row, at) as i32;
            }
            for (to, hidden) in hidden.iter_mut().zip(self.hidden_prefix(row)) {
                *to = i32::from(*hidden);
            }
        }
        let table = Tensor::from_data(TensorData::new(table, [self.rows, s + c]), device);
        let joint = s < 2 || self.first_visible(1) == 0;
        KernelMask { table, query_positions: s, prefix_positions: c, joint }
    }

    /// Returns the numbers to add to scores, `[B or 1, 1, S, C+S]`: 0 if visible, else -inf. Built once.
    pub(super) fn dense(&self, device: &Device) -> Tensor<4> {
        self.dense.get_or_init(|| self.build_dense(device)).clone()
    }

    fn build_dense(&self, device: &Device) -> Tensor<4> {
        let (s, c) = (self.query_positions, self.prefix_positions);
        let rows = if matches!(self.kind, MaskKind::Causal) { 1 } else { self.rows };
        let mut mask = vec![f32::NEG_INFINITY; rows * s * (c + s)];
        for (line, mask) in mask.chunks_exact_mut(c + s).enumerate() {
            let (row, at) = (line / s, line % s);
            mask[..self.prefix_limit(row, at)].fill(0.0);
            for (mask, _) in mask.iter_mut().zip(self.hidden_prefix(row)).filter(|(_, hidden)| **hidden) {
                *mask = f32::NEG_INFINITY;
            }
            mask[c + self.first_visible(at)..=c + at].fill(0.0);
        }
        Tensor::from_data(TensorData::new(mask, [rows, 1, s, c + s]), device)
    }
}
