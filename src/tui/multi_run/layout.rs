//! Owns: the rectangles of the dashboard of several runs.
//! Must not know: what is drawn there.
//! Invariant: rectangles lie within the screen and do not overlap; the chart has the most lines.

use ratatui::layout::{Constraint, Layout, Rect};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MultiRunAreas {
    /// Number of runs and groups, filter, order.
    pub status: Rect,
    /// How the work goes; empty without any.
    pub work: Rect,
    pub chart: Rect,
    /// The names of the columns.
    pub heading: Rect,
    pub table: Rect,
    /// Messages, or what is wrong with the selected run.
    pub message: Rect,
    pub footer: Rect,
}

/// Lines of the table, if there are as many runs.
const MIN_TABLE_LINES: u16 = 3;

/// Divides the screen, for a table of so many runs and so many lines about the work.
pub fn areas(screen: Rect, runs: usize, work: u16) -> MultiRunAreas {
    let most = (screen.height * 2 / 5).saturating_sub(3).max(MIN_TABLE_LINES);
    let table = u16::try_from(runs).unwrap_or(u16::MAX).clamp(1, most);
    let [status, work, chart, heading, table, message, footer] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(work),
        Constraint::Fill(1),
        Constraint::Length(1),
        Constraint::Length(table),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(screen);
    MultiRunAreas { status, work, chart, heading, table, message, footer }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_fill_the_screen_and_the_chart_is_the_largest() {
        for (width, height) in [(60, 16), (80, 24), (200, 60), (250, 90)] {
            for (runs, work) in [(0, 0), (2, 1), (20, 1), (5000, 0)] {
                let areas = areas(Rect::new(0, 0, width, height), runs, work);
                let parts =
                    [areas.status, areas.work, areas.chart, areas.heading, areas.table, areas.message, areas.footer];
                assert_eq!(parts.iter().map(|part| part.height).sum::<u16>(), height);
                assert!(areas.chart.height >= 8 && areas.chart.height >= areas.table.height, "{areas:?}");
                assert!(areas.table.height >= 1);
            }
        }
    }
}
