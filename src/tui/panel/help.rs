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

/// Width of a column, of its keys, and of the page with both columns.
const COLUMN: u16 = 42;
const KEYS: usize = 11;
const NARROW: u16 = 76;

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
    let below = scene.span(Role::Name, " Esc closes ");
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(scene.theme.style(Role::Focus))
        .title_top(scene.span(Role::Focus, " help "))
        .title_bottom(Line::from(below).right_aligned());
    let within = block.inner(area).inner(Margin::new(1, 0));
    frame.render_widget(block, area);
    let [left, right] = columns();
    if two_columns(screen) {
        let half = within.width / 2;
        frame.render_widget(paragraph(scene, left, half), Rect { width: half, ..within });
        let second = Rect { x: within.x + half, width: within.width - half, ..within };
        frame.render_widget(paragraph(scene, right, half), second);
    } else {
        let all = left.into_iter().chain(right).collect();
        let scroll = scroll.min(scroll_limit(screen));
        frame.render_widget(paragraph(scene, all, within.width).scroll((scroll, 0)), within);
    }
}

/// How far the page can be scrolled on `screen`.
pub fn scroll_limit(screen: Rect) -> u16 {
    if two_columns(screen) {
        return 0;
    }
    let lines: usize = columns().iter().map(Vec::len).sum();
    (lines as u16).saturating_sub(layout::inner(page(screen)).height)
}

fn two_columns(screen: Rect) -> bool {
    screen.width >= NARROW && usize::from(screen.height) > longest() + 1
}

fn longest() -> usize {
    columns().iter().map(Vec::len).max().unwrap_or(0)
}

fn page(screen: Rect) -> Rect {
    let lines = if two_columns(screen) { longest() } else { columns().iter().map(Vec::len).sum() };
    let width = if two_columns(screen) { 2 * COLUMN + 4 } else { COLUMN + 12 };
    layout::centered(screen, width, lines as u16 + 2)
}

/// The keys of all panels at the left, those of single panels at the right.
fn columns() -> [Vec<Entry>; 2] {
    let mut left = vec![Entry::Heading("all panels".into())];
    left.extend(entries(Scope::Panels));
    left.extend(entries(Scope::Always));
    let mut right = Vec::new();
    for panel in Panel::ALL {
        let found = entries(Scope::Panel(panel));
        if !found.is_empty() {
            right.push(Entry::Heading(format!("{} {}", panel.number(), panel.name())));
            right.extend(found);
        }
    }
    right.push(Entry::Heading("asked whether to stop".into()));
    right.extend(entries(Scope::Question));
    [left, right]
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
