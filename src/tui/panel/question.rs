//! Owns: the question whether to stop the run.
//! Must not know: what the keys are (the key table does).
//! Invariant: it lies over everything else, and every answer of the table is offered.
//!
//! ```text
//! ╭ Stop the run? ───────────────────────────╮
//! │                                          │
//! │  [y] stop and write the checkpoint       │
//! │  [n] go on with the run                  │
//! │  [d] drop the run: leave at once         │
//! │                                          │
//! ╰──────────────────────────────────────────╯
//! ```

use super::{Scene, clear};
use crate::tui::keys::{self, Scope};
use crate::tui::layout;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Padding, Paragraph};

/// Draws the question over `screen`.
pub fn render(frame: &mut Frame, screen: Rect, scene: Scene) {
    let lines: Vec<Line> = keys::within(&[Scope::Question])
        .filter_map(|binding| {
            let key = binding.keys.first()?.name();
            Some(Line::from(vec![
                scene.span(Role::Key, format!("[{key}] ")),
                scene.span(Role::Value, binding.help),
            ]))
        })
        .collect();
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16 + 8;
    let area = layout::centered(screen, width, lines.len() as u16 + 4);
    clear(frame, area);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(scene.theme.style(Role::Warn))
        .title_top(scene.span(Role::Warn, " Stop the run? "))
        .padding(Padding::new(2, 2, 1, 1));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}
