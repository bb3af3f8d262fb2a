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

/// What the head holds likely at `N` positions.
pub struct Likely {
    /// `[N]`, nats: entropy of softmax(logits).
    pub entropy: Tensor<1>,
    /// Ids of the likeliest tokens, `[N, k]`, the likeliest first.
    pub ids: Tensor<2, Int>,
    /// Their probabilities, `[N, k]`.
    pub probs: Tensor<2>,
}

/// The `k` likeliest tokens at hidden states `[N, D]`, or all where the vocabulary has fewer. No autodiff inside, and
/// nothing leaves the device.
pub fn top(model: &Transformer, hidden: Tensor<2>, k: usize) -> Likely {
    let matrix = model.head_matrix();
    let hidden = hidden.inner();
    let ([n, _], v) = (hidden.dims(), matrix.dims()[1]);
    let rows = (BLOCK_LOGITS / v).max(BLOCK_ROWS).min(n);
    let (mut entropy, mut ids, mut probs) = (Vec::new(), Vec::new(), Vec::new());
    for start in (0..n).step_by(rows) {
        let logits = hidden.clone().narrow(0, start, rows.min(n - start)).matmul(matrix.clone());
        let softmax = Softmax::of(logits);
        entropy.push(softmax.entropy());
        let (own, values) = largest(softmax.probs, k.min(v));
        ids.push(own);
        probs.push(values);
    }
    Likely { entropy: Tensor::cat(entropy, 0), ids: Tensor::cat(ids, 0), probs: Tensor::cat(probs, 0) }
}

/// The `k` largest of each row of `probs` `[n, V]`, and where they stand, both `[n, k]`: the largest, then the largest of
/// the others, and so on. Sorting a whole vocabulary for a handful would take many times as long.
fn largest(mut probs: Tensor<2>, k: usize) -> (Tensor<2, Int>, Tensor<2>) {
    let (mut ids, mut values) = (Vec::with_capacity(k), Vec::with_capacity(k));
    for _ in 0..k {
        let id = probs.clone().argmax(1);
        let value = probs.clone().gather(1, id.clone());
        // Below every probability, so that it is not found again.
        let taken = value.clone().neg() - 1.0;
        probs = probs.scatter(1, id.clone(), taken, IndexingUpdateOp::Add);
        ids.push(id);
        values.push(value);
    }
    (Tensor::cat(ids, 1), Tensor::cat(values, 1))
}

/// The distributions of a block of rows.
struct Softmax {
    /// `[n, V]`.
    probs: Tensor<2>,
    /// Logits less the largest of their row, `[n, V]`.
    shifted: Tensor<2>,
    /// Of exp(shifted), `[n, 1]`.
    log_sum: Tensor<2>,
}

impl Softmax {
    /// From logits `[n, V]`.
    fn of(logits: Tensor<2>) -> Self {
        let shifted = logits.clone() - logits.max_dim(1);
        let exp = shifted.clone().exp();
        let sum = exp.clone().sum_dim(1);
        Self { log_sum: sum.clone().log(), probs: exp / sum, shifted }
    }

    /// `[n]`, nats.
    fn entropy(&self) -> Tensor<1> {
        (self.log_sum.clone() - (self.probs.clone() * self.shifted.clone()).sum_dim(1)).squeeze_dim(1)
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
        let softmax = Softmax::of(logits);
        let nll = softmax.log_sum.clone() - softmax.shifted.clone().gather(1, target.clone());
        Self { entropy: softmax.entropy(), probs: softmax.probs, target, nll: nll.squeeze_dim(1) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Model;
    use crate::model::Shape;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn the_likeliest_are_those_of_a_plain_softmax() {
        let config = Model { width: 16, layers: 1, heads: 2, ..Default::default() };
        // More rows than a block, and probabilities that are no two alike.
        let (v, n) = (31, 2 * BLOCK_ROWS + 5);
        let model = Transformer::new(Shape::from_config(&config, v, 8), 5, 0.7, &Device::flex());
        let values: Vec<f32> = (0..n * 16).map(|at| ((at * 7919 % 1009) as f32 / 500.0) - 1.0).collect();
        let hidden = Tensor::<2>::from_data(TensorData::new(values, [n, 16]), &Device::flex());
        let likely = top(&model, hidden.clone(), 5);
        let logits: Vec<f32> = model.logits(hidden.unsqueeze()).try_into_vec_as().unwrap();
        let ids: Vec<i32> = likely.ids.try_into_vec_as().unwrap();
        let probs: Vec<f32> = likely.probs.try_into_vec_as().unwrap();
        let entropy: Vec<f32> = likely.entropy.try_into_vec_as().unwrap();
        for (row, logits) in logits.chunks(v).enumerate() {
            let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
            let mut wanted: Vec<(i32, f64)> =
                (0..).zip(logits.iter().map(|logit| f64::from(*logit).exp() / sum)).collect();
            let nats: f64 = wanted.iter().map(|(_, prob)| -prob * prob.ln()).sum();
            wanted.sort_by(|a, b| b.1.total_cmp(&a.1));
            assert!((f64::from(entropy[row]) - nats).abs() < 1e-4, "row {row}");
            for (found, (id, prob)) in (row * 5..).zip(&wanted[..5]) {
                assert_eq!(ids[found], *id, "row {row}");
                assert!((f64::from(probs[found]) - prob).abs() < 1e-5, "row {row}");
            }
        }
    }

    #[test]
    fn a_vocabulary_that_is_smaller_is_told_whole() {
        let config = Model { width: 8, layers: 1, heads: 2, ..Default::default() };
        let model = Transformer::new(Shape::from_config(&config, 3, 4), 1, 0.5, &Device::flex());
        let likely = top(&model, Tensor::ones([2, 8], &Device::flex()), 5);
        assert_eq!(likely.ids.dims(), [2, 3]);
        let sums: Vec<f32> = likely.probs.sum_dim(1).try_into_vec_as().unwrap();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
    }
}
