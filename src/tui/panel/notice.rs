//! Owns: alerts and banners, the lines under the header.
//! Must not know: the terminal, keys.
//! Invariant: at most two lines, the gravest first; none while all is well.
//!
//! ```text
//!  ✗ trainer died: out of memory at step 812; the charts stay, q leaves
//!  ! loss_plain_nats was NaN at step 811 (3 times)
//! ```

use super::Scene;
use crate::message::Summary;
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

/// What there is to say: how it is to be taken, and the text.
pub fn lines(scene: Scene) -> Vec<(Role, String)> {
    let (state, view) = (scene.state, scene.view);
    let mut lines = match &state.end {
        End::Failed(error) => vec![(Role::Bad, format!("✗ trainer died: {error}; q leaves"))],
        End::Finished(summary) => finished(summary),
        End::Gone => vec![(Role::Warn, "■ stopped; q leaves".into())],
        End::Running if view.stopping => {
            vec![(
                Role::Warn,
                "■ stopping… the step ends and the checkpoint is written; q leaves at once".into(),
            )]
        }
        End::Running => Vec::new(),
    };
    match view.pause_asked {
        Some(true) => lines.push((Role::Warn, "‖ pausing after this step…".into())),
        Some(false) => lines.push((Role::Good, "● going on…".into())),
        None if state.is_paused() => lines.push((Role::Warn, "‖ paused; space goes on".into())),
        None => {}
    }
    if let Some(panic) = state.panic.as_ref().filter(|_| !state.is_over()) {
        lines.push((Role::Bad, format!("✗ {panic}")));
    }
    if let Some((what, times)) = &state.not_finite {
        let times = if *times > 1 { format!(" ({} times)", text::count(*times)) } else { String::new() };
        lines.push((Role::Bad, format!("! {what}{times}")));
    }
    lines.truncate(MOST);
    lines
}

fn finished(summary: &Summary) -> Vec<(Role, String)> {
    let (glyph, word) = if summary.stopped { ("■", "stopped") } else { ("✓", "finished") };
    let mut said =
        format!("{glyph} {word}: {} steps in {}", text::count(summary.steps), text::duration(summary.took));
    let losses = [
        (Metric::LossPlain, summary.loss_plain),
        (Metric::LossRecycled, summary.loss_recycled),
        (Metric::ValidPlain, summary.valid_plain),
    ];
    for (metric, ends) in losses {
        if let Some((first, last)) = ends {
            let name = text::label(metric).replace("loss ", "");
            said.push_str(&format!(" · {name} {} → {}", text::real(first), text::real(last)));
        }
    }
    vec![(Role::Good, said), (Role::Good, format!("  {} · press q to leave", summary.folder.display()))]
}

/// Draws them.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let room = usize::from(area.width.saturating_sub(2));
    let lines: Vec<Line> = lines(scene)
        .into_iter()
        .map(|(role, text)| Line::from(scene.span(role, format!(" {}", text::clip(&text, room)))))
        .collect();
    frame.render_widget(Paragraph::new(lines), area);
}
