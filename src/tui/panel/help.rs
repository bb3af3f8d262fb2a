//! Owns: the help page.
//! Must not know: what keys there are (the key table does).
//! Invariant: every row of the key table that works over the panels stands on it.
//!
//! ```text
//! ╭ help ───────────────────────────────────────────────────────────────────╮
//! │ all panels                           2 loss                             │
//! │   ?        this page                   z     whole run, last half, …    │
//! │   q        quit; asks while …        4 entropy                          │
//! │   …                                    ← →   choose a token             │
//! ╰─────────────────────────────────────────────────────────────────────────╯
//! ```

use super::{Scene, clear};
use crate::tui::keys::{self, Binding, Scope};
use crate::tui::theme::Role;
use crate::tui::view::{Overlay, Panel};
use crate::tui::{layout, text};
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Paragraph};

/// Width of a column, and of its keys.
const COLUMN: u16 = 52;
const KEYS: usize = 18;
/// Most columns.
const COLUMNS: u16 = 3;

/// A line of the page: a heading, or keys and what they do.
enum Entry {
    Heading(String),
    Keys(String, &'static str),
}

/// Draws the page over `screen`.
pub fn render(frame: &mut Frame, screen: Rect, scene: Scene) {
    let Overlay::Help(scroll) = scene.view.overlay else {
        return;
    };
    let area = page(screen);
    clear(frame, area);
    let limit = scroll_limit(screen);
    let below = if limit > 0 { " ↑ ↓ scroll, Esc closes " } else { " Esc closes " };
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(scene.theme.style(Role::Focus))
        .title_top(scene.span(Role::Focus, " help "))
        .title_bottom(Line::from(scene.span(Role::Name, below)).right_aligned());
    let within = block.inner(area).inner(Margin::new(1, 0));
    frame.render_widget(block, area);
    // The entries flow from column to column.
    let mut lines = entries_of_all().into_iter().skip(usize::from(scroll.min(limit)));
    let (columns, width) = (columns(screen), within.width / columns(screen));
    for column in 0..columns {
        let area = Rect { x: within.x + column * width, width: width.saturating_sub(1), ..within };
        let shown = lines.by_ref().take(usize::from(within.height)).collect();
        frame.render_widget(paragraph(scene, shown, area.width), area);
    }
}

/// How far the page can be scrolled on `screen`.
pub fn scroll_limit(screen: Rect) -> u16 {
    let seen = layout::inner(page(screen)).height * columns(screen);
    (entries_of_all().len() as u16).saturating_sub(seen)
}

fn columns(screen: Rect) -> u16 {
    (screen.width.saturating_sub(2) / COLUMN).clamp(1, COLUMNS)
}

fn page(screen: Rect) -> Rect {
    let lines = (entries_of_all().len() as u16).div_ceil(columns(screen));
    let width = (columns(screen) * COLUMN + 4).max(COLUMN + 12);
    layout::centered(screen, width, lines + 2)
}

/// All keys: those of all panels, of single ones, and of what lies over them.
fn entries_of_all() -> Vec<Entry> {
    let mut all = vec![Entry::Heading("all panels".into())];
    all.extend(entries(Scope::Panels));
    all.extend(entries(Scope::Always));
    let panels = Panel::ALL.map(|panel| (Scope::Panel(panel), format!("{} {}", panel.key(), panel.name())));
    let others = [
        (Scope::List, "1, 5, 7, 8, 9: lists"),
        (Scope::Draft, "3 schedule, while a number is changed"),
        (Scope::Question, "asked whether to stop"),
    ];
    let others = others.map(|(scope, name)| (scope, name.to_owned()));
    for (scope, name) in panels.into_iter().chain(others) {
        let found = entries(scope);
        if !found.is_empty() {
            all.push(Entry::Heading(name));
            all.extend(found);
        }
    }
    all
}

/// The table's rows in `scope`; neighbours that do the same kind of thing share a line.
fn entries(scope: Scope) -> Vec<Entry> {
    let entry = |group: Vec<&'static Binding>| {
        let names: Vec<String> = group.iter().flat_map(|row| row.keys).map(|key| key.name()).collect();
        Entry::Keys(names.join(" "), group[0].help)
    };
    keys::groups(scope).into_iter().map(entry).collect()
}

fn paragraph(scene: Scene, entries: Vec<Entry>, width: u16) -> Paragraph<'static> {
    let room = usize::from(width).saturating_sub(KEYS + 2);
    let line = |entry| match entry {
        Entry::Heading(text) => Line::from(scene.span(Role::Focus, text)),
        Entry::Keys(keys, help) => {
            let gap = " ".repeat(KEYS.saturating_sub(text::width(&keys)));
            Line::from(vec![
                scene.span(Role::Key, format!(" {keys}{gap}")),
                scene.span(Role::Value, text::clip(help, room)),
            ])
        }
    };
    Paragraph::new(entries.into_iter().map(line).collect::<Vec<_>>())
}
