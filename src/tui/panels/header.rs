//! Owns: the run panel, 1, in two lines: phase, progress and the most important figures.
//! Must not know: the terminal, keys.
//! Invariant: phase, step, ETA and speed are shown even at 60 columns.
//!
//! ```text
//! ╭ 1 run ───────────────────────────────────────────────────────────────╮
//! │ ● training  prosqa  step 1,234 / 2,000 ━━━━━━━━━━────── 62 %  ETA 1m │
//! │ 12.3k tokens/s · of peak 38% · lr 8.1e-4 · grad norm 0.831 · cuda:0  │
//! ╰──────────────────────────────────────────────────────────────────────╯
//! ```

use super::{LinePart, RenderContext, draw_frame, fit_line};
use crate::schema::metrics::Metric;
use crate::schema::protocol::RunPhase;
use crate::schema::run_list::run_name;
use crate::tui::app::layout;
use crate::tui::app::panel_id::Panel;
use crate::tui::model::metrics::Series;
use crate::tui::model::state::TrainerStatus;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::{Line, Span};
use std::time::Duration;

/// Draws the two lines, with a frame if there is room for one.
pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let within = if area.height >= 4 {
        let none = Line::default;
        draw_frame(frame, area, ctx, Panel::Run, none(), none()).inner(Margin::new(1, 0))
    } else {
        draw_inline_title(frame, area, ctx)
    };
    let (first, second) = (layout::line_area(within, 0), layout::line_area(within, 1));
    let figures = fit_line(ctx, figure_parts(ctx, second.width), " · ", usize::from(second.width));
    frame.render_widget(progress_line(ctx, first.width), first);
    frame.render_widget(figures, second);
}

/// Draws the panel's number and name at the left. Returns the area to the right of them.
fn draw_inline_title(frame: &mut Frame, area: Rect, ctx: RenderContext) -> Rect {
    let focused = ctx.view.panels.focus == Panel::Run;
    let role = if focused { Role::Focus } else { Role::Dim };
    let title = format!(" {} {}  ", Panel::Run.key(), Panel::Run.name());
    let wide = text::width(&title) as u16;
    frame.render_widget(ctx.span(role, title), layout::line_area(area, 0));
    Rect { x: area.x + wide, width: area.width.saturating_sub(wide + 1), ..area }
}

/// Returns the glyph, the name and the style of the trainer's phase.
pub fn phase_label(ctx: RenderContext) -> (&'static str, &'static str, Role) {
    match (&ctx.live.status, ctx.live.phase) {
        (TrainerStatus::Failed(_), _) => ("✗", "failed", Role::Bad),
        (TrainerStatus::Finished(summary), _) if summary.stopped_early => ("■", "stopped", Role::Good),
        (TrainerStatus::Finished(_), _) => ("✓", "finished", Role::Good),
        (TrainerStatus::Disconnected, _) => ("■", "stopped", Role::Warn),
        _ if ctx.view.stopping => ("■", "stopping", Role::Warn),
        (_, None) => ("○", "starting", Role::Dim),
        (_, Some(RunPhase::LoadData)) => ("○", "preparing data", Role::Warn),
        (_, Some(RunPhase::BuildModel)) => ("○", "building", Role::Warn),
        (_, Some(RunPhase::Compile)) => ("○", "compiling", Role::Warn),
        (_, Some(RunPhase::Train)) => ("●", "training", Role::Good),
        (_, Some(RunPhase::Eval)) => ("◆", "validating", Role::Good),
        (_, Some(RunPhase::Save)) => ("◆", "saving", Role::Good),
        (_, Some(RunPhase::Paused)) => ("‖", "paused", Role::Warn),
    }
}

/// Returns the first line: phase and step at the left, ETA at the right, and a progress bar between them.
pub fn progress_line(ctx: RenderContext, width: u16) -> Line<'static> {
    let (glyph, word, role) = phase_label(ctx);
    let mut left = vec![ctx.span(role, format!("{glyph} {word}"))];
    if ctx.view.frozen.is_some() {
        left.push(ctx.span(Role::Key, " frozen"));
    }
    let Some(steps) = ctx.state.total_steps() else {
        return Line::from(left);
    };
    let (step, share) = (ctx.state.current_step(), fraction_done(ctx));
    if let Some(run) = ctx.state.run.as_ref().filter(|_| width >= 70) {
        left.push(ctx.span(Role::Value, format!("  {}", text::clip(&run_name(run), 24))));
    }
    left.push(ctx.span(Role::Name, "  step "));
    left.push(ctx.span(Role::Value, text::with_separators(step)));
    left.push(ctx.span(Role::Name, format!(" / {} ", text::with_separators(steps))));
    let right = vec![ctx.span(Role::Value, format!(" {:3.0}%", share * 100.0)), ctx.span(Role::Name, eta_text(ctx))];
    let used: usize = left.iter().chain(&right).map(Span::width).sum();
    left.extend(progress_bar(ctx, usize::from(width).saturating_sub(used), share));
    left.extend(right);
    Line::from(left)
}

fn fraction_done(ctx: RenderContext) -> f64 {
    let steps = ctx.state.total_steps().unwrap_or(0).max(1);
    (ctx.state.current_step() as f64 / steps as f64).min(1.0)
}

/// Returns a progress bar of `cells` cells, filled to the fraction `share` (0..=1).
pub fn progress_bar(ctx: RenderContext, cells: usize, share: f64) -> [Span<'static>; 2] {
    let full = (share.clamp(0.0, 1.0) * cells as f64) as usize;
    [ctx.span(Role::Good, "━".repeat(full)), ctx.span(Role::Frame, "─".repeat(cells - full))]
}

fn eta_text(ctx: RenderContext) -> String {
    if ctx.state.is_over() {
        return String::new();
    }
    match ctx.state.eta() {
        Some(remaining) => format!("  ETA {:>7}", text::duration(remaining)),
        None => "  ETA       –".into(),
    }
}

fn figure_parts(ctx: RenderContext, width: u16) -> Vec<LinePart> {
    let mut parts = if ctx.state.is_preparing() { Vec::new() } else { metric_parts(ctx) };
    if ctx.live.dropped_frames > 0 {
        let text = format!("{} frames dropped", text::with_separators(ctx.live.dropped_frames));
        parts.push(ctx.part(0, Role::Warn, text));
    }
    if ctx.state.config_version() > 0 {
        parts.push(ctx.named_part(2, "config", format!("v{}", ctx.state.config_version())));
    }
    if let Some(run) = &ctx.state.run {
        let folder = run.folder.display().to_string();
        parts.push((2, device_spans(ctx, &run.device, width)));
        parts.push(ctx.part(7, Role::Name, text::clip(&folder, 60)));
    }
    parts
}

/// Returns the device, its load in percent, and the memory in use.
fn device_spans(ctx: RenderContext, name: &str, width: u16) -> Vec<Span<'static>> {
    // A narrow line has the device's model without its index.
    let short = name.split([',', '(']).next().unwrap_or(name).trim_end();
    let name = if width < 100 { text::clip(short, 16) } else { text::clip(name, 40) };
    let mut spans = vec![ctx.span(Role::Value, name)];
    let Some(system) = &ctx.state.system else { return spans };
    let (load, used, total) = match &system.gpu {
        Some(gpu) => (gpu.load * 100.0, gpu.memory_used_bytes, gpu.memory_bytes),
        None => {
            let load = system.machine_cpu / system.cores.max(1) as f64 * 100.0;
            (load, system.memory_used_bytes, system.memory_bytes)
        }
    };
    let memory = match width {
        0..100 => format!(" {load:.0}%, {}", text::bytes(used)),
        _ => format!(" {load:.0}%, {} of {}", text::bytes(used), text::bytes(total)),
    };
    spans.push(ctx.span(Role::Name, memory));
    spans
}

fn metric_parts(ctx: RenderContext) -> Vec<LinePart> {
    let latest = |metric| ctx.state.metrics.latest(metric);
    let named = |rank, metric: Metric| {
        let value = latest(metric).map_or_else(|| "–".into(), |value| text::metric_value(metric, value));
        ctx.named_part(rank, &text::metric_label(metric), value)
    };
    let counted = |rank, metric: Metric, value: Option<f64>| {
        let value = ctx.span(Role::Value, value.map_or_else(|| "–".into(), text::abbreviated));
        let unit = ctx.span(Role::Name, format!(" {}", metric.spec().unit));
        (rank, vec![value, unit])
    };
    let mut parts =
        if ctx.state.is_rl() { vec![named(0, Metric::Reward), named(2, Metric::ValidAccuracy)] } else { Vec::new() };
    let speed_at = parts.len() + 1;
    parts.extend([
        counted(0, Metric::TokensPerS, ctx.state.tokens_per_s.get()),
        counted(4, Metric::Tokens, latest(Metric::Tokens)),
        named(1, Metric::Lr),
        named(1, Metric::GradNorm),
        named(5, Metric::Epoch),
    ]);
    // Smoothed, because the share of a single step fluctuates with its time.
    let share = ctx.state.history(Series::Metric(Metric::ShareOfPeak)).smoothed_at(u64::MAX, 0.9);
    if let Some(share) = share {
        parts.insert(speed_at, ctx.named_part(3, "peak share", format!("{:.0}%", share * 100.0)));
    }
    let wall = latest(Metric::WallS).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if let Some(wall) = wall {
        parts.push(ctx.named_part(6, "elapsed", text::duration(wall)));
    }
    parts
}
