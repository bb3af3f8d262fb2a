//! Owns: panel 1 on the full screen: facts about the run, and a small chart of every metric that has a value.
//! Must not know: the terminal, keys.
//! Invariant: names, units and descriptions of metrics come from `schema::metrics`.
//!
//! ```text
//! ╭ 1 run ● training /loss ────────────────────────────────────────────╮
//! │ folder   checkpoints/2026-11-24T02-51-38-prosqa                    │
//! │ device   NVIDIA H100 (cuda:0), peak 210 Tflop/s                    │
//! │                                                                    │
//! │ loss_plain_nats     2.310 nats      grad_norm              0.831   │
//! │ ⡇⠢⣀⠤⠤⣀⣀⡀                            ⠤⠢⣀⠤⠤⠤⠤⣀⣀⡀                     │
//! │ …                                                                  │
//! ╰────────────────────────────────────────────────────────────────────╯
//! ```

use super::{RenderContext, draw_frame, header, list};
use crate::schema::metrics::Metric;
use crate::schema::protocol::{RunInfo, RunSummary};
use crate::schema::rows::SystemRow;
use crate::tui::app::panel_id::Panel;
use crate::tui::app::view::ViewState;
use crate::tui::model::metrics::Series;
use crate::tui::model::state::{RunModel, TrainerStatus};
use crate::tui::plot::chart;
use crate::tui::plot::chart::{Chart, PlotCurve};
use crate::tui::plot::raster::Dash;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// The fewest columns of a chart, and its lines: name and value, the plot, a free line.
const CHART_MIN_SIZE: (u16, u16) = (44, 5);

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let (glyph, word, role) = header::phase_label(ctx);
    let mut subtitle = Line::from(ctx.span(role, format!("{glyph} {word}")));
    subtitle.extend(list::filter_label(ctx, Panel::Run));
    let inner = crate::tui::app::layout::inner_area(area);
    let limit = scroll_limit(ctx.state, ctx.view, inner);
    let from = ctx.view.list(Panel::Run).offset.min(limit);
    let more = match limit - from {
        0 => Line::default(),
        below => Line::from(ctx.span(Role::Key, format!(" {below} more rows, ↓ "))),
    };
    let within = draw_frame(frame, area, ctx, Panel::Run, subtitle, more).inner(Margin::new(1, 0));
    let facts = facts(ctx.state);
    let lines: Vec<Line> =
        facts.iter().map(|(name, value)| fact_line(ctx, name, value, usize::from(within.width))).collect();
    let used = (lines.len() as u16 + 1).min(within.height);
    frame.render_widget(Paragraph::new(lines), within);
    let grid = Rect { y: within.y + used, height: within.height - used, ..within };
    draw_grid(frame, grid, ctx, from);
}

fn fact_line(ctx: RenderContext, name: &str, value: &str, width: usize) -> Line<'static> {
    Line::from(vec![
        ctx.span(Role::Name, format!("{name:<12}")),
        ctx.span(Role::Value, text::clip(value, width.saturating_sub(12))),
    ])
}

/// Returns how many rows of charts do not fit; `within` is the area within the panel's frame.
pub fn scroll_limit(state: &RunModel, view: &ViewState, within: Rect) -> usize {
    let columns = usize::from((within.width.saturating_sub(2) / CHART_MIN_SIZE.0).max(1));
    let rows = shown_metrics(state, view).len().div_ceil(columns);
    let visible = within.height.saturating_sub(facts(state).len() as u16 + 1) / CHART_MIN_SIZE.1;
    rows.saturating_sub(usize::from(visible.max(1)))
}

fn shown_metrics(state: &RunModel, view: &ViewState) -> Vec<Metric> {
    let shown = |metric: &Metric| {
        let spec = metric.spec();
        state.metrics.latest(*metric).is_some()
            && *metric != Metric::Step
            && (list::matches_filter(view, Panel::Run, spec.name) || list::matches_filter(view, Panel::Run, spec.doc))
    };
    Metric::ALL.iter().copied().filter(shown).collect()
}

fn draw_grid(frame: &mut Frame, area: Rect, ctx: RenderContext, from: usize) {
    let columns = (area.width / CHART_MIN_SIZE.0).max(1);
    let width = area.width / columns;
    let metrics = shown_metrics(ctx.state, ctx.view);
    if metrics.is_empty() {
        let text = if ctx.state.has_live_step { "no metric matches the filter; Esc clears it" } else { "no step yet" };
        return frame.render_widget(ctx.span(Role::Dim, text), Rect { height: area.height.min(1), ..area });
    }
    for (index, metric) in metrics.into_iter().skip(from * usize::from(columns)).enumerate() {
        let (row, column) = (index as u16 / columns, index as u16 % columns);
        let y = area.y + row * CHART_MIN_SIZE.1;
        if y + 1 >= area.bottom() {
            return;
        }
        let height = (CHART_MIN_SIZE.1 - 1).min(area.bottom() - y);
        draw_metric(frame, Rect { x: area.x + column * width, y, width: width - 2, height }, ctx, metric);
    }
}

/// Draws the name and the value of a metric, and below them its curve over the steps that the charts show.
fn draw_metric(frame: &mut Frame, area: Rect, ctx: RenderContext, metric: Metric) {
    let spec = metric.spec();
    let history = ctx.state.history(Series::Metric(metric));
    let at_cursor = ctx.view.charts.cursor.and_then(|step| history.bucket_at(step)).map(|bucket| bucket.mean);
    let value = at_cursor
        .or(ctx.state.metrics.latest(metric))
        .map_or_else(|| "–".into(), |value| text::metric_value(metric, value));
    let value = text::clip(&format!("{value} {}", spec.unit), usize::from(area.width));
    let room = usize::from(area.width).saturating_sub(text::width(&value) + 1);
    let name = format!("{:<room$} ", text::clip(spec.name, room));
    let line = Line::from(vec![ctx.span(Role::Name, name), ctx.span(Role::Value, value)]);
    frame.render_widget(line, Rect { height: 1, ..area });
    let role = curve_role(metric);
    let raw = Some(Role::Frame);
    let (series, dash, smoothed) = (Series::Metric(metric), (Dash::Solid, Dash::Solid), !is_setting(metric));
    let curve = PlotCurve { series, role, raw_role: raw, dash, smoothed };
    let chart = Chart { curves: vec![curve], points: Vec::new() };
    let plot = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let steps = ctx.visible_steps();
    if let Some(plane) = chart.plane(ctx, steps).filter(|_| !plot.is_empty()) {
        chart.render(frame.buffer_mut(), plot, &plane, ctx);
        if let Some(x) = ctx.view.charts.cursor.and_then(|step| plane.column_of(plot, step)) {
            chart::draw_vertical_line(frame.buffer_mut(), plot, x, "│", ctx.theme.style(Role::Cursor));
        }
    }
}

/// Whether a metric is set or counted, and not measured.
pub fn is_setting(metric: Metric) -> bool {
    matches!(
        metric,
        Metric::Tokens
            | Metric::WallS
            | Metric::Stage
            | Metric::RecycleProbability
            | Metric::RecycleFraction
            | Metric::RecycleCount
            | Metric::RecycleThreshold
            | Metric::RecycleScale
            | Metric::RecycleWeight
            | Metric::Lr
            | Metric::ConfigVersion
            | Metric::Epoch
    )
}

/// Returns the style of a metric's curve, by the pass that its name refers to.
fn curve_role(metric: Metric) -> Role {
    let name = metric.spec().name;
    if name.contains("recycle") || name.contains("latent") {
        Role::Recycled
    } else if name.contains("plain") {
        Role::Plain
    } else {
        Role::Lr
    }
}

fn facts(state: &RunModel) -> Vec<(&'static str, String)> {
    let mut facts = state.run.as_ref().map_or_else(Vec::new, |run| run_facts(run));
    facts.extend(objective_text(state).map(|text| ("objective", text)));
    facts.extend(state.system.as_ref().map(|system| ("machine", system_usage(system))));
    if let TrainerStatus::Finished(summary) = &state.status {
        facts.extend(summary_facts(summary));
    }
    facts
}

/// Says what a run with questions does: of rewards, how rollouts are made; of a curriculum, which stage it is in and when
/// that ends; and how many questions were answered rightly at last.
fn objective_text(state: &RunModel) -> Option<String> {
    if state.is_rl() {
        return rl_text(state);
    }
    let stage = state.metrics.latest(Metric::Stage)? as usize;
    let objective = &state.run.as_ref()?.config.objective;
    let method: &str = objective.method.into();
    let last = objective.max_latent_stage + 1;
    let mut text = format!("{method}, stage {stage} of {last}");
    let passed = (stage + 1).saturating_sub(objective.first_stage) as u64;
    if stage < last && objective.steps_per_stage > 0 {
        let end = crate::tui::text::with_separators(passed * objective.steps_per_stage);
        text += &format!(" until step {end}");
    }
    text += &accuracy_text(state);
    Some(text)
}

fn accuracy_text(state: &RunModel) -> String {
    let accuracy = state.metrics.latest(Metric::ValidAccuracy);
    accuracy.map_or_else(String::new, |accuracy| format!("; {:.1} % answered rightly", accuracy * 100.0))
}

fn rl_text(state: &RunModel) -> Option<String> {
    let rl = &state.run.as_ref()?.config.rl;
    let loss: &str = rl.loss_type.into();
    let (prompts, rollouts) = (rl.prompts, rl.num_generations);
    let policy = text::make_visible(&rl.policy);
    Some(format!("rl, {prompts} prompts of {rollouts} rollouts, {loss}, policy {policy}{}", accuracy_text(state)))
}

fn run_facts(run: &RunInfo) -> Vec<(&'static str, String)> {
    let peak =
        run.peak_flop_per_s.map_or_else(String::new, |peak| format!(", peak {}flop/s", text::with_si_prefix(peak)));
    let mut facts = vec![
        ("folder", run.folder.display().to_string()),
        ("device", format!("{} ({}){peak}", run.device, run.device_reason)),
        (
            "model",
            format!(
                "{} parameters, vocabulary of {}",
                text::abbreviated(run.params as f64),
                text::with_separators(run.vocab_size as u64)
            ),
        ),
        ("data", format!("{}: {} training documents", run.config.data.dir, text::with_separators(run.train_docs))),
    ];
    facts.extend(run.lineage.as_ref().map(|lineage| ("from", lineage.to_string())));
    facts
}

fn system_usage(system: &SystemRow) -> String {
    let mut usage = format!(
        "{:.1} of {} cores ({:.1} by this process), memory {} of {} ({} by this process)",
        system.machine_cpu,
        system.cores,
        system.process_cpu,
        text::bytes(system.memory_used_bytes),
        text::bytes(system.memory_bytes),
        text::bytes(system.process_bytes)
    );
    if let Some(free) = system.disk_free_bytes {
        usage += &format!(", disk {} free", text::bytes(free));
    }
    if let Some(gpu) = &system.gpu {
        let (used, total) = (text::bytes(gpu.memory_used_bytes), text::bytes(gpu.memory_bytes));
        usage += &format!(", GPU {:.0}% busy, {used} of {total}", gpu.load * 100.0);
    }
    usage
}

fn summary_facts(summary: &RunSummary) -> Vec<(&'static str, String)> {
    let mut facts = vec![(
        "took",
        format!(
            "{} for {} steps{}",
            text::duration(summary.duration),
            text::with_separators(summary.steps),
            match summary.losses.recycled_steps {
                0 => String::new(),
                recycled => format!(", {} with a recycled pass", text::with_separators(recycled)),
            }
        ),
    )];
    if let Some(checkpoint) = &summary.checkpoint {
        facts.push(("checkpoint", checkpoint.display().to_string()));
    }
    if let Some(best) = &summary.best {
        facts.push(("best", format!("step {}: {} {:.4}", text::with_separators(best.step), best.metric, best.value)));
    }
    facts
}
