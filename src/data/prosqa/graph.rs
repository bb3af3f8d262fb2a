//! Owns the random graph behind a ProsQA question, and the proof that exactly one of its two ends is reachable.
//!
//! Must not know: words, text, files. Invariant: a [`Puzzle`] that leaves here has passed its own check.
//!
//! Source: Hao et al. 2024, arXiv 2412.06769, appendix: the graph grows node by node; a new node's parents are drawn
//! among the older ones with weight 1.5·depth + 1; it is kept from descending from either root with probability
//! 0.35 each. The rest (node counts, sources, how the ends are chosen) is fitted to the published records.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_xoshiro::Xoshiro256PlusPlus;

/// Mean in-degree of a new node, before the limits of an early graph.
const MEAN_PARENTS: f64 = 1.5;
/// Probability that a new node is kept from descending from a given root.
const KEEP_FROM: f64 = 0.35;
/// Weight of a parent: this times its depth, plus one.
const DEPTH_WEIGHT: f64 = 1.5;
/// Nodes: this many, and up to a dozen more, each with probability one half (mean 23).
const NODES_MIN: usize = 17;
const NODES_MAX: usize = NODES_MIN + 12;
/// A chain with fewer steps is no question.
const PATH_MIN: usize = 3;

/// A directed acyclic graph; nodes 0 and 1 are the roots, edges run from older to newer nodes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Puzzle {
    pub nodes: usize,
    pub edges: Vec<(usize, usize)>,
    pub root: usize,
    /// Reachable from `root`, at least [`PATH_MIN`] steps away.
    pub target: usize,
    /// Not reachable from `root`, but from the other one.
    pub neg_target: usize,
    /// A shortest chain from `root` to `target`, both included.
    pub chain: Vec<usize>,
}

/// A graph while it grows.
struct Growing {
    edges: Vec<(usize, usize)>,
    /// By node: bit 0, descends from root 0 (or is it); bit 1, from root 1.
    descent: Vec<u8>,
    /// By node: edges of the longest chain from a source.
    depth: Vec<usize>,
}

/// Draws puzzles until one has two ends worth asking for (nearly always the first few).
pub(super) fn draw(rng: &mut Xoshiro256PlusPlus) -> Puzzle {
    loop {
        let growing = grow(rng);
        if let Some(puzzle) = choose_ends(&growing, rng).filter(is_sound) {
            return puzzle;
        }
    }
}

/// Whether `target` can be reached from `root` along `edges`, and `neg_target` cannot.
pub(super) fn one_end_reachable(
    edges: &[(usize, usize)],
    root: usize,
    target: usize,
    neg_target: usize,
) -> bool {
    shortest(edges, root, target).is_some() && shortest(edges, root, neg_target).is_none()
}

fn is_sound(puzzle: &Puzzle) -> bool {
    let follows = |pair: &[usize]| puzzle.edges.contains(&(pair[0], pair[1]));
    one_end_reachable(&puzzle.edges, puzzle.root, puzzle.target, puzzle.neg_target)
        && puzzle.chain.windows(2).all(follows)
}

fn grow(rng: &mut Xoshiro256PlusPlus) -> Growing {
    let nodes = NODES_MIN + (0..NODES_MAX - NODES_MIN).filter(|_| rng.random_bool(0.5)).count();
    let mut graph = Growing { edges: Vec::new(), descent: vec![1, 2], depth: vec![0, 0] };
    for node in 2..nodes {
        let kept_from = match rng.random::<f64>() {
            draw if draw < KEEP_FROM => 1,
            draw if draw < 2.0 * KEEP_FROM => 2,
            _ => 0,
        };
        let parents = graph.draw_parents(kept_from, rng);
        graph.descent.push(parents.iter().fold(0, |bits, parent| bits | graph.descent[*parent]));
        graph.depth.push(parents.iter().map(|parent| graph.depth[*parent] + 1).max().unwrap_or(0));
        graph.edges.extend(parents.into_iter().map(|parent| (parent, node)));
    }
    graph
}

impl Growing {
    fn draw_parents(&self, kept_from: u8, rng: &mut Xoshiro256PlusPlus) -> Vec<usize> {
        let mut candidates: Vec<usize> =
            (0..self.descent.len()).filter(|node| self.descent[*node] & kept_from == 0).collect();
        let mut parents = Vec::new();
        for _ in 0..count_parents(rng) {
            if candidates.is_empty() {
                break;
            }
            let at = self.draw_weighted(&candidates, rng);
            parents.push(candidates.swap_remove(at));
        }
        parents
    }

    /// An index into `candidates`, which are not empty; deeper nodes are likelier.
    fn draw_weighted(&self, candidates: &[usize], rng: &mut Xoshiro256PlusPlus) -> usize {
        let weight = |node: &usize| DEPTH_WEIGHT * self.depth[*node] as f64 + 1.0;
        let mut left = rng.random::<f64>() * candidates.iter().map(weight).sum::<f64>();
        let reached = candidates.iter().position(|node| {
            left -= weight(node);
            left < 0.0
        });
        // Rounding can leave a sliver beyond the last.
        reached.unwrap_or(candidates.len() - 1)
    }
}

/// Poisson; of the draws that give none, all but a few are drawn once more, for the published records have few
/// nodes without parents (half a node a record, the two roots apart).
fn count_parents(rng: &mut Xoshiro256PlusPlus) -> usize {
    match poisson(rng) {
        0 => poisson(rng),
        count => count,
    }
}

/// Knuth's product of uniforms.
fn poisson(rng: &mut Xoshiro256PlusPlus) -> usize {
    let floor = (-MEAN_PARENTS).exp();
    let mut product = rng.random::<f64>();
    let mut count = 0;
    while product > floor {
        product *= rng.random::<f64>();
        count += 1;
    }
    count
}

/// Both ends have no children, as in the published records; the target is one of the farthest from either root.
fn choose_ends(graph: &Growing, rng: &mut Xoshiro256PlusPlus) -> Option<Puzzle> {
    let nodes = graph.descent.len();
    let is_leaf = |node: &usize| !graph.edges.iter().any(|(parent, _)| parent == node);
    let leaves =
        |root: usize| (2..nodes).filter(move |node| graph.descent[*node] == 1 << root).filter(is_leaf);
    let chains_from = |root| leaves(root).filter_map(move |node| shortest(&graph.edges, root, node));
    let mut chains: Vec<Vec<usize>> = (0..2).flat_map(chains_from).collect();
    let longest = chains.iter().map(Vec::len).max().filter(|nodes| *nodes > PATH_MIN)?;
    chains.retain(|chain| chain.len() == longest);
    let chain = chains.choose(rng)?.clone();
    let (root, target) = (*chain.first()?, *chain.last()?);
    let others: Vec<usize> = leaves(1 - root).collect();
    let neg_target = *others.choose(rng)?;
    Some(Puzzle { nodes, edges: graph.edges.clone(), root, target, neg_target, chain })
}

/// A shortest chain of nodes from `from` to `to`, both included; breadth first.
fn shortest(edges: &[(usize, usize)], from: usize, to: usize) -> Option<Vec<usize>> {
    let mut chains = vec![vec![from]];
    let mut seen = vec![from];
    let mut next = 0;
    while next < chains.len() {
        let here = *chains[next].last()?;
        if here == to {
            return Some(chains.swap_remove(next));
        }
        for &(_, child) in edges.iter().filter(|(parent, _)| *parent == here) {
            if !seen.contains(&child) {
                seen.push(child);
                let longer = chains[next].iter().copied().chain([child]).collect();
                chains.push(longer);
            }
        }
        next += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_chain_is_found_and_a_missing_one_is_not() {
        let edges = [(0, 2), (2, 3), (3, 4), (2, 4), (1, 5)];
        assert_eq!(shortest(&edges, 0, 4), Some(vec![0, 2, 4]));
        assert_eq!(shortest(&edges, 0, 5), None);
        assert!(one_end_reachable(&edges, 0, 4, 5) && !one_end_reachable(&edges, 0, 5, 4));
    }
}
