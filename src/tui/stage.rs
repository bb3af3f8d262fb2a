//! Owns: a dashboard without a terminal: what is known, what is looked at, and its picture.
//! Must not know: the terminal, the channels, the time of day (the caller says what time it is).
//! Invariant: the same events, keys and size give the same picture.

use super::ascii::ascii;
use super::keys::{self, Action, Scope};
use super::panel::{Scene, notice};
use super::screen;
use super::state::State;
use super::theme::{Depth, Theme};
use super::view::{Effect, Overlay, View};
use crate::message::Event;
use crossterm::event::{KeyEvent, KeyEventKind, MouseEvent};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, backend::TestBackend};
use std::time::Duration;

/// All of a dashboard but the terminal.
pub struct Stage {
    /// What is known of the run.
    pub state: State,
    /// What is looked at.
    pub view: View,
    /// The colours.
    pub theme: Theme,
    /// Whether the picture is to be ASCII alone.
    pub ascii: bool,
}

impl Stage {
    /// Nothing known yet; colours of this depth.
    pub fn new(depth: Depth, ascii: bool) -> Self {
        Self { state: State::default(), view: View::default(), theme: Theme::new(depth), ascii }
    }

    fn scene(&self) -> Scene<'_> {
        let Self { state, view, theme, .. } = self;
        Scene { state: view.seen(state), live: state, view, theme, tabs: false }
    }

    /// Takes up an event, `now` after the dashboard opened.
    pub fn apply(&mut self, event: Event, now: Duration) {
        self.state.apply(event, now);
        self.view.settle(&self.state);
    }

    /// Takes a key on a screen of this size.
    pub fn press(&mut self, key: &KeyEvent, screen: Rect) -> Effect {
        if key.kind == KeyEventKind::Release {
            return Effect::None;
        }
        // The command line takes all others as text.
        if keys::action(key, &[Scope::Always]) == Some(Action::Suspend) {
            return Effect::Suspend;
        }
        if matches!(self.view.overlay, Overlay::Prompt | Overlay::Filter) {
            return self.view.type_key(key, &self.state);
        }
        match keys::action(key, &self.view.scopes()) {
            Some(action) => self.view.act(action, &self.state, screen),
            None => Effect::None,
        }
    }

    /// Takes what the mouse did on a screen of this size.
    pub fn mouse(&mut self, event: &MouseEvent, screen: Rect) -> Effect {
        let notice = notice::lines(self.scene(), screen.width).len() as u16;
        self.view.mouse(event, &self.state, screen, notice)
    }

    /// Draws the picture.
    pub fn draw(&self, frame: &mut Frame) {
        screen::render(frame, self.scene());
        if self.ascii {
            ascii(frame.buffer_mut());
        }
    }

    /// The picture on a screen of this size.
    pub fn picture(&self, width: u16, height: u16) -> Buffer {
        let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
        let Ok(_) = terminal.draw(|frame| self.draw(frame));
        terminal.backend().buffer().clone()
    }
}
