//! Owns: `runs`: the list of runs, as a table, as JSON or in the browser; and the verbs for whole runs.
//! Must not know: what a run does, how the browser is drawn.
//! Invariant: without a terminal it is always the table; a run whose files cannot be read is a line with gaps and a
//! warning.

mod table;
mod verbs;

use super::run::{DisplayArgs, report_ending, run_ending};
use super::run_list_reader;
use super::trainer_host::TrainerHost;
use super::{bail_usage, output, run_lookup, signals, terminal};
use crate::record::manage::finish_deletions;
use crate::run_list::column::Column;
use crate::run_list::filter::RunFilter;
use crate::run_list::sort::{SortDirection, SortOrder};
use crate::tui::{self, BrowserSettings, SignalFlags};
use anyhow::Context;
use clap::{Args, Subcommand};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use table::ListedRuns;

const EXAMPLES: &str = "Examples:
  coconut-lab runs                                        the browser; without a terminal, a table
  coconut-lab runs --list --sort best                     a table, the smallest validation loss first
  coconut-lab runs --filter state=finished --filter 'optim.lr>1e-4' --columns optim.lr,valid_accuracy:best
  coconut-lab runs path/to/checkpoints --json | jq '.[] | select(.state == \"interrupted\") | .run'
  coconut-lab runs diff quick colder
  coconut-lab runs tag quick baseline

A run is running, finished, stopped, failed or interrupted (its process is gone); damaged if a file of it cannot be
read: the files are named below the list, and in JSON in `problems`. `coconut-lab check RUN` reads all of it. `best
valid` is the smallest plain validation loss, in nats per token. `from` names the run or checkpoint that a run started
from.

A column is run, name, state, step, steps, began, from, size, tags, best (the smallest validation loss), a config key, or
a metric; the value of a metric is its last one, or :min, :max or :best. A condition is a column, one of = != < <= > >= ~
(contains) !~ and a value; `tag=x` means that x is among the tags. A bare word is looked for in run, state and tags.";

#[derive(Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct RunsArgs {
    #[command(subcommand)]
    verb: Option<RunsVerb>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Subcommand)]
enum RunsVerb {
    /// Add tags to a run.
    Tag(verbs::TagArgs),
    /// Remove tags from a run.
    Untag(verbs::UntagArgs),
    /// Give a run another name. The time in the folder's name stays.
    Rename(verbs::RenameArgs),
    /// Delete runs with their checkpoints; asks first.
    Delete(verbs::DeleteArgs),
    /// Compare the configs of two runs: now, at their start, and what changed while they trained.
    Diff(verbs::DiffArgs),
}

#[derive(Args)]
struct ListArgs {
    /// Folder of the run folders [default: checkpoints]
    dir: Option<PathBuf>,
    /// Print a JSON array with one object for each run.
    #[arg(long)]
    json: bool,
    /// Print a table, also in a terminal.
    #[arg(long, conflicts_with = "json")]
    list: bool,
    /// Sort by a column; -COLUMN descends [default: began]
    #[arg(long, value_name = "COLUMN", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Sort from the largest value to the smallest.
    #[arg(long, requires = "sort")]
    descending: bool,
    /// Show only runs that meet a condition, e.g. optim.lr=1e-3; may be given several times.
    #[arg(long = "filter", value_name = "CONDITION")]
    filters: Vec<String>,
    /// Show these columns, too, separated by commas.
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    columns: Vec<String>,
    #[command(flatten)]
    display: DisplayArgs,
}

pub(super) fn run(args: RunsArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        None => show_list(args.list),
        Some(RunsVerb::Tag(args)) => verbs::tag(args),
        Some(RunsVerb::Untag(args)) => verbs::untag(args),
        Some(RunsVerb::Rename(args)) => verbs::rename(&args),
        Some(RunsVerb::Delete(args)) => verbs::delete(&args),
        Some(RunsVerb::Diff(args)) => verbs::diff(&args),
    }
}

fn show_list(args: ListArgs) -> anyhow::Result<ExitCode> {
    let dir = args.dir.clone().unwrap_or_else(|| PathBuf::from(run_lookup::RUNS_DIR));
    if args.dir.is_some() && !dir.is_dir() {
        bail_usage!("{}: no such folder; verbs for runs are tag, untag, rename, delete, diff", dir.display());
    }
    let order = args.sort.as_deref().map(|text| parse_order(text, args.descending)).transpose()?;
    let columns = args.columns.iter().map(|name| Column::parse(name.trim())).collect::<Result<Vec<_>, _>>();
    let columns = columns.map_err(usage)?;
    let mut filter = RunFilter::default();
    for text in &args.filters {
        filter.extend(RunFilter::parse(text).map_err(usage)?);
    }
    let is_terminal = std::io::stdout().is_terminal() && std::io::stdin().is_terminal();
    if is_terminal && !args.json && !args.list && terminal::moves_cursor() {
        let order = order.unwrap_or_default();
        let settings = BrowserSettings { dir, order, filter: args.filters.join(" "), columns };
        return browse(settings, args.display);
    }
    finish_interrupted_deletions(&dir);
    let listed = ListedRuns { dir, order, filter, columns };
    if args.json { listed.print_json() } else { listed.print_table() }
}

fn usage(error: String) -> anyhow::Error {
    super::UsageError(error).into()
}

fn parse_order(text: &str, descending: bool) -> anyhow::Result<SortOrder> {
    let order = SortOrder::parse(text).map_err(usage)?;
    Ok(if descending { SortOrder { direction: SortDirection::Descending, ..order } } else { order })
}

/// Removes what is left of deleted runs, and says so.
fn finish_interrupted_deletions(dir: &Path) {
    for done in finish_deletions(dir) {
        match done {
            Ok(text) => output::print_error_line(text),
            Err(error) => output::print_error_line(format_args!("warning: a deleted run is not removed yet: {error}")),
        }
    }
}

/// Opens the browser, and the dashboard on what is opened from it.
fn browse(settings: BrowserSettings, display: DisplayArgs) -> anyhow::Result<ExitCode> {
    tui::install_panic_hook();
    let flags = Arc::new(SignalFlags::default());
    let stop_flags = flags.clone();
    // The dashboard can resume a run: then it belongs to this process.
    let mut host = TrainerHost::default();
    signals::listen(host.handle(), flags.clone(), true).context("cannot listen for signals")?;
    let list = run_list_reader::start(&settings.dir).context("cannot start the thread that reads the runs")?;
    let left = tui::browse(list, settings, &mut host, flags, display.dashboard_options());
    if host.has_run() {
        return report_ending(run_ending(left, host)?, stop_flags.stop.load(SeqCst));
    }
    left.context("the browser needs a terminal")?;
    Ok(ExitCode::SUCCESS)
}
