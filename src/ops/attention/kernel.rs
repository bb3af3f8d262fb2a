//! Owns: attention on the CPU, forward and backward: a group of heads of a row at a time, blocks of queries, scores of a
//! block alone in memory (after Dao et al., arXiv 2205.14135, who do it for the sake of a GPU's memory).
//! Must not know: tensors' places in a graph.
//! Invariant: what is not seen has a share of exactly nothing.

use super::{Sight, State};
use crate::ops::Heads;
use crate::ops::graph::{Values, slice, values};
use crate::ops::product::{View, ViewMut, product};
use crate::ops::threads::unwritten;
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
    let (n, width) = (sight.rows() * s, heads.queries * k);
    let (mut mixed, mut sums) = (unwritten(n * width), unwritten(n * heads.queries));
    let places = places(ViewMut::new(&mut mixed, n, width, width), s, shared * k);
    let tasks = tasks(own, before, sight, heads).into_par_iter().zip(places);
    tasks.zip(sums.par_chunks_mut(shared * s)).for_each(|((task, mut mixed), sums)| {
        let mut shares = task.room();
        for (head, sums) in sums.chunks_exact_mut(s).enumerate() {
            task.forward(head, mixed.part(0..s, head * k..(head + 1) * k), sums, &mut shares);
        }
    });
    (values(mixed, [n, width]), sums)
}

/// Gradients of `own` and, `both`, of what stands before it.
pub(super) fn backward(state: &State, grad: &Values, both: bool) -> Vec<Option<Values>> {
    let State { own, before, sums, sight, heads } = state;
    let (s, shared, grad) = (sight.own(), heads.queries / heads.keys, slice(grad));
    let before_rows = if both { sight.rows() * sight.before() } else { 0 };
    let mut packed = [sight.rows() * s, before_rows].map(|rows| unwritten(rows * heads.packed()));
    let [to_own, to_before] = &mut packed;
    let to_own = Grads::places(to_own, s, *heads);
    let to_before = match before_rows > 0 {
        true => Grads::places(to_before, sight.before(), *heads).into_iter().map(Some).collect(),
        false => to_own.iter().map(|_| None).collect::<Vec<_>>(),
    };
    let tasks = tasks(own, before.as_ref(), sight, *heads).into_par_iter().zip(sums.par_chunks(shared * s));
    tasks.zip(to_own).zip(to_before).for_each(|(((task, sums), mut to_own), mut to_before)| {
        to_own.clear();
        if let Some(before) = &mut to_before {
            before.clear();
        }
        let mut rooms = [task.room(), task.room()];
        for (head, sums) in sums.chunks_exact(s).enumerate() {
            task.backward(head, grad, sums, &mut to_own, to_before.as_mut(), &mut rooms);
        }
    });
    let [to_own, to_before] = packed.map(|numbers| {
        let rows = numbers.len() / heads.packed();
        values(numbers, [rows, heads.packed()])
    });
    std::iter::once(Some(to_own)).chain(both.then_some(Some(to_before))).collect()
}

/// A place for each task: of every `positions` rows, `width` columns.
fn places(mut all: ViewMut<'_>, positions: usize, width: usize) -> Vec<ViewMut<'_>> {
    let mut places = Vec::new();
    while all.dims()[0] > 0 {
        let (mut row, others) = all.split_rows(positions);
        all = others;
        while row.dims()[1] > 0 {
            let (place, others) = row.split_columns(width);
            row = others;
            places.push(place);
        }
    }
    places
}

/// Where a task's gradients go: queries `[S, (H/G)·K]`, keys and values `[S, K]`; `C` in place of `S` for those before.
struct Grads<'a> {
    queries: ViewMut<'a>,
    keys: ViewMut<'a>,
    values: ViewMut<'a>,
}

impl<'a> Grads<'a> {
    /// One for each task, of packed gradients.
    fn places(packed: &'a mut [f32], positions: usize, heads: Heads) -> Vec<Self> {
        let (k, width) = (heads.width, heads.packed());
        let rows = packed.len() / width;
        let (queries, others) = ViewMut::new(packed, rows, width, width).split_columns(heads.queries * k);
        let (keys, values) = others.split_columns(heads.keys * k);
        let queries = places(queries, positions, heads.queries / heads.keys * k);
        let others = places(keys, positions, k).into_iter().zip(places(values, positions, k));
        queries
            .into_iter()
            .zip(others)
            .map(|(queries, (keys, values))| Self { queries, keys, values })
            .collect()
    }

    fn clear(&mut self) {
        for part in [&mut self.queries, &mut self.keys, &mut self.values] {
            part.rows().for_each(|row| row.fill(0.0));
        }
    }
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

/// A block of queries and the scores that they need: of the first `earlier` before them, then of their own `from..to`, or,
/// where each sees itself `alone` of them, of itself.
struct Block {
    start: usize,
    end: usize,
    earlier: usize,
    from: usize,
    to: usize,
    alone: bool,
}

impl Block {
    fn rows(&self) -> usize {
        self.end - self.start
    }

    /// Columns of scores for its own.
    fn own(&self) -> usize {
        if self.alone { 1 } else { self.to - self.from }
    }

    fn columns(&self) -> usize {
        self.earlier + self.own()
    }
}

impl<'a> Task<'a> {
    fn blocks(&self) -> impl Iterator<Item = Block> + '_ {
        let (s, alone) = (self.sight.own(), self.sight.alone());
        (0..s).step_by(BLOCK).map(move |start| {
            let end = (start + BLOCK).min(s);
            let earlier = (start..end).map(|at| self.sight.limit(self.row, at)).max().unwrap_or(0);
            Block { start, end, earlier, from: self.sight.first(start), to: end, alone }
        })
    }

    /// For the scores of any of its blocks.
    fn room(&self) -> Vec<f32> {
        unwritten(self.blocks().map(|block| block.rows() * block.columns()).max().unwrap_or(0))
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

    /// `out = a·kᵀ` of all keys or values of the block, `[rows, columns]`.
    fn against(&self, a: View<'_>, keys: [View<'_>; 2], block: &Block, out: &mut [f32]) {
        let (rows, columns) = (block.rows(), block.columns());
        product(ViewMut::new(out, rows, block.earlier, columns), a, keys[0].t(), false);
        let own = &mut out[block.earlier..];
        if !block.alone {
            return product(ViewMut::new(own, rows, block.own(), columns), a, keys[1].t(), false);
        }
        wide(
            #[inline(always)]
            || {
                for (line, own) in own.chunks_mut(columns).enumerate() {
                    own[0] = vector::dot(a.row(line), keys[1].row(line));
                }
            },
        );
    }

    /// What `see` makes of the scores of head `head`, `[rows, columns]`; nothing where nothing is seen.
    #[inline(always)]
    fn shares<'r>(
        &self,
        block: &Block,
        head: usize,
        room: &'r mut [f32],
        mut see: impl FnMut(usize, &mut [f32], &mut [f32]),
    ) -> &'r [f32] {
        let shares = &mut room[..block.rows() * block.columns()];
        self.against(self.queries(block, head), self.keys(block, 0), block, shares);
        wide(
            #[inline(always)]
            || self.seen(shares, block, &mut see),
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
            let (first, last) = if block.alone { (0, 0) } else { (self.sight.first(at), at) };
            let from = if block.alone { 0 } else { block.from };
            let (own, later) = own.split_at_mut(last + 1 - from);
            let (not_own, own) = own.split_at_mut(first - from);
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
    fn forward(&self, head: usize, mut mixed: ViewMut<'_>, sums: &mut [f32], room: &mut [f32]) {
        let (k, scale) = (self.heads.width, self.scale());
        for block in self.blocks() {
            let mut parts = [0.0_f32; BLOCK];
            let shares = self.shares(
                &block,
                head,
                room,
                #[inline(always)]
                |at, earlier, own| {
                    let most = scale * vector::max(earlier).max(vector::max(own));
                    let sum = vector::exp_sum(earlier, scale, most) + vector::exp_sum(own, scale, most);
                    sums[at] = most + sum.ln();
                    parts[at - block.start] = 1.0 / sum;
                },
            );
            let mut out = mixed.part(block.start..block.end, 0..k);
            self.mix(&mut out, shares, self.keys(&block, 1), &block);
            wide(
                #[inline(always)]
                || out.rows().zip(parts).for_each(|(row, part)| vector::scale(row, part)),
            );
        }
    }

    /// `out = shares·v`, `[rows, K]`.
    fn mix(&self, out: &mut ViewMut<'_>, shares: &[f32], values: [View<'_>; 2], block: &Block) {
        let (rows, columns, k) = (block.rows(), block.columns(), self.heads.width);
        let own = &shares[block.earlier..];
        if block.alone {
            for (line, (out, share)) in out.rows().zip(own.iter().step_by(columns)).enumerate() {
                vector::scaled(out, *share, values[1].row(line));
            }
        } else {
            let own = View::new(own, rows, block.own(), columns);
            product(out.part(0..rows, 0..k), own, values[1], false);
        }
        if block.earlier > 0 {
            let earlier = View::new(shares, rows, block.earlier, columns);
            product(out.part(0..rows, 0..k), earlier, values[0], true);
        }
    }

    /// Adds the gradients of head `head` to those of its own and, where they are asked for, of those before. With shares `p`
    /// and `g` the gradient of the mixed values: `dv = pᵀ·g`, `dp = g·vᵀ`, `ds = p·(dp - Σ p·dp)/√K`, `dq = ds·k`, `dk = dsᵀ·q`.
    fn backward(
        &self,
        head: usize,
        grad: &[f32],
        sums: &[f32],
        own: &mut Grads<'_>,
        mut earlier: Option<&mut Grads<'_>>,
        rooms: &mut [Vec<f32>; 2],
    ) {
        let (k, s, scale) = (self.heads.width, self.sight.own(), self.scale());
        let width = self.heads.queries * k;
        let from = self.row * s * width + (self.group * self.shared() + head) * k;
        let [shares, slopes] = rooms;
        for block in self.blocks() {
            let grad = View::new(&grad[from + block.start * width..], block.rows(), k, width);
            let queries = self.queries(&block, head);
            let shares = self.shares(
                &block,
                head,
                shares,
                #[inline(always)]
                |at, earlier, own| {
                    vector::exp_sum(earlier, scale, sums[at]);
                    vector::exp_sum(own, scale, sums[at]);
                },
            );
            let slopes = &mut slopes[..shares.len()];
            self.against(grad, self.keys(&block, 1), &block, slopes);
            let to = earlier.as_mut().map(|earlier| &mut earlier.values);
            self.back(shares, &block, grad, &mut own.values, to);
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
            let mut out = own.queries.part(block.start..block.end, head * k..(head + 1) * k);
            self.mix(&mut out, slopes, self.keys(&block, 0), &block);
            let to = earlier.as_mut().map(|earlier| &mut earlier.keys);
            self.back(slopes, &block, queries, &mut own.keys, to);
        }
    }

    /// Adds `sharesᵀ·from` to what belongs to the block's own columns, `[S, K]`, and, where that is asked for, to the earlier ones.
    fn back(
        &self,
        shares: &[f32],
        block: &Block,
        from: View<'_>,
        own: &mut ViewMut<'_>,
        earlier: Option<&mut ViewMut<'_>>,
    ) {
        let (rows, columns, k) = (block.rows(), block.columns(), self.heads.width);
        let mut own = own.part(block.from..block.to, 0..k);
        let part = &shares[block.earlier..];
        if block.alone {
            for (line, (own, share)) in own.rows().zip(part.iter().step_by(columns)).enumerate() {
                vector::add_scaled(own, *share, from.row(line));
            }
        } else {
            product(own, View::new(part, rows, block.own(), columns).t(), from, true);
        }
        if let Some(earlier) = earlier.filter(|_| block.earlier > 0) {
            let part = View::new(shares, rows, block.earlier, columns).t();
            product(earlier.part(0..block.earlier, 0..k), part, from, true);
        }
    }
}
