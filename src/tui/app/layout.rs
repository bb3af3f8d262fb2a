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
//! │4 entropy, or 5, i, o  │ │4 entropy, or        │ │                │5 thoughts  │
//! │8 log, or 7, 9, p      │ │  5 thoughts, i, o   │ │3 schedule│6 cost│i layers, o│
//! │keys                   │ │8 log, or 7, 9, p    │ │7 changes │8 log │9    │p    │
//! └───────────────────────┘ │keys                 │ │keys                         │
//!                           └─────────────────────┘ └─────────────────────────────┘
//! ```

use super::panel_id::Panel;
use crate::tui::text;
use ratatui::layout::{Constraint, Layout, Margin, Position, Rect};

/// The smallest supported screen: columns and lines.
pub const MIN_SIZE: (u16, u16) = (60, 16);

/// Number of slots: on small screens, several panels share one slot.
pub const SLOTS: usize = 3;

const SLOT_PANELS: [&[Panel]; SLOTS] = [
    &[Panel::Schedule, Panel::Cost],
    &[Panel::Entropy, Panel::Thoughts, Panel::Layers, Panel::Rollouts],
    &[Panel::Changes, Panel::Log, Panel::Samples, Panel::Playground],
];

/// Panels that share a rectangle on wide screens, where all others have one of their own.
const WIDE_SHARED: &[Panel] = &[Panel::Layers, Panel::Rollouts];

/// Which panels share a rectangle, so that the frame of the one that is shown names the others as tabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TabSet {
    None,
    /// Those of a slot.
    Slots,
    /// Those that share a rectangle on wide screens.
    Wide,
}

/// Which panels the user sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ShownPanels {
    pub focus: Panel,
    /// The panel that each slot shows, on screens where panels share slots.
    pub slots: [Panel; SLOTS],
    /// Whether the focused panel fills the screen by request.
    pub expanded: bool,
}

impl Default for ShownPanels {
    fn default() -> Self {
        let slots = [Panel::Schedule, Panel::Entropy, Panel::Log];
        Self { focus: Panel::Loss, slots, expanded: false }
    }
}

pub fn slot_of(panel: Panel) -> Option<usize> {
    SLOT_PANELS.iter().position(|panels| panels.contains(&panel))
}

/// Returns the panels that share the rectangle of `panel`.
pub fn other_tabs(panel: Panel, tabs: TabSet) -> impl Iterator<Item = Panel> {
    let panels = match tabs {
        TabSet::Slots => slot_of(panel).map_or(&[][..], |slot| SLOT_PANELS[slot]),
        TabSet::Wide if WIDE_SHARED.contains(&panel) => WIDE_SHARED,
        TabSet::Wide | TabSet::None => &[],
    };
    panels.iter().copied().filter(move |other| *other != panel)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScreenAreas {
    /// One rectangle per panel, in their order. Empty if there is no room, or another panel has the slot.
    pub panels: [Rect; Panel::ALL.len()],
    /// Where the preparation is drawn: loss, schedule and entropy, as far as they form one rectangle.
    pub preparation: Rect,
    /// Alerts and banners.
    pub notice: Rect,
    pub footer: Rect,
    pub tabs: TabSet,
}

/// Returns the rectangles of `screen`; `None` if it is too small.
fn screen_areas(screen: Rect, notice: u16, shown: &[Panel; SLOTS]) -> Option<ScreenAreas> {
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
    let (placed, stage) = if wide { wide_body(body, shown) } else { stacked_body(body, shown) };
    let mut panels = [Rect::ZERO; Panel::ALL.len()];
    panels[Panel::Run as usize] = run;
    placed.into_iter().for_each(|(panel, area)| panels[panel as usize] = area);
    let tabs = if wide { TabSet::Wide } else { TabSet::Slots };
    Some(ScreenAreas { panels, preparation: stage, notice, footer, tabs })
}

/// Lays out every panel in a rectangle of its own, except for layers and rollouts.
fn wide_body(body: Rect, shown: &[Panel; SLOTS]) -> (Vec<(Panel, Rect)>, Rect) {
    let bottom = (body.height * 22 / 100).max(9);
    let [top, bottom] = Layout::vertical([Constraint::Fill(1), Constraint::Length(bottom)]).areas(body);
    let [left, right] = Layout::horizontal([Constraint::Percentage(56), Constraint::Fill(1)]).areas(top);
    let [loss, below] = Layout::vertical([Constraint::Percentage(62), Constraint::Fill(1)]).areas(left);
    let [schedule, cost] = Layout::horizontal([Constraint::Percentage(54), Constraint::Fill(1)]).areas(below);
    let [entropy, thoughts, layers] =
        Layout::vertical([Constraint::Percentage(42), Constraint::Fill(1), Constraint::Percentage(30)]).areas(right);
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
        (if shown.contains(&Panel::Rollouts) { Panel::Rollouts } else { Panel::Layers }, layers),
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
        Layout::vertical([Constraint::Fill(1), Constraint::Length(middle), Constraint::Length(bottom)]).areas(body);
    let share = if body.width < 76 { 56 } else { 63 };
    let [loss, right] = Layout::horizontal([Constraint::Percentage(share), Constraint::Fill(1)]).areas(charts);
    let placed = vec![(Panel::Loss, loss), (shown[0], right), (shown[1], middle), (shown[2], bottom)];
    (placed, charts.union(middle))
}

/// Returns the rectangle of a full-screen panel: everything except a run line, the alerts and the footer.
pub fn full_screen_area(screen: Rect, notice: u16) -> Rect {
    let [_, rest, _] =
        Layout::vertical([Constraint::Length(notice + 1), Constraint::Fill(1), Constraint::Length(1)]).areas(screen);
    rest
}

impl ShownPanels {
    /// Focuses `panel`, and shows it in its slot.
    pub fn focus_on(&mut self, panel: Panel) {
        self.focus = panel;
        if let Some(slot) = slot_of(panel) {
            self.slots[slot] = panel;
        }
    }

    /// Shows `wanted` in the slot that shows `other`, unless that is focused.
    pub fn replace(&mut self, other: Panel, wanted: Panel) {
        for slot in &mut self.slots {
            if *slot == other && self.focus != other && slot_of(other) == slot_of(wanted) {
                *slot = wanted;
            }
        }
    }

    pub fn areas(&self, screen: Rect, notice: u16) -> Option<ScreenAreas> {
        screen_areas(screen, notice, &self.slots)
    }

    /// Returns the rectangle of `panel`; an empty one if another panel fills the screen.
    pub fn area_of(&self, panel: Panel, screen: Rect, notice: u16) -> Rect {
        match self.areas(screen, notice) {
            Some(areas) if !self.fill_screen(&areas) => areas.panels[panel as usize],
            _ if panel == self.focus => full_screen_area(screen, notice),
            _ => Rect::ZERO,
        }
    }

    /// Returns whether the focused panel fills the screen, by request or because it has no room otherwise.
    pub fn fill_screen(&self, areas: &ScreenAreas) -> bool {
        self.expanded || areas.panels[self.focus as usize].is_empty()
    }

    /// Returns the panel whose name, as a tab in another panel's frame, is at this position.
    pub fn tab_at(&self, at: Position, screen: Rect, notice: u16) -> Option<Panel> {
        let areas = self.areas(screen, notice)?;
        if self.fill_screen(&areas) {
            return None;
        }
        let shown = Panel::ALL.into_iter().find(|panel| areas.panels[*panel as usize].contains(at))?;
        let area = areas.panels[shown as usize];
        if at.y != area.y {
            return None;
        }
        let mut x = area.x + 1 + text::width(&panel_title(shown)) as u16;
        other_tabs(shown, areas.tabs).find(|panel| {
            let from = x;
            x += text::width(&panel_title(*panel)) as u16;
            (from..x).contains(&at.x)
        })
    }
}

pub fn panel_title(panel: Panel) -> String {
    format!(" {} {} ", panel.key(), panel.name())
}

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
                let areas = ShownPanels::default().areas(screen, notice).unwrap();
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
        let areas = ShownPanels::default().areas(Rect::new(0, 0, 80, 24), 0).unwrap();
        let loss = areas.panels[Panel::Loss as usize];
        assert!((loss.width, loss.height) >= (50, 10), "{loss:?}");
        assert_eq!(areas.panels[Panel::Log as usize].height, 4);
    }

    #[test]
    fn a_screen_below_the_minimum_has_no_rectangles() {
        assert_eq!(ShownPanels::default().areas(Rect::new(0, 0, 59, 40), 0), None);
        assert_eq!(ShownPanels::default().areas(Rect::new(0, 0, 100, 15), 0), None);
    }

    #[test]
    fn a_panel_without_room_fills_the_screen_when_it_is_focused() {
        let screen = Rect::new(0, 0, 60, 16);
        let panels = ShownPanels { focus: Panel::Log, ..ShownPanels::default() };
        assert_eq!(panels.area_of(Panel::Log, screen, 0).height, 14);
        assert!(panels.area_of(Panel::Loss, screen, 0).is_empty());
    }

    #[test]
    fn every_panel_can_be_focused_and_its_tab_clicked() {
        let screen = Rect::new(0, 0, 120, 40);
        for wanted in Panel::ALL {
            let mut panels = ShownPanels::default();
            panels.focus_on(wanted);
            assert!(!panels.area_of(wanted, screen, 0).is_empty(), "{wanted:?}");
            for other in other_tabs(wanted, TabSet::Slots) {
                let area = panels.area_of(wanted, screen, 0);
                let found = (area.left()..area.right())
                    .any(|x| panels.tab_at(Position::new(x, area.y), screen, 0) == Some(other));
                assert!(found, "{other:?} is a tab of {wanted:?}");
            }
        }
        assert!(Panel::ALL.iter().all(|panel| {
            let mut shown = ShownPanels::default();
            shown.focus_on(*panel);
            !shown.areas(Rect::new(0, 0, 250, 70), 0).unwrap().panels[*panel as usize].is_empty()
        }));
    }
}
