//! Owns: how the making of an experiment's runs is shown: as lines, or on the dashboard of several runs.
//! Must not know: which run is next, how a run is trained.
//! Invariant: leaving the dashboard stops the work with a checkpoint.

use crate::cli::multi_run_reader::{self, RunSource};
use crate::cli::run::DisplayArgs;
use crate::cli::trainer_host::TrainerHost;
use crate::cli::{headless, output};
use crate::experiment::plan::Experiment;
use crate::schema::metrics::Metric;
use crate::schema::multi_run::WorkUpdate;
use crate::schema::protocol::{Command, Event, RunSummary};
use crate::train::Trainer;
use crate::tui::{self, MultiRunLink, MultiRunOptions, SignalFlags};
use anyhow::Context;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Where it is said how the work goes.
pub(super) enum Reporter {
    /// Lines on standard error, progress of each run as `run --headless` prints it.
    Lines,
    /// The status line of a dashboard; whether to stop comes back.
    Screen { updates: Sender<WorkUpdate>, stop: Receiver<()> },
}

impl Reporter {
    pub fn report_status(&self, text: &str) {
        match self {
            Reporter::Lines => output::print_error_line(text),
            // The screen may be gone.
            Reporter::Screen { updates, .. } => drop(updates.send(WorkUpdate::Status(text.to_owned()))),
        }
    }

    /// Says how the work has ended.
    pub fn report_end(&self, text: &str) {
        match self {
            Reporter::Lines => output::print_error_line(text),
            Reporter::Screen { updates, .. } => drop(updates.send(WorkUpdate::Ended(text.to_owned()))),
        }
    }

    /// Follows a run to its end.
    pub fn follow(&self, trainer: Trainer, name: &str) -> anyhow::Result<RunSummary> {
        match self {
            Reporter::Lines => headless::follow_trainer(trainer),
            Reporter::Screen { stop, .. } => self.follow_silently(trainer, name, stop),
        }
    }

    fn follow_silently(&self, trainer: Trainer, name: &str, stop: &Receiver<()>) -> anyhow::Result<RunSummary> {
        let mut info = None;
        loop {
            if stop.try_recv().is_ok() {
                let _ = trainer.commands.send(Command::Stop);
            }
            match trainer.events.recv_timeout(Duration::from_millis(100)) {
                Ok(Event::Started(started)) => info = Some(started),
                Ok(Event::Step(row)) if row.step() > 0 => {
                    let steps = info.as_ref().map_or(0, |info| info.config.run.expected_steps(&row.work_done()));
                    self.report_status(&format!("{name}: step {} of {steps}", row.step()));
                }
                Ok(Event::Finished(summary)) => {
                    let _ = trainer.thread.join();
                    return Ok(*summary);
                }
                Ok(Event::Failed(error)) => anyhow::bail!(error),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the trainer ended without a last event"),
            }
        }
    }
}

/// Runs `work` beside the dashboard of the experiment's runs. Returns its exit code.
pub(super) fn run(
    experiment: &Experiment,
    flags: Arc<SignalFlags>,
    display: DisplayArgs,
    work: impl FnOnce(Reporter) -> anyhow::Result<ExitCode> + Send,
) -> anyhow::Result<ExitCode> {
    tui::install_panic_hook();
    let (updates, work_updates) = channel();
    let (stop_sender, stop) = channel();
    let dir = experiment.spec.dir.clone();
    let runs =
        multi_run_reader::start(RunSource::Folder(dir.clone())).context("cannot start the reader of the runs")?;
    let options =
        MultiRunOptions { ascii: display.dashboard_options().ascii, metric: Metric::find(&experiment.spec.primary) };
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| work(Reporter::Screen { updates, stop }));
        let link = MultiRunLink { dir, updates: runs, work: Some(work_updates) };
        let left = tui::watch_runs(link, &mut TrainerHost::default(), flags.clone(), options);
        // The dashboard was left, or its terminal is gone: the work ends, unless it has ended.
        if left.is_ok() && !worker.is_finished() {
            flags.stop.store(true, SeqCst);
            let _ = stop_sender.send(());
            output::print_error_line("stopping the run with a checkpoint");
        }
        let ended = worker.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the work ended with a panic")));
        output::print_error_line(format_args!("coconut-lab experiment status {}", experiment.file.display()));
        ended
    })
}
