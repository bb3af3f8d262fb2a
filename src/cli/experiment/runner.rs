//! Owns: making the runs of an experiment, one after another, beside other processes that do the same.
//! Must not know: how a run is trained, what an experiment compares.
//! Invariant: a run is made only by the process that holds its claim.

use super::RunExperimentArgs;
use super::screen::{self, Reporter};
use crate::cli::trainer_host::TrainerHost;
use crate::cli::{signals, terminal};
use crate::experiment::claim::{ClaimOutcome, claim_run};
use crate::experiment::declaration::record_declaration;
use crate::experiment::plan::{Experiment, PlannedRun};
use crate::experiment::progress::{PlannedRunState, ProgressState};
use crate::train::{self, Recipe, StartMode, TrainerOptions};
use crate::tui::{DashboardHost, SignalFlags};
use anyhow::Context;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Pause between two looks at runs that other processes make.
const WAIT: Duration = Duration::from_secs(2);

/// Makes those of `runs` that are missing, and waits for those that other processes make.
pub(super) fn run(
    experiment: &Experiment,
    runs: &[&PlannedRun],
    args: &RunExperimentArgs,
    host: TrainerHost,
    flags: Arc<SignalFlags>,
) -> anyhow::Result<ExitCode> {
    refuse_differing(experiment, runs)?;
    let existing = experiment.progress().iter().filter(|progress| progress.folder.is_some()).count();
    record_declaration(&experiment.spec, existing)?;
    let runner = Runner {
        experiment,
        host,
        flags: flags.clone(),
        reporter: Reporter::Lines,
        retry_failed: args.retry_failed,
        failed: Vec::new(),
        waits: false,
    };
    match opens_dashboard(args) {
        false => runner.run_all(runs),
        true => screen::run(experiment, flags, args.display, |reporter| Runner { reporter, ..runner }.run_all(runs)),
    }
}

/// Whether the dashboard is opened.
pub(super) fn opens_dashboard(args: &RunExperimentArgs) -> bool {
    !args.headless && std::io::stdout().is_terminal() && terminal::moves_cursor()
}

/// Refuses runs whose folders have another config than planned: making them again would mix two experiments.
fn refuse_differing(experiment: &Experiment, runs: &[&PlannedRun]) -> anyhow::Result<()> {
    for run in runs {
        let progress = experiment.progress_of(run);
        if let (ProgressState::Differs(keys), Some(folder)) = (&progress.state, &progress.folder) {
            anyhow::bail!(
                "{} is not the run {} of {}: {}. Give the arm another name, or delete the run: coconut-lab runs delete {}",
                folder.display(),
                run.name,
                experiment.file.display(),
                keys.join("; "),
                folder.display()
            );
        }
    }
    Ok(())
}

#[derive(Default)]
struct PassCounts {
    made: usize,
    waiting: usize,
}

/// What became of a run that was looked at.
enum Visit {
    /// It needs nothing more.
    Done,
    /// This process has made it now.
    Made,
    /// Another process has it, or the run that it starts from.
    Waits,
    /// The run that it starts from was made now, or has failed.
    WasPrepared,
    /// A signal asks this process to end.
    Stopped,
}

struct Runner<'a> {
    experiment: &'a Experiment,
    host: TrainerHost,
    flags: Arc<SignalFlags>,
    reporter: Reporter,
    retry_failed: bool,
    /// Names of failed runs, with their errors.
    failed: Vec<(String, String)>,
    /// Whether the wait for other processes was said.
    waits: bool,
}

impl Runner<'_> {
    /// Makes all runs, and returns the exit code.
    fn run_all(mut self, runs: &[&PlannedRun]) -> anyhow::Result<ExitCode> {
        loop {
            let mut counts = PassCounts::default();
            for run in runs {
                match self.visit(run)? {
                    Visit::Stopped => {
                        let file = self.experiment.file.display();
                        self.reporter.report_end(&format!("stopped; go on with: coconut-lab experiment run {file}"));
                        return Ok(ExitCode::from(signals::STOPPED_EARLY_EXIT_CODE));
                    }
                    Visit::Made => counts.made += 1,
                    Visit::Waits => counts.waiting += 1,
                    Visit::WasPrepared => (counts.made, counts.waiting) = (counts.made + 1, counts.waiting + 1),
                    Visit::Done => {}
                }
            }
            if counts.waiting == 0 {
                return Ok(self.finish(runs));
            }
            if counts.made == 0 {
                self.wait(counts.waiting);
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.flags.stop.load(SeqCst)
    }

    fn visit(&mut self, run: &PlannedRun) -> anyhow::Result<Visit> {
        if self.is_stopping() {
            return Ok(Visit::Stopped);
        }
        if self.failed.iter().any(|(name, _)| *name == run.name) {
            return Ok(Visit::Done);
        }
        let progress = self.experiment.progress_of(run);
        match &progress.state {
            ProgressState::Finished => return Ok(Visit::Done),
            ProgressState::Failed(error) if !self.retry_failed => {
                return Ok(self.note_failure(run, error.clone()));
            }
            ProgressState::Running => return Ok(Visit::Waits),
            ProgressState::Differs(keys) => {
                return Ok(self.note_failure(run, format!("its folder has another config: {}", keys.join("; "))));
            }
            ProgressState::Failed(_) | ProgressState::Missing | ProgressState::Unfinished => {}
        }
        let start = self.experiment.start_of(run).map(|start| (start, self.experiment.progress_of(start).state));
        if let Some((start, state)) = start.filter(|(_, state)| *state != ProgressState::Finished) {
            return match self.failed.iter().any(|(name, _)| *name == start.name) {
                true => Ok(self.note_failure(run, format!("it starts from {}, which failed", start.name))),
                false if state == ProgressState::Running => Ok(Visit::Waits),
                // Whoever needs it makes it: this run is looked at again when it is there.
                false => Ok(match self.visit(start)? {
                    Visit::Stopped => Visit::Stopped,
                    Visit::Waits => Visit::Waits,
                    Visit::Made | Visit::Done | Visit::WasPrepared => Visit::WasPrepared,
                }),
            };
        }
        let ClaimOutcome::Held(_claim) = claim_run(&self.experiment.spec.dir, &run.name)? else {
            return Ok(Visit::Waits);
        };
        // Another process may have made it before the claim.
        let progress = self.experiment.progress_of(run);
        match progress.state {
            ProgressState::Finished => Ok(Visit::Done),
            ProgressState::Running => Ok(Visit::Waits),
            _ => self.make(run, &progress),
        }
    }

    fn note_failure(&mut self, run: &PlannedRun, error: String) -> Visit {
        self.reporter.report_status(&format!("{} failed: {error}", run.name));
        self.failed.push((run.name.clone(), error));
        Visit::Done
    }

    /// Makes a run, or continues it.
    fn make(&mut self, run: &PlannedRun, progress: &PlannedRunState) -> anyhow::Result<Visit> {
        let number = self.experiment.runs.iter().position(|other| other.name == run.name).unwrap_or(0) + 1;
        let verb = if progress.folder.is_some() { "continuing" } else { "starting" };
        self.reporter.report_status(&format!("{verb} {} ({number} of {})", run.name, self.experiment.runs.len()));
        let mode = match self.start_mode(run, progress) {
            Ok(mode) => mode,
            Err(error) => return Ok(self.note_failure(run, error)),
        };
        let trainer = train::spawn(mode, TrainerOptions::new(false)).context("cannot start the trainer's thread")?;
        self.host.set_current(&trainer);
        let ended = self.reporter.follow(trainer, &run.name);
        self.host.discard_trainer();
        match ended {
            Ok(summary) if summary.stopped_early => match self.is_stopping() {
                true => Ok(Visit::Stopped),
                // Stopped by a request from outside, such as `control stop`: it is left alone in this call.
                false => Ok(self.note_failure(run, "stopped from outside".into())),
            },
            Ok(_) => Ok(Visit::Made),
            Err(error) => Ok(self.note_failure(run, format!("{error:#}"))),
        }
    }

    fn start_mode(&self, run: &PlannedRun, progress: &PlannedRunState) -> Result<StartMode, String> {
        if let Some(folder) = &progress.folder {
            return Ok(StartMode::Resume { run: folder.clone(), step: None, restart: false, overrides: Vec::new() });
        }
        let mut config = run.config.clone();
        if let Some(checkpoint) = self.experiment.start_checkpoint(run)? {
            config.model.from = checkpoint.to_string_lossy().into_owned();
        }
        let text = self.experiment.base_text.clone();
        Ok(StartMode::New(Box::new(Recipe { config, text, watched_file: None })))
    }

    /// Waits a moment for other processes. Says so once.
    fn wait(&mut self, count: usize) {
        if !std::mem::replace(&mut self.waits, true) {
            self.reporter.report_status(&format!("waiting for {count} runs that other processes make"));
        }
        std::thread::sleep(WAIT);
    }

    /// Says how it ended, and returns the exit code.
    fn finish(&self, runs: &[&PlannedRun]) -> ExitCode {
        let is_finished = |run: &&&PlannedRun| self.experiment.progress_of(run).state == ProgressState::Finished;
        self.reporter.report_end(&format!(
            "{} of {} runs are finished; coconut-lab experiment report {}",
            runs.iter().filter(is_finished).count(),
            runs.len(),
            self.experiment.file.display()
        ));
        ExitCode::from(u8::from(!self.failed.is_empty()))
    }
}
