//! Owns: what the person looks at, and what an action does to that.
//! Must not know: colours, drawing, the terminal, the channel (it says what is to be sent).
//! Invariant: an action in the view never blocks and never changes the state of the run.

use super::command::{Prompt, Typed};
use super::heat::{self, Mode};
use super::keys::{Action, Motion, Scope};
use super::layout;
use super::panel::{help, run};
use super::state::State;
use crate::message::{Command, TokenRow};
use crossterm::event::KeyEvent;
use ratatui::layout::Rect;

/// A panel, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panel {
    /// The run in figures.
    Run,
    /// The loss curves.
    Loss,
    /// The schedule curves.
    Schedule,
    /// The entropy heatmap of a row.
    Entropy,
    /// The log.
    Log,
}

impl Panel {
    /// All, in order.
    pub const ALL: [Panel; 5] = [Panel::Run, Panel::Loss, Panel::Schedule, Panel::Entropy, Panel::Log];

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
            Panel::Log => "log",
        }
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
}

/// How much of the run the loss chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zoom {
    /// The whole run.
    All,
    /// Its last half.
    Half,
    /// Its last tenth.
    Tenth,
}

impl Zoom {
    /// The first step that is shown when `last` is the last.
    pub fn start(self, last: u64) -> u64 {
        match self {
            Zoom::All => 0,
            Zoom::Half => last / 2,
            Zoom::Tenth => last - last / 10,
        }
    }

    /// Its name, empty for the whole run.
    pub fn name(self) -> &'static str {
        match self {
            Zoom::All => "",
            Zoom::Half => "last half",
            Zoom::Tenth => "last tenth",
        }
    }

    fn next(self) -> Self {
        match self {
            Zoom::All => Zoom::Half,
            Zoom::Half => Zoom::Tenth,
            Zoom::Tenth => Zoom::All,
        }
    }
}

/// What an action asks of the main loop.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing but a redraw.
    None,
    /// Send this to the trainer.
    Send(Command),
    /// Leave.
    Leave,
}

/// What the person looks at.
#[derive(Debug)]
pub struct View {
    /// The focused panel.
    pub focus: Panel,
    /// Whether it has the whole screen.
    pub expanded: bool,
    /// What lies over the panels.
    pub overlay: Overlay,
    /// The command line, while it is open.
    pub prompt: Prompt,
    /// Whether the run is another process's: leaving does not stop it.
    pub watching: bool,
    /// Whether the run was asked to stop.
    pub stopping: bool,
    /// Whether the run was asked to hold (or to go on) and has not yet.
    pub pause_asked: Option<bool>,
    /// How much of the run the loss chart shows.
    pub zoom: Zoom,
    /// The selected position of the row.
    pub selected: usize,
    /// Which entropy is shown.
    pub mode: Mode,
    /// The row that is held.
    pub frozen: Option<Box<TokenRow>>,
    /// Log entries newer than the last one shown.
    pub log_back: usize,
    /// Lines of the expanded run panel above the first one shown; more than there are stand for the last page.
    pub run_down: usize,
}

impl Default for View {
    fn default() -> Self {
        Self {
            focus: Panel::Loss,
            expanded: false,
            overlay: Overlay::None,
            prompt: Prompt::default(),
            watching: false,
            stopping: false,
            pause_asked: None,
            zoom: Zoom::All,
            selected: 0,
            mode: Mode::Plain,
            frozen: None,
            log_back: 0,
            run_down: 0,
        }
    }
}

impl View {
    /// The scopes whose keys work now.
    pub fn scopes(&self) -> [Scope; 3] {
        match self.overlay {
            Overlay::None => [Scope::Panel(self.focus), Scope::Panels, Scope::Always],
            Overlay::Help(_) => [Scope::Help, Scope::Help, Scope::Always],
            Overlay::Question => [Scope::Question, Scope::Question, Scope::Always],
            Overlay::Prompt => [Scope::Prompt, Scope::Prompt, Scope::Prompt],
        }
    }

    /// The row to show: the held one, or the last.
    pub fn row<'a>(&'a self, state: &'a State) -> Option<&'a TokenRow> {
        self.frozen.as_deref().or(state.row.as_deref())
    }

    /// Forgets what was asked for and has come true, or can no longer.
    pub fn settle(&mut self, state: &State) {
        if self.pause_asked == Some(state.is_paused()) || state.is_over() {
            self.pause_asked = None;
        }
        if state.is_over() && self.overlay == Overlay::Question {
            self.overlay = Overlay::None;
        }
    }

    /// Carries out `action` on a screen of this size.
    pub fn act(&mut self, action: Action, state: &State, screen: Rect) -> Effect {
        match action {
            Action::Help => {
                self.overlay = if self.overlay == Overlay::None { Overlay::Help(0) } else { Overlay::None }
            }
            Action::Quit => return self.quit(state),
            Action::Interrupt if self.overlay == Overlay::Question => return Effect::Leave,
            Action::Interrupt => return self.quit(state),
            Action::Pause => return self.pause(state),
            Action::Prompt => (self.overlay, self.prompt) = (Overlay::Prompt, Prompt::default()),
            Action::Next => self.focus = self.focus.moved(1),
            Action::Previous => self.focus = self.focus.moved(Panel::ALL.len() - 1),
            Action::Focus(panel) => self.focus = panel,
            Action::Expand => self.expanded = !self.expanded,
            Action::Back => self.expanded = false,
            Action::Move(motion) => self.go(motion, state, screen),
            Action::Zoom => self.zoom = self.zoom.next(),
            Action::Mode => self.mode = self.mode.next(),
            Action::Freeze => self.frozen = if self.frozen.is_some() { None } else { state.row.clone() },
            Action::GoOn => self.overlay = Overlay::None,
            Action::Leave => return Effect::Leave,
            Action::Stop => {
                self.overlay = Overlay::None;
                self.stopping = true;
                return Effect::Send(Command::Stop);
            }
        }
        Effect::None
    }

    /// Takes a key of the command line.
    pub fn type_key(&mut self, key: &KeyEvent, state: &State) -> Effect {
        let typed = self.prompt.press(key);
        if typed != Typed::More {
            self.overlay = Overlay::None;
        }
        match typed {
            Typed::More | Typed::Closed => Effect::None,
            Typed::Asks(Command::Pause(hold)) => {
                self.pause_asked = Some(hold);
                Effect::Send(Command::Pause(hold))
            }
            Typed::Asks(command) => Effect::Send(command),
            Typed::Quits => self.quit(state),
        }
    }

    fn quit(&mut self, state: &State) -> Effect {
        if state.is_over() || self.stopping || self.watching {
            return Effect::Leave;
        }
        self.overlay = Overlay::Question;
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

    fn go(&mut self, motion: Motion, state: &State, screen: Rect) {
        if let Overlay::Help(at) = self.overlay {
            let at = if motion == Motion::Up { at.saturating_sub(1) } else { at.saturating_add(1) };
            self.overlay = Overlay::Help(at.min(help::scroll_limit(screen)));
        } else if self.focus == Panel::Entropy {
            self.go_in_row(motion, state, screen);
        } else if self.focus == Panel::Run {
            let height = layout::panel(screen, 0, self, Panel::Run).height;
            let most = if self.expanded { run::scroll_limit(state, height) } else { 0 };
            self.run_down = match motion {
                Motion::Up => self.run_down.saturating_sub(1),
                _ => (self.run_down + 1).min(most),
            };
        } else {
            self.go_in_log(motion, state, screen);
        }
    }

    fn go_in_row(&mut self, motion: Motion, state: &State, screen: Rect) {
        let area = layout::inner(layout::panel(screen, 0, self, Panel::Entropy));
        let Some(row) = self.row(state) else { return };
        let placed = heat::arrange(&row.cells, area.width);
        let page = usize::from(area.height.saturating_sub(1).max(1));
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

    fn go_in_log(&mut self, motion: Motion, state: &State, screen: Rect) {
        let area = layout::inner(layout::panel(screen, 0, self, Panel::Log));
        let page = usize::from(area.height.max(1));
        let oldest = state.log.len().saturating_sub(1);
        self.log_back = match motion {
            Motion::Up => self.log_back + 1,
            Motion::Down => self.log_back.saturating_sub(1),
            Motion::PageUp => self.log_back + page,
            Motion::PageDown => self.log_back.saturating_sub(page),
            Motion::Home => oldest,
            _ => 0,
        }
        .min(oldest);
    }
}
