//! Owns: the entropy heatmap: steps to the right, entropy upwards, the share of positions as colour.
//! Must not know: panels, frames.
//! Invariant: colours are shares of the positions of a column; the heatmap shares the axis of steps with the charts.
//!
//! ```text
//!  4.6┤▒▒░░
//!     │ ▒▒▓░░                 entropies of the plain pass on probed rows,
//!  2.3┤   ▒▓▓▒░░░             0 to ln V nats
//!     │     ▒▓▓▓▓▒▒▒▒▒
//!    0┤  ░░▒▒▓▓████████████
//!      0        500      1,000
//! ```

use super::RenderContext;
use crate::schema::token_rows::ENTROPY_BINS;
use crate::tui::app::chart_settings::ChartSpan;
use crate::tui::model::histograms::HistogramColumn;
use crate::tui::plot::axis::{AxisRange, Plane, Scale, StepLabels};
use crate::tui::plot::token_grid::TokenValue;
use crate::tui::plot::{axis, chart};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::text::{Line, Span};

/// The fewest cells of a plot that have room for the scale of the shares.
const SCALE_MIN_WIDTH: u16 = 60;

/// Returns what the heatmap shows in `mode`, for the frame.
pub fn subtitle(ctx: RenderContext, mode: TokenValue) -> String {
    let pass = if shows_recycled_pass(mode) { "recycled pass, at recycled positions" } else { "plain pass" };
    let steps = match ctx.view.charts.span {
        ChartSpan::All => "whole run".to_owned(),
        _ => {
            let (from, to) = ctx.visible_steps();
            format!("steps {} to {}", text::with_separators(from), text::with_separators(to))
        }
    };
    format!("{pass}, {steps}")
}

fn shows_recycled_pass(mode: TokenValue) -> bool {
    matches!(mode, TokenValue::Recycled | TokenValue::Difference)
}

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext, mode: TokenValue) {
    let Some(plane) = heatmap_plane(ctx) else { return };
    let Some(plot) = axis::plot_area(area, axis::gutter(plane.y, area.height.saturating_sub(1)), StepLabels::Shown)
    else {
        return;
    };
    let buffer = frame.buffer_mut();
    axis::render(buffer, plot, &plane, StepLabels::Shown, ctx.theme);
    // With colours each cell shows two bins, as half blocks.
    let half_cells = ctx.theme.has_colors();
    let bins = usize::from(plot.height) * if half_cells { 2 } else { 1 };
    for x in plot.left()..plot.right() {
        let steps = (plane.step_at(plot, x), plane.step_at(plot, x + 1).saturating_sub(1));
        let Some(shares) = bin_densities(ctx, steps, shows_recycled_pass(mode), bins) else { continue };
        for y in plot.top()..plot.bottom() {
            let below = usize::from(plot.bottom() - 1 - y);
            let Some(cell) = buffer.cell_mut((x, y)) else { continue };
            if half_cells {
                let (upper, lower) = (shares[2 * below + 1], shares[2 * below]);
                let colour = |share: f64| if share > 0.0 { ctx.theme.heat(share).bg } else { None };
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
                cell.set_symbol(density_shade(shares[below]));
            }
        }
    }
    chart::draw_step_markers(buffer, plot, &plane, ctx);
    draw_legend(frame, plot, ctx, mode);
}

/// Draws the name of the pass at the top right of the plot, and the scale of the shares if there is room.
fn draw_legend(frame: &mut Frame, plot: Rect, ctx: RenderContext, mode: TokenValue) {
    let name = if shows_recycled_pass(mode) { "recycled, nats" } else { "plain, nats" };
    let mut legend = Line::from(ctx.span(Role::Name, name));
    if plot.width >= SCALE_MIN_WIDTH {
        legend.push_span(ctx.span(Role::Name, "  positions: few "));
        for share in [0.1, 0.35, 0.6, 1.0] {
            legend.push_span(match ctx.theme.has_colors() {
                true => Span::styled(" ", ctx.theme.heat(share)),
                false => Span::raw(density_shade(share)),
            });
        }
        legend.push_span(ctx.span(Role::Name, " many"));
    }
    let width = (legend.width() as u16).min(plot.width);
    let at = plot.right().saturating_sub(width + 1).max(plot.x);
    frame.buffer_mut().set_line(at, plot.y, &legend, width);
}

/// Returns the plane of the steps that the charts show and of all possible entropies, 0 to ln V.
fn heatmap_plane(ctx: RenderContext) -> Option<Plane> {
    let last = ctx.state.histograms.columns().last()?.last_step;
    let (first, now) = ctx.state.known_steps();
    let (from, to) = ctx.view.charts.visible_steps((first, now.max(last)));
    let vocab_size = ctx
        .state
        .last_token_row()
        .map_or_else(|| ctx.state.run.as_ref().map_or(2, |run| run.vocab_size), |row| row.vocab_size);
    let scale = ctx.view.charts.x_scale;
    let from = if scale == Scale::Log { from.max(1) } else { from };
    Some(Plane {
        x: AxisRange::scaled(from as f64, to.max(from + 1) as f64, scale),
        y: AxisRange::linear(0.0, (vocab_size.max(2) as f64).ln()),
    })
}

/// Returns the density of positions by bin: the root of the share, so that few positions are visible too.
fn bin_densities(ctx: RenderContext, (from, to): (u64, u64), recycled: bool, bins: usize) -> Option<Vec<f64>> {
    let column: HistogramColumn = ctx.state.histograms.sum_of_range(from, to.max(from))?;
    let counts = if recycled { column.recycled } else { column.plain };
    let total: u64 = counts.iter().sum();
    if total == 0 || bins == 0 {
        return None;
    }
    // Each bin of the plot takes its part of the bins of the histogram.
    let count_in = |bin: usize| {
        let (low, high) =
            (bin as f64 * ENTROPY_BINS as f64 / bins as f64, (bin + 1) as f64 * ENTROPY_BINS as f64 / bins as f64);
        let overlap = |index: usize| (high.min((index + 1) as f64) - low.max(index as f64)).max(0.0);
        (low as usize..(high.ceil() as usize).min(ENTROPY_BINS))
            .map(|index| counts[index] as f64 * overlap(index))
            .sum::<f64>()
    };
    // Relative to bins of the histogram's size, so that a plot of any height has the same colours.
    let density = |bin: usize| count_in(bin) * bins as f64 / ENTROPY_BINS as f64 / total as f64;
    Some((0..bins).map(|bin| density(bin).sqrt().min(1.0)).collect())
}

/// Returns the shade character of a density, for terminals without colours.
fn density_shade(share: f64) -> &'static str {
    match share {
        s if s <= 0.0 => " ",
        s if s < 0.2 => "░",
        s if s < 0.4 => "▒",
        s if s < 0.7 => "▓",
        _ => "█",
    }
}
