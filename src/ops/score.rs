//! Owns: head, loss and entropy as one operation. From hidden states and head weights it computes nll and
//! entropy of each position, and their gradients, in blocks of rows.
//! Must not know: which pass the hidden states come from, how losses are weighted.
//! Invariant: logits never exist for more than a block of rows at a time, forward or backward.
//!
//! There is no graph here. With `p = softmax(h·W)` and loss `Σ wₙ·nllₙ`, the logits' gradient is
//! `wₙ (p - onehot(target))`. So `dh = dlogits·Wᵀ` and `dW = hᵀ·dlogits` are computed together with the loss.

mod blocks;

use super::MatmulPrecision;
use super::graph::{
    CpuTensor, cpu_op, cpu_tensor, detach, is_native_cpu, make_unique, operand, slice, tensor_from_vec,
};
use super::matmul::{MatrixView, MatrixViewMut, WriteMode, matmul_parallel};
use super::simd::{self, dispatch};
use super::threads::{rows_per_chunk, unspecified_vec};
use super::trace::{self, OpCost, SpanKind};
pub use blocks::Softmax;
#[cfg(test)]
pub(super) use blocks::reference;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Int, Tensor};
use rayon::prelude::*;

/// Logits held at a time: enough for matrix products at full speed, 16 MiB in f32.
const BLOCK_LOGITS: usize = 1 << 22;
/// Fewest rows of a block: with fewer, accumulating `dW` costs more than the logits.
const BLOCK_ROWS: usize = 256;

/// Returns the rows of a block, of `n` rows in all and a vocabulary of `v`.
pub fn block_rows(n: usize, v: usize) -> usize {
    (BLOCK_LOGITS / v).max(BLOCK_ROWS).min(n).max(1)
}

/// The head's weights, without autodiff.
#[derive(Clone, Debug)]
pub enum Head {
    /// A matrix of its own, `[D, V]`.
    Untied(Tensor<2>),
    /// The token embeddings, `[V, D]`.
    Tied(Tensor<2>),
}

impl Head {
    /// Returns the weights as `[D, V]`.
    pub fn matrix(&self) -> Tensor<2> {
        match self {
            Self::Untied(weight) => weight.clone(),
            Self::Tied(weight) => weight.clone().transpose(),
        }
    }
}

/// The head's output at `N` positions.
pub struct Scores {
    /// `[N]`, nats: -log p(target).
    pub nll: Tensor<1>,
    /// `[N]`, nats: entropy of softmax(logits).
    pub entropy: Tensor<1>,
    /// Present if gradients were requested.
    pub grads: Option<ScoreGrads>,
}

/// Gradients of `Σ wₙ·nllₙ`.
pub struct ScoreGrads {
    /// With respect to the hidden states, `[N, D]`.
    pub hidden: Tensor<2>,
    /// With respect to the head's weights, in their shape, added to the sum so far.
    pub weight: Tensor<2>,
}

/// A request for the gradients of a weighted loss.
pub struct RequestedGradients {
    /// The loss weight of each position, `w` `[N]`.
    pub loss_weights: Tensor<1>,
    /// The gradient of the head's weights so far, in their shape.
    pub weight_grad_sum: Option<Tensor<2>>,
}

/// Returns nll and entropy of hidden states `[N, D]` with `targets` `[N]`, and gradients if they are
/// requested. All tensors are without autodiff.
pub fn score(
    hidden: Tensor<2>,
    head: &Head,
    targets: Tensor<1, Int>,
    requested: Option<RequestedGradients>,
    precision: MatmulPrecision,
) -> Scores {
    // With gradients, the backward pass has two more products.
    let products = if requested.is_some() { 3 } else { 1 };
    let _span = trace::span("score", SpanKind::NoGraph, flop_count(&hidden, head, products));
    match precision == MatmulPrecision::F32 && is_native_cpu(&hidden) {
        true => fused(hidden, head, targets, requested),
        false => {
            let scorer = blocks::choose_scorer(&hidden);
            blocks::score_in_blocks(hidden, head, targets, requested, precision, scorer)
        }
    }
}

/// Returns the logits `[N, V]` of hidden states `[N, D]`, all without autodiff. It is meant for few rows,
/// because it holds all logits at once.
pub fn logits(hidden: Tensor<2>, head: &Head) -> Tensor<2> {
    let _span = trace::span("logits", SpanKind::NoGraph, flop_count(&hidden, head, 1));
    if !is_native_cpu(&hidden) {
        return hidden.matmul(head.matrix());
    }
    let hidden = detach(hidden);
    let [n, d] = [hidden.shape()[0], hidden.shape()[1]];
    let weights = CpuHeadWeights::from_head(head);
    let v = weights.vocab;
    let mut out = unspecified_vec(n * v);
    let h = MatrixView::new(slice(&hidden), n, d, d);
    matmul_parallel(MatrixViewMut::new(&mut out, n, v, v), h, weights.matrix(), WriteMode::Overwrite);
    tensor_from_vec(out, [n, v])
}

/// The head's weights on the CPU, as matrix products take them.
struct CpuHeadWeights {
    numbers: CpuTensor,
    vocab: usize,
    width: usize,
    tied: bool,
}

impl CpuHeadWeights {
    fn from_head(head: &Head) -> Self {
        let (Head::Untied(weight) | Head::Tied(weight)) = head;
        let tied = matches!(head, Head::Tied(_));
        let [rows, columns] = weight.dims();
        let (vocab, width) = if tied { (rows, columns) } else { (columns, rows) };
        Self { numbers: detach(weight.clone()), vocab, width, tied }
    }

    /// Returns the weights as `[D, V]`.
    fn matrix(&self) -> MatrixView<'_> {
        let (v, d) = (self.vocab, self.width);
        match self.tied {
            true => MatrixView::new(slice(&self.numbers), v, d, d).t(),
            false => MatrixView::new(slice(&self.numbers), d, v, v),
        }
    }
}

/// Returns the operations of `products` matrix products between hidden states and the head's weights.
fn flop_count(hidden: &Tensor<2>, head: &Head, products: usize) -> f64 {
    let (Head::Untied(weight) | Head::Tied(weight)) = head;
    2.0 * (products * hidden.dims()[0] * weight.shape().num_elements()) as f64
}

fn fused(hidden: Tensor<2>, head: &Head, targets: Tensor<1, Int>, requested: Option<RequestedGradients>) -> Scores {
    let (hidden, targets) = (detach(hidden), targets_to_vec(targets));
    let [n, d] = [hidden.shape()[0], hidden.shape()[1]];
    let weight = CpuHeadWeights::from_head(head);
    let (v, matrix) = (weight.vocab, weight.matrix());
    let mut mode = WriteMode::Overwrite;
    let (loss_weights, mut sum) = match requested {
        None => (None, None),
        Some(RequestedGradients { loss_weights: weights, weight_grad_sum: sum }) => {
            let sum = match sum {
                Some(sum) => {
                    mode = WriteMode::Add;
                    make_unique(detach(sum))
                }
                None => cpu_tensor(unspecified_vec(d * v), weight.numbers.shape()),
            };
            (Some(detach(weights)), Some(sum))
        }
    };
    let mut losses = vec![[0.0_f32; 2]; n];
    let mut to_hidden = loss_weights.as_ref().map(|_| unspecified_vec(n * d));
    let rows = block_rows(n, v);
    let mut logits = unspecified_vec(rows * v);
    for start in (0..n).step_by(rows) {
        let end = n.min(start + rows);
        let count = end - start;
        let h = MatrixView::new(&slice(&hidden)[start * d..end * d], count, d, d);
        let logits = &mut logits[..count * v];
        matmul_parallel(MatrixViewMut::new(logits, count, v, v), h, matrix, WriteMode::Overwrite);
        let block_weights = loss_weights.as_ref().map(|weights| &slice(weights)[start..end]);
        softmax_rows(logits, &targets[start..end], block_weights, &mut losses[start..end]);
        if let (Some(to_hidden), Some(sum)) = (&mut to_hidden, &mut sum) {
            let logit_grads = MatrixView::new(logits, count, v, v);
            let to_hidden = MatrixViewMut::new(&mut to_hidden[start * d..end * d], count, d, d);
            matmul_parallel(to_hidden, logit_grads, matrix.t(), WriteMode::Overwrite);
            let sum: &mut [f32] = sum.storage_mut();
            match weight.tied {
                true => matmul_parallel(MatrixViewMut::new(sum, v, d, d), logit_grads.t(), h, mode),
                false => matmul_parallel(MatrixViewMut::new(sum, d, v, v), h.t(), logit_grads, mode),
            }
            mode = WriteMode::Add;
        }
    }
    let grads = to_hidden.zip(sum).map(|(to_hidden, sum)| ScoreGrads {
        hidden: tensor_from_vec(to_hidden, [n, d]),
        weight: Tensor::from_primitive::<Flex>(sum),
    });
    let [nll, entropy] = [0, 1].map(|which| tensor_from_vec(losses.iter().map(|loss| loss[which]).collect(), [n]));
    Scores { nll, entropy, grads }
}

/// Writes `[nll, entropy]` of each row. With loss weights, replaces the logits by their gradients.
fn softmax_rows(logits: &mut [f32], targets: &[i32], weights: Option<&[f32]>, losses: &mut [[f32; 2]]) {
    let v = logits.len() / targets.len();
    let chunk_rows = rows_per_chunk(targets.len(), v);
    let chunks = logits.par_chunks_mut(chunk_rows * v).zip(losses.par_chunks_mut(chunk_rows));
    chunks.enumerate().for_each(|(chunk, (logits, losses))| {
        dispatch(
            #[inline(always)]
            || {
                let rows = logits.chunks_exact_mut(v).zip(&mut *losses);
                for (at, (logits, loss)) in rows.enumerate() {
                    let at = chunk * chunk_rows + at;
                    let (target, max) = (targets[at] as usize, simd::max(logits));
                    let shifted = logits[target] - max;
                    let (sum, dot) = simd::exp_sum_and_dot(logits, max);
                    *loss = [sum.ln() - shifted, sum.ln() - dot / sum];
                    if let Some(weights) = weights {
                        simd::scale(logits, weights[at] / sum);
                        logits[target] -= weights[at];
                    }
                }
            },
        );
    });
}

/// Returns a scalar, itself meaningless, whose gradient with respect to `hidden` is the constant `grad`.
pub fn surrogate_loss(hidden: Tensor<2>, grad: Tensor<2>) -> Tensor<1> {
    let cost = OpCost::without_matmul("surrogate");
    if !is_native_cpu(&hidden) {
        let _span = cost.forward_span();
        return (hidden * grad).sum();
    }
    let hidden_grad = detach(grad);
    cpu_op(
        cost,
        vec![operand(hidden)],
        |_| (cpu_tensor(vec![0.0], [1]), hidden_grad),
        |hidden_grad, grad, _| match slice(&grad) {
            [1.0] => vec![Some(hidden_grad)],
            factor => vec![Some(cpu_tensor(
                slice(&hidden_grad).iter().map(|grad| grad * factor[0]).collect(),
                hidden_grad.shape(),
            ))],
        },
    )
}

fn targets_to_vec(targets: Tensor<1, Int>) -> Vec<i32> {
    // The conversion cannot fail: these are integers on the CPU.
    targets.try_into_vec_as::<i32>().unwrap_or_default()
}
