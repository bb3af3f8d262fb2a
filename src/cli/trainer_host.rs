//! Owns: the trainer of this process: its thread, and the channel for commands to it.
//! Must not know: what a trainer does, what the dashboard draws.
//! Invariant: there is at most one trainer at a time; signals reach the current one.

use super::{export, run_link, run_list_reader, run_lookup};
use crate::schema::protocol::{Command, Event, LogLevel};
use crate::schema::rows::{ChangeRow, RunPosition};
use crate::train::{self, ForkReset, StartMode, Trainer, TrainerOptions};
use crate::tui::{DashboardHost, HostMessage, RunListLink, TrainerLink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a dropped run may take to end its step and write its last metrics.
const DROP_TIMEOUT: Duration = Duration::from_secs(3);

/// The current trainer, if there is one, for those outside the dashboard.
#[derive(Clone, Default)]
pub(super) struct TrainerHandle(Arc<Mutex<Option<CurrentTrainer>>>);

struct CurrentTrainer {
    commands: SyncSender<Command>,
    preparing: Arc<AtomicBool>,
}

impl TrainerHandle {
    fn set(&self, current: Option<CurrentTrainer>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = current;
    }

    /// Returns the command channel of the current trainer.
    pub fn commands(&self) -> Option<SyncSender<Command>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|current| current.commands.clone())
    }

    /// Whether the current trainer has no run folder yet.
    pub fn is_preparing(&self) -> bool {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        current.as_ref().is_some_and(|current| current.preparing.load(Ordering::SeqCst))
    }
}

/// Hosts the trainer of this process. The dashboard can replace it by resuming or forking a run.
#[derive(Default)]
pub(super) struct TrainerHost {
    thread: Option<JoinHandle<Event>>,
    current: TrainerHandle,
}

impl TrainerHost {
    /// Returns a handle that always sends to the current trainer.
    pub fn handle(&self) -> TrainerHandle {
        self.current.clone()
    }

    /// Makes `trainer` the current one.
    pub fn set_current(&self, trainer: &Trainer) {
        let (commands, preparing) = (trainer.commands.clone(), trainer.preparing.clone());
        self.current.set(Some(CurrentTrainer { commands, preparing }));
    }

    /// Keeps the trainer's thread and command channel, and returns the dashboard's end of the trainer.
    pub fn attach(&mut self, trainer: Trainer) -> TrainerLink {
        self.set_current(&trainer);
        let Trainer { events, commands, dropped_frames: dropped, thread, .. } = trainer;
        self.thread = Some(thread);
        TrainerLink { events, commands, dropped_frames: dropped }
    }

    pub fn has_run(&self) -> bool {
        self.thread.is_some()
    }

    /// Waits for the trainer to end, and returns its last event; none without a trainer or after a panic.
    pub fn wait_for_end(&mut self) -> Option<Event> {
        self.thread.take()?.join().ok()
    }

    /// Drops the run without a checkpoint. Its last metrics get up to [`DROP_TIMEOUT`] to be written.
    pub fn drop_run(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if let Some(commands) = self.current.commands() {
            let _ = commands.try_send(Command::StopWithoutCheckpoint);
        }
        let deadline = Instant::now() + DROP_TIMEOUT;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts a trainer in place of the current one, which must have sent its last event.
    fn start_trainer(&mut self, mode: StartMode) -> Result<TrainerLink, String> {
        // The previous trainer's lock on the run is released when its thread has ended.
        self.wait_for_end();
        let trainer = train::spawn(mode, TrainerOptions::new(true))
            .map_err(|error| format!("cannot start the trainer's thread: {error}"))?;
        Ok(self.attach(trainer))
    }
}

impl DashboardHost for TrainerHost {
    fn resume(&mut self, run: &Path, steps: Option<u64>) -> Result<TrainerLink, String> {
        let sets = steps.map(|steps| format!("run.steps={steps}")).into_iter().collect();
        self.start_trainer(StartMode::Resume { run: run.to_owned(), step: None, restart: false, overrides: sets })
    }

    fn fork(&mut self, run: &Path, name: &str, sets: &[String]) -> Result<TrainerLink, String> {
        let mut overrides = vec![format!("run.name={}", toml::Value::String(name.to_owned()))];
        overrides.extend(sets.iter().cloned());
        self.start_trainer(StartMode::Fork { run: run.to_owned(), step: None, reset: ForkReset::default(), overrides })
    }

    fn discard_trainer(&mut self) {
        self.wait_for_end();
        self.current.set(None);
    }

    fn write_note(&mut self, run: &Path, at: RunPosition, text: &str) -> Result<ChangeRow, String> {
        train::append_note(run, at, text).map_err(|error| error.to_string())
    }

    fn list_runs(&mut self, beside: Option<&Path>) -> Result<RunListLink, String> {
        let dir = beside.and_then(Path::parent).unwrap_or(Path::new(run_lookup::RUNS_DIR));
        run_list_reader::start(dir).map_err(|error| format!("cannot start the thread that reads the runs: {error}"))
    }

    fn open_run(&mut self, run: &Path) -> Result<TrainerLink, String> {
        run_link::follow_run(run).map_err(|error| format!("{error:#}"))
    }

    fn export(&mut self, run: &Path, table: &str, file: &str, messages: Sender<HostMessage>) {
        let (run, table, file) = (run.to_owned(), table.to_owned(), file.to_owned());
        let work = move || {
            let message = match export::export_table(&run, &table, Path::new(&file)) {
                Ok(rows) => (LogLevel::Info, format!("exported {rows} rows of {table} to {file}")),
                Err(error) => (LogLevel::Error, format!("cannot export {table}: {error:#}")),
            };
            let _ = messages.send(message);
        };
        if let Err(error) = std::thread::Builder::new().name("export".into()).spawn(work) {
            tracing::warn!("cannot start the export thread: {error}");
        }
    }
}
