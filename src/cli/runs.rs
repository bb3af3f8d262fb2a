//! Owns: `runs`: the list of runs, as a table or as JSON.
//! Must not know: what a run does.
//! Invariant: a run whose files cannot be read is a line with gaps, not the end of the list.

use super::output;
use super::run_lookup;
use crate::record::rows::{self, TableRow};
use crate::record::run_folder::{RunFolder, read_json};
use crate::record::{segments, status};
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::protocol::RunInfo;
use clap::Args;
use indicatif::{DecimalBytes, HumanCount};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab runs
  coconut-lab runs path/to/checkpoints --json | jq '.[] | select(.state == \"interrupted\") | .run'

A run is running, finished, stopped, failed or interrupted (its process is gone). `best valid` is the smallest
plain validation loss, in nats per token. `from` names the run or checkpoint that a run started from.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct RunsArgs {
    /// Folder of the run folders.
    #[arg(default_value = run_lookup::RUNS_DIR)]
    dir: PathBuf,
    /// Print a JSON array with one object for each run.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct RunListEntry {
    run: String,
    /// running, finished, stopped, failed, interrupted, or unknown.
    state: String,
    step: u64,
    steps: u64,
    best_validation_nats: Option<f64>,
    config: String,
    from: Option<String>,
    bytes: u64,
}

pub(super) fn run(args: RunsArgs) -> anyhow::Result<ExitCode> {
    let entries: Vec<RunListEntry> = run_lookup::run_folders(&args.dir).iter().map(|path| list_entry(path)).collect();
    let mut out = output::stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&entries)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if entries.is_empty() {
        writeln!(out, "no runs in {}", args.dir.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = |text: fn(&RunListEntry) -> &str, min| {
        entries.iter().map(|entry| text(entry).chars().count()).fold(min, usize::max)
    };
    let (run, config) = (width(|entry| &entry.run, 3), width(|entry| &entry.config, 6));
    writeln!(
        out,
        "{:<run$}  {:<11}  {:>17}  {:>10}  {:<config$}  {:>9}  from",
        "run", "state", "step", "best valid", "config", "size"
    )?;
    for entry in &entries {
        let best = entry.best_validation_nats.map_or("-".into(), |loss| format!("{loss:.4}"));
        writeln!(
            out,
            "{:<run$}  {:<11}  {:>17}  {best:>10}  {:<config$}  {:>9}  {}",
            entry.run,
            entry.state,
            format!("{} / {}", HumanCount(entry.step), HumanCount(entry.steps)),
            entry.config,
            DecimalBytes(entry.bytes).to_string(),
            entry.from.as_deref().unwrap_or("-"),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list_entry(path: &Path) -> RunListEntry {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = RunFolder::open(path).ok();
    let status = folder.as_ref().and_then(status::read_status);
    let lineage = folder.as_ref().map(lineage_text).unwrap_or_default();
    let rows = read_metrics(path);
    let best = |row: &StepRow| row.get(Metric::ValidPlain).filter(|loss| loss.is_finite());
    let requested_steps = status.as_ref().map_or(0, |status| status.steps);
    let config = folder.and_then(|folder| crate::config::load(&folder.config_file(), &[]).ok());
    RunListEntry {
        run: name,
        state: status.as_ref().map_or("unknown".into(), |status| <&str>::from(status.state).to_owned()),
        step: rows.last().map(StepRow::step).or(status.map(|status| status.step)).unwrap_or(0),
        steps: config.as_ref().map_or(requested_steps, |config| config.run.steps),
        best_validation_nats: rows.iter().filter_map(best).min_by(f64::total_cmp),
        config: config.map_or("?".into(), |config| config.run.name),
        from: lineage,
        bytes: folder_bytes(path),
    }
}

/// Describes the run or checkpoint that a run started from; none for a run from a recipe.
fn lineage_text(folder: &RunFolder) -> Option<String> {
    Some(read_json::<RunInfo>(&folder.run_info_file())?.lineage?.to_string())
}

/// Reads the metrics of a run; empty if they cannot be read.
fn read_metrics(path: &Path) -> Vec<StepRow> {
    let batches = segments::read_table(&path.join(StepRow::TABLE)).unwrap_or_default();
    batches.iter().flat_map(rows::step_rows).collect()
}

fn folder_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => folder_bytes(&entry.path()),
            _ => entry.metadata().map_or(0, |metadata| metadata.len()),
        })
        .sum()
}
