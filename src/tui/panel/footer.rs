//! Owns: the last line: the keys that work now.
//! Must not know: what keys there are (the key table does).
//! Invariant: the hints are the table's.
//!
//! ```text
//!  z zoom  ? help  q quit  space pause  Tab panel  e expand
//! ```

use super::Scene;
use crate::tui::keys;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Draws as many hints as fit, the focused panel's first.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let mut line = Line::from(" ");
    for group in scene.view.scopes().into_iter().flat_map(keys::groups) {
        let hint = group[0].hint;
        let names: String = group.iter().filter_map(|row| row.keys.first()).map(|key| key.name()).collect();
        let room = usize::from(area.width).saturating_sub(line.width());
        if hint.is_empty() || text::width(&names) + text::width(hint) + 1 > room {
            continue;
        }
        line.push_span(scene.span(Role::Key, names));
        line.push_span(scene.span(Role::Name, format!(" {hint}  ")));
    }
    frame.render_widget(line, area);
}
