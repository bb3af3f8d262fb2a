//! Owns: what the model writes at validations, panel 9.
//! Must not know: the terminal, keys, how it was written.
//! Invariant: where the prompt ends and the model begins is told by brackets, not by colour alone.
//!
//! ```text
//! ╭ 9 samples greedy ────────────────────────────────────────────╮
//! │    200 Every wumpus is a ⟦ rompus . Every rompus is a …⟧     │
//! ╰──────────────────────────────────────────────────────────────╯
//! ```

use super::{Scene, list};
use crate::message::Sample;
use crate::tui::state::State;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::{Panel, View};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// The samples that are shown, the newest first.
pub fn entries<'a>(state: &'a State, view: &'a View) -> impl Iterator<Item = &'a Sample> {
    let shown = |sample: &&Sample| {
        list::passes(view, Panel::Samples, &sample.prompt) || list::passes(view, Panel::Samples, &sample.text)
    };
    state.samples.iter().rev().filter(shown)
}

/// Draws the last samples.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let how = scene.state.samples.back().map_or_else(String::new, |sample| sample.how.clone());
    let mut about = Line::from(scene.span(Role::Name, how));
    about.extend(list::filter_word(scene, Panel::Samples));
    let lines = |sample: &Sample, width, wraps| sample_lines(scene, sample, width, wraps);
    list::render(frame, area, scene, Panel::Samples, entries(scene.state, scene.view), about, lines);
}

/// Prompt and continuation, laid out as one text and coloured apart.
fn sample_lines(scene: Scene, sample: &Sample, width: usize, wraps: bool) -> Vec<Line<'static>> {
    let step = format!("{:>7} ", text::count(sample.step));
    let (prompt, written) = (text::visible(&sample.prompt), text::visible(&sample.text));
    // In one line the end of the prompt and the beginning of what was written are what counts.
    let room = width.saturating_sub(text::width(&step) + 2);
    let prompt = if wraps { prompt } else { tail(&prompt, room / 3) };
    let whole = format!("{prompt}⟦{written}⟧");
    let lines =
        list::paragraph(scene, vec![scene.span(Role::Dim, step)], (Role::Value, &whole), width, wraps);
    let mut written = false;
    lines.into_iter().map(|line| recolour(scene, line, &mut written)).collect()
}

/// What stands before `⟦` is the prompt, and dim.
fn recolour(scene: Scene, line: Line<'static>, written: &mut bool) -> Line<'static> {
    let mut spans: Vec<Span<'static>> = line.spans;
    let Some(text) = spans.pop() else { return Line::from(spans) };
    let (before, after) = match text.content.split_once('⟦') {
        Some((before, after)) => (before.to_owned(), format!("⟦{after}")),
        None if *written => (String::new(), text.content.into_owned()),
        None => (text.content.into_owned(), String::new()),
    };
    *written |= !after.is_empty();
    spans.push(scene.span(Role::Name, before));
    spans.push(scene.span(Role::Recycled, after));
    Line::from(spans)
}

/// The end of `text`, of `cells` cells at most.
fn tail(text: &str, cells: usize) -> String {
    if text::width(text) <= cells {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars().rev() {
        if text::width(&kept) + text::width(c.encode_utf8(&mut [0; 4])) + 1 > cells {
            break;
        }
        kept.insert(0, c);
    }
    format!("…{kept}")
}
