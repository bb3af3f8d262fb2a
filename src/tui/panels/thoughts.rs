//! Owns: the thoughts panel, 5: the tokens that recycled states decode to, pass by pass.
//! Must not know: the terminal, keys, how a state was decoded.
//! Invariant: each pair of lines is one position; each column is one pass, ascending.
//!
//! ```text
//! ╭ 5 thoughts step 460 · 38 positions · 3 passes ───────────────────────────────────╮
//! │ mean entropy   state 0.512 → 0.498 → 0.497   output 0.530 → 0.511 → 0.508        │
//! │                      plain                pass 1               pass 2            │
//! │   17 rompus   state  0.42 rompus 83%      0.40 rompus 85%      0.40 rompus 85%   │
//! │              output  1.20 wumpus 51%      1.03 wumpus 60%      1.01 wumpus 61%   │
//! ╰────────────────────────── output entropy falls at 24 of 38 positions ────────────╯
//! ```

use super::{LinePart, RenderContext, draw_frame, fit_line};
use crate::schema::token_rows::{DecodedState, Thought, TokenRow};
use crate::tui::app::panel_id::Panel;
use crate::tui::plot::token_grid::TokenValue;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Cells of position, replaced token and kind.
const LABEL_CELLS: usize = 27;
const PASS_MIN_CELLS: usize = 15;

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let row = ctx.view.tokens.row(ctx.state).filter(|row| !row.thoughts.is_empty());
    let Some(row) = row else {
        return render_empty(frame, area, ctx);
    };
    let within = draw_frame(frame, area, ctx, Panel::Thoughts, subtitle(ctx, row), bottom_line(ctx, row));
    let within = within.inner(Margin::new(1, 0));
    let width = usize::from(within.width);
    let passes = row.thoughts.iter().map(|thought| thought.output_by_pass.len()).max().unwrap_or(0);
    let shown = passes.min((width.saturating_sub(LABEL_CELLS) / PASS_MIN_CELLS).max(1));
    let cells = width.saturating_sub(LABEL_CELLS) / shown.max(1);
    let mut lines = vec![mean_entropy_line(ctx, row, width)];
    if within.height >= 4 {
        lines.push(pass_headings(ctx, shown, cells));
    }
    let from = ctx.view.list(Panel::Thoughts).offset.min(row.thoughts.len() - 1);
    let room = usize::from(within.height).saturating_sub(lines.len());
    let thoughts = row.thoughts.iter().skip(from).flat_map(|thought| {
        [(DecodedKind::State, &thought.fed_by_pass), (DecodedKind::Output, &thought.output_by_pass)]
            .map(|(kind, decoded)| thought_line(ctx, row, thought, kind, &decoded[..shown.min(decoded.len())], cells))
    });
    lines.extend(thoughts.take(room));
    frame.render_widget(Paragraph::new(lines), within);
}

/// What was decoded: the state fed to a position, or the output there.
#[derive(Clone, Copy, PartialEq)]
enum DecodedKind {
    State,
    Output,
}

fn render_empty(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let none = Line::default;
    let within = draw_frame(frame, area, ctx, Panel::Thoughts, none(), none()).inner(Margin::new(1, 0));
    let probed = ctx.state.last_token_row().is_some();
    let text = if probed { "no position of this row is recycled" } else { "no row has been probed yet" };
    frame.render_widget(ctx.span(Role::Dim, text), crate::tui::app::layout::line_area(within, within.height / 2));
}

/// Returns the subtitle: the step of the row, its recycled positions and its passes.
fn subtitle(ctx: RenderContext, row: &TokenRow) -> Line<'static> {
    let passes = row.thoughts.first().map_or(0, |thought| thought.output_by_pass.len().saturating_sub(1));
    let text = format!(
        "step {} · {} positions · {passes} passes",
        text::with_separators(row.step),
        text::with_separators(row.thoughts.len() as u64)
    );
    Line::from(ctx.span(Role::Name, text))
}

/// Returns at how many positions the output entropy is lower after the last pass than after the plain one.
fn bottom_line(ctx: RenderContext, row: &TokenRow) -> Line<'static> {
    let falls = |thought: &&Thought| match (thought.output_by_pass.first(), thought.output_by_pass.last()) {
        (Some(first), Some(last)) => last.entropy < first.entropy,
        _ => false,
    };
    let falls = row.thoughts.iter().filter(falls).count();
    let text = format!(" output entropy falls at {falls} of {} positions ", row.thoughts.len());
    Line::from(ctx.span(Role::Name, text))
}

/// Returns the mean entropy of each pass, of the states and of the outputs, in nats.
fn mean_entropy_line(ctx: RenderContext, row: &TokenRow, width: usize) -> Line<'static> {
    let mean = |of: fn(&Thought) -> &Vec<DecodedState>, pass: usize| {
        let found: Vec<f64> = row
            .thoughts
            .iter()
            .filter_map(|thought| of(thought).get(pass))
            .map(|decoded| f64::from(decoded.entropy))
            .filter(|entropy| entropy.is_finite())
            .collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    };
    let by_pass = |of: fn(&Thought) -> &Vec<DecodedState>| {
        (0..).map_while(|pass| mean(of, pass)).map(text::decimal).collect::<Vec<_>>().join(" → ")
    };
    let parts: Vec<LinePart> = vec![
        ctx.part(2, Role::Name, "mean entropy"),
        ctx.named_part(1, "state", by_pass(|thought| &thought.fed_by_pass)),
        ctx.named_part(0, "output", by_pass(|thought| &thought.output_by_pass)),
    ];
    fit_line(ctx, parts, "   ", width)
}

fn pass_headings(ctx: RenderContext, shown: usize, cells: usize) -> Line<'static> {
    let mut line = Line::from(" ".repeat(LABEL_CELLS));
    for pass in 0..shown {
        let name = if pass == 0 { "plain".to_owned() } else { format!("pass {pass}") };
        line.push_span(ctx.span(Role::Dim, format!("{name:<cells$}")));
    }
    line
}

fn thought_line(
    ctx: RenderContext,
    row: &TokenRow,
    thought: &Thought,
    kind: DecodedKind,
    decoded: &[DecodedState],
    cells: usize,
) -> Line<'static> {
    let mut line = match kind {
        DecodedKind::State => {
            let token = row.cells.get(thought.position).map_or("", |cell| &cell.text);
            let token = text::clip(&text::spell_out(token), 12);
            let gap = " ".repeat(12 - text::width(&token));
            Line::from(vec![
                ctx.span(Role::Recycled, format!("{:>5} ", thought.position)),
                ctx.span(Role::Value, format!("{token}{gap}")),
                ctx.span(Role::Dim, format!("{:>7}  ", "state")),
            ])
        }
        DecodedKind::Output => Line::from(ctx.span(Role::Dim, format!("{:>25}  ", "output"))),
    };
    decoded.iter().for_each(|decoded| line.extend(decoded_spans(ctx, row, decoded, cells)));
    line
}

/// Returns the entropy, coloured, and as many of the likeliest tokens as fit.
fn decoded_spans(ctx: RenderContext, row: &TokenRow, decoded: &DecodedState, cells: usize) -> Vec<Span<'static>> {
    let (low, high) = TokenValue::Plain.range(row.vocab_size);
    let share = (f64::from(decoded.entropy) - low) / (high - low);
    let mut spans = vec![Span::styled(format!("{:.2}", decoded.entropy), ctx.theme.heat(share))];
    let mut tokens = String::new();
    for choice in &decoded.top {
        let text = text::token_text(row, choice.id);
        let next = format!(" {} {:.0}%", text::clip(&text, cells.saturating_sub(11).max(3)), choice.prob * 100.0);
        if text::width(&tokens) + text::width(&next) + 6 > cells {
            break;
        }
        tokens += &next;
    }
    let gap = cells.saturating_sub(spans[0].width() + text::width(&tokens));
    spans.push(ctx.span(Role::Value, tokens));
    spans.push(Span::raw(" ".repeat(gap)));
    spans
}
