//! Owns: the live numbers over the steps, panel 3: as they were and as they are planned; the edit that is being made.
//! Must not know: the terminal, keys, what a number does.
//! Invariant: what is drawn of the past is what was in force, of the future what is in force now, evaluated as the trainer
//! evaluates it.
//!
//! ```text
//! ╭ 3 schedule every 4th step ─────╮
//! │ probability     ⢀⠤⠒⠉┊          │
//! │ 0.3         ⣀⠤⠊⠁    ┊⠒⠒⠒⠒⠒⠒⠒⠒⠒ │
//! │›lr          ⡰⠉⠒⠤⣀   ┊          │
//! │ 8.1e-4      ⡇    ⠉⠒⠤┊⣀⣀⣀⣀⣀     │
//! │ step        0       ▲    2,000 │
//! ╰──────────────── lr 1e-3 → 9e-4 ╯
//! ```

use super::{Scene, framed};
use crate::config::{self, Config, Key};
use crate::record::rows::Outcome;
use crate::tui::draft::{Draft, Sent};
use crate::tui::eras::{self, numbers};
use crate::tui::raster::{Dash, Raster, Window};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::Panel;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;

/// Width of names and values, with the space after them.
const GUTTER: u16 = 13;
/// Most lines of a number.
const ROWS: u16 = 4;
/// Numbers that are to be seen at least, where there is room for a line each.
const SEEN: u16 = 4;

/// Draws the numbers below each other over one axis of steps.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let config = scene.state.run.as_ref().map(|run| &run.config);
    let about = config.map_or_else(Line::default, |config| eligible(scene, config));
    let within = framed(frame, area, scene, Panel::Schedule, about, below(scene, area.width));
    let within = within.inner(Margin::new(1, 0));
    let Some(config) = config else { return };
    if within.width < GUTTER + 4 || within.height < SEEN {
        return;
    }
    let used = eras::used(config);
    let axis = within.height >= 9;
    let height = within.height - u16::from(axis);
    let rows = (height / SEEN).clamp(1, ROWS);
    let shown = usize::from(height / rows).min(used.len());
    let selected = scene.view.number.min(used.len().saturating_sub(1));
    let first = selected.saturating_sub(shown.saturating_sub(1)).min(used.len() - shown);
    for (line, number) in used[first..first + shown].iter().enumerate() {
        let area = Rect { y: within.y + line as u16 * rows, height: rows, ..within };
        draw_number(frame, area, scene, config, *number, first + line == selected);
    }
    let curves =
        Rect { x: within.x + GUTTER, width: within.width - GUTTER, height: rows * shown as u16, ..within };
    draw_now(frame, curves, scene, config);
    if axis {
        draw_axis(frame, Rect { y: within.bottom() - 1, height: 1, ..curves }, scene, config);
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

/// What becomes of an edit: it is being made, was asked for, was applied or refused.
fn below(scene: Scene, width: u16) -> Line<'static> {
    let room = usize::from(width.saturating_sub(4));
    let said = match (&scene.view.draft, &scene.view.sent) {
        (Some(draft), _) => (Role::Key, pending(scene, draft)),
        (None, Some(sent)) => became(scene, sent),
        _ => return Line::default(),
    };
    Line::from(scene.span(said.0, format!(" {} ", text::clip(&said.1, room))))
}

fn pending(scene: Scene, draft: &Draft) -> String {
    let (step, value) = draft.knot();
    let now = scene.state.eras.last().and_then(|era| era.curves[draft.number].clone());
    let was = now.map_or(0.0, |curve| curve.at(step));
    let at = match draft.knots.len() {
        1 => String::new(),
        knots => format!(" at {} ({} of {knots})", text::count(step), draft.at + 1),
    };
    let name = short_name(draft.number().key) + if draft.number().is_lr() { " peak" } else { "" };
    format!("{name} {} → {}{at}", text::setting(was), text::setting(value))
}

fn became(scene: Scene, sent: &Sent) -> (Role, String) {
    let state = scene.state;
    let since = state.changes_seen.saturating_sub(sent.seen) as usize;
    let answer = state.changes.iter().rev().take(since).find(|row| {
        row.key.as_deref() == Some(&sent.path) || (row.key.is_none() && row.outcome == Outcome::Refused)
    });
    let name = sent.path.rsplit('.').next().unwrap_or_default();
    match answer {
        Some(row) if row.outcome == Outcome::Applied => {
            (Role::Good, format!("✓ from step {} on: {name} {}", text::count(row.step), sent.value))
        }
        Some(row) => (Role::Bad, format!("✗ {name} refused: {}", row.reason.clone().unwrap_or_default())),
        None if is_so(scene, sent) => (Role::Good, format!("✓ {name} is {} already", sent.value)),
        None => (Role::Warn, format!("… asked for: {name} {}", sent.value)),
    }
}

/// Whether what was asked for is in force: then nothing was changed, and nothing told.
fn is_so(scene: Scene, sent: &Sent) -> bool {
    let config = scene.state.run.as_ref().map(|run| &run.config);
    let key = Config::keys().find(|key| key.path() == sent.path);
    config.zip(key).is_some_and(|(config, key)| config.value(key).to_string() == sent.value)
}

/// The name of a key, with its section where that is not what the panel is about.
fn short_name(key: &Key) -> String {
    match key.section {
        "recycle" | "optim" => key.name.to_owned(),
        section => format!("{section}.{}", key.name),
    }
}

fn draw_number(frame: &mut Frame, area: Rect, scene: Scene, config: &Config, number: usize, selected: bool) {
    // Where there is room a free line parts it from the next.
    let plot = Rect {
        x: area.x + GUTTER,
        width: area.width - GUTTER,
        height: area.height.saturating_sub(u16::from(area.height > 3)),
        ..area
    };
    let steps = config.run.steps.max(1);
    let draft = scene.view.draft.as_ref().filter(|draft| draft.number == number);
    let points = points(scene, config, number, u64::from(plot.width) * 2);
    let most = draft.map_or(0.0, |draft| draft.knots.iter().map(|knot| knot.1).fold(0.0, f64::max));
    let top = points.iter().map(|(_, value)| *value).fold(most, f64::max);
    let window = Window { x: (0.0, steps as f64), y: (0.0, if top > 0.0 { top } else { 1.0 }) };
    let mut raster = Raster::new(plot, window);
    // The cell of the present step belongs to the past as a whole: a cell has one style.
    let now = column(plot, scene.state.step_now(), steps);
    let cell = |step: f64| column(plot, step as u64, steps);
    let future = points.iter().filter(|point| cell(point.0) >= now).copied().map(Some);
    raster.line(future, scene.theme.style(Role::Dim), Dash::Solid);
    let past = points.iter().filter(|point| cell(point.0) <= now).copied().map(Some);
    raster.line(past, scene.theme.style(role(number)), Dash::Solid);
    if let Some(curve) = draft.and_then(Draft::curve) {
        let planned = (0..=u64::from(plot.width) * 2)
            .map(|dot| steps * dot / (u64::from(plot.width) * 2).max(1))
            .map(|step| Some((step as f64, drafted(config, number, curve.at(step), step))));
        raster.line(planned, scene.theme.style(Role::Key), Dash::Dashed);
    }
    raster.render(frame.buffer_mut());
    if let Some(draft) = draft {
        draw_knots(frame, plot, scene, &raster, draft, steps);
    }
    draw_names(frame, area, scene, (number, selected), draft, top);
}

/// What a drafted `value` of a number means at `step`: of the learning rate it is the peak.
fn drafted(config: &Config, number: usize, value: f64, step: u64) -> f64 {
    if !numbers()[number].is_lr() {
        return value;
    }
    config::Optim { lr: value, ..config.optim.clone() }.lr_at(step, config.run.steps)
}

fn role(number: usize) -> Role {
    match numbers()[number].key.section {
        "recycle" => Role::Recycled,
        "optim" => Role::Lr,
        _ => Role::Plain,
    }
}

fn draw_knots(frame: &mut Frame, plot: Rect, scene: Scene, raster: &Raster, draft: &Draft, steps: u64) {
    for (index, (step, value)) in draft.knots.iter().enumerate() {
        if let Some((x, y)) = raster.cell_of((*step).min(steps) as f64, *value) {
            let (glyph, role) = if index == draft.at { ("◆", Role::Cross) } else { ("◇", Role::Key) };
            let at = (x.min(plot.right() - 1), y.min(plot.bottom() - 1));
            frame.buffer_mut().set_string(at.0, at.1, glyph, scene.theme.style(role));
        }
    }
}

/// The number over the whole run, at as many steps as there are dots.
fn points(scene: Scene, config: &Config, number: usize, dots: u64) -> Vec<(f64, f64)> {
    let (steps, now) = (u128::from(config.run.steps.max(1)), scene.state.step_now());
    (0..=dots)
        .map(|dot| (steps * u128::from(dot) / u128::from(dots.max(1))) as u64)
        .filter_map(|step| Some((step as f64, scene.state.eras.at(number, step, now)?)))
        .filter(|(_, value)| value.is_finite())
        .collect()
}

fn draw_names(
    frame: &mut Frame,
    area: Rect,
    scene: Scene,
    (number, selected): (usize, bool),
    draft: Option<&Draft>,
    top: f64,
) {
    let (now, focused) = (scene.state.step_now(), scene.view.focus == Panel::Schedule);
    let at = scene.view.charts.cross.unwrap_or(now);
    let value = match draft {
        Some(draft) => Some(draft.knot().1),
        None => scene.state.eras.at(number, at, now),
    };
    let value = value.map_or_else(|| "a mixture".into(), text::setting);
    let mark = if selected && focused { "›" } else { " " };
    let role = if selected && focused { Role::Focus } else { role(number) };
    let name = short_name(numbers()[number].key);
    let buffer = frame.buffer_mut();
    let mut line = |index: u16, line: Line| {
        if index < area.height {
            buffer.set_line(area.x.saturating_sub(1), area.y + index, &line, GUTTER);
        }
    };
    if area.height == 1 {
        let name = text::clip(&name, 5);
        let value = scene.span(Role::Value, text::clip(&value, 6));
        line(0, Line::from(vec![scene.span(role, format!("{mark}{name:<5} ")), value]));
        return;
    }
    line(0, Line::from(scene.span(role, format!("{mark}{}", text::clip(&name, 11)))));
    line(1, Line::from(scene.span(Role::Value, format!(" {value}"))));
    if area.height > 3 {
        line(2, scene.span(Role::Dim, format!(" 0 … {}", text::setting(top))).into());
    }
}

/// Column of `step` in `area`: that of the raster's dots.
fn column(area: Rect, step: u64, steps: u64) -> u16 {
    let share = (step as f64 / steps.max(1) as f64).min(1.0);
    area.x + (share * f64::from((area.width * 2).saturating_sub(1))).round() as u16 / 2
}

/// The marker of the present step, and that of the one that is read, behind the curves.
fn draw_now(frame: &mut Frame, area: Rect, scene: Scene, config: &Config) {
    let steps =
        [(Some(scene.state.step_now()), "┊", Role::Name), (scene.view.charts.cross, "│", Role::Cross)];
    for (step, glyph, role) in steps {
        if let Some(step) = step {
            let x = column(area, step, config.run.steps);
            crate::tui::chart::upright(frame.buffer_mut(), area, x, glyph, scene.theme.style(role));
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
    // Near an end the present step stands alone.
    let end = area.right().saturating_sub(text::width(&last) as u16);
    if x > area.x {
        buffer.set_string(area.x, area.y, "0", dim);
    }
    if x < end {
        buffer.set_string(end, area.y, &last, dim);
    }
    buffer.set_string(x, area.y, "▲", scene.theme.style(Role::Value));
}
