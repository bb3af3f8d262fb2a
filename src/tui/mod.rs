//! Owns: the dashboard: the map of this room, and its main loop.
//! Must not know: the trainer, tensors; all it learns comes as `Event`, all it asks goes as `Command`.
//! Invariant: it never waits for the trainer, and never makes the trainer wait longer than a frame.
//!
//! ```text
//!  Event ──► state ─┐                            keys (one table) ──► view ──► Command
//!                   ├─► panel::* (pure) ─► screen ─► terminal          ▲
//!  view, theme ─────┘                                                  └── crossterm's events
//! ```
//!
//! - `state`: what is known of the run; `clock` its pace, `history` its curves
//! - `view`: what is looked at; `keys` the table of keys; `command` the command line
//! - `screen`: the whole picture; `layout` its sizes, `theme` its colours, `panel` its parts
//! - `raster`, `axis`, `heat`, `text`: curves, axes, rows of tokens, words
//! - `terminal`: taking the screen and giving it back; `stop` Ctrl-Z, `prints` what others print meanwhile

mod axis;
mod clock;
mod command;
mod heat;
mod history;
mod keys;
mod layout;
mod panel;
mod prints;
mod raster;
mod screen;
mod state;
mod stop;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod theme;
mod view;

pub use stop::{go_on_came, stop_came};
pub use terminal::{give_back, install_panic_hook};

use crate::message::{Command, Event, Summary};
use crossterm::event::{self, KeyEvent, KeyEventKind};
use panel::{Scene, prepare};
use ratatui::layout::Rect;
use state::{End, State};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError};
use std::time::{Duration, Instant};
use terminal::{Guard, Waited};
use theme::Theme;
use view::{Effect, Overlay, View};

/// Events taken up at once before a key gets its turn.
const EVENTS_A_TURN: usize = 4096;

/// How the dashboard was left.
#[derive(Clone, Debug, PartialEq)]
pub enum Left {
    /// The run was over.
    Over(Option<Summary>),
    /// Asked to stop, and it has stopped.
    Stopped(Option<Summary>),
    /// The run failed, and why; to be told after the screen is back.
    Failed(String),
    /// Left at once, the trainer may still work.
    AtOnce,
    /// The terminal is gone; the trainer works on.
    HungUp,
}

/// What was asked for from outside, by signals.
#[derive(Debug, Default)]
pub struct Asked {
    /// Somebody has sent `Command::Stop`: leave as soon as the run is over.
    pub stop: AtomicBool,
    /// There is no terminal any more: leave at once.
    pub hung_up: AtomicBool,
    /// Stop the process, as Ctrl-Z does, until it is told to go on.
    pub suspend: AtomicBool,
    /// Somebody else may have used the terminal: take it anew.
    pub redraw: AtomicBool,
}

/// Shows the run until it is left; `watching`: it is another process's, which leaving does not stop. Takes the terminal and
/// gives it back on every way out.
///
/// # Errors
/// What the terminal says when it cannot be taken, read or written.
pub fn run(
    events: Receiver<Event>,
    commands: SyncSender<Command>,
    dropped: Arc<AtomicU64>,
    asked: Arc<Asked>,
    watching: bool,
) -> io::Result<Left> {
    let mut guard = Guard::enter()?;
    let mut dashboard = Dashboard {
        events,
        commands,
        dropped,
        asked,
        waiting: VecDeque::new(),
        connected: true,
        state: State::default(),
        view: View { watching, ..View::default() },
        theme: Theme::from_env(),
        opened: Instant::now(),
    };
    let left = dashboard.turn(&mut guard);
    if matches!(left, Ok(Left::HungUp) | Err(_)) {
        guard.abandon();
    }
    left
}

/// The loop and all it holds.
struct Dashboard {
    events: Receiver<Event>,
    commands: SyncSender<Command>,
    dropped: Arc<AtomicU64>,
    asked: Arc<Asked>,
    /// Commands that the trainer has no room for yet.
    waiting: VecDeque<Command>,
    connected: bool,
    state: State,
    view: View,
    theme: Theme,
    opened: Instant,
}

impl Dashboard {
    /// Take up events → take up keys → send commands → draw if anything changed.
    fn turn(&mut self, guard: &mut Guard) -> io::Result<Left> {
        let mut drawn: Option<(Instant, u64)> = None;
        let mut changed = true;
        loop {
            changed |= self.take_events();
            self.send();
            let asked_to_stop = self.asked.stop.load(Ordering::Relaxed);
            if asked_to_stop && self.view.watching {
                return Ok(self.left());
            }
            self.view.stopping |= asked_to_stop;
            if self.asked.hung_up.load(Ordering::Relaxed) {
                return Ok(Left::HungUp);
            }
            changed |= guard.obey(&self.asked)?;
            self.view.settle(&self.state);
            if self.view.stopping && self.state.is_over() {
                return Ok(self.left());
            }
            let frame = Duration::from_secs(1) / self.state.dashboard().fps.max(1);
            let due = drawn.is_none_or(|(at, _)| at.elapsed() >= frame);
            let tick = self.tick();
            if due && (changed || drawn.is_none_or(|(_, last)| last != tick)) {
                self.draw(guard)?;
                drawn = Some((Instant::now(), tick));
                changed = false;
            }
            let since = drawn.map_or(Duration::ZERO, |(at, _)| at.elapsed());
            let wait = if changed { frame.saturating_sub(since) } else { frame };
            match guard.wait(wait)? {
                Waited::HungUp => return Ok(Left::HungUp),
                Waited::Nothing => {}
                Waited::Keys => {
                    changed = true;
                    if self.take_keys(guard)? == Effect::Leave {
                        return Ok(self.left());
                    }
                }
            }
        }
    }

    /// A number that changes when the picture does by itself: the spinner, or a clock of seconds.
    fn tick(&self) -> u64 {
        let elapsed = self.opened.elapsed();
        match (self.state.is_over(), self.state.is_preparing()) {
            (true, _) => 0,
            (_, true) => elapsed.as_millis() as u64 / prepare::SPINNER_MS,
            _ => elapsed.as_secs(),
        }
    }

    /// Takes up what the trainer has said; whether it has said anything.
    fn take_events(&mut self) -> bool {
        let now = self.opened.elapsed();
        self.state.now = now;
        let mut changed = false;
        for text in terminal::take_panics() {
            self.state.panicked(text);
            changed = true;
        }
        for text in prints::take_prints() {
            self.state.printed(text);
            changed = true;
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        changed |= dropped != self.state.dropped;
        self.state.dropped = dropped;
        for _ in 0..EVENTS_A_TURN {
            match self.events.try_recv() {
                Ok(event) => self.state.apply(event, now),
                Err(TryRecvError::Empty) => return changed,
                Err(TryRecvError::Disconnected) => return self.disconnected() || changed,
            }
            changed = true;
        }
        changed
    }

    fn disconnected(&mut self) -> bool {
        let news = std::mem::take(&mut self.connected);
        if news {
            // The message of the panic that ended the trainer was kept before its channel closed.
            terminal::take_panics().into_iter().for_each(|text| self.state.panicked(text));
            self.state.disconnected(self.view.stopping);
        }
        news
    }

    /// Takes up all keys that wait; says whether to leave.
    fn take_keys(&mut self, guard: &mut Guard) -> io::Result<Effect> {
        let size = guard.terminal.size()?;
        let screen = Rect::new(0, 0, size.width, size.height);
        loop {
            if let event::Event::Key(key) = event::read()?
                && self.press(key, screen) == Effect::Leave
            {
                return Ok(Effect::Leave);
            }
            if !event::poll(Duration::ZERO)? {
                return Ok(Effect::None);
            }
        }
    }

    fn press(&mut self, key: KeyEvent, screen: Rect) -> Effect {
        if key.kind == KeyEventKind::Release {
            return Effect::None;
        }
        if stop::asks(&key) {
            self.asked.suspend.store(true, Ordering::Relaxed);
            return Effect::None;
        }
        if self.view.overlay == Overlay::Prompt {
            let effect = self.view.type_key(&key, &self.state);
            return self.carry_out(effect);
        }
        let Some(action) = keys::action(&key, &self.view.scopes()) else {
            return Effect::None;
        };
        let effect = self.view.act(action, &self.state, screen);
        self.carry_out(effect)
    }

    fn carry_out(&mut self, effect: Effect) -> Effect {
        if let Effect::Send(command) = &effect {
            self.waiting.push_back(command.clone());
        }
        effect
    }

    /// Sends what waits as far as the trainer has room.
    fn send(&mut self) {
        while let Some(command) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(command)) = self.commands.try_send(command) {
                self.waiting.push_front(command);
                return;
            }
        }
    }

    fn draw(&self, guard: &mut Guard) -> io::Result<()> {
        let scene = Scene { state: &self.state, view: &self.view, theme: &self.theme };
        guard.terminal.draw(|frame| screen::render(frame, scene))?;
        Ok(())
    }

    fn left(&self) -> Left {
        let summary = match &self.state.end {
            End::Failed(text) => return Left::Failed(text.clone()),
            End::Running => return Left::AtOnce,
            End::Finished(summary) => Some((**summary).clone()),
            End::Gone => None,
        };
        if self.view.stopping { Left::Stopped(summary) } else { Left::Over(summary) }
    }
}
