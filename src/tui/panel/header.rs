//! Owns: the run in two lines, panel 1.
//! Must not know: the terminal, keys.
//! Invariant: at 60 columns phase, step, ETA and speed are still there.
//!
//! ```text
//! ╭ 1 run ───────────────────────────────────────────────────────────────╮
//! │ ● training  prosqa  step 1,234 / 2,000 ━━━━━━━━━━────── 62 %  ETA 1m │
//! │ 12.3k tokens/s · of peak 38% · lr 8.1e-4 · grad norm 0.831 · cuda:0  │
//! ╰──────────────────────────────────────────────────────────────────────╯
//! ```

use super::{Part, Scene, fit, framed};
use crate::message::Phase;
use crate::record::registry::Metric;
use crate::tui::state::{End, Series};
use crate::tui::theme::Role;
use crate::tui::view::Panel;
use crate::tui::{layout, text};
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::{Line, Span};
use std::time::Duration;

/// Draws the two lines, framed where there is room for a frame.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let within = if area.height >= 4 {
        let none = Line::default;
        framed(frame, area, scene, Panel::Run, none(), none()).inner(Margin::new(1, 0))
    } else {
        unframed(frame, area, scene)
    };
    let (first, second) = (layout::line(within, 0), layout::line(within, 1));
    let figures = fit(scene, figures(scene, second.width), " · ", usize::from(second.width));
    frame.render_widget(progress(scene, first.width), first);
    frame.render_widget(figures, second);
}

/// Draws the panel's number and name at the left; returns what is beside them.
fn unframed(frame: &mut Frame, area: Rect, scene: Scene) -> Rect {
    let focused = scene.view.focus == Panel::Run;
    let role = if focused { Role::Focus } else { Role::Dim };
    let title = format!(" {} {}  ", Panel::Run.key(), Panel::Run.name());
    let wide = text::width(&title) as u16;
    frame.render_widget(scene.span(role, title), layout::line(area, 0));
    Rect { x: area.x + wide, width: area.width.saturating_sub(wide + 1), ..area }
}

/// What the trainer does: a glyph, a word, and how that is to be taken.
pub fn phase(scene: Scene) -> (&'static str, &'static str, Role) {
    match (&scene.live.end, scene.live.phase) {
        (End::Failed(_), _) => ("✗", "failed", Role::Bad),
        (End::Finished(summary), _) if summary.stopped => ("■", "stopped", Role::Good),
        (End::Finished(_), _) => ("✓", "finished", Role::Good),
        (End::Gone, _) => ("■", "stopped", Role::Warn),
        _ if scene.view.stopping => ("■", "stopping", Role::Warn),
        (_, None) => ("○", "starting", Role::Dim),
        (_, Some(Phase::Data)) => ("○", "preparing data", Role::Warn),
        (_, Some(Phase::Build)) => ("○", "building", Role::Warn),
        (_, Some(Phase::Compile)) => ("○", "compiling", Role::Warn),
        (_, Some(Phase::Train)) => ("●", "training", Role::Good),
        (_, Some(Phase::Eval)) => ("◆", "validating", Role::Good),
        (_, Some(Phase::Save)) => ("◆", "saving", Role::Good),
        (_, Some(Phase::Paused)) => ("‖", "paused", Role::Warn),
    }
}

/// Phase and step at the left, ETA at the right, a gauge over what lies between.
pub fn progress(scene: Scene, width: u16) -> Line<'static> {
    let (glyph, word, role) = phase(scene);
    let mut left = vec![scene.span(role, format!("{glyph} {word}"))];
    if scene.view.frozen.is_some() {
        left.push(scene.span(Role::Key, " frozen"));
    }
    let Some(steps) = scene.state.steps() else {
        return Line::from(left);
    };
    let (step, share) = (scene.state.step_now(), share_done(scene));
    if let Some(run) = scene.state.run.as_ref().filter(|_| width >= 70) {
        left.push(scene.span(Role::Value, format!("  {}", text::clip(&run.config.run.name, 24))));
    }
    left.push(scene.span(Role::Name, "  step "));
    left.push(scene.span(Role::Value, text::count(step)));
    left.push(scene.span(Role::Name, format!(" / {} ", text::count(steps))));
    let right =
        vec![scene.span(Role::Value, format!(" {:3.0}%", share * 100.0)), scene.span(Role::Name, eta(scene))];
    let used: usize = left.iter().chain(&right).map(Span::width).sum();
    left.extend(gauge(scene, usize::from(width).saturating_sub(used), share));
    left.extend(right);
    Line::from(left)
}

fn share_done(scene: Scene) -> f64 {
    let steps = scene.state.steps().unwrap_or(0).max(1);
    (scene.state.step_now() as f64 / steps as f64).min(1.0)
}

/// A gauge of `cells` cells.
pub fn gauge(scene: Scene, cells: usize, share: f64) -> [Span<'static>; 2] {
    let full = (share.clamp(0.0, 1.0) * cells as f64) as usize;
    [scene.span(Role::Good, "━".repeat(full)), scene.span(Role::Frame, "─".repeat(cells - full))]
}

fn eta(scene: Scene) -> String {
    if scene.state.is_over() {
        return String::new();
    }
    match scene.state.eta() {
        Some(left) => format!("  ETA {:>7}", text::duration(left)),
        None => "  ETA       –".into(),
    }
}

/// The figures of the second line, with how dispensable each is.
fn figures(scene: Scene, width: u16) -> Vec<Part> {
    let mut parts = if scene.state.is_preparing() { Vec::new() } else { metrics(scene) };
    if scene.live.dropped > 0 {
        let text = format!("{} frames dropped", text::count(scene.live.dropped));
        parts.push(scene.part(0, Role::Warn, text));
    }
    if scene.state.version() > 0 {
        parts.push(scene.named(2, "config", format!("v{}", scene.state.version())));
    }
    if let Some(run) = &scene.state.run {
        let folder = run.folder.display().to_string();
        parts.push((2, device(scene, &run.device, width)));
        parts.push(scene.part(7, Role::Name, text::clip(&folder, 60)));
    }
    parts
}

/// The device, how busy it is and how much of its memory is taken.
fn device(scene: Scene, name: &str, width: u16) -> Vec<Span<'static>> {
    // Where it is narrow, what it is must do without which it is.
    let short = name.split([',', '(']).next().unwrap_or(name).trim_end();
    let name = if width < 100 { text::clip(short, 16) } else { text::clip(name, 40) };
    let mut spans = vec![scene.span(Role::Value, name)];
    let Some(system) = &scene.state.system else { return spans };
    let (load, used, all) = match &system.gpu {
        Some(gpu) => (gpu.load * 100.0, gpu.memory_used_bytes, gpu.memory_bytes),
        None => {
            let load = system.machine_cpu / system.cores.max(1) as f64 * 100.0;
            (load, system.memory_used_bytes, system.memory_bytes)
        }
    };
    let memory = match width {
        0..100 => format!(" {load:.0}%, {}", text::bytes(used)),
        _ => format!(" {load:.0}%, {} of {}", text::bytes(used), text::bytes(all)),
    };
    spans.push(scene.span(Role::Name, memory));
    spans
}

fn metrics(scene: Scene) -> Vec<Part> {
    let latest = |metric| scene.state.latest.get(metric);
    let named = |rank, metric: Metric| {
        let value = latest(metric).map_or_else(|| "–".into(), |value| text::value(metric, value));
        scene.named(rank, &text::label(metric), value)
    };
    let counted = |rank, metric: Metric, value: Option<f64>| {
        let value = scene.span(Role::Value, value.map_or_else(|| "–".into(), text::short));
        let unit = scene.span(Role::Name, format!(" {}", metric.spec().unit));
        (rank, vec![value, unit])
    };
    let mut parts = vec![
        counted(0, Metric::TokensPerS, scene.state.speed.get()),
        counted(4, Metric::Tokens, latest(Metric::Tokens)),
        named(1, Metric::Lr),
        named(1, Metric::GradNorm),
        named(5, Metric::Epoch),
    ];
    // One step's share jumps as its time does.
    let share = scene.state.history(Series::Of(Metric::ShareOfPeak)).smoothed_at(u64::MAX, 0.9);
    if let Some(share) = share {
        parts.insert(1, scene.named(3, "of peak", format!("{:.0}%", share * 100.0)));
    }
    let wall = latest(Metric::WallS).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    if let Some(wall) = wall {
        parts.push(scene.named(6, "elapsed", text::duration(wall)));
    }
    parts
}
