//! Owns: drawing runs as lines of a table: headings, cells, the selected line.
//! Must not know: keys, what stands before a line or around the table.
//! Invariant: the selected line is in view and has one style from edge to edge.

use super::columns::{self, GAP, ShownColumn, ShownColumns};
use super::layout;
use super::state::RunBrowser;
use crate::run_list::column::Column;
use crate::schema::run_list::RunListRow;
use crate::schema::status::RunState;
use crate::tui::text;
use crate::tui::theme::{Role, Theme};
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

fn span(theme: &Theme, role: Role, text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), theme.style(role))
}

/// Returns the names of the columns, after `before`, which is as wide as what stands before each line.
pub fn heading_line(browser: &RunBrowser, theme: &Theme, shown: &ShownColumns, before: &str) -> Line<'static> {
    let sorted = browser.settings.order.column;
    let mut line = Line::from(span(theme, Role::Name, before));
    for (index, column) in shown.columns.iter().enumerate() {
        let role = if column.column == sorted { Role::Key } else { Role::Name };
        line.push_span(span(theme, role, padded(&column.title, column, index + 1 == shown.columns.len())));
    }
    line
}

/// Returns the lines of the visible runs that fit into `area`, each after the spans that `before` returns for it.
pub fn row_lines(
    browser: &RunBrowser,
    theme: &Theme,
    shown: &ShownColumns,
    area: Rect,
    before: impl Fn(&RunListRow) -> Vec<Span<'static>>,
) -> Vec<Line<'static>> {
    let (count, height) = (browser.visible_rows().len(), usize::from(area.height));
    let selected = browser.selected_line();
    let first = layout::first_line(selected, count, height);
    let lines = browser.visible_rows().enumerate().skip(first).take(height);
    lines
        .map(|(index, row)| {
            let line = row_line(theme, shown, row, before(row));
            if index == selected { as_selected(line, theme, area.width) } else { line }
        })
        .collect()
}

/// Returns the line in the style of the selected one, over the whole width: other colours could not be read on it.
fn as_selected(mut line: Line<'static>, theme: &Theme, width: u16) -> Line<'static> {
    let free = usize::from(width).saturating_sub(line.width());
    line.push_span(" ".repeat(free));
    let style = theme.style(Role::Selected);
    line.spans.iter_mut().for_each(|span| span.style = style);
    line
}

/// Returns the text of a cell, clipped and padded to the width of its column and the gap after it.
fn padded(content: &str, column: &ShownColumn, is_last: bool) -> String {
    let content = text::clip(content, column.cells);
    let free = " ".repeat(column.cells - text::width(&content).min(column.cells));
    let gap = if is_last { "" } else { &" ".repeat(GAP) };
    let is_right = column.column.is_numeric();
    if is_right { format!("{free}{content}{gap}") } else { format!("{content}{free}{gap}") }
}

fn row_line(theme: &Theme, shown: &ShownColumns, row: &RunListRow, before: Vec<Span<'static>>) -> Line<'static> {
    let mut line = Line::from(before);
    for (index, column) in shown.columns.iter().enumerate() {
        let content = columns::cell_text(column.column, row);
        let role = match column.column {
            Column::State => state_role(row),
            Column::Name => Role::Value,
            Column::Tags => Role::Mark,
            Column::Began | Column::Size | Column::From => Role::Name,
            _ => Role::Value,
        };
        line.push_span(span(theme, role, padded(&content, column, index + 1 == shown.columns.len())));
    }
    line
}

fn state_role(row: &RunListRow) -> Role {
    match row.state {
        _ if !row.problems.is_empty() => Role::Bad,
        Some(RunState::Running) => Role::Good,
        Some(RunState::Finished) => Role::Value,
        Some(RunState::Stopped | RunState::Interrupted) => Role::Warn,
        Some(RunState::Failed) => Role::Bad,
        None => Role::Dim,
    }
}
