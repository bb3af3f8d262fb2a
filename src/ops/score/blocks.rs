//! Owns: head, loss and entropy elsewhere than on the CPU: the device's own products, and of a block's logits one kernel where
//! there is one, Burn's operations elsewhere.
//! Must not know: the CPU's way.
//! Invariant: logits never exist for more than a block of rows at a time.

use super::{Grads, Head, Scores, Wanted, block_rows};
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use crate::ops::cube;
use crate::ops::{Products, f32};
use burn::tensor::{IndexingUpdateOp, Int, Tensor};

/// What is said of a block's logits `[n, V]`, targets and weights `[n]`.
pub(super) type Say = fn(Tensor<2>, Tensor<1, Int>, Option<Tensor<1>>) -> Said;

/// One kernel where the device of `hidden` has one, else Burn's own operations.
pub(super) fn say(hidden: &Tensor<2>) -> Say {
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    if cube::takes(hidden) {
        return Said::kernel;
    }
    let _ = hidden;
    Said::composed
}

/// All of Burn's own operations, which the others are held to.
#[cfg(test)]
pub fn composed(
    hidden: Tensor<2>,
    head: &Head,
    targets: Tensor<1, Int>,
    wanted: Option<Wanted>,
    products: Products,
) -> Scores {
    in_blocks(hidden, head, targets, wanted, products, Said::composed)
}

/// Scores of the device's own products, block by block, as `say` has it.
pub(super) fn in_blocks(
    hidden: Tensor<2>,
    head: &Head,
    targets: Tensor<1, Int>,
    wanted: Option<Wanted>,
    products: Products,
    say: Say,
) -> Scores {
    let matrix = products.factor(head.matrix());
    let hidden = products.factor(hidden);
    let [n, _] = hidden.dims();
    let rows = block_rows(n, matrix.dims()[1]);
    let (weights, mut sum) = match wanted {
        Some(Wanted { weights, sum }) => (Some(weights), sum),
        None => (None, None),
    };
    let (mut nll, mut entropy, mut to_hidden) = (Vec::new(), Vec::new(), Vec::new());
    for start in (0..n).step_by(rows) {
        let len = rows.min(n - start);
        let h = hidden.clone().narrow(0, start, len);
        let weights = weights.clone().map(|weights| weights.narrow(0, start, len));
        let said = say(h.clone().matmul(matrix.clone()), targets.clone().narrow(0, start, len), weights);
        nll.push(said.nll);
        entropy.push(said.entropy);
        if let Some(slopes) = said.slopes {
            let slopes = products.factor(slopes);
            to_hidden.push(f32(slopes.clone().matmul(matrix.clone().transpose())));
            let part = f32(match head {
                Head::Own(_) => h.transpose().matmul(slopes),
                Head::Tied(_) => slopes.transpose().matmul(h),
            });
            sum = Some(match sum {
                Some(sum) => sum + part,
                None => part,
            });
        }
    }
    let grads = sum.filter(|_| weights.is_some());
    Scores {
        nll: Tensor::cat(nll, 0),
        entropy: Tensor::cat(entropy, 0),
        grads: grads.map(|weight| Grads { hidden: Tensor::cat(to_hidden, 0), weight }),
    }
}

/// What the logits of a block of rows say.
pub(super) struct Said {
    /// `[n]`, as [`Scores`] has them.
    nll: Tensor<1>,
    entropy: Tensor<1>,
    /// The gradient of the logits, `[n, V]`, where there are weights.
    slopes: Option<Tensor<2>>,
}

impl Said {
    fn composed(logits: Tensor<2>, targets: Tensor<1, Int>, weights: Option<Tensor<1>>) -> Self {
        let (len, softmax) = (logits.dims()[0], Softmax::of(f32(logits)));
        let target = targets.reshape([len, 1]);
        let own = softmax.shifted.clone().gather(1, target.clone());
        Self {
            nll: (softmax.log_sum.clone() - own).squeeze_dim(1),
            entropy: softmax.entropy(),
            slopes: weights.map(|weights| {
                let weight = weights.reshape([len, 1]);
                (softmax.probs * weight.clone()).scatter(1, target, weight.neg(), IndexingUpdateOp::Add)
            }),
        }
    }

    /// One kernel, in whatever the logits are of.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn kernel(logits: Tensor<2>, targets: Tensor<1, Int>, weights: Option<Tensor<1>>) -> Self {
        let len = logits.dims()[0];
        let (said, slopes) = cube::said(logits, targets, weights);
        let [nll, entropy] = [0, 1].map(|which| said.clone().narrow(0, which, 1).reshape([len]));
        Self { nll, entropy, slopes }
    }
}

/// The distributions of a block of rows.
pub struct Softmax {
    /// `[n, V]`.
    pub probs: Tensor<2>,
    /// Logits less the largest of their row, `[n, V]`.
    shifted: Tensor<2>,
    /// Of exp(shifted), `[n, 1]`.
    log_sum: Tensor<2>,
}

impl Softmax {
    /// From logits `[n, V]`.
    pub fn of(logits: Tensor<2>) -> Self {
        let shifted = logits.clone() - logits.max_dim(1);
        let exp = shifted.clone().exp();
        let sum = exp.clone().sum_dim(1);
        Self { log_sum: sum.clone().log(), probs: exp / sum, shifted }
    }

    /// `[n]`, nats.
    pub fn entropy(&self) -> Tensor<1> {
        (self.log_sum.clone() - (self.probs.clone() * self.shifted.clone()).sum_dim(1)).squeeze_dim(1)
    }
}
