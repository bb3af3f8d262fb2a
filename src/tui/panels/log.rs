//! Owns: the log panel, 8.
//! Must not know: the terminal, keys.
//! Invariant: the newest line is at the bottom unless the list is scrolled back.
//!
//! ```text
//! ╭ 8 log warnings /disk ────────────────────────────────────────╮
//! │ 02:51:38   the model has 1.06M parameters                    │
//! │ 02:52:10 ! the validation loss rose                          │
//! ╰──────────────────────────────────────────────── 3 newer, ↓ ──╯
//! ```

use super::list::EntryRoom;
use super::{RenderContext, list};
use crate::schema::protocol::LogLevel;
use crate::tui::app::panel_id::Panel;
use crate::tui::app::view::ViewState;
use crate::tui::model::state::{LogEntry, RunModel};
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Returns the entries that pass the level and the filter, the newest first.
pub fn entries<'a>(state: &'a RunModel, view: &'a ViewState) -> impl Iterator<Item = &'a LogEntry> {
    let shown =
        |entry: &&LogEntry| entry.level >= view.min_log_level && list::matches_filter(view, Panel::Log, &entry.text);
    state.log.iter().rev().filter(shown)
}

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let mut subtitle = Line::default();
    match ctx.view.min_log_level {
        LogLevel::Info => {}
        LogLevel::Warn => subtitle.push_span(ctx.span(Role::Key, "warnings")),
        LogLevel::Error => subtitle.push_span(ctx.span(Role::Key, "errors")),
    }
    let lines = |entry: &LogEntry, room| entry_lines(ctx, entry, room);
    let panel = (Panel::Log, "no entries yet");
    list::render(frame, area, ctx, panel, subtitle, entries(ctx.state, ctx.view), lines);
}

fn entry_lines(ctx: RenderContext, entry: &LogEntry, room: EntryRoom) -> Vec<Line<'static>> {
    let (mark, role) = match entry.level {
        LogLevel::Info => (" ", Role::Value),
        LogLevel::Warn => ("!", Role::Warn),
        LogLevel::Error => ("✗", Role::Bad),
    };
    let first = vec![ctx.span(Role::Dim, format!("{:<8} ", entry.time)), ctx.span(role, format!("{mark} "))];
    list::entry_lines(ctx, first, (role, &entry.text), room)
}
