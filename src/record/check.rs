//! Owns: the check of a whole run folder but its checkpoints: every file is read, and every row decoded.
//! Must not know: how the result is printed, what a checkpoint holds.
//! Invariant: nothing is changed, and a fault in one file does not end the check of the others.

use super::run_folder::{RunFolder, read_json};
use super::segments::{self, DAMAGED_PREFIX, file_numbers, segment_path, wal_path};
use super::{changes, status};
use crate::config;
use crate::files::atomic::is_partial_name;
use crate::schema::protocol::RunInfo;
use arrow::array::RecordBatch;
use serde::Serialize;
use std::path::Path;

/// Folders of tables. `changes` is that of older versions.
const TABLES: [&str; 8] = ["metrics", "events", "tokens", "thoughts", "layers", "rollouts", "system", "changes"];

/// A file or folder of a run, and whether it is whole.
#[derive(Debug, Serialize)]
pub struct CheckedItem {
    /// Path in the run folder.
    pub name: String,
    /// Rows or lines; none where there are no such things.
    pub rows: Option<u64>,
    pub bytes: u64,
    /// What is wrong, in words; none if it is whole.
    pub problem: Option<String>,
}

impl CheckedItem {
    /// Describes the file or folder `name` of a run.
    pub fn new(folder: &RunFolder, name: &str, rows: Option<u64>, problem: Option<String>) -> Self {
        Self { name: name.to_owned(), rows, bytes: bytes_of(&folder.path().join(name)), problem }
    }
}

/// Returns the bytes of a file, or of the files in a folder.
fn bytes_of(path: &Path) -> u64 {
    match std::fs::read_dir(path) {
        Ok(entries) => entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum(),
        Err(_) => std::fs::symlink_metadata(path).map_or(0, |metadata| metadata.len()),
    }
}

/// Checks all of a run but its checkpoints.
pub fn check_record(folder: &RunFolder) -> Vec<CheckedItem> {
    let mut items = check_descriptions(folder);
    items.extend(check_versions(folder));
    for name in ["changes.jsonl", "replay.jsonl"] {
        let file = folder.path().join(name);
        if file.exists() {
            let read = changes::read_changes(&file);
            let rows = read.as_ref().ok().map(|rows| rows.len() as u64);
            items.push(CheckedItem::new(folder, name, rows, read.err().map(|error| error.to_string())));
        }
    }
    for table in TABLES.into_iter().filter(|table| folder.path().join(table).exists()) {
        items.extend(check_table(folder, table));
    }
    items
}

/// Checks `status.json`, `run.json` and `config.toml`.
fn check_descriptions(folder: &RunFolder) -> Vec<CheckedItem> {
    let status = problem_of(status::read_status(folder), "status.json");
    let info = problem_of(read_json::<RunInfo>(&folder.run_info_file()), "run.json");
    let config = config::load(&folder.config_file(), &[]).err().map(|error| error.to_string());
    [("status.json", status), ("run.json", info), ("config.toml", config)]
        .map(|(name, problem)| CheckedItem::new(folder, name, None, problem))
        .into()
}

fn problem_of<T>(read: Result<Option<T>, super::RecordError>, name: &str) -> Option<String> {
    match read {
        Ok(Some(_)) => None,
        Ok(None) => Some(format!("{name} is missing")),
        Err(error) => Some(error.to_string()),
    }
}

/// Checks the config versions. Their numbers have no gaps.
fn check_versions(folder: &RunFolder) -> Vec<CheckedItem> {
    let entries = std::fs::read_dir(folder.path().join("versions")).into_iter().flatten().flatten();
    let number = |name: &str| name.strip_prefix("config-")?.strip_suffix(".toml")?.parse::<u64>().ok();
    let last = entries.filter_map(|entry| number(entry.file_name().to_str()?)).max().unwrap_or(0);
    let check = |version: u64| {
        let file = folder.version_file(version);
        let problem = config::load(&file, &[]).err().map(|error| error.to_string());
        let name = file.strip_prefix(folder.path()).unwrap_or(&file).display().to_string();
        CheckedItem::new(folder, &name, None, problem)
    };
    (0..=last).map(check).collect()
}

/// Checks every segment and WAL of a table.
fn check_table(folder: &RunFolder, table: &str) -> Vec<CheckedItem> {
    let dir = folder.path().join(table);
    let entries = match std::fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) => return vec![CheckedItem::new(folder, table, None, Some(error.to_string()))],
    };
    let (segments, logs) = (file_numbers(&dir, "parquet"), file_numbers(&dir, "log"));
    let mut items = Vec::new();
    for number in 0..segments.last().map_or(0, |last| last + 1) {
        let path = segment_path(&dir, number);
        let read = match segments.contains(&number) {
            true => segments::read_segment(&path).map_err(|error| error.to_string()),
            false => Err(segments::missing_segment(&dir, number)),
        };
        items.push(table_item(folder, &path, read.map(|batches| (batches, None))));
    }
    // A log next to its segment is a copy that a killed process left.
    for number in logs.into_iter().filter(|number| !segments.contains(number)) {
        let path = wal_path(&dir, number);
        let read = segments::read_wal(&path).map_err(|error| error.to_string()).map(|log| {
            let log = log.unwrap_or_default();
            let damage = (log.damaged_bytes > 0).then(|| segments::wal_damage(&path, log.damaged_bytes));
            (log.batches, damage)
        });
        items.push(table_item(folder, &path, read));
    }
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if name.starts_with(DAMAGED_PREFIX) {
            let problem = "kept because rows in it could not be read when the run was resumed".to_owned();
            items.push(CheckedItem::new(folder, &format!("{table}/{name}"), None, Some(problem)));
        } else if !name.starts_with("part-") && !is_partial_name(&name) {
            let problem = "no file that a run writes".to_owned();
            items.push(CheckedItem::new(folder, &format!("{table}/{name}"), None, Some(problem)));
        }
    }
    items
}

/// Describes a file of a table, which gave rows and what is wrong, or none.
fn table_item(
    folder: &RunFolder,
    path: &Path,
    read: Result<(Vec<RecordBatch>, Option<String>), String>,
) -> CheckedItem {
    let name = path.strip_prefix(folder.path()).unwrap_or(path).display().to_string();
    match read {
        Ok((batches, problem)) => {
            let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
            CheckedItem::new(folder, &name, Some(rows), problem)
        }
        Err(problem) => CheckedItem::new(folder, &name, None, Some(problem)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::table::Table;
    use crate::schema::metrics::{Metric, StepRow};

    /// Returns the names of the items that are not whole.
    fn damaged(folder: &RunFolder) -> Vec<String> {
        check_record(folder).into_iter().filter(|item| item.problem.is_some()).map(|item| item.name).collect()
    }

    #[test]
    fn every_changed_bit_of_a_segment_and_a_log_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        std::fs::write(folder.config_file(), "").unwrap();
        std::fs::write(folder.version_file(0), "").unwrap();
        let mut table = Table::open(folder.path()).unwrap();
        for step in 1..=40 {
            let mut row = StepRow::new(step);
            row.set(Metric::LossPlain, step as f64 / 3.0);
            table.push(row);
            match step {
                30 => table.compact(&Vec::new()).unwrap(),
                31..40 => table.sync_wal().unwrap(),
                _ => {}
            }
        }
        // `status.json` and `run.json` are not there.
        assert_eq!(damaged(&folder), ["status.json", "run.json"]);
        let part = folder.path().join("metrics/part-00000.parquet");
        let whole = std::fs::read(&part).unwrap();
        for draw in 0..200 {
            let mut bytes = whole.clone();
            let bit = (draw * 7919 + 13) % (whole.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&part, bytes).unwrap();
            assert!(damaged(&folder).contains(&"metrics/part-00000.parquet".to_owned()), "bit {bit}");
        }
        std::fs::write(&part, whole).unwrap();
        let log = folder.path().join("metrics/part-00001.log");
        let whole = std::fs::read(&log).unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        std::fs::write(&log, bytes).unwrap();
        assert!(damaged(&folder).contains(&"metrics/part-00001.log".to_owned()));
    }
}
