//! Owns: drawing series over steps in one plot: raw values, smoothed curves, validation points, markers of
//! steps with their names, and the cursor.
//! Must not know: which series belong together, frames.
//! Invariant: everything is drawn within the plot; nothing is drawn for values that are not finite. A point's cell contains
//! its value, or else is an arrow at the edge.

use super::axis::{AxisRange, Plane, Scale};
use super::raster::{Dash, Raster};
use crate::tui::model::history::Bucket;
use crate::tui::model::metrics::Series;
use crate::tui::model::state::ChartMark;
use crate::tui::panels::RenderContext;
use crate::tui::text;
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
    /// Whether it is smoothed, as measurements are and settings are not.
    pub smoothed: bool,
}

/// Points of a series that is measured only at some steps, such as at validations.
#[derive(Clone, Copy, Debug)]
pub struct PlotPoints {
    pub series: Series,
    pub glyph: &'static str,
    /// What a point beyond the axis is called.
    pub name: &'static str,
    pub role: Role,
    /// Whether the value axis covers these points. Points beyond the axis are arrows at its edge, with the last value.
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
        let smoothing_of = |curve: &PlotCurve| if curve.smoothed { smoothing } else { 0.0 };
        self.curves.iter().for_each(|curve| draw_raw(&mut raster, plane, curve, ctx, smoothing_of(curve)));
        self.curves.iter().for_each(|curve| draw_smooth(&mut raster, plane, curve, ctx, smoothing_of(curve)));
        raster.render(buffer);
        let mut beyond = [Vec::new(), Vec::new()];
        for points in &self.points {
            let buckets = visible_buckets(ctx, points.series, plane);
            for (index, bucket) in buckets.iter().enumerate() {
                let (value, is_last) = (point_value(bucket), index + 1 == buckets.len());
                let (x, y) = plane.point_at(bucket.last_step, value);
                if value < plane.y.low || value > plane.y.high {
                    let column = plane.column_of(plot, bucket.last_step);
                    let above = value > plane.y.high;
                    beyond[usize::from(!above)].extend(column.map(|x| OffScalePoint { x, value, points, is_last }));
                } else if let Some((x, y)) = raster.cell_of(x, y) {
                    buffer.set_string(x, y, points.glyph, ctx.theme.style(points.role));
                }
            }
        }
        let [above, below] = beyond;
        draw_off_scale(buffer, plot, (plot.top(), "↑"), &above, ctx);
        draw_off_scale(buffer, plot, (plot.bottom().saturating_sub(1), "↓"), &below, ctx);
    }
}

/// A point whose value is beyond the axis.
struct OffScalePoint<'a> {
    x: u16,
    value: f64,
    points: &'a PlotPoints,
    /// Whether it is the last point of its series.
    is_last: bool,
}

/// Returns the value of a point: of several in a bucket the middle of their range.
fn point_value(bucket: &Bucket) -> f64 {
    (bucket.min + bucket.max) / 2.0
}

/// Draws arrows for the points beyond an edge of the plot, and before the last arrow the names and values of the series that
/// end there: no glyph stands at a height that is not its value.
fn draw_off_scale(
    buffer: &mut Buffer,
    plot: Rect,
    (y, arrow): (u16, &str),
    beyond: &[OffScalePoint<'_>],
    ctx: RenderContext,
) {
    for point in beyond {
        buffer.set_string(point.x, y, arrow, ctx.theme.style(point.points.role));
    }
    let named = beyond.iter().filter(|point| point.is_last).collect::<Vec<_>>();
    let label = |point: &OffScalePoint<'_>| format!(" {} {} ", point.points.name, text::decimal(point.value));
    let Some(mut right) = named.iter().map(|point| point.x).max() else { return };
    for point in named.iter().rev() {
        let text = label(point);
        let width = text::width(&text) as u16;
        if right < plot.left() + width {
            break;
        }
        right -= width;
        buffer.set_string(right, y, text, ctx.theme.style(point.points.role));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::seeded_rng;
    use crate::schema::metrics::{Metric, StepRow};
    use crate::schema::protocol::Event;
    use crate::tui::app::view::ViewState;
    use crate::tui::model::state::RunModel;
    use crate::tui::theme::{ColorDepth, Theme};
    use rand::RngExt;
    use std::time::Duration;

    const GLYPH: &str = "○";

    /// A run with a loss and, at every 10th step, a control that is up to 20 times as far from 0 on either side.
    fn random_run(seed: u64) -> RunModel {
        let (mut state, mut rng) = (RunModel::default(), seeded_rng(seed));
        for step in 1..=200 {
            let mut row = StepRow::new(step);
            row.set(Metric::LossPlain, rng.random_range(0.5..2.0));
            if step % 10 == 0 {
                row.set(Metric::ValidPause, rng.random_range(-20.0..20.0));
            }
            state.apply(Event::Step(Box::new(row)), Duration::ZERO);
        }
        state
    }

    #[test]
    fn a_glyph_stands_at_its_value_and_all_else_is_an_arrow_at_the_edge() {
        let (theme, view) = (Theme::new(ColorDepth::None), ViewState::default());
        let series = Series::Metric(Metric::ValidPause);
        let curve = PlotCurve {
            series: Series::Metric(Metric::LossPlain),
            role: Role::Plain,
            raw_role: None,
            dash: (Dash::Solid, Dash::Solid),
            smoothed: true,
        };
        let points = PlotPoints { series, glyph: GLYPH, name: "pause", role: Role::Pause, sets_axis_range: false };
        let chart = Chart { curves: vec![curve], points: vec![points] };
        for seed in 0..40 {
            let state = random_run(seed);
            let ctx = RenderContext {
                state: &state,
                live: &state,
                view: &view,
                theme: &theme,
                tabs: crate::tui::app::layout::TabSet::None,
            };
            let plane = chart.plane(ctx, (0, 200)).unwrap();
            let plot = Rect { x: 3, y: 2, width: 30 + (seed % 7) as u16 * 9, height: 5 + (seed % 5) as u16 };
            let mut buffer = Buffer::empty(Rect { x: 0, y: 0, width: 120, height: 20 });
            chart.render(&mut buffer, plot, &plane, ctx);
            let buckets = state.history(series).buckets_in(0, 200);
            let symbol = |x: u16, y: u16| buffer.cell((x, y)).unwrap().symbol().to_owned();
            let (dots, mut arrows) = (f64::from(plot.height) * 4.0 - 1.0, 0);
            for bucket in buckets {
                let x = plane.column_of(plot, bucket.last_step).unwrap();
                if (plane.y.low..=plane.y.high).contains(&bucket.mean) {
                    continue;
                }
                let (y, arrow) =
                    if bucket.mean > plane.y.high { (plot.top(), "↑") } else { (plot.bottom() - 1, "↓") };
                arrows += 1;
                // Other arrows may lie under the text of the last.
                assert!(symbol(x, y) != GLYPH, "{seed}");
                let is_last = buckets.last() == Some(bucket);
                if is_last {
                    assert_eq!(symbol(x, y), arrow, "{seed}");
                    let line: String = (plot.left()..x).map(|x| symbol(x, y)).collect();
                    assert!(line.ends_with(&format!(" pause {} ", text::decimal(bucket.mean))), "{seed}: {line}");
                }
            }
            assert!(arrows > 0, "{seed}: a control is beyond the axis");
            for (x, y) in (0..120).flat_map(|x| (0..20).map(move |y| (x, y))).filter(|(x, y)| symbol(*x, *y) == GLYPH) {
                let holds = |bucket: &Bucket| {
                    let dot = ((1.0 - plane.y.fraction_of(bucket.mean)) * dots).round();
                    plane.column_of(plot, bucket.last_step) == Some(x) && plot.y + (dot / 4.0) as u16 == y
                };
                assert!(buckets.iter().any(holds), "{seed}: nothing has a value at {x}, {y}");
            }
        }
    }
}
