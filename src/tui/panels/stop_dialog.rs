//! Owns: the dialog that asks whether to stop the run.
//! Must not know: which keys exist (the key table does).
//! Invariant: the dialog covers everything else and offers every answer of the key table.
//!
//! ```text
//! ╭ Stop the run? ────────────────────────╮
//! │                                       │
//! │  [y] stop and write a checkpoint      │
//! │  [n] keep the run going               │
//! │  [d] drop: quit now, no checkpoint    │
//! │                                       │
//! ╰───────────────────────────────────────╯
//! ```

use super::{RenderContext, clear_area};
use crate::tui::app::keys::Scope;
use crate::tui::app::{keys, layout};
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Padding, Paragraph};

pub fn render(frame: &mut Frame, screen: Rect, ctx: RenderContext) {
    let lines: Vec<Line> = keys::bindings_in(&[Scope::StopDialog])
        .filter_map(|binding| {
            let key = binding.keys.first()?.name();
            Some(Line::from(vec![ctx.span(Role::Key, format!("[{key}] ")), ctx.span(Role::Value, binding.help)]))
        })
        .collect();
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16 + 8;
    let area = layout::centered(screen, width, lines.len() as u16 + 4);
    clear_area(frame, area);
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(ctx.theme.style(Role::Warn))
        .title_top(ctx.span(Role::Warn, " Stop the run? "))
        .padding(Padding::new(2, 2, 1, 1));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}
