//! Owns: panel 1 on the whole screen: what is fixed for the run, and the last value of every metric that has one.
//! Must not know: the terminal, keys.
//! Invariant: names, units and descriptions of metrics are the registry's.
//!
//! ```text
//! ╭ 1 run ─────────────────────────────────────────────────────────────╮
//! │ folder   checkpoints/2026-11-24T02-51-38-prosqa                    │
//! │ device   cuda:0, built in and answers                              │
//! │                                                                    │
//! │ loss_plain_nats          2.310 nats  Mean next-token nll of the …  │
//! │ …                                                                  │
//! ╰────────────────────────────────────────────────────────────────────╯
//! ```

use super::{Scene, framed, header};
use crate::message::{RunInfo, Summary};
use crate::record::registry::Metric;
use crate::tui::state::{End, State};
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::Panel;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

/// Draws facts and metrics.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let (glyph, word, role) = header::phase(scene);
    let about = Line::from(scene.span(role, format!("{glyph} {word}")));
    let (facts, metrics) = (facts(scene.state), measured(scene.state));
    let height = area.height.saturating_sub(2);
    let below = scroll_limit(scene.state, area.height).saturating_sub(scene.view.run_down);
    let more = match below {
        0 => Line::default(),
        _ => Line::from(scene.span(Role::Key, format!(" {below} more, ↓ "))),
    };
    let within = framed(frame, area, scene, Panel::Run, about, more).inner(Margin::new(1, 0));
    let mut lines: Vec<Line> = facts
        .into_iter()
        .map(|(name, value)| {
            let room = usize::from(within.width).saturating_sub(12);
            Line::from(vec![
                scene.span(Role::Name, format!("{name:<12}")),
                scene.span(Role::Value, text::clip(&value, room)),
            ])
        })
        .collect();
    if usize::from(height) > lines.len() + metrics.len() {
        lines.push(Line::default());
    }
    lines.extend(metrics.into_iter().map(|metric| metric_line(scene, metric, within.width)));
    let from = scene.view.run_down.min(scroll_limit(scene.state, area.height));
    frame.render_widget(Paragraph::new(lines.split_off(from)), within);
}

/// How far it can be scrolled where it is `height` lines high, frame included.
pub fn scroll_limit(state: &State, height: u16) -> usize {
    (facts(state).len() + measured(state).len()).saturating_sub(usize::from(height.saturating_sub(2)))
}

fn measured(state: &State) -> Vec<Metric> {
    Metric::ALL.iter().copied().filter(|metric| state.latest.get(*metric).is_some()).collect()
}

fn facts(state: &State) -> Vec<(&'static str, String)> {
    let mut facts = state.run.as_ref().map_or_else(Vec::new, |run| about_run(run));
    if let End::Finished(summary) = &state.end {
        facts.extend(about_end(summary));
    }
    facts
}

fn about_run(run: &RunInfo) -> Vec<(&'static str, String)> {
    let mut about = vec![
        ("folder", run.folder.display().to_string()),
        ("device", format!("{} ({})", run.device, run.device_reason)),
        (
            "model",
            format!(
                "{} parameters, vocabulary of {}",
                text::short(run.params as f64),
                text::count(run.vocab_size as u64)
            ),
        ),
        ("data", format!("{}: {} training documents", run.config.data.dir, text::count(run.train_docs))),
    ];
    about.extend(run.lineage.as_ref().map(|lineage| ("from", lineage.to_string())));
    about
}

fn about_end(summary: &Summary) -> Vec<(&'static str, String)> {
    let mut facts = vec![(
        "took",
        format!(
            "{} for {} steps, {} with a recycled pass",
            text::duration(summary.took),
            text::count(summary.steps),
            text::count(summary.recycled_steps)
        ),
    )];
    if let Some(checkpoint) = &summary.checkpoint {
        facts.push(("checkpoint", checkpoint.display().to_string()));
    }
    facts
}

fn metric_line(scene: Scene, metric: Metric, width: u16) -> Line<'static> {
    let spec = metric.spec();
    let value = scene.state.latest.get(metric).map_or_else(|| "–".into(), |value| text::value(metric, value));
    let room = usize::from(width).saturating_sub(56);
    Line::from(vec![
        scene.span(Role::Name, format!("{:<34}", spec.name)),
        scene.span(Role::Value, format!("{value:>10} ")),
        scene.span(Role::Name, format!("{:<10} ", spec.unit)),
        scene.span(Role::Dim, text::clip(spec.doc, room)),
    ])
}
