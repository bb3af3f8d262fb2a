//! Owns: where everything stands on a screen of a given size, and which panels share a place.
//! Must not know: what the panels hold, colours.
//! Invariant: rectangles lie within the screen and do not overlap; below `MIN` there are none.
//!
//! ```text
//!  small (from 60×16)       middle (from 36 lines)   wide (from 180×45)
//! ┌───────────────────────┐ ┌─────────────────────┐ ┌─────────────────────────────┐
//! │1 run                  │ │1 run                │ │1 run                        │
//! │2 loss     │3 schedule │ │2 loss   │3 schedule │ │2 loss          │4 entropy   │
//! │           │  or 6 cost│ │         │  or 6 cost│ │                │            │
//! │4 entropy, or 5 thought│ │4 entropy, or        │ │                │            │
//! │8 log, or 7, 9, p      │ │  5 thoughts         │ │3 schedule│6 cost│5 thoughts │
//! │keys                   │ │8 log, or 7, 9, p    │ │7 changes │8 log │9    │p    │
//! └───────────────────────┘ │keys                 │ │keys                         │
//!                           └─────────────────────┘ └─────────────────────────────┘
//! ```

use super::text;
use super::view::{Panel, View};
use ratatui::layout::{Constraint, Layout, Margin, Position, Rect};

/// The smallest screen that is drawn on: columns and lines.
pub const MIN: (u16, u16) = (60, 16);

/// Places that panels share where there is no room for all.
pub const SLOTS: usize = 3;

/// The panels of each slot, in the order of their numbers.
const SHARED: [&[Panel]; SLOTS] = [
    &[Panel::Schedule, Panel::Cost],
    &[Panel::Entropy, Panel::Thoughts],
    &[Panel::Changes, Panel::Log, Panel::Samples, Panel::Playground],
];

/// What each slot shows at first.
pub const FIRST: [Panel; SLOTS] = [Panel::Schedule, Panel::Entropy, Panel::Log];

/// The slot that `panel` is in, if it shares its place.
pub fn slot(panel: Panel) -> Option<usize> {
    SHARED.iter().position(|panels| panels.contains(&panel))
}

/// The others that share the place of `panel`.
pub fn beside(panel: Panel) -> impl Iterator<Item = Panel> {
    let panels = slot(panel).map_or(&[][..], |slot| SHARED[slot]);
    panels.iter().copied().filter(move |other| *other != panel)
}

/// Where everything stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Areas {
    /// One a panel, in their order; empty where there is no room for it, or another stands in its place.
    pub panels: [Rect; Panel::ALL.len()],
    /// Loss, schedule and entropy together, as far as they are one rectangle: for what stands there before them.
    pub stage: Rect,
    /// Alerts and banners.
    pub notice: Rect,
    /// The keys.
    pub footer: Rect,
    /// Whether panels share places.
    pub shares: bool,
}

/// Where everything stands on `screen` when `notice` lines are taken by alerts and the slots show `shown`; `None` where it
/// is too small.
pub fn areas(screen: Rect, notice: u16, shown: &[Panel; SLOTS]) -> Option<Areas> {
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
    let (placed, stage) = if wide { wide_body(body) } else { stacked_body(body, shown) };
    let mut panels = [Rect::ZERO; Panel::ALL.len()];
    panels[Panel::Run as usize] = run;
    placed.into_iter().for_each(|(panel, area)| panels[panel as usize] = area);
    Some(Areas { panels, stage, notice, footer, shares: !wide })
}

/// Every panel in a place of its own.
fn wide_body(body: Rect) -> (Vec<(Panel, Rect)>, Rect) {
    let bottom = (body.height * 22 / 100).max(9);
    let [top, bottom] = Layout::vertical([Constraint::Fill(1), Constraint::Length(bottom)]).areas(body);
    let [left, right] = Layout::horizontal([Constraint::Percentage(56), Constraint::Fill(1)]).areas(top);
    let [loss, below] = Layout::vertical([Constraint::Percentage(62), Constraint::Fill(1)]).areas(left);
    let [schedule, cost] = Layout::horizontal([Constraint::Percentage(54), Constraint::Fill(1)]).areas(below);
    let [entropy, thoughts] =
        Layout::vertical([Constraint::Percentage(62), Constraint::Fill(1)]).areas(right);
    let [changes, log, samples, playground] = Layout::horizontal([
        Constraint::Percentage(24),
        Constraint::Percentage(28),
        Constraint::Percentage(22),
        Constraint::Fill(1),
    ])
    .areas(bottom);
    let placed = vec![
        (Panel::Loss, loss),
        (Panel::Schedule, schedule),
        (Panel::Entropy, entropy),
        (Panel::Thoughts, thoughts),
        (Panel::Cost, cost),
        (Panel::Changes, changes),
        (Panel::Log, log),
        (Panel::Samples, samples),
        (Panel::Playground, playground),
    ];
    (placed, left)
}

/// Loss beside one slot, another below, the third at the bottom.
fn stacked_body(body: Rect, shown: &[Panel; SLOTS]) -> (Vec<(Panel, Rect)>, Rect) {
    let (middle, bottom) = match body.height {
        0..16 => (5, 0),
        // Lines for alerts are taken from the row of tokens: the curves suffer more.
        16..24 => (body.height.saturating_sub(14).clamp(5, 7), 4),
        _ => (body.height * 2 / 5 - 1, body.height / 5),
    };
    let [charts, middle, bottom] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(middle), Constraint::Length(bottom)])
            .areas(body);
    let share = if body.width < 76 { 56 } else { 63 };
    let [loss, beside] =
        Layout::horizontal([Constraint::Percentage(share), Constraint::Fill(1)]).areas(charts);
    let placed = vec![(Panel::Loss, loss), (shown[0], beside), (shown[1], middle), (shown[2], bottom)];
    (placed, charts.union(middle))
}

/// What a focused panel takes when it has the whole screen: all but a line of the run, alerts and keys.
pub fn expanded(screen: Rect, notice: u16) -> Rect {
    let [_, rest, _] =
        Layout::vertical([Constraint::Length(notice + 1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(screen);
    rest
}

/// Where `panel` stands for this `view`; nowhere where another has the whole screen.
pub fn panel(screen: Rect, notice: u16, view: &View, panel: Panel) -> Rect {
    match areas(screen, notice, &view.shown) {
        Some(areas) if !whole_screen(view, &areas) => areas.panels[panel as usize],
        _ if panel == view.focus => expanded(screen, notice),
        _ => Rect::ZERO,
    }
}

/// Whether the focused panel has the whole screen: as asked for, or because there is no room for it otherwise.
pub fn whole_screen(view: &View, areas: &Areas) -> bool {
    view.expanded || areas.panels[view.focus as usize].is_empty()
}

/// The name of a panel as it stands in a frame.
pub fn title(panel: Panel) -> String {
    format!(" {} {} ", panel.key(), panel.name())
}

/// The panel whose name at the top of another's frame stands at this place.
pub fn tab(screen: Rect, notice: u16, view: &View, at: Position) -> Option<Panel> {
    let areas =
        areas(screen, notice, &view.shown).filter(|areas| areas.shares && !whole_screen(view, areas))?;
    let shown = Panel::ALL.into_iter().find(|panel| areas.panels[*panel as usize].contains(at))?;
    let area = areas.panels[shown as usize];
    if at.y != area.y {
        return None;
    }
    let mut x = area.x + 1 + text::width(&title(shown)) as u16;
    beside(shown).find(|panel| {
        let from = x;
        x += text::width(&title(*panel)) as u16;
        (from..x).contains(&at.x)
    })
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
                let areas = areas(screen, notice, &FIRST).unwrap();
                let mut all = areas.panels.to_vec();
                all.extend([areas.notice, areas.footer]);
                let covered: u32 = all.iter().map(|area| area.area()).sum();
                assert_eq!(covered, screen.area(), "{width}×{height}");
                assert!(all.iter().all(|area| screen.union(*area) == screen || area.is_empty()));
                let clash = |a: &Rect, b: &Rect| !a.intersection(*b).is_empty();
                for (index, a) in all.iter().enumerate() {
                    assert!(all[index + 1..].iter().all(|b| !clash(a, b)), "{width}×{height}");
                }
            }
        }
    }

    #[test]
    fn charts_keep_room_on_a_small_screen() {
        let areas = areas(Rect::new(0, 0, 80, 24), 0, &FIRST).unwrap();
        let loss = areas.panels[Panel::Loss as usize];
        assert!((loss.width, loss.height) >= (50, 10), "{loss:?}");
        assert_eq!(areas.panels[Panel::Log as usize].height, 4);
    }

    #[test]
    fn below_the_smallest_there_is_nothing() {
        assert_eq!(areas(Rect::new(0, 0, 59, 40), 0, &FIRST), None);
        assert_eq!(areas(Rect::new(0, 0, 100, 15), 0, &FIRST), None);
    }

    #[test]
    fn a_panel_without_room_takes_the_screen_when_it_is_focused() {
        let screen = Rect::new(0, 0, 60, 16);
        let view = View { focus: Panel::Log, ..View::default() };
        assert_eq!(panel(screen, 0, &view, Panel::Log).height, 14);
        assert!(panel(screen, 0, &view, Panel::Loss).is_empty());
    }

    #[test]
    fn every_panel_can_be_looked_at_and_its_name_clicked() {
        let screen = Rect::new(0, 0, 120, 40);
        for wanted in Panel::ALL {
            let mut view = View::default();
            view.look_at(wanted);
            assert!(!panel(screen, 0, &view, wanted).is_empty(), "{wanted:?}");
            for other in beside(wanted) {
                let area = panel(screen, 0, &view, wanted);
                let found = (area.left()..area.right())
                    .any(|x| tab(screen, 0, &view, Position::new(x, area.y)) == Some(other));
                assert!(found, "{other:?} beside {wanted:?}");
            }
        }
        assert!(Panel::ALL.iter().all(|panel| {
            let wide = areas(Rect::new(0, 0, 250, 70), 0, &FIRST).unwrap();
            !wide.panels[*panel as usize].is_empty()
        }));
    }
}
