//! Owns: a row of the list of runs, the comparison of two runs, and what a list and its reader send each other.
//! Must not know: files, how a list is sorted, filtered or drawn.
//! Invariant: a run that cannot be read is a row with gaps and problems.

use super::metrics::Metric;
use super::protocol::{Lineage, LogLevel, RunInfo};
use super::rows::ChangeRow;
use super::status::RunState;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::path::PathBuf;

/// What is known of a metric of a run. Values are in the metric's unit; none if it was not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MetricRange {
    /// The last measured value.
    pub last: Option<f64>,
    /// The smallest finite value.
    pub min: Option<f64>,
    /// The largest finite value.
    pub max: Option<f64>,
}

/// A run, as a list shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunListRow {
    pub folder: PathBuf,
    /// Id of the run: the name of its folder.
    pub run: String,
    /// Whether it runs or how it ended; none if that is not known.
    pub state: Option<RunState>,
    /// Number of updates done.
    pub step: u64,
    /// Number of updates of the whole run.
    pub steps: u64,
    pub began: Option<DateTime<Utc>>,
    pub lineage: Option<Lineage>,
    pub bytes: u64,
    pub tags: Vec<String>,
    /// What is known of each metric, in the order of [`Metric::ALL`]; empty if nothing is.
    pub metrics: Vec<MetricRange>,
    /// The config as sections of keys; empty if it cannot be read.
    pub settings: toml::Table,
    /// What of the run cannot be read, in words.
    pub problems: Vec<String>,
}

impl RunListRow {
    /// Returns the run's name: that of the folder, without its time.
    pub fn name(&self) -> &str {
        split_run_id(&self.run).map_or(&self.run, |(_, name)| name)
    }

    /// Returns the word for the run's state: `damaged` if a file of it cannot be read.
    pub fn state_word(&self) -> &'static str {
        match self.state {
            _ if !self.problems.is_empty() => DAMAGED,
            Some(state) => state.into(),
            None => UNKNOWN,
        }
    }

    pub fn metric(&self, metric: Metric) -> MetricRange {
        self.metrics.get(metric as usize).copied().unwrap_or_default()
    }

    /// Returns the run and step that this run started from, such as `20261124-101500-quick@1000`.
    pub fn parent(&self) -> Option<String> {
        let lineage = self.lineage.as_ref()?;
        let id = lineage.folder.file_name().unwrap_or_default().to_string_lossy();
        Some(lineage.step.map_or_else(|| format!("{id}, replayed"), |step| format!("{id}@{step}")))
    }

    /// Whether this run started from the run with this id.
    pub fn starts_from(&self, run: &str) -> bool {
        self.lineage.as_ref().is_some_and(|lineage| lineage.folder.file_name().is_some_and(|name| name == run))
    }
}

/// Word for a run of which a file cannot be read.
pub const DAMAGED: &str = "damaged";
/// Word for a run without a status.
pub const UNKNOWN: &str = "unknown";

/// Splits the id of a run, `20261124-101500-quick`, into its time and its name; none if it has no time.
pub fn split_run_id(run: &str) -> Option<(&str, &str)> {
    let (time, name) = (run.get(..15)?, run.get(15..)?.strip_prefix('-')?);
    let is_time = time.char_indices().all(|(at, c)| if at == 8 { c == '-' } else { c.is_ascii_digit() });
    is_time.then_some((time, name))
}

/// Returns the name of a run: that in its config, unless the folder was renamed.
pub fn run_name(info: &RunInfo) -> String {
    let configured = &info.config.run.name;
    let folder = info.folder.file_name().unwrap_or_default().to_string_lossy();
    let named = split_run_id(&folder).map(|(_, name)| name.to_owned());
    // A folder whose name was taken has a number.
    let is_numbered = |name: &str| name.strip_prefix(configured.as_str()).is_some_and(|rest| rest.starts_with('-'));
    named.filter(|name| !is_numbered(name)).unwrap_or_else(|| configured.clone())
}

/// A key whose value differs between two runs, with both values as TOML.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingDifference {
    pub key: String,
    pub a: String,
    pub b: String,
}

/// One of two runs that are compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparedRun {
    /// The run, with the step if one was given.
    pub run: String,
    /// Version of the config that is compared.
    pub version: u64,
    /// The changes that were applied up to that version, in order.
    pub changes: Vec<ChangeRow>,
}

/// How the configs of two runs differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunComparison {
    pub a: ComparedRun,
    pub b: ComparedRun,
    /// Differences of the configs that the runs have now, or had at the given steps.
    pub current: Vec<SettingDifference>,
    /// Differences of the configs that the runs started with.
    pub initial: Vec<SettingDifference>,
}

/// Tags to add to and to remove from a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TagEdit {
    pub add: Vec<String>,
    pub remove: Vec<String>,
}

/// A request of a list to its reader.
#[derive(Clone, Debug, PartialEq)]
pub enum RunListRequest {
    EditTags(Vec<PathBuf>, TagEdit),
    /// Give a run this name.
    Rename(PathBuf, String),
    Delete(Vec<PathBuf>),
    Compare(PathBuf, PathBuf),
}

/// What the reader of a list reports.
#[derive(Clone, Debug, PartialEq)]
pub enum RunListUpdate {
    /// So many of so many runs were read; both are equal at the end.
    Progress {
        done: usize,
        total: usize,
    },
    /// A run was read, for the first time or again.
    Row(Box<RunListRow>),
    /// A run is gone.
    Removed(PathBuf),
    /// A run's folder has a new path.
    Renamed(PathBuf, PathBuf),
    Comparison(Box<RunComparison>),
    /// The outcome of a request, in words.
    Message(LogLevel, String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_time_and_a_name() {
        assert_eq!(split_run_id("20261124-101500-a-b"), Some(("20261124-101500", "a-b")));
        for other in
            ["quick", "2026-11-24T02-51-38-prosqa", "20261124-101500", "20261124x101500-a", "日本語日本語日本語"]
        {
            assert_eq!(split_run_id(other), None, "{other}");
        }
    }

    #[test]
    fn a_damaged_run_says_so_and_names_its_parent() {
        let folder = "old/20261124-101500-quick".into();
        let lineage = Some(Lineage { folder, step: Some(9), left_out: Vec::new() });
        let mut row = RunListRow { state: Some(RunState::Finished), lineage, ..RunListRow::default() };
        assert_eq!((row.state_word(), row.parent().as_deref()), ("finished", Some("20261124-101500-quick@9")));
        assert!(row.starts_from("20261124-101500-quick") && !row.starts_from("quick"));
        row.problems.push("x".into());
        assert_eq!(row.state_word(), "damaged");
    }
}
