//! Owns: a few positions of each row: taking them out of whole rows and putting them back, and, as one `[B, R]` grid,
//! what each of them may see.
//! Must not know: why these positions, what is fed at them.
//! Invariant: rows with fewer positions are filled up at the end of the grid; a filler is seen by fillers alone, and never
//! read.

use crate::ops::Sight;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Positions of all rows, row by row: N in all, R the most that a row has.
pub struct Places {
    /// `[B·T]` indices, ascending.
    flat: Vec<usize>,
    /// Positions `[B, R]`; fillers stand at 1.
    pub(super) at: Tensor<2, Int>,
    /// Which of the N stands at a place of the grid, `[B·R]`; 0 for fillers.
    from: Tensor<1, Int>,
    /// The N places of `[B·R]` that are no fillers.
    grid: Vec<usize>,
    /// The same on the device.
    real: Tensor<1, Int>,
    rows: usize,
    seq_len: usize,
}

impl Places {
    /// `rows`: ascending positions of each row, of `seq_len` (T); at least one in all.
    pub fn new(rows: &[Vec<usize>], seq_len: usize, device: &Device) -> Self {
        let r = rows.iter().map(Vec::len).max().unwrap_or(0);
        let (mut flat, mut at, mut from, mut real) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, own) in rows.iter().enumerate() {
            for n in 0..r {
                at.push(own.get(n).copied().unwrap_or(1));
                from.push(own.get(n).map_or(0, |_| real.len()));
                if let Some(t) = own.get(n) {
                    real.push(row * r + n);
                    flat.push(row * seq_len + t);
                }
            }
        }
        let at = index(&at, device).reshape([rows.len(), r]);
        let (from, grid) = (index(&from, device), real);
        let real = index(&grid, device);
        Self { flat, at, from, grid, real, rows: rows.len(), seq_len }
    }

    /// As indices into `[B·T]`, `[N]`.
    pub fn flat(&self) -> Tensor<1, Int> {
        index(&self.flat, &self.at.device())
    }

    /// Their states out of `whole` `[B, T, D]`, `[N, D]`.
    pub fn take(&self, whole: &Tensor<3>) -> Tensor<2> {
        rows(whole).select(0, self.flat())
    }

    /// `whole` `[B, T, D]` with `own` `[N, D]` in its places, to the bit.
    pub fn put(&self, whole: &Tensor<3>, own: Tensor<2>) -> Tensor<3> {
        let [b, t, d] = whole.dims();
        let mut from: Vec<usize> = (0..b * t).collect();
        for (n, place) in self.flat.iter().enumerate() {
            from[*place] = b * t + n;
        }
        Tensor::cat(vec![rows(whole), own], 0).select(0, index(&from, &self.at.device())).reshape([b, t, d])
    }

    /// `[N, D]` to `[B, R, D]`.
    pub(super) fn fill(&self, own: Tensor<2>) -> Tensor<3> {
        let ([b, r], d) = (self.at.dims(), own.dims()[1]);
        own.select(0, self.from.clone()).reshape([b, r, d])
    }

    /// `[B, R, D]` to `[N, D]`, without the fillers.
    pub(super) fn real(&self, filled: &Tensor<3>) -> Tensor<2> {
        rows(filled).select(0, self.real.clone())
    }

    /// What each place of the grid sees: the whole row before itself and, of the grid, itself; `joint`: also those of the
    /// grid before itself, in place of their twins in the whole row.
    pub(super) fn sight(&self, joint: bool) -> Sight {
        let ([_, r], t) = (self.at.dims(), self.seq_len);
        // Fillers stand at 1.
        let mut limits = vec![1; self.rows * r];
        for (n, place) in self.grid.iter().zip(&self.flat) {
            limits[*n] = place % t;
        }
        let twins = joint.then(|| {
            let mut twins = vec![false; self.rows * t];
            self.flat.iter().for_each(|place| twins[*place] = true);
            twins
        });
        Sight::sparse(self.rows, r, t, limits, twins)
    }
}

/// `[B, T, D]` to `[B·T, D]`.
pub fn rows(whole: &Tensor<3>) -> Tensor<2> {
    whole.clone().flatten(0, 1)
}

/// Indices on the device.
pub fn index(at: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = at.iter().map(|at| *at as i32).collect();
    Tensor::from_data(TensorData::new(values, [at.len()]), device)
}
