//! Owns: what the person looks at, and what an action does to that.
//! Must not know: colours, drawing, the terminal, the channel (it says what is to be sent).
//! Invariant: an action in the view never blocks and never changes the state of the run.

use super::charts::Charts;
use super::command::{Does, Prompt, Typed};
use super::draft::{Draft, Nudge, Sent};
use super::eras;
use super::heat::{self, Mode};
use super::keys::{self, Action, Motion, Scope};
use super::layout::{self, SLOTS};
use super::panel::{Scene, entropy, help, list, loss, run};
use super::state::{End, State};
use super::theme::Theme;
use crate::config::{Config, change};
use crate::message::{Command, Level, Set, TokenRow};
use crossterm::event::{KeyEvent, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};
use std::time::SystemTime;

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
}

impl Panel {
    /// All, in order.
    pub const ALL: [Panel; 9] = [
        Panel::Run,
        Panel::Loss,
        Panel::Schedule,
        Panel::Entropy,
        Panel::Thoughts,
        Panel::Cost,
        Panel::Changes,
        Panel::Log,
        Panel::Samples,
    ];

    /// Its number, from 1.
    pub fn number(self) -> usize {
        self as usize + 1
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
    /// What was counted when it was last settled: trainers, log lines, changes, samples.
    pub counted: [u64; 4],
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
            scrolled: [0; Panel::ALL.len()],
            mouse: true,
            hint: None,
            acknowledged: Vec::new(),
            undos: (0, 0),
            counted: [0; 4],
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
        let now = [state.begun, state.logged, state.changes_seen, state.sampled];
        let before = std::mem::replace(&mut self.counted, now);
        if now[0] != before[0] {
            (self.draft, self.sent, self.frozen, self.row_at) = (None, None, None, None);
            self.scrolled = [0; Panel::ALL.len()];
            return;
        }
        for (panel, index) in [(Panel::Log, 1), (Panel::Changes, 2), (Panel::Samples, 3)] {
            let back = &mut self.scrolled[panel as usize];
            if *back > 0 && self.filters[panel as usize].is_empty() {
                *back += now[index].saturating_sub(before[index]) as usize;
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
            Action::Whole => self.charts.span = super::charts::Span::All,
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
        let unread: Vec<String> =
            state.passing_alerts().filter(|text| !self.acknowledged.contains(text)).collect();
        let filter = &mut self.filters[self.focus as usize];
        if !unread.is_empty() {
            self.acknowledged = unread;
        } else if !filter.is_empty() {
            filter.clear();
        } else if self.charts.cross.is_some() {
            self.charts.cross = None;
        } else {
            self.expanded = false;
        }
    }

    /// Opens the command line; `=` stands for the value of the number that is looked at.
    fn open(&mut self, text: &str, state: &State) {
        let text = match text {
            "=" => self.setting(state).unwrap_or_default(),
            "fork " => {
                state.run.as_ref().map_or(text.into(), |run| format!("fork {}-2", run.config.run.name))
            }
            text => text.to_owned(),
        };
        self.overlay = Overlay::Prompt;
        self.prompt.open(text);
    }

    fn setting(&self, state: &State) -> Option<String> {
        let config = &state.run.as_ref()?.config;
        let number = &eras::numbers()[self.number_in(state)?];
        Some(format!("set {} {}", number.key.path(), config.value(number.key)))
    }

    /// The number that is looked at, among all live ones.
    pub fn number_in(&self, state: &State) -> Option<usize> {
        let used = eras::used(&state.run.as_ref()?.config);
        used.get(self.number.min(used.len().saturating_sub(1))).copied()
    }

    /// Takes a key of the command line or of a filter.
    pub fn type_key(&mut self, key: &KeyEvent, state: &State) -> Effect {
        if self.overlay == Overlay::Filter {
            return self.type_filter(key);
        }
        let typed = self.prompt.press(key, state.run.as_ref().map(|run| &run.config));
        if let Typed::Asks(Command::Note(text)) = &typed
            && (state.is_over() || self.watching)
        {
            self.overlay = Overlay::None;
            return Effect::Note(text.clone());
        }
        if matches!(typed, Typed::Asks(_)) && state.is_over() && !self.watching {
            // There is nobody who could take it up, and it is not to be lost in silence.
            self.prompt.error = Some(OVER.into());
            return Effect::None;
        }
        if let Typed::Does(Does::Fork(name, sets)) = &typed {
            // What is wrong with it is said while it can be mended, before the run is stopped for it.
            self.prompt.error = state.run.as_ref().and_then(|run| wrong_fork(&run.config, name, sets));
            if self.prompt.error.is_some() {
                return Effect::None;
            }
        }
        if typed != Typed::More {
            self.overlay = Overlay::None;
        }
        match typed {
            Typed::More | Typed::Closed | Typed::Done => Effect::None,
            Typed::Asks(Command::Pause(hold)) => {
                self.pause_asked = Some(hold);
                Effect::Send(Command::Pause(hold))
            }
            Typed::Asks(command) => Effect::Send(command),
            Typed::Does(does) => self.does(does, state),
        }
    }

    fn does(&mut self, does: Does, state: &State) -> Effect {
        match does {
            Does::Quit => return self.quit(state),
            Does::Help => self.overlay = Overlay::Help(0),
            Does::Undo => return self.undo(state),
            Does::Resume(None) => return self.resume(state),
            Does::Resume(steps) if state.is_over() => return Effect::Resume(steps),
            Does::Resume(_) => self.hint = Some("the run goes on already".into()),
            Does::Goto(wanted) => {
                let (first, last) = self.seen(state).span();
                let step = wanted.clamp(first, last);
                if step != wanted {
                    self.hint = Some(format!("there are the steps {first} to {last}"));
                }
                self.charts.cross = Some(step);
                let (from, to) = self.charts.window((first, last));
                if !(from..=to).contains(&step) {
                    self.charts.span = super::charts::Span::All;
                }
            }
            Does::Fork(name, sets) => return Effect::Fork(name, sets),
            Does::Export(table, file) => return Effect::Export(table, file),
        }
        Effect::None
    }

    fn type_filter(&mut self, key: &KeyEvent) -> Effect {
        let typed = self.prompt.type_text(key);
        if typed == Typed::Closed {
            self.prompt.text.clear();
        }
        self.filters[self.focus as usize] = self.prompt.text.to_lowercase();
        self.scrolled[self.focus as usize] = 0;
        if typed != Typed::More {
            self.overlay = Overlay::None;
        }
        Effect::None
    }

    fn quit(&mut self, state: &State) -> Effect {
        if state.is_over() || self.watching {
            return Effect::Leave;
        }
        self.overlay = Overlay::Question;
        Effect::None
    }

    /// Goes on with a run that is over; one that has come to its last step needs to be told how far.
    fn resume(&mut self, state: &State) -> Effect {
        match &state.end {
            End::Running => self.hint = Some("the run goes on already".into()),
            End::Finished(summary) if !summary.stopped => self.open("resume ", state),
            _ => return Effect::Resume(None),
        }
        Effect::None
    }

    fn ask(&mut self, state: &State, command: Command) -> Effect {
        if state.is_over() && !self.watching {
            self.hint = Some(OVER.into());
        } else if self.stopping {
            self.hint = Some("the run is being stopped".into());
        } else {
            return Effect::Send(command);
        }
        Effect::None
    }

    fn pause(&mut self, state: &State) -> Effect {
        if state.is_over() || self.stopping {
            return Effect::None;
        }
        let hold = !self.pause_asked.unwrap_or(state.is_paused());
        self.pause_asked = Some(hold);
        Effect::Send(Command::Pause(hold))
    }

    /// Brings back how it was before the last setting.
    fn undo(&mut self, state: &State) -> Effect {
        if self.undos.0 == 0 {
            self.undos.1 = state.changes_seen;
        }
        let Some(values) = state.undo(self.undos.0).cloned() else {
            self.hint = Some("there is nothing to undo".into());
            return Effect::None;
        };
        let effect = self.ask(state, Command::Set(Set { values, at: SystemTime::now() }));
        self.undos.0 += usize::from(effect != Effect::None);
        effect
    }

    fn edit(&mut self, edit: Edit, state: &State) {
        let Some(run) = &state.run else { return };
        // What was is past: a knot there would change nothing of it.
        let next = state.step_now() + 1;
        let (steps, at) = (run.config.run.steps, self.charts.cross.unwrap_or(next).max(next));
        if self.draft.is_none() {
            let Some(number) = self.number_in(state) else { return };
            let curve = state.eras.last().and_then(|era| era.curves[number].clone());
            // A mixture is no number that could be moved.
            let Some(curve) = curve else { return self.open("=", state) };
            (self.draft, self.sent) = (Some(Draft::of(number, &curve, at)), None);
        }
        let Some(draft) = &mut self.draft else { return };
        match edit {
            Edit::Value(up, nudge) => draft.nudge(up, nudge),
            Edit::Knot(forward) => draft.choose(forward),
            Edit::Shift(forward) => draft.shift(forward, steps),
            Edit::Add => draft.add(at),
            Edit::Remove => draft.remove(),
        }
    }

    fn send_draft(&mut self, state: &State) -> Effect {
        let Some(draft) = self.draft.take() else { return Effect::None };
        let (path, value) = (draft.number().key.path(), draft.toml());
        let effect = self.ask(state, Command::Set(Set::one(path.clone(), value.clone())));
        if effect != Effect::None {
            self.sent = Some(Sent { path, value, seen: state.changes_seen });
        }
        effect
    }

    fn go(&mut self, motion: Motion, state: &State, screen: Rect) {
        if let Overlay::Help(at) = self.overlay {
            let at = if motion == Motion::Up { at.saturating_sub(1) } else { at.saturating_add(1) };
            self.overlay = Overlay::Help(at.min(help::scroll_limit(screen)));
            return;
        }
        let area = layout::inner(layout::panel(screen, 0, self, self.focus));
        match self.focus {
            Panel::Entropy => self.go_in_row(motion, state, area),
            Panel::Schedule => {
                let count = state.run.as_ref().map_or(0, |run| eras::used(&run.config).len());
                self.number = moved(self.number, motion, usize::from(area.height), count.saturating_sub(1));
            }
            Panel::Loss => {}
            panel => {
                let (least, most) = match panel {
                    Panel::Run => (false, run::scroll_limit(state, self, area)),
                    panel => (list::from_the_end(panel), list::scroll_limit(panel, state, self)),
                };
                let motion = if least { motion.reversed() } else { motion };
                let at = &mut self.scrolled[panel as usize];
                *at = moved(*at, motion, usize::from(area.height), most);
            }
        }
    }

    fn go_in_row(&mut self, motion: Motion, state: &State, area: Rect) {
        let text = entropy::text_area(area, self, state);
        let Some(row) = self.row(state) else { return };
        let placed = heat::arrange(&row.cells, text.width);
        let page = usize::from(text.height.max(1));
        let from = self.selected.min(placed.len().saturating_sub(1));
        self.selected = match motion {
            Motion::Left => from.saturating_sub(1),
            Motion::Right => (from + 1).min(placed.len().saturating_sub(1)),
            Motion::Up => heat::vertically(&placed, from, -1),
            Motion::Down => heat::vertically(&placed, from, 1),
            Motion::PageUp => heat::vertically(&placed, from, -(page as isize)),
            Motion::PageDown => heat::vertically(&placed, from, page as isize),
            Motion::Home => 0,
            Motion::End => placed.len().saturating_sub(1),
        };
    }

    /// Takes what the mouse did on a screen of this size.
    pub fn mouse(&mut self, event: &MouseEvent, state: &State, screen: Rect, notice: u16) -> Effect {
        if self.overlay != Overlay::None || self.draft.is_some() {
            return Effect::None;
        }
        let at = Position::new(event.column, event.row);
        let under =
            Panel::ALL.into_iter().find(|panel| layout::panel(screen, notice, self, *panel).contains(at));
        let Some(under) = under else { return Effect::None };
        match event.kind {
            MouseEventKind::Down(MouseButton::Left) => self.click(at, under, state, screen, notice),
            MouseEventKind::Drag(MouseButton::Left) if under == Panel::Loss => {
                self.click(at, under, state, screen, notice);
            }
            MouseEventKind::ScrollUp | MouseEventKind::ScrollDown => {
                let up = event.kind == MouseEventKind::ScrollUp;
                let motion = if up { Motion::Up } else { Motion::Down };
                let focus = std::mem::replace(&mut self.focus, under);
                let action = if under == Panel::Loss { Action::Zoom(up) } else { Action::Move(motion) };
                self.look(action, state, screen);
                self.focus = focus;
            }
            _ => {}
        }
        Effect::None
    }

    fn click(&mut self, at: Position, under: Panel, state: &State, screen: Rect, notice: u16) {
        if let Some(panel) = layout::tab(screen, notice, self, at) {
            return self.look_at(panel);
        }
        self.look_at(under);
        let area = layout::panel(screen, notice, self, under);
        let frozen = self.frozen.take();
        let seen = frozen.as_deref().unwrap_or(state);
        match under {
            Panel::Loss => {
                let theme = Theme::new(super::theme::Depth::None);
                let scene = Scene { state: seen, live: state, view: self, theme: &theme, tabs: false };
                let plot = loss::plot(area, scene).filter(|plot| plot.area.contains(at));
                self.charts.cross = plot.map(|plot| plot.plane.step(plot.area, at.x));
            }
            Panel::Entropy => {
                let text = entropy::text_area(layout::inner(area), self, seen);
                let found = self.row(seen).and_then(|row| entropy::token_at(row, text, self.selected, at));
                self.selected = found.unwrap_or(self.selected);
            }
            _ => {}
        }
        self.frozen = frozen;
    }
}

/// Why nothing can be asked of the run.
const OVER: &str = "the run is over; r or `:resume STEPS` goes on with it";

/// The panels that can be filtered.
const FILTERED: [Panel; 4] = [Panel::Run, Panel::Changes, Panel::Log, Panel::Samples];

/// What is wrong with a fork of a run with this config, of this name and with these overrides.
fn wrong_fork(config: &Config, name: &str, sets: &[String]) -> Option<String> {
    let named = format!("run.name={}", toml::Value::String(name.to_owned()));
    let mut config = config.clone();
    for set in std::iter::once(&named).chain(sets) {
        let (key, value) = set.split_once('=')?;
        let edit = match change::parse(&config, key, value) {
            Ok(edit) => edit,
            Err(error) => return Some(error.to_string()),
        };
        if edit.key.section == "model" {
            return Some(format!("`{key}`: a fork has the model of the run it begins with"));
        }
        match change::with(&config, [(edit.key, &edit.new)], "the fork") {
            Ok(changed) => config = changed,
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}

/// `from` after `motion` in a list of which `page` entries are seen, `most` being the last.
fn moved(from: usize, motion: Motion, page: usize, most: usize) -> usize {
    let page = page.max(1);
    let to = match motion {
        Motion::Up | Motion::Left => from.saturating_sub(1),
        Motion::Down | Motion::Right => from + 1,
        Motion::PageUp => from.saturating_sub(page),
        Motion::PageDown => from + page,
        Motion::Home => 0,
        Motion::End => most,
    };
    to.min(most)
}

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
