//! Owns: reading a run folder as a row of the list of runs.
//! Must not know: how a list is sorted, filtered or shown.
//! Invariant: a file that cannot be read leaves a gap and a problem, and hides nothing else of the run.

use super::labels::{RunLabels, find_renamed};
use super::run_folder::{RunFolder, read_json};
use super::status;
use super::summary::{LastValues, MetricsSummary};
use crate::config;
use crate::schema::protocol::{Lineage, RunInfo};
use crate::schema::run_list::RunListRow;
use std::fmt::Display;
use std::path::Path;

/// Reads the run in folder `path`.
pub fn read_row(path: &Path, last_values: LastValues) -> RunListRow {
    let mut row = RunListRow {
        folder: path.to_owned(),
        run: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        began: RunFolder::begun_at(path),
        bytes: folder_bytes(path),
        ..RunListRow::default()
    };
    match RunFolder::open(path) {
        Ok(folder) => read_files(&folder, last_values, &mut row),
        // Nothing is read through the links of a folder that is refused.
        Err(error) => row.problems.push(error.to_string()),
    }
    row
}

fn read_files(folder: &RunFolder, last_values: LastValues, row: &mut RunListRow) {
    let problems = &mut row.problems;
    let status = value_or_problem(status::read_status(folder), problems).flatten();
    let info: Option<RunInfo> = value_or_problem(read_json(&folder.run_info_file()), problems).flatten();
    let config = value_or_problem(config::load(&folder.config_file(), &[]), problems);
    row.tags = value_or_problem(RunLabels::read(folder.path()), problems).unwrap_or_default().tags;
    let metrics = MetricsSummary::read(folder.path(), last_values);
    problems.extend(metrics.damage);
    row.state = status.as_ref().map(|status| status.state);
    row.step = metrics.last_step.or(status.as_ref().map(|status| status.step)).unwrap_or(0);
    // A budget of tokens or operations makes a run shorter than `run.steps`, as its status says.
    let requested = status.map(|status| status.steps);
    let configured = config.as_ref().filter(|config| !config.run.has_budget()).map(|config| config.run.steps);
    row.steps = configured.or(requested).unwrap_or(0);
    row.settings = config.and_then(|config| toml::Table::try_from(config).ok()).unwrap_or_default();
    row.metrics = metrics.metrics;
    row.lineage = info.and_then(|info| info.lineage).map(with_new_name);
}

/// Returns the lineage with the parent's present path, if the parent was renamed.
fn with_new_name(lineage: Lineage) -> Lineage {
    let renamed = if lineage.folder.exists() { None } else { find_renamed(&lineage.folder) };
    Lineage { folder: renamed.unwrap_or(lineage.folder), ..lineage }
}

/// Returns what was read, or adds the error to `problems`.
fn value_or_problem<T, E: Display>(read: Result<T, E>, problems: &mut Vec<String>) -> Option<T> {
    read.map_err(|error| problems.push(error.to_string())).ok()
}

/// Returns the bytes of all files in a folder and the folders in it. No link is followed.
fn folder_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => folder_bytes(&entry.path()),
            _ => entry.metadata().map_or(0, |metadata| metadata.len()),
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_cannot_be_read_is_a_row_with_gaps_and_a_renamed_parent_has_its_new_name() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name| RunFolder::create(dir.path(), name, chrono::Local::now()).unwrap();
        let (parent, child) = (make("parent"), make("child"));
        for folder in [&parent, &child] {
            std::fs::write(folder.config_file(), "[run]\nsteps = 7\n").unwrap();
        }
        let lineage = serde_json::json!({"folder": parent.path(), "step": 3, "without": []});
        let info = serde_json::json!({"lineage": lineage, "recipe": null, "folder": "", "device": "", "device_reason": "",
            "params": 1, "vocab_size": 9, "train_docs": 1});
        std::fs::write(child.run_info_file(), info.to_string()).unwrap();
        let read = |folder: &RunFolder| read_row(folder.path(), LastValues::Read);
        assert!(read(&child).parent().unwrap().ends_with("-parent@3"));
        let new = crate::record::manage::rename_run(parent.path(), "elder").unwrap();
        let row = read(&child);
        assert!(row.parent().unwrap().ends_with("-elder@3") && row.problems.is_empty(), "{row:?}");
        assert_eq!((row.steps, row.name(), row.state_word()), (7, "child", "unknown"));

        std::fs::write(new.join("config.toml"), "[run\n").unwrap();
        std::fs::write(new.join("labels.json"), "{").unwrap();
        let row = read_row(&new, LastValues::Skip);
        assert_eq!((row.state_word(), row.problems.len(), row.settings.len()), ("damaged", 2, 0));
        assert!(row.bytes > 0 && row.began.is_some());
    }
}
