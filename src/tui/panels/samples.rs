//! Owns: the samples panel, 9: texts that the model generates at validations.
//! Must not know: the terminal, keys, how a sample was generated.
//! Invariant: brackets mark the generated text after the prompt, not colour alone.
//!
//! ```text
//! ╭ 9 samples greedy ────────────────────────────────────────────╮
//! │    200 Every wumpus is a ⟦ rompus . Every rompus is a …⟧     │
//! ╰──────────────────────────────────────────────────────────────╯
//! ```

use super::list::EntryRoom;
use super::{RenderContext, list};
use crate::schema::protocol::ValidationSample;
use crate::tui::app::panel_id::Panel;
use crate::tui::app::view::ViewState;
use crate::tui::model::state::RunModel;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Returns the samples that pass the filter, the newest first.
pub fn entries<'a>(state: &'a RunModel, view: &'a ViewState) -> impl Iterator<Item = &'a ValidationSample> {
    let shown = |sample: &&ValidationSample| {
        list::matches_filter(view, Panel::Samples, &sample.prompt)
            || list::matches_filter(view, Panel::Samples, &sample.text)
    };
    state.samples.iter().rev().filter(shown)
}

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let how = ctx.state.samples.back().map_or_else(String::new, |sample| sample.decoding.clone());
    let subtitle = Line::from(ctx.span(Role::Name, how));
    let panel = (Panel::Samples, "no samples yet; each validation writes one (eval.samples)");
    let lines = |sample: &ValidationSample, room| sample_lines(ctx, sample, room);
    list::render(frame, area, ctx, panel, subtitle, entries(ctx.state, ctx.view), lines);
}

/// Returns the lines of prompt and generated text, laid out as one text in two colours.
fn sample_lines(ctx: RenderContext, sample: &ValidationSample, room: EntryRoom) -> Vec<Line<'static>> {
    let step = format!("{:>7} ", text::with_separators(sample.step));
    let (prompt, written) = (text::make_visible(&sample.prompt), text::make_visible(&sample.text));
    // A single line shows the end of the prompt and the beginning of the generated text.
    let cells = room.width.saturating_sub(text::width(&step) + 2);
    let prompt = if room.wraps { prompt } else { text::clip_start(&prompt, cells / 3) };
    let whole = format!("{prompt}⟦{written}⟧");
    let lines = list::entry_lines(ctx, vec![ctx.span(Role::Dim, step)], (Role::Value, &whole), room);
    let mut written = false;
    lines.into_iter().map(|line| style_line(ctx, line, &mut written)).collect()
}

/// Styles a line: the prompt up to `⟦`, then generated text. `written`: `⟦` came in an earlier line.
fn style_line(ctx: RenderContext, line: Line<'static>, written: &mut bool) -> Line<'static> {
    let mut spans: Vec<Span<'static>> = line.spans;
    let Some(text) = spans.pop() else { return Line::from(spans) };
    let (before, after) = match text.content.split_once('⟦') {
        Some((before, after)) => (before.to_owned(), format!("⟦{after}")),
        None if *written => (String::new(), text.content.into_owned()),
        None => (text.content.into_owned(), String::new()),
    };
    *written |= !after.is_empty();
    spans.push(ctx.span(Role::Name, before));
    spans.push(ctx.span(Role::Recycled, after));
    Line::from(spans)
}
