//! Owns: the schedule curves, panel 3: past and future on one axis.
//! Must not know: the terminal, keys, how a schedule is drawn by lot.
//! Invariant: what is drawn is the config in force, evaluated as the trainer evaluates it.
//!
//! ```text
//! ╭ 3 schedule every 4th step ─────╮
//! │ probability     ⢀⠤⠒⠉┊          │
//! │ 0.3         ⣀⠤⠊⠁    ┊⠒⠒⠒⠒⠒⠒⠒⠒⠒ │
//! │ lr          ⡰⠉⠒⠤⣀   ┊          │
//! │ 8.1e-4      ⡇    ⠉⠒⠤┊⣀⣀⣀⣀⣀     │
//! │ step        0       ▲    2,000 │
//! ╰────────────────────────────────╯
//! ```

use super::{Scene, framed};
use crate::config::{Config, Share};
use crate::record::registry::Metric;
use crate::tui::raster::{Dash, Raster, Window};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::Panel;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;

/// Width of names and values, with the space after them.
const GUTTER: u16 = 12;

/// How many curves there are.
const CURVES: usize = 4;

/// The curves: the metric they set, and their style.
fn curves(config: &Config) -> [(Metric, Role); CURVES] {
    let share = match config.recycle.share {
        Share::Fraction => Metric::RecycleFraction,
        Share::Count => Metric::RecycleCount,
        Share::Threshold | Share::RelativeThreshold => Metric::RecycleThreshold,
    };
    [
        (Metric::RecycleProbability, Role::Recycled),
        (share, Role::Recycled),
        (Metric::RecycleWeight, Role::Recycled),
        (Metric::Lr, Role::Lr),
    ]
}

/// Draws the curves below each other over one axis of steps.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let config = scene.state.run.as_ref().map(|run| &run.config);
    let about = config.map_or_else(Line::default, |config| eligible(scene, config));
    let within = framed(frame, area, scene, Panel::Schedule, about, Line::default()).inner(Margin::new(1, 0));
    let Some(config) = config else { return };
    if within.width < GUTTER + 4 || within.height < 4 {
        return;
    }
    let rows = within.height / CURVES as u16;
    let axis = within.height >= 9;
    let rows = if axis { (within.height - 1) / CURVES as u16 } else { rows };
    for (index, (metric, role)) in curves(config).into_iter().enumerate() {
        let area = Rect { y: within.y + index as u16 * rows, height: rows, ..within };
        draw_curve(frame, area, scene, config, (metric, role));
    }
    let curves =
        Rect { x: within.x + GUTTER, width: within.width - GUTTER, height: rows * CURVES as u16, ..within };
    draw_now(frame, curves, scene, config);
    if axis {
        draw_axis(frame, Rect { y: curves.bottom(), height: 1, ..curves }, scene, config);
    }
}

/// Which steps may carry a recycled pass.
fn eligible(scene: Scene, config: &Config) -> Line<'static> {
    let every = config.recycle.every;
    let next = (scene.state.step_now() / every.max(1) + 1) * every;
    let (text, then) = match every {
        0 => ("recycling off".into(), String::new()),
        1 => ("every step".into(), String::new()),
        _ if next > config.run.steps => (format!("every {every} steps"), String::new()),
        _ => (format!("every {every} steps"), format!(", next {}", text::count(next))),
    };
    Line::from(vec![scene.span(Role::Name, text), scene.span(Role::Dim, then)])
}

/// The value that `metric` is set to at `step`.
fn value_at(config: &Config, metric: Metric, step: u64) -> f64 {
    match metric {
        Metric::RecycleProbability => config.recycle.probability.at(step),
        Metric::RecycleFraction => config.recycle.fraction.at(step),
        Metric::RecycleCount => config.recycle.count.at(step),
        Metric::RecycleThreshold => {
            let relative = config.recycle.share == Share::RelativeThreshold;
            let unit = if relative { (config.model.vocab_size as f64).ln() } else { 1.0 };
            config.recycle.threshold.at(step) * unit
        }
        Metric::RecycleWeight => config.recycle.weight.at(step),
        _ => config.optim.lr_at(step, config.run.steps),
    }
}

fn draw_curve(frame: &mut Frame, area: Rect, scene: Scene, config: &Config, curve: (Metric, Role)) {
    // Where there is room a free line parts it from the next.
    let plot = Rect {
        x: area.x + GUTTER,
        width: area.width - GUTTER,
        height: area.height.saturating_sub(u16::from(area.height > 3)),
        ..area
    };
    let steps = config.run.steps.max(1);
    let points = points(config, curve.0, u64::from(plot.width) * 2);
    let top = points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let window = Window { x: (0.0, steps as f64), y: (0.0, if top > 0.0 { top } else { 1.0 }) };
    let mut raster = Raster::new(plot, window);
    // The cell of the present step belongs to the past as a whole: a cell has one style.
    let now = column(plot, scene.state.step_now(), steps);
    let cell = |step: f64| column(plot, step as u64, steps);
    let future = points.iter().filter(|point| cell(point.0) >= now).copied();
    raster.line(future, scene.theme.style(Role::Dim), Dash::Solid);
    let past = points.iter().filter(|point| cell(point.0) <= now).copied();
    raster.line(past, scene.theme.style(curve.1), Dash::Solid);
    raster.render(frame.buffer_mut());
    draw_names(frame, area, scene, config, curve, top);
}

/// The curve of `metric` over the whole run, at as many steps as there are dots.
fn points(config: &Config, metric: Metric, dots: u64) -> Vec<(f64, f64)> {
    let steps = u128::from(config.run.steps.max(1));
    (0..=dots)
        .map(|dot| (steps * u128::from(dot) / u128::from(dots.max(1))) as u64)
        .map(|step| (step as f64, value_at(config, metric, step)))
        .filter(|(_, value)| value.is_finite())
        .collect()
}

fn draw_names(
    frame: &mut Frame,
    area: Rect,
    scene: Scene,
    config: &Config,
    (metric, role): (Metric, Role),
    top: f64,
) {
    let label = text::label(metric);
    let name = label.strip_prefix("recycle ").unwrap_or(&label);
    let now = text::setting(value_at(config, metric, scene.state.step_now()));
    let role = if config.recycle.every == 0 && metric != Metric::Lr { Role::Dim } else { role };
    let (name, now) = (scene.span(role, text::clip(name, 11)), scene.span(Role::Value, now));
    let buffer = frame.buffer_mut();
    let mut line = |index: u16, line: Line| {
        if index < area.height {
            buffer.set_line(area.x, area.y + index, &line, GUTTER - 1);
        }
    };
    if area.height == 1 {
        let short: String = name.content.chars().take(4).collect();
        line(0, Line::from(vec![scene.span(role, format!("{short} ")), now]));
        return;
    }
    line(0, name.into());
    line(1, now.into());
    if area.height > 3 {
        line(2, scene.span(Role::Dim, format!("0 … {}", text::setting(top))).into());
    }
}

/// Column of `step` in `area`: that of the raster's dots.
fn column(area: Rect, step: u64, steps: u64) -> u16 {
    let share = (step as f64 / steps.max(1) as f64).min(1.0);
    area.x + (share * f64::from((area.width * 2).saturating_sub(1))).round() as u16 / 2
}

/// The marker of the present step, behind the curves.
fn draw_now(frame: &mut Frame, area: Rect, scene: Scene, config: &Config) {
    let x = column(area, scene.state.step_now(), config.run.steps);
    for y in area.top()..area.bottom() {
        if let Some(cell) = frame.buffer_mut().cell_mut((x, y)).filter(|cell| cell.symbol() == " ") {
            cell.set_symbol("┊").set_style(scene.theme.style(Role::Name));
        }
    }
}

/// First, present and last step.
fn draw_axis(frame: &mut Frame, area: Rect, scene: Scene, config: &Config) {
    let last = text::count(config.run.steps);
    let x = column(area, scene.state.step_now(), config.run.steps);
    let dim = scene.theme.style(Role::Dim);
    let buffer = frame.buffer_mut();
    buffer.set_string(area.x - GUTTER, area.y, "step", dim);
    buffer.set_string(area.x, area.y, "0", dim);
    buffer.set_string(area.right().saturating_sub(text::width(&last) as u16), area.y, &last, dim);
    buffer.set_string(x, area.y, "▲", scene.theme.style(Role::Value));
}
