//! Owns: the loss panel, 2: the losses, and below them the recycled loss minus its controls.
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

use super::legend::{LegendEntry, LegendForm, LegendNames, NameLength, legend_line};
use super::{LinePart, RenderContext, draw_frame, fit_lines};
use crate::schema::metrics::Metric;
use crate::tui::app::chart_settings::{ChartSpan, LossCharts};
use crate::tui::app::panel_id::Panel;
use crate::tui::model::metrics::Series;
use crate::tui::plot::axis::{AxisRange, Plane, Scale, StepLabels};
use crate::tui::plot::chart::{Chart, PlotCurve, PlotPoints, visible_dash};
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
/// The fewest lines of the losses that have room for the legend of the validation marks.
const MARKS_MIN_HEIGHT: u16 = 6;
/// The fewest lines of the losses that have room for a second line of them.
const TWO_MARK_ROWS_MIN_HEIGHT: u16 = 9;
/// The marks of losses, before those of controls alone.
const LOSS_MARKS: usize = 3;
/// The fewest lines of the losses that have room for a second line of curve names.
const TWO_ROWS_MIN_HEIGHT: u16 = 7;

/// The difference in training: recycled loss minus plain loss at the same positions of the same step.
const TRAINED_DIFFERENCE: Series = Series::Difference(Metric::LossRecycledAtRecycled, Metric::LossPlainAtRecycled);

/// A loss that validations measure: how the charts mark it and how the legends name it.
#[derive(Debug, PartialEq)]
struct ValidationMark {
    metric: Metric,
    glyph: &'static str,
    role: Role,
    names: LegendNames,
    /// What it is, for the help page.
    meaning: &'static str,
    /// Whether it is a control. Axes do not cover controls, which may be far from the other losses.
    is_control: bool,
}

const fn mark(
    metric: Metric,
    (glyph, role): (&'static str, Role),
    names: LegendNames,
    meaning: &'static str,
    is_control: bool,
) -> ValidationMark {
    ValidationMark { metric, glyph, role, names, meaning, is_control }
}

/// The names of the plain loss at the recycled positions.
const AT_RECYCLED: LegendNames = ["plain at recycled", "plain there", "there"];

/// The marks of validations: the charts draw them and the legends name them from this one table.
#[rustfmt::skip] // one line a mark
static MARKS: [ValidationMark; 6] = [
    mark(Metric::ValidPlain, ("◆", Role::Plain), ["plain"; 3], "plain pass, all positions", false),
    mark(Metric::ValidRecycled, ("▲", Role::Recycled), ["recycled"; 3], "recycled pass, its positions", false),
    mark(Metric::ValidPlainAtRecycled, ("◇", Role::PlainAtRecycled), AT_RECYCLED, "plain pass, the same positions", true),
    mark(Metric::ValidPause, ("○", Role::Pause), ["pause vector", "pause", "pause"], "one learned vector for states", true),
    mark(Metric::ValidMasked, ("□", Role::Masked), ["mean embedding", "mean", "mean"], "mean embedding for states", true),
    mark(Metric::ValidShuffled, ("×", Role::Shuffled), ["shuffled state", "shuffled", "shuffled"], "states of other positions", true),
];

/// The mark of a run that learns questions, which has none of the others.
static QUESTIONS_MARK: ValidationMark =
    mark(Metric::ValidQuestions, ("●", Role::Plain), ["questions"; 3], "steps and answers, this stage", false);

/// Returns the marks of validations and what each is, for the help page.
pub fn mark_meanings() -> impl Iterator<Item = (String, &'static str)> {
    MARKS.iter().chain([&QUESTIONS_MARK]).map(|mark| (format!("{} {}", mark.glyph, mark.names[1]), mark.meaning))
}

/// A plot and the ranges that it shows.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    pub area: Rect,
    pub plane: Plane,
}

/// The legend of a chart, and the marks that it names: the chart draws no others.
struct Legend {
    lines: Vec<Line<'static>>,
    marks: Vec<&'static ValidationMark>,
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

/// Dashes of the curves, with colours and without.
const PLAIN_DASH: (Dash, Dash) = (Dash::Solid, Dash::Solid);
const RECYCLED_DASH: (Dash, Dash) = (Dash::Solid, Dash::Dashed);
const PLAIN_AT_RECYCLED_DASH: (Dash, Dash) = (Dash::Dashed, Dash::Dotted);
const PAUSE_DASH: (Dash, Dash) = (Dash::Dotted, Dash::Dotted);

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
            // A run has the one or the other.
            curve(Metric::LossQuestions, Role::Plain, Some(Role::PlainRaw), PLAIN_DASH),
        ],
        points,
    }
}

/// Returns the recycled loss at the recycled positions; its own metric if the loss counts everywhere.
fn recycled_metric(ctx: RenderContext) -> Metric {
    let at_recycled = Metric::LossRecycledAtRecycled;
    if ctx.state.history(Series::Metric(at_recycled)).is_empty() { Metric::LossRecycled } else { at_recycled }
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

/// Returns the series of the recycled loss minus this control, in validations.
fn validated_difference(mark: &ValidationMark) -> Series {
    Series::Difference(Metric::ValidRecycled, mark.metric)
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
        (LossCharts::Difference, true) => "no step has recycled yet; d shows the losses",
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
    let mut line = Line::from(ctx.span(Role::Name, Metric::LossPlain.spec().unit));
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

/// Returns the value of a curve: smoothed, at the cursor or at the end of the run.
fn curve_value(ctx: RenderContext, series: Series) -> Option<f64> {
    ctx.state.history(series).smoothed_at(ctx.cursor_step(), ctx.smoothing())
}

/// Returns the last value of a mark that was measured up to the cursor, or up to the end of the run.
fn mark_value(ctx: RenderContext, series: Series) -> Option<f64> {
    ctx.state.history(series).bucket_at(ctx.cursor_step()).map(|bucket| bucket.mean)
}

/// Returns the legend of the losses: the curves, and all validation marks if they fit, else the plain one.
fn loss_legend(ctx: RenderContext, width: u16, height: u16) -> Legend {
    let is_plain_run = ctx.state.run.as_ref().is_some_and(|run| run.config.recycle.every == 0);
    let recycles = !is_plain_run && !ctx.state.history(Series::Metric(Metric::ValidRecycled)).is_empty();
    let mark_rows = match height {
        _ if !recycles => 0,
        0..MARKS_MIN_HEIGHT => 0,
        MARKS_MIN_HEIGHT..TWO_MARK_ROWS_MIN_HEIGHT => 1,
        _ => 2,
    };
    let named = mark_legend(ctx, width, mark_rows);
    let rows = 1 + usize::from(height >= TWO_ROWS_MIN_HEIGHT + named.lines.len() as u16);
    let mut names = curve_names(ctx, width);
    if named.lines.is_empty() {
        names.extend(validation_part(ctx));
    }
    let between = if width < 60 { " " } else { "   " };
    let mut lines = fit_lines(ctx, names, between, usize::from(width), rows);
    if named.lines.is_empty() {
        return Legend { lines, marks: vec![own_mark(ctx)] };
    }
    lines.extend(named.lines);
    Legend { lines, marks: named.marks }
}

/// Returns the legend of the validation marks in at most `rows` lines, with as many controls as fit.
fn mark_legend(ctx: RenderContext, width: u16, rows: usize) -> Legend {
    let is_measured = |mark: &&ValidationMark| !ctx.state.history(Series::Metric(mark.metric)).is_empty();
    let mut marks: Vec<&'static ValidationMark> = MARKS.iter().filter(is_measured).collect();
    while rows > 0 && !marks.is_empty() {
        let (losses, controls) = marks.split_at(marks.len().min(LOSS_MARKS));
        let choices = [vec![&marks[..]], vec![losses, controls]];
        for groups in choices.iter().take(rows) {
            let lines = groups.iter().map(|marks| legend_line(ctx, &loss_entries(ctx, marks), &LOSS_FORMS, width));
            if let Some(lines) = lines.collect() {
                return Legend { lines, marks };
            }
        }
        marks.pop();
    }
    Legend { lines: Vec::new(), marks }
}

/// Returns the names and values of the curves, with raw values if there is room.
fn curve_names(ctx: RenderContext, width: u16) -> Vec<LinePart> {
    let curve = |rank, dash, name: &str, role: Role, metric: Metric| {
        let (series, glyph) = (Series::Metric(metric), visible_dash(ctx, dash).legend_glyph());
        let value = curve_value(ctx, series).map_or_else(|| "–".into(), text::decimal);
        let mut spans = vec![ctx.span(role, format!("{glyph} {name} ")), ctx.span(Role::Value, value)];
        let raw = ctx.state.history(series).bucket_at(ctx.cursor_step());
        if let Some(raw) = raw.filter(|_| width >= 110) {
            spans.push(ctx.span(Role::Dim, format!(" ({})", text::decimal(raw.mean))));
        }
        (rank, spans)
    };
    if learns_questions(ctx) {
        return vec![curve(0, PLAIN_DASH, "questions", Role::Plain, Metric::LossQuestions)];
    }
    let is_recorded = |metric| !ctx.state.history(Series::Metric(metric)).is_empty();
    if !is_recorded(Metric::LossPlainAtRecycled) {
        return vec![
            curve(0, PLAIN_DASH, "plain", Role::Plain, Metric::LossPlain),
            curve(1, RECYCLED_DASH, "recycled", Role::Recycled, recycled_metric(ctx)),
        ];
    }
    // What may be compared stands together, what is another mean apart.
    let there = AT_RECYCLED[usize::from(width < 60) + usize::from(width < 34)];
    let mut parts = vec![
        curve(0, RECYCLED_DASH, "recycled", Role::Recycled, recycled_metric(ctx)),
        curve(0, PLAIN_AT_RECYCLED_DASH, there, Role::PlainAtRecycled, Metric::LossPlainAtRecycled),
    ];
    if is_recorded(Metric::LossPause) {
        parts.push(curve(3, PAUSE_DASH, "pause vector", Role::Pause, Metric::LossPause));
    }
    let all = if width < 60 { "plain, all" } else { "plain, all positions" };
    parts.push(curve(1, PLAIN_DASH, all, Role::Plain, Metric::LossPlain));
    parts
}

/// Whether the run learns questions instead of token shards.
fn learns_questions(ctx: RenderContext) -> bool {
    !ctx.state.history(Series::Metric(Metric::LossQuestions)).is_empty()
}

/// Returns the mark of the run's own loss at validations.
fn own_mark(ctx: RenderContext) -> &'static ValidationMark {
    if learns_questions(ctx) { &QUESTIONS_MARK } else { &MARKS[0] }
}

/// Returns the mark of the run's own validation loss with its value.
fn validation_part(ctx: RenderContext) -> Option<LinePart> {
    let mark = own_mark(ctx);
    let value = mark_value(ctx, Series::Metric(mark.metric))?;
    let name = ctx.span(mark.role, format!("{} validation ", mark.glyph));
    Some((2, vec![name, ctx.span(Role::Value, text::decimal(value))]))
}

/// The forms of the legend of the losses, from the longest to the shortest.
const LOSS_FORMS: [LegendForm; 9] = [
    LegendForm { name: NameLength::Long, values: usize::MAX, tight: false, between: "  " },
    // The plain, the recycled and the plain loss at the same positions are to be compared.
    LegendForm { name: NameLength::Long, values: 3, tight: false, between: "  " },
    LegendForm { name: NameLength::Short, values: 3, tight: false, between: " " },
    LegendForm { name: NameLength::Short, values: 3, tight: true, between: " " },
    LegendForm { name: NameLength::Long, values: 0, tight: false, between: "  " },
    LegendForm { name: NameLength::Short, values: 1, tight: false, between: " " },
    LegendForm { name: NameLength::Short, values: 0, tight: false, between: " " },
    LegendForm { name: NameLength::Short, values: 0, tight: true, between: " " },
    LegendForm { name: NameLength::Shortest, values: 0, tight: true, between: " " },
];

/// The forms of the legend of the differences, from the longest to the shortest, which takes 55 cells.
const DIFFERENCE_FORMS: [LegendForm; 7] = [
    LegendForm { name: NameLength::Long, values: usize::MAX, tight: false, between: "  " },
    LegendForm { name: NameLength::Short, values: usize::MAX, tight: false, between: "  " },
    LegendForm { name: NameLength::Short, values: 2, tight: false, between: " " },
    LegendForm { name: NameLength::Short, values: 1, tight: false, between: " " },
    LegendForm { name: NameLength::Short, values: 1, tight: true, between: " " },
    LegendForm { name: NameLength::Shortest, values: 1, tight: true, between: " " },
    LegendForm { name: NameLength::Shortest, values: 0, tight: true, between: " " },
];

/// Returns the legend entries of these marks in the chart of the losses.
fn loss_entries(ctx: RenderContext, marks: &[&'static ValidationMark]) -> Vec<LegendEntry> {
    let named = |mark: &'static ValidationMark| LegendEntry::Named {
        glyph: mark.glyph,
        role: mark.role,
        names: mark.names,
        value: mark_value(ctx, Series::Metric(mark.metric)).map(text::decimal),
    };
    [LegendEntry::Word("validation:", "val")].into_iter().chain(marks.iter().copied().map(named)).collect()
}

/// Returns the legend of the differences, with as many controls as fit into `width` cells.
fn difference_legend(ctx: RenderContext, width: u16) -> Legend {
    let measured =
        |mark: &&ValidationMark| mark.is_control && !ctx.state.history(validated_difference(mark)).is_empty();
    let mut marks: Vec<&'static ValidationMark> = MARKS.iter().filter(measured).collect();
    loop {
        let line = legend_line(ctx, &difference_entries(ctx, &marks), &DIFFERENCE_FORMS, width);
        if let Some(line) = line {
            return Legend { lines: vec![line], marks };
        }
        if marks.pop().is_none() {
            return Legend { lines: vec![Line::default()], marks };
        }
    }
}

/// Returns the legend entries of the difference in training, and of these controls in validations.
fn difference_entries(ctx: RenderContext, marks: &[&'static ValidationMark]) -> Vec<LegendEntry> {
    let signed = |value: f64| format!("{value:+.3}");
    let mut entries = vec![LegendEntry::Word("recycled −", "recycled −")];
    if let Some(value) = curve_value(ctx, TRAINED_DIFFERENCE) {
        let (role, value) = (Role::Recycled, Some(signed(value)));
        entries.push(LegendEntry::Named { glyph: "━", role, names: AT_RECYCLED, value });
    }
    if !marks.is_empty() {
        entries.push(LegendEntry::Word("validation:", "val"));
    }
    entries.extend(marks.iter().copied().map(|mark| LegendEntry::Named {
        glyph: mark.glyph,
        role: mark.role,
        names: mark.names,
        value: mark_value(ctx, validated_difference(mark)).map(signed),
    }));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cells that a legend takes in its shortest form, without values.
    fn shortest(word: &str, names: impl Iterator<Item = &'static str>) -> usize {
        text::width(word) + names.map(|name| 2 + text::width(name)).sum::<usize>()
    }

    #[test]
    fn the_legend_of_all_marks_fits_a_panel_on_a_screen_of_60_columns() {
        let (frame_and_margins, columns) = (4, 60);
        assert!(shortest("val", MARKS.iter().map(|mark| mark.names[1])) <= columns - frame_and_margins);
        // The panel beside another one on that screen has room for what is compared.
        let beside = 60 * 56 / 100 - frame_and_margins - 1;
        assert!(shortest("val", MARKS[..LOSS_MARKS].iter().map(|mark| mark.names[2])) <= beside);
    }

    #[test]
    fn every_mark_has_a_glyph_and_a_name_of_its_own() {
        for (index, one) in MARKS.iter().enumerate() {
            for other in &MARKS[index + 1..] {
                assert!(one.glyph != other.glyph && one.names[0] != other.names[0], "{one:?} {other:?}");
            }
        }
    }
}
