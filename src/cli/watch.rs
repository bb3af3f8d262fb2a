//! Owns: `watch`: the dashboard on a run folder, whichever process runs it, or on several.
//! Must not know: what the files of a run hold.
//! Invariant: closing the dashboard does not affect the run.

use super::bail_usage;
use super::multi_run_reader::{self, RunSource};
use super::run::{DisplayArgs, report_ending, run_ending};
use super::terminal;
use super::trainer_host::TrainerHost;
use super::{run_link, run_lookup, signals};
use crate::schema::metrics::Metric;
use crate::tui::{self, DashboardOptions, MultiRunLink, MultiRunOptions, SignalFlags};
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

const EXAMPLES: &str = "Examples:
  coconut-lab watch last
  coconut-lab watch checkpoints/20261124-101500-quickstart
  coconut-lab watch first second third               three runs on one chart, grouped by all but the seed
  coconut-lab watch --dir checkpoints --metric valid_loss_plain

All keys of the run's own dashboard work here: space pauses and continues, s steps, n notes, `:set optim.lr 1e-4`,
`:checkpoint`, `:ask`, `:stop`. They are left in the run folder as requests, and the run takes them at its next step. q
leaves the run alone. `coconut-lab control` does the same for scripts.

Several runs, or --dir, open a chart of all of them with a table. Runs that differ in nothing but the seed form a group:
its mean is a line, with a band around it. Enter opens a run's own dashboard, ? lists the keys.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct WatchArgs {
    /// Run: a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`. Several runs are
    /// drawn on one chart.
    #[arg(required_unless_present = "dir", value_name = "RUN")]
    runs: Vec<String>,
    /// Watch all runs in this folder on one chart, also those that are created later.
    #[arg(long, value_name = "DIR", conflicts_with = "runs")]
    dir: Option<PathBuf>,
    /// Metric that the chart of several runs shows at first [default: the training loss or the reward]
    #[arg(long, value_name = "METRIC", value_parser = parse_metric)]
    metric: Option<Metric>,
    #[command(flatten)]
    display: DisplayArgs,
}

fn parse_metric(name: &str) -> Result<Metric, String> {
    let similarity = |metric: &&Metric| strsim::jaro_winkler(name, metric.spec().name);
    let nearest = Metric::ALL.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let hint = nearest.map_or_else(String::new, |metric| format!("; the nearest one is `{}`", metric.spec().name));
    Metric::find(name).ok_or_else(|| format!("unknown metric{hint}"))
}

/// Returns which runs are shown together; none if it is a single run.
pub(super) fn several_runs(runs: &[String], dir: Option<PathBuf>) -> anyhow::Result<Option<RunSource>> {
    match (runs, dir) {
        (_, Some(dir)) if !dir.is_dir() => bail_usage!("--dir {}: no such folder", dir.display()),
        (_, Some(dir)) => Ok(Some(RunSource::Folder(dir))),
        ([_], None) => Ok(None),
        (runs, None) => {
            let mut folders = Vec::new();
            for run in runs {
                let folder = run_lookup::run_folder(run)?;
                if !folders.contains(&folder) {
                    folders.push(folder);
                }
            }
            Ok(Some(RunSource::Runs(folders)))
        }
    }
}

/// Shows the run or the runs until the user leaves the dashboard.
pub(super) fn run(args: WatchArgs) -> anyhow::Result<ExitCode> {
    if !terminal::moves_cursor() {
        bail_usage!(
            "TERM says that the terminal cannot move its cursor, which the dashboard needs; `coconut-lab snapshot` \
                     writes it to a file"
        );
    }
    let source = several_runs(&args.runs, args.dir)?;
    if source.is_none() && args.metric.is_some() {
        bail_usage!("--metric is for several runs; the dashboard of a single run shows all metrics in panel 1 (e)");
    }
    tui::install_panic_hook();
    let flags = Arc::new(SignalFlags::default());
    let stop_flags = flags.clone();
    // The dashboard can resume the run: then it belongs to this process.
    let mut host = TrainerHost::default();
    let left = match source {
        None => {
            let link = run_link::follow_run(&run_lookup::run_folder(&args.runs[0])?)?;
            signals::listen(host.handle(), flags.clone(), true).context("cannot listen for signals")?;
            let options = DashboardOptions { watching: true, ..args.display.dashboard_options() };
            tui::run(link, &mut host, flags, options)
        }
        Some(source) => {
            let dir = source.place();
            let updates = multi_run_reader::start(source).context("cannot start the thread that reads the runs")?;
            signals::listen(host.handle(), flags.clone(), true).context("cannot listen for signals")?;
            let options = MultiRunOptions { ascii: args.display.dashboard_options().ascii, metric: args.metric };
            tui::watch_runs(MultiRunLink { dir, updates, work: None }, &mut host, flags, options)
        }
    };
    if host.has_run() {
        return report_ending(run_ending(left, host)?, stop_flags.stop.load(SeqCst));
    }
    // A failed run of another process is not a failure of `watch`.
    left.context("the dashboard needs a terminal")?;
    Ok(ExitCode::SUCCESS)
}
