//! Owns: drawing a histogram of magnitudes: bars over powers of ten.
//! Must not know: what was counted.
//! Invariant: the largest bar has the full height, and every count above 0 can be seen.

use super::RenderContext;
use crate::schema::layer_rows::{MAGNITUDE_BUCKETS, bucket_end};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Bars of one eighth to eight eighths of a cell.
pub const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws `counts` under a line with `name`, above the magnitudes.
pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext, name: &str, counts: &[u32]) {
    let width = usize::from(area.width);
    let total: u64 = counts.iter().map(|count| u64::from(*count)).sum();
    let about = match total {
        0 => format!("{name}: none"),
        total => format!("{name} ({})", text::with_separators(total)),
    };
    let mut lines = vec![Line::from(ctx.span(Role::Name, text::clip(&about, width)))];
    if total > 0 && area.height > 2 && width >= MAGNITUDE_BUCKETS / 2 {
        let columns = columns_of(counts, width);
        let cells = (width / MAGNITUDE_BUCKETS).clamp(1, 2);
        let rows = bar_rows(&columns, usize::from(area.height) - 2, cells);
        lines.extend(rows.into_iter().map(|row| Line::from(ctx.span(Role::Lr, row))));
        lines.push(Line::from(ctx.span(Role::Dim, tick_line(columns.len(), cells))));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// Returns the counts of the columns: one for each bucket, or for two if there is less room.
fn columns_of(counts: &[u32], width: usize) -> Vec<u64> {
    let mut buckets = [0_u64; MAGNITUDE_BUCKETS];
    buckets.iter_mut().zip(counts).for_each(|(bucket, count)| *bucket = u64::from(*count));
    match width >= MAGNITUDE_BUCKETS {
        true => buckets.to_vec(),
        false => buckets.chunks(2).map(|pair| pair.iter().sum()).collect(),
    }
}

/// Returns the lines of the bars from the top, each bar `cells` wide.
fn bar_rows(columns: &[u64], height: usize, cells: usize) -> Vec<String> {
    let largest = columns.iter().copied().max().unwrap_or(0).max(1) as f64;
    let eighths = |count: u64| (count as f64 / largest * (height * 8) as f64).ceil() as usize;
    let bar = |row: usize, count: u64| {
        let below = (height - 1 - row) * 8;
        match eighths(count).saturating_sub(below) {
            0 => ' ',
            filled => BARS[filled.min(8) - 1],
        }
    };
    (0..height).map(|row| columns.iter().map(|count| bar(row, *count).to_string().repeat(cells)).collect()).collect()
}

/// Returns the powers of ten under the columns that they lie in.
fn tick_line(columns: usize, cells: usize) -> String {
    let per_column = MAGNITUDE_BUCKETS / columns.max(1);
    let ticks: &[(f64, &str)] = match per_column {
        1 => &[(1e-8, "1e-8"), (1e-6, "1e-6"), (1e-4, "1e-4"), (1e-2, "1e-2"), (1.0, "1")],
        _ => &[(1e-8, "1e-8"), (1e-4, "1e-4"), (1.0, "1")],
    };
    let mut line = String::new();
    for (magnitude, label) in ticks {
        let bucket = (0..MAGNITUDE_BUCKETS).find(|bucket| *magnitude < bucket_end(*bucket)).unwrap_or_default();
        let at = bucket / per_column * cells;
        line += &" ".repeat(at.saturating_sub(line.len()));
        line += label;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_relative_to_the_largest_and_a_single_count_is_seen() {
        assert_eq!(bar_rows(&[0, 1, 8, 16, 10_000], 2, 1), ["    █", " ▁▁▁█"]);
        assert_eq!(bar_rows(&[4, 2], 1, 2), ["██▄▄"]);
    }

    #[test]
    fn less_room_merges_pairs() {
        let counts: Vec<u32> = (0..MAGNITUDE_BUCKETS as u32).collect();
        assert_eq!(columns_of(&counts, 40).len(), 32);
        assert_eq!(columns_of(&counts, 20)[..3], [1, 5, 9]);
        // A row of a newer or damaged file.
        assert_eq!(columns_of(&[1; 99], 40), [1; 32]);
    }

    #[test]
    fn powers_of_ten_stand_where_their_magnitudes_are_counted() {
        assert_eq!(tick_line(32, 1), "  1e-8   1e-6  1e-4   1e-2   1");
        assert_eq!(tick_line(16, 1), " 1e-8  1e-4   1");
        assert_eq!(tick_line(32, 2).len(), 59);
    }
}
