//! Owns: code shared by the panels that are lists: filters, scroll limits, drawing from the newest entry
//! upwards.
//! Must not know: the content of entries.
//! Invariant: the newest entry is at the bottom unless the list is scrolled back; only visible entries are
//! laid out.

use super::{RenderContext, changes, draw_frame, log, playground, samples};
use crate::tui::app::view::{Panel, ViewState};
use crate::tui::model::state::RunState;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// The fewest lines within the frame at which entries wrap; below, each entry has one line.
const WRAP_MIN_HEIGHT: u16 = 4;

/// Returns whether `panel` shows its newest entry at the bottom.
pub fn is_newest_last(panel: Panel) -> bool {
    matches!(panel, Panel::Changes | Panel::Log | Panel::Samples | Panel::Playground)
}

/// Returns how many entries `panel` can be scrolled.
pub fn scroll_limit(panel: Panel, state: &RunState, view: &ViewState) -> usize {
    let entries = match panel {
        Panel::Changes => changes::entries(state, view).count(),
        Panel::Log => log::entries(state, view).count(),
        Panel::Samples => samples::entries(state, view).count(),
        Panel::Playground => playground::entries(state, view).count(),
        Panel::Thoughts => view.displayed_row(state).map_or(0, |row| row.thoughts.len()),
        _ => 0,
    };
    entries.saturating_sub(1)
}

/// Returns whether `text` matches the filter of `panel`, ignoring case.
pub fn matches_filter(view: &ViewState, panel: Panel, text: &str) -> bool {
    let filter = view.filter(panel);
    filter.is_empty() || text.to_lowercase().contains(filter)
}

/// Returns the filter of `panel` as its frame shows it, such as ` /disk`.
pub fn filter_label(ctx: RenderContext, panel: Panel) -> Line<'static> {
    match ctx.view.filter(panel) {
        "" => Line::default(),
        filter => Line::from(ctx.span(Role::Key, format!(" /{}", text::clip(filter, 30)))),
    }
}

/// Draws `entries`, given from the newest to the oldest, in the frame of `panel`. `lines_of` returns the
/// lines of an entry for a width; its flag is whether they wrap.
pub fn render<'a, T: 'a>(
    frame: &mut Frame,
    area: Rect,
    ctx: RenderContext,
    panel: Panel,
    entries: impl Iterator<Item = &'a T>,
    subtitle: Line,
    lines_of: impl Fn(&T, usize, bool) -> Vec<Line<'static>>,
) {
    let back = ctx.view.scroll_offsets[panel as usize];
    let below = match back {
        0 => Line::default(),
        _ => Line::from(ctx.span(Role::Key, format!(" {back} newer, ↓ "))),
    };
    let within = draw_frame(frame, area, ctx, panel, subtitle, below).inner(Margin::new(1, 0));
    let (height, wraps) = (usize::from(within.height), within.height >= WRAP_MIN_HEIGHT);
    let mut lines: Vec<Line> = Vec::with_capacity(height);
    // From the newest entry upwards, as far as there is room.
    for entry in entries.skip(back) {
        if lines.len() >= height {
            break;
        }
        lines.extend(lines_of(entry, usize::from(within.width), wraps).into_iter().rev());
    }
    if lines.is_empty() && height > 0 {
        lines.push(Line::from(ctx.span(Role::Dim, empty_text(ctx, panel))));
    }
    lines.truncate(height);
    lines.reverse();
    frame.render_widget(Paragraph::new(lines), within);
}

/// Returns the text of a list without entries.
fn empty_text(ctx: RenderContext, panel: Panel) -> &'static str {
    match panel {
        _ if !ctx.view.filter(panel).is_empty() => "no entry matches the filter; Esc clears it",
        Panel::Changes => "no changes yet; n writes a note, :set changes a key",
        Panel::Samples => "no samples yet; each validation writes one (eval.samples)",
        Panel::Playground => "no prompts yet; a sends one, y sets the thinking policy",
        _ => "no entries yet",
    }
}

/// Returns `first` and then `text`, wrapped to lines of `width` cells, or clipped to one line unless `wraps`
/// is set.
pub fn entry_lines(
    ctx: RenderContext,
    first: Vec<ratatui::text::Span<'static>>,
    (role, text): (Role, &str),
    width: usize,
    wraps: bool,
) -> Vec<Line<'static>> {
    let gutter: usize = first.iter().map(ratatui::text::Span::width).sum();
    let room = width.saturating_sub(gutter).max(1);
    let texts = if wraps { text::wrap(text, room) } else { vec![text::clip(text, room)] };
    let mut first = Some(first);
    let texts = if texts.is_empty() { vec![String::new()] } else { texts };
    texts
        .into_iter()
        .map(|text| {
            let mut line = match first.take() {
                Some(first) => Line::from(first),
                None => Line::from(" ".repeat(gutter)),
            };
            line.push_span(ctx.span(role, text));
            line
        })
        .collect()
}
