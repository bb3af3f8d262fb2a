//! Owns: the effect of the mouse on the view: focus, step cursor, token selection, zoom.
//! Must not know: the terminal, colours.
//! Invariant: a click is located by the same functions that draw the panel.

use super::{Effect, Overlay, Panel, ViewState};
use crate::tui::app::actions::{Action, Motion, Zoom};
use crate::tui::app::layout;
use crate::tui::model::state::RunModel;
use crate::tui::panels::{RenderContext, entropy, loss};
use crate::tui::theme::{ColorDepth, Theme};
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

impl ViewState {
    /// Handles a mouse event, on a screen of this size with `notice` lines of alerts.
    pub fn handle_mouse(&mut self, event: &MouseEvent, state: &RunModel, screen: Rect, notice: u16) -> Effect {
        if self.overlay != Overlay::None || self.draft.is_some() {
            return Effect::None;
        }
        let at = Position::new(event.column, event.row);
        let under = Panel::ALL.into_iter().find(|panel| self.panels.area_of(*panel, screen, notice).contains(at));
        let Some(under) = under else { return Effect::None };
        match event.kind {
            MouseEventKind::Down(MouseButton::Left) => self.handle_click(at, under, state, screen, notice),
            MouseEventKind::Drag(MouseButton::Left) if under == Panel::Loss => {
                self.handle_click(at, under, state, screen, notice);
            }
            MouseEventKind::ScrollUp | MouseEventKind::ScrollDown => {
                let focus = std::mem::replace(&mut self.panels.focus, under);
                let action = match (under, event.kind) {
                    (Panel::Loss, MouseEventKind::ScrollUp) => Action::Zoom(Zoom::In),
                    (Panel::Loss, _) => Action::Zoom(Zoom::Out),
                    (_, MouseEventKind::ScrollUp) => Action::Move(Motion::Up),
                    _ => Action::Move(Motion::Down),
                };
                self.apply_display_action(action, state, screen);
                self.panels.focus = focus;
            }
            _ => {}
        }
        Effect::None
    }

    fn handle_click(&mut self, at: Position, under: Panel, state: &RunModel, screen: Rect, notice: u16) {
        if let Some(panel) = self.panels.tab_at(at, screen, notice) {
            return self.panels.focus_on(panel);
        }
        self.panels.focus_on(under);
        let area = self.panels.area_of(under, screen, notice);
        let frozen = self.frozen.take();
        let seen = frozen.as_deref().unwrap_or(state);
        match under {
            Panel::Loss => {
                let theme = Theme::new(ColorDepth::None);
                let ctx =
                    RenderContext { state: seen, live: state, view: self, theme: &theme, tabs: layout::TabSet::None };
                let plot = loss::plot_in(area, ctx).filter(|plot| plot.area.contains(at));
                self.charts.cursor = plot.map(|plot| plot.plane.step_at(plot.area, at.x));
                self.show_row_at_cursor(seen);
            }
            Panel::Entropy => {
                let text = entropy::text_area(layout::inner_area(area), self, seen);
                let found =
                    self.tokens.row(seen).and_then(|row| entropy::token_at(row, text, self.tokens.selected, at));
                self.tokens.selected = found.unwrap_or(self.tokens.selected);
            }
            _ => {}
        }
        self.frozen = frozen;
    }
}
