//! Owns: `runs`: a line a run.
//! Must not know: what a run does.
//! Invariant: a folder that cannot be read is a line that says so, not the end of the list.

use super::find;
use crate::message::RunInfo;
use crate::record::folder::{RunFolder, read_json};
use crate::record::parts;
use crate::record::registry::{Metric, StepRow};
use crate::record::rows::{self, Row};
use crate::record::status;
use clap::Args;
use indicatif::{DecimalBytes, HumanCount};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab runs
  coconut-lab runs path/to/checkpoints --json | jq '.[] | select(.state == \"interrupted\") | .run'";

/// What `runs` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct RunsArgs {
    /// Where the run folders are.
    #[arg(default_value = find::RUNS)]
    dir: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What the list says of a run.
#[derive(Serialize)]
struct Line {
    run: String,
    /// running, finished, stopped, failed, interrupted; or why it is not known.
    state: String,
    step: u64,
    steps: u64,
    best_validation_nats: Option<f64>,
    config: String,
    from: Option<String>,
    bytes: u64,
}

/// Lists the runs.
pub(super) fn run(args: RunsArgs) -> anyhow::Result<ExitCode> {
    let lines: Vec<Line> = find::all(&args.dir).iter().map(|path| line(path)).collect();
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&lines)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    if lines.is_empty() {
        writeln!(out, "no runs in {}", args.dir.display())?;
        return Ok(ExitCode::SUCCESS);
    }
    let wide = |of: fn(&Line) -> &str, least| {
        lines.iter().map(|line| of(line).chars().count()).fold(least, usize::max)
    };
    let (run, config) = (wide(|line| &line.run, 3), wide(|line| &line.config, 6));
    writeln!(
        out,
        "{:<run$}  {:<11}  {:>17}  {:>10}  {:<config$}  {:>9}  from",
        "run", "state", "step", "best valid", "config", "size"
    )?;
    for line in &lines {
        let best = line.best_validation_nats.map_or("-".into(), |loss| format!("{loss:.4}"));
        writeln!(
            out,
            "{:<run$}  {:<11}  {:>17}  {best:>10}  {:<config$}  {:>9}  {}",
            line.run,
            line.state,
            format!("{} / {}", HumanCount(line.step), HumanCount(line.steps)),
            line.config,
            DecimalBytes(line.bytes).to_string(),
            line.from.as_deref().unwrap_or("-"),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(path: &Path) -> Line {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = RunFolder::open(path).ok();
    let status = folder.as_ref().and_then(status::read);
    let about = folder.as_ref().map(about).unwrap_or_default();
    let measured = steps(path);
    let best = |row: &StepRow| row.get(Metric::ValidPlain).filter(|loss| loss.is_finite());
    let steps_asked = status.as_ref().map_or(0, |status| status.steps);
    let config = folder.and_then(|folder| crate::config::load(&folder.config(), &[]).ok());
    Line {
        run: name,
        state: status.as_ref().map_or("unknown".into(), |status| status.state.clone()),
        step: measured.last().map(StepRow::step).or(status.map(|status| status.step)).unwrap_or(0),
        steps: config.as_ref().map_or(steps_asked, |config| config.run.steps),
        best_validation_nats: measured.iter().filter_map(best).min_by(f64::total_cmp),
        config: config.map_or("?".into(), |config| config.run.name),
        from: about,
        bytes: size(path),
    }
}

/// Where the run comes from, in words.
fn about(folder: &RunFolder) -> Option<String> {
    Some(read_json::<RunInfo>(&folder.about())?.lineage?.to_string())
}

/// Its metrics; what cannot be read is left out.
fn steps(path: &Path) -> Vec<StepRow> {
    let batches = parts::read_all(&path.join(StepRow::TABLE)).unwrap_or_default();
    batches.iter().flat_map(rows::steps).collect()
}

/// What it takes on the disk.
fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size(&entry.path()),
            _ => entry.metadata().map_or(0, |about| about.len()),
        })
        .sum()
}
