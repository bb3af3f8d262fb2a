//! Owns: the geometry of the sparse passes: the recycled positions of all rows as one `[B, R]` grid, and what each of
//! them may see.
//! Must not know: the model, losses.
//! Invariant: rows with fewer positions are filled up at the end; a filler is seen by fillers alone, and never scored.

use super::placement::Positions;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// The recycled positions, row by row, R of them (the most that a row has).
pub(super) struct Grid {
    /// Positions `[B, R]`; fillers stand at 1.
    pub at: Tensor<2, Int>,
    /// Positions before them, as indices into `[B·T]`, `[B·R]`.
    previous: Tensor<1, Int>,
    /// Those of `[B·R]` that are no fillers, `[N]`.
    real: Tensor<1, Int>,
}

impl Grid {
    pub fn new(positions: &Positions, device: &Device) -> Self {
        let r = positions.rows.iter().map(Vec::len).max().unwrap_or(0);
        let (mut at, mut previous, mut real) = (Vec::new(), Vec::new(), Vec::new());
        for (row, own) in positions.rows.iter().enumerate() {
            for n in 0..r {
                let t = own.get(n).copied().unwrap_or(1);
                at.push(t as i32);
                previous.push((row * positions.seq_len + t - 1) as i32);
                if n < own.len() {
                    real.push((row * r + n) as i32);
                }
            }
        }
        let flat = |values: Vec<i32>| {
            let count = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [count]), device)
        };
        Self { at: flat(at).reshape([positions.rows.len(), r]), previous: flat(previous), real: flat(real) }
    }

    /// THE alignment, for single positions: the input at `t` is the state of `t-1`. `hidden` `[B, T, D]` to `[B, R, D]`.
    pub fn before(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [b, _, d] = hidden.dims();
        let r = self.at.dims()[1];
        hidden.flatten::<2>(0, 1).select(0, self.previous.clone()).reshape([b, r, d])
    }

    /// `[B, R, D]` to `[N, D]`, without the fillers.
    pub fn real(&self, own: Tensor<3>) -> Tensor<2> {
        own.flatten::<2>(0, 1).select(0, self.real.clone())
    }

    /// `[B, 1, R, T+R]`, 0 where a position (row) may see another (column), -inf elsewhere. Columns are the T positions of
    /// the plain pass, then the R recycled ones. Each sees the plain pass before itself and, of the recycled ones,
    /// itself; `joint`: also the recycled ones before itself, in place of their plain twins.
    pub fn sight(&self, positions: &Positions, joint: bool) -> Tensor<4> {
        let [b, r] = self.at.dims();
        let t = positions.seq_len;
        let device = self.at.device();
        let columns = Tensor::<1, Int>::arange(0..t as i64, &device).reshape([1, 1, t]).expand([b, r, t]);
        let mut plain = columns.lower(self.at.clone().unsqueeze_dim::<3>(2).expand([b, r, t]));
        if joint {
            let twin = Tensor::<3, Bool>::from_data(TensorData::new(positions.mask(), [b, 1, t]), &device);
            plain = plain.bool_and(twin.expand([b, r, t]).bool_not());
        }
        // Burn's masks are true where they hide.
        let own = match joint {
            true => Tensor::<2, Bool>::tril_mask([r, r], 0, &device),
            false => Tensor::<2, Bool>::diag_mask([r, r], 0, &device),
        };
        let own = own.reshape([1, r, r]).expand([b, r, r]);
        let hidden = Tensor::cat(vec![plain.bool_not(), own], 2);
        Tensor::<3>::zeros([b, r, t + r], &device).mask_fill(hidden, f32::NEG_INFINITY).reshape([
            b,
            1,
            r,
            t + r,
        ])
    }
}
