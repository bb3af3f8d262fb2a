//! Owns: `run`: a config file and its overrides to a running trainer and the screen that follows it.
//! Must not know: what the trainer does, what the dashboard draws.
//! Invariant: a run that failed ends with exit code 1 and its error on standard error.

use super::station::Station;
use super::{find, headless, signals};
use crate::config;
use crate::message::{Event, Summary};
use crate::train::{self, Begin, Fresh, Recipe, Wants};
use crate::tui::{self, Asked, Left, Wishes};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// The recipe of a run without `--config`, and where it is looked for first.
const QUICKSTART: &str = include_str!("../../configs/quickstart.toml");
const QUICKSTART_FILE: &str = "configs/quickstart.toml";

pub(super) const EXAMPLES: &str = "Examples:
  coconut-lab                                             the quickstart, in the dashboard
  coconut-lab run --config configs/shakespeare.toml       another recipe
  coconut-lab run --headless --steps 300                  without a screen, for 300 steps
  coconut-lab run --set recycle.every=2 --set 'recycle.fraction=[[0, 0.0], [500, 0.3]]'
  coconut-lab run --set model.from=path/to/hugging-face-folder --set data.dir=datasets/mine
  coconut-lab run --from quickstart@1000 --name colder --set optim.lr=1e-4
  coconut-lab run --replay quickstart --name again --set run.seed=1

While it runs, saving the recipe, or config.toml in the run's folder, changes it at the next step.";

/// What `run` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// The config file; without it, configs/quickstart.toml.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["from", "replay"])]
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
    /// Begin with another run's checkpoint (its newest, or that of a step), its optimizer and its place in the data.
    #[arg(long, value_name = "RUN[@STEP]")]
    from: Option<String>,
    /// What does not come along with --from: optimizer, data, step.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', requires = "from")]
    fresh: Vec<Afresh>,
    /// Begin as another run began, and do its recorded changes again at their steps.
    #[arg(long, value_name = "RUN", conflicts_with = "from")]
    replay: Option<String>,
    /// Do not follow the recipe: only config.toml in the run's folder changes the run.
    #[arg(long)]
    no_follow: bool,
    #[command(flatten)]
    look: Look,
}

/// How the dashboard is to look.
#[derive(Args, Clone, Copy)]
pub struct Look {
    /// Draw with ASCII characters alone; so too where COCONUT_LAB_ASCII is set.
    #[arg(long)]
    ascii: bool,
}

impl Look {
    /// As the dashboard wants to know it; `watching` a run of another process.
    pub fn wishes(self, watching: bool) -> Wishes {
        let set = std::env::var_os("COCONUT_LAB_ASCII").is_some_and(|value| !value.is_empty());
        Wishes { watching, ascii: self.ascii || set }
    }
}

/// What a fork may begin afresh.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Afresh {
    /// The optimizer's state.
    Optimizer,
    /// The place in the data.
    Data,
    /// The count of steps, and with it the schedules.
    Step,
}

/// Runs, and says how it ended.
pub(super) fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let headless = args.headless;
    let look = args.look;
    start(begin(args)?, headless, look)
}

/// Starts a trainer that begins so, follows it, and says how it ended.
pub(super) fn start(begin: Begin, headless: bool, look: Look) -> anyhow::Result<ExitCode> {
    let dashboard = !headless && std::io::stdout().is_terminal();
    if dashboard {
        tui::install_panic_hook();
    }
    let trainer =
        train::spawn(begin, Wants { screen: dashboard }).context("cannot start the trainer's thread")?;
    let asked = Arc::new(Asked::default());
    let mut station = Station::default();
    signals::listen(station.ears(), asked.clone(), dashboard).context("cannot listen for signals")?;
    let ended = if dashboard {
        let link = station.take(trainer);
        let left = tui::run(link, &mut station, asked, look.wishes(false));
        ended(left, station)?
    } else {
        station.hear(trainer.commands.clone());
        Ended::Told(headless::follow(trainer)?)
    };
    say_end(ended)
}

/// Says how it ended.
pub(super) fn say_end(ended: Ended) -> anyhow::Result<ExitCode> {
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
pub(super) enum Ended {
    /// With a summary.
    Told(Summary),
    /// Stopped as asked, but its summary did not reach the screen.
    Silent,
    /// The screen was left while it was at work.
    Dropped,
}

fn begin(args: RunArgs) -> anyhow::Result<Begin> {
    let mut sets = args.overrides;
    sets.extend(args.steps.map(|steps| format!("run.steps={steps}")));
    sets.extend(args.name.map(|name| format!("run.name={}", toml::Value::String(name))));
    if let Some(from) = &args.from {
        let (run, step) = find::run_at(from)?;
        let is = |what| args.fresh.contains(&what);
        let fresh =
            Fresh { optimizer: is(Afresh::Optimizer), data: is(Afresh::Data), step: is(Afresh::Step) };
        return Ok(Begin::Fork { run, step, fresh, sets });
    }
    if let Some(run) = &args.replay {
        return Ok(Begin::Replay { run: find::run(run)?, sets });
    }
    let file = args.config.or_else(|| Some(PathBuf::from(QUICKSTART_FILE)).filter(|file| file.exists()));
    let (text, name) = match &file {
        Some(file) => (config::read(file)?, file.display().to_string()),
        None => (QUICKSTART.to_owned(), "the built-in quickstart".to_owned()),
    };
    let config = config::from_text(&text, &name, &sets)?;
    let follow = file.filter(|_| !args.no_follow).map(|file| std::path::absolute(&file).unwrap_or(file));
    Ok(Begin::New(Box::new(Recipe { config, text, follow })))
}

/// How a run of this process ended whose dashboard was left so.
pub(super) fn ended(left: io::Result<Left>, mut station: Station) -> anyhow::Result<Ended> {
    let summary = match left {
        Ok(Left::Over(summary) | Left::Stopped(summary)) => summary,
        Ok(Left::Failed(error)) => anyhow::bail!(error),
        Ok(Left::AtOnce) => {
            station.drop_run();
            return Ok(Ended::Dropped);
        }
        // The terminal is gone; the run is not lost with it.
        Ok(Left::HungUp) | Err(_) => {
            return match station.join() {
                Some(Event::Finished(summary)) => Ok(Ended::Told(*summary)),
                Some(Event::Failed(error)) => anyhow::bail!(error),
                _ => Ok(Ended::Silent),
            };
        }
    };
    // Its last event was read, so it is about to end; a panic has been told already.
    station.join();
    Ok(summary.map_or(Ended::Silent, Ended::Told))
}

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
