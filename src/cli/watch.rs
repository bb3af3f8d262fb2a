//! Owns: `watch`: the dashboard on a run folder, whichever process runs it.
//! Must not know: what the files of a run hold.
//! Invariant: closing the dashboard does not affect the run.

use super::bail_usage;
use super::run::{DisplayArgs, report_ending, run_ending};
use super::terminal;
use super::trainer_host::TrainerHost;
use super::{run_link, run_lookup, signals};
use crate::tui::{self, DashboardOptions, SignalFlags};
use anyhow::Context;
use clap::Args;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

const EXAMPLES: &str = "Examples:
  coconut-lab watch last
  coconut-lab watch checkpoints/20261124-101500-quickstart

All keys of the run's own dashboard work here: space pauses and continues, s steps, n notes, `:set optim.lr 1e-4`,
`:checkpoint`, `:ask`, `:stop`. They are left in the run folder as requests, and the run takes them at its next step. q
leaves the run alone. `coconut-lab control` does the same for scripts.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct WatchArgs {
    /// Run: a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`.
    run: String,
    #[command(flatten)]
    display: DisplayArgs,
}

/// Shows the run until the user leaves the dashboard.
pub(super) fn run(args: WatchArgs) -> anyhow::Result<ExitCode> {
    if !terminal::moves_cursor() {
        bail_usage!(
            "TERM says that the terminal cannot move its cursor, which the dashboard needs; `coconut-lab snapshot` \
                     writes it to a file"
        );
    }
    let link = run_link::follow_run(&run_lookup::run_folder(&args.run)?)?;
    tui::install_panic_hook();
    let flags = Arc::new(SignalFlags::default());
    let stop_flags = flags.clone();
    // The dashboard can resume the run: then it belongs to this process.
    let mut host = TrainerHost::default();
    signals::listen(host.handle(), flags.clone(), true).context("cannot listen for signals")?;
    let options = DashboardOptions { watching: true, ..args.display.dashboard_options() };
    let left = tui::run(link, &mut host, flags, options);
    if host.has_run() {
        return report_ending(run_ending(left, host)?, stop_flags.stop.load(SeqCst));
    }
    // A failed run of another process is not a failure of `watch`.
    left.context("the dashboard needs a terminal")?;
    Ok(ExitCode::SUCCESS)
}
