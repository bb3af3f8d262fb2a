//! Owns: attention on the CPU, forward and backward: a group of heads of a row at a time, blocks of queries, scores of a
//! block alone in memory (after Dao et al., arXiv 2205.14135, who do it for the sake of a GPU's memory).
//! Must not know: tensors' places in a graph.
//! Invariant: what is not seen has a share of exactly nothing.

use super::{Sight, State};
use crate::ops::Heads;
use crate::ops::graph::{Values, slice, values};
use crate::ops::product::{View, ViewMut, product};
use crate::ops::threads::{self, unwritten};
use crate::ops::vector::{self, wide};
use rayon::prelude::*;

/// Queries whose scores are held at once.
const BLOCK: usize = 64;

/// What one task works on: a key/value head of a row and the queries that share it.
struct Task<'a> {
    heads: Heads,
    sight: &'a Sight,
    row: usize,
    group: usize,
    own: &'a [f32],
    before: &'a [f32],
}

/// Mixed values `[B·S, H·K]`, and ln Σ e^score `[B, H, S]`.
pub(super) fn forward(
    own: &Values,
    before: Option<&Values>,
    sight: &Sight,
    heads: Heads,
) -> (Values, Vec<f32>) {
    let (k, s, shared) = (heads.width, sight.own(), heads.queries / heads.keys);
    let done: Vec<(Vec<f32>, Vec<f32>)> = tasks(own, before, sight, heads)
        .into_par_iter()
        .map(|task| {
            let (mut mixed, mut sums) = (unwritten(shared * s * k), vec![0.0; shared * s]);
            let heads = mixed.chunks_exact_mut(s * k).zip(sums.chunks_exact_mut(s));
            for (head, (mixed, sums)) in heads.enumerate() {
                task.forward(head, mixed, sums);
            }
            (mixed, sums)
        })
        .collect();
    let mut mixed = unwritten(sight.rows() * s * heads.queries * k);
    threads::rows(&mut mixed, heads.queries * k, |first, rows| {
        for (n, out) in (first..).zip(rows.chunks_exact_mut(heads.queries * k)) {
            let (row, at) = (n / s, n % s);
            for (head, out) in out.chunks_exact_mut(k).enumerate() {
                let from = &done[row * heads.keys + head / shared].0;
                out.copy_from_slice(&from[(head % shared * s + at) * k..][..k]);
            }
        }
    });
    let sums = done.into_iter().flat_map(|(_, sums)| sums).collect();
    (values(mixed, [sight.rows() * s, heads.queries * k]), sums)
}

/// Gradients of `own` and, `both`, of what stands before it.
pub(super) fn backward(state: &State, grad: &Values, both: bool) -> Vec<Option<Values>> {
    let State { own, before, sums, sight, heads } = state;
    let (k, s, c) = (heads.width, sight.own(), sight.before());
    let (shared, grad) = (heads.queries / heads.keys, slice(grad));
    let done: Vec<Grads> = tasks(own, before.as_ref(), sight, *heads)
        .into_par_iter()
        .zip(sums.par_chunks(shared * s))
        .map(|(task, sums)| {
            let kept = if both { c * k } else { 0 };
            let mut grads = Grads {
                queries: unwritten(shared * s * k),
                keys: vec![0.0; s * k],
                values: vec![0.0; s * k],
                earlier_keys: vec![0.0; kept],
                earlier_values: vec![0.0; kept],
            };
            for (head, sums) in sums.chunks_exact(s).enumerate() {
                task.backward(head, grad, sums, &mut grads);
            }
            grads
        })
        .collect();
    let packed = |positions: usize, of: fn(&Grads) -> [&[f32]; 3]| {
        let mut out = unwritten(sight.rows() * positions * heads.packed());
        threads::rows(&mut out, heads.packed(), |first, rows| {
            for (n, out) in (first..).zip(rows.chunks_exact_mut(heads.packed())) {
                let (row, at) = (n / positions, n % positions);
                for (head, out) in out.chunks_exact_mut(k).enumerate() {
                    let (part, head) = match head.checked_sub(heads.queries) {
                        None => (0, head),
                        Some(head) => (1 + head / heads.keys, head % heads.keys),
                    };
                    let (group, within) = if part == 0 { (head / shared, head % shared) } else { (head, 0) };
                    match of(&done[row * heads.keys + group])[part] {
                        [] => out.fill(0.0),
                        from => out.copy_from_slice(&from[(within * positions + at) * k..][..k]),
                    }
                }
            }
        });
        Some(values(out, [sight.rows() * positions, heads.packed()]))
    };
    let mut found = vec![packed(s, |grads| [&grads.queries, &grads.keys, &grads.values])];
    if both {
        found.push(packed(c, |grads| [&[], &grads.earlier_keys, &grads.earlier_values]));
    }
    found
}

/// A task's gradients: queries `[H/G, S, K]`, keys and values `[S, K]` and, where they are asked for, `[C, K]`.
struct Grads {
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    earlier_keys: Vec<f32>,
    earlier_values: Vec<f32>,
}

fn tasks<'a>(own: &'a Values, before: Option<&'a Values>, sight: &'a Sight, heads: Heads) -> Vec<Task<'a>> {
    let (own, before) = (slice(own), before.map_or(&[][..], slice));
    let (s, c) = (sight.own() * heads.packed(), sight.before() * heads.packed());
    let task = |row: usize, group| Task {
        heads,
        sight,
        row,
        group,
        own: &own[row * s..(row + 1) * s],
        before: &before[row * c..(row + 1) * c],
    };
    (0..sight.rows()).flat_map(|row| (0..heads.keys).map(move |group| task(row, group))).collect()
}

/// A block of queries and the scores that they need: of the first `earlier` before them, then of their own `from..to`.
struct Block {
    start: usize,
    end: usize,
    earlier: usize,
    from: usize,
    to: usize,
}

impl Block {
    fn rows(&self) -> usize {
        self.end - self.start
    }

    fn columns(&self) -> usize {
        self.earlier + self.to - self.from
    }
}

impl<'a> Task<'a> {
    fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let s = self.sight.own();
        (0..s).step_by(BLOCK).map(move |start| {
            let end = (start + BLOCK).min(s);
            let earlier = (start..end).map(|at| self.sight.limit(self.row, at)).max().unwrap_or(0);
            Block { start, end, earlier, from: self.sight.first(start), to: end }
        })
    }

    /// Head `head` of those at `positions`, as a matrix of rows of width K.
    fn view(&self, of: &'a [f32], positions: std::ops::Range<usize>, head: usize) -> View<'a> {
        let (packed, k) = (self.heads.packed(), self.heads.width);
        let from = (positions.start * packed + head * k).min(of.len());
        View::new(&of[from..], positions.len(), k, packed)
    }

    fn queries(&self, block: &Block, head: usize) -> View<'a> {
        self.view(self.own, block.start..block.end, self.group * self.shared() + head)
    }

    /// Keys (`which` 0) or values (1): those before, and their own.
    fn keys(&self, block: &Block, which: usize) -> [View<'a>; 2] {
        let head = self.heads.queries + which * self.heads.keys + self.group;
        [self.view(self.before, 0..block.earlier, head), self.view(self.own, block.from..block.to, head)]
    }

    fn shared(&self) -> usize {
        self.heads.queries / self.heads.keys
    }

    fn scale(&self) -> f32 {
        (self.heads.width as f32).powf(-0.5)
    }

    /// `a·kᵀ` of all keys or values of the block, `[rows, columns]`.
    fn against(&self, a: View<'_>, keys: [View<'_>; 2], block: &Block) -> Vec<f32> {
        let (rows, columns) = (block.rows(), block.columns());
        let mut out = unwritten(rows * columns);
        product(ViewMut::new(&mut out, rows, block.earlier, columns), a, keys[0].t(), false);
        let own = &mut out[block.earlier..];
        product(ViewMut::new(own, rows, block.to - block.from, columns), a, keys[1].t(), false);
        out
    }

    /// What `see` makes of the scores of head `head`, `[rows, columns]`; nothing where nothing is seen.
    #[inline(always)]
    fn shares(
        &self,
        block: &Block,
        head: usize,
        mut see: impl FnMut(usize, &mut [f32], &mut [f32]),
    ) -> Vec<f32> {
        let mut shares = self.against(self.queries(block, head), self.keys(block, 0), block);
        wide(
            #[inline(always)]
            || self.seen(&mut shares, block, &mut see),
        );
        shares
    }

    /// Runs `see` on each row of scores that is seen, in two parts; the rest of the row becomes nothing.
    #[inline(always)]
    fn seen(&self, scores: &mut [f32], block: &Block, see: &mut impl FnMut(usize, &mut [f32], &mut [f32])) {
        let hidden = self.sight.hidden(self.row);
        for (line, scores) in scores.chunks_exact_mut(block.columns()).enumerate() {
            let at = block.start + line;
            let (earlier, own) = scores.split_at_mut(block.earlier);
            let (seen, late) = earlier.split_at_mut(self.sight.limit(self.row, at));
            let (own, later) = own.split_at_mut(at + 1 - block.from);
            let (not_own, own) = own.split_at_mut(self.sight.first(at) - block.from);
            for (score, hidden) in seen.iter_mut().zip(hidden) {
                *score = if *hidden { f32::NEG_INFINITY } else { *score };
            }
            see(at, seen, own);
            for (score, _) in seen.iter_mut().zip(hidden).filter(|(_, hidden)| **hidden) {
                *score = 0.0;
            }
            for rest in [late, not_own, later] {
                rest.fill(0.0);
            }
        }
    }

    /// Head `head` of the group: mixed values `[S, K]` and ln Σ e^score `[S]`.
    fn forward(&self, head: usize, mixed: &mut [f32], sums: &mut [f32]) {
        let (k, scale) = (self.heads.width, self.scale());
        for block in self.blocks() {
            let mut parts = [0.0_f32; BLOCK];
            let shares = self.shares(
                &block,
                head,
                #[inline(always)]
                |at, earlier, own| {
                    let most = scale * vector::max(earlier).max(vector::max(own));
                    let sum = vector::exp_sum(earlier, scale, most) + vector::exp_sum(own, scale, most);
                    sums[at] = most + sum.ln();
                    parts[at - block.start] = 1.0 / sum;
                },
            );
            let out = &mut mixed[block.start * k..block.end * k];
            self.mix(out, &shares, self.keys(&block, 1), &block);
            wide(
                #[inline(always)]
                || out.chunks_exact_mut(k).zip(parts).for_each(|(row, part)| vector::scale(row, part)),
            );
        }
    }

    /// `out = shares·v`, `[rows, K]`.
    fn mix(&self, out: &mut [f32], shares: &[f32], values: [View<'_>; 2], block: &Block) {
        let (rows, columns, k) = (block.rows(), block.columns(), self.heads.width);
        let own = View::new(&shares[block.earlier..], rows, block.to - block.from, columns);
        product(ViewMut::new(out, rows, k, k), own, values[1], false);
        if block.earlier > 0 {
            let earlier = View::new(shares, rows, block.earlier, columns);
            product(ViewMut::new(out, rows, k, k), earlier, values[0], true);
        }
    }

    /// Adds the gradients of head `head`. With shares `p` and `g` the gradient of the mixed values:
    /// `dv = pᵀ·g`, `dp = g·vᵀ`, `ds = p·(dp - Σ p·dp)/√K`, `dq = ds·k`, `dk = dsᵀ·q`.
    fn backward(&self, head: usize, grad: &[f32], sums: &[f32], grads: &mut Grads) {
        let (k, s, scale) = (self.heads.width, self.sight.own(), self.scale());
        let width = self.heads.queries * k;
        let from = self.row * s * width + (self.group * self.shared() + head) * k;
        for block in self.blocks() {
            let grad = View::new(&grad[from + block.start * width..], block.rows(), k, width);
            let queries = self.queries(&block, head);
            let shares = self.shares(
                &block,
                head,
                #[inline(always)]
                |at, earlier, own| {
                    vector::exp_sum(earlier, scale, sums[at]);
                    vector::exp_sum(own, scale, sums[at]);
                },
            );
            let mut slopes = self.against(grad, self.keys(&block, 1), &block);
            self.back(&shares, &block, grad, &mut grads.values, &mut grads.earlier_values);
            wide(
                #[inline(always)]
                || {
                    let columns = block.columns();
                    for (p, slopes) in shares.chunks_exact(columns).zip(slopes.chunks_exact_mut(columns)) {
                        let mean = vector::dot(p, slopes);
                        for (slope, p) in slopes.iter_mut().zip(p) {
                            *slope = p * (*slope - mean) * scale;
                        }
                    }
                },
            );
            let to = head * s + block.start;
            let out = &mut grads.queries[to * k..(to + block.rows()) * k];
            self.mix(out, &slopes, self.keys(&block, 0), &block);
            self.back(&slopes, &block, queries, &mut grads.keys, &mut grads.earlier_keys);
        }
    }

    /// Adds `sharesᵀ·from` to what belongs to the block's own columns, `[S, K]`, and, where that is asked for, to the earlier ones.
    fn back(&self, shares: &[f32], block: &Block, from: View<'_>, own: &mut [f32], earlier: &mut [f32]) {
        let (rows, columns, k) = (block.rows(), block.columns(), self.heads.width);
        let count = block.to - block.from;
        let part = View::new(&shares[block.earlier..], rows, count, columns).t();
        product(ViewMut::new(&mut own[block.from * k..], count, k, k), part, from, true);
        if !earlier.is_empty() && block.earlier > 0 {
            let part = View::new(shares, rows, block.earlier, columns).t();
            product(ViewMut::new(earlier, block.earlier, k, k), part, from, true);
        }
    }
}
