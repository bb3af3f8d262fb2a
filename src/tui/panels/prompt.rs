//! Owns: the command line and the filter line, which replace the key hints.
//! Must not know: the terminal, what a command does.
//! Invariant: the text cursor is always visible.
//!
//! ```text
//! :set recycle.fraction 0.2▏  now 0.15 · from 0 to 1
//! ```

use super::RenderContext;
use crate::config::Mutability;
use crate::tui::app::command_list::COMMANDS;
use crate::tui::app::view::Overlay;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Draws the typed text with its cursor, and a hint about it.
pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let prompt = &ctx.view.prompt;
    let width = usize::from(area.width);
    let (before, after) = prompt.split_at_cursor();
    let hidden = text::width(before).saturating_sub(width.saturating_sub(4));
    let before: String = before.chars().skip(hidden).collect();
    let sign = if ctx.view.overlay == Overlay::Filter { " /" } else { " :" };
    let mut line = Line::from(vec![
        ctx.span(Role::Key, sign),
        ctx.span(Role::Value, before),
        ctx.span(Role::Key, "▏"),
        ctx.span(Role::Value, text::clip(after, width / 2)),
    ]);
    let room = width.saturating_sub(line.width() + 2);
    let (role, hint) = hint(ctx);
    line.push_span(ctx.span(role, format!("  {}", text::clip(&hint, room))));
    frame.render_widget(line, area);
}

/// Returns the hint: the error, the completions from the selected one on, the key's value and limit, or the help of the command.
fn hint(ctx: RenderContext) -> (Role, String) {
    let prompt = &ctx.view.prompt;
    if ctx.view.overlay == Overlay::Filter {
        return (Role::Dim, "shows matching entries only; Enter keeps the filter, Esc clears it".into());
    }
    if let Some(error) = &prompt.error {
        return (Role::Bad, error.clone());
    }
    if !prompt.candidates.is_empty() {
        let from = prompt.selected_candidate.unwrap_or(0);
        let rotated = prompt.candidates[from..].iter().chain(&prompt.candidates[..from]);
        return (Role::Name, rotated.map(|word| word.trim()).collect::<Vec<_>>().join(" "));
    }
    if let (Some(key), Some(run)) = (prompt.config_key(), &ctx.state.run) {
        let frozen = if key.mutability == Mutability::Frozen { " · cannot change during a run" } else { "" };
        return (Role::Name, format!("now {} · {}{frozen}", run.config.value(key), key.limit));
    }
    let word = prompt.text.split(' ').next().unwrap_or_default();
    match COMMANDS.iter().find(|(name, _)| *name == word) {
        Some((_, what)) => (Role::Dim, (*what).into()),
        None => {
            let names: Vec<&str> = COMMANDS.iter().map(|(name, _)| *name).collect();
            (Role::Dim, format!("{}; Tab completes", names.join(", ")))
        }
    }
}
