//! Owns: what stands in the charts' place before the first step: what is being waited for.
//! Must not know: the terminal, keys.
//! Invariant: something moves as long as the dashboard lives; an error is shown whole.
//!
//! ```text
//! ╭──────────────────────────────────────────────────────────────╮
//! │                    ⠹ preparing the data                      │
//! │                                                              │
//! │         ━━━━━━━━━━━━━━━━━━━━──────────────────────  48%      │
//! │                  5,760 of 12,000 records                     │
//! ╰──────────────────────────────────────────────────────────────╯
//! ```

use super::{Scene, header};
use crate::message::Phase;
use crate::tui::state::{End, Progress};
use crate::tui::theme::Role;
use crate::tui::{layout, text};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Paragraph};

/// Milliseconds a frame of the spinner stands.
pub const SPINNER_MS: u64 = 120;
const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// Draws what is waited for in the middle of `area`.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let block =
        Block::bordered().border_type(BorderType::Rounded).border_style(scene.theme.style(Role::Frame));
    let within = block.inner(area);
    frame.render_widget(block, area);
    let width = (within.width * 3 / 4).min(100);
    let lines = lines(scene, usize::from(width));
    let middle = layout::centered(within, width, lines.len() as u16);
    frame.render_widget(Paragraph::new(lines).centered(), middle);
}

fn lines(scene: Scene, width: usize) -> Vec<Line<'static>> {
    if let End::Failed(error) = &scene.state.end {
        let mut lines = vec![
            Line::from(scene.span(Role::Bad, "✗ the run failed before its first step")),
            Line::default(),
        ];
        lines.extend(
            text::wrap(error, width).into_iter().map(|line| Line::from(scene.span(Role::Value, line))),
        );
        return lines;
    }
    let (glyph, what, why) = waited_for(scene);
    let mut lines = vec![
        Line::from(vec![scene.span(Role::Key, glyph), scene.span(Role::Value, format!(" {what}"))]),
        Line::default(),
    ];
    match &scene.state.progress {
        Some(progress) => lines.extend(gauge_lines(scene, progress, width)),
        None => lines.push(Line::from(scene.span(Role::Dim, why))),
    }
    lines
}

/// The spinner's present frame (nothing turns once the run is over), what is waited for, and why it may take long.
fn waited_for(scene: Scene) -> (&'static str, &'static str, &'static str) {
    let turn = (scene.state.now.as_millis() as u64 / SPINNER_MS) as usize;
    let spinner = SPINNER[turn % SPINNER.len()];
    let kernels = "on a GPU the first steps compile kernels";
    if scene.state.is_over() {
        return (header::phase(scene).0, "the run is over; no step was done", "");
    }
    match scene.state.phase {
        None => (spinner, "waiting for the trainer", ""),
        Some(Phase::Data) => {
            (spinner, "preparing the data", "a dataset is made once, then opened in no time")
        }
        Some(Phase::Build) => (spinner, "building the model", kernels),
        Some(Phase::Compile) => {
            (spinner, "compiling and tuning kernels", "once; the steps after it take no time for it")
        }
        Some(Phase::Train) => (spinner, "the first step", kernels),
        Some(Phase::Eval) => (spinner, "validating before the first step", kernels),
        Some(Phase::Save) => (spinner, "writing a checkpoint", ""),
        Some(Phase::Paused) => ("‖", "paused before the first step", ""),
    }
}

fn gauge_lines(scene: Scene, progress: &Progress, width: usize) -> Vec<Line<'static>> {
    let what = text::clip(&progress.what, width / 2);
    if progress.total == 0 {
        let text = format!("{} {what}", text::count(progress.done));
        return vec![Line::from(scene.span(Role::Name, text))];
    }
    let share = (progress.done as f64 / progress.total as f64).min(1.0);
    let mut gauge = Line::from(header::gauge(scene, width.saturating_sub(6), share).to_vec());
    gauge.push_span(scene.span(Role::Value, format!(" {:4.0}%", share * 100.0)));
    let text = format!("{} of {} {what}", text::count(progress.done), text::count(progress.total));
    vec![gauge, Line::from(scene.span(Role::Name, text))]
}
