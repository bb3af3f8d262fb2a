//! Owns: what the panels share that are lists: filters, how far they scroll, drawing from the newest upwards.
//! Must not know: what their entries say.
//! Invariant: the newest entry stands at the bottom unless one has gone back; only what is seen is laid out.

use super::{Scene, changes, framed, log, playground, samples};
use crate::tui::state::State;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::{Panel, View};
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Below this height an entry has one line.
const WRAPS_FROM: u16 = 4;

/// Whether `panel` begins with its newest entry, at the bottom.
pub fn from_the_end(panel: Panel) -> bool {
    matches!(panel, Panel::Changes | Panel::Log | Panel::Samples | Panel::Playground)
}

/// How far `panel` can be scrolled.
pub fn scroll_limit(panel: Panel, state: &State, view: &View) -> usize {
    let entries = match panel {
        Panel::Changes => changes::entries(state, view).count(),
        Panel::Log => log::entries(state, view).count(),
        Panel::Samples => samples::entries(state, view).count(),
        Panel::Playground => playground::entries(state, view).count(),
        Panel::Thoughts => view.row(state).map_or(0, |row| row.thoughts.len()),
        _ => 0,
    };
    entries.saturating_sub(1)
}

/// Whether `text` holds what `panel` is filtered by.
pub fn passes(view: &View, panel: Panel, text: &str) -> bool {
    let filter = view.filter(panel);
    filter.is_empty() || text.to_lowercase().contains(filter)
}

/// What `panel` is filtered by, for its frame.
pub fn filter_word(scene: Scene, panel: Panel) -> Line<'static> {
    match scene.view.filter(panel) {
        "" => Line::default(),
        filter => Line::from(scene.span(Role::Key, format!(" /{}", text::clip(filter, 30)))),
    }
}

/// Draws `entries`, the newest first, in the frame of `panel`: each as lines of this width, or as one line.
pub fn render<'a, T: 'a>(
    frame: &mut Frame,
    area: Rect,
    scene: Scene,
    panel: Panel,
    entries: impl Iterator<Item = &'a T>,
    about: Line,
    lines_of: impl Fn(&T, usize, bool) -> Vec<Line<'static>>,
) {
    let back = scene.view.scrolled[panel as usize];
    let below = match back {
        0 => Line::default(),
        _ => Line::from(scene.span(Role::Key, format!(" {back} newer, ↓ "))),
    };
    let within = framed(frame, area, scene, panel, about, below).inner(Margin::new(1, 0));
    let (height, wraps) = (usize::from(within.height), within.height >= WRAPS_FROM);
    let mut lines: Vec<Line> = Vec::with_capacity(height);
    // From the newest upwards, as far as there is room.
    for entry in entries.skip(back) {
        if lines.len() >= height {
            break;
        }
        lines.extend(lines_of(entry, usize::from(within.width), wraps).into_iter().rev());
    }
    if lines.is_empty() && height > 0 {
        lines.push(Line::from(scene.span(Role::Dim, nothing(scene, panel))));
    }
    lines.truncate(height);
    lines.reverse();
    frame.render_widget(Paragraph::new(lines), within);
}

fn nothing(scene: Scene, panel: Panel) -> &'static str {
    match panel {
        _ if !scene.view.filter(panel).is_empty() => "nothing has that in it; Esc shows all again",
        Panel::Changes => "nothing was changed yet; n writes a note, :set changes a key",
        Panel::Samples => "no sample yet; each validation writes one (eval.samples)",
        Panel::Playground => "nothing was asked yet; a asks, y says when it thinks",
        _ => "nothing yet",
    }
}

/// `text` in lines of `width` cells after `first`, or clipped into one.
pub fn paragraph(
    scene: Scene,
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
            line.push_span(scene.span(role, text));
            line
        })
        .collect()
}
