//! Owns: fused attention on the CPU (after FlashAttention, Dao et al., arXiv 2205.14135). A task has one
//! key/value head of a row, and keeps the scores of one block of queries at a time.
//! Must not know: tensors' places in a graph.
//! Invariant: a masked score has a probability of exactly 0.

use super::{AttentionMask, SavedAttention, probs_dropout};
use crate::ops::graph::{CpuTensor, cpu_tensor, slice};
use crate::ops::matmul::{MatrixView, MatrixViewMut, WriteMode, matmul};
use crate::ops::simd::{self, dispatch};
use crate::ops::threads::{self, unspecified_vec};
use crate::ops::{Dropout, Heads};
use rayon::prelude::*;

/// Queries whose scores are held at a time.
const QUERY_BLOCK: usize = 64;

/// The input of one task: a key/value head of a row and the query heads that share it.
struct HeadTask<'a> {
    heads: Heads,
    mask: &'a AttentionMask,
    /// Of the probabilities to query positions and to the prefix.
    dropout: Option<[Dropout; 2]>,
    row: usize,
    kv_head: usize,
    current: &'a [f32],
    prefix: &'a [f32],
}

/// Returns mixed values `[B·S, H·K]`, and `ln Σ e^score` `[B, H, S]`.
pub(super) fn forward(
    current: &CpuTensor,
    prefix: Option<&CpuTensor>,
    mask: &AttentionMask,
    heads: Heads,
    dropout: Option<Dropout>,
) -> (CpuTensor, Vec<f32>) {
    let (k, s, group_heads) = (heads.width, mask.query_positions(), heads.queries / heads.keys);
    let (n, width) = (mask.rows() * s, heads.queries * k);
    let (mut mixed, mut log_sums) = (unspecified_vec(n * width), unspecified_vec(n * heads.queries));
    let outputs = split_by_task(MatrixViewMut::new(&mut mixed, n, width, width), s, group_heads * k);
    let tasks = head_tasks(current, prefix, mask, heads, dropout).into_par_iter().zip(outputs);
    tasks.zip(log_sums.par_chunks_mut(group_heads * s)).for_each(|((task, mut mixed), log_sums)| {
        let mut probs = task.scratch();
        for (head, log_sums) in log_sums.chunks_exact_mut(s).enumerate() {
            task.forward(head, mixed.submatrix(0..s, head * k..(head + 1) * k), log_sums, &mut probs);
        }
    });
    (cpu_tensor(mixed, [n, width]), log_sums)
}

/// Returns the packed gradients of the query positions and, if `with_prefix`, of the prefix.
pub(super) fn backward(state: &SavedAttention, grad: &CpuTensor, with_prefix: bool) -> Vec<Option<CpuTensor>> {
    let SavedAttention { current, prefix, log_sums, mask, heads, dropout } = state;
    let (s, group_heads, grad) = (mask.query_positions(), heads.queries / heads.keys, slice(grad));
    let prefix_rows = if with_prefix { mask.rows() * mask.prefix_positions() } else { 0 };
    let mut packed = [mask.rows() * s, prefix_rows].map(|rows| unspecified_vec(rows * heads.packed_width()));
    let [to_current, to_prefix] = &mut packed;
    let to_current = TaskGrads::split_by_task(to_current, s, *heads);
    let to_prefix = match prefix_rows > 0 {
        true => TaskGrads::split_by_task(to_prefix, mask.prefix_positions(), *heads).into_iter().map(Some).collect(),
        false => to_current.iter().map(|_| None).collect::<Vec<_>>(),
    };
    let tasks = head_tasks(current, prefix.as_ref(), mask, *heads, *dropout).into_par_iter();
    let tasks = tasks.zip(log_sums.par_chunks(group_heads * s)).zip(to_current).zip(to_prefix);
    tasks.for_each(|(((task, log_sums), mut to_current), mut to_prefix)| {
        to_current.clear();
        if let Some(prefix) = &mut to_prefix {
            prefix.clear();
        }
        let mut scratch = [task.scratch(), task.scratch(), task.dropout.map_or_else(Vec::new, |_| task.scratch())];
        for (head, log_sums) in log_sums.chunks_exact(s).enumerate() {
            task.backward(head, grad, log_sums, &mut to_current, to_prefix.as_mut(), &mut scratch);
        }
    });
    let [to_current, to_prefix] = packed.map(|numbers| {
        let rows = numbers.len() / heads.packed_width();
        cpu_tensor(numbers, [rows, heads.packed_width()])
    });
    std::iter::once(Some(to_current)).chain(with_prefix.then_some(Some(to_prefix))).collect()
}

/// Splits `all` into one view for each task: `positions` rows by `width` columns.
fn split_by_task(mut all: MatrixViewMut<'_>, positions: usize, width: usize) -> Vec<MatrixViewMut<'_>> {
    let mut views = Vec::new();
    while all.dims()[0] > 0 {
        let (mut row, others) = all.split_rows(positions);
        all = others;
        while row.dims()[1] > 0 {
            let (view, others) = row.split_columns(width);
            row = others;
            views.push(view);
        }
    }
    views
}

/// Where a task writes gradients: of queries `[S, (H/G)·K]`, of keys and of values `[S, K]` (prefix: C rows).
struct TaskGrads<'a> {
    queries: MatrixViewMut<'a>,
    keys: MatrixViewMut<'a>,
    values: MatrixViewMut<'a>,
}

impl<'a> TaskGrads<'a> {
    fn split_by_task(packed: &'a mut [f32], positions: usize, heads: Heads) -> Vec<Self> {
        let (k, width) = (heads.width, heads.packed_width());
        let rows = packed.len() / width;
        let (queries, others) = MatrixViewMut::new(packed, rows, width, width).split_columns(heads.queries * k);
        let (keys, values) = others.split_columns(heads.keys * k);
        let queries = split_by_task(queries, positions, heads.queries / heads.keys * k);
        let others = split_by_task(keys, positions, k).into_iter().zip(split_by_task(values, positions, k));
        queries.into_iter().zip(others).map(|(queries, (keys, values))| Self { queries, keys, values }).collect()
    }

    fn clear(&mut self) {
        for grads in [&mut self.queries, &mut self.keys, &mut self.values] {
            grads.rows().for_each(|row| row.fill(0.0));
        }
    }
}

fn head_tasks<'a>(
    current: &'a CpuTensor,
    prefix: Option<&'a CpuTensor>,
    mask: &'a AttentionMask,
    heads: Heads,
    dropout: Option<Dropout>,
) -> Vec<HeadTask<'a>> {
    let (current, prefix) = (slice(current), prefix.map_or(&[][..], slice));
    let (s, c) = (mask.query_positions() * heads.packed_width(), mask.prefix_positions() * heads.packed_width());
    let task = |row: usize, group| HeadTask {
        heads,
        mask,
        dropout: dropout.map(probs_dropout),
        row,
        kv_head: group,
        current: &current[row * s..(row + 1) * s],
        prefix: &prefix[row * c..(row + 1) * c],
    };
    (0..mask.rows()).flat_map(|row| (0..heads.keys).map(move |group| task(row, group))).collect()
}

/// A block of queries with its keys: the first `prefix_len` of the prefix, then `key_start..key_end`. If
/// `isolated`, a query has a single column for the latter: its own.
struct QueryBlock {
    start: usize,
    end: usize,
    prefix_len: usize,
    key_start: usize,
    key_end: usize,
    isolated: bool,
}

impl QueryBlock {
    fn rows(&self) -> usize {
        self.end - self.start
    }

    /// Returns the columns of scores of query positions, which follow those of the prefix.
    fn current_columns(&self) -> usize {
        if self.isolated { 1 } else { self.key_end - self.key_start }
    }

    fn columns(&self) -> usize {
        self.prefix_len + self.current_columns()
    }
}

impl<'a> HeadTask<'a> {
    fn blocks(&self) -> impl Iterator<Item = QueryBlock> + '_ {
        let (s, isolated) = (self.mask.query_positions(), self.mask.is_isolated());
        (0..s).step_by(QUERY_BLOCK).map(move |start| {
            let end = (start + QUERY_BLOCK).min(s);
            let prefix_len = (start..end).map(|at| self.mask.prefix_limit(self.row, at)).max().unwrap_or(0);
            QueryBlock { start, end, prefix_len, key_start: self.mask.first_visible(start), key_end: end, isolated }
        })
    }

    /// Returns the blocks, up to the one at which the process's operations are cancelled.
    fn blocks_until_cancelled(&self) -> impl Iterator<Item = QueryBlock> + '_ {
        self.blocks().take_while(|_| !threads::is_cancelled())
    }

    /// Returns memory for the scores of any of the task's blocks, uninitialised.
    fn scratch(&self) -> Vec<f32> {
        unspecified_vec(self.blocks().map(|block| block.rows() * block.columns()).max().unwrap_or(0))
    }

    /// Returns head `head` of the packed numbers at `positions`, as a matrix with K columns.
    fn head_view(&self, packed_numbers: &'a [f32], positions: std::ops::Range<usize>, head: usize) -> MatrixView<'a> {
        let (packed, k) = (self.heads.packed_width(), self.heads.width);
        let from = (positions.start * packed + head * k).min(packed_numbers.len());
        MatrixView::new(&packed_numbers[from..], positions.len(), k, packed)
    }

    fn queries(&self, block: &QueryBlock, head: usize) -> MatrixView<'a> {
        self.head_view(self.current, block.start..block.end, self.kv_head * self.group_heads() + head)
    }

    /// Returns keys (`which` 0) or values (1) of the prefix and of the query positions.
    fn keys_or_values(&self, block: &QueryBlock, which: usize) -> [MatrixView<'a>; 2] {
        let head = self.heads.queries + which * self.heads.keys + self.kv_head;
        [
            self.head_view(self.prefix, 0..block.prefix_len, head),
            self.head_view(self.current, block.key_start..block.key_end, head),
        ]
    }

    fn group_heads(&self) -> usize {
        self.heads.queries / self.heads.keys
    }

    fn scale(&self) -> f32 {
        (self.heads.width as f32).powf(-0.5)
    }

    /// Writes `out = a·kᵀ` for all keys or values `k` of the block, `[rows, columns]`.
    fn mul_transposed(&self, a: MatrixView<'_>, keys: [MatrixView<'_>; 2], block: &QueryBlock, out: &mut [f32]) {
        let (rows, columns) = (block.rows(), block.columns());
        matmul(MatrixViewMut::new(out, rows, block.prefix_len, columns), a, keys[0].t(), WriteMode::Overwrite);
        let current = &mut out[block.prefix_len..];
        if !block.isolated {
            return matmul(
                MatrixViewMut::new(current, rows, block.current_columns(), columns),
                a,
                keys[1].t(),
                WriteMode::Overwrite,
            );
        }
        dispatch(
            #[inline(always)]
            || {
                for (line, scores) in current.chunks_mut(columns).enumerate() {
                    scores[0] = simd::dot(a.row(line), keys[1].row(line));
                }
            },
        );
    }

    /// Returns what `update` makes of the visible scores of a head, `[rows, columns]`, and 0 for masked ones.
    #[inline(always)]
    fn map_scores<'r>(
        &self,
        block: &QueryBlock,
        head: usize,
        scratch: &'r mut [f32],
        mut update: impl FnMut(usize, &mut [f32], &mut [f32]),
    ) -> &'r [f32] {
        let probs = &mut scratch[..block.rows() * block.columns()];
        self.mul_transposed(self.queries(block, head), self.keys_or_values(block, 0), block, probs);
        dispatch(
            #[inline(always)]
            || self.for_each_visible(probs, block, &mut update),
        );
        probs
    }

    /// Calls `update` with a position and its visible scores (prefix, current), and sets masked scores to 0.
    #[inline(always)]
    fn for_each_visible(
        &self,
        scores: &mut [f32],
        block: &QueryBlock,
        update: &mut impl FnMut(usize, &mut [f32], &mut [f32]),
    ) {
        let hidden = self.mask.hidden_prefix(self.row);
        for (line, scores) in scores.chunks_exact_mut(block.columns()).enumerate() {
            let at = block.start + line;
            let (prefix, current) = scores.split_at_mut(block.prefix_len);
            let (visible, beyond) = prefix.split_at_mut(self.mask.prefix_limit(self.row, at));
            let (first, last) = if block.isolated { (0, 0) } else { (self.mask.first_visible(at), at) };
            let from = if block.isolated { 0 } else { block.key_start };
            let (current, following) = current.split_at_mut(last + 1 - from);
            let (preceding, current) = current.split_at_mut(first - from);
            for (score, hidden) in visible.iter_mut().zip(hidden) {
                *score = if *hidden { f32::NEG_INFINITY } else { *score };
            }
            update(at, visible, current);
            for (score, _) in visible.iter_mut().zip(hidden).filter(|(_, hidden)| **hidden) {
                *score = 0.0;
            }
            for masked in [beyond, preceding, following] {
                masked.fill(0.0);
            }
        }
    }

    /// Writes head `head` of the group: mixed values `[S, K]` and `ln Σ e^score` `[S]`.
    fn forward(&self, head: usize, mut mixed: MatrixViewMut<'_>, log_sums: &mut [f32], scratch: &mut [f32]) {
        let (k, scale) = (self.heads.width, self.scale());
        for block in self.blocks_until_cancelled() {
            let mut factors = [0.0_f32; QUERY_BLOCK];
            let exps = self.map_scores(
                &block,
                head,
                scratch,
                #[inline(always)]
                |at, prefix, current| {
                    let max = scale * simd::max(prefix).max(simd::max(current));
                    let sum = simd::exp_sum(prefix, scale, max) + simd::exp_sum(current, scale, max);
                    log_sums[at] = max + sum.ln();
                    factors[at - block.start] = 1.0 / sum;
                    self.drop(head, at, prefix, current);
                },
            );
            let mut out = mixed.submatrix(block.start..block.end, 0..k);
            self.weighted_sum(&mut out, exps, self.keys_or_values(&block, 1), &block);
            dispatch(
                #[inline(always)]
                || out.rows().zip(factors).for_each(|(row, factor)| simd::scale(row, factor)),
            );
        }
    }

    /// Drops probabilities of position `at` of a head: those to the prefix, and those to query positions from the first
    /// visible one on.
    #[inline(always)]
    fn drop(&self, head: usize, at: usize, to_prefix: &mut [f32], to_current: &mut [f32]) {
        let Some([current, prefix]) = &self.dropout else { return };
        let head = self.kv_head * self.group_heads() + head;
        let row = (self.row * self.heads.queries + head) * self.mask.query_positions() + at;
        prefix.row(row).apply(to_prefix);
        match self.mask.is_isolated() {
            true => to_current.iter_mut().for_each(|prob| *prob *= current.row(row).factor_at(at)),
            false => current.row(row).apply(to_current),
        }
    }

    /// Returns the probabilities of a block with some dropped; the same ones if there is no dropout.
    fn dropped<'r>(&self, head: usize, probs: &'r [f32], block: &QueryBlock, scratch: &'r mut [f32]) -> &'r [f32] {
        if self.dropout.is_none() {
            return probs;
        }
        let dropped = &mut scratch[..probs.len()];
        dropped.copy_from_slice(probs);
        dispatch(
            #[inline(always)]
            || {
                for (line, probs) in dropped.chunks_exact_mut(block.columns()).enumerate() {
                    let (prefix, current) = probs.split_at_mut(block.prefix_len);
                    let at = block.start + line;
                    // What follows is masked: 0 already.
                    let visible = if block.isolated { 1 } else { at + 1 - block.key_start };
                    self.drop(head, at, prefix, &mut current[..visible]);
                }
            },
        );
        dropped
    }

    /// Writes `out = weights·v`, `[rows, K]`.
    fn weighted_sum(
        &self,
        out: &mut MatrixViewMut<'_>,
        weights: &[f32],
        values: [MatrixView<'_>; 2],
        block: &QueryBlock,
    ) {
        let (rows, columns, k) = (block.rows(), block.columns(), self.heads.width);
        let current = &weights[block.prefix_len..];
        if block.isolated {
            for (line, (out, weight)) in out.rows().zip(current.iter().step_by(columns)).enumerate() {
                simd::copy_scaled(out, *weight, values[1].row(line));
            }
        } else {
            let current = MatrixView::new(current, rows, block.current_columns(), columns);
            matmul(out.submatrix(0..rows, 0..k), current, values[1], WriteMode::Overwrite);
        }
        if block.prefix_len > 0 {
            let prefix = MatrixView::new(weights, rows, block.prefix_len, columns);
            matmul(out.submatrix(0..rows, 0..k), prefix, values[0], WriteMode::Add);
        }
    }

    /// Adds the gradients that head `head` contributes to `current` and, if given, to `prefix`.
    ///
    /// With probabilities `p` and the gradient `g` of the mixed values: `dv = pᵀ·g`, `dp = g·vᵀ`,
    /// `ds = p·(dp - Σ p·dp)/√K`, `dq = ds·k`, `dk = dsᵀ·q`. With dropout factors `m`: `dv = (m·p)ᵀ·g`, `dp = m·(g·vᵀ)`.
    fn backward(
        &self,
        head: usize,
        grad: &[f32],
        log_sums: &[f32],
        current: &mut TaskGrads<'_>,
        mut prefix: Option<&mut TaskGrads<'_>>,
        scratch: &mut [Vec<f32>; 3],
    ) {
        let (k, s, scale) = (self.heads.width, self.mask.query_positions(), self.scale());
        let width = self.heads.queries * k;
        let from = self.row * s * width + (self.kv_head * self.group_heads() + head) * k;
        let [probs, score_grads, dropped] = scratch;
        for block in self.blocks_until_cancelled() {
            let grad = MatrixView::new(&grad[from + block.start * width..], block.rows(), k, width);
            let queries = self.queries(&block, head);
            let probs = self.map_scores(
                &block,
                head,
                probs,
                #[inline(always)]
                |at, prefix, current| {
                    simd::exp_sum(prefix, scale, log_sums[at]);
                    simd::exp_sum(current, scale, log_sums[at]);
                },
            );
            let dropped = self.dropped(head, probs, &block, dropped);
            let score_grads = &mut score_grads[..probs.len()];
            self.mul_transposed(grad, self.keys_or_values(&block, 1), &block, score_grads);
            let prefix_values = prefix.as_mut().map(|prefix| &mut prefix.values);
            self.accumulate_transposed(dropped, &block, grad, &mut current.values, prefix_values);
            self.to_score_grads(probs, dropped, score_grads, block.columns());
            let mut out = current.queries.submatrix(block.start..block.end, head * k..(head + 1) * k);
            self.weighted_sum(&mut out, score_grads, self.keys_or_values(&block, 0), &block);
            let prefix_keys = prefix.as_mut().map(|prefix| &mut prefix.keys);
            self.accumulate_transposed(score_grads, &block, queries, &mut current.keys, prefix_keys);
        }
    }

    /// Turns `g·vᵀ` into gradients of scores, row by row: `p·(dp - Σ p·dp)/√K`.
    fn to_score_grads(&self, probs: &[f32], dropped: &[f32], grads: &mut [f32], columns: usize) {
        let (scale, drops) = (self.scale(), self.dropout.is_some());
        dispatch(
            #[inline(always)]
            || {
                let rows = probs.chunks_exact(columns).zip(dropped.chunks_exact(columns));
                for ((p, dropped), grads) in rows.zip(grads.chunks_exact_mut(columns)) {
                    let mean = simd::dot(dropped, grads);
                    if drops {
                        for (grad, (p, dropped)) in grads.iter_mut().zip(p.iter().zip(dropped)) {
                            *grad = (dropped * *grad - p * mean) * scale;
                        }
                    } else {
                        for (grad, p) in grads.iter_mut().zip(p) {
                            *grad = p * (*grad - mean) * scale;
                        }
                    }
                }
            },
        );
    }

    /// Adds `weightsᵀ·right` to the rows of `current` and, if given, `prefix` that the block has columns for.
    fn accumulate_transposed(
        &self,
        weights: &[f32],
        block: &QueryBlock,
        right: MatrixView<'_>,
        current: &mut MatrixViewMut<'_>,
        prefix: Option<&mut MatrixViewMut<'_>>,
    ) {
        let (rows, columns, k) = (block.rows(), block.columns(), self.heads.width);
        let mut current = current.submatrix(block.key_start..block.key_end, 0..k);
        let current_weights = &weights[block.prefix_len..];
        if block.isolated {
            let weights = current_weights.iter().step_by(columns);
            for (line, (current, weight)) in current.rows().zip(weights).enumerate() {
                simd::add_scaled(current, *weight, right.row(line));
            }
        } else {
            matmul(
                current,
                MatrixView::new(current_weights, rows, block.current_columns(), columns).t(),
                right,
                WriteMode::Add,
            );
        }
        if let Some(prefix) = prefix.filter(|_| block.prefix_len > 0) {
            let prefix_weights = MatrixView::new(weights, rows, block.prefix_len, columns).t();
            matmul(prefix.submatrix(0..block.prefix_len, 0..k), prefix_weights, right, WriteMode::Add);
        }
    }
}
