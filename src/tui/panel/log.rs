//! Owns: the log, panel 5.
//! Must not know: the terminal, keys.
//! Invariant: the newest line stands at the bottom unless one has gone back.
//!
//! ```text
//! ╭ 5 log ───────────────────────────────────────────────────────╮
//! │ 02:51:38   the model has 1.06M parameters                    │
//! │ 02:52:10 ! the validation loss rose                          │
//! ╰──────────────────────────────────────────────── 3 newer lines╯
//! ```

use super::{Scene, framed};
use crate::message::Level;
use crate::tui::state::Entry;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::Panel;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Width of time and mark.
const GUTTER: usize = 11;

/// Draws the last entries; they are wrapped where that does not push others out.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let log = &scene.state.log;
    let back = scene.view.log_back.min(log.len().saturating_sub(1));
    let below = match back {
        0 => Line::default(),
        _ => Line::from(scene.span(Role::Key, format!(" {back} newer, ↓ "))),
    };
    let within = framed(frame, area, scene, Panel::Log, Line::default(), below).inner(Margin::new(1, 0));
    let height = usize::from(within.height);
    let mut lines: Vec<Line> = Vec::with_capacity(height);
    // From the newest upwards, as far as there is room.
    for entry in log.iter().rev().skip(back) {
        if lines.len() >= height {
            break;
        }
        lines.extend(entry_lines(scene, entry, usize::from(within.width), height).into_iter().rev());
    }
    lines.truncate(height);
    lines.reverse();
    frame.render_widget(Paragraph::new(lines), within);
}

/// Below this height an entry has one line.
const WRAPS_FROM: usize = 4;

fn entry_lines(scene: Scene, entry: &Entry, width: usize, height: usize) -> Vec<Line<'static>> {
    let (mark, role) = match entry.level {
        Level::Info => (" ", Role::Value),
        Level::Warn => ("!", Role::Warn),
        Level::Error => ("✗", Role::Bad),
    };
    let room = width.saturating_sub(GUTTER);
    let texts =
        if height < WRAPS_FROM { vec![text::clip(&entry.text, room)] } else { text::wrap(&entry.text, room) };
    texts
        .into_iter()
        .enumerate()
        .map(|(index, text)| {
            let (at, mark) = if index == 0 { (entry.at.as_str(), mark) } else { ("", " ") };
            Line::from(vec![
                scene.span(Role::Dim, format!("{at:<8} ")),
                scene.span(role, format!("{mark} ")),
                scene.span(if entry.level == Level::Info { Role::Value } else { role }, text),
            ])
        })
        .collect()
}
