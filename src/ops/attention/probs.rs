//! Owns: probabilities and gradients of attention scores on other devices than the CPU: a GPU kernel, which
//! reads and writes every score once, or else Burn's operations.
//! Must not know: where rows come from.
//! Invariant: a masked score has a probability of exactly 0.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
use crate::ops::cube::{self, KernelMask};
use crate::ops::{cast_like, to_f32};
use burn::tensor::{Tensor, activation};

/// Something of every key: one matrix for the S query positions, and one for the C prefix positions if any.
#[derive(Clone)]
pub(super) struct KeySplit {
    pub current: Tensor<4>,
    pub prefix: Option<Tensor<4>>,
}

/// The attention mask of a group of rows, as its device takes it.
pub(super) enum DeviceMask {
    /// Added to the scores, `[b or 1, 1, S, C+S]`.
    Dense(Tensor<4>),
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    Kernel(KernelMask),
}

impl KeySplit {
    /// Returns `a·xᵀ` for both parts `x`.
    pub fn mul_transposed(&self, a: &Tensor<4>) -> Self {
        self.map(|x| a.clone().matmul(x.clone().transpose()))
    }

    /// Returns `Σ probs·x`, the sum over both parts `x`.
    pub fn weighted_sum(&self, probs: Self) -> Tensor<4> {
        let current = probs.current.matmul(self.current.clone());
        match (probs.prefix, &self.prefix) {
            (Some(probs), Some(prefix)) => current + probs.matmul(prefix.clone()),
            _ => current,
        }
    }

    /// Returns `xᵀ·right` for the part `x` of the query positions and, if `with_prefix`, of the prefix.
    pub fn transposed_mul(&self, right: &Tensor<4>, with_prefix: bool) -> Self {
        let multiply = |x: &Tensor<4>| x.clone().transpose().matmul(right.clone());
        Self { current: multiply(&self.current), prefix: self.prefix.as_ref().filter(|_| with_prefix).map(multiply) }
    }

    fn map(&self, f: impl Fn(&Tensor<4>) -> Tensor<4>) -> Self {
        Self { current: f(&self.current), prefix: self.prefix.as_ref().map(&f) }
    }

    /// Turns scores `[b, G, H/G·S, S or C]` into probabilities: `softmax(scale·scores)` over both parts.
    pub fn softmax(self, mask: &DeviceMask, scale: f32) -> Self {
        match mask {
            DeviceMask::Dense(mask) => self.masked_softmax(mask, scale),
            #[cfg(any(feature = "cuda", feature = "wgpu"))]
            DeviceMask::Kernel(mask) => {
                let (current, prefix) = cube::attention_probs((self.current, self.prefix), mask, scale);
                Self { current, prefix }
            }
        }
    }

    /// Computes in f32 and returns probabilities in the number type of the scores.
    fn masked_softmax(self, mask: &Tensor<4>, scale: f32) -> Self {
        let [b, g, rows, s] = self.current.dims();
        let [_, _, positions, columns] = mask.dims();
        let c = columns - s;
        let all = match &self.prefix {
            Some(prefix) => Tensor::cat(vec![prefix.clone(), self.current.clone()], 3),
            None => self.current.clone(),
        };
        let all = (to_f32(all) * scale).reshape([b, g * rows / positions, positions, columns]) + mask.clone();
        let probs = cast_like(activation::softmax(all, 3), &self.current).reshape([b, g, rows, columns]);
        let prefix = self.prefix.map(|_| probs.clone().narrow(3, 0, c));
        Self { current: probs.narrow(3, c, s), prefix }
    }

    /// Turns gradients `dp` of probabilities into gradients of scores: `p·(dp - Σ p·dp)·scale`.
    pub fn score_grads(self, probs: Self, scale: f32) -> Self {
        #[cfg(any(feature = "cuda", feature = "wgpu"))]
        if cube::has_kernels_for(&self.current) {
            let grads = (self.current, self.prefix);
            let (current, prefix) = cube::score_grads(grads, (probs.current, probs.prefix), scale);
            return Self { current, prefix };
        }
        let row_dot = |p: &Tensor<4>, dp: &Tensor<4>| (to_f32(p.clone()) * to_f32(dp.clone())).sum_dim(3);
        let mean = row_dot(&probs.current, &self.current);
        let mean = match (&probs.prefix, &self.prefix) {
            (Some(p), Some(dp)) => mean + row_dot(p, dp),
            _ => mean,
        };
        let score_grad =
            |p: Tensor<4>, dp: Tensor<4>| cast_like((to_f32(dp.clone()) - mean.clone()) * to_f32(p) * scale, &dp);
        let prefix = probs.prefix.zip(self.prefix).map(|(p, dp)| score_grad(p, dp));
        Self { current: score_grad(probs.current, self.current), prefix }
    }
}
