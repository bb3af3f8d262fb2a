//! Owns: the tables behind a report, as Parquet: values by run, curves, comparisons.
//! Must not know: how a report is worded.
//! Invariant: what a figure draws is in a table, unrounded.

use super::contents::Report;
use crate::experiment::ExperimentError;
use crate::experiment::analysis::ComparisonResult;
use crate::experiment::results::RunResult;
use crate::record::export::write_table;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes `runs.parquet`, `curves.parquet` and `comparisons.parquet` into `dir`, and returns their paths.
pub fn write(report: &Report, dir: &Path) -> Result<Vec<PathBuf>, ExperimentError> {
    let tables = [("runs", runs(report)), ("curves", curves(report)), ("comparisons", comparisons(report))];
    let mut written = Vec::new();
    for (name, columns) in tables {
        let path = dir.join(format!("{name}.parquet"));
        let failed = |message: String| ExperimentError::Spec { file: path.display().to_string(), message };
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)));
        let batch = batch.map_err(|error| failed(error.to_string()))?;
        write_table(&path, &[batch], &[]).map_err(|error| failed(error.to_string()))?;
        written.push(path);
    }
    Ok(written)
}

type Columns = Vec<(&'static str, ArrayRef)>;

fn text(values: Vec<String>) -> ArrayRef {
    Arc::new(StringArray::from(values))
}

fn reals(values: Vec<Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from(values))
}

fn counts(values: Vec<Option<u64>>) -> ArrayRef {
    Arc::new(values.into_iter().map(|value| value.map(|value| value as i64)).collect::<Int64Array>())
}

/// Returns every run with its arm.
fn with_arms(report: &Report) -> Vec<(&str, &RunResult)> {
    let arms = report.analysis.arms.iter().zip(&report.runs);
    arms.flat_map(|(arm, runs)| runs.iter().flatten().map(move |run| (arm.name.as_str(), run))).collect()
}

/// One row for each run and metric: the value that counts, and what the run has cost.
fn runs(report: &Report) -> Columns {
    let mut rows = Vec::new();
    for (index, (arm, runs)) in report.analysis.arms.iter().zip(&report.runs).enumerate() {
        for (place, run) in runs.iter().enumerate().filter_map(|(place, run)| Some((place, run.as_ref()?))) {
            for spread in &report.analysis.arms[index].spreads {
                rows.push((arm.name.clone(), run, spread.metric.clone(), spread.values[place]));
            }
        }
    }
    vec![
        ("arm", text(rows.iter().map(|row| row.0.clone()).collect())),
        ("seed", counts(rows.iter().map(|row| Some(row.1.seed)).collect())),
        ("run", text(rows.iter().map(|row| row.1.name.clone()).collect())),
        ("metric", text(rows.iter().map(|row| row.2.clone()).collect())),
        ("value", reals(rows.iter().map(|row| row.3).collect())),
        ("steps", counts(rows.iter().map(|row| Some(row.1.steps)).collect())),
        ("tokens", reals(rows.iter().map(|row| Some(row.1.tokens)).collect())),
        ("flop", reals(rows.iter().map(|row| row.1.flop).collect())),
        ("wall_s", reals(rows.iter().map(|row| Some(row.1.wall_s)).collect())),
    ]
}

/// One row for each measured value.
fn curves(report: &Report) -> Columns {
    let mut rows = Vec::new();
    for (arm, run) in with_arms(report) {
        for (metric, points) in &run.curves {
            rows.extend(points.iter().map(|point| (arm, run.seed, metric, *point)));
        }
    }
    vec![
        ("arm", text(rows.iter().map(|row| row.0.to_owned()).collect())),
        ("seed", counts(rows.iter().map(|row| Some(row.1)).collect())),
        ("metric", text(rows.iter().map(|row| row.2.clone()).collect())),
        ("step", counts(rows.iter().map(|row| Some(row.3.step)).collect())),
        ("tokens", reals(rows.iter().map(|row| Some(row.3.tokens)).collect())),
        ("flop", reals(rows.iter().map(|row| row.3.flop).collect())),
        ("value", reals(rows.iter().map(|row| Some(row.3.value)).collect())),
    ]
}

/// One row for each comparison.
fn comparisons(report: &Report) -> Columns {
    let found = &report.analysis.comparisons;
    let each = |value: &dyn Fn(&ComparisonResult) -> Option<f64>| reals(found.iter().map(value).collect());
    let words = |value: &dyn Fn(&ComparisonResult) -> String| text(found.iter().map(value).collect());
    vec![
        ("a", words(&|found| found.spec.a.clone())),
        ("b", words(&|found| found.spec.b.clone())),
        ("metric", words(&|found| found.metric.clone())),
        ("n", counts(found.iter().map(|found| Some(found.paired.n as u64)).collect())),
        ("mean", each(&|found| found.paired.mean)),
        ("sd", each(&|found| found.paired.sd)),
        ("low", each(&|found| found.paired.interval.map(|interval| interval[0]))),
        ("high", each(&|found| found.paired.interval.map(|interval| interval[1]))),
        ("joint_low", each(&|found| found.joint_interval.map(|interval| interval[0]))),
        ("joint_high", each(&|found| found.joint_interval.map(|interval| interval[1]))),
        ("p_t", each(&|found| found.paired.p_t)),
        ("p_holm", each(&|found| found.p_holm)),
        ("p_sign", each(&|found| Some(found.paired.p_sign))),
        ("improvement", each(&|found| found.improvement)),
        ("detectable", each(&|found| found.detectable)),
        ("flop_ratio_to_reach", each(&|found| found.reach.as_ref().and_then(|reach| reach.1.ratio))),
        ("verdict", words(&|found| <&str>::from(found.verdict).to_owned())),
    ]
}
