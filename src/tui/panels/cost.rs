//! Owns: the cost panel, 6: the time and operations of steps and latents.
//! Must not know: the terminal, keys, how costs were measured.
//! Invariant: the cost of recycling is separate from the rest, and is shown with the cost of sequential latents.
//!
//! ```text
//! ╭ 6 cost ms ───────────────────────────────────────────────────╮
//! │                 plain step        recycling step             │
//! │ plain pass      61.2 ▇▇▇▇▇▇▇▇     61.0 ▇▇▇▇▇▇▇▇   6.1 Gflop  │
//! │ recycled passes    –              40.1 ▇▇▇▇▇      4.2 Gflop  │
//! │ …                                                            │
//! │ parallel latent 1.288 ms · 48.5 Mflop                        │
//! │ sequential latent 3.071 ms · 2.4 times                       │
//! │ recycling 31% of the time · 28% of the operations            │
//! ╰──────────────────────────────────────────────────────────────╯
//! ```

use super::{LinePart, RenderContext, draw_frame, fit_line};
use crate::schema::metrics::Metric;
use crate::tui::app::layout;
use crate::tui::app::panel_id::Panel;
use crate::tui::model::cost::STEP_PARTS;
use crate::tui::model::metrics::Series;
use crate::tui::plot::axis::StepLabels;
use crate::tui::plot::chart::{Chart, PlotCurve};
use crate::tui::plot::raster::Dash;
use crate::tui::plot::{axis, chart};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// The fewest lines that the chart needs.
const CHART_MIN_HEIGHT: u16 = 8;

/// Draws the table, the costs of latents, and a chart of the parts, as far as there is room.
pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let subtitle = Line::from(ctx.span(Role::Name, Metric::StepMs.spec().unit));
    let within = layout::inner_area(area).inner(Margin::new(1, 0));
    let width = usize::from(within.width);
    let mut lines = table_lines(ctx, width);
    let summary = latent_cost_lines(ctx, width);
    if usize::from(within.height) > lines.len() + summary.len() {
        lines.push(Line::default());
    }
    // If not everything fits, the costs of latents stay: no other panel shows them.
    let room = usize::from(within.height).saturating_sub(summary.len());
    lines.truncate(room);
    lines.extend(summary);
    let used = (lines.len() as u16 + 1).min(within.height);
    let below = Rect { y: within.y + used, height: within.height - used, ..within };
    let shows_chart = below.height >= CHART_MIN_HEIGHT;
    let markers = if shows_chart { chart::marker_legend(ctx) } else { Vec::new() };
    draw_frame(frame, area, ctx, Panel::Cost, subtitle, Line::from(markers));
    frame.render_widget(Paragraph::new(lines), within);
    if shows_chart {
        draw_parts_chart(frame, below, ctx);
    }
}

/// Draws the time of each part over the steps that the charts show.
fn draw_parts_chart(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let roles = [Role::Plain, Role::Recycled, Role::Lr, Role::Pause];
    let dashes = [Dash::Solid, Dash::Dashed, Dash::Dotted, Dash::Dotted];
    let curve = |(part, (_, ms, _)): (usize, &(&str, Metric, Metric))| PlotCurve {
        series: Series::Metric(*ms),
        role: roles[part],
        raw_role: Some(Role::Frame),
        dash: (Dash::Solid, dashes[part]),
        smoothed: true,
    };
    let chart = Chart { curves: STEP_PARTS.iter().enumerate().map(curve).collect(), points: Vec::new() };
    let steps = ctx.visible_steps();
    let Some(plane) = chart.plane(ctx, steps) else { return };
    let legend = parts_legend(ctx, roles, usize::from(area.width));
    frame.render_widget(legend, Rect { height: 1, ..area });
    let below = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let Some(plot) = axis::plot_area(below, axis::gutter(plane.y, below.height - 1), StepLabels::Shown) else {
        return;
    };
    axis::render(frame.buffer_mut(), plot, &plane, StepLabels::Shown, ctx.theme);
    chart.render(frame.buffer_mut(), plot, &plane, ctx);
    chart::draw_step_markers(frame.buffer_mut(), plot, &plane, ctx);
}

/// Returns the legend of the chart: every part with its value, with short names if the long ones do not fit.
fn parts_legend(ctx: RenderContext, roles: [Role; STEP_PARTS.len()], width: usize) -> Line<'static> {
    let glyphs = if ctx.theme.has_colors() { ["━"; STEP_PARTS.len()] } else { ["━", "╍", "┈", "┈"] };
    let line = |names: [&str; STEP_PARTS.len()], between: &'static str| {
        let mut line = Line::default();
        for (part, (_, ms, _)) in STEP_PARTS.iter().enumerate() {
            let value = ctx.state.history(Series::Metric(*ms)).smoothed_at(ctx.cursor_step(), ctx.smoothing());
            let value = value.map_or_else(|| "–".into(), format_ms);
            let gap = if part > 0 { between } else { "" };
            line.push_span(ctx.span(roles[part], format!("{gap}{} {} ", glyphs[part], names[part])));
            line.push_span(ctx.span(Role::Value, value));
        }
        line
    };
    let long = line(STEP_PARTS.map(|(name, ..)| name), "   ");
    if long.width() <= width { long } else { line(SHORT_NAMES, " ") }
}

/// The columns of the table: cells of a name and of a bar, and whether operations are shown.
struct TableColumns {
    name_cells: usize,
    bar_cells: usize,
    shows_flop: bool,
}

impl TableColumns {
    fn for_width(width: usize) -> Self {
        let name_cells = if width < 40 { width.saturating_sub(2 * VALUE_CELLS).clamp(7, 16) } else { 16 };
        let shows_flop = width >= 62;
        let rest = width.saturating_sub(name_cells + 2 * VALUE_CELLS + if shows_flop { FLOP_CELLS } else { 0 });
        Self { name_cells, bar_cells: if rest >= 12 { rest / 2 } else { 0 }, shows_flop }
    }
}

const SHORT_NAMES: [&str; STEP_PARTS.len()] = ["plain", "recycle", "head", "update"];

const VALUE_CELLS: usize = 9;
const FLOP_CELLS: usize = 14;

/// Returns the lines of the table: a heading, each part, and the whole step.
fn table_lines(ctx: RenderContext, width: usize) -> Vec<Line<'static>> {
    let (cost, columns) = (&ctx.state.cost, TableColumns::for_width(width));
    let largest = [&cost.plain, &cost.recycled].iter().filter_map(|kind| kind.step_ms.get()).fold(0.0, f64::max);
    let recycling = if columns.bar_cells > 0 { "recycling" } else { "recycled" };
    let heading =
        |text: &str| format!("{:>VALUE_CELLS$}{}", text::clip(text, VALUE_CELLS), " ".repeat(columns.bar_cells));
    let mut head = vec![ctx.span(Role::Dim, " ".repeat(columns.name_cells))];
    head.extend([("plain", Role::Plain), (recycling, Role::Recycled)].map(|(word, role)| {
        ctx.span(
            role,
            if columns.bar_cells > 0 {
                format!("  {:<1$}", format!("{word} step"), VALUE_CELLS - 2 + columns.bar_cells)
            } else {
                heading(word)
            },
        )
    }));
    let mut lines = vec![Line::from(head)];
    for (part, (name, _, _)) in STEP_PARTS.iter().enumerate() {
        let name = if columns.name_cells < 16 { SHORT_NAMES[part] } else { *name };
        let mut spans = vec![name_span(ctx, name, columns.name_cells)];
        for (kind, role) in [(&cost.plain, Role::Plain), (&cost.recycled, Role::Recycled)] {
            spans.extend(value_and_bar(ctx, kind.ms[part].get(), largest, role, columns.bar_cells));
        }
        if columns.shows_flop {
            let flop = cost.recycled.flop[part].get().or(cost.plain.flop[part].get());
            spans.push(ctx.span(Role::Dim, format!("{:>FLOP_CELLS$}", flop.map_or_else(String::new, format_flop))));
        }
        lines.push(Line::from(spans));
    }
    let whole = if columns.name_cells < 16 { "whole" } else { "whole step" };
    let mut spans = vec![name_span(ctx, whole, columns.name_cells)];
    for (kind, role) in [(&cost.plain, Role::Plain), (&cost.recycled, Role::Recycled)] {
        spans.extend(value_and_bar(ctx, kind.step_ms.get(), largest, role, columns.bar_cells));
    }
    lines.push(Line::from(spans));
    lines
}

fn name_span(ctx: RenderContext, name: &str, cells: usize) -> Span<'static> {
    ctx.span(Role::Name, format!("{:<cells$}", text::clip(name, cells - 1)))
}

/// Returns a value in ms, and its bar relative to `largest`.
fn value_and_bar(ctx: RenderContext, value: Option<f64>, largest: f64, role: Role, bar: usize) -> [Span<'static>; 2] {
    let shown = value.map_or_else(|| "–".into(), format_ms);
    let share = value.map_or(0.0, |value| if largest > 0.0 { value / largest } else { 0.0 });
    let cells = bar.saturating_sub(2);
    let full = ((share.clamp(0.0, 1.0) * cells as f64).round() as usize).min(cells);
    let drawn = if bar > 0 { format!(" {}{} ", "▇".repeat(full), " ".repeat(cells - full)) } else { String::new() };
    [ctx.span(Role::Value, format!("{shown:>VALUE_CELLS$}")), ctx.span(role, drawn)]
}

fn format_ms(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

fn format_flop(value: f64) -> String {
    format!("{}flop", text::with_si_prefix(value))
}

/// Returns the cost of rollouts.
fn rollout_cost_lines(ctx: RenderContext, width: usize) -> Vec<Line<'static>> {
    let smoothed = |metric| ctx.state.history(Series::Metric(metric)).smoothed_at(u64::MAX, 0.9);
    let mut parts: Vec<LinePart> = vec![ctx.named_part(0, "rollouts", format_optional_ms(smoothed(Metric::RolloutMs)))];
    if let Some(speed) = smoothed(Metric::RolloutTokensPerS) {
        parts.push(ctx.part(1, Role::Value, format!("{} tokens and latents/s", text::abbreviated(speed))));
    }
    vec![fit_line(ctx, parts, " · ", width)]
}

/// Returns the costs of a latent, in parallel and in sequence, and the share of recycling so far; of rollouts, theirs.
fn latent_cost_lines(ctx: RenderContext, width: usize) -> Vec<Line<'static>> {
    if ctx.state.is_rl() {
        return rollout_cost_lines(ctx, width);
    }
    let smoothed = |metric| ctx.state.history(Series::Metric(metric)).smoothed_at(u64::MAX, 0.95);
    let (parallel, sequential) =
        (smoothed(Metric::LatentMs), ctx.state.history(Series::Metric(Metric::SequentialMs)).latest());
    let mut latent: Vec<LinePart> = vec![ctx.named_part(0, "parallel latent", format_optional_ms(parallel))];
    if let Some(flop) = smoothed(Metric::LatentFlop) {
        latent.push(ctx.part(2, Role::Dim, format_flop(flop)));
    }
    let mut other: Vec<LinePart> = vec![ctx.named_part(0, "sequential latent", format_optional_ms(sequential))];
    if let (Some(parallel), Some(sequential)) = (parallel, sequential) {
        other.push(ctx.part(1, Role::Value, format!("{:.1} times", sequential / parallel)));
    }
    let cost = &ctx.state.cost;
    let share = |share: Option<f64>| share.map_or_else(|| "–".into(), |share| format!("{:.1}%", share * 100.0));
    let so_far: Vec<LinePart> = vec![
        ctx.named_part(0, "recycling", format!("{} of the time", share(cost.share_of_time()))),
        ctx.part(2, Role::Name, format!("{} of the operations", share(cost.share_of_flop()))),
        ctx.part(3, Role::Dim, format!("{} latents", text::abbreviated(cost.recycled_positions))),
    ];
    [latent, other, so_far].into_iter().map(|parts| fit_line(ctx, parts, " · ", width)).collect()
}

fn format_optional_ms(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{} ms", format_ms(value)))
}
