//! Owns: attention of the device's own products, forward and backward: a group of rows at a time, whose scores alone are in
//! memory, and are found again on the way back.
//! Must not know: how a row of scores becomes shares.
//! Invariant: scores never exist for more than a group of rows at a time, and none outlives its pass.

use super::shares::{Parts, Seen};
use super::{Sight, work};
use crate::ops::graph::{Gradient, Recompute, gradient};
use crate::ops::{Heads, alike};
use burn::tensor::Tensor;

/// Scores that are held at a time: of f32, 256 MiB.
pub(super) const SCORES: usize = 1 << 26;

/// Attention's input, without autodiff, which is all that its way back needs.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    pub own: Tensor<2>,
    pub before: Option<Tensor<2>>,
    pub sight: Sight,
    pub heads: Heads,
    /// Scores that are held at a time; a row that has more is held whole.
    pub scores: usize,
}

impl Recompute for Blocks {
    fn back(self, grad: Tensor<2>, wanted: &[bool]) -> Vec<Gradient> {
        let both = wanted.get(1) == Some(&true);
        let _span = work(&self.sight, self.heads, both).returns();
        let grad = alike(grad, &self.own);
        let s = self.sight.own();
        let found = self.groups().map(|(start, count)| {
            self.group(start, count).backward(grad.clone().narrow(0, start * s, count * s), both)
        });
        let (own, before): (Vec<_>, Vec<_>) = found.unzip();
        vec![
            gradient(joined(own)),
            both.then(|| joined(before.into_iter().flatten().collect())).and_then(gradient),
        ]
    }
}

impl Blocks {
    /// Mixed values, `[B·S, H·K]`.
    pub fn forward(&self) -> Tensor<2> {
        joined(self.groups().map(|(start, count)| self.group(start, count).forward()).collect())
    }

    /// First row and number of rows of each group.
    fn groups(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (rows, s) = (self.sight.rows(), self.sight.own());
        let scores = self.heads.queries * s * (s + self.sight.before());
        let most = (self.scores / scores.max(1)).max(1);
        (0..rows).step_by(most).map(move |start| (start, most.min(rows - start)))
    }

    fn group(&self, start: usize, count: usize) -> Group {
        let Heads { queries, keys, width } = self.heads;
        let apart = |packed: &Tensor<2>, positions: usize| {
            let rows = packed.clone().narrow(0, start * positions, count * positions);
            rows.reshape([count, positions, queries + 2 * keys, width])
        };
        let own = apart(&self.own, self.sight.own());
        let before = self.before.as_ref().map(|before| apart(before, self.sight.before()));
        let side = |from| Parts {
            own: some(&own, from, keys),
            before: before.as_ref().map(|before| some(before, from, keys)),
        };
        let seen = self.sight.seen(start, count, &self.own);
        let mine = shared(some(&own, 0, queries), keys);
        Group { queries: mine, keys: side(queries), values: side(queries + keys), seen, heads: self.heads }
    }
}

/// A group of rows: b of them.
struct Group {
    /// `[b, G, H/G·S, K]`: queries that share a key stand below each other.
    queries: Tensor<4>,
    /// `[b, G, S, K]`, and `[b, G, C, K]` before them.
    keys: Parts,
    values: Parts,
    seen: Seen,
    heads: Heads,
}

impl Group {
    fn shares(&self) -> Parts {
        self.keys.against(&self.queries).softmax(&self.seen, self.scale())
    }

    fn scale(&self) -> f32 {
        (self.heads.width as f32).powf(-0.5)
    }

    /// `[b·S, H·K]`.
    fn forward(&self) -> Tensor<2> {
        packed(vec![self.alone(self.values.mixed(self.shares()))])
    }

    /// Gradients of the packed positions and, `both`, of those before them. With shares `p` and `g` the gradient of the mixed
    /// values: `dv = pᵀ·g`, `dp = g·vᵀ`, `ds = p·(dp - Σ p·dp)/√K`, `dq = ds·k`, `dk = dsᵀ·q`.
    fn backward(&self, grad: Tensor<2>, both: bool) -> (Tensor<2>, Option<Tensor<2>>) {
        let [b, g, _, k] = self.queries.dims();
        let s = grad.dims()[0] / b;
        let grad = shared(grad.reshape([b, s, self.heads.queries, k]).swap_dims(1, 2), g);
        let shares = self.shares();
        let to_values = shares.back(&grad, both);
        let slopes = self.values.against(&grad).slopes(shares, self.scale());
        let to_keys = slopes.back(&self.queries, both);
        let to_queries = self.alone(self.keys.mixed(slopes));
        let before = to_keys.before.zip(to_values.before).map(|(keys, values)| {
            let c = keys.dims()[2];
            let none = Tensor::zeros([b, self.heads.queries, c, k], (&keys.device(), keys.dtype()));
            packed(vec![none, keys, values])
        });
        (packed(vec![to_queries, to_keys.own, to_values.own]), before)
    }

    /// `[b, G, H/G·S, K]` to `[b, H, S, K]`.
    fn alone(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, g, rows, k] = x.dims();
        let h = self.heads.queries;
        x.reshape([b, h, rows * g / h, k])
    }
}

/// `count` heads from head `from` on of `[b, S, H+2G, K]`, `[b, count, S, K]`.
fn some(heads: &Tensor<4>, from: usize, count: usize) -> Tensor<4> {
    heads.clone().narrow(2, from, count).swap_dims(1, 2)
}

/// `[b, H, S, K]` to `[b, G, H/G·S, K]`.
fn shared(x: Tensor<4>, keys: usize) -> Tensor<4> {
    let [b, h, s, k] = x.dims();
    if h == keys { x } else { x.reshape([b, keys, h / keys * s, k]) }
}

/// Heads `[b, count, S, K]`, side by side, `[b·S, Σcount·K]`.
fn packed(heads: Vec<Tensor<4>>) -> Tensor<2> {
    let [b, _, s, k] = heads[0].dims();
    let count: usize = heads.iter().map(|heads| heads.dims()[1]).sum();
    let mut heads: Vec<_> = heads.into_iter().map(|heads| heads.swap_dims(1, 2)).collect();
    let all = if heads.len() == 1 { heads.swap_remove(0) } else { Tensor::cat(heads, 2) };
    all.reshape([b * s, count * k])
}

fn joined(mut parts: Vec<Tensor<2>>) -> Tensor<2> {
    if parts.len() == 1 { parts.swap_remove(0) } else { Tensor::cat(parts, 0) }
}
