//! Owns: the head's product, the loss and the entropy, per position, and their gradients.
//! Must not know: which pass the hidden states come from, how losses are weighed.
//! Invariant: logits never exist for more than a block of rows at a time, forward or backward.
//!
//! The autodiff graph ends at the hidden states. Here their gradient is computed by hand, block by block:
//! with `p = softmax(h·W)` and loss `Σ wₙ·nllₙ`, the logits' gradient is `wₙ (p - onehot(target))`, so
//! `dh = dlogits·Wᵀ` and `dW = hᵀ·dlogits`. [`Scores::surrogate`] hands `dh` back to the graph.

use super::Transformer;
use burn::optim::GradientsParams;
use burn::tensor::{IndexingUpdateOp, Int, Tensor};

/// Logits held at a time: large enough for full-speed matrix products, small enough to stay out of the way.
const BLOCK_LOGITS: usize = 1 << 22;
/// Fewest rows a block: below it, adding up `dW` costs more than the logits.
const BLOCK_ROWS: usize = 128;

/// What the head says of `N` positions.
pub struct Scores {
    /// `[N]`, nats: -log p(target).
    pub nll: Tensor<1>,
    /// `[N]`, nats: entropy of softmax(logits).
    pub entropy: Tensor<1>,
    /// Present where gradients were asked for.
    pub grads: Option<HeadGrads>,
}

/// Gradients of `Σ wₙ·nllₙ`.
pub struct HeadGrads {
    /// With respect to the hidden states, `[N, D]`.
    pub hidden: Tensor<2>,
    /// With respect to the head matrix, `[D, V]`.
    pub matrix: Tensor<2>,
}

/// Scores hidden states `[N, D]` against `targets` `[N]`; with `weights` `[N]`, gradients too. No autodiff inside.
pub fn score(
    model: &Transformer,
    hidden: Tensor<2>,
    targets: Tensor<1, Int>,
    weights: Option<Tensor<1>>,
) -> Scores {
    let matrix = model.head_matrix();
    let hidden = hidden.inner();
    let [n, _] = hidden.dims();
    let rows = (BLOCK_LOGITS / matrix.dims()[1]).max(BLOCK_ROWS).min(n);
    let (mut nll, mut entropy, mut grad_hidden) = (Vec::new(), Vec::new(), Vec::new());
    let mut grad_matrix: Option<Tensor<2>> = None;
    for start in (0..n).step_by(rows) {
        let len = rows.min(n - start);
        let h = hidden.clone().narrow(0, start, len);
        let target = targets.clone().narrow(0, start, len).reshape([len, 1]);
        let weight = weights.clone().map(|weights| weights.narrow(0, start, len).reshape([len, 1]));
        let block = Block::of(h.clone().matmul(matrix.clone()), target);
        nll.push(block.nll.clone());
        entropy.push(block.entropy.clone());
        if let Some(weight) = weight {
            let grad = block.grad_logits(weight);
            grad_hidden.push(grad.clone().matmul(matrix.clone().transpose()));
            let part = h.transpose().matmul(grad);
            grad_matrix = Some(grad_matrix.map_or_else(|| part.clone(), |sum| sum + part.clone()));
        }
    }
    Scores {
        nll: Tensor::cat(nll, 0),
        entropy: Tensor::cat(entropy, 0),
        grads: grad_matrix.map(|matrix| HeadGrads { hidden: Tensor::cat(grad_hidden, 0), matrix }),
    }
}

/// A block of rows: its distribution `[n, V]`, targets `[n, 1]`, and per row `[n]` the nll and the entropy.
struct Block {
    probs: Tensor<2>,
    target: Tensor<2, Int>,
    nll: Tensor<1>,
    entropy: Tensor<1>,
}

impl Block {
    /// From logits `[n, V]`.
    fn of(logits: Tensor<2>, target: Tensor<2, Int>) -> Self {
        let shifted = logits.clone() - logits.max_dim(1);
        let exp = shifted.clone().exp();
        let sum = exp.clone().sum_dim(1);
        let log_sum = sum.clone().log();
        let probs = exp / sum;
        let nll = log_sum.clone() - shifted.clone().gather(1, target.clone());
        let entropy = log_sum - (probs.clone() * shifted).sum_dim(1);
        Self { probs, target, nll: nll.squeeze_dim(1), entropy: entropy.squeeze_dim(1) }
    }

    /// `weight · (p - onehot(target))`, `[n, V]`; `weight` is `[n, 1]`.
    fn grad_logits(self, weight: Tensor<2>) -> Tensor<2> {
        (self.probs * weight.clone()).scatter(1, self.target, weight.neg(), IndexingUpdateOp::Add)
    }
}

impl Scores {
    /// A scalar whose gradient with respect to `hidden` `[N, D]` is the loss's: `Σ hidden · dh`, `dh` constant.
    /// `None` where no gradients were asked for.
    pub fn surrogate(&self, hidden: Tensor<2>) -> Option<Tensor<1>> {
        self.grads.as_ref().map(|grads| (hidden * grads.hidden.clone()).sum())
    }
}

/// Adds the gradient of the head matrix, `[D, V]`, to the gradients of the model's parameters.
pub fn add_matrix_grad(model: &Transformer, grads: &mut GradientsParams, matrix: Tensor<2>) {
    let param = model.head_param();
    let own = if model.head.is_some() { matrix } else { matrix.transpose() };
    let sum = match grads.remove::<2>(param.id) {
        Some(present) => present + own,
        None => own,
    };
    grads.register(param.id, sum);
}
