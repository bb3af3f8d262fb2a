//! Owns: attention composed of the device's own matrix products, forward and backward, in groups of rows. The
//! scores of one group are in memory at a time, and the backward pass computes them again.
//! Must not know: how a row of scores becomes probabilities.
//! Invariant: scores never exist for more than a group of rows at a time, and none outlives its pass.

use super::probs::{DeviceMask, KeySplit};
use super::{AttentionMask, op_cost, probs_dropout};
use crate::ops::graph::{CustomBackward, Gradient, gradient};
use crate::ops::{Dropout, Heads, cast_like};
use burn::tensor::Tensor;

/// Default for the scores that are held at a time: 256 MiB in f32.
pub(super) const MAX_SCORES: usize = 1 << 26;

/// Attention's input without autodiff, which is all that its backward pass needs.
#[derive(Clone, Debug)]
pub(super) struct BlockwiseAttention {
    pub current: Tensor<2>,
    pub prefix: Option<Tensor<2>>,
    pub mask: AttentionMask,
    pub heads: Heads,
    pub dropout: Option<Dropout>,
    /// Scores that are held at a time; a row that has more is not divided.
    pub max_scores: usize,
}

impl CustomBackward for BlockwiseAttention {
    fn backward(self, grad: Tensor<2>, wanted: &[bool]) -> Vec<Gradient> {
        let with_prefix = wanted.get(1) == Some(&true);
        let _span = op_cost(&self.mask, self.heads, with_prefix).backward_span();
        let grad = cast_like(grad, &self.current);
        let s = self.mask.query_positions();
        let grads = self.row_groups().map(|(start, count)| {
            self.row_group(start, count).backward(grad.clone().narrow(0, start * s, count * s), with_prefix)
        });
        let (current, prefix): (Vec<_>, Vec<_>) = grads.unzip();
        vec![
            gradient(concat_rows(current)),
            with_prefix.then(|| concat_rows(prefix.into_iter().flatten().collect())).and_then(gradient),
        ]
    }
}

impl BlockwiseAttention {
    /// Returns mixed values, `[B·S, H·K]`.
    pub fn forward(&self) -> Tensor<2> {
        concat_rows(self.row_groups().map(|(start, count)| self.row_group(start, count).forward()).collect())
    }

    /// Returns the first row and the number of rows of each group.
    fn row_groups(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (rows, s) = (self.mask.rows(), self.mask.query_positions());
        let row_scores = self.heads.queries * s * (s + self.mask.prefix_positions());
        let max_rows = (self.max_scores / row_scores.max(1)).max(1);
        (0..rows).step_by(max_rows).map(move |start| (start, max_rows.min(rows - start)))
    }

    fn row_group(&self, start: usize, count: usize) -> RowGroup {
        let Heads { queries, keys, width } = self.heads;
        let unpack = |packed: &Tensor<2>, positions: usize| {
            let rows = packed.clone().narrow(0, start * positions, count * positions);
            rows.reshape([count, positions, queries + 2 * keys, width])
        };
        let current = unpack(&self.current, self.mask.query_positions());
        let prefix = self.prefix.as_ref().map(|prefix| unpack(prefix, self.mask.prefix_positions()));
        let split = |from| KeySplit {
            current: select_heads(&current, from, keys),
            prefix: prefix.as_ref().map(|prefix| select_heads(prefix, from, keys)),
        };
        let mask = self.mask.device_mask(start, count, &self.current);
        let grouped = stack_shared_heads(select_heads(&current, 0, queries), keys);
        RowGroup {
            queries: grouped,
            keys: split(queries),
            values: split(queries + keys),
            mask,
            heads: self.heads,
            dropout: self.dropout,
            first_probs_row: start * queries * self.mask.query_positions(),
        }
    }
}

struct RowGroup {
    /// `[b, G, H/G·S, K]`: query heads that share a key head are stacked.
    queries: Tensor<4>,
    /// `[b, G, S, K]` of the query positions, `[b, G, C, K]` of the prefix.
    keys: KeySplit,
    values: KeySplit,
    mask: DeviceMask,
    heads: Heads,
    dropout: Option<Dropout>,
    /// Rows of probabilities in the groups before, in the numbering of the dropout masks.
    first_probs_row: usize,
}

impl RowGroup {
    fn probs(&self) -> KeySplit {
        self.keys.mul_transposed(&self.queries).softmax(&self.mask, self.scale())
    }

    /// Drops probabilities, or the gradients of dropped ones.
    fn drop(&self, probs: KeySplit) -> KeySplit {
        let Some([current, prefix]) = self.dropout.map(probs_dropout) else { return probs };
        KeySplit {
            current: current.apply(probs.current, self.first_probs_row),
            prefix: probs.prefix.map(|probs| prefix.apply(probs, self.first_probs_row)),
        }
    }

    fn scale(&self) -> f32 {
        (self.heads.width as f32).powf(-0.5)
    }

    /// Returns mixed values, `[b·S, H·K]`.
    fn forward(&self) -> Tensor<2> {
        pack_heads(vec![self.split_shared_heads(self.values.weighted_sum(self.drop(self.probs())))])
    }

    /// Returns the gradient of the query positions' packed numbers and, if `with_prefix`, of the prefix's.
    ///
    /// With probabilities `p` and the gradient `g` of the mixed values: `dv = pᵀ·g`, `dp = g·vᵀ`,
    /// `ds = p·(dp - Σ p·dp)/√K`, `dq = ds·k`, `dk = dsᵀ·q`.
    fn backward(&self, grad: Tensor<2>, with_prefix: bool) -> (Tensor<2>, Option<Tensor<2>>) {
        let [b, g, _, k] = self.queries.dims();
        let s = grad.dims()[0] / b;
        let grad = stack_shared_heads(grad.reshape([b, s, self.heads.queries, k]).swap_dims(1, 2), g);
        let probs = self.probs();
        let value_grads = self.drop(probs.clone()).transposed_mul(&grad, with_prefix);
        let score_grads = self.drop(self.values.mul_transposed(&grad)).score_grads(probs, self.scale());
        let key_grads = score_grads.transposed_mul(&self.queries, with_prefix);
        let query_grads = self.split_shared_heads(self.keys.weighted_sum(score_grads));
        let prefix = key_grads.prefix.zip(value_grads.prefix).map(|(keys, values)| {
            let c = keys.dims()[2];
            let zeros = Tensor::zeros([b, self.heads.queries, c, k], (&keys.device(), keys.dtype()));
            pack_heads(vec![zeros, keys, values])
        });
        (pack_heads(vec![query_grads, key_grads.current, value_grads.current]), prefix)
    }

    /// Reshapes `[b, G, H/G·S, K]` to `[b, H, S, K]`.
    fn split_shared_heads(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, g, rows, k] = x.dims();
        let h = self.heads.queries;
        x.reshape([b, h, rows * g / h, k])
    }
}

/// Returns `count` heads of `[b, S, H+2G, K]` from head `from` on, `[b, count, S, K]`.
fn select_heads(heads: &Tensor<4>, from: usize, count: usize) -> Tensor<4> {
    heads.clone().narrow(2, from, count).swap_dims(1, 2)
}

/// Reshapes `[b, H, S, K]` to `[b, G, H/G·S, K]`.
fn stack_shared_heads(x: Tensor<4>, keys: usize) -> Tensor<4> {
    let [b, h, s, k] = x.dims();
    if h == keys { x } else { x.reshape([b, keys, h / keys * s, k]) }
}

/// Packs heads `[b, count, S, K]` into one matrix, `[b·S, Σcount·K]`.
fn pack_heads(heads: Vec<Tensor<4>>) -> Tensor<2> {
    let [b, _, s, k] = heads[0].dims();
    let count: usize = heads.iter().map(|heads| heads.dims()[1]).sum();
    let mut heads: Vec<_> = heads.into_iter().map(|heads| heads.swap_dims(1, 2)).collect();
    let all = if heads.len() == 1 { heads.swap_remove(0) } else { Tensor::cat(heads, 2) };
    all.reshape([b * s, count * k])
}

fn concat_rows(mut groups: Vec<Tensor<2>>) -> Tensor<2> {
    if groups.len() == 1 { groups.swap_remove(0) } else { Tensor::cat(groups, 0) }
}
