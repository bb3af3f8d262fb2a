//! Owns: what is made of scores elsewhere than on the CPU: shares, and on the way back the slopes of scores; on a GPU one kernel
//! each, which reads and writes a score once, elsewhere Burn's own operations.
//! Must not know: where rows come from.
//! Invariant: what is not seen has a share of exactly nothing.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use crate::ops::cube::{self, Reach};
use crate::ops::{alike, f32};
use burn::tensor::{Tensor, activation};

/// One matrix for the S positions themselves, and one for the C before them, where there are any.
pub(super) struct Parts {
    pub own: Tensor<4>,
    pub before: Option<Tensor<4>>,
}

/// Who sees whom in a group of rows, as its device takes it.
pub(super) enum Seen {
    /// `[b or 1, 1, S, C+S]`.
    Mask(Tensor<4>),
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    Reach(Reach),
}

impl Parts {
    /// `a·xᵀ` of each.
    pub fn against(&self, a: &Tensor<4>) -> Self {
        self.each(|x| a.clone().matmul(x.clone().transpose()))
    }

    /// `Σ shares·x` over both.
    pub fn mixed(&self, shares: Self) -> Tensor<4> {
        let own = shares.own.matmul(self.own.clone());
        match (shares.before, &self.before) {
            (Some(shares), Some(before)) => own + shares.matmul(before.clone()),
            _ => own,
        }
    }

    /// `sharesᵀ·from` of the own ones and, `both`, of those before.
    pub fn back(&self, from: &Tensor<4>, both: bool) -> Self {
        let one = |shares: &Tensor<4>| shares.clone().transpose().matmul(from.clone());
        Self { own: one(&self.own), before: self.before.as_ref().filter(|_| both).map(one) }
    }

    fn each(&self, f: impl Fn(&Tensor<4>) -> Tensor<4>) -> Self {
        Self { own: f(&self.own), before: self.before.as_ref().map(&f) }
    }

    /// Shares of scores `[b, G, H/G·S, S]`, `[b, G, H/G·S, C]`: `softmax(scale·scores)` of what is seen, both together.
    pub fn softmax(self, seen: &Seen, scale: f32) -> Self {
        match seen {
            Seen::Mask(mask) => self.masked(mask, scale),
            #[cfg(any(feature = "cuda", feature = "wgpu"))]
            Seen::Reach(reach) => {
                let (own, before) = cube::shares((self.own, self.before), reach, scale);
                Self { own, before }
            }
        }
    }

    /// In f32, whatever the scores are of; the shares are of the same.
    fn masked(self, mask: &Tensor<4>, scale: f32) -> Self {
        let [b, g, rows, s] = self.own.dims();
        let [_, _, positions, columns] = mask.dims();
        let c = columns - s;
        let all = match &self.before {
            Some(before) => Tensor::cat(vec![before.clone(), self.own.clone()], 3),
            None => self.own.clone(),
        };
        let all = (f32(all) * scale).reshape([b, g * rows / positions, positions, columns]) + mask.clone();
        let shares = alike(activation::softmax(all, 3), &self.own).reshape([b, g, rows, columns]);
        let before = self.before.map(|_| shares.clone().narrow(3, 0, c));
        Self { own: shares.narrow(3, c, s), before }
    }

    /// The gradients of the scores, of which `self` are the gradients of the `shares`: `p·(dp - Σ p·dp)·scale`.
    pub fn slopes(self, shares: Self, scale: f32) -> Self {
        #[cfg(any(feature = "cuda", feature = "wgpu"))]
        if cube::takes(&self.own) {
            let (own, before) = cube::slopes((self.own, self.before), (shares.own, shares.before), scale);
            return Self { own, before };
        }
        let product = |p: &Tensor<4>, dp: &Tensor<4>| (f32(p.clone()) * f32(dp.clone())).sum_dim(3);
        let mean = product(&shares.own, &self.own);
        let mean = match (&shares.before, &self.before) {
            (Some(p), Some(dp)) => mean + product(p, dp),
            _ => mean,
        };
        let slope =
            |p: Tensor<4>, dp: Tensor<4>| alike((f32(dp.clone()) - mean.clone()) * f32(p) * scale, &dp);
        let before = shares.before.zip(self.before).map(|(p, dp)| slope(p, dp));
        Self { own: slope(shares.own, self.own), before }
    }
}
