//! Owns: the course of the entropies: steps to the right, entropy upwards, how many positions by colour.
//! Must not know: panels, frames.
//! Invariant: a column's colours are shares of that column; they share the axis of steps with the charts.
//!
//! ```text
//!  4.6┤▒▒░░
//!     │ ▒▒▓░░                 plain entropies of the rows looked at,
//!  2.3┤   ▒▓▓▒░░░             0 to ln V nats
//!     │     ▒▓▓▓▓▒▒▒▒▒
//!    0┤  ░░▒▒▓▓████████████
//!      0        500      1,000
//! ```

use super::Scene;
use crate::message::BINS;
use crate::tui::axis::{self, Plane, Range};
use crate::tui::chart;
use crate::tui::heat::Mode;
use crate::tui::spreads::Column;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Color;

/// What is shown in `mode`.
pub fn about(mode: Mode) -> &'static str {
    if is_recycled(mode) {
        "recycled pass, at recycled positions, whole run"
    } else {
        "plain pass, whole run"
    }
}

fn is_recycled(mode: Mode) -> bool {
    matches!(mode, Mode::Recycled | Mode::Difference)
}

/// Draws the course in `area`.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene, mode: Mode) {
    let Some(plane) = plane(scene) else { return };
    let Some(plot) = axis::plot(area, axis::gutter(plane.y, area.height.saturating_sub(1)), true) else {
        return;
    };
    let buffer = frame.buffer_mut();
    axis::render(buffer, plot, &plane, true, scene.theme);
    let two = scene.theme.has_colors();
    let bins = usize::from(plot.height) * if two { 2 } else { 1 };
    for x in plot.left()..plot.right() {
        let steps = (plane.step(plot, x), plane.step(plot, x + 1).saturating_sub(1));
        let Some(shares) = shares(scene, steps, is_recycled(mode), bins) else { continue };
        for y in plot.top()..plot.bottom() {
            let below = usize::from(plot.bottom() - 1 - y);
            let Some(cell) = buffer.cell_mut((x, y)) else { continue };
            if two {
                let (upper, lower) = (shares[2 * below + 1], shares[2 * below]);
                let colour = |share: f64| if share > 0.0 { scene.theme.heat(share).bg } else { None };
                match (colour(upper), colour(lower)) {
                    (None, None) => {}
                    (upper, lower) => {
                        cell.set_symbol("▀")
                            .set_fg(upper.unwrap_or(Color::Reset))
                            .set_bg(lower.unwrap_or(Color::Reset));
                        if upper.is_none() {
                            cell.set_symbol("▄").set_fg(lower.unwrap_or(Color::Reset)).set_bg(Color::Reset);
                        }
                    }
                }
            } else {
                cell.set_symbol(shade(shares[below]));
            }
        }
    }
    chart::draw_steps(buffer, plot, &plane, scene);
    let name = if is_recycled(mode) { "recycled, nats" } else { "plain, nats" };
    let at = plot.right().saturating_sub(name.len() as u16 + 1);
    buffer.set_string(at, plot.y, name, scene.theme.style(Role::Name));
}

/// The steps that the charts show, and all entropies there can be.
fn plane(scene: Scene) -> Option<Plane> {
    let last = scene.state.spreads.columns().last()?.last;
    let (first, now) = scene.state.span();
    let (from, to) = scene.view.charts.window((first, now.max(last)));
    let vocab_size = scene
        .state
        .row()
        .map_or_else(|| scene.state.run.as_ref().map_or(2, |run| run.vocab_size), |row| row.vocab_size);
    let log = scene.view.charts.log_x;
    let from = if log { from.max(1) } else { from };
    Some(Plane {
        x: Range::scaled(from as f64, to.max(from + 1) as f64, log),
        y: Range::linear(0.0, (vocab_size.max(2) as f64).ln()),
    })
}

/// How full each of `bins` bins is in these steps, the fullest possible being 1, on a scale on which few are seen, too.
fn shares(scene: Scene, (from, to): (u64, u64), recycled: bool, bins: usize) -> Option<Vec<f64>> {
    let column: Column = scene.state.spreads.within(from, to.max(from))?;
    let counts = if recycled { column.recycled } else { column.plain };
    let total: u64 = counts.iter().sum();
    if total == 0 || bins == 0 {
        return None;
    }
    // Each bin of the picture takes its part of the bins that were counted in.
    let taken = |bin: usize| {
        let (low, high) =
            (bin as f64 * BINS as f64 / bins as f64, (bin + 1) as f64 * BINS as f64 / bins as f64);
        let part = |index: usize| (high.min((index + 1) as f64) - low.max(index as f64)).max(0.0);
        (low as usize..(high.ceil() as usize).min(BINS))
            .map(|index| counts[index] as f64 * part(index))
            .sum::<f64>()
    };
    // As dense as if all lay in one bin of those that were counted in: then a picture of any height has the same colours.
    let dense = |bin: usize| taken(bin) * bins as f64 / BINS as f64 / total as f64;
    Some((0..bins).map(|bin| dense(bin).sqrt().min(1.0)).collect())
}

fn shade(share: f64) -> &'static str {
    match share {
        s if s <= 0.0 => " ",
        s if s < 0.2 => "░",
        s if s < 0.4 => "▒",
        s if s < 0.7 => "▓",
        _ => "█",
    }
}
