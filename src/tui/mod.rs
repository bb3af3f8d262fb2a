//! Owns: the dashboard: a map of this module, and its main loop.
//! Must not know: the trainer, tensors. Everything it learns arrives as `Event`; everything it requests
//! leaves as `Command`.
//! Invariant: it never waits for the trainer, and never makes the trainer wait longer than one frame.
//!
//! ```text
//!  Event ──► state ─┐                            keys (one table) ──► view ──► Command
//!                   ├─► panels::* (pure) ─► screen ─► terminal          ▲
//!  view, theme ─────┘                                                  └── crossterm's events
//! ```
//!
//! - `state`: what is known of the run. Its parts: `pace` (speed and time left), `history` (curves),
//!   `histograms` (entropies), `config_history` (configs by step), `cost` (time and FLOP of steps)
//! - `view`: what the user looks at. Its parts: `chart_settings`, `draft` (an edit in progress),
//!   `preferences` (saved to disk), `keys` (the key table), `command` (the command line)
//! - `app`: state, view and theme together; `snapshot` draws one without a terminal, `plain` and
//!   `svg` write it
//! - `screen`: the whole screen; `layout` its rectangles, `theme` its colours, `panel` its panels,
//!   `ascii` its ASCII form
//! - `chart`, `raster`, `axis`, `token_grid`, `text`: curves, axes, rows of tokens, formatted text
//! - `handover`: switching from one trainer to another
//! - `terminal`: taking over and restoring the terminal; `stop` handles Ctrl-Z, `stdio_capture` captures what
//!   other code prints

mod app;
mod model;
mod panels;
pub mod picture;
mod plot;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod theme;

pub use app::view::Panel;
pub use terminal::job_control::{on_continue_signal, on_stop_signal};
pub use terminal::{install_panic_hook, restore_terminal};

pub use panels::help::key_table;

use crate::schema::protocol::{Command, Event, LogLevel, RunSummary};
use crate::schema::rows::ChangeRow;
use app::App;
use app::handover::{PendingAction, PreviousSession};
use app::preferences::UiPreferences;
use app::view::Effect;
use crossterm::event;
use model::state::TrainerStatus;
use panels::prepare;
use ratatui::layout::Rect;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, TrySendError, channel};
use std::time::{Duration, Instant};
use terminal::{TerminalGuard, WaitOutcome};
use theme::Theme;

/// Maximum number of events handled before input is read again.
const MAX_EVENTS_PER_BATCH: usize = 4096;

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
    /// `at` is (step, tokens, config version) of the run.
    ///
    /// # Errors
    /// Returns why the note cannot be written.
    fn write_note(&mut self, run: &Path, at: (u64, u64, u64), text: &str) -> Result<ChangeRow, String>;

    /// Writes a table of the run in folder `run` to `file`, in the background.
    /// The outcome is sent to `results`.
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

/// Shows the run until the user leaves. Takes over the terminal and restores it on every exit path.
///
/// # Errors
/// Returns the I/O error if the terminal cannot be set up, read or written.
pub fn run(
    link: TrainerLink,
    host: &mut dyn DashboardHost,
    signals: Arc<SignalFlags>,
    options: DashboardOptions,
) -> io::Result<ExitReason> {
    let mut guard = TerminalGuard::enter()?;
    let (sender, receiver) = channel();
    let mut app = App { theme: Theme::from_env(), ..App::new(theme::ColorDepth::None, options.ascii) };
    let mut preferences = UiPreferences::for_user();
    preferences.restore(&mut app.view);
    app.view.watching = options.watching;
    guard.set_mouse_capture(app.view.mouse_captured)?;
    let mut dashboard = MainLoop {
        link,
        host,
        signals,
        pending_commands: VecDeque::new(),
        connected: true,
        pending_action: None,
        previous: None,
        host_messages: (sender, receiver),
        app,
        preferences,
        opened_at: Instant::now(),
    };
    let reason = dashboard.run_until_exit(&mut guard);
    dashboard.preferences.save_if_changed(&dashboard.app.view);
    if matches!(reason, Ok(ExitReason::HungUp) | Err(_)) {
        guard.abandon();
    }
    reason
}

/// The main loop and its state.
struct MainLoop<'a> {
    link: TrainerLink,
    host: &'a mut dyn DashboardHost,
    signals: Arc<SignalFlags>,
    /// Commands that did not fit into the trainer's channel yet.
    pending_commands: VecDeque<Command>,
    connected: bool,
    pending_action: Option<PendingAction>,
    previous: Option<PreviousSession>,
    /// Channel for the messages of the host.
    host_messages: (Sender<HostMessage>, Receiver<HostMessage>),
    app: App,
    preferences: UiPreferences,
    opened_at: Instant,
}

impl MainLoop<'_> {
    /// Runs until an exit: apply events → send commands → draw if something changed → handle input.
    fn run_until_exit(&mut self, guard: &mut TerminalGuard) -> io::Result<ExitReason> {
        let mut drawn: Option<(Instant, u64)> = None;
        let mut changed = true;
        loop {
            changed |= self.apply_pending_events();
            self.send_pending_commands();
            if let Some(reason) = self.check_exit() {
                return Ok(reason);
            }
            changed |= guard.handle_signals(&self.signals)?;
            let frame = Duration::from_secs(1) / self.app.state.dashboard_config().fps.max(1);
            let due = drawn.is_none_or(|(at, _)| at.elapsed() >= frame);
            let tick = self.redraw_tick();
            if due && (changed || drawn.is_none_or(|(_, last)| last != tick)) {
                guard.terminal.draw(|frame| self.app.draw(frame))?;
                self.preferences.save_if_changed(&self.app.view);
                drawn = Some((Instant::now(), tick));
                changed = false;
            }
            let since = drawn.map_or(Duration::ZERO, |(at, _)| at.elapsed());
            let wait = if changed { frame.saturating_sub(since) } else { frame };
            match guard.wait_for_input(wait)? {
                WaitOutcome::HungUp => return Ok(ExitReason::HungUp),
                WaitOutcome::Timeout => {}
                WaitOutcome::Input => {
                    changed = true;
                    if self.handle_pending_input(guard)? == Effect::Leave {
                        return Ok(self.exit_reason());
                    }
                }
            }
        }
    }

    /// Returns the exit reason if a signal or a completed stop request ends the dashboard.
    fn check_exit(&mut self) -> Option<ExitReason> {
        let asked_to_stop = self.signals.stop.load(Ordering::Relaxed);
        if asked_to_stop && self.app.view.watching {
            return Some(self.exit_reason());
        }
        if asked_to_stop {
            self.pending_action = None;
            self.app.view.stopping = true;
        }
        if self.signals.hung_up.load(Ordering::Relaxed) {
            return Some(ExitReason::HungUp);
        }
        self.app.view.reconcile(&self.app.state);
        if !self.app.state.is_over() {
            return None;
        }
        if let Some(PendingAction::Fork(name, sets)) = self.pending_action.take() {
            self.app.view.stopping = false;
            self.fork(&name, &sets);
            return None;
        }
        self.app.view.stopping.then(|| self.exit_reason())
    }

    /// Returns a number that changes whenever the screen changes without an event: for the spinner and the
    /// clock.
    fn redraw_tick(&self) -> u64 {
        let elapsed = self.opened_at.elapsed();
        match (self.app.state.is_over(), self.app.state.is_preparing()) {
            (true, _) => 0,
            (_, true) => elapsed.as_millis() as u64 / prepare::SPINNER_MS,
            _ => elapsed.as_secs(),
        }
    }

    /// Applies waiting messages and events, at most one batch. Returns whether there were any.
    fn apply_pending_events(&mut self) -> bool {
        let now = self.opened_at.elapsed();
        self.app.state.now = now;
        let mut changed = false;
        for text in terminal::take_panics() {
            self.app.state.record_panic(text);
            changed = true;
        }
        for text in terminal::stdio_capture::take_captured_lines() {
            self.app.state.log_message(LogLevel::Info, text.replace(char::is_control, " "));
            changed = true;
        }
        for (level, text) in self.host_messages.1.try_iter() {
            self.app.state.log_message(level, text);
            changed = true;
        }
        let dropped = self.link.dropped_frames.load(Ordering::Relaxed);
        changed |= dropped != self.app.state.dropped_frames;
        self.app.state.dropped_frames = dropped;
        for _ in 0..MAX_EVENTS_PER_BATCH {
            match self.link.events.try_recv() {
                Ok(Event::Failed(text)) if self.previous.is_some() => self.restore_previous(text),
                Ok(event) => {
                    if matches!(event, Event::Started(_)) {
                        self.previous = None;
                    }
                    self.app.apply(event, now);
                }
                Err(TryRecvError::Empty) => return changed,
                Err(TryRecvError::Disconnected) => return self.handle_disconnect() || changed,
            }
            changed = true;
        }
        changed
    }

    fn handle_disconnect(&mut self) -> bool {
        let first_notice = std::mem::take(&mut self.connected);
        if first_notice && self.previous.is_some() {
            self.restore_previous("its thread ended without an error message".into());
        } else if first_notice {
            // The panic message that ended the trainer was stored before its channel closed.
            terminal::take_panics().into_iter().for_each(|text| self.app.state.record_panic(text));
            self.app.state.handle_disconnect(self.app.view.stopping);
        }
        first_notice
    }

    /// Handles all waiting input. Returns `Effect::Leave` if the user leaves.
    fn handle_pending_input(&mut self, guard: &mut TerminalGuard) -> io::Result<Effect> {
        loop {
            let size = guard.terminal.size()?;
            let screen = Rect::new(0, 0, size.width, size.height);
            let effect = match event::read()? {
                event::Event::Key(key) => self.app.handle_key(&key, screen),
                event::Event::Mouse(mouse) => self.app.handle_mouse(&mouse, screen),
                _ => Effect::None,
            };
            if effect == Effect::Leave {
                return Ok(effect);
            }
            self.apply_effect(effect, guard)?;
            if !event::poll(Duration::ZERO)? {
                return Ok(Effect::None);
            }
        }
    }

    fn apply_effect(&mut self, effect: Effect, guard: &mut TerminalGuard) -> io::Result<()> {
        match effect {
            Effect::None | Effect::Leave => {}
            Effect::Send(command) => self.pending_commands.push_back(command),
            Effect::CaptureMouse(on) => guard.set_mouse_capture(on)?,
            Effect::Suspend => self.signals.suspend.store(true, Ordering::Relaxed),
            Effect::Resume(steps) => self.resume(steps),
            Effect::Fork(name, sets) => self.fork_when_over(name, sets),
            Effect::WriteNote(text) => self.write_note(&text),
            Effect::Export(table, file) => match &self.app.state.run {
                Some(run) => self.host.export(&run.folder, &table, &file, self.host_messages.0.clone()),
                None => self.app.state.log_message(LogLevel::Warn, "no run has started yet".into()),
            },
        }
        Ok(())
    }

    /// Sends waiting commands until the trainer's channel is full.
    fn send_pending_commands(&mut self) {
        while let Some(command) = self.pending_commands.pop_front() {
            if let Err(TrySendError::Full(command)) = self.link.commands.try_send(command) {
                self.pending_commands.push_front(command);
                return;
            }
        }
    }

    fn exit_reason(&self) -> ExitReason {
        let summary = match &self.app.state.status {
            TrainerStatus::Failed(text) => return ExitReason::Failed(text.clone()),
            TrainerStatus::Running => return ExitReason::StillRunning,
            TrainerStatus::Finished(summary) => Some((**summary).clone()),
            TrainerStatus::Disconnected => None,
        };
        if self.app.view.stopping { ExitReason::Stopped(summary) } else { ExitReason::RunEnded(summary) }
    }
}
