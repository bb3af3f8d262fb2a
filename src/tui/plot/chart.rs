//! Owns: drawing series over steps in one plot: raw values, smoothed curves, validation points, markers of
//! steps with their names, and the cursor.
//! Must not know: which series belong together, frames.
//! Invariant: everything is drawn within the plot; nothing is drawn for values that are not finite.

use super::axis::{AxisRange, Plane, Scale};
use super::raster::{Dash, Raster};
use crate::tui::model::history::Bucket;
use crate::tui::model::metrics::Series;
use crate::tui::model::state::ChartMark;
use crate::tui::panels::RenderContext;
use crate::tui::theme::Role;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug)]
pub struct PlotCurve {
    pub series: Series,
    pub role: Role,
    /// The style of its raw values, if they are drawn behind the smoothed curve.
    pub raw_role: Option<Role>,
    /// The dash patterns with colours and without.
    pub dash: (Dash, Dash),
}

/// Points of a series that is measured only at some steps, such as at validations.
#[derive(Clone, Copy, Debug)]
pub struct PlotPoints {
    pub series: Series,
    pub glyph: &'static str,
    pub role: Role,
    /// Whether the value axis covers these points. Otherwise points beyond the axis are drawn at its edge.
    pub sets_axis_range: bool,
}

/// The curves and the points of one plot; later ones are drawn over earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    pub curves: Vec<PlotCurve>,
    pub points: Vec<PlotPoints>,
}

impl Chart {
    /// Returns the range of values in these steps, on a logarithmic scale of positive ones only.
    pub fn value_range(&self, ctx: RenderContext, (first, last): (u64, u64), scale: Scale) -> Option<(f64, f64)> {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        let held = self.points.iter().filter(|points| points.sets_axis_range).map(|points| points.series);
        let held = self.curves.iter().map(|curve| curve.series).chain(held);
        for bucket in held.flat_map(|series| ctx.state.history(series).buckets_in(first, last)) {
            if scale == Scale::Linear || bucket.min > 0.0 {
                low = low.min(bucket.min);
                high = high.max(bucket.max);
            }
        }
        (low <= high).then_some((low, high))
    }

    /// Returns the plane that covers the steps `first..=last` and their values.
    pub fn plane(&self, ctx: RenderContext, (first, last): (u64, u64)) -> Option<Plane> {
        let charts = &ctx.view.charts;
        let (low, high) = self.value_range(ctx, (first, last), charts.y_scale)?;
        let from = if charts.x_scale == Scale::Log { first.max(1) } else { first };
        Some(Plane {
            x: AxisRange::scaled(from as f64, last.max(from + 1) as f64, charts.x_scale),
            y: AxisRange::scaled(low, high, charts.y_scale).with_margin(),
        })
    }

    pub fn render(&self, buffer: &mut Buffer, plot: Rect, plane: &Plane, ctx: RenderContext) {
        let mut raster = Raster::new(plot, plane.window());
        let smoothing = ctx.smoothing();
        self.curves.iter().for_each(|curve| draw_raw(&mut raster, plane, curve, ctx, smoothing));
        self.curves.iter().for_each(|curve| draw_smooth(&mut raster, plane, curve, ctx, smoothing));
        raster.render(buffer);
        for points in &self.points {
            for bucket in visible_buckets(ctx, points.series, plane) {
                // A bucket may hold several points: draw the middle of their range.
                let value = (bucket.min + bucket.max) / 2.0;
                let (x, y) = plane.point_at(bucket.last_step, value.clamp(plane.y.low, plane.y.high));
                // A point beyond the plane is drawn dim at its edge.
                let role = if value == value.clamp(plane.y.low, plane.y.high) { points.role } else { Role::Dim };
                if let Some((x, y)) = raster.cell_of(x, y) {
                    buffer.set_string(x, y, points.glyph, ctx.theme.style(role));
                }
            }
        }
    }
}

/// Returns the buckets of `series` within the steps of the plane.
fn visible_buckets<'a>(ctx: RenderContext<'a>, series: Series, plane: &Plane) -> &'a [Bucket] {
    ctx.state.history(series).buckets_in(plane.x.low as u64, plane.x.high as u64)
}

/// Draws the raw values behind a smoothed curve, and the extremes of buckets that hold several values.
fn draw_raw(raster: &mut Raster, plane: &Plane, curve: &PlotCurve, ctx: RenderContext, smoothing: f64) {
    let Some(raw) = curve.raw_role else { return };
    let bars = visible_buckets(ctx, curve.series, plane)
        .iter()
        .filter(|bucket| smoothing > 0.0 || bucket.count > 1)
        .map(|bucket| {
            let middle = (bucket.first_step + bucket.last_step) / 2;
            let ((x, low), (_, high)) = (plane.point_at(middle, bucket.min), plane.point_at(middle, bucket.max));
            (x, low, high)
        });
    raster.draw_bars(bars, ctx.theme.style(raw));
}

/// Returns the dash that is drawn: the first with colours, the second without.
pub fn visible_dash(ctx: RenderContext, (colored, plain): (Dash, Dash)) -> Dash {
    if ctx.theme.has_colors() { colored } else { plain }
}

fn draw_smooth(raster: &mut Raster, plane: &Plane, curve: &PlotCurve, ctx: RenderContext, smoothing: f64) {
    let dash = visible_dash(ctx, curve.dash);
    let from = plane.x.low as u64;
    let points = ctx
        .state
        .history(curve.series)
        .smoothed(smoothing)
        .filter(|(bucket, _)| bucket.last_step >= from)
        .take_while(|(bucket, _)| bucket.first_step as f64 <= plane.x.high)
        .flat_map(|(bucket, smooth)| {
            let gap = bucket.gap_before.then_some(None);
            gap.into_iter().chain([Some(plane.point_at(bucket.last_step, smooth))])
        });
    raster.draw_curve(points, ctx.theme.style(curve.role), dash);
}

/// The markers of steps: what they mark, their glyph, and their name in legends.
const STEP_MARKERS: [(ChartMark, &str, &str); 2] = [(ChartMark::Change, "▾", "change"), (ChartMark::Note, "✎", "note")];

fn marker_glyph(mark: ChartMark) -> &'static str {
    STEP_MARKERS.iter().find(|(kind, _, _)| *kind == mark).map_or(" ", |(_, glyph, _)| *glyph)
}

/// Returns the legend of the step markers that the charts show, such as ` ▾ change  ✎ note `.
pub fn marker_legend(ctx: RenderContext) -> Vec<Span<'static>> {
    let (first, last) = ctx.visible_steps();
    let shown = |mark: ChartMark| ctx.state.marks().any(|(step, kind)| kind == mark && (first..=last).contains(&step));
    let markers = STEP_MARKERS.iter().filter(|(mark, _, _)| shown(*mark));
    markers.map(|(_, glyph, name)| ctx.span(Role::Mark, format!(" {glyph} {name} "))).collect()
}

/// Draws the markers of steps at the top of `plot`, a thin vertical line below each, and the cursor.
pub fn draw_step_markers(buffer: &mut Buffer, plot: Rect, plane: &Plane, ctx: RenderContext) {
    let mut columns = BTreeMap::new();
    for (step, mark) in ctx.state.marks() {
        if let Some(x) = plane.column_of(plot, step) {
            columns.entry(x).and_modify(|other: &mut ChartMark| *other = more_important(*other, mark)).or_insert(mark);
        }
    }
    for (x, mark) in columns {
        draw_vertical_line(buffer, plot, x, "┊", ctx.theme.style(Role::Frame));
        buffer.set_string(x, plot.y, marker_glyph(mark), ctx.theme.style(Role::Mark));
    }
    if let Some(x) = ctx.view.charts.cursor.and_then(|step| plane.column_of(plot, step)) {
        draw_vertical_line(buffer, plot, x, "│", ctx.theme.style(Role::Cursor));
    }
}

/// Returns the marker to draw if two share a column: a note is more important than a change.
fn more_important(one: ChartMark, other: ChartMark) -> ChartMark {
    if one == ChartMark::Note || other == ChartMark::Note { ChartMark::Note } else { ChartMark::Change }
}

/// Draws a vertical line through the empty cells of column `x`.
pub fn draw_vertical_line(buffer: &mut Buffer, plot: Rect, x: u16, glyph: &str, style: ratatui::style::Style) {
    for y in plot.top()..plot.bottom() {
        if let Some(cell) = buffer.cell_mut((x, y)).filter(|cell| [" ", "┊"].contains(&cell.symbol())) {
            cell.set_symbol(glyph).set_style(style);
        }
    }
}
