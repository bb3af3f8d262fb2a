//! Owns: head, loss and entropy as one operation: from hidden states and head weights to nll and entropy of each position,
//! and their gradients, in blocks of rows.
//! Must not know: which pass the hidden states come from, how losses are weighed.
//! Invariant: logits never exist for more than a block of rows at a time, forward or backward.
//!
//! There is no graph here: with `p = softmax(h·W)` and loss `Σ wₙ·nllₙ`, the logits' gradient is `wₙ (p - onehot(target))`, so
//! `dh = dlogits·Wᵀ` and `dW = hᵀ·dlogits`, which are found while the block is at hand.

mod blocks;

use super::Products;
use super::graph::{Values, constant, operand, operation, ours, slice, tensor, values, whole};
use super::product::{View, ViewMut, product_on_all};
use super::threads::{deal, unwritten};
use super::trace::{self, Of, Work};
use super::vector::{self, wide};
pub use blocks::Softmax;
#[cfg(test)]
pub(super) use blocks::composed;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Int, Tensor};
use rayon::prelude::*;

/// Logits held at a time: large enough for full-speed matrix products, small enough to stay out of the way.
const BLOCK_LOGITS: usize = 1 << 22;
/// Fewest rows a block: below it, adding up `dW` costs more than the logits.
const BLOCK_ROWS: usize = 256;

/// Rows of a block of `n`, with a vocabulary of `v`.
pub fn block_rows(n: usize, v: usize) -> usize {
    (BLOCK_LOGITS / v).max(BLOCK_ROWS).min(n).max(1)
}

/// The head's weights, without autodiff.
#[derive(Clone, Debug)]
pub enum Head {
    /// `[D, V]`.
    Own(Tensor<2>),
    /// `[V, D]`: the token embeddings.
    Tied(Tensor<2>),
}

impl Head {
    /// As `[D, V]`.
    pub fn matrix(&self) -> Tensor<2> {
        match self {
            Self::Own(weight) => weight.clone(),
            Self::Tied(weight) => weight.clone().transpose(),
        }
    }
}

/// What the head says of `N` positions.
pub struct Scores {
    /// `[N]`, nats: -log p(target).
    pub nll: Tensor<1>,
    /// `[N]`, nats: entropy of softmax(logits).
    pub entropy: Tensor<1>,
    /// Present where gradients were asked for.
    pub grads: Option<Grads>,
}

/// Gradients of `Σ wₙ·nllₙ`.
pub struct Grads {
    /// With respect to the hidden states, `[N, D]`.
    pub hidden: Tensor<2>,
    /// With respect to the head's weights, shaped as they are, added to what was there before.
    pub weight: Tensor<2>,
}

/// What gradients are asked for.
pub struct Wanted {
    /// `w`, `[N]`.
    pub weights: Tensor<1>,
    /// The gradient of the head's weights so far.
    pub sum: Option<Tensor<2>>,
}

/// Scores hidden states `[N, D]` against `targets` `[N]`, all without autodiff.
pub fn score(
    hidden: Tensor<2>,
    head: &Head,
    targets: Tensor<1, Int>,
    wanted: Option<Wanted>,
    products: Products,
) -> Scores {
    let _span = trace::span("score", Of::Whole, flop(&hidden, head, wanted.is_some()));
    match products == Products::F32 && ours(&hidden) {
        true => own(hidden, head, targets, wanted),
        false => {
            let say = blocks::say(&hidden);
            blocks::in_blocks(hidden, head, targets, wanted, products, say)
        }
    }
}

/// Logits `[N, V]` of hidden states `[N, D]`, all without autodiff: for few rows, of which each is looked at.
pub fn logits(hidden: Tensor<2>, head: &Head) -> Tensor<2> {
    let _span = trace::span("logits", Of::Whole, flop(&hidden, head, false));
    if !ours(&hidden) {
        return hidden.matmul(head.matrix());
    }
    let hidden = constant(hidden);
    let [n, d] = [hidden.shape()[0], hidden.shape()[1]];
    let weights = Weights::of(head);
    let v = weights.vocab;
    let mut out = unwritten(n * v);
    let h = View::new(slice(&hidden), n, d, d);
    product_on_all(ViewMut::new(&mut out, n, v, v), h, weights.matrix(), false);
    tensor(out, [n, v])
}

/// The head's weights as this room's products take them.
struct Weights {
    numbers: Values,
    vocab: usize,
    width: usize,
    tied: bool,
}

impl Weights {
    fn of(head: &Head) -> Self {
        let (Head::Own(weight) | Head::Tied(weight)) = head;
        let tied = matches!(head, Head::Tied(_));
        let [rows, columns] = weight.dims();
        let (vocab, width) = if tied { (rows, columns) } else { (columns, rows) };
        Self { numbers: constant(weight.clone()), vocab, width, tied }
    }

    /// `[D, V]`.
    fn matrix(&self) -> View<'_> {
        let (v, d) = (self.vocab, self.width);
        match self.tied {
            true => View::new(slice(&self.numbers), v, d, d).t(),
            false => View::new(slice(&self.numbers), d, v, v),
        }
    }
}

/// The logits' product, and where gradients are wanted the two of the way back.
fn flop(hidden: &Tensor<2>, head: &Head, wanted: bool) -> f64 {
    let (Head::Own(weight) | Head::Tied(weight)) = head;
    let products = if wanted { 3.0 } else { 1.0 };
    products * 2.0 * (hidden.dims()[0] * weight.shape().num_elements()) as f64
}

fn own(hidden: Tensor<2>, head: &Head, targets: Tensor<1, Int>, wanted: Option<Wanted>) -> Scores {
    let (hidden, targets) = (constant(hidden), numbers(targets));
    let [n, d] = [hidden.shape()[0], hidden.shape()[1]];
    let weight = Weights::of(head);
    let (v, matrix) = (weight.vocab, weight.matrix());
    let (weights, fresh, mut sum) = match wanted {
        None => (None, true, None),
        Some(Wanted { weights, sum }) => {
            let fresh = sum.is_none();
            let sum = sum
                .map_or_else(|| values(unwritten(d * v), weight.numbers.shape()), |sum| whole(constant(sum)));
            (Some(constant(weights)), fresh, Some(sum))
        }
    };
    let mut said = vec![[0.0_f32; 2]; n];
    let mut to_hidden = weights.as_ref().map(|_| unwritten(n * d));
    let rows = block_rows(n, v);
    let mut logits = unwritten(rows * v);
    for start in (0..n).step_by(rows) {
        let end = n.min(start + rows);
        let count = end - start;
        let h = View::new(&slice(&hidden)[start * d..end * d], count, d, d);
        let logits = &mut logits[..count * v];
        product_on_all(ViewMut::new(logits, count, v, v), h, matrix, false);
        let own = weights.as_ref().map(|weights| &slice(weights)[start..end]);
        softmax(logits, &targets[start..end], own, &mut said[start..end]);
        if let (Some(to_hidden), Some(sum)) = (&mut to_hidden, &mut sum) {
            let slopes = View::new(logits, count, v, v);
            let place = ViewMut::new(&mut to_hidden[start * d..end * d], count, d, d);
            product_on_all(place, slopes, matrix.t(), false);
            let add = !fresh || start > 0;
            let sum: &mut [f32] = sum.storage_mut();
            match weight.tied {
                true => product_on_all(ViewMut::new(sum, v, d, d), slopes.t(), h, add),
                false => product_on_all(ViewMut::new(sum, d, v, v), h.t(), slopes, add),
            }
        }
    }
    let grads = to_hidden.zip(sum).map(|(to_hidden, sum)| Grads {
        hidden: tensor(to_hidden, [n, d]),
        weight: Tensor::from_primitive::<Flex>(sum),
    });
    let [nll, entropy] = [0, 1].map(|which| tensor(said.iter().map(|said| said[which]).collect(), [n]));
    Scores { nll, entropy, grads }
}

/// Logits to `[nll, entropy]` of each row, and, with weights, to their gradients.
fn softmax(logits: &mut [f32], targets: &[i32], weights: Option<&[f32]>, said: &mut [[f32; 2]]) {
    let v = logits.len() / targets.len();
    let each = deal(targets.len(), v);
    let parts = logits.par_chunks_mut(each * v).zip(said.par_chunks_mut(each));
    parts.enumerate().for_each(|(part, (logits, said))| {
        wide(
            #[inline(always)]
            || {
                let rows = logits.chunks_exact_mut(v).zip(&mut *said);
                for (at, (logits, said)) in rows.enumerate() {
                    let at = part * each + at;
                    let (target, most) = (targets[at] as usize, vector::max(logits));
                    let own = logits[target] - most;
                    let (sum, dot) = vector::exp_sums(logits, most);
                    *said = [sum.ln() - own, sum.ln() - dot / sum];
                    if let Some(weights) = weights {
                        vector::scale(logits, weights[at] / sum);
                        logits[target] -= weights[at];
                    }
                }
            },
        );
    });
}

/// A scalar whose gradient with respect to `hidden` `[N, D]` is the constant `slope`; its value says nothing.
pub fn surrogate(hidden: Tensor<2>, slope: Tensor<2>) -> Tensor<1> {
    let work = Work::light("surrogate");
    if !ours(&hidden) {
        let _span = work.goes();
        return (hidden * slope).sum();
    }
    let slope = constant(slope);
    operation(
        work,
        vec![operand(hidden)],
        |_| (values(vec![0.0], [1]), slope),
        |slope, grad, _| match slice(&grad) {
            [1.0] => vec![Some(slope)],
            factor => vec![Some(values(
                slice(&slope).iter().map(|slope| slope * factor[0]).collect(),
                slope.shape(),
            ))],
        },
    )
}

fn numbers(targets: Tensor<1, Int>) -> Vec<i32> {
    // Nothing leaves the CPU.
    targets.try_into_vec_as::<i32>().unwrap_or_default()
}
