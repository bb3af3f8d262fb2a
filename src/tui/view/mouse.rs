//! Owns: what the mouse does to the view: focus, the step that is read, the token, zoom.
//! Must not know: the terminal, colours.
//! Invariant: what was clicked is found by the same functions that drew it.

use super::super::panel::{Scene, entropy, loss};
use super::super::theme::{Depth, Theme};
use super::super::{layout, state::State};
use super::{Effect, Overlay, Panel, View};
use crate::tui::keys::{Action, Motion};
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

impl View {
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
                let theme = Theme::new(Depth::None);
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
