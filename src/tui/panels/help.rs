//! Owns: the help page.
//! Must not know: which keys exist (the key table does).
//! Invariant: the page lists every key of the key table that works in a panel or its overlays, and every mark of the charts.
//! Nothing is cut.
//!
//! ```text
//! ╭ help ────────────────────────────────────────────────────────────────────────────────────────────────────╮
//! │ all panels                                           ← h → l           select a knot                     │
//! │  ?                 show this help                    [ ]               move the knot earlier or later    │
//! │  q                 quit; asks first during a run     a                 add knot at cursor or next step   │
//! │  …                                                  4 entropy                                            │
//! │  Ctrl-Z            suspend; fg brings it back        ← h → l ↑ k ↓ j   select a token                    │
//! │ 2 loss                                               …                                                   │
//! │  ← h → l           move the step cursor             dialog: stop the run?                                │
//! │  …                                                   y                 stop and write a checkpoint       │
//! ╰────────────────────────────────────────────────────────────────────────────────── ↑ ↓ scroll, Esc closes ╯
//! ```

use super::{RenderContext, clear_area, loss_marks};
use crate::tui::app::keys::{Binding, Scope};
use crate::tui::app::panel_id::Panel;
use crate::tui::app::view::Overlay;
use crate::tui::app::{keys, layout};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Paragraph};

const COLUMN_CELLS: u16 = 52;
const KEY_CELLS: usize = 18;
const MAX_COLUMNS: u16 = 3;

/// A line of the page: a heading, or keys and what they do.
enum HelpLine {
    Heading(String),
    Keys(String, &'static str),
    /// A mark or a term, and what it means.
    Term(String, &'static str),
}

pub fn render(frame: &mut Frame, screen: Rect, ctx: RenderContext) {
    let (scroll, is_typing) = match ctx.view.overlay {
        Overlay::Help(scroll) => (scroll, false),
        Overlay::HelpFilter => (0, true),
        _ => return,
    };
    let filter = ctx.view.help_filter.as_str();
    let area = page_area(screen);
    clear_area(frame, area);
    let limit = scroll_limit(screen, filter);
    let below = match (is_typing, limit) {
        (true, _) => " Enter keeps the search, Esc ends it ",
        (false, 0) => " / searches, Esc closes ",
        _ => " ↑ ↓ PgUp PgDn scroll, / searches, Esc closes ",
    };
    let title = match (is_typing, filter) {
        (true, filter) => format!(" help /{filter}▏ "),
        (false, "") => " help ".to_owned(),
        (false, filter) => format!(" help /{filter} "),
    };
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(ctx.theme.style(Role::Focus))
        .title_top(ctx.span(Role::Focus, title))
        .title_bottom(Line::from(ctx.span(Role::Name, below)).right_aligned());
    let within = block.inner(area).inner(Margin::new(1, 0));
    frame.render_widget(block, area);
    // The lines flow from column to column.
    let mut lines = matching_lines(filter).into_iter().skip(usize::from(scroll.min(limit)));
    let (columns, width) = (column_count(screen), within.width / column_count(screen));
    for column in 0..columns {
        let area = Rect { x: within.x + column * width, width: width.saturating_sub(1), ..within };
        let shown = lines.by_ref().take(usize::from(within.height)).collect();
        frame.render_widget(column_paragraph(ctx, shown, area.width), area);
    }
}

/// Returns how many lines the page of this search can be scrolled on `screen`.
pub fn scroll_limit(screen: Rect, filter: &str) -> u16 {
    (matching_lines(filter).len() as u16).saturating_sub(visible_lines(screen))
}

/// Returns how many lines of the page are visible on `screen`.
pub fn visible_lines(screen: Rect) -> u16 {
    layout::inner_area(page_area(screen)).height * column_count(screen)
}

/// Returns the lines that have `filter` in them, ignoring case, each below its heading; all lines of a heading that has it.
fn matching_lines(filter: &str) -> Vec<HelpLine> {
    let filter = filter.to_lowercase();
    let has_filter = |text: &str| text.to_lowercase().contains(&filter);
    let mut found = Vec::new();
    let mut heading: Option<HelpLine> = None;
    let mut all_match = false;
    for line in all_lines() {
        match line {
            HelpLine::Heading(text) => {
                all_match = has_filter(&text);
                heading = Some(HelpLine::Heading(text));
            }
            HelpLine::Keys(ref name, text) | HelpLine::Term(ref name, text)
                if all_match || has_filter(name) || has_filter(text) =>
            {
                found.extend(heading.take());
                found.push(line);
            }
            _ => {}
        }
    }
    found
}

fn column_count(screen: Rect) -> u16 {
    (screen.width.saturating_sub(2) / COLUMN_CELLS).clamp(1, MAX_COLUMNS)
}

fn page_area(screen: Rect) -> Rect {
    let lines = (all_lines().len() as u16).div_ceil(column_count(screen));
    let width = (column_count(screen) * COLUMN_CELLS + 4).max(COLUMN_CELLS + 12);
    layout::centered(screen, width, lines + 2)
}

/// Returns all lines of the page: the keys of all panels, of each panel, and of the overlays.
fn all_lines() -> Vec<HelpLine> {
    let mut all = vec![HelpLine::Heading("all panels".into())];
    all.extend(lines_of_scope(Scope::Panels));
    all.extend(lines_of_scope(Scope::Always));
    let panels = Panel::ALL.map(|panel| (Scope::Panel(panel), format!("{} {}", panel.key(), panel.name())));
    let overlays = [
        (Scope::List, "1, 5, 7, 8, 9, p: lists"),
        (Scope::Draft, "3 schedule, while editing a setting"),
        (Scope::StopDialog, "dialog: stop the run?"),
        (Scope::Runs, "list of runs (R, or `coconut-lab runs`)"),
        (Scope::DeleteDialog, "dialog: delete runs?"),
        (Scope::Comparison, "comparison of two runs"),
        (Scope::MultiRun, "several runs (`watch RUN RUN`)"),
    ];
    let overlays = overlays.map(|(scope, name)| (scope, name.to_owned()));
    for (scope, name) in panels.into_iter().chain(overlays) {
        let found = lines_of_scope(scope);
        if !found.is_empty() {
            all.push(HelpLine::Heading(name));
            all.extend(found);
        }
    }
    all.push(HelpLine::Heading("marks and terms".into()));
    all.extend(loss_marks::mark_meanings().map(|(mark, meaning)| HelpLine::Term(mark, meaning)));
    all.extend(TERMS.iter().map(|(term, meaning)| HelpLine::Term((*term).to_owned(), meaning)));
    all
}

/// Marks and terms of several panels.
const TERMS: [(&str, &str); 13] = [
    ("◇ against ▲", "what recycling changes: compare"),
    ("↑ ↓", "beyond the axis, with its value"),
    ("▾ change, ✎ note", "a step with a change or a note"),
    ("▸token", "a recycled position"),
    ("┃token", "a document begins"),
    ("‹1›", "the first latent of a question"),
    ("⟨7 3⟩", "a latent, as what it decodes to"),
    ("update/weight", "update norm per weight norm"),
    ("3.1e-2!", "such a ratio: not 1e-4 to 1e-2"),
    ("recycled", "fed the state before, no token"),
    ("latent", "a position fed with a state"),
    ("nats", "unit of loss and entropy"),
    ("ln V", "entropy if all tokens are alike"),
];

/// Returns the rows of the page, each as heading, keys and what they do, for the reference pages.
pub fn key_table() -> Vec<[String; 3]> {
    let mut heading = String::new();
    let mut rows = Vec::new();
    for line in all_lines() {
        match line {
            HelpLine::Heading(text) => heading = text,
            HelpLine::Keys(keys, help) => rows.push([heading.clone(), keys, help.to_owned()]),
            HelpLine::Term(..) => {}
        }
    }
    rows
}

/// Returns the lines of the keys in `scope`; neighbouring keys with the same help text share a line.
fn lines_of_scope(scope: Scope) -> Vec<HelpLine> {
    let entry = |group: Vec<&'static Binding>| {
        let names: Vec<String> = group.iter().flat_map(|row| row.keys).map(|key| key.name()).collect();
        HelpLine::Keys(names.join(" "), group[0].help)
    };
    keys::binding_groups(scope).into_iter().map(entry).collect()
}

fn column_paragraph(ctx: RenderContext, entries: Vec<HelpLine>, width: u16) -> Paragraph<'static> {
    let room = usize::from(width).saturating_sub(KEY_CELLS + 2);
    let line = |entry| match entry {
        HelpLine::Heading(text) => Line::from(ctx.span(Role::Focus, text)),
        HelpLine::Keys(keys, help) | HelpLine::Term(keys, help) => {
            let gap = " ".repeat(KEY_CELLS.saturating_sub(text::width(&keys)));
            Line::from(vec![
                ctx.span(Role::Key, format!(" {keys}{gap}")),
                ctx.span(Role::Value, text::clip(help, room)),
            ])
        }
    };
    Paragraph::new(entries.into_iter().map(line).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_keeps_lines_with_their_headings() {
        assert_eq!(matching_lines("").len(), all_lines().len());
        let texts = |filter: &str| -> Vec<String> {
            let text = |line| match line {
                HelpLine::Heading(text) => text,
                HelpLine::Keys(name, text) | HelpLine::Term(name, text) => format!("{name} {text}"),
            };
            matching_lines(filter).into_iter().map(text).collect()
        };
        let found = texts("LN v");
        assert_eq!((found.len(), found[0].as_str()), (2, "marks and terms"), "{found:?}");
        assert!(texts("marks and terms").len() > TERMS.len());
        assert!(texts("no such words").is_empty());
    }

    #[test]
    fn no_line_is_cut() {
        let room = usize::from(COLUMN_CELLS) - 1 - KEY_CELLS - 2;
        for line in all_lines() {
            let (HelpLine::Keys(name, help) | HelpLine::Term(name, help)) = line else { continue };
            let over = text::width(&name).saturating_sub(KEY_CELLS - 1);
            assert!(text::width(help) + over <= room, "{name}: {help}");
        }
    }
}
