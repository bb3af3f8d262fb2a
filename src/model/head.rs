//! Owns: the head's outputs at hidden states: loss, entropy, gradients (`ops::score`), most likely tokens.
//! Must not know: which pass the hidden states come from, how losses are weighted.
//! Invariant: logits never exist for more than one block of rows at a time.

use super::Transformer;
use crate::ops;
use crate::ops::score::{Head, Softmax, block_rows};
pub use crate::ops::score::{RequestedGradients, ScoreGrads, Scores, surrogate_loss};
use burn::optim::GradientsParams;
use burn::tensor::{IndexingUpdateOp, Int, Tensor};

/// Scores hidden states `[N, D]`; the graph ends there, and [`surrogate_loss`] passes their gradient on.
pub fn score_hidden(
    model: &Transformer,
    hidden: Tensor<2>,
    targets: Tensor<1, Int>,
    wanted: Option<RequestedGradients>,
) -> Scores {
    ops::score::score(hidden.inner(), &model.head_weights(), targets, wanted, model.execution().matmul_precision)
}

/// Returns the gradients of `Σ wₙ·Hₙ`, where H is the entropy of the output at hidden states `[N, D]`, with `weights` `[N]`.
/// `weight_grad_sum`: the gradient of the head's weights so far. With `p = softmax(z)` it is `dH/dz = -p (log p + H)`.
pub fn entropy_gradients(
    model: &Transformer,
    hidden: Tensor<2>,
    weights: Tensor<1>,
    weight_grad_sum: Option<Tensor<2>>,
) -> ScoreGrads {
    let (head, hidden) = (model.head_weights(), hidden.inner());
    let matrix = head.matrix();
    let ([n, _], v) = (hidden.dims(), matrix.dims()[1]);
    let rows = block_rows(n, v);
    let (mut to_hidden, mut sum) = (Vec::new(), weight_grad_sum);
    for start in (0..n).step_by(rows) {
        let count = rows.min(n - start);
        let h = hidden.clone().narrow(0, start, count);
        let softmax = Softmax::from_logits(h.clone().matmul(matrix.clone()));
        let entropy = softmax.entropy().reshape([count, 1]);
        let log_probs = softmax.shifted - softmax.log_sum;
        let weight = weights.clone().narrow(0, start, count).reshape([count, 1]);
        let logit_grads = (softmax.probs * (log_probs + entropy) * weight).neg();
        to_hidden.push(logit_grads.clone().matmul(matrix.clone().transpose()));
        let to_weight = match &head {
            Head::Untied(_) => h.transpose().matmul(logit_grads),
            Head::Tied(_) => logit_grads.transpose().matmul(h),
        };
        sum = Some(match sum {
            Some(sum) => sum + to_weight,
            None => to_weight,
        });
    }
    let weight = sum.unwrap_or_else(|| model.head_param().val().inner().zeros_like());
    ScoreGrads { hidden: Tensor::cat(to_hidden, 0), weight }
}

/// The most likely tokens at N positions.
pub struct TopTokens {
    /// Entropy of softmax(logits), `[N]`, in nats.
    pub entropy: Tensor<1>,
    /// Token ids `[N, k]`, most likely first.
    pub ids: Tensor<2, Int>,
    /// Probabilities of these tokens, `[N, k]`.
    pub probs: Tensor<2>,
}

/// Returns the `k` most likely tokens at hidden states `[N, D]`, without autodiff and without a readback.
pub fn top_tokens(model: &Transformer, hidden: Tensor<2>, k: usize) -> TopTokens {
    let matrix = model.head_weights().matrix();
    let hidden = hidden.inner();
    let ([n, _], v) = (hidden.dims(), matrix.dims()[1]);
    let rows = block_rows(n, v);
    let (mut entropy, mut ids, mut probs) = (Vec::new(), Vec::new(), Vec::new());
    for start in (0..n).step_by(rows) {
        let logits = hidden.clone().narrow(0, start, rows.min(n - start)).matmul(matrix.clone());
        let softmax = Softmax::from_logits(logits);
        entropy.push(softmax.entropy());
        let (block_ids, block_probs) = top_k(softmax.probs, k.min(v));
        ids.push(block_ids);
        probs.push(block_probs);
    }
    TopTokens { entropy: Tensor::cat(entropy, 0), ids: Tensor::cat(ids, 0), probs: Tensor::cat(probs, 0) }
}

/// Returns indices and values of the `k` largest of each row, `[n, k]`: `k` argmax are faster than a sort.
fn top_k(mut probs: Tensor<2>, k: usize) -> (Tensor<2, Int>, Tensor<2>) {
    let (mut ids, mut values) = (Vec::with_capacity(k), Vec::with_capacity(k));
    for _ in 0..k {
        let id = probs.clone().argmax(1);
        let value = probs.clone().gather(1, id.clone());
        // Set to -1, below every probability, so that it is not found again.
        let removal = value.clone().neg() - 1.0;
        probs = probs.scatter(1, id.clone(), removal, IndexingUpdateOp::Add);
        ids.push(id);
        values.push(value);
    }
    (Tensor::cat(ids, 1), Tensor::cat(values, 1))
}

/// Adds the gradient of the head's weights to the gradients of the model's parameters.
pub fn add_head_gradient(model: &Transformer, grads: &mut GradientsParams, weight_grad: Tensor<2>) {
    let id = model.head_param().id;
    let sum = match grads.remove::<2>(id) {
        Some(present) => ops::adamw::add(weight_grad, present),
        None => weight_grad,
    };
    grads.register(id, sum);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Model;
    use crate::model::ModelShape;
    use burn::tensor::{Device, TensorData};

    #[test]
    fn top_tokens_are_those_of_a_plain_softmax() {
        let config = Model { width: 16, layers: 1, heads: 2, ..Default::default() };
        // More rows than a block, and no two equal probabilities.
        let (v, n) = (31, 2 * block_rows(usize::MAX, 1 << 20) + 5);
        let model = Transformer::new(ModelShape::from_config(&config, v, 8), 5, 0.7, &Device::flex());
        let values: Vec<f32> = (0..n * 16).map(|at| ((at * 7919 % 1009) as f32 / 500.0) - 1.0).collect();
        let hidden = Tensor::<2>::from_data(TensorData::new(values, [n, 16]), &Device::flex());
        let likely = top_tokens(&model, hidden.clone(), 5);
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
    fn gradients_of_entropies_are_those_of_central_differences() {
        for tied in [false, true] {
            let config = Model { width: 8, layers: 1, heads: 2, tied, ..Default::default() };
            let model = Transformer::new(ModelShape::from_config(&config, 7, 8), 5, 0.7, &Device::flex());
            let values: Vec<f32> = (0..3 * 8).map(|at| ((at * 7919 % 101) as f32 / 50.0) - 1.0).collect();
            let weights = [0.5_f32, -2.0, 1.5];
            let at = |values: &[f32]| Tensor::<2>::from_data(TensorData::new(values.to_vec(), [3, 8]), &Device::flex());
            let total = |values: &[f32]| {
                let entropy: Vec<f32> = top_tokens(&model, at(values), 1).entropy.try_into_vec_as().unwrap();
                entropy.iter().zip(weights).map(|(entropy, weight)| f64::from(entropy * weight)).sum::<f64>()
            };
            let weighted = Tensor::<1>::from_floats(weights, &Device::flex());
            let before = model.head_param().val().ones_like();
            let grads = entropy_gradients(&model, at(&values), weighted, Some(before));
            let to_hidden: Vec<f32> = grads.hidden.try_into_vec_as().unwrap();
            for index in 0..values.len() {
                let moved = |by: f32| {
                    let mut values = values.clone();
                    values[index] += by;
                    total(&values)
                };
                let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                assert!((slope - f64::from(to_hidden[index])).abs() < 2e-3, "{index}: {slope} {}", to_hidden[index]);
            }
            // Z = h·W, so Σ W·dW = Σ h·dh; the sum so far was all ones.
            let product = |a: Tensor<2>, b: Tensor<2>| (a * b).sum().try_into_scalar::<f32>().unwrap();
            let weights = model.head_param().val();
            let to_weight = grads.weight - weights.ones_like();
            let hidden_grads = Tensor::<2>::from_data(TensorData::new(to_hidden, [3, 8]), &Device::flex());
            let (one, other) = (product(weights, to_weight), product(at(&values), hidden_grads));
            assert!((one - other).abs() < 1e-4, "{one} {other}");
        }
    }

    #[test]
    fn a_smaller_vocabulary_is_returned_whole() {
        let config = Model { width: 8, layers: 1, heads: 2, ..Default::default() };
        let model = Transformer::new(ModelShape::from_config(&config, 3, 4), 1, 0.5, &Device::flex());
        let likely = top_tokens(&model, Tensor::ones([2, 8], &Device::flex()), 5);
        assert_eq!(likely.ids.dims(), [2, 3]);
        let sums: Vec<f32> = likely.probs.sum_dim(1).try_into_vec_as().unwrap();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
    }
}
