//! Owns: the trainer that a dashboard of this process has, one after another: its thread, and who may command it.
//! Must not know: what a trainer does, what is drawn.
//! Invariant: at most one trainer at a time; signals reach the present one.

use super::export;
use crate::message::{Command, Event, Level};
use crate::record::rows::ChangeRow;
use crate::train::{self, Begin, Fresh, Place, Trainer, Wants};
use crate::tui::{Host, Link, Said};
use std::path::Path;
use std::sync::mpsc::{Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a run that is dropped may take to end its step and write its last metrics.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Where commands from outside the dashboard go: to the present trainer, if there is one.
pub(super) type Ears = Arc<Mutex<Option<SyncSender<Command>>>>;

/// The present trainer.
#[derive(Default)]
pub(super) struct Station {
    thread: Option<JoinHandle<Event>>,
    ears: Ears,
}

impl Station {
    /// Where commands from outside go.
    pub fn ears(&self) -> Ears {
        self.ears.clone()
    }

    /// Commands from outside go there from now on.
    pub fn hear(&self, commands: SyncSender<Command>) {
        *self.ears.lock().unwrap_or_else(PoisonError::into_inner) = Some(commands);
    }

    /// Takes the trainer; what is left is the dashboard's.
    pub fn take(&mut self, trainer: Trainer) -> Link {
        let Trainer { events, commands, dropped, thread } = trainer;
        self.hear(commands.clone());
        self.thread = Some(thread);
        Link { events, commands, dropped }
    }

    /// Whether there is a trainer of this process.
    pub fn has_run(&self) -> bool {
        self.thread.is_some()
    }

    /// Waits for the trainer's end, and gives its last word.
    pub fn join(&mut self) -> Option<Event> {
        self.thread.take()?.join().ok()
    }

    /// Drops the run, and gives it a moment to write what it has measured.
    pub fn drop_run(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        if let Some(commands) = &*self.ears.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = commands.try_send(Command::Drop);
        }
        let until = Instant::now() + LAST_WORDS;
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn begin(&mut self, begin: Begin) -> Result<Link, String> {
        // The one before has said its last word; what it held of the run is free when its thread is gone.
        self.join();
        let trainer = train::spawn(begin, Wants { screen: true })
            .map_err(|error| format!("cannot start the trainer's thread: {error}"))?;
        Ok(self.take(trainer))
    }
}

impl Host for Station {
    fn resume(&mut self, run: &Path, steps: Option<u64>) -> Result<Link, String> {
        let sets = steps.map(|steps| format!("run.steps={steps}")).into_iter().collect();
        self.begin(Begin::Resume { run: run.to_owned(), step: None, sets })
    }

    fn fork(&mut self, run: &Path, name: &str, sets: &[String]) -> Result<Link, String> {
        let mut all = vec![format!("run.name={}", toml::Value::String(name.to_owned()))];
        all.extend(sets.iter().cloned());
        self.begin(Begin::Fork { run: run.to_owned(), step: None, fresh: Fresh::default(), sets: all })
    }

    fn gave_up(&mut self) {
        self.join();
        *self.ears.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&mut self, run: &Path, at: (u64, u64, u64), text: &str) -> Result<ChangeRow, String> {
        let (step, tokens, version) = at;
        train::note(run, Place { step, tokens, version }, text).map_err(|error| error.to_string())
    }

    fn export(&mut self, run: &Path, table: &str, file: &str, say: Sender<Said>) {
        let (run, table, file) = (run.to_owned(), table.to_owned(), file.to_owned());
        let work = move || {
            let told = match export::one(&run, &table, Path::new(&file)) {
                Ok(rows) => (Level::Info, format!("exported {table}: {rows} rows, {file}")),
                Err(error) => (Level::Error, format!("export: {error:#}")),
            };
            let _ = say.send(told);
        };
        if let Err(error) = std::thread::Builder::new().name("export".into()).spawn(work) {
            tracing::warn!("no thread to export with: {error}");
        }
    }
}
