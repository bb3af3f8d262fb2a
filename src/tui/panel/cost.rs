//! Owns: what steps and latents cost, panel 6.
//! Must not know: the terminal, keys, how anything was measured.
//! Invariant: recycling is told apart from the rest; its price stands beside that of the way one after another.
//!
//! ```text
//! ╭ 6 cost ms ───────────────────────────────────────────────────╮
//! │                 plain step        recycling                  │
//! │ plain pass      61.2 ▇▇▇▇▇▇▇▇     61.0 ▇▇▇▇▇▇▇▇   6.1 Gflop  │
//! │ recycled passes    –              40.1 ▇▇▇▇▇      4.2 Gflop  │
//! │ …                                                            │
//! │ a latent 1.288 ms · one after another 3.071 ms, 2.4 times    │
//! │ all recycling 31% of the time, 28% of the operations         │
//! ╰──────────────────────────────────────────────────────────────╯
//! ```

use super::{Part, Scene, fit, framed};
use crate::record::registry::Metric;
use crate::tui::axis;
use crate::tui::chart::{self, Chart, Curve};
use crate::tui::cost::{Kind, PARTS};
use crate::tui::history::Average;
use crate::tui::raster::Dash;
use crate::tui::state::Series;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::Panel;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Fewest lines of the chart.
const CHART: u16 = 8;

/// Draws the table and the prices, as far as there is room, and the course of the parts where there is much.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let about = Line::from(scene.span(Role::Name, Metric::StepMs.spec().unit));
    let within = framed(frame, area, scene, Panel::Cost, about, Line::default()).inner(Margin::new(1, 0));
    let width = usize::from(within.width);
    let mut lines = table(scene, width);
    let prices = prices(scene, width);
    if usize::from(within.height) > lines.len() + prices.len() {
        lines.push(Line::default());
    }
    // Where not all fit, the prices are what cannot be read elsewhere.
    let room = usize::from(within.height).saturating_sub(prices.len());
    lines.truncate(room);
    lines.extend(prices);
    let used = (lines.len() as u16 + 1).min(within.height);
    frame.render_widget(Paragraph::new(lines), within);
    let rest = Rect { y: within.y + used, height: within.height - used, ..within };
    if rest.height >= CHART {
        draw_course(frame, rest, scene);
    }
}

/// The parts over the steps that the charts show.
fn draw_course(frame: &mut Frame, area: Rect, scene: Scene) {
    let roles = [Role::Plain, Role::Recycled, Role::Lr, Role::Pause];
    let dashes = [Dash::Solid, Dash::Dashed, Dash::Dotted, Dash::Dotted];
    let curve = |(part, (_, ms, _)): (usize, &(&str, Metric, Metric))| Curve {
        series: Series::Of(*ms),
        role: roles[part],
        raw: Some(Role::Frame),
        dash: (Dash::Solid, dashes[part]),
    };
    let chart = Chart { curves: PARTS.iter().enumerate().map(curve).collect(), points: Vec::new() };
    let steps = scene.view.charts.window(scene.state.span());
    let Some(plane) = chart.plane(scene, steps) else { return };
    let names = PARTS.iter().zip(roles).map(|((name, ms, _), role)| {
        let at = scene.view.charts.cross.unwrap_or(u64::MAX);
        let value = scene.state.history(Series::Of(*ms)).smoothed_at(at, scene.smoothing());
        let value = value.map_or_else(|| "–".into(), milliseconds);
        (0, vec![scene.span(role, format!("━ {name} ")), scene.span(Role::Value, value)])
    });
    let legend = fit(scene, names.collect(), "   ", usize::from(area.width));
    frame.render_widget(legend, Rect { height: 1, ..area });
    let below = Rect { y: area.y + 1, height: area.height - 1, ..area };
    let Some(plot) = axis::plot(below, axis::gutter(plane.y, below.height - 1), true) else { return };
    axis::render(frame.buffer_mut(), plot, &plane, true, scene.theme);
    chart.render(frame.buffer_mut(), plot, &plane, scene);
    chart::draw_steps(frame.buffer_mut(), plot, &plane, scene);
}

/// Columns of the table: the name, a value, the bar beside it.
struct Columns {
    name: usize,
    bar: usize,
    flop: bool,
}

impl Columns {
    fn of(width: usize) -> Self {
        let name = if width < 40 { width.saturating_sub(2 * VALUE).clamp(7, 16) } else { 16 };
        let flop = width >= 62;
        let left = width.saturating_sub(name + 2 * VALUE + if flop { FLOP } else { 0 });
        Self { name, bar: if left >= 12 { left / 2 } else { 0 }, flop }
    }
}

/// The parts where it is narrow.
const SHORT: [&str; PARTS.len()] = ["plain", "again", "head", "update"];

/// Cells of a value, and of the operations.
const VALUE: usize = 9;
const FLOP: usize = 14;

fn table(scene: Scene, width: usize) -> Vec<Line<'static>> {
    let (cost, columns) = (&scene.state.cost, Columns::of(width));
    let most = [&cost.plain, &cost.recycled].iter().filter_map(|kind| whole(kind)).fold(0.0, f64::max);
    let recycling = if columns.bar > 0 { "recycling" } else { "recycled" };
    let heading = |text: &str| format!("{:>VALUE$}{}", text::clip(text, VALUE), " ".repeat(columns.bar));
    let mut head = vec![scene.span(Role::Dim, " ".repeat(columns.name))];
    head.extend([("plain", Role::Plain), (recycling, Role::Recycled)].map(|(word, role)| {
        scene.span(
            role,
            if columns.bar > 0 {
                format!("  {:<1$}", format!("{word} step"), VALUE - 2 + columns.bar)
            } else {
                heading(word)
            },
        )
    }));
    let mut lines = vec![Line::from(head)];
    for (part, (name, _, _)) in PARTS.iter().enumerate() {
        let name = if columns.name < 16 { SHORT[part] } else { *name };
        let mut spans = vec![named(scene, name, columns.name)];
        for (kind, role) in [(&cost.plain, Role::Plain), (&cost.recycled, Role::Recycled)] {
            spans.extend(valued(scene, kind.ms[part].get(), most, role, columns.bar));
        }
        if columns.flop {
            let flop = cost.recycled.flop[part].get().or(cost.plain.flop[part].get());
            spans.push(scene.span(Role::Dim, format!("{:>FLOP$}", flop.map_or_else(String::new, flops))));
        }
        lines.push(Line::from(spans));
    }
    let whole = if columns.name < 16 { "whole" } else { "whole step" };
    let mut spans = vec![named(scene, whole, columns.name)];
    for (kind, role) in [(&cost.plain, Role::Plain), (&cost.recycled, Role::Recycled)] {
        spans.extend(valued(scene, kind.step_ms.get(), most, role, columns.bar));
    }
    lines.push(Line::from(spans));
    lines
}

fn whole(kind: &Kind) -> Option<f64> {
    Average::get(&kind.step_ms)
}

fn named(scene: Scene, name: &str, cells: usize) -> Span<'static> {
    scene.span(Role::Name, format!("{:<cells$}", text::clip(name, cells - 1)))
}

/// A value and its bar.
fn valued(scene: Scene, value: Option<f64>, most: f64, role: Role, bar: usize) -> [Span<'static>; 2] {
    let shown = value.map_or_else(|| "–".into(), milliseconds);
    let share = value.map_or(0.0, |value| if most > 0.0 { value / most } else { 0.0 });
    let cells = bar.saturating_sub(2);
    let full = ((share.clamp(0.0, 1.0) * cells as f64).round() as usize).min(cells);
    let drawn =
        if bar > 0 { format!(" {}{} ", "▇".repeat(full), " ".repeat(cells - full)) } else { String::new() };
    [scene.span(Role::Value, format!("{shown:>VALUE$}")), scene.span(role, drawn)]
}

fn milliseconds(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

fn flops(value: f64) -> String {
    format!("{}flop", text::scaled(value))
}

/// What a latent costs here and one after another, and what all have cost so far.
fn prices(scene: Scene, width: usize) -> Vec<Line<'static>> {
    let read = |metric| scene.state.history(Series::Of(metric)).smoothed_at(u64::MAX, 0.95);
    let (here, after) =
        (read(Metric::LatentMs), scene.state.history(Series::Of(Metric::SequentialMs)).latest());
    let mut latent: Vec<Part> = vec![scene.named(0, "a latent", priced(here))];
    if let Some(flop) = read(Metric::LatentFlop) {
        latent.push(scene.part(2, Role::Dim, flops(flop)));
    }
    let mut other: Vec<Part> = vec![scene.named(0, "one after another", priced(after))];
    if let (Some(here), Some(after)) = (here, after) {
        other.push(scene.part(1, Role::Value, format!("{:.1} times", after / here)));
    }
    let cost = &scene.state.cost;
    let share =
        |share: Option<f64>| share.map_or_else(|| "–".into(), |share| format!("{:.1}%", share * 100.0));
    let so_far: Vec<Part> = vec![
        scene.named(0, "all recycling", format!("{} of the time", share(cost.share_of_time()))),
        scene.part(2, Role::Name, format!("{} of the operations", share(cost.share_of_flop()))),
        scene.part(3, Role::Dim, format!("{} latents", text::short(cost.positions))),
    ];
    [latent, other, so_far].into_iter().map(|parts| fit(scene, parts, " · ", width)).collect()
}

fn priced(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{} ms", milliseconds(value)))
}
