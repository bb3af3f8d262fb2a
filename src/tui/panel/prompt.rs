//! Owns: the command line, in the place of the keys.
//! Must not know: the terminal, what a command does.
//! Invariant: the place where one types is always seen.
//!
//! ```text
//! :set recycle.fraction 0.2▏  now 0.15 · from 0 to 1
//! ```

use super::Scene;
use crate::config::Change;
use crate::tui::command::COMMANDS;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::Overlay;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Draws what was typed and what is to be known of it.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let prompt = &scene.view.prompt;
    let width = usize::from(area.width);
    let (before, behind) = prompt.halves();
    let hidden = text::width(before).saturating_sub(width.saturating_sub(4));
    let before: String = before.chars().skip(hidden).collect();
    let sign = if scene.view.overlay == Overlay::Filter { " /" } else { " :" };
    let mut line = Line::from(vec![
        scene.span(Role::Key, sign),
        scene.span(Role::Value, before),
        scene.span(Role::Key, "▏"),
        scene.span(Role::Value, text::clip(behind, width / 2)),
    ]);
    let room = width.saturating_sub(line.width() + 2);
    let (role, hint) = hint(scene);
    line.push_span(scene.span(role, format!("  {}", text::clip(&hint, room))));
    frame.render_widget(line, area);
}

fn hint(scene: Scene) -> (Role, String) {
    let prompt = &scene.view.prompt;
    if scene.view.overlay == Overlay::Filter {
        return (Role::Dim, "what is shown has this in it; Enter keeps it, Esc shows all".into());
    }
    if let Some(error) = &prompt.error {
        return (Role::Bad, error.clone());
    }
    if !prompt.candidates.is_empty() {
        return (Role::Name, prompt.candidates.iter().map(|word| word.trim()).collect::<Vec<_>>().join(" "));
    }
    if let (Some(key), Some(run)) = (prompt.key(), &scene.state.run) {
        let frozen = if key.change == Change::Frozen { " · cannot change during a run" } else { "" };
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
