//! Owns: the last line: the keys that work now.
//! Must not know: what keys there are (the key table does).
//! Invariant: the hints are the table's.
//!
//! ```text
//!  z zoom  ? help  q quit  space pause  Tab panel  e expand
//! ```

use super::Scene;
use crate::tui::keys;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Draws as many hints as fit, the focused panel's first.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let mut line = Line::from(" ");
    let scopes = scene.view.scopes();
    for scope in &scopes[..2] {
        for binding in keys::within(&[*scope]).filter(|binding| !binding.hint.is_empty()) {
            let Some(key) = binding.keys.first() else {
                continue;
            };
            let (name, hint) = (key.name(), format!(" {}  ", binding.hint));
            if line.width() + hint.len() + 5 > usize::from(area.width) {
                break;
            }
            line.push_span(scene.span(Role::Key, name));
            line.push_span(scene.span(Role::Name, hint));
        }
        if scopes[0] == scopes[1] {
            break;
        }
    }
    frame.render_widget(line, area);
}
