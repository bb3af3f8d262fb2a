//! Owns: which columns of the list fit into a width, and how wide each is.
//! Must not know: colours, what a run's value means.
//! Invariant: name and state are always shown; a column that does not fit is counted, not cut in silence.

use super::state::RunBrowser;
use crate::run_list::column::{BEST_VALIDATION, Column};
use crate::run_list::sort::SortDirection;
use crate::tui::text;

/// Cells before the first column, for the mark.
pub const GUTTER: usize = 2;
/// Cells between two columns.
pub const GAP: usize = 2;
const MIN_NAME_CELLS: usize = 10;
const MAX_NAME_CELLS: usize = 44;
const MAX_CELLS: usize = 30;

/// A column in view.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownColumn {
    pub column: Column,
    pub title: String,
    pub cells: usize,
    /// Columns of the highest rank are left out first.
    rank: u8,
}

/// The columns in view, and how many have no room.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownColumns {
    pub columns: Vec<ShownColumn>,
    pub left_out: usize,
}

/// Chooses the columns for a list of `width` cells.
pub fn fit_columns(browser: &RunBrowser, width: usize) -> ShownColumns {
    fit_wanted(browser, wanted_columns(browser), width)
}

/// Chooses from `wanted`, columns in their order with their ranks, those that fit into `width` cells. The first two are
/// always shown.
pub fn fit_wanted(browser: &RunBrowser, wanted: Vec<(Column, u8)>, width: usize) -> ShownColumns {
    let mut columns: Vec<ShownColumn> =
        wanted.into_iter().map(|(column, rank)| measure(browser, column, rank)).collect();
    let wanted = columns.len();
    let needed = |columns: &[ShownColumn]| {
        let name = columns[0].cells.min(MAX_NAME_CELLS / 2);
        GUTTER + name + columns[1..].iter().map(|column| column.cells + GAP).sum::<usize>()
    };
    while columns.len() > 2 && needed(&columns) > width {
        let highest = columns.iter().map(|column| column.rank).max();
        let last = columns.iter().rposition(|column| Some(column.rank) == highest);
        columns.remove(last.unwrap_or_default());
    }
    let others = GUTTER + columns[1..].iter().map(|column| column.cells + GAP).sum::<usize>();
    let room = width.saturating_sub(others);
    columns[0].cells = columns[0].cells.min(room.max(MIN_NAME_CELLS));
    ShownColumns { left_out: wanted - columns.len(), columns }
}

/// Returns the columns in their order, each with its rank. The column that sorts is among them, and one of the last
/// that are left out, unless it is the time, by which the list is sorted at first.
fn wanted_columns(browser: &RunBrowser) -> Vec<(Column, u8)> {
    let sorted = browser.settings.order.column;
    let mut columns = vec![(Column::Name, 0), (Column::State, 1), (Column::Step, 3), (BEST_VALIDATION, 4)];
    let rest = [(Column::Tags, 6), (Column::Began, 7), (Column::Size, 8), (Column::From, 9)];
    let usual: Vec<Column> = columns.iter().chain(&rest).map(|(column, _)| *column).chain([Column::Run]).collect();
    for column in std::iter::once(&sorted).chain(&browser.settings.columns) {
        let known = columns.iter().any(|(other, _)| other == column);
        if !usual.contains(column) && !known {
            columns.push((*column, 5));
        }
    }
    columns.extend(rest);
    let keeps = |column: Column, rank: u8| column == sorted && column != Column::Began && rank > 2;
    if let Some((_, rank)) = columns.iter_mut().find(|(column, rank)| keeps(*column, *rank)) {
        *rank = 2;
    }
    columns
}

fn measure(browser: &RunBrowser, column: Column, rank: u8) -> ShownColumn {
    let order = browser.settings.order;
    let sign = match order.direction {
        _ if order.column != column => "",
        SortDirection::Ascending => "▲",
        SortDirection::Descending => "▼",
    };
    let most = if column == Column::Name { MAX_NAME_CELLS } else { MAX_CELLS };
    let title = text::clip(&column.title(), most - 1) + sign;
    let widest = browser.visible_rows().map(|row| text::width(&cell_text(column, row))).max().unwrap_or(0);
    ShownColumn { cells: widest.min(most).max(text::width(&title)), column, title, rank }
}

/// Returns the text of a cell, visible on a screen.
pub fn cell_text(column: Column, row: &crate::schema::run_list::RunListRow) -> String {
    text::make_visible(&column.text(row))
}
