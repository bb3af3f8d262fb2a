//! Owns: `runs`: the list of runs, as a table or as JSON.
//! Must not know: what a run does.
//! Invariant: a run whose files cannot be read is a line with gaps and a warning, not the end of the list.

use super::output;
use super::run_lookup;
use crate::record::run_folder::{RunFolder, read_json};
use crate::record::summary::MetricsSummary;
use crate::record::{RecordError, status};
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

A run is running, finished, stopped, failed or interrupted (its process is gone); damaged if a file of it cannot be
read: the files are named below the list, and in JSON in `problems`. `coconut-lab check RUN` reads all of it. `best valid` is the smallest
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
    /// What of the run cannot be read, in words.
    problems: Vec<String>,
}

pub(super) fn run(args: RunsArgs) -> anyhow::Result<ExitCode> {
    let entries = list_entries(&run_lookup::run_folders(&args.dir));
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
            if entry.problems.is_empty() { &entry.state } else { "damaged" },
            format!("{} / {}", HumanCount(entry.step), HumanCount(entry.steps)),
            entry.config,
            DecimalBytes(entry.bytes).to_string(),
            entry.from.as_deref().unwrap_or("-"),
        )?;
    }
    drop(out);
    for (entry, problem) in entries.iter().flat_map(|entry| entry.problems.iter().map(move |problem| (entry, problem)))
    {
        output::print_error_line(format_args!("warning: {}: {problem}", entry.run));
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads the runs, several at a time: most of the time goes into waiting for files.
fn list_entries(paths: &[PathBuf]) -> Vec<RunListEntry> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) * 2;
    let share = paths.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let list = |paths: &[PathBuf]| paths.iter().map(|path| list_entry(path)).collect::<Vec<_>>();
        let readers: Vec<_> = paths.chunks(share).map(|paths| scope.spawn(move || list(paths))).collect();
        readers
            .into_iter()
            .flat_map(|reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn list_entry(path: &Path) -> RunListEntry {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut problems = Vec::new();
    let folder = RunFolder::open(path).map_err(|error| problems.push(error.to_string())).ok();
    let status = folder.as_ref().and_then(|folder| noted(status::read_status(folder), &mut problems));
    let info = folder.as_ref().and_then(|folder| noted(read_json(&folder.run_info_file()), &mut problems));
    // Nothing is read through the links of a folder that was refused.
    let metrics = folder.as_ref().map(|_| MetricsSummary::read(path)).unwrap_or_default();
    problems.extend(metrics.damage);
    let config = folder.as_ref().and_then(|folder| {
        let loaded = crate::config::load(&folder.config_file(), &[]);
        loaded.map_err(|error| problems.push(error.to_string())).ok()
    });
    let requested_steps = status.as_ref().map_or(0, |status| status.steps);
    RunListEntry {
        run: name,
        state: status.as_ref().map_or("unknown".into(), |status| <&str>::from(status.state).to_owned()),
        step: metrics.last_step.or(status.map(|status| status.step)).unwrap_or(0),
        steps: config.as_ref().map_or(requested_steps, |config| config.run.steps),
        best_validation_nats: metrics.best_validation,
        config: config.map_or("?".into(), |config| config.run.name),
        from: info.and_then(|info: RunInfo| Some(info.lineage?.to_string())),
        bytes: folder_bytes(path),
        problems,
    }
}

/// Returns what was read, and adds an error to `problems`.
fn noted<T>(read: Result<Option<T>, RecordError>, problems: &mut Vec<String>) -> Option<T> {
    read.unwrap_or_else(|error| {
        problems.push(error.to_string());
        None
    })
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
