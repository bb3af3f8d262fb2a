//! Owns: `watch`: the dashboard on a run folder, whoever runs it.
//! Must not know: what the files of a run hold.
//! Invariant: leaving it does nothing to the run.

use super::run::{Look, ended, say_end};
use super::station::Station;
use super::{find, follow, signals};
use crate::record::folder::RunFolder;
use crate::tui::{self, Asked, Link};
use anyhow::Context;
use clap::Args;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;

const EXAMPLES: &str = "Examples:
  coconut-lab watch last
  coconut-lab watch checkpoints/20261124-101500-quickstart

A run that goes on is steered from here by its settings: `:set optim.lr 1e-4`, space to pause. They are written into its
config file, which it follows.";

/// What `watch` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct WatchArgs {
    /// A run folder, its name in checkpoints/, the name of a run (the newest of it), or `last`.
    run: String,
    #[command(flatten)]
    look: Look,
}

/// Shows the run until it is left.
pub(super) fn run(args: WatchArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&find::run(&args.run)?)?;
    let (events_in, events) = sync_channel(4096);
    let (commands, asked_for) = sync_channel(64);
    tui::install_panic_hook();
    let asked = Arc::new(Asked::default());
    // The run may be taken up again from here: then it is this process's.
    let mut station = Station::default();
    signals::listen(station.ears(), asked.clone(), true).context("cannot listen for signals")?;
    std::thread::Builder::new()
        .name("follow".into())
        .spawn(move || follow::follow(folder, events_in, &asked_for))
        .context("cannot start a thread")?;
    let link = Link { events, commands, dropped: Arc::new(AtomicU64::new(0)) };
    let left = tui::run(link, &mut station, asked, args.look.wishes(true));
    if station.has_run() {
        return say_end(ended(left, station)?);
    }
    // How a run of another process ended is not this one's success or failure.
    left.context("the dashboard needs a terminal")?;
    Ok(ExitCode::SUCCESS)
}
