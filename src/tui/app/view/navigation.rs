//! Owns: moving in rows, lists and pages.
//! Must not know: the content of the lists.
//! Invariant: the position stays within the content.

use super::{Overlay, Panel, ViewState};
use crate::tui::app::actions::Motion;
use crate::tui::app::layout;
use crate::tui::model::config_history;
use crate::tui::model::state::RunModel;
use crate::tui::panels::{changes, entropy, help, log, playground, rollouts, run, samples};
use crate::tui::plot::token_grid;
use ratatui::layout::Rect;

impl ViewState {
    pub fn apply_motion(&mut self, motion: Motion, state: &RunModel, screen: Rect) {
        if let Overlay::Help(at) = self.overlay {
            let (page, last) = (help::visible_lines(screen), help::scroll_limit(screen, &self.help_filter));
            let at = moved_position(usize::from(at), motion, usize::from(page), usize::from(last));
            self.overlay = Overlay::Help(at as u16);
            return;
        }
        let area = layout::inner_area(self.panels.area_of(self.panels.focus, screen, 0));
        match self.panels.focus {
            Panel::Entropy => self.move_in_row(motion, state, area),
            Panel::Schedule => {
                let count = state.run.as_ref().map_or(0, |run| config_history::settings_in_use(&run.config).len());
                self.selected_setting =
                    moved_position(self.selected_setting, motion, usize::from(area.height), count.saturating_sub(1));
            }
            Panel::Loss => {}
            Panel::Rollouts => {
                let last = rollouts::text_scroll_limit(state, self, area);
                self.rollouts.apply_motion(motion, state, usize::from(area.height) / 2, last);
            }
            panel => {
                let (motion, last) = match panel {
                    Panel::Run => (motion, run::scroll_limit(state, self, area)),
                    Panel::Thoughts => {
                        let rows = self.tokens.row(state).map_or(0, |row| row.thoughts.len());
                        (motion, rows.saturating_sub(1))
                    }
                    // The selected layer, from the first.
                    Panel::Layers => (motion, state.layers.all().len().saturating_sub(1)),
                    // The offset of the other lists counts from their newest entry.
                    panel => (motion.reversed(), self.entry_count(panel, state).saturating_sub(1)),
                };
                let at = &mut self.lists[panel as usize].offset;
                *at = moved_position(*at, motion, usize::from(area.height), last);
            }
        }
    }

    fn entry_count(&self, panel: Panel, state: &RunModel) -> usize {
        match panel {
            Panel::Changes => changes::entries(state, self).count(),
            Panel::Log => log::entries(state, self).count(),
            Panel::Samples => samples::entries(state, self).count(),
            Panel::Playground => playground::entries(state, self).count(),
            _ => 0,
        }
    }

    fn move_in_row(&mut self, motion: Motion, state: &RunModel, area: Rect) {
        let text = entropy::text_area(area, self, state);
        let Some(row) = self.tokens.row(state) else { return };
        let placed = token_grid::layout_tokens(&row.cells, text.width);
        let page = usize::from(text.height.max(1));
        let from = self.tokens.selected.min(placed.len().saturating_sub(1));
        self.tokens.selected = match motion {
            Motion::Left => from.saturating_sub(1),
            Motion::Right => (from + 1).min(placed.len().saturating_sub(1)),
            Motion::Up => token_grid::move_by_lines(&placed, from, -1),
            Motion::Down => token_grid::move_by_lines(&placed, from, 1),
            Motion::PageUp => token_grid::move_by_lines(&placed, from, -(page as isize)),
            Motion::PageDown => token_grid::move_by_lines(&placed, from, page as isize),
            Motion::Home => 0,
            Motion::End => placed.len().saturating_sub(1),
        };
    }
}

/// Returns the position after `motion` in a list whose last position is `last`, on pages of `page` lines.
fn moved_position(from: usize, motion: Motion, page: usize, last: usize) -> usize {
    let page = page.max(1);
    let to = match motion {
        Motion::Up | Motion::Left => from.saturating_sub(1),
        Motion::Down | Motion::Right => from + 1,
        Motion::PageUp => from.saturating_sub(page),
        Motion::PageDown => from + page,
        Motion::Home => 0,
        Motion::End => last,
    };
    to.min(last)
}
