//! Owns: where everything stands on a screen of a given size.
//! Must not know: what the panels hold, colours.
//! Invariant: rectangles lie within the screen and do not overlap; below `MIN` there are none.
//!
//! ```text
//!  small (from 60×16)     middle (from 36 lines)   wide (from 180×45)
//! ┌─────────────────────┐ ┌─────────────────────┐ ┌──────────────────────────┐
//! │1 run                │ │1 run                │ │1 run                     │
//! │2 loss    │3 schedule│ │2 loss    │3 schedule│ │2 loss        │4 entropy  │
//! │          │          │ │          │          │ │              │           │
//! │4 entropy            │ │4 entropy            │ │3 schedule    │           │
//! │5 log (from 20 lines)│ │5 log                │ │              │5 log      │
//! │keys                 │ │keys                 │ │keys                      │
//! └─────────────────────┘ └─────────────────────┘ └──────────────────────────┘
//! ```

use super::view::{Panel, View};
use ratatui::layout::{Constraint, Layout, Margin, Rect};

/// The smallest screen that is drawn on: columns and lines.
pub const MIN: (u16, u16) = (60, 16);

/// Where everything stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Areas {
    /// One a panel, in their order; empty where there is no room for it.
    pub panels: [Rect; Panel::ALL.len()],
    /// Loss, schedule and entropy together, as far as they are one rectangle: for what stands there before them.
    pub stage: Rect,
    /// Alerts and banners.
    pub notice: Rect,
    /// The keys.
    pub footer: Rect,
}

/// Where everything stands on `screen` when `notice` lines are taken by alerts; `None` where it is too small.
pub fn areas(screen: Rect, notice: u16) -> Option<Areas> {
    if screen.width < MIN.0 || screen.height < MIN.1 {
        return None;
    }
    let header = if screen.height >= 36 { 4 } else { 2 };
    let [run, notice, body, footer] = Layout::vertical([
        Constraint::Length(header),
        Constraint::Length(notice),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(screen);
    let wide = screen.width >= 180 && screen.height >= 45;
    let (charts, stage) = if wide { wide_body(body) } else { stacked_body(body) };
    let [loss, schedule, entropy, log] = charts;
    Some(Areas { panels: [run, loss, schedule, entropy, log], stage, notice, footer })
}

/// Loss, schedule, entropy, log in two columns.
fn wide_body(body: Rect) -> ([Rect; 4], Rect) {
    let [left, right] = Layout::horizontal([Constraint::Percentage(58), Constraint::Fill(1)]).areas(body);
    let [loss, schedule] = Layout::vertical([Constraint::Percentage(64), Constraint::Fill(1)]).areas(left);
    let [entropy, log] = Layout::vertical([Constraint::Percentage(64), Constraint::Fill(1)]).areas(right);
    ([loss, schedule, entropy, log], left)
}

/// Loss beside schedule, entropy below, log at the bottom.
fn stacked_body(body: Rect) -> ([Rect; 4], Rect) {
    let (entropy, log) = match body.height {
        0..16 => (5, 0),
        // Lines for alerts are taken from the row of tokens: the curves suffer more.
        16..24 => (body.height.saturating_sub(14).clamp(5, 7), 4),
        _ => (body.height * 2 / 5 - 1, body.height / 5),
    };
    let [charts, entropy, log] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(entropy), Constraint::Length(log)])
            .areas(body);
    let share = if body.width < 76 { 56 } else { 63 };
    let [loss, schedule] =
        Layout::horizontal([Constraint::Percentage(share), Constraint::Fill(1)]).areas(charts);
    let stage = charts.union(entropy);
    ([loss, schedule, entropy, log], stage)
}

/// What a focused panel takes when it has the whole screen: all but alerts and keys.
pub fn expanded(screen: Rect, notice: u16) -> Rect {
    let [_, rest, _] =
        Layout::vertical([Constraint::Length(notice), Constraint::Fill(1), Constraint::Length(1)])
            .areas(screen);
    rest
}

/// Where `panel` stands for this `view`.
pub fn panel(screen: Rect, notice: u16, view: &View, panel: Panel) -> Rect {
    match areas(screen, notice) {
        Some(areas) if !whole_screen(view, &areas) => areas.panels[panel as usize],
        _ => expanded(screen, notice),
    }
}

/// Whether the focused panel has the whole screen: as asked for, or because there is no room for it otherwise.
pub fn whole_screen(view: &View, areas: &Areas) -> bool {
    view.expanded || areas.panels[view.focus as usize].is_empty()
}

/// What is left of `area` within its border.
pub fn inner(area: Rect) -> Rect {
    area.inner(Margin::new(1, 1))
}

/// A line of `area`, counted from its top.
pub fn line(area: Rect, index: u16) -> Rect {
    let below = Rect { y: area.y.saturating_add(index), height: 1, ..area };
    below.intersection(area)
}

/// A rectangle of this size in the middle of `area`, or as much of it as there is.
pub fn centered(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_fill_the_screen_and_do_not_overlap() {
        for (width, height) in [(60, 16), (80, 24), (100, 30), (120, 40), (180, 45), (250, 70), (400, 200)] {
            for notice in 0..3 {
                let screen = Rect::new(0, 0, width, height);
                let areas = areas(screen, notice).unwrap();
                let mut all = areas.panels.to_vec();
                all.extend([areas.notice, areas.footer]);
                let covered: u32 = all.iter().map(|area| area.area()).sum();
                assert_eq!(covered, screen.area(), "{width}×{height}");
                assert!(all.iter().all(|area| screen.union(*area) == screen));
                let clash = |a: &Rect, b: &Rect| !a.intersection(*b).is_empty();
                for (index, a) in all.iter().enumerate() {
                    assert!(all[index + 1..].iter().all(|b| !clash(a, b)), "{width}×{height}");
                }
            }
        }
    }

    #[test]
    fn charts_keep_room_on_a_small_screen() {
        let areas = areas(Rect::new(0, 0, 80, 24), 0).unwrap();
        let loss = areas.panels[Panel::Loss as usize];
        assert!((loss.width, loss.height) >= (50, 10), "{loss:?}");
        assert_eq!(areas.panels[Panel::Log as usize].height, 4);
    }

    #[test]
    fn below_the_smallest_there_is_nothing() {
        assert_eq!(areas(Rect::new(0, 0, 59, 40), 0), None);
        assert_eq!(areas(Rect::new(0, 0, 100, 15), 0), None);
    }

    #[test]
    fn a_panel_without_room_takes_the_screen_when_it_is_focused() {
        let screen = Rect::new(0, 0, 60, 16);
        let view = View { focus: Panel::Log, ..View::default() };
        assert_eq!(panel(screen, 0, &view, Panel::Log).height, 15);
    }
}
