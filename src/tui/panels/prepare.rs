//! Owns: the preparation screen, which replaces the charts before the first step.
//! Must not know: the terminal, keys.
//! Invariant: the spinner moves as long as the dashboard runs; an error is shown in full.
//!
//! ```text
//! ╭──────────────────────────────────────────────────────────────╮
//! │                    ⠹ preparing the data                      │
//! │                                                              │
//! │         ━━━━━━━━━━━━━━━━━━━━──────────────────────  48%      │
//! │                  5,760 of 12,000 records                     │
//! ╰──────────────────────────────────────────────────────────────╯
//! ```

use super::{RenderContext, header};
use crate::schema::protocol::RunPhase;
use crate::tui::app::layout;
use crate::tui::model::state::{PrepareProgress, TrainerStatus};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Paragraph};

/// How long a frame of the spinner is shown, in milliseconds.
pub const SPINNER_MS: u64 = 120;
const SPINNER_FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let block = Block::bordered().border_type(BorderType::Rounded).border_style(ctx.theme.style(Role::Frame));
    let within = block.inner(area);
    frame.render_widget(block, area);
    let width = (within.width * 3 / 4).min(100);
    let lines = lines(ctx, usize::from(width));
    let middle = layout::centered(within, width, lines.len() as u16);
    frame.render_widget(Paragraph::new(lines).centered(), middle);
}

fn lines(ctx: RenderContext, width: usize) -> Vec<Line<'static>> {
    if let TrainerStatus::Failed(error) = &ctx.state.status {
        let mut lines =
            vec![Line::from(ctx.span(Role::Bad, "✗ the run failed before its first step")), Line::default()];
        lines.extend(text::wrap(error, width).into_iter().map(|line| Line::from(ctx.span(Role::Value, line))));
        return lines;
    }
    let (glyph, task, why) = current_task(ctx);
    let mut lines =
        vec![Line::from(vec![ctx.span(Role::Key, glyph), ctx.span(Role::Value, format!(" {task}"))]), Line::default()];
    match &ctx.state.progress {
        Some(progress) => lines.extend(progress_lines(ctx, progress, width)),
        None => lines.push(Line::from(ctx.span(Role::Dim, why))),
    }
    lines
}

/// Returns the spinner (at rest after the run), the current task, and why it may take long.
fn current_task(ctx: RenderContext) -> (&'static str, &'static str, &'static str) {
    let frame = (ctx.state.now.as_millis() as u64 / SPINNER_MS) as usize;
    let spinner = SPINNER_FRAMES[frame % SPINNER_FRAMES.len()];
    let kernels = "on a GPU the first steps compile kernels";
    if ctx.state.is_over() {
        return (header::phase_label(ctx).0, "the run ended before its first step", "");
    }
    match ctx.state.phase {
        None => (spinner, "waiting for the trainer", ""),
        Some(RunPhase::LoadData) => (spinner, "preparing the data", "the dataset is built once and then reused"),
        Some(RunPhase::BuildModel) => (spinner, "building the model", kernels),
        Some(RunPhase::Compile) => {
            (spinner, "compiling and tuning kernels", "only once; later steps reuse the kernels")
        }
        Some(RunPhase::Train) => (spinner, "the first step", kernels),
        Some(RunPhase::Eval) => (spinner, "validating before the first step", kernels),
        Some(RunPhase::Save) => (spinner, "writing a checkpoint", ""),
        Some(RunPhase::Paused) => ("‖", "paused before the first step", ""),
    }
}

/// Returns the progress bar and the count of a preparation; only the count if the total is not known.
fn progress_lines(ctx: RenderContext, progress: &PrepareProgress, width: usize) -> Vec<Line<'static>> {
    let what = text::clip(&progress.label, width / 2);
    if progress.total == 0 {
        let text = format!("{} {what}", text::with_separators(progress.done));
        return vec![Line::from(ctx.span(Role::Name, text))];
    }
    let share = (progress.done as f64 / progress.total as f64).min(1.0);
    let mut gauge = Line::from(header::progress_bar(ctx, width.saturating_sub(6), share).to_vec());
    gauge.push_span(ctx.span(Role::Value, format!(" {:4.0}%", share * 100.0)));
    let text = format!("{} of {} {what}", text::with_separators(progress.done), text::with_separators(progress.total));
    vec![gauge, Line::from(ctx.span(Role::Name, text))]
}
