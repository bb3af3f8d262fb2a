//! Owns: panel 1 on the whole screen: what is fixed for the run, and a small chart of every metric that has a value.
//! Must not know: the terminal, keys.
//! Invariant: names, units and descriptions of metrics are the registry's.
//!
//! ```text
//! ╭ 1 run ● training /loss ────────────────────────────────────────────╮
//! │ folder   checkpoints/2026-11-24T02-51-38-prosqa                    │
//! │ device   cuda:0, built in and answers                              │
//! │                                                                    │
//! │ loss_plain_nats     2.310 nats      grad_norm              0.831   │
//! │ ⡇⠢⣀⠤⠤⣀⣀⡀                            ⠤⠢⣀⠤⠤⠤⠤⣀⣀⡀                     │
//! │ …                                                                  │
//! ╰────────────────────────────────────────────────────────────────────╯
//! ```

use super::{Scene, framed, header, list};
use crate::message::{RunInfo, Summary};
use crate::record::registry::Metric;
use crate::record::rows::SystemRow;
use crate::tui::chart::{self, Chart, Curve};
use crate::tui::raster::Dash;
use crate::tui::state::{End, Series, State};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::{Panel, View};
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Fewest cells of a chart, its name and value among them; lines of one, with a free one.
const CHART: (u16, u16) = (44, 5);

/// Draws facts and charts.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let (glyph, word, role) = header::phase(scene);
    let mut about = Line::from(scene.span(role, format!("{glyph} {word}")));
    about.extend(list::filter_word(scene, Panel::Run));
    let inner = crate::tui::layout::inner(area);
    let limit = scroll_limit(scene.state, scene.view, inner);
    let from = scene.view.scrolled[Panel::Run as usize].min(limit);
    let more = match limit - from {
        0 => Line::default(),
        below => Line::from(scene.span(Role::Key, format!(" {below} more rows, ↓ "))),
    };
    let within = framed(frame, area, scene, Panel::Run, about, more).inner(Margin::new(1, 0));
    let facts = facts(scene.state);
    let lines: Vec<Line> =
        facts.iter().map(|(name, value)| fact(scene, name, value, usize::from(within.width))).collect();
    let used = (lines.len() as u16 + 1).min(within.height);
    frame.render_widget(Paragraph::new(lines), within);
    let grid = Rect { y: within.y + used, height: within.height - used, ..within };
    draw_grid(frame, grid, scene, from);
}

fn fact(scene: Scene, name: &str, value: &str, width: usize) -> Line<'static> {
    Line::from(vec![
        scene.span(Role::Name, format!("{name:<12}")),
        scene.span(Role::Value, text::clip(value, width.saturating_sub(12))),
    ])
}

/// How many rows of charts there are beyond those that fit within the frame, `within`.
pub fn scroll_limit(state: &State, view: &View, within: Rect) -> usize {
    let columns = usize::from((within.width.saturating_sub(2) / CHART.0).max(1));
    let rows = measured(state, view).len().div_ceil(columns);
    let seen = within.height.saturating_sub(facts(state).len() as u16 + 1) / CHART.1;
    rows.saturating_sub(usize::from(seen.max(1)))
}

/// The metrics that have a value and pass the filter.
fn measured(state: &State, view: &View) -> Vec<Metric> {
    let shown = |metric: &Metric| {
        let spec = metric.spec();
        state.latest.get(*metric).is_some()
            && *metric != Metric::Step
            && (list::passes(view, Panel::Run, spec.name) || list::passes(view, Panel::Run, spec.doc))
    };
    Metric::ALL.iter().copied().filter(shown).collect()
}

fn draw_grid(frame: &mut Frame, area: Rect, scene: Scene, from: usize) {
    let columns = (area.width / CHART.0).max(1);
    let width = area.width / columns;
    let metrics = measured(scene.state, scene.view);
    if metrics.is_empty() {
        let text =
            if scene.state.stepped { "no metric has that in it; Esc shows all again" } else { "no step yet" };
        return frame.render_widget(scene.span(Role::Dim, text), Rect { height: area.height.min(1), ..area });
    }
    for (index, metric) in metrics.into_iter().skip(from * usize::from(columns)).enumerate() {
        let (row, column) = (index as u16 / columns, index as u16 % columns);
        let y = area.y + row * CHART.1;
        if y + 1 >= area.bottom() {
            return;
        }
        let height = (CHART.1 - 1).min(area.bottom() - y);
        draw_metric(frame, Rect { x: area.x + column * width, y, width: width - 2, height }, scene, metric);
    }
}

/// Name and value, and below them the course over the steps that the charts show.
fn draw_metric(frame: &mut Frame, area: Rect, scene: Scene, metric: Metric) {
    let spec = metric.spec();
    let history = scene.state.history(Series::Of(metric));
    let read = scene.view.charts.cross.and_then(|cross| history.at(cross)).map(|bucket| bucket.mean);
    let value = read
        .or(scene.state.latest.get(metric))
        .map_or_else(|| "–".into(), |value| text::value(metric, value));
    let value = text::clip(&format!("{value} {}", spec.unit), usize::from(area.width));
    let room = usize::from(area.width).saturating_sub(text::width(&value) + 1);
    let name = format!("{:<room$} ", text::clip(spec.name, room));
    let line = Line::from(vec![scene.span(Role::Name, name), scene.span(Role::Value, value)]);
    frame.render_widget(line, Rect { height: 1, ..area });
    let role = colour(metric);
    let raw = Some(Role::Frame);
    let curve = Curve { series: Series::Of(metric), role, raw, dash: (Dash::Solid, Dash::Solid) };
    let chart = Chart { curves: vec![curve], points: Vec::new() };
    let plot = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let steps = scene.view.charts.window(scene.state.span());
    if let Some(plane) = chart.plane(scene, steps).filter(|_| !plot.is_empty()) {
        chart.render(frame.buffer_mut(), plot, &plane, scene);
        if let Some(x) = scene.view.charts.cross.and_then(|cross| plane.column(plot, cross)) {
            chart::upright(frame.buffer_mut(), plot, x, "│", scene.theme.style(Role::Cross));
        }
    }
}

fn colour(metric: Metric) -> Role {
    let name = metric.spec().name;
    if name.contains("recycle") || name.contains("latent") {
        Role::Recycled
    } else if name.contains("plain") {
        Role::Plain
    } else {
        Role::Lr
    }
}

fn facts(state: &State) -> Vec<(&'static str, String)> {
    let mut facts = state.run.as_ref().map_or_else(Vec::new, |run| about_run(run));
    facts.extend(state.system.as_ref().map(|system| ("machine", about_system(system))));
    if let End::Finished(summary) = &state.end {
        facts.extend(about_end(summary));
    }
    facts
}

fn about_run(run: &RunInfo) -> Vec<(&'static str, String)> {
    let peak =
        run.peak_flop_per_s.map_or_else(String::new, |peak| format!(", peak {}flop/s", text::scaled(peak)));
    let mut about = vec![
        ("folder", run.folder.display().to_string()),
        ("device", format!("{} ({}){peak}", run.device, run.device_reason)),
        (
            "model",
            format!(
                "{} parameters, vocabulary of {}",
                text::short(run.params as f64),
                text::count(run.vocab_size as u64)
            ),
        ),
        ("data", format!("{}: {} training documents", run.config.data.dir, text::count(run.train_docs))),
    ];
    about.extend(run.lineage.as_ref().map(|lineage| ("from", lineage.to_string())));
    about
}

fn about_system(system: &SystemRow) -> String {
    let mut said = format!(
        "{:.1} of {} cores ({:.1} here), memory {} of {} ({} here)",
        system.machine_cpu,
        system.cores,
        system.process_cpu,
        text::bytes(system.memory_used_bytes),
        text::bytes(system.memory_bytes),
        text::bytes(system.process_bytes)
    );
    if let Some(free) = system.disk_free_bytes {
        said += &format!(", disk {} free", text::bytes(free));
    }
    if let Some(gpu) = &system.gpu {
        let (used, all) = (text::bytes(gpu.memory_used_bytes), text::bytes(gpu.memory_bytes));
        said += &format!(", GPU {:.0}% busy, {used} of {all}", gpu.load * 100.0);
    }
    said
}

fn about_end(summary: &Summary) -> Vec<(&'static str, String)> {
    let mut facts = vec![(
        "took",
        format!(
            "{} for {} steps, {} with a recycled pass",
            text::duration(summary.took),
            text::count(summary.steps),
            text::count(summary.recycled_steps)
        ),
    )];
    if let Some(checkpoint) = &summary.checkpoint {
        facts.push(("checkpoint", checkpoint.display().to_string()));
    }
    facts
}
