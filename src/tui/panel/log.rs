//! Owns: the log, panel 8.
//! Must not know: the terminal, keys.
//! Invariant: the newest line stands at the bottom unless one has gone back.
//!
//! ```text
//! ╭ 8 log warnings /disk ────────────────────────────────────────╮
//! │ 02:51:38   the model has 1.06M parameters                    │
//! │ 02:52:10 ! the validation loss rose                          │
//! ╰──────────────────────────────────────────────── 3 newer, ↓ ──╯
//! ```

use super::{Scene, list};
use crate::message::Level;
use crate::tui::state::{Entry, State};
use crate::tui::theme::Role;
use crate::tui::view::{Panel, View};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// The entries that are shown, the newest first.
pub fn entries<'a>(state: &'a State, view: &'a View) -> impl Iterator<Item = &'a Entry> {
    let shown = |entry: &&Entry| entry.level >= view.level && list::passes(view, Panel::Log, &entry.text);
    state.log.iter().rev().filter(shown)
}

/// Draws the last entries; they are wrapped where that does not push others out.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let mut about = Line::default();
    match scene.view.level {
        Level::Info => {}
        Level::Warn => about.push_span(scene.span(Role::Key, "warnings")),
        Level::Error => about.push_span(scene.span(Role::Key, "errors")),
    }
    about.extend(list::filter_word(scene, Panel::Log));
    let lines = |entry: &Entry, width, wraps| entry_lines(scene, entry, width, wraps);
    list::render(frame, area, scene, Panel::Log, entries(scene.state, scene.view), about, lines);
}

fn entry_lines(scene: Scene, entry: &Entry, width: usize, wraps: bool) -> Vec<Line<'static>> {
    let (mark, role) = match entry.level {
        Level::Info => (" ", Role::Value),
        Level::Warn => ("!", Role::Warn),
        Level::Error => ("✗", Role::Bad),
    };
    let first =
        vec![scene.span(Role::Dim, format!("{:<8} ", entry.at)), scene.span(role, format!("{mark} "))];
    list::paragraph(scene, first, (role, &entry.text), width, wraps)
}
