//! Owns: the last line of the screen: hints for the keys that work now.
//! Must not know: which keys exist (the key table does).
//! Invariant: all hints come from the key table.
//!
//! ```text
//!  ←→ step  + zoom  z part  ? help  q quit  space pause
//! ```

use super::RenderContext;
use crate::tui::app::actions::Action;
use crate::tui::app::keys::{self, Binding};
use crate::tui::text;
use crate::tui::theme::{Role, Theme};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Draws the hints of the keys that do something now.
pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let groups = ctx.view.active_scopes().into_iter().flat_map(keys::binding_groups);
    let groups = groups.filter(|group| ctx.view.works_now(group[0].action, ctx.live)).collect();
    frame.render_widget(hint_line(ctx.theme, groups, area.width), area);
}

/// Returns as many hints as fit, those of the first groups first. The hints for help and quit are always kept.
pub fn hint_line(theme: &Theme, groups: Vec<Vec<&'static Binding>>, width: u16) -> Line<'static> {
    let hints = groups.iter().filter(|group| !group[0].hint.is_empty()).map(|group| {
        let names: String = group.iter().filter_map(|row| row.keys.first()).map(|key| key.name()).collect();
        (matches!(group[0].action, Action::Help | Action::Quit), names, group[0].hint)
    });
    let hints: Vec<_> = hints.collect();
    let wide = |names: &str, hint: &str| text::width(names) + text::width(hint) + 3;
    let kept: usize = hints.iter().filter(|hint| hint.0).map(|(_, names, hint)| wide(names, hint)).sum();
    let mut room = usize::from(width).saturating_sub(kept);
    let mut line = Line::from(" ");
    for (is_kept, names, hint) in hints {
        let needed = wide(&names, hint);
        if !is_kept && needed > room {
            continue;
        }
        room -= if is_kept { 0 } else { needed };
        line.push_span(Span::styled(names, theme.style(Role::Key)));
        line.push_span(Span::styled(format!(" {hint}  "), theme.style(Role::Name)));
    }
    line
}
