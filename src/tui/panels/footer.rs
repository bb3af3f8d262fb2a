//! Owns: the last line of the screen: hints for the keys that work now.
//! Must not know: which keys exist (the key table does).
//! Invariant: all hints come from the key table.
//!
//! ```text
//!  ←→ step  + zoom  z part  ? help  q quit  space pause
//! ```

use super::RenderContext;
use crate::tui::app::actions::Action;
use crate::tui::app::keys;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Draws as many hints as fit, those of the focused panel first. The hints for help and quit are always kept.
pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let groups: Vec<_> = ctx.view.active_scopes().into_iter().flat_map(keys::binding_groups).collect();
    let works = |action| ctx.view.works_now(action, ctx.live);
    let hints = groups.iter().filter(|group| !group[0].hint.is_empty() && works(group[0].action)).map(|group| {
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
        line.push_span(ctx.span(Role::Key, names));
        line.push_span(ctx.span(Role::Name, format!(" {hint}  ")));
    }
    frame.render_widget(line, area);
}
