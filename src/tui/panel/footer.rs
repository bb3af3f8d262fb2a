//! Owns: the last line: the keys that work now.
//! Must not know: what keys there are (the key table does).
//! Invariant: the hints are the table's.
//!
//! ```text
//!  ←→ step  + zoom  z part  ? help  q quit  space pause
//! ```

use super::Scene;
use crate::tui::keys::{self, Action};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Draws as many hints as fit, the focused panel's first; over the panels how to get help and out stands there in any case.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let groups: Vec<_> = scene.view.scopes().into_iter().flat_map(keys::groups).collect();
    let hints = groups.iter().filter(|group| !group[0].hint.is_empty()).map(|group| {
        let names: String = group.iter().filter_map(|row| row.keys.first()).map(|key| key.name()).collect();
        (matches!(group[0].action, Action::Help | Action::Quit), names, group[0].hint)
    });
    let hints: Vec<_> = hints.collect();
    let wide = |names: &str, hint: &str| text::width(names) + text::width(hint) + 3;
    let kept: usize = hints.iter().filter(|hint| hint.0).map(|(_, names, hint)| wide(names, hint)).sum();
    let mut room = usize::from(area.width).saturating_sub(kept);
    let mut line = Line::from(" ");
    for (is_kept, names, hint) in hints {
        let needed = wide(&names, hint);
        if !is_kept && needed > room {
            continue;
        }
        room -= if is_kept { 0 } else { needed };
        line.push_span(scene.span(Role::Key, names));
        line.push_span(scene.span(Role::Name, format!(" {hint}  ")));
    }
    frame.render_widget(line, area);
}
