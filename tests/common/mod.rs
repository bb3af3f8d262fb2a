//! Helpers for tests of the real binary: a folder to run in, the binary, its runs and their tables.

#![allow(dead_code)] // each test file uses only some of these helpers

#[cfg(target_os = "linux")]
pub mod screen;

use arrow::array::{Array, Float64Array, Int64Array, RecordBatch};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Whether a column is a time or depends on one. All other columns are deterministic.
pub fn is_time_dependent(column: &str) -> bool {
    column.ends_with("_ms") || ["wall_s", "tokens_per_s", "share_of_peak"].contains(&column)
}

/// Recipe of a run that takes about a second.
pub const TINY: &str = include_str!("../fixtures/tiny.toml");

/// Model and batch sizes with which `bench` and `profile` take only a moment.
pub const SIZES: &[&str] = &[
    "--vocab=31",
    "--time=12",
    "--width=16",
    "--heads=2",
    "--layers=1",
    "--batch=2",
    "--recycled=3",
    "--steps=2",
    "--warmup=1",
];

/// Creates a temporary folder to run in, with `recipe` as `tiny.toml`.
pub fn temp_dir_with_recipe(recipe: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tiny.toml"), recipe).unwrap();
    dir
}

/// Returns a command that runs the binary in `dir`.
pub fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coconut-lab"));
    command.current_dir(dir).args(args);
    command
}

/// Runs the binary in `dir` to its end.
pub fn lab(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().expect("the binary runs")
}

/// Trains `tiny.toml` without a dashboard. Each of `overrides` is the value of a `--set`.
pub fn train(dir: &Path, overrides: &[&str]) -> Output {
    let mut args = vec!["run", "--config", "tiny.toml", "--headless"];
    for value in overrides {
        args.extend(["--set", value]);
    }
    lab(dir, &args)
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Returns the run folders, oldest first.
pub fn runs(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir.join("checkpoints")).into_iter().flatten();
    let mut runs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    runs.sort();
    runs
}

/// Reads a table of a run, from its segments and its write-ahead log.
pub fn table(run: &Path, name: &str) -> Vec<RecordBatch> {
    let read = coconut_lab::record::segments::read_table(&run.join(name)).unwrap();
    assert!(read.damage.is_empty(), "{:?}", read.damage);
    read.batches
}

/// Returns the number of rows that `export changes` writes for a run.
pub fn exported_change_count(run: &Path) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let run = run.canonicalize().unwrap();
    let export = lab(dir.path(), &["export", "changes", run.to_str().unwrap(), "--out", "c.parquet"]);
    assert!(export.status.success(), "{}", stderr(&export));
    let batches = coconut_lab::record::segments::read_segment(&dir.path().join("c.parquet")).unwrap();
    batches.iter().map(RecordBatch::num_rows).sum()
}

pub fn metrics(run: &Path) -> Vec<RecordBatch> {
    table(run, "metrics")
}

pub fn float_column(batches: &[RecordBatch], name: &str) -> Vec<Option<f64>> {
    let column = |batch: &RecordBatch| {
        let column = batch.column_by_name(name).unwrap().clone();
        let values = column.as_any().downcast_ref::<Float64Array>().unwrap();
        values.iter().collect::<Vec<_>>()
    };
    batches.iter().flat_map(column).collect()
}

pub fn int_column(batches: &[RecordBatch], name: &str) -> Vec<Option<i64>> {
    let column = |batch: &RecordBatch| {
        let column = batch.column_by_name(name).unwrap().clone();
        column.as_any().downcast_ref::<Int64Array>().unwrap().iter().collect::<Vec<_>>()
    };
    batches.iter().flat_map(column).collect()
}

/// Returns the deterministic columns of a run's metrics, each value as its bits.
pub fn deterministic_columns(run: &Path) -> Vec<(String, Vec<Option<u64>>)> {
    let table = metrics(run);
    let schema = table[0].schema();
    let fields = schema.fields().iter().filter(|field| !is_time_dependent(field.name()));
    fields
        .map(|field| {
            let bits = match field.data_type() {
                arrow::datatypes::DataType::Int64 => {
                    int_column(&table, field.name()).into_iter().map(|value| value.map(|v| v as u64)).collect()
                }
                _ => float_column(&table, field.name()).into_iter().map(|value| value.map(f64::to_bits)).collect(),
            };
            (field.name().clone(), bits)
        })
        .collect()
}

/// Waits until `condition` returns true, at most 30 s. `what` describes it in the panic message.
pub fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "timed out waiting for {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
