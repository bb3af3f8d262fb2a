//! Owns: code shared by the panels that are lists: filters, scroll limits, drawing from the newest entry upwards.
//! Must not know: the content of entries.
//! Invariant: the newest entry is at the bottom unless the list is scrolled back; only visible entries are laid out.

use super::{RenderContext, draw_frame};
use crate::tui::app::panel_id::Panel;
use crate::tui::app::view::ViewState;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// The fewest lines within the frame at which entries wrap; below, each entry has one line.
const WRAP_MIN_HEIGHT: u16 = 4;

/// The room of an entry: lines of `width` cells, or a single one unless entries wrap.
#[derive(Clone, Copy)]
pub struct EntryRoom {
    pub width: usize,
    pub wraps: bool,
}

/// Returns whether `text` matches the filter of `panel`, ignoring case.
pub fn matches_filter(view: &ViewState, panel: Panel, text: &str) -> bool {
    let filter = view.list(panel).filter.as_str();
    filter.is_empty() || text.to_lowercase().contains(filter)
}

/// Returns the filter of `panel` as its frame shows it, such as ` /disk`.
pub fn filter_label(ctx: RenderContext, panel: Panel) -> Line<'static> {
    match ctx.view.list(panel).filter.as_str() {
        "" => Line::default(),
        filter => Line::from(ctx.span(Role::Key, format!(" /{}", text::clip(filter, 30)))),
    }
}

/// Draws `entries`, newest first, in the frame of `panel`; `empty_text` if there are none at all.
pub fn render<'a, T: 'a>(
    frame: &mut Frame,
    area: Rect,
    ctx: RenderContext,
    (panel, empty_text): (Panel, &'static str),
    subtitle: Line,
    entries: impl Iterator<Item = &'a T>,
    lines_of: impl Fn(&T, EntryRoom) -> Vec<Line<'static>>,
) {
    let mut subtitle = subtitle;
    subtitle.extend(filter_label(ctx, panel));
    let back = ctx.view.list(panel).offset;
    let below = match back {
        0 => Line::default(),
        _ => Line::from(ctx.span(Role::Key, format!(" {back} newer, ↓ "))),
    };
    let within = draw_frame(frame, area, ctx, panel, subtitle, below).inner(Margin::new(1, 0));
    let height = usize::from(within.height);
    let room = EntryRoom { width: usize::from(within.width), wraps: within.height >= WRAP_MIN_HEIGHT };
    let mut lines: Vec<Line> = Vec::with_capacity(height);
    // From the newest entry upwards, as far as there is room.
    for entry in entries.skip(back) {
        if lines.len() >= height {
            break;
        }
        lines.extend(lines_of(entry, room).into_iter().rev());
    }
    if lines.is_empty() && height > 0 {
        let is_filtered = !ctx.view.list(panel).filter.is_empty();
        let text = if is_filtered { "no entry matches the filter; Esc clears it" } else { empty_text };
        lines.push(Line::from(ctx.span(Role::Dim, text)));
    }
    lines.truncate(height);
    lines.reverse();
    frame.render_widget(Paragraph::new(lines), within);
}

/// Returns `first` and then `text`, wrapped or clipped to `room`.
pub fn entry_lines(
    ctx: RenderContext,
    first: Vec<ratatui::text::Span<'static>>,
    (role, text): (Role, &str),
    room: EntryRoom,
) -> Vec<Line<'static>> {
    let gutter: usize = first.iter().map(ratatui::text::Span::width).sum();
    let width = room.width.saturating_sub(gutter).max(1);
    let texts = if room.wraps { text::wrap(text, width) } else { vec![text::clip(text, width)] };
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
