//! Owns: the random graph of a ProsQA question, of whose two targets exactly one is reachable.
//! Must not know: words, text, files.
//! Invariant: every [`Puzzle`] returned from this module has passed that check.
//!
//! Source: Hao et al. 2024, arXiv 2412.06769, appendix. The graph grows node by node. A new node's parents
//! are drawn among the older nodes with weight 1.5·depth + 1. It is prevented from descending from root 0
//! with probability 0.35, and from root 1 with probability 0.35. Node counts, sources and the choice of
//! targets are fitted to the published records.

use crate::rng::SeededRng;
use rand::RngExt;
use rand::seq::IndexedRandom;

/// Mean number of parents drawn for a new node; a small graph may have fewer candidates.
const MEAN_PARENTS: f64 = 1.5;
/// Probability that a new node must not descend from a given root.
const EXCLUDE_ROOT_PROBABILITY: f64 = 0.35;
/// A candidate parent has this weight times its depth, plus one.
const DEPTH_WEIGHT: f64 = 1.5;
/// Number of nodes: the minimum, and 12 more with probability one half each (mean 23).
const MIN_NODES: usize = 17;
const MAX_NODES: usize = MIN_NODES + 12;
/// Minimum number of steps from root to target.
const MIN_STEPS: usize = 3;

/// A directed acyclic graph with a question. Nodes 0 and 1 are the roots; edges run to newer nodes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Puzzle {
    pub nodes: usize,
    pub edges: Vec<(usize, usize)>,
    /// Root that the question asks about: 0 or 1.
    pub root: usize,
    /// Node reachable from `root`, at least [`MIN_STEPS`] steps away.
    pub target: usize,
    /// Node reachable only from the other root.
    pub neg_target: usize,
    /// Nodes of a shortest path from `root` to `target`, both included.
    pub chain: Vec<usize>,
}

struct GrowingGraph {
    edges: Vec<(usize, usize)>,
    /// For each node: bit 0 is set if it is root 0 or descends from it, bit 1 likewise for root 1.
    root_bits: Vec<u8>,
    /// For each node: the number of edges on the longest path from a node without parents.
    depth: Vec<usize>,
}

/// Draws puzzles until one has valid targets, which one of the first few nearly always has.
pub(super) fn draw_puzzle(rng: &mut SeededRng) -> Puzzle {
    loop {
        let graph = grow_graph(rng);
        if let Some(puzzle) = choose_targets(&graph, rng).filter(is_sound) {
            return puzzle;
        }
    }
}

/// Returns whether `target` can be reached from `root` along `edges` while `neg_target` cannot.
pub(super) fn reaches_only_target(edges: &[(usize, usize)], root: usize, target: usize, neg_target: usize) -> bool {
    shortest_path(edges, root, target).is_some() && shortest_path(edges, root, neg_target).is_none()
}

/// Returns the nodes at distance 1 to `most` from `root`, ascending.
pub(in crate::data) fn nodes_by_distance(edges: &[(usize, usize)], root: usize, most: usize) -> Vec<Vec<usize>> {
    let mut seen = std::collections::BTreeSet::from([root]);
    let mut layers = vec![vec![root]];
    for distance in 1..=most {
        let from_last = edges.iter().filter(|edge| layers[distance - 1].contains(&edge.0)).map(|edge| edge.1);
        let reached: std::collections::BTreeSet<usize> = from_last.filter(|node| !seen.contains(node)).collect();
        seen.extend(&reached);
        layers.push(reached.into_iter().collect());
    }
    layers.split_off(1)
}

/// Checks the targets, and that the chain follows the edges.
fn is_sound(puzzle: &Puzzle) -> bool {
    let follows = |pair: &[usize]| puzzle.edges.contains(&(pair[0], pair[1]));
    reaches_only_target(&puzzle.edges, puzzle.root, puzzle.target, puzzle.neg_target)
        && puzzle.chain.windows(2).all(follows)
}

fn grow_graph(rng: &mut SeededRng) -> GrowingGraph {
    let nodes = MIN_NODES + (0..MAX_NODES - MIN_NODES).filter(|_| rng.random_bool(0.5)).count();
    let mut graph = GrowingGraph { edges: Vec::new(), root_bits: vec![1, 2], depth: vec![0, 0] };
    for node in 2..nodes {
        let excluded_roots = match rng.random::<f64>() {
            draw if draw < EXCLUDE_ROOT_PROBABILITY => 1,
            draw if draw < 2.0 * EXCLUDE_ROOT_PROBABILITY => 2,
            _ => 0,
        };
        let parents = graph.draw_parents(excluded_roots, rng);
        graph.root_bits.push(parents.iter().fold(0, |bits, parent| bits | graph.root_bits[*parent]));
        graph.depth.push(parents.iter().map(|parent| graph.depth[*parent] + 1).max().unwrap_or(0));
        graph.edges.extend(parents.into_iter().map(|parent| (parent, node)));
    }
    graph
}

impl GrowingGraph {
    /// Draws the parents of a new node among those that do not descend from `excluded_roots`, a bit mask.
    fn draw_parents(&self, excluded_roots: u8, rng: &mut SeededRng) -> Vec<usize> {
        let mut candidates: Vec<usize> =
            (0..self.root_bits.len()).filter(|node| self.root_bits[*node] & excluded_roots == 0).collect();
        let mut parents = Vec::new();
        for _ in 0..draw_parent_count(rng) {
            if candidates.is_empty() {
                break;
            }
            let index = self.draw_weighted_index(&candidates, rng);
            parents.push(candidates.swap_remove(index));
        }
        parents
    }

    /// Draws an index into `candidates`, which must not be empty. Deeper nodes are more likely.
    fn draw_weighted_index(&self, candidates: &[usize], rng: &mut SeededRng) -> usize {
        let weight = |node: &usize| DEPTH_WEIGHT * self.depth[*node] as f64 + 1.0;
        let mut left = rng.random::<f64>() * candidates.iter().map(weight).sum::<f64>();
        let reached = candidates.iter().position(|node| {
            left -= weight(node);
            left < 0.0
        });
        // Rounding can leave a remainder after the last candidate.
        reached.unwrap_or(candidates.len() - 1)
    }
}

/// Draws the number of parents, once more if it is 0, because the published records have few nodes without.
fn draw_parent_count(rng: &mut SeededRng) -> usize {
    match draw_poisson(rng) {
        0 => draw_poisson(rng),
        count => count,
    }
}

/// Draws from a Poisson distribution with mean [`MEAN_PARENTS`], by Knuth's product of uniforms.
fn draw_poisson(rng: &mut SeededRng) -> usize {
    let floor = (-MEAN_PARENTS).exp();
    let mut product = rng.random::<f64>();
    let mut count = 0;
    while product > floor {
        product *= rng.random::<f64>();
        count += 1;
    }
    count
}

/// Chooses the targets among nodes without children, as in the published records. The target is one of those
/// with the longest shortest path from their root. Returns `None` if there are no valid targets.
fn choose_targets(graph: &GrowingGraph, rng: &mut SeededRng) -> Option<Puzzle> {
    let nodes = graph.root_bits.len();
    let is_leaf = |node: &usize| !graph.edges.iter().any(|(parent, _)| parent == node);
    let leaves = |root: usize| (2..nodes).filter(move |node| graph.root_bits[*node] == 1 << root).filter(is_leaf);
    let chains_from = |root| leaves(root).filter_map(move |node| shortest_path(&graph.edges, root, node));
    let mut chains: Vec<Vec<usize>> = (0..2).flat_map(chains_from).collect();
    let longest = chains.iter().map(Vec::len).max().filter(|nodes| *nodes > MIN_STEPS)?;
    chains.retain(|chain| chain.len() == longest);
    let chain = chains.choose(rng)?.clone();
    let (root, target) = (*chain.first()?, *chain.last()?);
    let others: Vec<usize> = leaves(1 - root).collect();
    let neg_target = *others.choose(rng)?;
    Some(Puzzle { nodes, edges: graph.edges.clone(), root, target, neg_target, chain })
}

/// Finds a shortest path from `from` to `to` by breadth-first search. Returns its nodes, both ends included.
fn shortest_path(edges: &[(usize, usize)], from: usize, to: usize) -> Option<Vec<usize>> {
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
        assert_eq!(shortest_path(&edges, 0, 4), Some(vec![0, 2, 4]));
        assert_eq!(shortest_path(&edges, 0, 5), None);
        assert!(reaches_only_target(&edges, 0, 4, 5) && !reaches_only_target(&edges, 0, 5, 4));
    }
}
