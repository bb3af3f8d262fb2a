//! Owns: `run`: a config file and its overrides to a running trainer and the screen that follows it.
//! Must not know: what the trainer does, what the dashboard draws.
//! Invariant: a run that failed ends with exit code 1 and its error on standard error.

use super::{headless, signals};
use crate::config::{self, Config};
use crate::message::{Command, Summary};
use crate::train::{self, Trainer, Wants};
use crate::tui::{self, Left};
use anyhow::Context;
use clap::Args;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The recipe of a run without `--config`, and where it is looked for first.
const QUICKSTART: &str = include_str!("../../configs/quickstart.toml");
const QUICKSTART_FILE: &str = "configs/quickstart.toml";

pub(super) const EXAMPLES: &str = "Examples:
  coconut-lab                                             the quickstart, in the dashboard
  coconut-lab run --config configs/shakespeare.toml       another recipe
  coconut-lab run --headless --steps 300                  without a screen, for 300 steps
  coconut-lab run --set recycle.every=2 --set 'recycle.fraction=[[0, 0.0], [500, 0.3]]'
  coconut-lab run --set model.from=path/to/hugging-face-folder --set data.dir=datasets/mine";

/// What `run` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// The config file; without it, configs/quickstart.toml.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print lines instead of opening the dashboard; so too where standard output is no terminal.
    #[arg(long)]
    headless: bool,
    /// Number of updates; short for --set run.steps=N.
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Name of the run; short for --set run.name=NAME.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Override a config value; may be given several times.
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    overrides: Vec<String>,
}

/// Runs, and says how it ended.
pub(super) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let config = load(&args)?;
    let dashboard = !args.headless && std::io::stdout().is_terminal();
    if dashboard {
        tui::install_panic_hook();
    }
    let trainer =
        train::spawn(config, Wants { token_rows: dashboard }).context("cannot start the trainer's thread")?;
    let asked = Arc::new(AtomicBool::new(false));
    signals::listen(trainer.commands.clone(), asked.clone()).context("cannot listen for signals")?;
    let ended = if dashboard { watch(trainer, asked)? } else { Ended::Told(headless::follow(trainer)?) };
    match ended {
        Ended::Told(summary) => say(&summary),
        Ended::Silent => {}
        Ended::Dropped => {
            eprintln!("left at once: the run was dropped, without a checkpoint");
            return Ok(ExitCode::from(DROPPED));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Exit code of a run that was left at once, as of a process that Ctrl-C ended.
const DROPPED: u8 = 130;

/// How a run ended that did not fail.
enum Ended {
    /// With a summary.
    Told(Summary),
    /// Stopped as asked, but its summary did not reach the screen.
    Silent,
    /// The screen was left while it was at work.
    Dropped,
}

fn load(args: &RunArgs) -> anyhow::Result<Config> {
    let mut overrides = args.overrides.clone();
    overrides.extend(args.steps.map(|steps| format!("run.steps={steps}")));
    overrides
        .extend(args.name.as_ref().map(|name| format!("run.name={}", toml::Value::String(name.clone()))));
    let loaded = match &args.config {
        Some(file) => config::load(file, &overrides),
        None if Path::new(QUICKSTART_FILE).exists() => config::load(Path::new(QUICKSTART_FILE), &overrides),
        None => config::from_text(QUICKSTART, "the built-in quickstart", &overrides),
    };
    Ok(loaded?)
}

fn watch(trainer: Trainer, asked: Arc<AtomicBool>) -> anyhow::Result<Ended> {
    let Trainer { events, commands, dropped, thread } = trainer;
    let summary = match tui::run(events, commands.clone(), dropped, asked) {
        Ok(Left::Over(summary) | Left::Stopped(summary)) => summary,
        Ok(Left::Failed(error)) => anyhow::bail!(error),
        Ok(Left::AtOnce) => {
            let _ = commands.try_send(Command::Drop);
            let until = Instant::now() + LAST_WORDS;
            while !thread.is_finished() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            return Ok(Ended::Dropped);
        }
        Err(error) => {
            // The terminal is gone; the run is not lost with it.
            let _ = commands.send(Command::Stop);
            let _ = thread.join();
            return Err(error).context("the terminal failed; the run was stopped");
        }
    };
    // Its last event was read, so it is about to end; a panic has been told already.
    let _ = thread.join();
    Ok(summary.map_or(Ended::Silent, Ended::Told))
}

/// How long a run that is dropped may take to end its step and write its last metrics.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Prints the summary. A closed pipe is no error: the run folder has it all.
fn say(summary: &Summary) {
    let pair = |name: &str, losses: Option<(f64, f64)>| {
        losses.map(|(first, last)| format!("  {name:<12} {first:.4} -> {last:.4} nats\n")).unwrap_or_default()
    };
    let text = format!(
        "{} after {} steps, {} tokens, {:.1} s\n{}{}{}  recycled     {} steps\n  folder       {}\n{}",
        if summary.stopped { "stopped" } else { "finished" },
        summary.steps,
        summary.tokens,
        summary.took.as_secs_f64(),
        pair("plain", summary.loss_plain),
        pair("recycled", summary.loss_recycled),
        pair("validation", summary.valid_plain),
        summary.recycled_steps,
        summary.folder.display(),
        summary
            .checkpoint
            .as_ref()
            .map_or(String::new(), |path| format!("  checkpoint   {}\n", path.display())),
    );
    let _ = std::io::stdout().write_all(text.as_bytes());
}
