//! Owns: the rectangles of a screen of a given size, and which panels share a slot.
//! Must not know: the content of panels, colours.
//! Invariant: rectangles lie within the screen and do not overlap. Below `MIN_SIZE` there are none.
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

use super::view::{Panel, ViewState};
use crate::tui::text;
use ratatui::layout::{Constraint, Layout, Margin, Position, Rect};

/// The smallest supported screen: columns and lines.
pub const MIN_SIZE: (u16, u16) = (60, 16);

/// Number of slots: on small screens, several panels share one slot.
pub const SLOTS: usize = 3;

/// The panels of each slot, in the order of their numbers.
const SLOT_PANELS: [&[Panel]; SLOTS] = [
    &[Panel::Schedule, Panel::Cost],
    &[Panel::Entropy, Panel::Thoughts],
    &[Panel::Changes, Panel::Log, Panel::Samples, Panel::Playground],
];

/// The panel that each slot shows at first.
pub const INITIAL_PANELS: [Panel; SLOTS] = [Panel::Schedule, Panel::Entropy, Panel::Log];

/// Returns the slot of `panel`, if it shares one.
pub fn slot_of(panel: Panel) -> Option<usize> {
    SLOT_PANELS.iter().position(|panels| panels.contains(&panel))
}

/// Returns the other panels in the slot of `panel`.
pub fn other_tabs(panel: Panel) -> impl Iterator<Item = Panel> {
    let panels = slot_of(panel).map_or(&[][..], |slot| SLOT_PANELS[slot]);
    panels.iter().copied().filter(move |other| *other != panel)
}

/// The rectangles of a screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScreenAreas {
    /// One rectangle per panel, in their order. Empty if there is no room, or another panel has the slot.
    pub panels: [Rect; Panel::ALL.len()],
    /// Loss, schedule and entropy together, as far as they form one rectangle. The preparation view is drawn
    /// there.
    pub preparation: Rect,
    /// Alerts and banners.
    pub notice: Rect,
    /// The line of key hints.
    pub footer: Rect,
    /// Whether panels share slots.
    pub panels_share_slots: bool,
}

/// Returns the rectangles of `screen`, with `notice` lines for alerts and the panels `shown` in the slots.
/// `None` if the screen is too small.
pub fn screen_areas(screen: Rect, notice: u16, shown: &[Panel; SLOTS]) -> Option<ScreenAreas> {
    if screen.width < MIN_SIZE.0 || screen.height < MIN_SIZE.1 {
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
    Some(ScreenAreas { panels, preparation: stage, notice, footer, panels_share_slots: !wide })
}

/// Lays out every panel in a rectangle of its own.
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

/// Lays out loss with one slot next to it, one slot below, and one at the bottom.
fn stacked_body(body: Rect, shown: &[Panel; SLOTS]) -> (Vec<(Panel, Rect)>, Rect) {
    let (middle, bottom) = match body.height {
        0..16 => (5, 0),
        // Lines for alerts are taken from the token row, because curves need the height more.
        16..24 => (body.height.saturating_sub(14).clamp(5, 7), 4),
        _ => (body.height * 2 / 5 - 1, body.height / 5),
    };
    let [charts, middle, bottom] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(middle), Constraint::Length(bottom)])
            .areas(body);
    let share = if body.width < 76 { 56 } else { 63 };
    let [loss, right] =
        Layout::horizontal([Constraint::Percentage(share), Constraint::Fill(1)]).areas(charts);
    let placed = vec![(Panel::Loss, loss), (shown[0], right), (shown[1], middle), (shown[2], bottom)];
    (placed, charts.union(middle))
}

/// Returns the rectangle of a full-screen panel: everything except a run line, the alerts and the footer.
pub fn full_screen_area(screen: Rect, notice: u16) -> Rect {
    let [_, rest, _] =
        Layout::vertical([Constraint::Length(notice + 1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(screen);
    rest
}

/// Returns the rectangle of `panel` in this `view`; an empty one if another panel fills the screen.
pub fn panel_area(screen: Rect, notice: u16, view: &ViewState, panel: Panel) -> Rect {
    match screen_areas(screen, notice, &view.slot_panels) {
        Some(areas) if !is_full_screen(view, &areas) => areas.panels[panel as usize],
        _ if panel == view.focus => full_screen_area(screen, notice),
        _ => Rect::ZERO,
    }
}

/// Returns whether the focused panel fills the screen, by request or because it has no room otherwise.
pub fn is_full_screen(view: &ViewState, areas: &ScreenAreas) -> bool {
    view.expanded || areas.panels[view.focus as usize].is_empty()
}

/// Returns the title of a panel in its frame.
pub fn panel_title(panel: Panel) -> String {
    format!(" {} {} ", panel.key(), panel.name())
}

/// Returns the panel whose name, as a tab in another panel's frame, is at this position.
pub fn tab_at(screen: Rect, notice: u16, view: &ViewState, at: Position) -> Option<Panel> {
    let areas = screen_areas(screen, notice, &view.slot_panels)
        .filter(|areas| areas.panels_share_slots && !is_full_screen(view, areas))?;
    let shown = Panel::ALL.into_iter().find(|panel| areas.panels[*panel as usize].contains(at))?;
    let area = areas.panels[shown as usize];
    if at.y != area.y {
        return None;
    }
    let mut x = area.x + 1 + text::width(&panel_title(shown)) as u16;
    other_tabs(shown).find(|panel| {
        let from = x;
        x += text::width(&panel_title(*panel)) as u16;
        (from..x).contains(&at.x)
    })
}

/// Returns `area` without its border.
pub fn inner_area(area: Rect) -> Rect {
    area.inner(Margin::new(1, 1))
}

/// Returns line `index` of `area`, from its top.
pub fn line_area(area: Rect, index: u16) -> Rect {
    let below = Rect { y: area.y.saturating_add(index), height: 1, ..area };
    below.intersection(area)
}

/// Returns a rectangle of this size in the middle of `area`, clipped to it.
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
                let areas = screen_areas(screen, notice, &INITIAL_PANELS).unwrap();
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
    fn charts_keep_their_size_on_a_small_screen() {
        let areas = screen_areas(Rect::new(0, 0, 80, 24), 0, &INITIAL_PANELS).unwrap();
        let loss = areas.panels[Panel::Loss as usize];
        assert!((loss.width, loss.height) >= (50, 10), "{loss:?}");
        assert_eq!(areas.panels[Panel::Log as usize].height, 4);
    }

    #[test]
    fn a_screen_below_the_minimum_has_no_rectangles() {
        assert_eq!(screen_areas(Rect::new(0, 0, 59, 40), 0, &INITIAL_PANELS), None);
        assert_eq!(screen_areas(Rect::new(0, 0, 100, 15), 0, &INITIAL_PANELS), None);
    }

    #[test]
    fn a_panel_without_room_fills_the_screen_when_it_is_focused() {
        let screen = Rect::new(0, 0, 60, 16);
        let view = ViewState { focus: Panel::Log, ..ViewState::default() };
        assert_eq!(panel_area(screen, 0, &view, Panel::Log).height, 14);
        assert!(panel_area(screen, 0, &view, Panel::Loss).is_empty());
    }

    #[test]
    fn every_panel_can_be_focused_and_its_tab_clicked() {
        let screen = Rect::new(0, 0, 120, 40);
        for wanted in Panel::ALL {
            let mut view = ViewState::default();
            view.focus_panel(wanted);
            assert!(!panel_area(screen, 0, &view, wanted).is_empty(), "{wanted:?}");
            for other in other_tabs(wanted) {
                let area = panel_area(screen, 0, &view, wanted);
                let found = (area.left()..area.right())
                    .any(|x| tab_at(screen, 0, &view, Position::new(x, area.y)) == Some(other));
                assert!(found, "{other:?} is a tab of {wanted:?}");
            }
        }
        assert!(Panel::ALL.iter().all(|panel| {
            let wide = screen_areas(Rect::new(0, 0, 250, 70), 0, &INITIAL_PANELS).unwrap();
            !wide.panels[*panel as usize].is_empty()
        }));
    }
}
