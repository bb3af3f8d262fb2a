//! Owns: the declaration of an experiment: what decides, fixed before the first run, with its hash; and its history.
//! Must not know: results.
//! Invariant: a declaration that was recorded stays in the history; a later one is added to it.

use super::ExperimentError;
use super::spec::{Better, ComparisonSpec, ExperimentSpec, HeldEqual, ValueOf};
use crate::files::FileError;
use crate::files::atomic::replace_json;
use crate::files::foreign::read_text;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What decides an experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Declaration {
    pub question: String,
    pub primary: String,
    pub value: ValueOf,
    pub better: Better,
    pub smallest_effect: f64,
    pub reach: Option<f64>,
    pub hold: HeldEqual,
    pub budget: f64,
    pub comparisons: Vec<ComparisonSpec>,
}

/// A declaration as it was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclarationRecord {
    pub hash: String,
    pub at: DateTime<Utc>,
    /// Runs of the experiment that existed then.
    pub runs_before: usize,
    pub declaration: Declaration,
}

impl Declaration {
    pub fn new(spec: &ExperimentSpec) -> Self {
        Self {
            question: spec.question.clone(),
            primary: spec.primary.clone(),
            value: spec.value,
            better: spec.better(),
            smallest_effect: spec.smallest_effect,
            reach: spec.reach,
            hold: spec.hold,
            budget: spec.budget,
            comparisons: spec.comparisons.clone(),
        }
    }

    /// Returns the SHA-256 of everything but the wording of the question.
    pub fn hash(&self) -> String {
        let decisive = Self { question: String::new(), ..self.clone() };
        let text = serde_json::to_string(&decisive).unwrap_or_default();
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Returns what differs from an earlier declaration, in words.
    pub fn differences(&self, earlier: &Self) -> Vec<String> {
        let fields = |declaration: &Self| match serde_json::to_value(declaration) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let (now, then) = (fields(self), fields(earlier));
        let changed = now.iter().filter(|(key, value)| *key != "question" && then.get(*key) != Some(*value));
        changed.map(|(key, value)| format!("{key}: {} → {value}", then[key])).collect()
    }
}

/// Bytes of the largest history that is read.
const MAX_BYTES: u64 = 16 << 20;

fn history_file(dir: &Path) -> PathBuf {
    dir.join("declarations.json")
}

/// Reads the declarations that were recorded in the experiment's folder `dir`, the first one first.
pub fn read_declarations(dir: &Path) -> Result<Vec<DeclarationRecord>, ExperimentError> {
    let file = history_file(dir);
    let text = match read_text(&file, MAX_BYTES) {
        Err(error) if error.cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let damaged = |error: serde_json::Error| ExperimentError::Spec {
        file: file.display().to_string(),
        message: format!("damaged: {error}"),
    };
    serde_json::from_str(&text).map_err(damaged)
}

/// Records the declaration of `spec`, if it differs from the last one recorded. `runs_before`: the runs that exist.
pub fn record_declaration(spec: &ExperimentSpec, runs_before: usize) -> Result<(), ExperimentError> {
    std::fs::create_dir_all(&spec.dir).map_err(FileError::wrap("create", &spec.dir))?;
    let mut history = read_declarations(&spec.dir)?;
    let declaration = Declaration::new(spec);
    let hash = declaration.hash();
    if history.last().is_some_and(|last| last.hash == hash) {
        return Ok(());
    }
    history.push(DeclarationRecord { hash, at: Utc::now(), runs_before, declaration });
    Ok(replace_json(&history_file(&spec.dir), &history)?)
}

/// Adds the declarations that were recorded in the folder `source` to those in `dir`, in the order of their times.
pub fn merge_declarations(dir: &Path, source: &Path) -> Result<(), ExperimentError> {
    let mut history = read_declarations(dir)?;
    let known = history.len();
    for record in read_declarations(source)? {
        if !history.contains(&record) {
            history.push(record);
        }
    }
    if history.len() == known {
        return Ok(());
    }
    history.sort_by_key(|record| record.at);
    std::fs::create_dir_all(dir).map_err(FileError::wrap("create", dir))?;
    Ok(replace_json(&history_file(dir), &history)?)
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::experiment;
    use super::*;

    #[test]
    fn a_later_change_is_added_to_the_history() {
        let dir = tempfile::tempdir().unwrap();
        let record = |from: &str, to: &str, runs| {
            let found = experiment(dir.path(), |text| text.replacen(from, to, 1)).unwrap();
            record_declaration(&found.spec, runs).unwrap();
            read_declarations(&found.spec.dir).unwrap()
        };
        assert_eq!(record("", "", 0).len(), 1);
        // Neither another seed nor the question's wording changes what decides.
        assert_eq!(record("seeds = [0, 1]", "seeds = [0, 1, 2]\nquestion = \"q\"", 3).len(), 1);
        let history = record("a = \"every-2\"\nb = \"never\"", "a = \"never\"\nb = \"every-2\"", 4);
        assert_eq!((history.len(), history[1].runs_before), (2, 4));
        let (elsewhere, folder) =
            (tempfile::tempdir().unwrap(), experiment(dir.path(), str::to_owned).unwrap().spec.dir);
        for _ in 0..2 {
            merge_declarations(elsewhere.path(), &folder).unwrap();
            assert_eq!(read_declarations(elsewhere.path()).unwrap(), history);
        }
        assert_ne!(history[0].hash, history[1].hash);
        let differences = history[1].declaration.differences(&history[0].declaration);
        assert!(differences.len() == 1 && differences[0].starts_with("comparisons: "), "{differences:?}");
    }
}
