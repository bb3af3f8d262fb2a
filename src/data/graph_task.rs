//! Owns: the creation of reachability questions on small random graphs, whose nodes are single tokens.
//! Must not know: the terminal, models.
//! Invariant: a question depends only on options, seed, split and index. Its answer is checked against its graph, and no
//! question of the train split has the graph of a held-out one.
//!
//! "1 7 ; 3 4 ; … ? 4 9 : 1" lists the edges (from 1 to 7, …), two candidates and the root. One candidate is `hops` steps
//! from the root, the others are as far from a second root and cannot be reached from the first. The steps are the nodes of
//! a shortest path. The task is that of "Reasoning by superposition" (arXiv 2505.12514), after ProsQA (2412.06769).

use super::error::{DataError, Result};
use super::manifest::{DatasetManifest, DatasetSummary, GraphMeans};
use super::prosqa::nodes_by_distance;
use super::staging::StagedDataset;
use super::writer::{DocumentRow, SolvedQuestion, SplitWriters};
use super::{OnProgress, Progress, Split, Tokenizer};
use crate::rng::{SeededRng, item_rng};
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

/// Text between the parts of a document: the tokenizer has no token for it.
pub const SEPARATOR: &str = " ";
/// Most nodes of a graph.
const MAX_NODES: usize = 1000;
/// A parent has this weight times its distance from its root, plus one: deep nodes become parents more often.
const DEPTH_WEIGHT: f64 = 1.5;
/// Graphs drawn for one question before the options are called unfit.
const MAX_ATTEMPTS: usize = 10_000;

/// Steps from the root to the right candidate: each question draws a number between two, inclusive. As text `3` or `2-4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopRange {
    pub least: usize,
    pub most: usize,
}

impl std::str::FromStr for HopRange {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        match (least.parse(), most.parse()) {
            (Ok(least), Ok(most)) if least >= 1 && most >= least => Ok(Self { least, most }),
            _ => Err("expected a number of steps such as 3, or a range such as 2-4".to_owned()),
        }
    }
}

impl std::fmt::Display for HopRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.least == self.most {
            true => write!(f, "{}", self.most),
            false => write!(f, "{}-{}", self.least, self.most),
        }
    }
}

impl HopRange {
    fn draw(self, rng: &mut SeededRng) -> usize {
        // A single number draws nothing.
        if self.least == self.most { self.most } else { rng.random_range(self.least..=self.most) }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct GraphTaskOptions {
    pub out: PathBuf,
    pub seed: u64,
    pub train: usize,
    pub valid: usize,
    pub test: usize,
    /// Nodes of each graph, both roots included.
    pub nodes: usize,
    /// Names that nodes are drawn from, at least as many as nodes. Datasets with equal numbers have equal vocabularies.
    pub names: usize,
    pub hops: HopRange,
    pub candidates: usize,
    /// Probability that a node has a second parent.
    pub extra_edges: f64,
    /// Whether to replace an existing dataset.
    pub force: bool,
}

/// A question about a graph. Nodes 0 and 1 are the roots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct GraphQuestion {
    edges: Vec<(usize, usize)>,
    root: usize,
    candidates: Vec<usize>,
    /// Nodes of a shortest path from the root, without it; the last is the right candidate.
    path: Vec<usize>,
}

/// Makes a dataset of reachability questions. Fails if `out` exists or cannot be written, or no graph fits the options.
pub fn make_graph_task(options: &GraphTaskOptions, on_progress: OnProgress<'_>) -> Result<DatasetSummary> {
    options.check()?;
    let staging = StagedDataset::create(&options.out, options.force)?;
    let names: Vec<String> = (0..options.names).map(|name| name.to_string()).collect();
    let words = [";", "?", ":"].into_iter().chain(names.iter().map(String::as_str));
    let tokenizer = Tokenizer::from_words(words)?;
    let mut writers = SplitWriters::new(staging.dir(), "graph", &tokenizer, true);
    let (mut held_out, mut edges, mut hops, mut done) = (HashSet::new(), 0, 0, 0);
    let counts = [(Split::Test, options.test), (Split::Valid, options.valid), (Split::Train, options.train)];
    let total = counts.iter().map(|(_, count)| *count as u64).sum();
    for (split, count) in counts {
        for index in 0..count {
            let question = options.draw_question(split, index, &mut held_out)?;
            edges += question.edges.len();
            hops += question.path.len();
            let solved = question.to_text();
            let steps = solved.steps.join(SEPARATOR);
            let document = [solved.question.as_str(), &steps, &solved.answer].join(SEPARATOR);
            let ids = tokenizer.encode_documents(&[document])?.remove(0);
            writers.push(split, DocumentRow { ids, question: Some(solved) })?;
            done += 1;
            on_progress(Progress { label: "questions", done, total });
        }
    }
    let splits = writers.finish()?;
    let manifest = DatasetManifest::new("graph", options.manifest_settings(), options.seed, splits.clone(), &tokenizer);
    staging.commit_dataset(&tokenizer, manifest)?;
    let means = GraphMeans {
        nodes: options.nodes as f64,
        edges: edges as f64 / done.max(1) as f64,
        shortest_path: hops as f64 / done.max(1) as f64,
    };
    let (out, vocab_size) = (options.out.clone(), tokenizer.vocab_size());
    Ok(DatasetSummary {
        out,
        splits,
        vocab_size,
        end_token: None,
        empty: 0,
        nulls: 0,
        graphs: Some(means),
        published: None,
    })
}

impl GraphTaskOptions {
    fn check(&self) -> Result<()> {
        let refuse = |name, found: String, allowed| Err(DataError::InvalidSetting { name, found, allowed });
        // Two paths from the roots, one node for each further candidate.
        let least = 2 * self.hops.most + self.candidates;
        match self {
            Self { train: 0, .. } => refuse("train", "0".to_owned(), "at least 1 question to train on"),
            Self { hops: HopRange { least: 0, .. }, .. } => refuse("hops", "0".to_owned(), "at least 1 step"),
            Self { candidates: 0 | 1, .. } => {
                refuse("candidates", self.candidates.to_string(), "at least 2 candidates")
            }
            Self { nodes, .. } if *nodes < least || *nodes > MAX_NODES => {
                refuse("nodes", nodes.to_string(), "2 · hops + candidates to 1000 nodes")
            }
            Self { names, nodes, .. } if names < nodes || *names > MAX_NODES => {
                refuse("names", names.to_string(), "as many names as nodes, at most 1000")
            }
            Self { extra_edges, .. } if !(0.0..=1.0).contains(extra_edges) => {
                refuse("extra-edges", extra_edges.to_string(), "a probability from 0 to 1")
            }
            _ => Ok(()),
        }
    }

    fn manifest_settings(&self) -> BTreeMap<String, String> {
        let entry = |name: &str, value: String| (name.to_owned(), value);
        BTreeMap::from([
            entry("nodes", self.nodes.to_string()),
            entry("names", self.names.to_string()),
            entry("hops", self.hops.to_string()),
            entry("candidates", self.candidates.to_string()),
            entry("extra_edges", self.extra_edges.to_string()),
        ])
    }

    /// Draws the question `index` of a split. A held-out question goes into `held_out`; no other has its graph and root.
    fn draw_question(
        &self,
        split: Split,
        index: usize,
        held_out: &mut HashSet<(Vec<(usize, usize)>, usize)>,
    ) -> Result<GraphQuestion> {
        let mut rng = item_rng([self.seed, split as u64, index as u64]);
        // Drawn once: what is hard to draw is not rarer.
        let hops = self.hops.draw(&mut rng);
        for _ in 0..MAX_ATTEMPTS {
            let Some(question) = self.try_question(hops, &mut rng) else { continue };
            let question = question.renamed(self.names, &mut rng);
            let mut graph = (question.edges.clone(), question.root);
            graph.0.sort_unstable();
            match split {
                Split::Train if held_out.contains(&graph) => {}
                Split::Train => return Ok(question),
                _ if !held_out.insert(graph) => {}
                _ => return Ok(question),
            }
        }
        Err(DataError::InvalidSetting {
            name: "nodes, hops, candidates",
            found: format!("{}, {}, {}", self.nodes, self.hops, self.candidates),
            allowed: "a combination with enough different graphs: more nodes, fewer hops, or fewer held-out questions",
        })
    }

    /// Grows a tree of this depth from each root, with some second parents in the same tree; none if no candidates are far enough.
    fn try_question(&self, hops: usize, rng: &mut SeededRng) -> Option<GraphQuestion> {
        let mut edges = Vec::new();
        let mut trees: [Vec<usize>; 2] = [vec![0], vec![1]];
        let mut distance = vec![0; 2];
        for node in 2..self.nodes {
            let tree = &mut trees[usize::from(rng.random_bool(0.5))];
            let parents: Vec<usize> = tree.iter().copied().filter(|parent| distance[*parent] < hops).collect();
            let draw = |rng: &mut SeededRng| {
                let weight = |parent: &usize| DEPTH_WEIGHT * distance[*parent] as f64 + 1.0;
                parents.choose_weighted(rng, weight).ok().copied()
            };
            let parent = draw(rng)?;
            edges.push((parent, node));
            let second = if rng.random_bool(self.extra_edges) { draw(rng) } else { None };
            let second = second.filter(|second| *second != parent);
            edges.extend(second.map(|second| (second, node)));
            let nearest = second.map_or(distance[parent], |second| distance[parent].min(distance[second]));
            distance.push(nearest + 1);
            tree.push(node);
        }
        let at_end = |tree: &[usize]| tree.iter().copied().filter(|node| distance[*node] == hops).collect::<Vec<_>>();
        let target = *at_end(&trees[0]).choose(rng)?;
        let wrong = at_end(&trees[1]);
        if wrong.len() < self.candidates - 1 {
            return None;
        }
        let mut candidates: Vec<usize> = wrong.sample(rng, self.candidates - 1).copied().collect();
        candidates.push(target);
        candidates.shuffle(rng);
        let mut path = vec![target];
        while let Some(first) = path.first().copied().filter(|first| distance[*first] > 1) {
            let before = |(from, to): &&(usize, usize)| *to == first && distance[*from] + 1 == distance[first];
            path.insert(0, edges.iter().filter(before).collect::<Vec<_>>().choose(rng)?.0);
        }
        edges.shuffle(rng);
        let question = GraphQuestion { edges, root: 0, candidates, path };
        question.is_sound(hops).then_some(question)
    }
}

impl GraphQuestion {
    /// Whether the path is a shortest one of this length, and no other candidate can be reached.
    fn is_sound(&self, hops: usize) -> bool {
        let layers = nodes_by_distance(&self.edges, self.root, self.edges.len());
        let distance = |node: &usize| layers.iter().position(|layer| layer.contains(node)).map(|layer| layer + 1);
        let Some(target) = self.path.last() else { return false };
        let nodes = std::iter::once(self.root).chain(self.path.iter().copied()).collect::<Vec<_>>();
        let follows = nodes.windows(2).all(|pair| self.edges.contains(&(pair[0], pair[1])));
        let others = self.candidates.iter().filter(|candidate| *candidate != target);
        follows
            && self.path.len() == hops
            && distance(target) == Some(hops)
            && self.candidates.contains(target)
            && others.clone().count() + 1 == self.candidates.len()
            && others.into_iter().all(|other| distance(other).is_none())
    }

    /// Gives every node another name.
    fn renamed(self, names: usize, rng: &mut SeededRng) -> Self {
        let mut name: Vec<usize> = (0..names).collect();
        name.shuffle(rng);
        Self {
            edges: self.edges.iter().map(|(from, to)| (name[*from], name[*to])).collect(),
            root: name[self.root],
            candidates: self.candidates.iter().map(|node| name[*node]).collect(),
            path: self.path.iter().map(|node| name[*node]).collect(),
        }
    }

    fn to_text(&self) -> SolvedQuestion {
        let edges: Vec<String> = self.edges.iter().map(|(from, to)| format!("{from} {to} ;")).collect();
        let joined = |nodes: &[usize]| nodes.iter().map(usize::to_string).collect::<Vec<_>>().join(" ");
        let layers = nodes_by_distance(&self.edges, self.root, self.path.len());
        SolvedQuestion {
            question: format!("{} ? {} : {}", edges.join(" "), joined(&self.candidates), self.root),
            steps: self.path.iter().map(usize::to_string).collect(),
            answer: self.path.last().map(usize::to_string).unwrap_or_default(),
            frontier: layers.iter().map(|nodes| joined(nodes)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, read_questions};

    fn options(out: PathBuf) -> GraphTaskOptions {
        GraphTaskOptions {
            out,
            seed: 3,
            train: 400,
            valid: 50,
            test: 50,
            nodes: 10,
            names: 12,
            hops: HopRange { least: 3, most: 3 },
            candidates: 2,
            extra_edges: 0.3,
            force: false,
        }
    }

    #[test]
    fn every_answer_follows_from_the_graph_and_is_not_the_only_one_in_reach() {
        let options = options(PathBuf::new());
        let mut held_out = HashSet::new();
        for index in 0..200 {
            let question = options.draw_question(Split::Valid, index, &mut held_out).unwrap();
            assert!(question.is_sound(3) && question.candidates.len() == 2);
            let mut other = question.clone();
            other.edges.push((
                other.root,
                *other.candidates.iter().find(|node| Some(node) != other.path.last().as_ref()).unwrap(),
            ));
            assert!(!other.is_sound(3), "the wrong candidate is in reach");
        }
        assert_eq!(held_out.len(), 200);
        let hard = GraphTaskOptions { nodes: 8, names: 8, ..options };
        assert!(hard.draw_question(Split::Train, 0, &mut held_out).is_ok());
    }

    #[test]
    fn a_dataset_has_single_token_steps_and_disjoint_splits() {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path().join("graph"));
        let summary = make_graph_task(&options, &mut |_| ()).unwrap();
        assert_eq!(summary.graphs.unwrap().shortest_path, 3.0);
        let dataset = Dataset::open(&options.out).unwrap();
        let tokenizer = dataset.tokenizer().unwrap();
        let read = |split| read_questions(&dataset.shard_paths(split)[0], usize::MAX).unwrap().questions;
        let graph = |text: &str| {
            let (edges, asked) = text.split_once('?').unwrap();
            let mut edges: Vec<&str> = edges.split(';').map(str::trim).collect();
            edges.sort_unstable();
            (edges.join(";"), asked.split_once(':').unwrap().1.to_owned())
        };
        let train: HashSet<_> = read(Split::Train).iter().map(|question| graph(&question.question)).collect();
        for split in [Split::Valid, Split::Test] {
            for question in read(split) {
                assert!(!train.contains(&graph(&question.question)));
                assert!(question.steps.iter().all(|step| tokenizer.encode(step).unwrap().len() == 1));
                assert_eq!(question.steps.last(), Some(&question.answer));
            }
        }
        let hops = HopRange { least: 2, most: 4 };
        let other = GraphTaskOptions { out: dir.path().join("other"), hops, nodes: 12, ..options.clone() };
        make_graph_task(&other, &mut |_| ()).unwrap();
        let other = Dataset::open(&other.out).unwrap();
        let questions = read_questions(&other.shard_paths(Split::Valid)[0], usize::MAX).unwrap().questions;
        let of_length = |hops: usize| questions.iter().filter(|question| question.steps.len() == hops).count();
        assert!(
            [2, 3, 4].into_iter().all(|hops| of_length(hops) > 5) && of_length(2) + of_length(3) + of_length(4) == 50
        );
        let other = other.tokenizer().unwrap();
        assert_eq!(tokenizer.hash(), other.hash(), "equal names give equal vocabularies");
        for (options, wanted) in [
            (GraphTaskOptions { hops: HopRange { least: 0, most: 3 }, ..options.clone() }, "hops = 0"),
            (GraphTaskOptions { nodes: 7, ..options.clone() }, "nodes = 7"),
            (GraphTaskOptions { names: 9, ..options.clone() }, "names = 9"),
            (GraphTaskOptions { candidates: 1, ..options.clone() }, "candidates = 1"),
        ] {
            let error = make_graph_task(&options, &mut |_| ()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
