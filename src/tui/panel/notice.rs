//! Owns: alerts and banners, the lines under the header.
//! Must not know: the terminal, keys.
//! Invariant: at most two lines, the gravest first; none while all is well.
//!
//! ```text
//!  ✗ trainer died (r resumes, q leaves): out of memory at step 812
//!  ! loss_plain_nats was NaN at step 811; 3 values were not finite so far
//! ```

use super::Scene;
use crate::message::{About, Phase, Summary};
use crate::record::registry::Metric;
use crate::tui::state::End;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Most lines.
const MOST: usize = 2;

/// The lines of a screen of this width: how each is to be taken, and its text. A notice that is alone may take all.
pub fn lines(scene: Scene, width: u16) -> Vec<(Role, String)> {
    let room = usize::from(width.saturating_sub(2));
    let notices = notices(scene, room);
    let [(role, text)] = &notices[..] else {
        let clipped = |(role, text): (Role, String)| (role, text::clip(&text, room));
        return notices.into_iter().take(MOST).map(clipped).collect();
    };
    let mut lines = text::wrap(text, room);
    if lines.len() > MOST {
        let rest = lines.split_off(MOST - 1).concat();
        lines.push(text::clip(&rest, room));
    }
    lines.into_iter().map(|line| (*role, line)).collect()
}

/// What there is to say, the gravest first.
fn notices(scene: Scene, room: usize) -> Vec<(Role, String)> {
    let (state, view) = (scene.live, scene.view);
    let mut lines = match &state.end {
        End::Failed(error) => vec![(Role::Bad, format!("✗ trainer died (r resumes, q leaves): {error}"))],
        End::Finished(summary) => vec![finished(summary, room)],
        End::Gone => vec![(Role::Warn, "■ stopped; q leaves".into())],
        End::Running if view.stopping => {
            vec![(
                Role::Warn,
                "■ stopping… the step ends and the checkpoint is written; q asks what else".into(),
            )]
        }
        End::Running => Vec::new(),
    };
    lines.extend(view.hint.iter().map(|hint| (Role::Warn, format!("! {hint}"))));
    lines.extend(alerts(scene));
    match view.pause_asked {
        Some(true) => lines.push((Role::Warn, "‖ pausing after this step…".into())),
        Some(false) => lines.push((Role::Good, "● going on…".into())),
        None if state.is_paused() => lines.push((Role::Warn, "‖ paused; space goes on".into())),
        None => {}
    }
    if state.phase == Some(Phase::Compile) && !state.is_over() && !state.is_preparing() {
        lines.push((Role::Warn, "○ compiling and tuning kernels…".into()));
    }
    if let Some(panic) = state.panic.as_ref().filter(|_| !state.is_over()) {
        lines.push((Role::Bad, format!("✗ {panic}")));
    }
    if view.frozen.is_some() {
        let at = text::count(scene.state.step_now());
        lines.push((Role::Key, format!("the picture is that of step {at}, training goes on; f lets it go")));
    }
    if let End::Finished(summary) = &state.end {
        lines.push((Role::Good, format!("  q leaves, r goes on · {}", summary.folder.display())));
    }
    lines
}

/// What needs a person, but for what was read.
fn alerts(scene: Scene) -> Vec<(Role, String)> {
    let unread = |text: &str| !scene.view.acknowledged.iter().any(|seen| seen == text);
    let mut lines: Vec<(Role, String)> = Vec::new();
    for (about, text) in &scene.live.alerts {
        match about {
            About::Disk => lines.push((Role::Bad, format!("! {text}"))),
            About::File(_) => lines.push((Role::Bad, format!("! not taken up: {text}"))),
            About::Keys if unread(text) => lines.push((Role::Warn, format!("! {text}"))),
            About::Keys => {}
        }
    }
    let words = scene.live.not_finite_words().filter(|text| unread(text));
    lines.extend(words.map(|text| (Role::Bad, format!("! {text}"))));
    lines
}

/// The losses as far as there is room.
fn finished(summary: &Summary, room: usize) -> (Role, String) {
    let how = if summary.stopped { "■ stopped after" } else { "✓ done:" };
    let mut said = format!("{how} {} steps in {}", text::count(summary.steps), text::duration(summary.took));
    let losses = [
        (Metric::LossPlain, summary.loss_plain),
        (Metric::LossRecycled, summary.loss_recycled),
        (Metric::ValidPlain, summary.valid_plain),
    ];
    for (metric, ends) in losses {
        if let Some((first, last)) = ends {
            let name = text::label(metric).replace("loss ", "");
            let part = format!(" · {name} {} → {}", text::real(first), text::real(last));
            if text::width(&said) + text::width(&part) <= room {
                said.push_str(&part);
            }
        }
    }
    (Role::Good, said)
}

/// Draws them.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let lines: Vec<Line> = lines(scene, area.width)
        .into_iter()
        .map(|(role, text)| Line::from(scene.span(role, format!(" {text}"))))
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}
