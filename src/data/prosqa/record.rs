//! Owns: a ProsQA record: text, published JSON form, and the check of its answer against its graph.
//! Must not know: tokens, shards.
//! Invariant: every record returned from this module has an answer that its graph proves.

use super::graph::{self, Puzzle};
use crate::data::error::{DataError, Result, json_error_text};
use crate::data::prosqa_words::{CONCEPTS, NAMES};
use crate::rng::SeededRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A question with its graph, in the form of the published files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProsqaRecord {
    pub question: String,
    pub answer: String,
    /// Shortest path from root to target, one sentence per edge.
    pub steps: Vec<String>,
    pub idx_to_symbol: Vec<String>,
    pub edges: Vec<(usize, usize)>,
    pub root: usize,
    pub target: usize,
    pub neg_target: usize,
}

impl ProsqaRecord {
    /// Generates a record: draws a graph, labels its nodes, and writes the question and the answer.
    pub(super) fn generate(rng: &mut SeededRng) -> Self {
        let puzzle = graph::draw_puzzle(rng);
        let labels = draw_labels(&puzzle, rng);
        let statement = |parent: usize, child: usize| match is_name(&labels[parent]) {
            true => format!("{} is a {}.", labels[parent], labels[child]),
            false => format!("Every {} is a {}.", labels[parent], labels[child]),
        };
        let mut statements: Vec<String> =
            puzzle.edges.iter().map(|(parent, child)| statement(*parent, *child)).collect();
        statements.shuffle(rng);
        let (root, target) = (&labels[puzzle.root], &labels[puzzle.target]);
        let mut ends = [target, &labels[puzzle.neg_target]];
        ends.shuffle(rng);
        Self {
            question: format!("{} Is {root} a {} or {}?", statements.join(" "), ends[0], ends[1]),
            answer: format!("{root} is a {target}."),
            steps: puzzle.chain.windows(2).map(|pair| statement(pair[0], pair[1])).collect(),
            edges: puzzle.edges,
            root: puzzle.root,
            target: puzzle.target,
            neg_target: puzzle.neg_target,
            idx_to_symbol: labels,
        }
    }

    /// Returns the labels of the nodes at distance 1, 2, … from the root, up to the target's.
    pub(super) fn frontier(&self) -> Vec<String> {
        let layers = graph::nodes_by_distance(&self.edges, self.root, self.steps.len());
        let labels = |nodes: Vec<usize>| {
            nodes.iter().map(|node| self.idx_to_symbol[*node].as_str()).collect::<Vec<_>>().join(" ")
        };
        layers.into_iter().map(labels).collect()
    }

    /// Returns the first fault: an index out of range, or an answer that the graph does not prove.
    fn find_fault(&self) -> Option<String> {
        let nodes = self.idx_to_symbol.len();
        let ends = [self.root, self.target, self.neg_target];
        let all = self.edges.iter().flat_map(|(from, to)| [*from, *to]).chain(ends);
        if let Some(outside) = all.into_iter().find(|node| *node >= nodes) {
            return Some(format!("node {outside}, but only {nodes} labels"));
        }
        if !graph::reaches_only_target(&self.edges, self.root, self.target, self.neg_target) {
            return Some("its graph does not reach exactly one of the two targets".to_owned());
        }
        let proved = format!("{} is a {}.", self.idx_to_symbol[self.root], self.idx_to_symbol[self.target]);
        (self.answer != proved).then(|| format!("answer \"{}\", but its graph proves \"{proved}\"", self.answer))
    }
}

/// Joins question, steps and answer into one document, each on its own line. A line break separates them for
/// every tokenizer, and the prompt of an evaluation is the question plus a line break.
pub fn document_text(question: &str, steps: &[String], answer: &str) -> String {
    let lines = std::iter::once(question).chain(steps.iter().map(String::as_str)).chain([answer]);
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads a published JSON array of records, and checks that each answer follows from its graph.
pub fn read_records(path: &Path) -> Result<Vec<ProsqaRecord>> {
    let text = std::fs::read(path).map_err(DataError::io(path, "be read"))?;
    let records: Vec<ProsqaRecord> = serde_json::from_slice(&text).map_err(|error| DataError::Line {
        file: path.to_path_buf(),
        line: error.line() as u64,
        found: json_error_text(&error),
        allowed: "a JSON array of ProsQA records as published (question, answer, steps, idx_to_symbol, edges, …)",
    })?;
    if records.is_empty() {
        let (found, allowed) = ("an empty array".to_owned(), "at least one record");
        return Err(DataError::Empty { file: path.to_path_buf(), found, allowed });
    }
    for (number, record) in records.iter().enumerate() {
        if let Some(found) = record.find_fault() {
            let allowed = "an answer that follows from the record's own graph";
            return Err(DataError::Record { file: path.to_path_buf(), record: number, found, allowed });
        }
    }
    Ok(records)
}

/// Draws a different label for each node: a name for nodes without parents, a concept for all others.
fn draw_labels(puzzle: &Puzzle, rng: &mut SeededRng) -> Vec<String> {
    let (mut concepts, mut names) = (CONCEPTS, NAMES);
    concepts.shuffle(rng);
    names.shuffle(rng);
    let is_source = |node: usize| !puzzle.edges.iter().any(|(_, child)| *child == node);
    (0..puzzle.nodes)
        .map(|node| if is_source(node) { names[node] } else { concepts[node] })
        .map(str::to_owned)
        .collect()
}

/// Returns whether a label is a name: names start with a capital letter, concepts do not.
fn is_name(label: &str) -> bool {
    label.chars().next().is_some_and(char::is_uppercase)
}
