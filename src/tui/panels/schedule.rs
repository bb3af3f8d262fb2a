//! Owns: the schedule panel, 3: the live numeric settings over the steps, past and planned, and the edit in progress.
//! Must not know: the terminal, keys, what a setting does.
//! Invariant: past steps show the values that applied then; future steps show the current config, evaluated
//! as the trainer does.
//!
//! ```text
//! ╭ 3 schedule every 4 steps, next 1,236 ─────────────────────╮
//! │ probability          ⢀⣀⠤⠤⠒⠊⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉ │
//! │ 0.833          ⣀⡠⠤⠒⠊⠉⠁                ┊                   │
//! │ 0 … 1        ⠒⠉⠁                      ┊                   │
//! │                                       ┊                   │
//! │›lr             ⢠⠊⠉⠉⠉⠉⠉⠉⠉⠑⠒⠒⠒⠒⠒⠤⠤⠤⠤⢄⣀⣀⣀┊                   │
//! │ 7.8e-4        ⢠⠃                      ┊⠉⠉⠒⠒⠒⠤⠤⣀⣀⣀         │
//! │ 0 … 1e-3     ⡰⠁                       ┊          ⠉⠉⠒⠒⠤⠤⣀⣀ │
//! │ step (▲ now) 0                        ▲             2,000 │
//! ╰────────────────────────────────────── lr peak 1e-3 → 9e-4 ╯
//! ```

use super::measured_rows::{LABEL_CELLS, draw_measured, measured_rows};
use super::{RenderContext, draw_frame};
use crate::config::{self, Config, ConfigKey, ObjectiveKind, WorkDone};
use crate::schema::metrics::Metric;
use crate::schema::rows::ChangeOutcome;
use crate::tui::app::draft::{SentEdit, SettingDraft};
use crate::tui::app::panel_id::Panel;
use crate::tui::model::config_history;
use crate::tui::model::config_history::{is_lr, numeric_settings};
use crate::tui::plot::raster::{AxisWindow, Dash, Raster};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;

const MAX_ROWS: u16 = 4;
/// How many settings are visible at least, if there is room for a line each.
const MIN_VISIBLE: u16 = 4;

/// Draws the settings below each other over one axis of steps.
pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let config = ctx.state.run.as_ref().map(|run| &run.config);
    let measured = config.map_or_else(Vec::new, |config| measured_rows(ctx, config));
    // The border takes two lines.
    let layout = RowLayout::new(area.height.saturating_sub(2), measured.len());
    let mut subtitle = config.map_or_else(Line::default, |config| recycle_interval(ctx, config));
    if layout.measured < measured.len() {
        subtitle.push_span(ctx.span(Role::Dim, format!(", {} rows hidden", measured.len() - layout.measured)));
    }
    let within = draw_frame(frame, area, ctx, Panel::Schedule, subtitle, edit_status(ctx, area.width));
    let within = within.inner(Margin::new(1, 0));
    let Some(config) = config else { return };
    if within.width < LABEL_CELLS + 4 || within.height < MIN_VISIBLE {
        return;
    }
    let used = config_history::settings_in_use(config);
    let RowLayout { height, axis, setting_lines: rows, measured_lines: lines, .. } = layout;
    for (number, row) in measured[..layout.measured].iter().enumerate() {
        let area = Rect { y: within.y + number as u16 * lines, height: lines, ..within };
        draw_measured(frame, area, ctx, row);
    }
    let measured_height = layout.measured as u16 * lines;
    let settings = Rect { y: within.y + measured_height, ..within };
    let shown = usize::from((height - measured_height) / rows).min(used.len());
    let selected = ctx.view.selected_setting.min(used.len().saturating_sub(1));
    let first = selected.saturating_sub(shown.saturating_sub(1)).min(used.len() - shown);
    for (line, number) in used[first..first + shown].iter().enumerate() {
        let area = Rect { y: settings.y + line as u16 * rows, height: rows, ..within };
        draw_setting(frame, area, ctx, config, *number, first + line == selected);
    }
    let height = measured_height + rows * shown as u16;
    let curves = Rect { x: within.x + LABEL_CELLS, width: within.width - LABEL_CELLS, height, ..within };
    draw_step_lines(frame, curves, ctx);
    if axis {
        draw_axis(frame, Rect { y: within.bottom() - 1, height: 1, ..curves }, ctx);
    }
}

/// How the lines of the panel are divided.
struct RowLayout {
    /// Lines without the axis.
    height: u16,
    axis: bool,
    setting_lines: u16,
    /// Lines of a measured row: fewer than of a setting, if need be.
    measured_lines: u16,
    /// Number of measured rows that leave room for a setting.
    measured: usize,
}

impl RowLayout {
    fn new(lines: u16, measured: usize) -> Self {
        let axis = lines >= 9;
        let height = lines - u16::from(axis);
        let setting_lines = (height / MIN_VISIBLE).clamp(1, MAX_ROWS);
        let room = height.saturating_sub(setting_lines);
        let measured_lines = (room / (measured as u16).max(1)).clamp(1, setting_lines);
        let fit = usize::from(room / measured_lines).min(measured);
        Self { height, axis, setting_lines, measured_lines, measured: fit }
    }
}

/// Returns when the run recycles; for a curriculum its method and stage, with rewards the rollouts of an update.
fn recycle_interval(ctx: RenderContext, config: &Config) -> Line<'static> {
    if config.objective.kind == ObjectiveKind::Curriculum {
        let method: &str = config.objective.method.into();
        let stage = ctx.state.metrics.latest(Metric::Stage).map_or(String::new(), |stage| format!(", stage {stage}"));
        return Line::from(ctx.span(Role::Name, format!("{method}{stage}")));
    }
    if config.objective.kind == ObjectiveKind::Rl {
        let (loss, rl): (&str, _) = (config.rl.loss_type.into(), &config.rl);
        let rollouts = ctx.span(Role::Name, format!("{} × {} rollouts", rl.prompts, rl.num_generations));
        return Line::from(vec![rollouts, ctx.span(Role::Name, format!(", {loss}"))]);
    }
    let every = config.recycle.every;
    let next = (ctx.state.current_step() / every.max(1) + 1) * every;
    let (text, then) = match every {
        0 => ("recycling off".into(), String::new()),
        1 => ("every step".into(), String::new()),
        _ if next > ctx.state.expected_steps() => (format!("every {every} steps"), String::new()),
        _ => (format!("every {every} steps"), format!(", next {}", text::with_separators(next))),
    };
    Line::from(vec![ctx.span(Role::Name, text), ctx.span(Role::Dim, then)])
}

/// Returns the state of an edit: in progress, requested, applied or refused.
fn edit_status(ctx: RenderContext, width: u16) -> Line<'static> {
    let room = usize::from(width.saturating_sub(4));
    let status = match (&ctx.view.draft, &ctx.view.sent_edit) {
        (Some(draft), _) => (Role::Key, draft_text(ctx, draft)),
        (None, Some(sent)) => sent_edit_status(ctx, sent),
        _ => return Line::default(),
    };
    Line::from(ctx.span(status.0, format!(" {} ", text::clip(&status.1, room))))
}

/// Returns the edit in progress: the old and the new value, and which knot of a curve is edited.
fn draft_text(ctx: RenderContext, draft: &SettingDraft) -> String {
    let (step, value) = draft.selected_knot();
    let now = ctx.state.config_history.current().and_then(|era| era.curves[draft.setting_index].clone());
    let was = now.map_or(0.0, |curve| curve.value_at(step));
    let at = match draft.knots.len() {
        1 => String::new(),
        knots => format!(" at {} (◆ {} of {knots})", text::with_separators(step), draft.knot_index + 1),
    };
    let name = short_name(draft.setting()) + if is_lr(draft.setting()) { " peak" } else { "" };
    format!("{name} {} → {}{at}", text::setting_value(was), text::setting_value(value))
}

fn sent_edit_status(ctx: RenderContext, sent: &SentEdit) -> (Role, String) {
    let state = ctx.state;
    let since = state.changes.total().saturating_sub(sent.changes_before) as usize;
    let answer = state.changes.iter().rev().take(since).find(|row| {
        row.key.as_deref() == Some(&sent.key) || (row.key.is_none() && row.outcome == ChangeOutcome::Refused)
    });
    let name = sent.key.rsplit('.').next().unwrap_or_default();
    match answer {
        Some(row) if row.outcome == ChangeOutcome::Applied => {
            (Role::Good, format!("✓ applied from step {}: {name} {}", text::with_separators(row.step), sent.value))
        }
        Some(row) => (Role::Bad, format!("✗ {name} refused: {}", row.reason.clone().unwrap_or_default())),
        None if is_current(ctx, sent) => (Role::Good, format!("✓ {name} is already {}", sent.value)),
        None => (Role::Warn, format!("… requested: {name} {}", sent.value)),
    }
}

/// Returns whether the requested value is the current one. The trainer does not answer such a request.
fn is_current(ctx: RenderContext, sent: &SentEdit) -> bool {
    let config = ctx.state.run.as_ref().map(|run| &run.config);
    let key = Config::find_key(&sent.key);
    config.zip(key).is_some_and(|(config, key)| config.value(key).to_string() == sent.value)
}

/// Returns the name of a key, with its section unless that is `recycle`, `optim` or `rl`.
fn short_name(key: &ConfigKey) -> String {
    match key.section {
        "recycle" | "optim" | "rl" => key.name.to_owned(),
        "dropout" => format!("drop {}", key.name),
        section => format!("{section}.{}", key.name),
    }
}

/// Draws one setting: its name and value, its past and planned curve, and the draft.
fn draw_setting(frame: &mut Frame, area: Rect, ctx: RenderContext, config: &Config, number: usize, selected: bool) {
    // Leaves a free line before the next setting if there is room.
    let plot = Rect {
        x: area.x + LABEL_CELLS,
        width: area.width - LABEL_CELLS,
        height: area.height.saturating_sub(u16::from(area.height > 3)),
        ..area
    };
    let (steps, done) = (ctx.state.expected_steps().max(1), ctx.state.metrics.work_done());
    let draft = ctx.view.draft.as_ref().filter(|draft| draft.setting_index == number);
    let points = setting_points(ctx, number, u64::from(plot.width) * 2);
    let highest = draft.map_or(0.0, |draft| draft.knots.iter().map(|knot| knot.1).fold(0.0, f64::max));
    let top = points.iter().map(|(_, value)| *value).fold(highest, f64::max);
    let window = AxisWindow { x: (0.0, steps as f64), y: (0.0, if top > 0.0 { top } else { 1.0 }) };
    let mut raster = Raster::new(plot, window);
    // The cell of the current step belongs to the past, because a cell has one style.
    let now = step_column(plot, ctx.state.current_step(), steps);
    let cell = |step: f64| step_column(plot, step as u64, steps);
    let future = points.iter().filter(|point| cell(point.0) >= now).copied().map(Some);
    raster.draw_curve(future, ctx.theme.style(Role::Dim), Dash::Solid);
    let past = points.iter().filter(|point| cell(point.0) <= now).copied().map(Some);
    raster.draw_curve(past, ctx.theme.style(curve_role(number)), Dash::Solid);
    if let Some(curve) = draft.and_then(SettingDraft::to_curve) {
        let planned = (0..=u64::from(plot.width) * 2)
            .map(|dot| steps * dot / (u64::from(plot.width) * 2).max(1))
            .map(|step| Some((step as f64, drafted_value(config, number, curve.value_at(step), step, &done))));
        raster.draw_curve(planned, ctx.theme.style(Role::Key), Dash::Dashed);
    }
    raster.render(frame.buffer_mut());
    if let Some(draft) = draft {
        draw_knots(frame, plot, ctx, &raster, draft, steps);
    }
    draw_labels(frame, area, ctx, (number, selected), draft, top);
}

/// Returns a drafted `value` at `step`. The draft of the learning rate is the peak of its schedule.
fn drafted_value(config: &Config, number: usize, value: f64, step: u64, done: &WorkDone) -> f64 {
    if !is_lr(numeric_settings()[number]) {
        return value;
    }
    config::Optim { lr: value, ..config.optim.clone() }.lr_at(step, config.run.expected_steps(done))
}

/// Returns the style of a setting's curve, by the section of its key.
fn curve_role(number: usize) -> Role {
    match numeric_settings()[number].section {
        "recycle" => Role::Recycled,
        "optim" => Role::Lr,
        _ => Role::Plain,
    }
}

/// Draws the knots of a draft: `◆` the selected one, `◇` the others.
fn draw_knots(frame: &mut Frame, plot: Rect, ctx: RenderContext, raster: &Raster, draft: &SettingDraft, steps: u64) {
    for (index, (step, value)) in draft.knots.iter().enumerate() {
        if let Some((x, y)) = raster.cell_of((*step).min(steps) as f64, *value) {
            let (glyph, role) = if index == draft.knot_index { ("◆", Role::Cursor) } else { ("◇", Role::Key) };
            let at = (x.min(plot.right() - 1), y.min(plot.bottom() - 1));
            frame.buffer_mut().set_string(at.0, at.1, glyph, ctx.theme.style(role));
        }
    }
}

/// Returns the finite `(step, value)` of a setting over the whole run, at one step per dot.
fn setting_points(ctx: RenderContext, number: usize, dots: u64) -> Vec<(f64, f64)> {
    let (steps, done) = (u128::from(ctx.state.expected_steps().max(1)), ctx.state.metrics.work_done());
    (0..=dots)
        .map(|dot| (steps * u128::from(dot) / u128::from(dots.max(1))) as u64)
        .filter_map(|step| Some((step as f64, ctx.state.config_history.value_at(number, step, &done)?)))
        .filter(|(_, value)| value.is_finite())
        .collect()
}

/// Draws the name, the value and the range of a setting, left of its curve.
fn draw_labels(
    frame: &mut Frame,
    area: Rect,
    ctx: RenderContext,
    (number, selected): (usize, bool),
    draft: Option<&SettingDraft>,
    top: f64,
) {
    let (now, focused) = (ctx.state.current_step(), ctx.view.panels.focus == Panel::Schedule);
    let at = ctx.view.charts.cursor.unwrap_or(now);
    let value = match draft {
        Some(draft) => Some(draft.selected_knot().1),
        None => ctx.state.config_history.value_at(number, at, &ctx.state.metrics.work_done()),
    };
    let value = value.map_or_else(|| "a mixture".into(), text::setting_value);
    let mark = if selected && focused { "›" } else { " " };
    let role = if selected && focused { Role::Focus } else { curve_role(number) };
    let name = short_name(numeric_settings()[number]);
    let buffer = frame.buffer_mut();
    let mut line = |index: u16, line: Line| {
        if index < area.height {
            buffer.set_line(area.x.saturating_sub(1), area.y + index, &line, LABEL_CELLS);
        }
    };
    if area.height == 1 {
        let name = text::clip(&name, 5);
        let value = ctx.span(Role::Value, text::clip(&value, 6));
        line(0, Line::from(vec![ctx.span(role, format!("{mark}{name:<5} ")), value]));
        return;
    }
    line(0, Line::from(ctx.span(role, format!("{mark}{}", text::clip(&name, 11)))));
    line(1, Line::from(ctx.span(Role::Value, format!(" {value}"))));
    if area.height > 3 {
        line(2, ctx.span(Role::Dim, format!(" 0 … {}", text::setting_value(top))).into());
    }
}

/// Returns the column of `step` in `area`, the same as that of the raster's dots.
fn step_column(area: Rect, step: u64, steps: u64) -> u16 {
    let share = (step as f64 / steps.max(1) as f64).min(1.0);
    area.x + (share * f64::from((area.width * 2).saturating_sub(1))).round() as u16 / 2
}

/// Draws vertical lines at the current step and at the cursor, behind the curves.
fn draw_step_lines(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let steps = [(Some(ctx.state.current_step()), "┊", Role::Name), (ctx.view.charts.cursor, "│", Role::Cursor)];
    for (step, glyph, role) in steps {
        if let Some(step) = step {
            let x = step_column(area, step, ctx.state.expected_steps());
            crate::tui::plot::chart::draw_vertical_line(frame.buffer_mut(), area, x, glyph, ctx.theme.style(role));
        }
    }
}

fn draw_axis(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let last = text::with_separators(ctx.state.expected_steps());
    let x = step_column(area, ctx.state.current_step(), ctx.state.expected_steps());
    let dim = ctx.theme.style(Role::Dim);
    let buffer = frame.buffer_mut();
    buffer.set_string(area.x - LABEL_CELLS, area.y, "step (▲ now)", dim);
    // The labels of the ends give way to the current step.
    let end = area.right().saturating_sub(text::width(&last) as u16);
    if x > area.x {
        buffer.set_string(area.x, area.y, "0", dim);
    }
    if x < end {
        buffer.set_string(end, area.y, &last, dim);
    }
    buffer.set_string(x, area.y, "▲", ctx.theme.style(Role::Value));
}
