//! Owns: the changes panel, 7: applied and refused config changes, and notes.
//! Must not know: the terminal, keys, what a config key means.
//! Invariant: the newest row is at the bottom unless the list is scrolled back.
//!
//! ```text
//! ╭ 7 changes ▾ 1 applied, ✗ 1 refused, ✎ 1 noted ─────────────────────────╮
//! │     300 ▾ recycle.weight 1 → 0.5 (keys, v1)                            │
//! │     420 ✗ `optim.lr` = 20 is not allowed; allowed: from 0 to 10 (keys) │
//! │     640 ✎ the loss has jumped: look at the batch                       │
//! ╰────────────────────────────────────────────────────────────────────────╯
//! ```

use super::list::EntryRoom;
use super::{RenderContext, list};
use crate::schema::rows::{ChangeOutcome, ChangeRow};
use crate::tui::app::panel_id::Panel;
use crate::tui::app::view::ViewState;
use crate::tui::model::state::RunModel;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use serde_json::Value;

/// The outcomes of a change: their glyph, their style, and their name in the frame.
const OUTCOMES: [(ChangeOutcome, &str, Role, &str); 3] = [
    (ChangeOutcome::Applied, "▾", Role::Mark, "applied"),
    (ChangeOutcome::Refused, "✗", Role::Bad, "refused"),
    (ChangeOutcome::Noted, "✎", Role::Mark, "noted"),
];

/// Returns the rows that pass the filter, the newest first.
pub fn entries<'a>(state: &'a RunModel, view: &'a ViewState) -> impl Iterator<Item = &'a ChangeRow> {
    state.changes.iter().rev().filter(|row| list::matches_filter(view, Panel::Changes, &row_text(row)))
}

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let subtitle = Line::from(ctx.span(Role::Name, outcome_counts(ctx.state)));
    let panel = (Panel::Changes, "no changes yet; n writes a note, :set changes a key");
    let lines = |row: &ChangeRow, room| row_lines(ctx, row, room);
    list::render(frame, area, ctx, panel, subtitle, entries(ctx.state, ctx.view), lines);
}

/// Returns how many rows have each outcome; it is also the legend of the glyphs.
fn outcome_counts(state: &RunModel) -> String {
    let count_of = |outcome| state.changes.iter().filter(|row| row.outcome == outcome).count();
    let mut counts = Vec::new();
    for (outcome, glyph, _, name) in OUTCOMES {
        match count_of(outcome) {
            0 => {}
            count => counts.push(format!("{glyph} {count} {name}")),
        }
    }
    counts.join(", ")
}

fn row_lines(ctx: RenderContext, row: &ChangeRow, room: EntryRoom) -> Vec<Line<'static>> {
    let style = OUTCOMES.iter().find(|(outcome, ..)| *outcome == row.outcome);
    let (glyph, role) = style.map_or((" ", Role::Value), |(_, glyph, role, _)| (*glyph, *role));
    let first = vec![
        ctx.span(Role::Dim, format!("{:>7} ", text::with_separators(row.step))),
        ctx.span(role, format!("{glyph} ")),
    ];
    let role = if row.outcome == ChangeOutcome::Refused { Role::Bad } else { Role::Value };
    list::entry_lines(ctx, first, (role, &row_text(row)), room)
}

/// Returns the text of a row: a change with source and version, the reason of a refusal, or a note.
pub fn row_text(row: &ChangeRow) -> String {
    let reason = row.reason.as_deref().unwrap_or_default();
    match row.outcome {
        ChangeOutcome::Noted => reason.to_owned(),
        ChangeOutcome::Applied => format!("{} ({}, v{})", change_text(row), row.source, row.version),
        // The reason names the key and the value.
        ChangeOutcome::Refused => format!("{reason} ({})", row.source),
    }
}

/// Returns the key of an applied change with its old and its new value.
pub fn change_text(row: &ChangeRow) -> String {
    let key = row.key.as_deref().unwrap_or_default();
    format!("{key} {} → {}", format_value(&row.old), format_value(&row.new))
}

/// Formats a config value briefly; a missing one is `–`.
fn format_value(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(real) if !number.is_u64() && !number.is_i64() => text::setting_value(real),
            _ => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Null => "–".into(),
        other => text::clip(&other.to_string(), 60),
    }
}
