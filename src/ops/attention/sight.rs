//! Owns: which positions may see which.
//! Must not know: heads, numbers.
//! Invariant: every position sees itself.

use super::shares::Seen;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use crate::ops::cube::{self, Reach};
use burn::tensor::{Device, Tensor, TensorData};
use std::sync::{Arc, OnceLock};

/// Who sees whom: S positions of each of B rows look at C others, which stand before them, and at each other.
#[derive(Clone, Debug)]
pub struct Sight {
    rows: usize,
    own: usize,
    before: usize,
    kind: Kind,
    mask: Arc<OnceLock<Tensor<4>>>,
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    reach: Arc<OnceLock<Reach>>,
}

#[derive(Clone, Debug)]
enum Kind {
    /// All C, and of their own the earlier ones.
    Causal,
    Sparse(Arc<Sparse>),
}

#[derive(Debug)]
struct Sparse {
    /// `[B·S]`: sees this many of the C, the first ones.
    limits: Vec<usize>,
    /// `[B·C]`: but not these; empty: all.
    hidden: Vec<bool>,
    /// The earlier ones of their own too.
    joint: bool,
}

impl Sight {
    /// `own` positions a row that follow the `before` ones.
    pub fn causal(rows: usize, own: usize, before: usize) -> Self {
        Self::new(rows, own, before, Kind::Causal)
    }

    /// Scattered positions: position `n` of row `b` sees itself and the first `limits[b·S+n]` of the `before` ones;
    /// `joint`: its own earlier ones too, and none of the `before` that are `hidden` `[B·C]`.
    pub fn sparse(
        rows: usize,
        own: usize,
        before: usize,
        limits: Vec<usize>,
        joint: Option<Vec<bool>>,
    ) -> Self {
        let sparse = Sparse { limits, joint: joint.is_some(), hidden: joint.unwrap_or_default() };
        Self::new(rows, own, before, Kind::Sparse(Arc::new(sparse)))
    }

    fn new(rows: usize, own: usize, before: usize, kind: Kind) -> Self {
        Self {
            rows,
            own,
            before,
            kind,
            mask: Arc::default(),
            #[cfg(any(feature = "cuda", feature = "wgpu"))]
            reach: Arc::default(),
        }
    }

    /// B.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// S.
    pub fn own(&self) -> usize {
        self.own
    }

    /// C.
    pub fn before(&self) -> usize {
        self.before
    }

    /// How many of the C, from the first on, position `at` of row `row` sees, but for hidden ones.
    #[inline]
    pub(super) fn limit(&self, row: usize, at: usize) -> usize {
        match &self.kind {
            Kind::Causal => self.before,
            Kind::Sparse(sparse) => sparse.limits[row * self.own + at],
        }
    }

    /// Which of the C nobody in row `row` sees; empty: none.
    #[inline]
    pub(super) fn hidden(&self, row: usize) -> &[bool] {
        match &self.kind {
            Kind::Sparse(sparse) if !sparse.hidden.is_empty() => {
                &sparse.hidden[row * self.before..(row + 1) * self.before]
            }
            _ => &[],
        }
    }

    /// The first of its own that position `at` sees; the last is itself.
    #[inline]
    pub(super) fn first(&self, at: usize) -> usize {
        if self.alone() { at } else { 0 }
    }

    /// Whether each sees no other of its own than itself.
    pub(super) fn alone(&self) -> bool {
        matches!(&self.kind, Kind::Sparse(sparse) if !sparse.joint)
    }

    /// Who sees whom in `count` rows from row `start` on, for scores of `like`.
    pub(super) fn seen(&self, start: usize, count: usize, like: &Tensor<2>) -> Seen {
        #[cfg(any(feature = "cuda", feature = "wgpu"))]
        if cube::takes(like) {
            let reach = self.reach.get_or_init(|| self.reached(&like.device().without_autodiff()));
            return Seen::Reach(reach.of(start, count));
        }
        let mask = self.mask(&like.device());
        Seen::Mask(if mask.dims()[0] == 1 { mask } else { mask.narrow(0, start, count) })
    }

    /// The same for the kernels of a GPU. Made once.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn reached(&self, device: &Device) -> Reach {
        let (s, c) = (self.own, self.before);
        let mut numbers = vec![0_i32; self.rows * (s + c)];
        for (row, numbers) in numbers.chunks_exact_mut(s + c).enumerate() {
            let (limits, hidden) = numbers.split_at_mut(s);
            for (at, limit) in limits.iter_mut().enumerate() {
                *limit = self.limit(row, at) as i32;
            }
            for (to, hidden) in hidden.iter_mut().zip(self.hidden(row)) {
                *to = i32::from(*hidden);
            }
        }
        let numbers = Tensor::from_data(TensorData::new(numbers, [self.rows, s + c]), device);
        Reach { numbers, positions: s, earlier: c, joint: s < 2 || self.first(1) == 0 }
    }

    /// `[B or 1, 1, S, C+S]`: 0 where a position (row) may see another (column), -inf elsewhere. Made once.
    pub(super) fn mask(&self, device: &Device) -> Tensor<4> {
        self.mask.get_or_init(|| self.masked(device)).clone()
    }

    fn masked(&self, device: &Device) -> Tensor<4> {
        let (s, c) = (self.own, self.before);
        let rows = if matches!(self.kind, Kind::Causal) { 1 } else { self.rows };
        let mut open = vec![f32::NEG_INFINITY; rows * s * (c + s)];
        for (line, open) in open.chunks_exact_mut(c + s).enumerate() {
            let (row, at) = (line / s, line % s);
            open[..self.limit(row, at)].fill(0.0);
            for (open, _) in open.iter_mut().zip(self.hidden(row)).filter(|(_, hidden)| **hidden) {
                *open = f32::NEG_INFINITY;
            }
            open[c + self.first(at)..=c + at].fill(0.0);
        }
        Tensor::from_data(TensorData::new(open, [rows, 1, s, c + s]), device)
    }
}
