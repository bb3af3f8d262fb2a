//! Owns: moving in rows, lists and pages.
//! Must not know: what they hold.
//! Invariant: one stays within what there is.

use super::super::eras;
use super::super::heat;
use super::super::keys::Motion;
use super::super::layout;
use super::super::panel::{entropy, help, list, run};
use super::super::state::State;
use super::{Overlay, Panel, View};
use ratatui::layout::Rect;

impl View {
    pub(super) fn go(&mut self, motion: Motion, state: &State, screen: Rect) {
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

    pub(super) fn go_in_row(&mut self, motion: Motion, state: &State, area: Rect) {
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
