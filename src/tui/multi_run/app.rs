//! Owns: `MultiRunApp`, the dashboard of several runs without a terminal.
//! Must not know: the terminal, the channels, the time of day.
//! Invariant: the same reports, keys and size draw the same screen.

use super::draw;
use super::input::{self, MultiRunEffect};
use super::state::MultiRunState;
use super::view::MultiRunView;
use crate::schema::multi_run::{MultiRunUpdate, WorkUpdate};
use crate::tui::terminal::ascii::convert_to_ascii;
use crate::tui::theme::{ColorDepth, Theme};
use crossterm::event::KeyEvent;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal};
use std::path::PathBuf;

/// Everything of the dashboard of several runs except the terminal.
pub struct MultiRunApp {
    pub state: MultiRunState,
    pub view: MultiRunView,
    pub theme: Theme,
    pub ascii: bool,
}

impl MultiRunApp {
    /// Creates the dashboard before the first report. `dir` is named as the place of the runs.
    pub fn new(dir: PathBuf, theme: Theme) -> Self {
        Self { state: MultiRunState::new(dir), view: MultiRunView::default(), theme, ascii: false }
    }

    /// Creates the dashboard before the first report, for a terminal with all colours and a dark background.
    pub fn in_true_color(dir: PathBuf) -> Self {
        Self::new(dir, Theme::new(ColorDepth::TrueColor))
    }

    /// Applies reports of the reader, then brings the table up to date.
    pub fn apply(&mut self, updates: impl IntoIterator<Item = MultiRunUpdate>) {
        updates.into_iter().for_each(|update| self.state.apply(update));
        self.state.update_table();
    }

    pub fn apply_work(&mut self, update: WorkUpdate) {
        self.state.apply_work(update);
    }

    pub fn handle_key(&mut self, key: &KeyEvent, screen: Rect) -> MultiRunEffect {
        input::handle_key(&mut self.state, &mut self.view, key, screen)
    }

    pub fn draw(&self, frame: &mut Frame) {
        draw::render(frame, &self.state, &self.view, &self.theme);
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
