//! Owns: the rows above the settings of the schedule panel: what a run with questions has measured.
//! Must not know: the settings, the terminal, keys.
//! Invariant: a run in pre-training has no such rows.

use super::RenderContext;
use crate::config::{Config, ObjectiveKind};
use crate::schema::metrics::Metric;
use crate::schema::protocol::steps_of_accuracy_name;
use crate::tui::model::history::SeriesHistory;
use crate::tui::model::metrics::Series;
use crate::tui::plot::raster::{AxisWindow, Dash, Raster};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

/// Cells of the names and values, with the space after them.
pub(super) const LABEL_CELLS: u16 = 13;

/// What was measured of questions, drawn above the settings.
pub(super) struct MeasuredRow<'a> {
    name: String,
    history: &'a SeriesHistory,
    /// Ends of the scale.
    scale: (f64, f64),
    /// Whether it is a share, shown in percent.
    is_share: bool,
}

/// Returns what the run measures of questions; nothing in pre-training.
pub(super) fn measured_rows<'a>(ctx: RenderContext<'a>, config: &Config) -> Vec<MeasuredRow<'a>> {
    match config.objective.kind {
        ObjectiveKind::Pretraining => Vec::new(),
        ObjectiveKind::Curriculum => curriculum_rows(ctx, config),
        ObjectiveKind::Rl => reward_rows(ctx),
    }
}

/// Returns reward, accuracy, and how rollouts are: those that think, and those that teach nothing.
fn reward_rows(ctx: RenderContext<'_>) -> Vec<MeasuredRow<'_>> {
    let history = |metric| ctx.state.metrics.history(Series::Metric(metric));
    let scale = |metric| {
        let values = history(metric).buckets_in(0, u64::MAX).iter().map(|bucket| bucket.mean);
        let (low, high) = values.fold((0.0_f64, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if high > low { (low, high) } else { (0.0, 1.0) }
    };
    let measured = |name: &str, metric| {
        let is_share = matches!(metric, Metric::ValidAccuracy | Metric::LatentsShare | Metric::FracRewardZeroStd);
        let scale = if is_share { (0.0, 1.0) } else { scale(metric) };
        MeasuredRow { name: name.to_owned(), history: history(metric), scale, is_share }
    };
    let mut rows = vec![
        measured("reward", Metric::Reward),
        measured("accuracy", Metric::ValidAccuracy),
        measured("latents", Metric::LatentsShare),
        measured("all equal", Metric::FracRewardZeroStd),
    ];
    if !history(Metric::Kl).is_empty() {
        rows.push(measured("kl", Metric::Kl));
    }
    rows
}

/// Returns the stage, and the accuracy of all questions and of those with each number of steps.
fn curriculum_rows<'a>(ctx: RenderContext<'a>, config: &Config) -> Vec<MeasuredRow<'a>> {
    let history = |metric| ctx.state.metrics.history(Series::Metric(metric));
    let share =
        |name: String, history: &'a SeriesHistory| MeasuredRow { name, history, scale: (0.0, 1.0), is_share: true };
    let stages = config.objective.max_latent_stage as f64 + 1.0;
    let mut rows = vec![
        MeasuredRow { name: "stage".into(), history: history(Metric::Stage), scale: (0.0, stages), is_share: false },
        share("accuracy".into(), history(Metric::ValidAccuracy)),
    ];
    let of_steps =
        ctx.state.figures.iter().filter_map(|(name, history)| Some((steps_of_accuracy_name(name)?, history)));
    let mut of_steps: Vec<_> = of_steps.collect();
    of_steps.sort_unstable_by_key(|(steps, _)| *steps);
    // For a single number it is the accuracy of all.
    if of_steps.len() > 1 {
        rows.extend(of_steps.into_iter().map(|(steps, history)| share(steps_text(steps), history)));
    }
    rows
}

fn steps_text(steps: usize) -> String {
    if steps == 1 { "1 step".to_owned() } else { format!("{steps} steps") }
}

/// Draws the name, the value and the curve of a row.
pub(super) fn draw_measured(frame: &mut Frame, area: Rect, ctx: RenderContext, row: &MeasuredRow<'_>) {
    let plot = Rect {
        x: area.x + LABEL_CELLS,
        width: area.width - LABEL_CELLS,
        height: area.height.saturating_sub(u16::from(area.height > 3)),
        ..area
    };
    let window = AxisWindow { x: (0.0, ctx.state.expected_steps().max(1) as f64), y: row.scale };
    let mut raster = Raster::new(plot, window);
    let points = row.history.buckets_in(0, u64::MAX).iter().map(|bucket| Some((bucket.last_step as f64, bucket.mean)));
    raster.draw_curve(points, ctx.theme.style(Role::Plain), Dash::Solid);
    raster.render(frame.buffer_mut());
    let at = ctx.view.charts.cursor.and_then(|step| row.history.bucket_at(step)).map(|bucket| bucket.mean);
    let value = match (at.or(row.history.latest()), row.is_share) {
        (None, _) => "–".to_owned(),
        (Some(value), true) if area.height == 1 => format!("{:.0}%", 100.0 * value),
        (Some(value), true) => format!("{:.1} %", 100.0 * value),
        (Some(value), false) => text::setting_value(value),
    };
    let name = ctx.span(Role::Plain, text::clip(&row.name, 11));
    let buffer = frame.buffer_mut();
    if area.height == 1 {
        let line = Line::from(vec![name, ctx.span(Role::Value, format!(" {value}"))]);
        buffer.set_line(area.x, area.y, &line, LABEL_CELLS);
        return;
    }
    buffer.set_line(area.x, area.y, &Line::from(name), LABEL_CELLS);
    buffer.set_line(area.x, area.y + 1, &Line::from(ctx.span(Role::Value, value)), LABEL_CELLS);
}
