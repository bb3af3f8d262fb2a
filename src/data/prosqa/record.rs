//! Owns a ProsQA record: its wording, its published JSON form, and whether its answer follows from its graph.
//!
//! Must not know: tokens, shards. Invariant: a record that leaves here has an answer that its own graph proves.

use std::path::Path;

use rand::seq::SliceRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};

use super::graph::{self, Puzzle};
use super::words::{CONCEPTS, NAMES};
use crate::data::error::{DataError, Result, json_fault};

/// One question, in the form of the published files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub question: String,
    pub answer: String,
    /// The shortest chain from the root to the answer, a sentence each.
    pub steps: Vec<String>,
    /// The label of each node.
    pub idx_to_symbol: Vec<String>,
    pub edges: Vec<(usize, usize)>,
    pub root: usize,
    pub target: usize,
    pub neg_target: usize,
}

impl Record {
    /// Draws a graph, labels it and words the question.
    pub(super) fn draw(rng: &mut Xoshiro256PlusPlus) -> Self {
        let puzzle = graph::draw(rng);
        let labels = label(&puzzle, rng);
        let statement = |parent: usize, child: usize| match parent_is_name(&labels[parent]) {
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

    /// Why the record cannot be used, if it cannot: indices out of range, or an answer that its graph does not prove.
    fn fault(&self) -> Option<String> {
        let nodes = self.idx_to_symbol.len();
        let ends = [self.root, self.target, self.neg_target];
        let all = self.edges.iter().flat_map(|(from, to)| [*from, *to]).chain(ends);
        if let Some(outside) = all.into_iter().find(|node| *node >= nodes) {
            return Some(format!("node {outside}, but only {nodes} labels"));
        }
        if !graph::one_end_reachable(&self.edges, self.root, self.target, self.neg_target) {
            return Some("its graph does not reach exactly one of the two ends".to_owned());
        }
        let proved = format!("{} is a {}.", self.idx_to_symbol[self.root], self.idx_to_symbol[self.target]);
        (self.answer != proved)
            .then(|| format!("answer \"{}\", but its graph proves \"{proved}\"", self.answer))
    }
}

/// Question, steps and answer as one document, a line each for the steps: so they are words apart for any tokenizer,
/// and the prompt of an evaluation is the question and a line break.
pub fn document(question: &str, steps: &[String], answer: &str) -> String {
    let lines = std::iter::once(question).chain(steps.iter().map(String::as_str)).chain([answer]);
    lines.collect::<Vec<_>>().join("\n")
}

/// Reads a published file: a JSON array of records.
///
/// # Errors
/// Not such an array, or a record whose answer does not follow from its graph.
pub fn read_records(path: &Path) -> Result<Vec<Record>> {
    let text = std::fs::read(path).map_err(DataError::io(path, "be read"))?;
    let records: Vec<Record> = serde_json::from_slice(&text).map_err(|error| DataError::Line {
        file: path.to_path_buf(),
        line: error.line() as u64,
        found: json_fault(&error),
        allowed: "a JSON array of ProsQA records as published (question, answer, steps, idx_to_symbol, edges, …)",
    })?;
    if records.is_empty() {
        let (found, allowed) = ("an empty array".to_owned(), "at least one record");
        return Err(DataError::Empty { file: path.to_path_buf(), found, allowed });
    }
    for (number, record) in records.iter().enumerate() {
        if let Some(found) = record.fault() {
            let allowed = "an answer that follows from the record's own graph";
            return Err(DataError::Record { file: path.to_path_buf(), record: number, found, allowed });
        }
    }
    Ok(records)
}

/// Sources are names, all else is a concept; each label once, for there are more of both than nodes.
fn label(puzzle: &Puzzle, rng: &mut Xoshiro256PlusPlus) -> Vec<String> {
    let (mut concepts, mut names) = (CONCEPTS, NAMES);
    concepts.shuffle(rng);
    names.shuffle(rng);
    let is_source = |node: usize| !puzzle.edges.iter().any(|(_, child)| *child == node);
    (0..puzzle.nodes)
        .map(|node| if is_source(node) { names[node] } else { concepts[node] })
        .map(str::to_owned)
        .collect()
}

/// Names begin with a capital, concepts do not.
fn parent_is_name(label: &str) -> bool {
    label.chars().next().is_some_and(char::is_uppercase)
}
