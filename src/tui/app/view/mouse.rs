//! Owns: the effect of the mouse on the view: focus, step cursor, token selection, zoom.
//! Must not know: the terminal, colours.
//! Invariant: a click is located by the same functions that draw the panel.

use super::{Effect, Overlay, Panel, ViewState};
use crate::tui::app::keys::{Action, Motion};
use crate::tui::app::layout;
use crate::tui::model::state::RunState;
use crate::tui::panels::{RenderContext, entropy, loss};
use crate::tui::theme::{ColorDepth, Theme};
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

impl ViewState {
    /// Handles a mouse event, on a screen of this size with `notice` lines of alerts.
    pub fn handle_mouse(
        &mut self,
        event: &MouseEvent,
        state: &RunState,
        screen: Rect,
        notice: u16,
    ) -> Effect {
        if self.overlay != Overlay::None || self.draft.is_some() {
            return Effect::None;
        }
        let at = Position::new(event.column, event.row);
        let under = Panel::ALL
            .into_iter()
            .find(|panel| layout::panel_area(screen, notice, self, *panel).contains(at));
        let Some(under) = under else { return Effect::None };
        match event.kind {
            MouseEventKind::Down(MouseButton::Left) => self.handle_click(at, under, state, screen, notice),
            MouseEventKind::Drag(MouseButton::Left) if under == Panel::Loss => {
                self.handle_click(at, under, state, screen, notice);
            }
            MouseEventKind::ScrollUp | MouseEventKind::ScrollDown => {
                let up = event.kind == MouseEventKind::ScrollUp;
                let motion = if up { Motion::Up } else { Motion::Down };
                let focus = std::mem::replace(&mut self.focus, under);
                let action = if under == Panel::Loss { Action::Zoom(up) } else { Action::Move(motion) };
                self.apply_display_action(action, state, screen);
                self.focus = focus;
            }
            _ => {}
        }
        Effect::None
    }

    fn handle_click(&mut self, at: Position, under: Panel, state: &RunState, screen: Rect, notice: u16) {
        if let Some(panel) = layout::tab_at(screen, notice, self, at) {
            return self.focus_panel(panel);
        }
        self.focus_panel(under);
        let area = layout::panel_area(screen, notice, self, under);
        let frozen = self.frozen.take();
        let seen = frozen.as_deref().unwrap_or(state);
        match under {
            Panel::Loss => {
                let theme = Theme::new(ColorDepth::None);
                let scene =
                    RenderContext { state: seen, live: state, view: self, theme: &theme, show_tabs: false };
                let plot = loss::plot_in(area, scene).filter(|plot| plot.area.contains(at));
                self.charts.cursor = plot.map(|plot| plot.plane.step_at(plot.area, at.x));
            }
            Panel::Entropy => {
                let text = entropy::text_area(layout::inner_area(area), self, seen);
                let found = self
                    .displayed_row(seen)
                    .and_then(|row| entropy::token_at(row, text, self.selected_token, at));
                self.selected_token = found.unwrap_or(self.selected_token);
            }
            _ => {}
        }
        self.frozen = frozen;
    }
}
