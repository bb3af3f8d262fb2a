//! Owns: the dashboard: a map of this module, and its main loop.
//! Must not know: the trainer, tensors. Everything it learns arrives as `Event`; everything it requests
//! leaves as `Command`.
//! Invariant: it never waits for the trainer, and never makes the trainer wait longer than one frame.
//!
//! ```text
//!  Event ──► model ─┐                             keys (one table) ──► app ──► Command
//!                   ├─► panels (pure) ─► terminal                       ▲
//!  app, theme ──────┘                                                   └── crossterm's events
//! ```
//!
//! - `model`: what is known of the run: `RunModel`, a fold of the events, and its parts
//! - `app`: what the user looks at and does: `App` (state and view without a terminal), `view`, the tables of
//!   keys, `actions` and commands, `layout`, and `main_loop`, which connects them to terminal and trainer
//! - `browser`: the list of runs, above the dashboard or alone; `multi_run`: several runs on one chart, with a table
//! - `panels`: one file a panel; `plot`: curves, axes, rows of tokens; `text`, `theme`: formats, styles
//! - `terminal`: taking over and restoring the terminal, the whole screen, output of other code, Ctrl-Z
//! - `picture`: the dashboard as SVG or text, without a terminal

mod app;
mod browser;
mod model;
mod multi_run;
mod panels;
pub mod picture;
mod plot;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod theme;

pub use app::command_list::command_table;
pub use app::main_loop::{browse, run};
pub use app::panel_id::Panel;
pub use browser::state::BrowserSettings;
pub use multi_run::app::MultiRunApp;
pub use multi_run::main_loop::{MultiRunLink, MultiRunOptions, watch_runs};
pub use terminal::job_control::{on_continue_signal, on_stop_signal};
pub use terminal::{install_panic_hook, restore_terminal};

pub use panels::help::key_table;

use crate::schema::protocol::{Command, Event, LogLevel, RunSummary};
use crate::schema::rows::{ChangeRow, RunPosition};
use crate::schema::run_list::{RunListRequest, RunListUpdate};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

/// How and why the dashboard exited.
#[derive(Clone, Debug, PartialEq)]
pub enum ExitReason {
    /// The run had ended before the user left.
    RunEnded(Option<RunSummary>),
    /// The user asked the run to stop, and it has stopped.
    Stopped(Option<RunSummary>),
    /// The run failed with this error. It is printed after the terminal is restored.
    Failed(String),
    /// The user left at once; the trainer may still be running.
    StillRunning,
    /// The terminal is gone; the trainer continues.
    HungUp,
}

/// Requests from outside the dashboard, set by signal handlers.
#[derive(Debug, Default)]
pub struct SignalFlags {
    /// `Command::Stop` was sent: leave as soon as the run has ended.
    pub stop: AtomicBool,
    /// The terminal is gone: leave at once.
    pub hung_up: AtomicBool,
    /// Suspend the process, as Ctrl-Z does, until SIGCONT.
    pub suspend: AtomicBool,
    /// Another process may have used the terminal: set it up and draw again.
    pub redraw: AtomicBool,
}

/// The dashboard's end of the channels to a trainer, or to a reader that replays a run.
pub struct TrainerLink {
    pub events: Receiver<Event>,
    pub commands: SyncSender<Command>,
    /// Number of frames the trainer dropped because the channel was full.
    pub dropped_frames: Arc<AtomicU64>,
}

impl TrainerLink {
    /// Returns the dashboard's end of a trainer that has ended and sends nothing.
    fn closed() -> Self {
        let (events, commands) = (channel().1, sync_channel(1).0);
        Self { events, commands, dropped_frames: Arc::new(AtomicU64::new(0)) }
    }
}

/// The dashboard's end of the channels to the reader of a list of runs.
pub struct RunListLink {
    /// Folder of the runs, as it is shown.
    pub dir: PathBuf,
    pub updates: Receiver<RunListUpdate>,
    pub requests: Sender<RunListRequest>,
}

/// A line for the log, with its level, that the host sends from another thread.
pub type HostMessage = (LogLevel, String);

/// Services that the dashboard needs from the program that started it.
pub trait DashboardHost {
    /// Starts a trainer that resumes the run in folder `run`, up to `steps` steps in total if given.
    ///
    /// # Errors
    /// Returns why the trainer cannot start.
    fn resume(&mut self, run: &Path, steps: Option<u64>) -> Result<TrainerLink, String>;

    /// Starts a trainer for a new run named `name`, from the newest checkpoint of the run in folder `run`.
    ///
    /// # Errors
    /// Returns why the trainer cannot start.
    fn fork(&mut self, run: &Path, name: &str, sets: &[String]) -> Result<TrainerLink, String>;

    /// Discards the trainer started last, after it has reported that it cannot run.
    fn discard_trainer(&mut self);

    /// Appends a note to the record of the run in folder `run`, which no trainer has open.
    ///
    /// # Errors
    /// Returns why the note cannot be written.
    fn write_note(&mut self, run: &Path, at: RunPosition, text: &str) -> Result<ChangeRow, String>;

    /// Starts to read the list of the runs that lie in one folder with the run `beside`, or in the usual folder.
    ///
    /// # Errors
    /// Returns why the reader cannot start.
    fn list_runs(&mut self, beside: Option<&Path>) -> Result<RunListLink, String>;

    /// Starts to follow the run in folder `run`, whichever process trains it.
    ///
    /// # Errors
    /// Returns why the run cannot be read.
    fn open_run(&mut self, run: &Path) -> Result<TrainerLink, String>;

    /// Writes a table of the run in folder `run` to `file`, in the background. The outcome is sent to `results`.
    fn export(&mut self, run: &Path, table: &str, file: &str, results: Sender<HostMessage>);
}

/// Options of the dashboard at its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct DashboardOptions {
    /// The run belongs to another process, and leaving does not stop it.
    pub watching: bool,
    /// Draw with ASCII characters only.
    pub ascii: bool,
}
