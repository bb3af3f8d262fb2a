//! Owns: the rectangles of the browser, and which lines of the list are in view.
//! Must not know: what is drawn there.
//! Invariant: rectangles lie within the screen; the selected line is in view.

use ratatui::layout::{Constraint, Layout, Rect};

/// Lines of the screen from which the selected run is described below the list.
const DETAILS_MIN_HEIGHT: u16 = 20;
const DETAILS_LINES: u16 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrowserAreas {
    /// What the list shows: folder, number of runs, filter, order.
    pub status: Rect,
    /// The names of the columns.
    pub heading: Rect,
    pub list: Rect,
    /// The selected run in full; empty on small screens.
    pub details: Rect,
    /// Messages; without one, nothing.
    pub message: Rect,
    pub footer: Rect,
}

/// Divides the screen.
pub fn areas(screen: Rect) -> BrowserAreas {
    let details = if screen.height >= DETAILS_MIN_HEIGHT { DETAILS_LINES } else { 0 };
    let [status, heading, list, details, message, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
        Constraint::Length(details),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(screen);
    BrowserAreas { status, heading, list, details, message, footer }
}

/// Returns the first line in view, of `count` lines in `height`, with the selected one near the middle.
pub fn first_line(selected: usize, count: usize, height: usize) -> usize {
    selected.saturating_sub(height / 2).min(count.saturating_sub(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_line_is_in_view_and_no_line_is_wasted() {
        for (count, height) in [(0, 5), (3, 5), (5, 5), (100, 7), (100, 1)] {
            for selected in 0..count {
                let first = first_line(selected, count, height);
                assert!(first <= selected && selected < first + height, "{selected} of {count} in {height}");
                assert!(first == 0 || first + height <= count);
            }
        }
    }

    #[test]
    fn areas_fill_the_screen() {
        for (width, height) in [(60, 16), (80, 24), (250, 70)] {
            let areas = areas(Rect::new(0, 0, width, height));
            let parts = [areas.status, areas.heading, areas.list, areas.details, areas.message, areas.footer];
            assert_eq!(parts.iter().map(|part| part.height).sum::<u16>(), height);
            assert!(areas.list.height >= 8);
        }
    }
}
