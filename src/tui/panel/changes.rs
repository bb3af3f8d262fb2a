//! Owns: the record of changes, panel 7: what was changed or refused, and what was noted.
//! Must not know: the terminal, keys, what a key means.
//! Invariant: the newest stands at the bottom unless one has gone back.
//!
//! ```text
//! ╭ 7 changes 3 changes, 1 refused, 2 notes ─────────────────────╮
//! │    466 ▾ recycle.fraction 0.15 → 0.2 (keys, v1)              │
//! │    480 ✗ optim.lr 20.0: allowed: from 0 to 10 (config.toml)  │
//! │    512 ✎ the loss has jumped: look at the batch              │
//! ╰──────────────────────────────────────────────────────────────╯
//! ```

use super::{Scene, list};
use crate::record::rows::{ChangeRow, Outcome};
use crate::tui::state::State;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::{Panel, View};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use serde_json::Value;

/// The rows that are shown, the newest first.
pub fn entries<'a>(state: &'a State, view: &'a View) -> impl Iterator<Item = &'a ChangeRow> {
    state.changes.iter().rev().filter(|row| list::passes(view, Panel::Changes, &words(row)))
}

/// Draws the last rows.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let mut about = Line::from(scene.span(Role::Name, counts(scene.state)));
    about.extend(list::filter_word(scene, Panel::Changes));
    let lines = |row: &ChangeRow, width, wraps| row_lines(scene, row, width, wraps);
    list::render(frame, area, scene, Panel::Changes, entries(scene.state, scene.view), about, lines);
}

fn counts(state: &State) -> String {
    let of = |outcome| state.changes.iter().filter(|row| row.outcome == outcome).count();
    let mut said = Vec::new();
    for (outcome, word) in
        [(Outcome::Applied, "applied"), (Outcome::Refused, "refused"), (Outcome::Noted, "noted")]
    {
        match of(outcome) {
            0 => {}
            count => said.push(format!("{count} {word}")),
        }
    }
    said.join(", ")
}

fn row_lines(scene: Scene, row: &ChangeRow, width: usize, wraps: bool) -> Vec<Line<'static>> {
    let (mark, role) = match row.outcome {
        Outcome::Applied => ("▾", Role::Mark),
        Outcome::Refused => ("✗", Role::Bad),
        Outcome::Noted => ("✎", Role::Mark),
    };
    let first = vec![
        scene.span(Role::Dim, format!("{:>7} ", text::count(row.step))),
        scene.span(role, format!("{mark} ")),
    ];
    let role = if row.outcome == Outcome::Refused { Role::Bad } else { Role::Value };
    list::paragraph(scene, first, (role, &words(row)), width, wraps)
}

/// The row in words.
pub fn words(row: &ChangeRow) -> String {
    let key = row.key.as_deref().unwrap_or_default();
    let reason = row.reason.as_deref().unwrap_or_default();
    match row.outcome {
        Outcome::Noted => reason.to_owned(),
        Outcome::Applied => {
            format!("{key} {} → {} ({}, v{})", short(&row.old), short(&row.new), row.source, row.version)
        }
        // The reason names key and value itself.
        Outcome::Refused => format!("{reason} ({})", row.source),
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(real) if !number.is_u64() && !number.is_i64() => text::setting(real),
            _ => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Null => "–".into(),
        other => text::clip(&other.to_string(), 60),
    }
}
