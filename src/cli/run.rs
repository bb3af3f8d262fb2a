//! Owns: `run`: it starts a trainer from a config file and overrides, and the screen that follows it.
//! Must not know: what the trainer does, what the dashboard draws.
//! Invariant: a run that failed ends with exit code 1 and its error on standard error.

use super::bail_usage;
use super::trainer_host::TrainerHost;
use super::{headless, output, run_lookup, signals, terminal};
use crate::config;
use crate::record::run_folder::RunFolder;
use crate::record::status;
use crate::schema::protocol::{Event, RunSummary};
use crate::schema::status::RunState;
use crate::train::{self, ForkReset, Recipe, StartMode, TrainerOptions};
use crate::tui::{self, DashboardOptions, ExitReason, SignalFlags};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// The recipe of a run without `--config`: this file, or its built-in copy if the file does not exist.
const QUICKSTART: &str = include_str!("../../configs/quickstart.toml");
const QUICKSTART_FILE: &str = "configs/quickstart.toml";

pub(super) const EXAMPLES: &str = "Examples:
  coconut-lab                                             the quickstart, in the dashboard
  coconut-lab run --config configs/shakespeare.toml       another recipe
  coconut-lab run --headless --steps 300                  without the dashboard, for 300 steps
  coconut-lab run --set recycle.every=2 --set 'recycle.fraction=[[0, 0.0], [500, 0.3]]'
  coconut-lab run --set model.from=path/to/hugging-face-folder --set data.dir=datasets/mine
  coconut-lab run --from quickstart --name colder --set optim.lr=1e-4
  coconut-lab run --replay quickstart --name again --set run.seed=1

To change a running run, save its recipe, or the config.toml in its run folder, which lists every key: the run
applies the change at its next step.

SIGTERM, SIGUSR1 and SIGUSR2 stop a run with a checkpoint, as schedulers expect, and so does Ctrl-C if the run is
headless. A step that takes longer than 5 s is given up and not counted. A second Ctrl-C ends the process at once, and so
does a second SIGTERM after 30 s.

With --or-resume a job that is started again goes on where it was:
  coconut-lab run --config my.toml --name mine --or-resume --headless

Exit codes: 0 finished or stopped by a key, 75 stopped by a signal and can be resumed, 1 failed, 2 wrong usage, 130 dropped without a checkpoint.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// Config file (TOML) to train from [default: configs/quickstart.toml, or its built-in copy]
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["from", "replay"])]
    config: Option<PathBuf>,
    /// Print progress lines instead of opening the dashboard; the default without a terminal.
    #[arg(long)]
    headless: bool,
    /// Number of updates of the whole run; short for --set run.steps=N.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Name of the run, part of its folder's name; short for --set run.name=NAME.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Resume the newest run of this name (--name, else the recipe's) if there is one that has not finished; else start one.
    ///
    /// If the newest one has finished, nothing is done. --steps and --set apply to a new run only.
    #[arg(long, conflicts_with_all = ["from", "replay"])]
    or_resume: bool,
    /// Override a config key, e.g. --set optim.lr=1e-4; may be given several times.
    ///
    /// Values are TOML. A curve over steps is a list of knots: [[STEP, VALUE], …].
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
    /// Start from a checkpoint of another run: its newest, or that of STEP.
    ///
    /// The new run takes over the config, weights, optimizer state, data position and step count; --fresh
    /// leaves some of these out. RUN is a run folder, its name in checkpoints/, a run's name or `last`.
    #[arg(long, value_name = "RUN[@STEP]")]
    from: Option<String>,
    /// Parts of the --from checkpoint to leave out, separated by commas: optimizer, data, step.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', requires = "from")]
    fresh: Vec<FreshPart>,
    /// Start as another run started, and apply its recorded config changes again at the same steps.
    #[arg(long, value_name = "RUN", conflicts_with = "from")]
    replay: Option<String>,
    /// Ignore later edits of the recipe: only the config.toml of the run folder changes the run.
    #[arg(long)]
    no_follow: bool,
    #[command(flatten)]
    display: DisplayArgs,
}

/// Arguments that set how the dashboard is drawn.
#[derive(Args, Clone, Copy)]
pub struct DisplayArgs {
    /// Draw with ASCII characters only; also enabled by the environment variable COCONUT_LAB_ASCII, and if the locale
    /// (LC_ALL, LC_CTYPE, LANG) is not UTF-8.
    #[arg(long)]
    ascii: bool,
}

impl DisplayArgs {
    /// Returns the dashboard's options for a run of this process.
    pub fn dashboard_options(self) -> DashboardOptions {
        let set = std::env::var_os("COCONUT_LAB_ASCII").is_some_and(|value| !value.is_empty());
        DashboardOptions { watching: false, ascii: self.ascii || set || !terminal::takes_unicode() }
    }
}

/// A part of a checkpoint that a fork may leave out.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FreshPart {
    /// Start with an empty optimizer state.
    Optimizer,
    /// Start at the beginning of the data.
    Data,
    /// Count steps from 0, which restarts all schedules.
    Step,
}

pub(super) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let (headless, display, or_resume) = (args.headless, args.display, args.or_resume);
    let mode = start_mode(args)?;
    match unfinished_run(&mode).filter(|_| or_resume) {
        None => start_and_follow(mode, headless, display),
        Some(UnfinishedRun::Finished(run)) => {
            output::print_error_line(format_args!("{} has finished: nothing to do", run.display()));
            Ok(ExitCode::SUCCESS)
        }
        Some(UnfinishedRun::ToResume(run)) => {
            let mode = StartMode::Resume { run, step: None, restart: false, overrides: Vec::new() };
            start_and_follow(mode, headless, display)
        }
    }
}

/// The newest run of a name.
enum UnfinishedRun {
    Finished(PathBuf),
    ToResume(PathBuf),
}

/// Returns the newest run in the recipe's folder of runs that has the recipe's name.
fn unfinished_run(mode: &StartMode) -> Option<UnfinishedRun> {
    let StartMode::New(recipe) = mode else { return None };
    let run = run_lookup::newest_of_name(Path::new(&recipe.config.run.dir), &recipe.config.run.name)?;
    // A status that cannot be read is what `resume` reports.
    let status = RunFolder::open(&run).ok().and_then(|folder| status::read_status(&folder).ok().flatten());
    let state = status.map(|status| status.state);
    Some(match state {
        Some(RunState::Finished) => UnfinishedRun::Finished(run),
        _ => UnfinishedRun::ToResume(run),
    })
}

/// Starts a trainer, follows it in the dashboard or headless, and reports how the run ended.
pub(super) fn start_and_follow(mode: StartMode, headless: bool, display: DisplayArgs) -> anyhow::Result<ExitCode> {
    let is_terminal = std::io::stdout().is_terminal();
    let dashboard = !headless && is_terminal && terminal::moves_cursor();
    if !headless && is_terminal && !dashboard {
        output::print_error_line(
            "TERM says that the terminal cannot move its cursor: printing lines, not the dashboard",
        );
    }
    if dashboard {
        tui::install_panic_hook();
    }
    let trainer = train::spawn(mode, TrainerOptions::new(dashboard)).context("cannot start the trainer's thread")?;
    let flags = Arc::new(SignalFlags::default());
    let stop_flags = flags.clone();
    let mut host = TrainerHost::default();
    signals::listen(host.handle(), flags.clone(), dashboard).context("cannot listen for signals")?;
    let ended = if dashboard {
        let link = host.attach(trainer);
        let left = tui::run(link, &mut host, flags, display.dashboard_options());
        run_ending(left, host)?
    } else {
        host.set_current(&trainer);
        RunEnding::WithSummary(Box::new(headless::follow_trainer(trainer)?))
    };
    report_ending(ended, stop_flags.stop.load(SeqCst))
}

/// Prints the summary of a run that did not fail, and returns the exit code. `by_signal`: a signal asked for the end.
pub(super) fn report_ending(ended: RunEnding, by_signal: bool) -> anyhow::Result<ExitCode> {
    match ended {
        RunEnding::WithSummary(summary) => {
            print_summary(&summary);
            if summary.stopped_early && by_signal {
                return Ok(ExitCode::from(signals::STOPPED_EARLY_EXIT_CODE));
            }
        }
        RunEnding::WithoutSummary => {}
        RunEnding::Dropped => {
            output::print_error_line("dropped the run without a checkpoint");
            return Ok(ExitCode::from(DROPPED_EXIT_CODE));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit code of a dropped run: the code of a process that Ctrl-C ended.
const DROPPED_EXIT_CODE: u8 = 130;

pub(super) enum RunEnding {
    /// Finished or stopped, with a summary.
    WithSummary(Box<RunSummary>),
    /// Finished or stopped, but the summary was lost with the screen.
    WithoutSummary,
    /// Dropped without a checkpoint: the user left the dashboard at once.
    Dropped,
}

/// Returns how the run starts: from a recipe, from a checkpoint, or as a replay.
fn start_mode(args: RunArgs) -> anyhow::Result<StartMode> {
    let mut sets = args.overrides;
    refuse_unknown_data(&sets)?;
    sets.extend(args.steps.map(|steps| format!("run.steps={steps}")));
    sets.extend(args.name.map(|name| format!("run.name={}", toml::Value::String(name))));
    if let Some(from) = &args.from {
        let (run, step) = run_lookup::run_folder_and_step(from)?;
        let has = |part| args.fresh.contains(&part);
        let fresh =
            ForkReset { optimizer: has(FreshPart::Optimizer), data: has(FreshPart::Data), step: has(FreshPart::Step) };
        return Ok(StartMode::Fork { run, step, reset: fresh, overrides: sets });
    }
    if let Some(run) = &args.replay {
        return Ok(StartMode::Replay { run: run_lookup::run_folder(run)?, overrides: sets });
    }
    let file = args.config.or_else(|| Some(PathBuf::from(QUICKSTART_FILE)).filter(|file| file.exists()));
    let (text, name) = match &file {
        Some(file) => (config::read_file(file)?, file.display().to_string()),
        None => (QUICKSTART.to_owned(), "the built-in quickstart".to_owned()),
    };
    let config = config::from_text(&text, &name, &sets)?;
    let follow = file.filter(|_| !args.no_follow).map(|file| std::path::absolute(&file).unwrap_or(file));
    Ok(StartMode::New(Box::new(Recipe { config, text, watched_file: follow })))
}

/// Refuses a `--set data.dir` that does not exist, unless `--set data.make` says that it is to be made: the recipe's
/// `data.make` speaks of the recipe's own folder, and a typo must not make another one.
fn refuse_unknown_data(sets: &[String]) -> anyhow::Result<()> {
    let value = |key: &str| sets.iter().rev().find_map(|set| set.strip_prefix(key)?.trim_start().strip_prefix('='));
    let (Some(dir), None) = (value("data.dir"), value("data.make")) else { return Ok(()) };
    let dir = Path::new(dir.trim().trim_matches(['"', '\'']));
    if dir.exists() {
        return Ok(());
    }
    let beside =
        std::fs::read_dir(dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    let names = beside.into_iter().flatten().flatten().map(|entry| entry.path());
    let similarity = |path: &PathBuf| strsim::jaro_winkler(&path.to_string_lossy(), &dir.to_string_lossy());
    let nearest = names.filter(|path| path.is_dir()).max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    let hint = nearest.filter(|path| similarity(path) > 0.8);
    bail_usage!(
        "--set data.dir={}: no such folder{}. To make a dataset there, add --set data.make=prosqa",
        dir.display(),
        hint.map_or(String::new(), |path| format!("; did you mean {}?", path.display()))
    )
}

/// Waits for the run to end, unless the dashboard `left` it to be dropped. A failed run is an error.
pub(super) fn run_ending(left: io::Result<ExitReason>, mut host: TrainerHost) -> anyhow::Result<RunEnding> {
    let summary = match left {
        Ok(ExitReason::RunEnded(summary) | ExitReason::Stopped(summary)) => summary,
        Ok(ExitReason::Failed(error)) => anyhow::bail!(error),
        Ok(ExitReason::StillRunning) => {
            host.drop_run();
            return Ok(RunEnding::Dropped);
        }
        // The terminal is gone, but the run continues to its end.
        Ok(ExitReason::HungUp) | Err(_) => {
            return match host.wait_for_end() {
                Some(Event::Finished(summary)) => Ok(RunEnding::WithSummary(summary)),
                Some(Event::Failed(error)) => anyhow::bail!(error),
                _ => Ok(RunEnding::WithoutSummary),
            };
        }
    };
    // The last event was read, so the trainer is about to end; a panic was reported already.
    host.wait_for_end();
    Ok(summary.map_or(RunEnding::WithoutSummary, |summary| RunEnding::WithSummary(Box::new(summary))))
}

/// Prints the summary. A closed pipe is no error: the run folder holds everything.
fn print_summary(summary: &RunSummary) {
    let pair = |name: &str, losses: Option<(f64, f64)>| {
        losses.map(|(first, last)| format!("  {name:<14} {first:.4} -> {last:.4} nats\n")).unwrap_or_default()
    };
    let accuracy = summary.losses.accuracy.map_or(String::new(), |(first, last)| {
        format!("  {:<14} {:.1} % -> {:.1} %\n", "right", first * 100.0, last * 100.0)
    });
    let reward = summary
        .losses
        .reward
        .map_or(String::new(), |(first, last)| format!("  {:<14} {first:.4} -> {last:.4}\n", "reward"));
    let recycled = match summary.losses.questions.or(summary.losses.reward) {
        Some(_) => String::new(),
        None => format!("  {:<14} {} steps\n", "recycled", summary.losses.recycled_steps),
    };
    let best = summary.best.as_ref().map_or(String::new(), |best| {
        format!("  {:<14} step {}, {} {:.4}\n", "best", best.step, best.metric, best.value)
    });
    let text = format!(
        "{} after {} steps, {} tokens, {:.1} s\n{}{}{}{}{}{}{reward}{accuracy}{recycled}  folder         {}\n{}{best}",
        if summary.stopped_early { "stopped" } else { "finished" },
        summary.steps,
        summary.tokens,
        summary.duration.as_secs_f64(),
        pair("plain", summary.losses.plain),
        pair("recycled", summary.losses.recycled),
        pair("validation", summary.losses.valid),
        pair("- recycled", summary.losses.valid_recycled),
        pair("- plain there", summary.losses.valid_plain_at_recycled),
        pair("questions", summary.losses.questions),
        summary.folder.display(),
        summary.checkpoint.as_ref().map_or(String::new(), |path| format!("  checkpoint     {}\n", path.display())),
    );
    let _ = output::stdout().write_all(text.as_bytes());
}
