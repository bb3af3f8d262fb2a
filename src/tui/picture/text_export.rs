//! Owns: which cells of a drawn screen are visible; the screen as lines of text.
//! Must not know: panels, colours.
//! Invariant: a cell that a wide character covers is never visible, and no line ends in a space.

use crate::tui::text::width;
use ratatui::buffer::{Buffer, Cell};

/// Iterates over the visible cells of a row: column from the left, cell, number of columns.
pub fn visible_cells(buffer: &Buffer, row: u16) -> impl Iterator<Item = (u16, &Cell, u16)> {
    let area = buffer.area;
    let mut next = 0;
    std::iter::from_fn(move || {
        let column = next;
        let left = area.width.checked_sub(column).filter(|left| *left > 0)?;
        let cell = buffer.cell((area.x + column, area.y + row))?;
        let takes = width(cell.symbol()).clamp(1, usize::from(left)) as u16;
        next = column + takes;
        Some((column, cell, takes))
    })
}

/// Returns the screen as text; every line ends in a line break.
pub fn to_text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for row in 0..buffer.area.height {
        let line: String = visible_cells(buffer, row).map(|(_, cell, _)| cell.symbol()).collect();
        out.push_str(line.trim_end_matches(' '));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::layout::Rect;
    use ratatui::style::Style;

    #[test]
    fn lines_are_trimmed_and_covered_cells_left_out() {
        let mut buffer = Buffer::empty(Rect::new(3, 5, 8, 3));
        buffer.set_string(3, 5, "漢字 a", Style::new());
        buffer.set_string(3, 7, "  ──  b", Style::new());
        assert_eq!(to_text(&buffer), "漢字 a\n\n  ──  b\n");
        assert_eq!(to_text(&Buffer::empty(Rect::ZERO)), "");
    }

    #[test]
    fn a_wide_character_covers_its_neighbour_whatever_that_holds() {
        let mut buffer = Buffer::with_lines(["abc"]);
        buffer[(0, 0)].set_symbol("漢");
        assert_eq!(to_text(&buffer), "漢c\n");
        buffer[(2, 0)].set_symbol("字");
        let columns: Vec<_> = visible_cells(&buffer, 0).map(|(column, _, takes)| (column, takes)).collect();
        assert_eq!(columns, [(0, 2), (2, 1)], "cut by the edge");
    }
}
