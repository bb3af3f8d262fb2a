//! Owns: switching from one trainer to another in the same dashboard, and notes for a run without a trainer.
//! Must not know: how a trainer is started (the host does that).
//! Invariant: if the new trainer cannot start, everything is restored.

use super::MainLoop;
use crate::schema::metrics::Metric;
use crate::schema::protocol::{Command, ConfigUpdate, Event, LogLevel, RunPhase};
use crate::schema::rows::RunPosition;
use crate::tui::TrainerLink;
use crate::tui::model::state::TrainerStatus;

/// Why this process cannot train the run that is shown.
const TRAINS_ANOTHER: &str = "this process trains another run; q leads back to it";

/// What to restore if the new trainer cannot start.
pub(super) struct PreviousSession {
    link: TrainerLink,
    connected: bool,
    status: TrainerStatus,
    phase: Option<RunPhase>,
    watching: bool,
}

/// An action that waits for the end of the run.
pub(super) enum PendingAction {
    Fork(String, Vec<String>),
}

impl MainLoop<'_> {
    pub(super) fn resume(&mut self, steps: Option<u64>) {
        if self.trains_parked_run() {
            return self.report_error(TRAINS_ANOTHER.into());
        }
        let Some(run) = &self.app.state.run else {
            return self.app.view.refuse("there is no run to resume");
        };
        let link = self.host.resume(&run.folder, steps);
        self.connect(link);
    }

    /// Forks the run. A run of this process is stopped first; its last checkpoint is the start of the fork.
    pub(super) fn fork_when_over(&mut self, name: String, sets: Vec<String>) {
        if self.trains_parked_run() {
            return self.report_error(TRAINS_ANOTHER.into());
        }
        if self.app.state.is_over() || self.app.view.watching {
            return self.fork(&name, &sets);
        }
        self.pending_action = Some(PendingAction::Fork(name, sets));
        self.app.view.stopping = true;
        self.pending_commands.push_back(Command::Stop);
    }

    pub(super) fn fork(&mut self, name: &str, sets: &[String]) {
        let Some(run) = &self.app.state.run else {
            return self.app.view.refuse("there is no run to fork from");
        };
        let link = self.host.fork(&run.folder, name, sets);
        self.connect(link);
    }

    fn connect(&mut self, link: Result<TrainerLink, String>) {
        let (state, view) = (&mut self.app.state, &mut self.app.view);
        match link {
            Ok(link) => {
                self.previous = Some(PreviousSession {
                    link: std::mem::replace(&mut self.link, link),
                    connected: std::mem::replace(&mut self.connected, true),
                    status: state.status.clone(),
                    phase: state.phase,
                    watching: std::mem::take(&mut view.watching),
                });
                self.pending_commands.clear();
                state.reset_for_new_trainer();
            }
            Err(error) => self.report_error(error),
        }
    }

    /// Restores the previous session, because the new trainer could not start.
    pub(super) fn restore_previous(&mut self, error: String) {
        if let Some(previous) = self.previous.take() {
            (self.link, self.connected) = (previous.link, previous.connected);
            (self.app.state.status, self.app.state.phase) = (previous.status, previous.phase);
            self.app.view.watching = previous.watching;
            self.host.discard_trainer();
        }
        // The trainer has already logged the error.
        self.app.view.refuse(error);
    }

    /// Reports the error of a request, in the log and as a hint.
    pub(super) fn report_error(&mut self, error: String) {
        self.app.view.refuse(error.clone());
        self.app.state.log_message(LogLevel::Error, error);
    }

    /// Writes a note into the record of a run that no trainer of this process has open.
    pub(super) fn write_note(&mut self, text: &str) {
        let state = &self.app.state;
        let Some(run) = &state.run else { return };
        let tokens = state.metrics.latest(Metric::Tokens).unwrap_or(0.0) as u64;
        let at = RunPosition { step: state.current_step(), tokens, version: state.config_version() };
        match self.host.write_note(&run.folder, at, text) {
            // The reader of a watched run reports the note itself.
            Ok(_) if self.app.view.watching => {}
            Ok(row) => {
                let changed = ConfigUpdate { config: run.config.clone(), version: run.version, rows: vec![row] };
                self.app.apply(Event::ConfigChanged(Box::new(changed)), self.opened_at.elapsed());
            }
            Err(error) => self.report_error(error),
        }
    }
}
