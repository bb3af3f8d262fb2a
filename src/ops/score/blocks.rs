//! Owns: head, loss and entropy on other devices than the CPU. Matrix products are the device's own. A
//! block's logits go through one GPU kernel if the device has it, else through Burn's operations.
//! Must not know: the fused implementation on the CPU.
//! Invariant: logits never exist for more than a block of rows at a time.

use super::{Head, RequestedGradients, ScoreGrads, Scores, block_rows};
#[cfg(any(feature = "cuda", feature = "wgpu"))]
use crate::ops::cube;
use crate::ops::{MatmulPrecision, to_f32};
use burn::tensor::{IndexingUpdateOp, Int, Tensor};

/// Scores a block: logits `[n, V]`, targets `[n]` and loss weights `[n]`.
pub(super) type BlockScorer = fn(Tensor<2>, Tensor<1, Int>, Option<Tensor<1>>) -> BlockScores;

/// Returns the kernel if the device of `hidden` has one, else the implementation with Burn's operations.
pub(super) fn choose_scorer(hidden: &Tensor<2>) -> BlockScorer {
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    if cube::has_kernels_for(hidden) {
        return BlockScores::from_kernel;
    }
    let _ = hidden;
    BlockScores::reference
}

/// The reference, composed of Burn's operations alone.
#[cfg(test)]
pub fn reference(
    hidden: Tensor<2>,
    head: &Head,
    targets: Tensor<1, Int>,
    requested: Option<RequestedGradients>,
    precision: MatmulPrecision,
) -> Scores {
    score_in_blocks(hidden, head, targets, requested, precision, BlockScores::reference)
}

/// Returns the scores, computed block by block: logits by the device's matrix products, the rest by `scorer`.
pub(super) fn score_in_blocks(
    hidden: Tensor<2>,
    head: &Head,
    targets: Tensor<1, Int>,
    requested: Option<RequestedGradients>,
    precision: MatmulPrecision,
    scorer: BlockScorer,
) -> Scores {
    let matrix = precision.cast_operand(head.matrix());
    let hidden = precision.cast_operand(hidden);
    let [n, _] = hidden.dims();
    let rows = block_rows(n, matrix.dims()[1]);
    let (weights, mut sum) = match requested {
        Some(RequestedGradients { loss_weights: weights, weight_grad_sum: sum }) => (Some(weights), sum),
        None => (None, None),
    };
    let (mut nll, mut entropy, mut to_hidden) = (Vec::new(), Vec::new(), Vec::new());
    for start in (0..n).step_by(rows) {
        let len = rows.min(n - start);
        let h = hidden.clone().narrow(0, start, len);
        let weights = weights.clone().map(|weights| weights.narrow(0, start, len));
        let targets = targets.clone().narrow(0, start, len);
        let block = scorer(h.clone().matmul(matrix.clone()), targets, weights);
        nll.push(block.nll);
        entropy.push(block.entropy);
        if let Some(grads) = block.logit_grads {
            let grads = precision.cast_operand(grads);
            to_hidden.push(to_f32(grads.clone().matmul(matrix.clone().transpose())));
            let to_weight = to_f32(match head {
                Head::Untied(_) => h.transpose().matmul(grads),
                Head::Tied(_) => grads.transpose().matmul(h),
            });
            sum = Some(match sum {
                Some(sum) => sum + to_weight,
                None => to_weight,
            });
        }
    }
    let grads = sum.filter(|_| weights.is_some());
    Scores {
        nll: Tensor::cat(nll, 0),
        entropy: Tensor::cat(entropy, 0),
        grads: grads.map(|weight| ScoreGrads { hidden: Tensor::cat(to_hidden, 0), weight }),
    }
}

/// The scores of a block of rows.
pub(super) struct BlockScores {
    /// In nats, `[n]`.
    nll: Tensor<1>,
    /// In nats, `[n]`.
    entropy: Tensor<1>,
    /// The gradient of the logits, `[n, V]`, if there are loss weights.
    logit_grads: Option<Tensor<2>>,
}

impl BlockScores {
    fn reference(logits: Tensor<2>, targets: Tensor<1, Int>, weights: Option<Tensor<1>>) -> Self {
        let (len, softmax) = (logits.dims()[0], Softmax::from_logits(to_f32(logits)));
        let target = targets.reshape([len, 1]);
        let target_logit = softmax.shifted.clone().gather(1, target.clone());
        Self {
            nll: (softmax.log_sum.clone() - target_logit).squeeze_dim(1),
            entropy: softmax.entropy(),
            logit_grads: weights.map(|weights| {
                let weight = weights.reshape([len, 1]);
                (softmax.probs * weight.clone()).scatter(1, target, weight.neg(), IndexingUpdateOp::Add)
            }),
        }
    }

    /// Runs one GPU kernel, in the number type of the logits.
    #[cfg(any(feature = "cuda", feature = "wgpu"))]
    fn from_kernel(logits: Tensor<2>, targets: Tensor<1, Int>, weights: Option<Tensor<1>>) -> Self {
        let len = logits.dims()[0];
        let (scores, logit_grads) = cube::nll_entropy(logits, targets, weights);
        let [nll, entropy] = [0, 1].map(|which| scores.clone().narrow(0, which, 1).reshape([len]));
        Self { nll, entropy, logit_grads }
    }
}

/// The distributions of a block of rows.
pub struct Softmax {
    /// Probabilities, `[n, V]`.
    pub probs: Tensor<2>,
    /// Logits minus the largest of their row, `[n, V]`.
    pub shifted: Tensor<2>,
    /// `ln Σ e^shifted` of each row, `[n, 1]`.
    pub log_sum: Tensor<2>,
}

impl Softmax {
    /// Computes the distributions of logits `[n, V]`.
    pub fn from_logits(logits: Tensor<2>) -> Self {
        let shifted = logits.clone() - logits.max_dim(1);
        let exp = shifted.clone().exp();
        let sum = exp.clone().sum_dim(1);
        Self { log_sum: sum.clone().log(), probs: exp / sum, shifted }
    }

    /// Returns the entropy of each distribution in nats, `[n]`.
    pub fn entropy(&self) -> Tensor<1> {
        (self.log_sum.clone() - (self.probs.clone() * self.shifted.clone()).sum_dim(1)).squeeze_dim(1)
    }
}
