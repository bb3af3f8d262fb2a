//! Owns: the head's outputs at hidden states: loss, entropy, gradients (`ops::score`), most likely tokens.
//! Must not know: which pass the hidden states come from, how losses are weighted.
//! Invariant: logits never exist for more than one block of rows at a time.

use super::Transformer;
use crate::ops;
pub use crate::ops::score::{RequestedGradients, Scores, surrogate_loss};
use crate::ops::score::{Softmax, block_rows};
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
    fn a_smaller_vocabulary_is_returned_whole() {
        let config = Model { width: 8, layers: 1, heads: 2, ..Default::default() };
        let model = Transformer::new(ModelShape::from_config(&config, 3, 4), 1, 0.5, &Device::flex());
        let likely = top_tokens(&model, Tensor::ones([2, 8], &Device::flex()), 5);
        assert_eq!(likely.ids.dims(), [2, 3]);
        let sums: Vec<f32> = likely.probs.sum_dim(1).try_into_vec_as().unwrap();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
    }
}
