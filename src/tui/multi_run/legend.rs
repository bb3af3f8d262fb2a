//! Owns: the legend of the chart of several runs: each group with its letter, its keys, its number of runs and its value.
//! Must not know: how curves are drawn.
//! Invariant: at most as many lines and cells as it was given; groups that have no room are counted.

use super::drawn_group::{DrawnGroup, group_dash};
use super::view::Emphasis;
use crate::schema::metrics::Metric;
use crate::tui::text;
use crate::tui::theme::{GroupTone, Role, Theme};
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

const MAX_LABEL_CELLS: usize = 48;
/// Cells between two entries.
const GAP: usize = 3;
/// Cells that the count of groups without room takes.
const COUNT_CELLS: usize = 10;

/// Returns the legend of `groups`, in the order of their letters, within `width` cells and `rows` lines.
pub fn legend_lines(
    groups: &[DrawnGroup],
    metric: Metric,
    theme: &Theme,
    (width, rows): (u16, u16),
) -> Vec<Line<'static>> {
    let mut ordered: Vec<&DrawnGroup> = groups.iter().collect();
    ordered.sort_by_key(|group| (group.emphasis != Emphasis::Pinned, group.curves.slot));
    let width = usize::from(width);
    let mut lines = vec![Line::default()];
    for (index, group) in ordered.iter().enumerate() {
        let entry = entry(group, metric, theme, width);
        let needed: usize = entry.iter().map(Span::width).sum();
        let is_last_row = lines.len() >= usize::from(rows);
        let reserved = if is_last_row && index + 1 < ordered.len() { COUNT_CELLS } else { 0 };
        let Some(line) = lines.last_mut() else { break };
        let used = if line.spans.is_empty() { 0 } else { line.width() + GAP };
        if used + needed + reserved > width && used > 0 {
            if is_last_row {
                line.push_span(Span::styled(format!("   +{} more", ordered.len() - index), theme.style(Role::Name)));
                break;
            }
            lines.push(Line::from(entry));
            continue;
        }
        if used > 0 {
            line.push_span(" ".repeat(GAP));
        }
        line.extend(entry);
    }
    lines
}

/// Returns the entry of a group: letter, line, keys, number of runs, and the last value of its mean with its band.
fn entry(group: &DrawnGroup, metric: Metric, theme: &Theme, width: usize) -> Vec<Span<'static>> {
    let tone = if group.emphasis == Emphasis::Behind { GroupTone::Faint } else { GroupTone::Full };
    let style = theme.group(group.curves.slot, tone);
    let star = if group.emphasis == Emphasis::Pinned { "★" } else { "" };
    let line = group_dash(group.curves.slot, theme).legend_glyph();
    let letter = format!("{star}{} {line} ", group.curves.letter);
    let last = group.mean.iter().rev().flatten().next();
    let value = last.map_or_else(String::new, |point| {
        let mean = text::metric_value(metric, point.mean);
        let band = point.band.map_or_else(String::new, |(low, high)| band_text(metric, point.mean, low, high));
        format!(" {mean}{band}")
    });
    let runs = match (group.curves.runs.len(), last.map_or(0, |point| point.runs)) {
        (all, now) if now < all => format!(" n={now} of {all}"),
        (all, _) => format!(" n={all}"),
    };
    let others = text::width(&letter) + text::width(&value) + text::width(&runs);
    let room = width.saturating_sub(others).min(MAX_LABEL_CELLS);
    vec![
        Span::styled(letter, style.add_modifier(Modifier::BOLD)),
        Span::styled(text::clip(&group.curves.label, room), style),
        Span::styled(runs, theme.style(Role::Name)),
        Span::styled(value, theme.style(Role::Value)),
    ]
}

/// Writes a band as ± if it is as far on both sides, else as its ends.
fn band_text(metric: Metric, mean: f64, low: f64, high: f64) -> String {
    let (down, up) = (mean - low, high - mean);
    if (down - up).abs() <= 1e-9 * up.abs().max(f64::MIN_POSITIVE) {
        format!(" ±{}", text::decimal(up))
    } else {
        format!(" ({} to {})", text::metric_value(metric, low), text::metric_value(metric, high))
    }
}
