//! Owns: what the person looks at, and what an action does to that.
//! Must not know: colours, drawing, the terminal, the channel (it says what is to be sent).
//! Invariant: an action in the view never blocks and never changes the state of the run.

mod asking;
mod mouse;
mod moving;
mod playing;
mod typing;

use super::charts::{Charts, Span};
use super::command::Prompt;
use super::draft::{Draft, Nudge, Sent};
use super::eras;
use super::heat::Mode;
use super::keys::{self, Action, Scope};
use super::layout::{self, SLOTS};
use super::state::State;
use crate::message::{Command, Level, TokenRow};
pub use playing::{Play, Playing};
use ratatui::layout::Rect;

/// A panel, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Panel {
    /// The run in figures.
    Run,
    /// The loss curves.
    Loss,
    /// The schedule curves.
    Schedule,
    /// The entropies: a row as text, and their course.
    Entropy,
    /// What recycled states decode to.
    Thoughts,
    /// What steps cost.
    Cost,
    /// What was changed and noted.
    Changes,
    /// The log.
    Log,
    /// What the model writes.
    Samples,
    /// What it makes of a person's text.
    Playground,
}

impl Panel {
    /// All, in order.
    pub const ALL: [Panel; 10] = [
        Panel::Run,
        Panel::Loss,
        Panel::Schedule,
        Panel::Entropy,
        Panel::Thoughts,
        Panel::Cost,
        Panel::Changes,
        Panel::Log,
        Panel::Samples,
        Panel::Playground,
    ];

    /// The key that goes to it: its number from 1, or a letter.
    pub fn key(self) -> char {
        match self {
            Panel::Playground => 'p',
            panel => char::from(b'1' + panel as u8),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Panel::Run => "run",
            Panel::Loss => "loss",
            Panel::Schedule => "schedule",
            Panel::Entropy => "entropy",
            Panel::Thoughts => "thoughts",
            Panel::Cost => "cost",
            Panel::Changes => "changes",
            Panel::Log => "log",
            Panel::Samples => "samples",
            Panel::Playground => "playground",
        }
    }

    /// The panel of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|panel| panel.name() == name)
    }

    fn moved(self, by: usize) -> Panel {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// What lies over the panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// Nothing.
    None,
    /// The help page, scrolled by so many lines.
    Help(u16),
    /// The question whether to stop.
    Question,
    /// The command line.
    Prompt,
    /// What the focused panel is to be filtered by.
    Filter,
}

/// Which picture of the entropies is shown where there is room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picture {
    /// A row as text.
    Row,
    /// Steps by entropy over the whole run.
    Course,
}

/// What an action asks of the main loop.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing but a redraw.
    None,
    /// Send this to the trainer.
    Send(Command),
    /// Go on with the run in another trainer, to so many steps in all where that is said.
    Resume(Option<u64>),
    /// Stop the run and begin another from its newest checkpoint, of this name and with these overrides.
    Fork(String, Vec<String>),
    /// Write this into the record of a run that no trainer of this process has.
    Note(String),
    /// Write a table to a file.
    Export(String, String),
    /// Take the mouse, or leave it to the terminal.
    Mouse(bool),
    /// Stop the process until the shell lets it go on.
    Suspend,
    /// Leave.
    Leave,
}

/// What the person looks at.
#[derive(Debug)]
pub struct View {
    /// The focused panel.
    pub focus: Panel,
    /// The panel of each slot that is shown where they share it.
    pub shown: [Panel; SLOTS],
    /// Whether the focused panel has the whole screen.
    pub expanded: bool,
    /// What lies over the panels.
    pub overlay: Overlay,
    /// The command line, while it is open.
    pub prompt: Prompt,
    /// What is filtered by, for each panel.
    pub filters: [String; Panel::ALL.len()],
    /// Whether the run is another process's: leaving does not stop it.
    pub watching: bool,
    /// Whether the run was asked to stop.
    pub stopping: bool,
    /// Whether the run was asked to hold (or to go on) and has not yet.
    pub pause_asked: Option<bool>,
    /// How the charts are looked at.
    pub charts: Charts,
    /// The picture as it was when it was frozen.
    pub frozen: Option<Box<State>>,
    /// The number that is looked at in the schedule, among those that are used.
    pub number: usize,
    /// The edit that is made there.
    pub draft: Option<Draft>,
    /// The edit that was asked for there.
    pub sent: Option<Sent>,
    /// The selected position of the row.
    pub selected: usize,
    /// The step of the row that is shown; none: the newest.
    pub row_at: Option<u64>,
    /// Which entropy is shown.
    pub mode: Mode,
    /// Which picture of the entropies.
    pub picture: Picture,
    /// The least level of the log that is shown.
    pub level: Level,
    /// How the playground answers.
    pub play: Play,
    /// For each panel that is a list: lines gone back from its end, or down from its beginning.
    pub scrolled: [usize; Panel::ALL.len()],
    /// Whether the mouse is the dashboard's.
    pub mouse: bool,
    /// What came of the last key, where that is not seen; until the next key.
    pub hint: Option<String>,
    /// Alerts that a person has seen.
    pub acknowledged: Vec<String>,
    /// Undos that are asked for and not answered, and the changes seen before the first of them.
    pub undos: (usize, u64),
    /// What was counted when it was last settled: trainers, log lines, changes, samples, answers.
    pub counted: [u64; 5],
}

impl Default for View {
    fn default() -> Self {
        Self {
            focus: Panel::Loss,
            shown: layout::FIRST,
            expanded: false,
            overlay: Overlay::None,
            prompt: Prompt::default(),
            filters: Default::default(),
            watching: false,
            stopping: false,
            pause_asked: None,
            charts: Charts::default(),
            frozen: None,
            number: 0,
            draft: None,
            sent: None,
            selected: 0,
            row_at: None,
            mode: Mode::Plain,
            picture: Picture::Row,
            level: Level::Info,
            play: Play::default(),
            scrolled: [0; Panel::ALL.len()],
            mouse: true,
            hint: None,
            acknowledged: Vec::new(),
            undos: (0, 0),
            counted: [0; 5],
        }
    }
}

impl View {
    /// The scopes whose keys work now.
    pub fn scopes(&self) -> Vec<Scope> {
        match self.overlay {
            Overlay::None if self.draft.is_some() => vec![Scope::Draft, Scope::Always],
            Overlay::None if keys::is_list(self.focus) => {
                vec![Scope::Panel(self.focus), Scope::List, Scope::Panels, Scope::Always]
            }
            Overlay::None => vec![Scope::Panel(self.focus), Scope::Panels, Scope::Always],
            Overlay::Help(_) => vec![Scope::Help, Scope::Always],
            Overlay::Question => vec![Scope::Question, Scope::Always],
            Overlay::Prompt | Overlay::Filter => vec![Scope::Prompt],
        }
    }

    /// Focuses `panel`, and shows it in its slot.
    pub fn look_at(&mut self, panel: Panel) {
        self.focus = panel;
        if let Some(slot) = layout::slot(panel) {
            self.shown[slot] = panel;
        }
    }

    /// The state that is looked at: as it is, or as it was when it was frozen.
    pub fn seen<'a>(&'a self, state: &'a State) -> &'a State {
        self.frozen.as_deref().unwrap_or(state)
    }

    /// The row to show.
    pub fn row<'a>(&self, state: &'a State) -> Option<&'a TokenRow> {
        let held = self.row_at.and_then(|step| state.rows.iter().find(|row| row.step >= step));
        held.or(state.rows.back()).map(|row| &**row)
    }

    /// What `panel` is filtered by, in lower case.
    pub fn filter(&self, panel: Panel) -> &str {
        &self.filters[panel as usize]
    }

    /// Forgets what was asked for and has come true, or can no longer.
    pub fn settle(&mut self, state: &State) {
        if self.pause_asked == Some(state.is_paused()) || state.is_over() {
            self.pause_asked = None;
        }
        if state.is_over() && self.overlay == Overlay::Question {
            self.overlay = Overlay::None;
        }
        if state.is_over() || state.changes_seen >= self.undos.1 + self.undos.0 as u64 {
            self.undos = (0, state.changes_seen);
        }
        self.count(state);
    }

    /// Keeps in place what is read of lists that grow; forgets what was of a run that another has taken the place of.
    fn count(&mut self, state: &State) {
        let now = [state.begun, state.logged, state.changes_seen, state.sampled, state.asked];
        let before = std::mem::replace(&mut self.counted, now);
        if now[0] != before[0] {
            (self.draft, self.sent, self.frozen, self.row_at) = (None, None, None, None);
            self.charts.cross = None;
            self.scrolled = [0; Panel::ALL.len()];
            return;
        }
        let lists = [
            (Panel::Log, state.log.len()),
            (Panel::Changes, state.changes.len()),
            (Panel::Samples, state.samples.len()),
            (Panel::Playground, state.answers.len()),
        ];
        for ((panel, kept), (now, before)) in lists.into_iter().zip(now.into_iter().zip(before).skip(1)) {
            let back = &mut self.scrolled[panel as usize];
            // A picture that is held does not grow; and what is forgotten cannot be gone back to.
            if *back > 0 && self.filters[panel as usize].is_empty() && self.frozen.is_none() {
                *back = (*back + now.saturating_sub(before) as usize).min(kept.saturating_sub(1));
            }
        }
    }

    /// Carries out `action` on a screen of this size.
    pub fn act(&mut self, action: Action, state: &State, screen: Rect) -> Effect {
        self.hint = None;
        match action {
            Action::Help => {
                self.overlay = if self.overlay == Overlay::None { Overlay::Help(0) } else { Overlay::None }
            }
            Action::Quit => return self.quit(state),
            Action::Interrupt if self.overlay == Overlay::Question => return Effect::Leave,
            Action::Interrupt => return self.quit(state),
            Action::Suspend => return Effect::Suspend,
            Action::Pause => return self.pause(state),
            Action::Step => return self.ask(state, Command::Step),
            Action::Resume => return self.resume(state),
            Action::Undo => return self.undo(state),
            Action::Prompt(text) => self.open(text, state),
            Action::Filter => {
                if !FILTERED.contains(&self.focus) {
                    // What can be filtered of charts are metrics.
                    self.look_at(Panel::Run);
                    self.expanded = true;
                }
                self.overlay = Overlay::Filter;
                self.prompt.open(self.filters[self.focus as usize].clone());
            }
            Action::Next => self.look_at(self.focus.moved(1)),
            Action::Previous => self.look_at(self.focus.moved(Panel::ALL.len() - 1)),
            Action::Focus(panel) => self.look_at(panel),
            Action::Expand => self.expanded = !self.expanded,
            Action::Back => self.back(state),
            Action::Freeze => {
                self.frozen = if self.frozen.is_some() { None } else { Some(Box::new(state.clone())) };
            }
            Action::Mouse => {
                self.mouse = !self.mouse;
                return Effect::Mouse(self.mouse);
            }
            Action::GoOn => self.overlay = Overlay::None,
            Action::Leave => return Effect::Leave,
            Action::Stop => {
                self.overlay = Overlay::None;
                self.stopping = true;
                return Effect::Send(Command::Stop);
            }
            Action::Threshold(up) => self.nudge_threshold(up),
            Action::DraftSend => return self.send_draft(state),
            Action::DraftDrop => self.draft = None,
            action => self.look(action, state, screen),
        }
        Effect::None
    }

    /// Carries out what changes nothing but what is seen.
    fn look(&mut self, action: Action, state: &State, screen: Rect) {
        let frozen = self.frozen.take();
        let seen = frozen.as_deref().unwrap_or(state);
        let run = seen.span();
        match action {
            Action::Move(motion) => self.go(motion, seen, screen),
            Action::Zoom(inward) => self.charts.zoom(run, inward),
            Action::Span => self.charts.next_span(run),
            Action::Whole => self.charts.span = Span::All,
            Action::Follow => self.charts.follow(),
            Action::Pan(forward) => self.charts.pan(run, forward),
            Action::Cross(by) => {
                let width = layout::panel(screen, 0, self, self.focus).width;
                self.charts.move_cross(run, width.saturating_sub(10), by);
            }
            Action::LogX => self.charts.log_x = !self.charts.log_x,
            Action::LogY => self.charts.log_y = !self.charts.log_y,
            Action::Smooth => self.charts.smooth_more(seen.dashboard().smoothing),
            Action::Parts => self.charts.parts = self.charts.parts.next(),
            Action::Mode => self.mode = self.mode.next(),
            Action::Picture => {
                self.picture = if self.picture == Picture::Row { Picture::Course } else { Picture::Row };
            }
            Action::Row(older) => {
                let shown = self.row(seen).map(|row| row.step);
                let older_ones = seen.rows.iter().rev().map(|row| row.step).find(|step| Some(*step) < shown);
                let newer = seen.rows.iter().map(|row| row.step).find(|step| Some(*step) > shown);
                let newest = seen.rows.back().map(|row| row.step);
                let to = if older { older_ones.or(shown) } else { newer };
                self.row_at = to.filter(|to| Some(*to) != newest);
            }
            Action::Level => {
                self.level = match self.level {
                    Level::Info => Level::Warn,
                    Level::Warn => Level::Error,
                    Level::Error => Level::Info,
                }
            }
            Action::Draft(edit) => self.edit(edit, seen),
            _ => {}
        }
        self.frozen = frozen;
    }

    /// Out of what one is in: an alert that was read, the filter, the step that is read, the whole screen.
    fn back(&mut self, state: &State) {
        let passing: Vec<String> = state.passing_alerts().collect();
        let filter = &mut self.filters[self.focus as usize];
        if passing.iter().any(|text| !self.acknowledged.contains(text)) {
            self.acknowledged = passing;
        } else if !filter.is_empty() {
            filter.clear();
        } else if self.charts.cross.is_some() {
            self.charts.cross = None;
        } else {
            self.expanded = false;
        }
    }

    /// The number that is looked at, among all live ones.
    pub fn number_in(&self, state: &State) -> Option<usize> {
        let used = eras::used(&state.run.as_ref()?.config);
        used.get(self.number.min(used.len().saturating_sub(1))).copied()
    }
}

/// Why nothing can be asked of the run.
const OVER: &str = "the run is over; r or `:resume STEPS` goes on with it";

/// The panels that can be filtered.
const FILTERED: [Panel; 5] = [Panel::Run, Panel::Changes, Panel::Log, Panel::Samples, Panel::Playground];

/// What a key does to a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// The knot's value, up or down.
    Value(bool, Nudge),
    /// The knot after or before.
    Knot(bool),
    /// The knot's step, forward or back.
    Shift(bool),
    /// A knot at the step that is read, or the next.
    Add,
    /// The knot away.
    Remove,
}
