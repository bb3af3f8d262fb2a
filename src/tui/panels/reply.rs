//! Owns: the reply to the last key or command, above the key hints.
//! Must not know: the terminal, keys, what was requested.
//! Invariant: it stands where commands are typed. A long one takes several lines, and its end is cut with a sign.
//!
//! ```text
//!  ✓ optim.lr 8e-4 → 1e-4 from step 121 on; u undoes it
//!  ✗ `optim.lr` = 20: expected a number from 0 to 10
//! ```

use super::{RenderContext, clear_area};
use crate::tui::app::view::ReplyKind;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

const MAX_LINES: usize = 3;

/// Draws the reply on the lowest lines of `screen` above `footer`.
pub fn render(frame: &mut Frame, screen: Rect, footer: Rect, ctx: RenderContext) {
    let Some(reply) = &ctx.view.reply else { return };
    let (sign, role) = match reply.kind {
        ReplyKind::Done => ("✓", Role::Good),
        ReplyKind::Refused => ("✗", Role::Warn),
    };
    let room = usize::from(screen.width.saturating_sub(4));
    let mut lines = text::wrap(&reply.text, room);
    if lines.len() > MAX_LINES {
        let rest = lines.split_off(MAX_LINES - 1).join(" ");
        lines.push(text::clip(&rest, room));
    }
    let height = (lines.len() as u16).min(footer.y.saturating_sub(screen.y));
    let area = Rect { x: screen.x, y: footer.y - height, width: screen.width, height };
    clear_area(frame, area);
    let first = |index| if index == 0 { format!(" {sign} ") } else { "   ".into() };
    let lines = lines.into_iter().enumerate();
    let lines: Vec<Line> = lines.map(|(index, line)| Line::from(ctx.span(role, first(index) + &line))).collect();
    frame.render_widget(Paragraph::new(lines), area);
}
