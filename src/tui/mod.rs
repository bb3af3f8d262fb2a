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
//! - `state`: what is known of the run; `clock` its pace, `history` its curves, `spreads` its entropies, `eras` its configs,
//!   `cost` its costs
//! - `view`: what is looked at; `charts` and `draft` parts of it, `memory` keeps it; `keys` the table of keys; `command` the
//!   command line
//! - `stage`: state, view and theme together; `snapshot` draws one without a terminal, `plain`, `svg` write it
//! - `screen`: the whole picture; `layout` its sizes, `theme` its colours, `panel` its parts, `ascii` the same in ASCII
//! - `chart`, `raster`, `axis`, `heat`, `text`: curves, axes, rows of tokens, words
//! - `handover`: from one trainer to another
//! - `terminal`: taking the screen and giving it back; `stop` Ctrl-Z, `prints` what others print meanwhile

mod ascii;
mod axis;
mod chart;
mod charts;
mod clock;
mod command;
mod cost;
mod draft;
mod eras;
mod handover;
mod heat;
mod history;
mod keys;
mod layout;
mod memory;
mod panel;
mod plain;
mod prints;
mod raster;
mod screen;
pub mod snapshot;
mod spreads;
mod stage;
mod state;
mod stop;
mod svg;
mod terminal;
#[cfg(test)]
mod tests;
mod text;
mod theme;
mod view;

pub use stop::{go_on_came, stop_came};
pub use terminal::{give_back, install_panic_hook};
pub use view::Panel;

use crate::message::{Command, Event, Level, Summary};
use crate::record::rows::ChangeRow;
use crossterm::event;
use handover::{Before, Then};
use memory::Memory;
use panel::prepare;
use ratatui::layout::Rect;
use stage::Stage;
use state::End;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, TrySendError, channel};
use std::time::{Duration, Instant};
use terminal::{Guard, Waited};
use theme::Theme;
use view::Effect;

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

/// A trainer, or what stands for one, from the dashboard's side.
pub struct Link {
    /// What it says.
    pub events: Receiver<Event>,
    /// What it is asked.
    pub commands: SyncSender<Command>,
    /// Frames that it dropped because nobody took them in time.
    pub dropped: Arc<AtomicU64>,
}

/// A line for the log, and how much it matters.
pub type Said = (Level, String);

/// What the dashboard asks of the program around it.
pub trait Host {
    /// A trainer that goes on with the run in this folder, to so many steps in all where that is said.
    ///
    /// # Errors
    /// Why there is none.
    fn resume(&mut self, run: &Path, steps: Option<u64>) -> Result<Link, String>;

    /// A trainer that begins another run with the newest checkpoint of the run in this folder.
    ///
    /// # Errors
    /// Why there is none.
    fn fork(&mut self, run: &Path, name: &str, sets: &[String]) -> Result<Link, String>;

    /// The trainer that was asked for last has said that it cannot: it is gone.
    fn gave_up(&mut self);

    /// Writes a note into the record of the run in this folder, which no trainer has, and which has come to this step, so many
    /// tokens and this version of its config.
    ///
    /// # Errors
    /// Why it cannot be written.
    fn note(&mut self, run: &Path, at: (u64, u64, u64), text: &str) -> Result<ChangeRow, String>;

    /// Writes a table of the run in this folder to a file, and says how that went.
    fn export(&mut self, run: &Path, table: &str, file: &str, say: Sender<Said>);
}

/// How the dashboard begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    /// The run is another process's, which leaving does not stop.
    pub watching: bool,
    /// ASCII alone.
    pub ascii: bool,
}

/// Shows the run until it is left. Takes the terminal and gives it back on every way out.
///
/// # Errors
/// What the terminal says when it cannot be taken, read or written.
pub fn run(link: Link, host: &mut dyn Host, asked: Arc<Asked>, wishes: Wishes) -> io::Result<Left> {
    let mut guard = Guard::enter()?;
    let (said_in, said) = channel();
    let mut stage = Stage { theme: Theme::from_env(), ..Stage::new(theme::Depth::None, wishes.ascii) };
    let mut memory = Memory::of_user();
    memory.recall(&mut stage.view);
    stage.view.watching = wishes.watching;
    guard.mouse(stage.view.mouse)?;
    let mut dashboard = Dashboard {
        link,
        host,
        asked,
        waiting: VecDeque::new(),
        connected: true,
        then: None,
        before: None,
        said: (said_in, said),
        stage,
        memory,
        opened: Instant::now(),
    };
    let left = dashboard.turn(&mut guard);
    dashboard.memory.keep(&dashboard.stage.view);
    if matches!(left, Ok(Left::HungUp) | Err(_)) {
        guard.abandon();
    }
    left
}

/// The loop and all it holds.
struct Dashboard<'a> {
    link: Link,
    host: &'a mut dyn Host,
    asked: Arc<Asked>,
    /// Commands that the trainer has no room for yet.
    waiting: VecDeque<Command>,
    connected: bool,
    then: Option<Then>,
    before: Option<Before>,
    /// What the program around says of what it was asked for.
    said: (Sender<Said>, Receiver<Said>),
    stage: Stage,
    memory: Memory,
    opened: Instant,
}

impl Dashboard<'_> {
    /// Take up events → take up keys → send commands → draw if anything changed.
    fn turn(&mut self, guard: &mut Guard) -> io::Result<Left> {
        let mut drawn: Option<(Instant, u64)> = None;
        let mut changed = true;
        loop {
            changed |= self.take_events();
            self.send();
            if let Some(left) = self.is_left() {
                return Ok(left);
            }
            changed |= guard.obey(&self.asked)?;
            let frame = Duration::from_secs(1) / self.stage.state.dashboard().fps.max(1);
            let due = drawn.is_none_or(|(at, _)| at.elapsed() >= frame);
            let tick = self.tick();
            if due && (changed || drawn.is_none_or(|(_, last)| last != tick)) {
                guard.terminal.draw(|frame| self.stage.draw(frame))?;
                self.memory.keep(&self.stage.view);
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

    /// Whether it is to be left, as asked from outside or because what was asked for has come true.
    fn is_left(&mut self) -> Option<Left> {
        let asked_to_stop = self.asked.stop.load(Ordering::Relaxed);
        if asked_to_stop && self.stage.view.watching {
            return Some(self.left());
        }
        if asked_to_stop {
            self.then = None;
            self.stage.view.stopping = true;
        }
        if self.asked.hung_up.load(Ordering::Relaxed) {
            return Some(Left::HungUp);
        }
        self.stage.view.settle(&self.stage.state);
        if !self.stage.state.is_over() {
            return None;
        }
        if let Some(Then::Fork(name, sets)) = self.then.take() {
            self.stage.view.stopping = false;
            self.fork(&name, &sets);
            return None;
        }
        self.stage.view.stopping.then(|| self.left())
    }

    /// A number that changes when the picture does by itself: the spinner, or a clock of seconds.
    fn tick(&self) -> u64 {
        let elapsed = self.opened.elapsed();
        match (self.stage.state.is_over(), self.stage.state.is_preparing()) {
            (true, _) => 0,
            (_, true) => elapsed.as_millis() as u64 / prepare::SPINNER_MS,
            _ => elapsed.as_secs(),
        }
    }

    /// Takes up what the trainer has said; whether it has said anything.
    fn take_events(&mut self) -> bool {
        let now = self.opened.elapsed();
        self.stage.state.now = now;
        let mut changed = false;
        for text in terminal::take_panics() {
            self.stage.state.panicked(text);
            changed = true;
        }
        for text in prints::take_prints() {
            self.stage.state.say(Level::Info, text.replace(char::is_control, " "));
            changed = true;
        }
        for (level, text) in self.said.1.try_iter() {
            self.stage.state.say(level, text);
            changed = true;
        }
        let dropped = self.link.dropped.load(Ordering::Relaxed);
        changed |= dropped != self.stage.state.dropped;
        self.stage.state.dropped = dropped;
        for _ in 0..EVENTS_A_TURN {
            match self.link.events.try_recv() {
                Ok(Event::Failed(text)) if self.before.is_some() => self.back_to_before(text),
                Ok(event) => {
                    if matches!(event, Event::Started(_)) {
                        self.before = None;
                    }
                    self.stage.apply(event, now);
                }
                Err(TryRecvError::Empty) => return changed,
                Err(TryRecvError::Disconnected) => return self.disconnected() || changed,
            }
            changed = true;
        }
        changed
    }

    fn disconnected(&mut self) -> bool {
        let news = std::mem::take(&mut self.connected);
        if news && self.before.is_some() {
            self.back_to_before("its thread ended without a word".into());
        } else if news {
            // The message of the panic that ended the trainer was kept before its channel closed.
            terminal::take_panics().into_iter().for_each(|text| self.stage.state.panicked(text));
            self.stage.state.disconnected(self.stage.view.stopping);
        }
        news
    }

    /// Takes up all keys that wait; says whether to leave.
    fn take_keys(&mut self, guard: &mut Guard) -> io::Result<Effect> {
        loop {
            let size = guard.terminal.size()?;
            let screen = Rect::new(0, 0, size.width, size.height);
            let effect = match event::read()? {
                event::Event::Key(key) => self.stage.press(&key, screen),
                event::Event::Mouse(mouse) => self.stage.mouse(&mouse, screen),
                _ => Effect::None,
            };
            if effect == Effect::Leave {
                return Ok(effect);
            }
            self.carry_out(effect, guard)?;
            if !event::poll(Duration::ZERO)? {
                return Ok(Effect::None);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, guard: &mut Guard) -> io::Result<()> {
        match effect {
            Effect::None | Effect::Leave => {}
            Effect::Send(command) => self.waiting.push_back(command),
            Effect::Mouse(on) => guard.mouse(on)?,
            Effect::Suspend => self.asked.suspend.store(true, Ordering::Relaxed),
            Effect::Resume(steps) => self.resume(steps),
            Effect::Fork(name, sets) => self.fork_when_over(name, sets),
            Effect::Note(text) => self.note(&text),
            Effect::Export(table, file) => match &self.stage.state.run {
                Some(run) => self.host.export(&run.folder, &table, &file, self.said.0.clone()),
                None => self.stage.state.say(Level::Warn, "there is no run yet".into()),
            },
        }
        Ok(())
    }

    /// Sends what waits as far as the trainer has room.
    fn send(&mut self) {
        while let Some(command) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(command)) = self.link.commands.try_send(command) {
                self.waiting.push_front(command);
                return;
            }
        }
    }

    fn left(&self) -> Left {
        let summary = match &self.stage.state.end {
            End::Failed(text) => return Left::Failed(text.clone()),
            End::Running => return Left::AtOnce,
            End::Finished(summary) => Some((**summary).clone()),
            End::Gone => None,
        };
        if self.stage.view.stopping { Left::Stopped(summary) } else { Left::Over(summary) }
    }
}
