//! Owns: `experiment`: arguments of its verbs, and what `status`, `plan` and `collect` print.
//! Must not know: how runs are compared, how a run is made.
//! Invariant: an experiment's file is checked whole, with the config of every run, before anything is done.

mod dry_run;
pub(super) mod report;
mod runner;
mod screen;

use super::run::DisplayArgs;
use super::trainer_host::TrainerHost;
use super::{bail_usage, output, signals};
use crate::experiment::collect::CollectOutcome;
use crate::experiment::plan::{Experiment, PlannedRun};
use crate::experiment::progress::{PlannedRunState, ProgressState};
use crate::experiment::schedulers::{SlurmOptions, command_lines, slurm_script};
use crate::experiment::spec::UNREACHED_STEPS;
use crate::files::FileError;
use crate::files::atomic::replace_file;
use crate::tui::SignalFlags;
use anyhow::Context;
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

const EXAMPLES: &str = "Examples:
  coconut-lab experiment run configs/experiments/every-n.toml --dry-run    what it would do, and how long that takes
  coconut-lab experiment run configs/experiments/every-n.toml              make the runs that are missing
  coconut-lab experiment status configs/experiments/every-n.toml           how far each run is
  coconut-lab experiment plan configs/experiments/every-n.toml --slurm --at-once 4 --option=--gres=gpu:1 > job.sh
  coconut-lab experiment plan configs/experiments/every-n.toml | parallel -j 2
  coconut-lab experiment report configs/experiments/every-n.toml           what the runs show
  coconut-lab experiment collect configs/experiments/every-n.toml /elsewhere/checkpoints/every-n

An experiment is a file: a base recipe, arms (sets of overrides), seeds, what all arms have equal, the metric that decides and
the comparisons. docs/guides/experiments.md explains its keys.

`experiment run` can be stopped and started again at any time, and several processes may work on one experiment: each run is
made by one of them. Exit codes: 0 all runs are finished, 75 stopped by a signal and can go on, 1 a run failed.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ExperimentArgs {
    #[command(subcommand)]
    verb: ExperimentVerb,
}

#[derive(Subcommand)]
enum ExperimentVerb {
    /// Make the runs that are missing, one after another, and continue those that were interrupted.
    Run(RunExperimentArgs),
    /// Print how far each run is.
    Status(StatusArgs),
    /// Print a command for each run, or a Slurm script, to make the runs on several machines.
    Plan(PlanArgs),
    /// Say what the runs show: verdicts, intervals, tests, figures; as text, Markdown, HTML and Parquet.
    Report(report::ReportArgs),
    /// Copy finished runs from other folders into the experiment's own, and name what is missing.
    Collect(CollectArgs),
}

#[derive(Args)]
pub(super) struct RunExperimentArgs {
    /// File of the experiment (TOML).
    experiment: PathBuf,
    /// Print the arms, their operations and the expected time, measured on a few steps of each, and make no run.
    #[arg(long)]
    dry_run: bool,
    /// Make only these runs, by name: ARM-sSEED. May be given several times.
    #[arg(long, value_name = "RUN")]
    only: Vec<String>,
    /// Make failed runs again, from their last checkpoint.
    #[arg(long)]
    retry_failed: bool,
    /// Print progress lines instead of opening the dashboard; the default without a terminal.
    #[arg(long)]
    headless: bool,
    #[command(flatten)]
    display: DisplayArgs,
}

#[derive(Args)]
struct StatusArgs {
    /// File of the experiment (TOML).
    experiment: PathBuf,
}

#[derive(Args)]
struct PlanArgs {
    /// File of the experiment (TOML).
    experiment: PathBuf,
    /// Print an array script for sbatch instead of a command for each run.
    #[arg(long)]
    slurm: bool,
    /// Most jobs at the same time; 0: no limit.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "slurm")]
    at_once: usize,
    /// Another option for sbatch, such as --option=--gres=gpu:1. May be given several times.
    #[arg(long = "option", value_name = "OPTION", requires = "slurm", allow_hyphen_values = true)]
    options: Vec<String>,
    /// Seconds before the end of a job's time at which its run writes a checkpoint and stops.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, requires = "slurm")]
    grace: u64,
    /// Write to this file instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct CollectArgs {
    /// File of the experiment (TOML).
    experiment: PathBuf,
    /// Folders of run folders, such as the experiment's folder on another machine.
    #[arg(required = true, value_name = "DIR")]
    sources: Vec<PathBuf>,
}

pub(super) fn run(args: ExperimentArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        ExperimentVerb::Run(args) => run_experiment(args),
        ExperimentVerb::Status(args) => print_status(&Experiment::open(&args.experiment)?),
        ExperimentVerb::Plan(args) => plan(args),
        ExperimentVerb::Collect(args) => collect(args),
        ExperimentVerb::Report(args) => report::run(args),
    }
}

fn run_experiment(args: RunExperimentArgs) -> anyhow::Result<ExitCode> {
    if args.dry_run {
        let experiment = Experiment::open(&args.experiment)?;
        return dry_run::print(&experiment, &select_runs(&experiment, &args.only)?);
    }
    // First of all: a scheduler may tell to stop at any time.
    let (host, flags) = (TrainerHost::default(), Arc::new(SignalFlags::default()));
    let dashboard = runner::opens_dashboard(&args);
    signals::listen(host.handle(), flags.clone(), dashboard).context("cannot listen for signals")?;
    let experiment = Experiment::open(&args.experiment)?;
    let runs = select_runs(&experiment, &args.only)?;
    runner::run(&experiment, &runs, &args, host, flags)
}

/// Returns the runs with these names; all without names.
fn select_runs<'a>(experiment: &'a Experiment, names: &[String]) -> anyhow::Result<Vec<&'a PlannedRun>> {
    for name in names {
        if experiment.run(name).is_none() {
            let all: Vec<&str> = experiment.runs.iter().map(|run| run.name.as_str()).collect();
            bail_usage!("--only {name}: no such run; the runs are {}", all.join(", "));
        }
    }
    Ok(experiment.runs.iter().filter(|run| names.is_empty() || names.contains(&run.name)).collect())
}

/// Prints a line for each run, and what is wrong with it.
fn print_status(experiment: &Experiment) -> anyhow::Result<ExitCode> {
    let progress = experiment.progress();
    let width = experiment.runs.iter().map(|run| run.name.len()).max().unwrap_or(0);
    let mut out = output::stdout();
    for (run, progress) in experiment.runs.iter().zip(&progress) {
        let steps = match progress.folder.is_some() {
            // Before the first step it is not known how many the budget allows.
            true if progress.steps >= UNREACHED_STEPS => format!("step {}", progress.step),
            true => format!("step {} of {}", progress.step, progress.steps),
            false => String::new(),
        };
        let line = format!("{:<width$}  {:<10}  {steps}{}", run.name, progress.state.word(), problem_text(progress));
        writeln!(out, "{}", line.trim_end())?;
    }
    let finished = progress.iter().filter(|progress| progress.state == ProgressState::Finished).count();
    writeln!(out, "{finished} of {} runs are finished in {}", progress.len(), experiment.spec.dir.display())?;
    Ok(ExitCode::from(u8::from(finished < progress.len())))
}

fn problem_text(progress: &PlannedRunState) -> String {
    let changes = match progress.changes {
        0 => String::new(),
        count => format!("  {count} changes while it ran"),
    };
    match &progress.state {
        ProgressState::Failed(error) => format!("{changes}  {error}"),
        ProgressState::Differs(keys) => format!("{changes}  {}", keys.join("; ")),
        _ => changes,
    }
}

fn plan(args: PlanArgs) -> anyhow::Result<ExitCode> {
    let experiment = Experiment::open(&args.experiment)?;
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("coconut-lab"));
    let text = match args.slurm {
        false => command_lines(&experiment, &program),
        true => {
            // Slurm does not make the folder of its logs.
            let logs = experiment.spec.dir.join("slurm");
            std::fs::create_dir_all(&logs).map_err(FileError::wrap("create", &logs))?;
            let options = SlurmOptions { at_once: args.at_once, options: args.options, grace_seconds: args.grace };
            slurm_script(&experiment, &program, &options)
        }
    };
    match args.out {
        Some(file) => replace_file(&file, text.as_bytes())?,
        None => output::stdout().write_all(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn collect(args: CollectArgs) -> anyhow::Result<ExitCode> {
    let experiment = Experiment::open(&args.experiment)?;
    if let Some(missing) = args.sources.iter().find(|source| !source.is_dir()) {
        bail_usage!("{}: no such folder", missing.display());
    }
    let own = |path: &Path| path.canonicalize().ok() == experiment.spec.dir.canonicalize().ok();
    let sources: Vec<PathBuf> = args.sources.into_iter().filter(|source| !own(source)).collect();
    let (mut out, mut lacking) = (output::stdout(), 0);
    for collected in experiment.collect(&sources)? {
        lacking += usize::from(matches!(collected.outcome, CollectOutcome::Missing | CollectOutcome::Refused(..)));
        let text = match collected.outcome {
            CollectOutcome::Present => "present".to_owned(),
            CollectOutcome::Copied(from) => format!("copied from {}", from.display()),
            CollectOutcome::Refused(from, why) => format!("refused {}: {why}", from.display()),
            CollectOutcome::Missing => "missing".to_owned(),
        };
        writeln!(out, "{}: {text}", collected.run)?;
    }
    Ok(ExitCode::from(u8::from(lacking > 0)))
}
