//! Owns: `App`, a dashboard without a terminal: the run's state, the view, and how both are drawn.
//! Must not know: the terminal, the channels, the time of day (the caller passes the time).
//! Invariant: the same events, keys and size draw the same screen.

pub mod actions;
pub mod chart_settings;
pub mod command;
pub mod command_list;
pub mod completion;
pub mod draft;
pub mod keys;
pub mod layout;
pub mod main_loop;
pub mod panel_id;
pub mod preferences;
pub mod rollout_view;
pub mod token_view;
pub mod view;

use super::model::state::RunModel;
use super::panels::{RenderContext, notice};
use super::terminal::ascii::convert_to_ascii;
use super::terminal::screen;
use super::theme::Theme;
use crate::schema::protocol::{Alert, AlertTopic, Event};
use actions::Action;
use crossterm::event::{KeyEvent, KeyEventKind, MouseEvent};
use keys::Scope;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal};
use std::time::Duration;
use view::{Effect, Overlay, ViewState};

/// Everything of a dashboard except the terminal.
pub struct App {
    pub state: RunModel,
    pub view: ViewState,
    pub theme: Theme,
    pub ascii: bool,
}

impl App {
    pub fn new(theme: Theme) -> Self {
        Self { state: RunModel::default(), view: ViewState::default(), theme, ascii: false }
    }

    fn render_context(&self) -> RenderContext<'_> {
        let Self { state, view, theme, .. } = self;
        RenderContext { state: view.displayed_state(state), live: state, view, theme, tabs: layout::TabSet::None }
    }

    /// Applies an event that arrived `now` after the dashboard opened.
    pub fn apply(&mut self, event: Event, now: Duration) {
        self.view.observe_event(&event);
        if let Event::Alert(Alert { topic: AlertTopic::DashboardEdit, text: Some(_), .. }) = &event {
            self.view.drop_requests();
        }
        self.state.apply(event, now);
        self.view.reconcile(&self.state);
    }

    pub fn handle_key(&mut self, key: &KeyEvent, screen: Rect) -> Effect {
        if key.kind == KeyEventKind::Release {
            return Effect::None;
        }
        // The command line takes every other key as text.
        if keys::action_for(key, &[Scope::Always]) == Some(Action::Suspend) {
            return Effect::Suspend;
        }
        if matches!(self.view.overlay, Overlay::Prompt | Overlay::Filter | Overlay::HelpFilter) {
            return self.view.handle_prompt_key(key, &self.state);
        }
        let effect = match keys::action_for(key, &self.view.active_scopes()) {
            Some(action) => self.view.apply_action(action, &self.state, screen),
            None => Effect::None,
        };
        self.theme.choose_background(self.view.background);
        effect
    }

    pub fn handle_mouse(&mut self, event: &MouseEvent, screen: Rect) -> Effect {
        let notice = notice::lines(self.render_context(), screen.width).len() as u16;
        self.view.handle_mouse(event, &self.state, screen, notice)
    }

    pub fn draw(&self, frame: &mut Frame) {
        screen::render(frame, self.render_context());
        if self.ascii {
            convert_to_ascii(frame.buffer_mut());
        }
    }

    pub fn render_to_buffer(&self, width: u16, height: u16) -> Buffer {
        let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
        let Ok(_) = terminal.draw(|frame| self.draw(frame));
        terminal.backend().buffer().clone()
    }
}
