//! Owns: alerts and banners, the lines below the header.
//! Must not know: the terminal, keys.
//! Invariant: at most two lines, the most severe first; none if there is nothing to report.
//!
//! ```text
//!  ✗ training failed (r resumes, q quits): out of memory at step 812
//!  ! loss_plain_nats was NaN at step 811; 3 values were not finite so far
//! ```

use super::RenderContext;
use crate::schema::metrics::Metric;
use crate::schema::protocol::{AlertTopic, RunPhase, RunSummary};
use crate::tui::app::view::ViewState;
use crate::tui::model::state::{OpenAlert, TrainerStatus};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

const MAX_LINES: usize = 2;

/// Returns the notice lines, each with its style. A single notice may wrap to all lines.
pub fn lines(ctx: RenderContext, width: u16) -> Vec<(Role, String)> {
    let room = usize::from(width.saturating_sub(2));
    let notices = all_notices(ctx, room);
    let [(role, text)] = &notices[..] else {
        let clipped = |(role, text): (Role, String)| (role, text::clip(&text, room));
        return notices.into_iter().take(MAX_LINES).map(clipped).collect();
    };
    let mut lines = text::wrap(text, room);
    if lines.len() > MAX_LINES {
        let rest = lines.split_off(MAX_LINES - 1).concat();
        lines.push(text::clip(&rest, room));
    }
    lines.into_iter().map(|line| (*role, line)).collect()
}

fn all_notices(ctx: RenderContext, room: usize) -> Vec<(Role, String)> {
    let (state, view) = (ctx.live, ctx.view);
    let mut lines = match &state.status {
        TrainerStatus::Failed(error) => {
            vec![(Role::Bad, format!("✗ training failed (r resumes, {}): {error}", quit_text(view)))]
        }
        TrainerStatus::Finished(summary) => vec![finished_notice(summary, room)],
        TrainerStatus::Disconnected => vec![(Role::Warn, format!("■ stopped; {}", quit_text(view)))],
        TrainerStatus::Running if view.stopping => {
            let key = if view.watching { "q leaves" } else { "q shows other options" };
            vec![(Role::Warn, format!("■ stopping… waiting for the step and the checkpoint; {key}"))]
        }
        TrainerStatus::Running => Vec::new(),
    };
    lines.extend(open_alerts(ctx));
    match view.requested_pause {
        Some(true) => lines.push((Role::Warn, "‖ pausing after this step…".into())),
        Some(false) => lines.push((Role::Good, "● continuing…".into())),
        None if state.is_paused() => lines.push((Role::Warn, "‖ paused; space continues".into())),
        None => {}
    }
    if state.phase == Some(RunPhase::Compile) && !state.is_over() && !state.is_preparing() {
        lines.push((Role::Warn, "○ compiling and tuning kernels…".into()));
    }
    if let Some(panic) = state.panic.as_ref().filter(|_| !state.is_over()) {
        lines.push((Role::Bad, format!("✗ {panic}")));
    }
    if view.frozen.is_some() {
        let at = text::with_separators(ctx.state.current_step());
        lines.push((Role::Key, format!("display frozen at step {at}, training continues; f unfreezes")));
    }
    if let TrainerStatus::Finished(summary) = &state.status {
        let quit = quit_text(view);
        lines.push((Role::Good, format!("  {quit}, r continues the run · {}", summary.folder.display())));
    }
    lines
}

/// Says where `q` leads.
fn quit_text(view: &ViewState) -> &'static str {
    if view.leads_back && view.watching { "q goes back" } else { "q quits" }
}

fn open_alerts(ctx: RenderContext) -> Vec<(Role, String)> {
    let unread = |text: &str| !ctx.view.dismissed_alerts.iter().any(|seen| seen == text);
    let mut lines: Vec<(Role, String)> = Vec::new();
    for (topic, OpenAlert { time, text }) in &ctx.live.alerts {
        match topic {
            // The values themselves say it, with their number.
            AlertTopic::NotFinite if ctx.live.metrics.not_finite.is_some() => {}
            // The run continues, and may get over it.
            AlertTopic::EqualRewards | AlertTopic::CutRollouts => lines.push((Role::Warn, format!("! {time} {text}"))),
            AlertTopic::DiskFull | AlertTopic::Divergence | AlertTopic::NotFinite | AlertTopic::Stalled => {
                lines.push((Role::Bad, format!("! {time} {text}")));
            }
            // Found now, whenever it happened.
            AlertTopic::DamagedFile(_) => lines.push((Role::Bad, format!("! {text}"))),
            AlertTopic::ConfigFile(_) => lines.push((Role::Bad, format!("! {time} not applied: {text}"))),
            AlertTopic::DashboardEdit => {}
        }
    }
    let stalled = ctx.live.stall_text().filter(|_| !ctx.live.alerts.contains_key(&AlertTopic::Stalled));
    lines.extend(stalled.map(|text| (Role::Bad, format!("! {text}"))));
    let words = ctx.live.not_finite_text().filter(|text| unread(text));
    lines.extend(words.map(|text| (Role::Bad, format!("! {text}"))));
    lines
}

/// Returns the summary of a finished run in one line, with as many losses as fit into `room` cells.
fn finished_notice(summary: &RunSummary, room: usize) -> (Role, String) {
    let how = if summary.stopped_early { "■ stopped after" } else { "✓ done:" };
    let mut summary_text =
        format!("{how} {} steps in {}", text::with_separators(summary.steps), text::duration(summary.duration));
    let losses = &summary.losses;
    // The last step alone says little: its losses are named only if nothing was validated.
    // What may be compared comes first, the mean plain loss after it.
    let validated = [
        (Metric::ValidRecycled, losses.valid_recycled),
        (Metric::ValidPlainAtRecycled, losses.valid_plain_at_recycled),
        (Metric::ValidPlain, losses.valid),
        (Metric::ValidAccuracy, losses.accuracy),
    ];
    let trained = [
        (Metric::LossPlain, losses.plain),
        (Metric::LossRecycled, losses.recycled),
        (Metric::LossQuestions, losses.questions),
        (Metric::Reward, losses.reward),
    ];
    let is_validated = validated.iter().any(|(_, ends)| ends.is_some());
    let mut shown = if is_validated { validated.to_vec() } else { trained.to_vec() };
    if is_validated {
        shown.push((Metric::Reward, losses.reward));
    }
    for (metric, ends) in shown {
        if let Some((first, last)) = ends {
            let name = text::metric_label(metric).replace("loss ", "");
            let part = format!(" · {name} {} → {}", text::decimal(first), text::decimal(last));
            if text::width(&summary_text) + text::width(&part) <= room {
                summary_text.push_str(&part);
            }
        }
    }
    (Role::Good, summary_text)
}

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let lines: Vec<Line> =
        lines(ctx, area.width).into_iter().map(|(role, text)| Line::from(ctx.span(role, format!(" {text}")))).collect();
    frame.render_widget(Paragraph::new(lines), area);
}
