//! Owns: the main loop: applies events, sends commands, draws, and handles input.
//! Must not know: what events and keys mean (state and view do), how a panel is drawn.
//! Invariant: it never waits for the trainer, and never makes the trainer wait longer than one frame.

mod attention;
mod browsing;
mod handover;

use super::App;
use super::preferences::UiPreferences;
use super::view::{Effect, Reply};
use crate::schema::protocol::{Command, Event, LogLevel};
use crate::tui::browser::draw as browser_draw;
use crate::tui::browser::state::BrowserSettings;
use crate::tui::model::state::TrainerStatus;
use crate::tui::panels::prepare;
use crate::tui::terminal::ascii::convert_to_ascii;
use crate::tui::terminal::{self, TerminalGuard, WaitOutcome, stdio_capture};
use crate::tui::theme::Theme;
use crate::tui::{DashboardHost, DashboardOptions, ExitReason, HostMessage, RunListLink, SignalFlags, TrainerLink};
use attention::AttentionState;
use browsing::{OpenList, OpenedRuns, ParkedSession};
use crossterm::event;
use handover::{PendingAction, PreviousSession};
use ratatui::Frame;
use ratatui::layout::Rect;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, TrySendError, channel};
use std::time::{Duration, Instant};

/// Maximum number of events handled before input is read again.
const MAX_EVENTS_PER_BATCH: usize = 4096;

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
    let mut dashboard = MainLoop::new(link, host, signals, options, terminal_theme());
    dashboard.has_session = true;
    dashboard.run_in_terminal()
}

/// Shows the list of runs until the user leaves it, and the runs that are opened from it. Takes over the terminal and
/// restores it on every exit path.
///
/// # Errors
/// Returns the I/O error if the terminal cannot be set up, read or written.
pub fn browse(
    list: RunListLink,
    settings: BrowserSettings,
    host: &mut dyn DashboardHost,
    signals: Arc<SignalFlags>,
    options: DashboardOptions,
) -> io::Result<ExitReason> {
    let options = DashboardOptions { watching: true, ..options };
    let mut dashboard = MainLoop::new(TrainerLink::closed(), host, signals, options, terminal_theme());
    dashboard.connected = false;
    dashboard.start_with_list(list, settings);
    dashboard.run_in_terminal()
}

/// How the user left a run that was shown from another screen.
#[derive(Clone, Debug, PartialEq)]
pub enum LeftRun {
    /// Another process trains it, or nobody does.
    Watched(ExitReason),
    /// The run was resumed or forked from there: a trainer of this process has it.
    TrainedHere(ExitReason),
}

/// Shows the run behind `link` in a terminal that another screen has taken, until the user leaves it.
///
/// # Errors
/// Returns the I/O error if the terminal cannot be read or written.
pub fn show_run(
    guard: &mut TerminalGuard,
    link: TrainerLink,
    host: &mut dyn DashboardHost,
    signals: Arc<SignalFlags>,
    options: DashboardOptions,
    theme: Theme,
) -> io::Result<LeftRun> {
    let mut dashboard = MainLoop::new(link, host, signals, options, theme);
    dashboard.has_session = true;
    let reason = dashboard.run_in(guard)?;
    Ok(if dashboard.app.view.watching { LeftRun::Watched(reason) } else { LeftRun::TrainedHere(reason) })
}

/// Returns the theme for the terminal that the environment and the terminal itself describe.
fn terminal_theme() -> Theme {
    Theme::from_env().on_background(terminal::background::detect_background())
}

struct MainLoop<'a> {
    link: TrainerLink,
    host: &'a mut dyn DashboardHost,
    signals: Arc<SignalFlags>,
    /// Commands that did not fit into the trainer's channel yet.
    pending_commands: VecDeque<Command>,
    connected: bool,
    pending_action: Option<PendingAction>,
    previous: Option<PreviousSession>,
    attention: AttentionState,
    /// Whether a run is shown, or below the list.
    has_session: bool,
    /// The run that was shown before one was opened from the list.
    home: Option<Box<ParkedSession>>,
    /// The list of runs, once it was opened.
    list: Option<OpenList>,
    opened: OpenedRuns,
    host_messages: (Sender<HostMessage>, Receiver<HostMessage>),
    app: App,
    preferences: UiPreferences,
    opened_at: Instant,
}

impl<'a> MainLoop<'a> {
    fn new(
        link: TrainerLink,
        host: &'a mut dyn DashboardHost,
        signals: Arc<SignalFlags>,
        options: DashboardOptions,
        theme: Theme,
    ) -> Self {
        let mut app = App { ascii: options.ascii, ..App::new(theme) };
        let mut preferences = UiPreferences::for_user();
        preferences.restore(&mut app.view);
        app.theme.choose_background(app.view.background);
        app.view.watching = options.watching;
        Self {
            link,
            host,
            signals,
            pending_commands: VecDeque::new(),
            connected: true,
            pending_action: None,
            previous: None,
            attention: AttentionState::default(),
            has_session: false,
            home: None,
            list: None,
            opened: OpenedRuns::default(),
            host_messages: channel(),
            app,
            preferences,
            opened_at: Instant::now(),
        }
    }

    fn run_in_terminal(&mut self) -> io::Result<ExitReason> {
        let mut guard = TerminalGuard::enter()?;
        let reason = self.run_in(&mut guard);
        if matches!(reason, Ok(ExitReason::HungUp) | Err(_)) {
            guard.abandon();
        }
        reason
    }

    /// Runs until an exit in a terminal that is taken, and saves the preferences.
    fn run_in(&mut self, guard: &mut TerminalGuard) -> io::Result<ExitReason> {
        guard.set_mouse_capture(!self.app.view.mouse_released)?;
        let reason = self.run_until_exit(guard);
        self.preferences.save_if_changed(&self.app.view);
        reason
    }

    /// Runs until an exit: apply events → send commands → draw if something changed → handle input.
    fn run_until_exit(&mut self, guard: &mut TerminalGuard) -> io::Result<ExitReason> {
        let mut drawn: Option<(Instant, u64)> = None;
        let mut changed = true;
        loop {
            let list_changed = self.apply_list_updates();
            changed |= self.apply_pending_events() && !self.is_browsing() || list_changed;
            self.send_pending_commands();
            self.notify_user(guard)?;
            if let Some(reason) = self.check_exit() {
                return Ok(reason);
            }
            changed |= guard.handle_signals(&self.signals)?;
            let frame = Duration::from_secs(1) / self.app.state.dashboard_config().fps.max(1);
            let due = drawn.is_none_or(|(at, _)| at.elapsed() >= frame);
            let tick = self.redraw_tick();
            if due && (changed || drawn.is_none_or(|(_, last)| last != tick)) {
                guard.terminal.draw(|frame| self.draw(frame))?;
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

    /// Draws the list of runs if it is shown, else the dashboard.
    fn draw(&self, frame: &mut Frame) {
        match self.list.as_ref().filter(|list| list.is_shown) {
            Some(list) => {
                browser_draw::render(frame, &list.browser, &self.app.theme);
                if self.app.ascii {
                    convert_to_ascii(frame.buffer_mut());
                }
            }
            None => self.app.draw(frame),
        }
    }

    /// Returns the exit reason if a signal or a completed stop request ends the dashboard.
    fn check_exit(&mut self) -> Option<ExitReason> {
        let asked_to_stop = self.signals.stop.load(Ordering::Relaxed);
        if asked_to_stop {
            // The run of this process is stopped, whichever run is shown.
            self.return_home();
        }
        if asked_to_stop && self.app.view.watching {
            return Some(self.exit_reason());
        }
        if asked_to_stop {
            self.pending_action = None;
            (self.app.view.stopping, self.app.view.leaving) = (true, true);
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
        self.app.view.leaving.then(|| self.exit_reason())
    }

    /// Returns a number that changes when the screen does without an event, for spinner and clock.
    fn redraw_tick(&self) -> u64 {
        let elapsed = self.opened_at.elapsed();
        if self.is_browsing() {
            return 0;
        }
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
        self.apply_parked_events(now, MAX_EVENTS_PER_BATCH);
        for text in terminal::take_panics() {
            self.app.state.record_panic(text);
            changed = true;
        }
        for text in stdio_capture::take_captured_lines() {
            self.app.state.log_message(LogLevel::Info, text.replace(char::is_control, " "));
            changed = true;
        }
        for (level, text) in self.host_messages.1.try_iter() {
            self.app.view.reply = Some(match level {
                LogLevel::Info => Reply::done(text.clone()),
                LogLevel::Warn | LogLevel::Error => Reply::refused(text.clone()),
            });
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
            let input = event::read()?;
            if matches!(input, event::Event::FocusGained | event::Event::FocusLost) {
                self.attention.focused = Some(input == event::Event::FocusGained);
            }
            let effect =
                if self.is_browsing() { self.browse_with(&input, screen) } else { self.app_effect(&input, screen) };
            match effect {
                Effect::Leave if self.has_way_back() && !self.is_browsing() => self.leave_opened(),
                Effect::Leave => return Ok(effect),
                effect => self.apply_effect(effect, guard)?,
            }
            if !event::poll(Duration::ZERO)? {
                return Ok(Effect::None);
            }
        }
    }

    /// Handles input of the dashboard.
    fn app_effect(&mut self, input: &event::Event, screen: Rect) -> Effect {
        match input {
            event::Event::Key(key) => self.app.handle_key(key, screen),
            event::Event::Mouse(mouse) => self.app.handle_mouse(mouse, screen),
            _ => Effect::None,
        }
    }

    fn apply_effect(&mut self, effect: Effect, guard: &mut TerminalGuard) -> io::Result<()> {
        match effect {
            Effect::None | Effect::Leave => {}
            Effect::Send(command) => {
                self.app.view.await_reply(&command);
                self.pending_commands.push_back(command);
            }
            Effect::Copy(text) => guard.copy_to_clipboard(&text)?,
            Effect::CaptureMouse(on) => guard.set_mouse_capture(on)?,
            Effect::BrowseRuns => self.show_list(),
            Effect::SwitchRun(direction) => self.switch_run(direction),
            Effect::Suspend => self.signals.suspend.store(true, Ordering::Relaxed),
            Effect::Resume(steps) => self.resume(steps),
            Effect::Fork(name, sets) => self.fork_when_over(name, sets),
            Effect::WriteNote(text) => self.write_note(&text),
            Effect::Export(table, file) => match &self.app.state.run {
                Some(run) => self.host.export(&run.folder, &table, &file, self.host_messages.0.clone()),
                None => self.app.view.refuse("no run has started yet"),
            },
        }
        Ok(())
    }

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
