//! Owns: the loss panel, 2: the losses, and below them the recycled loss minus its controls; of a run that learns from
//! rewards, the reward.
//! Must not know: the terminal, keys.
//! Invariant: the recycled loss is compared with its controls at the same positions; both charts share one
//! axis of steps; every validation mark that is drawn is named in a legend of the panel.
//!
//! ```text
//! ╭ 2 loss nats, smoothed 0.9 ──────────────────────────────────────────────────╮
//! │ ━ plain 2.310   ╍ recycled 2.904   ┈ plain at recycled 2.400                │
//! │ validation: ◆ plain 2.4 ▲ recycled ◇ plain there ○ pause □ mean × shuffled  │
//! │ 6┤⣇          ▾                                                              │
//! │ 4┤⠈⠢⣀⠤⠤⠤⠤⣀⣀⡀ ┊        ◆                                                     │
//! │ 2┤       ⠉⠉⠒⠒⠒⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤                                                   │
//! │ recycled − ━plain there +0.504 val ◇plain there ○pause □mean ×shuffled      │
//! │ 0┤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤⠤                               │
//! │  0        500       1,000                                                   │
//! ╰─────────────────────── ▾ change  recycled − plain at recycled +0.504, worse ╯
//! ```

use super::loss_legend::{Legend, curve_value, difference_legend, loss_legend};
use super::loss_marks::{
    MARKS, PAUSE_DASH, PLAIN_AT_RECYCLED_DASH, PLAIN_DASH, RECYCLED_DASH, TRAINED_DIFFERENCE, ValidationMark,
    recycled_metric, validated_difference,
};
use super::{RenderContext, draw_frame};
use crate::schema::metrics::Metric;
use crate::tui::app::chart_settings::{ChartSpan, LossCharts};
use crate::tui::app::panel_id::Panel;
use crate::tui::model::metrics::Series;
use crate::tui::plot::axis::{AxisRange, Plane, Scale, StepLabels};
use crate::tui::plot::chart::{Chart, PlotCurve, PlotPoints};
use crate::tui::plot::raster::Dash;
use crate::tui::plot::{axis, chart};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// The fewest lines within the frame that have room for both charts.
const BOTH_MIN_HEIGHT: u16 = 12;
/// A plot and the ranges that it shows.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    pub area: Rect,
    pub plane: Plane,
}

/// A chart placed in the panel: its legend, the cells of the legend, and the plot below it.
struct PlacedChart {
    legend: Legend,
    legend_area: Rect,
    plot: Plot,
}

struct PlacedCharts {
    losses: Option<PlacedChart>,
    difference: Option<PlacedChart>,
}

/// Returns the chart of the losses with these validation marks.
fn loss_chart(ctx: RenderContext, marks: &[&ValidationMark]) -> Chart {
    let curve = |metric, role, raw, dash| PlotCurve {
        series: Series::Metric(metric),
        role,
        raw_role: raw,
        dash,
        smoothed: true,
    };
    let mut points: Vec<PlotPoints> = marks
        .iter()
        .map(|mark| PlotPoints {
            series: Series::Metric(mark.metric),
            glyph: mark.glyph,
            name: mark.names[1],
            role: mark.role,
            sets_axis_range: !mark.is_control,
        })
        .collect();
    // The recycled loss is drawn last, over its controls.
    points.sort_by_key(|points| points.series == Series::Metric(Metric::ValidRecycled));
    Chart {
        curves: vec![
            curve(Metric::LossPause, Role::Pause, Some(Role::Dim), PAUSE_DASH),
            curve(Metric::LossPlainAtRecycled, Role::PlainAtRecycled, Some(Role::Frame), PLAIN_AT_RECYCLED_DASH),
            curve(recycled_metric(ctx), Role::Recycled, Some(Role::RecycledRaw), RECYCLED_DASH),
            curve(Metric::LossPlain, Role::Plain, Some(Role::PlainRaw), PLAIN_DASH),
            // A run has one of them.
            curve(Metric::Reward, Role::Plain, Some(Role::PlainRaw), PLAIN_DASH),
            curve(Metric::LossQuestions, Role::Plain, Some(Role::PlainRaw), PLAIN_DASH),
        ],
        points,
    }
}

/// Returns the chart of the recycled loss minus the plain one, and minus these controls in validations.
fn difference_chart(marks: &[&ValidationMark]) -> Chart {
    let (role, raw_role) = (Role::Recycled, Some(Role::RecycledRaw));
    let point = |mark: &ValidationMark| PlotPoints {
        series: validated_difference(mark),
        glyph: mark.glyph,
        name: mark.names[1],
        role: mark.role,
        sets_axis_range: false,
    };
    Chart {
        curves: vec![PlotCurve {
            series: TRAINED_DIFFERENCE,
            role,
            raw_role,
            dash: (Dash::Solid, Dash::Solid),
            smoothed: true,
        }],
        points: marks.iter().copied().map(point).collect(),
    }
}

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let within = draw_frame(frame, area, ctx, Panel::Loss, subtitle(ctx), bottom_line(ctx, area.width));
    let within = within.inner(Margin::new(1, 0));
    if within.height < 2 {
        return;
    }
    let charts = place_charts(within, ctx);
    if charts.losses.is_none() && charts.difference.is_none() {
        let text = ctx.span(Role::Dim, empty_text(ctx));
        let middle = Rect { y: within.y + within.height / 2, height: 1, ..within };
        return frame.render_widget(text, middle);
    }
    let labels = if charts.difference.is_none() { StepLabels::Shown } else { StepLabels::Hidden };
    if let Some(placed) = charts.losses {
        let chart = loss_chart(ctx, &placed.legend.marks);
        draw_chart(frame, placed, &chart, labels, ctx);
    }
    if let Some(placed) = charts.difference {
        let chart = difference_chart(&placed.legend.marks);
        draw_chart(frame, placed, &chart, StepLabels::Shown, ctx);
    }
}

fn empty_text(ctx: RenderContext) -> &'static str {
    match (ctx.view.charts.loss_charts, ctx.state.has_live_step) {
        (LossCharts::Difference, true) if ctx.state.is_rl() => "rewards have no difference; d shows them",
        (LossCharts::Difference, true) => "no step has recycled yet; d shows the losses",
        _ if ctx.state.is_rl() => "no reward yet: the first rollouts are being made",
        _ => "no loss yet; on a GPU the first steps compile kernels",
    }
}

fn draw_chart(frame: &mut Frame, placed: PlacedChart, chart: &Chart, labels: StepLabels, ctx: RenderContext) {
    let PlacedChart { legend, legend_area, plot } = placed;
    frame.render_widget(Paragraph::new(legend.lines), legend_area);
    let buffer = frame.buffer_mut();
    axis::render(buffer, plot.area, &plot.plane, labels, ctx.theme);
    if let Some(y) = zero_line(&plot) {
        (plot.area.left()..plot.area.right()).for_each(|x| {
            buffer.set_string(x, y, "┈", ctx.theme.style(Role::Frame));
        });
    }
    chart.render(buffer, plot.area, &plot.plane, ctx);
    chart::draw_step_markers(buffer, plot.area, &plot.plane, ctx);
}

/// Returns the screen line of the value 0, if the plot shows both signs.
fn zero_line(plot: &Plot) -> Option<u16> {
    let y = plot.plane.y;
    let inside = y.low < 0.0 && y.high > 0.0;
    let dots = f64::from(plot.area.height) * 4.0 - 1.0;
    inside.then(|| plot.area.y + (((1.0 - y.fraction_of(0.0)) * dots).round() / 4.0) as u16)
}

/// Returns a plot of the panel in `area`, for the step under the mouse: both share the axis of steps.
pub fn plot_in(area: Rect, ctx: RenderContext) -> Option<Plot> {
    let charts = place_charts(crate::tui::app::layout::inner_area(area).inner(Margin::new(1, 0)), ctx);
    charts.losses.or(charts.difference).map(|placed| placed.plot)
}

/// Divides the panel between the charts, and places legend and plot of each.
fn place_charts(within: Rect, ctx: RenderContext) -> PlacedCharts {
    let charts = &ctx.view.charts;
    let steps = ctx.visible_steps();
    let difference = difference_chart(&[]).plane(ctx, steps).map(with_difference_axis(ctx, steps));
    let both = charts.loss_charts == LossCharts::Both && difference.is_some() && within.height >= BOTH_MIN_HEIGHT;
    let upper = if both { within.height * 5 / 8 } else { within.height };
    let legend_of_losses = loss_legend(ctx, within.width, upper);
    let losses = loss_chart(ctx, &legend_of_losses.marks).plane(ctx, steps);
    let [losses, difference] = match charts.loss_charts {
        LossCharts::Both if both => [losses, difference],
        LossCharts::Difference => [None, difference],
        _ => [losses, None],
    };
    let upper = if losses.is_some() { upper } else { 0 };
    let above = Rect { height: upper, ..within };
    let below = Rect { y: within.y + upper, height: within.height - upper, ..within };
    let legend_of_difference = difference_legend(ctx, within.width);
    let labels_of_losses = if difference.is_none() { StepLabels::Shown } else { StepLabels::Hidden };
    let rows = |area: Rect, legend: &Legend, labels: StepLabels| {
        area.height.saturating_sub(legend.lines.len() as u16 + labels as u16)
    };
    let ticked = |plane: Option<Plane>, rows| plane.map(|plane| Plane { y: plane.y.with_row_ticks(rows), ..plane });
    let rows_of_losses = rows(above, &legend_of_losses, labels_of_losses);
    let rows_of_difference = rows(below, &legend_of_difference, StepLabels::Shown);
    let (losses, difference) = (ticked(losses, rows_of_losses), ticked(difference, rows_of_difference));
    let gutter = [(losses, rows_of_losses), (difference, rows_of_difference)]
        .into_iter()
        .filter_map(|(plane, rows)| Some(axis::gutter(plane?.y, rows)))
        .max()
        .unwrap_or(0);
    let place = |plane: Option<Plane>, area: Rect, legend: Legend, labels: StepLabels| {
        let plane = plane?;
        let rows = (legend.lines.len() as u16).min(area.height);
        let chart = Rect { y: area.y + rows, height: area.height - rows, ..area };
        let plot = Plot { area: axis::plot_area(chart, gutter, labels)?, plane };
        Some(PlacedChart { legend, legend_area: Rect { height: rows, ..area }, plot })
    };
    PlacedCharts {
        losses: place(losses, above, legend_of_losses, labels_of_losses),
        difference: place(difference, below, legend_of_difference, StepLabels::Shown),
    }
}

/// How many times farther from 0 than the curve a control may be for the axis of the differences to cover it.
const COVERED_DISTANCE: f64 = 1.5;

/// Replaces the value axis of a difference chart. It is linear, because differences have both signs. It covers the smoothed
/// curve, and the controls that are not much farther from 0; others are arrows at the edge.
fn with_difference_axis<'a>(ctx: RenderContext<'a>, steps: (u64, u64)) -> impl Fn(Plane) -> Plane + 'a {
    move |plane| {
        let mut ends = (0.0_f64, 0.0_f64);
        let mut cover = |value: f64| ends = (ends.0.min(value), ends.1.max(value));
        for (bucket, smooth) in ctx.state.history(TRAINED_DIFFERENCE).smoothed(ctx.smoothing()) {
            if bucket.last_step >= steps.0 && bucket.first_step <= steps.1 {
                cover(smooth);
            }
        }
        let plain = Series::Difference(Metric::ValidRecycled, Metric::ValidPlainAtRecycled);
        ctx.state.history(plain).buckets_in(steps.0, steps.1).iter().for_each(|bucket| cover(bucket.mean));
        let reach = COVERED_DISTANCE * ends.0.abs().max(ends.1);
        for mark in MARKS.iter().filter(|mark| mark.is_control) {
            let buckets = ctx.state.history(validated_difference(mark)).buckets_in(steps.0, steps.1);
            let near = buckets.iter().map(|bucket| bucket.mean).filter(|value| value.abs() <= reach);
            near.for_each(|value| ends = (ends.0.min(value), ends.1.max(value)));
        }
        Plane { y: AxisRange::linear(ends.0, ends.1).with_margin(), ..plane }
    }
}

fn subtitle(ctx: RenderContext) -> Line<'static> {
    let unit = if ctx.state.is_rl() { "mean reward of rollouts" } else { Metric::LossPlain.spec().unit };
    let mut line = Line::from(ctx.span(Role::Name, unit));
    let smoothing = ctx.smoothing();
    if smoothing > 0.0 {
        line.push_span(ctx.span(Role::Name, format!(", smoothed {smoothing}")));
    }
    let charts = &ctx.view.charts;
    for (word, scale) in [(" log y", charts.y_scale), (" log x", charts.x_scale)] {
        if scale == Scale::Log {
            line.push_span(ctx.span(Role::Key, word));
        }
    }
    match charts.span {
        ChartSpan::All => {}
        ChartSpan::Last(steps) => {
            line.push_span(ctx.span(Role::Key, format!(" last {}", text::with_separators(steps))));
        }
        ChartSpan::Fixed(from, to) => {
            line.push_span(
                ctx.span(Role::Key, format!(" {} to {}", text::with_separators(from), text::with_separators(to))),
            );
        }
    }
    if let Some(step) = charts.cursor {
        line.push_span(ctx.span(Role::Cursor, format!(" at step {}", text::with_separators(step))));
    }
    line
}

/// Returns the bottom border: the names of the step markers, and the recycled loss minus the plain one.
fn bottom_line(ctx: RenderContext, width: u16) -> Line<'static> {
    let markers = chart::marker_legend(ctx);
    let difference = |name: &'static str| {
        curve_value(ctx, TRAINED_DIFFERENCE).map_or_else(Vec::new, |value| {
            let verdict = if value > 0.0 { "worse" } else { "better" };
            vec![ctx.span(Role::Name, name), ctx.span(Role::Value, format!("{value:+.3}, {verdict} "))]
        })
    };
    let (long, short) = (difference(" recycled − plain at recycled "), difference(" rec. − plain at rec. "));
    let choices = [[markers.clone(), long.clone()].concat(), [markers, short.clone()].concat(), long, short];
    let fits = |line: &Line| line.width() + 2 <= usize::from(width);
    choices.into_iter().map(Line::from).find(fits).unwrap_or_default()
}
