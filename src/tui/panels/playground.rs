//! Owns: the playground panel, p: the model's answers to the user's prompts.
//! Must not know: the terminal, keys, how an answer is generated.
//! Invariant: a thought is distinguished from text by brackets, not by colour alone.
//!
//! ```text
//! ╭ p playground entropy:start=1.5,stop=0.5,most=8 · greedy · current weights ───╮
//! │     400 Every lempus is a wumpus . Is Tom a rompus or yumpus ? Every lempus  │
//! │         ⟦ is a wumpus . Every wumpus⟨1.83→0.97→0.42⟩ is a rompus .⟧          │
//! │         its end; entropy:start=1.5,stop=0.5                                  │
//! │     400 Every lempus is a wumpus . Is Tom a rompus or yumpus ? Every lempus  │
//! │         ⟦⟨2.50→1.25⟩…                                                        │
//! ╰──────────────────────────────────────────────────────────────────────────────╯
//! ```

use super::list::EntryRoom;
use super::{RenderContext, list};
use crate::schema::protocol::{AnswerPart, PlaygroundAnswer, PlaygroundRequest};
use crate::tui::app::panel_id::Panel;
use crate::tui::app::view::ViewState;
use crate::tui::model::state::RunModel;
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// Returns the answers that pass the filter, the newest first.
pub fn entries<'a>(state: &'a RunModel, view: &'a ViewState) -> impl Iterator<Item = &'a PlaygroundAnswer> {
    let passes = |text: &str| list::matches_filter(view, Panel::Playground, text);
    state.answers.iter().rev().filter(move |answer| passes(&answer.prompt) || passes(&answer_text(answer)))
}

pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let PlaygroundRequest { policy, temperature, checkpoint, .. } = &ctx.view.playground.0;
    let how = if *temperature == 0.0 { "greedy".into() } else { format!("temperature {temperature}") };
    let weights =
        checkpoint.map_or("current weights".into(), |step| format!("weights of {}", text::with_separators(step)));
    let parts = [policy.clone(), format!(" · {how}"), format!(" · {weights}")];
    let subtitle: Line = parts.into_iter().map(|part| ctx.span(Role::Name, part)).collect();
    let panel = (Panel::Playground, "no prompts yet; a sends one, y sets the thinking policy");
    let lines = |answer: &PlaygroundAnswer, room| answer_lines(ctx, answer, room);
    list::render(frame, area, ctx, panel, subtitle, entries(ctx.state, ctx.view), lines);
}

/// Returns the prompt and its answer.
pub fn whole_text(answer: &PlaygroundAnswer) -> String {
    format!("{}{}", answer.prompt, answer_text(answer))
}

/// Returns the text of an answer; thoughts are lists of entropies in brackets: `⟨1.83→0.97⟩`.
fn answer_text(answer: &PlaygroundAnswer) -> String {
    let part = |part: &AnswerPart| match part {
        AnswerPart::Text(text) => text::make_visible(text),
        AnswerPart::Thought(entropies) => {
            let entropies: Vec<String> = entropies.iter().map(|entropy| format!("{entropy:.2}")).collect();
            format!("⟨{}⟩", entropies.join("→"))
        }
    };
    answer.parts.iter().map(part).collect()
}

fn answer_lines(ctx: RenderContext, answer: &PlaygroundAnswer, room: EntryRoom) -> Vec<Line<'static>> {
    let step = vec![ctx.span(Role::Dim, format!("{:>7} ", text::with_separators(answer.step)))];
    let (prompt, end) = (text::make_visible(&answer.prompt), if answer.end_reason.is_some() { "⟧" } else { "…" });
    let whole = format!("{prompt} ⟦{}{end}", answer_text(answer));
    let mut styler = AnswerStyler { ctx, in_answer: false, entropy_digits: None };
    let lines = list::entry_lines(ctx, step, (Role::Value, &whole), room);
    let mut lines: Vec<Line> = lines.into_iter().map(|line| styler.style_line(line)).collect();
    if let (Some(over), true) = (&answer.end_reason, room.wraps) {
        let outcome = format!("{over}; {}", answer.policy);
        lines.extend(list::entry_lines(ctx, vec![Span::raw("        ")], (Role::Dim, &outcome), room));
    }
    lines
}

/// Styles the text of an answer line by line; prompt, answer and thoughts may continue over line ends.
struct AnswerStyler<'a> {
    ctx: RenderContext<'a>,
    /// Whether the answer has started, after the prompt.
    in_answer: bool,
    /// The digits read so far of an entropy, within a thought.
    entropy_digits: Option<String>,
}

impl AnswerStyler<'_> {
    fn style_line(&mut self, line: Line<'static>) -> Line<'static> {
        let mut spans = line.spans;
        let Some(text) = spans.pop() else { return Line::from(spans) };
        let mut plain = String::new();
        for c in text.content.chars() {
            match (c, &mut self.entropy_digits) {
                ('⟨', _) => {
                    spans.push(self.take_text(&mut plain));
                    spans.push(self.ctx.span(Role::Recycled, "⟨"));
                    self.entropy_digits = Some(String::new());
                }
                ('→' | '⟩', Some(number)) => {
                    let number = std::mem::take(number);
                    spans.push(self.entropy_span(number));
                    spans.push(self.ctx.span(Role::Recycled, c.to_string()));
                    self.entropy_digits = (c == '→').then(String::new);
                }
                (_, Some(number)) => number.push(c),
                (c, None) => {
                    if c == '⟦' && !self.in_answer {
                        spans.push(self.take_text(&mut plain));
                        self.in_answer = true;
                    }
                    plain.push(c);
                }
            }
        }
        if let Some(number) = &mut self.entropy_digits {
            // A line may end within a number: style its first half.
            let number = std::mem::take(number);
            spans.push(self.entropy_span(number));
        }
        spans.push(self.take_text(&mut plain));
        Line::from(spans)
    }

    /// Takes `text` as a span in the style of the prompt or of the answer.
    fn take_text(&self, text: &mut String) -> Span<'static> {
        let role = if self.in_answer { Role::Value } else { Role::Name };
        self.ctx.span(role, std::mem::take(text))
    }

    /// Returns an entropy, coloured by its share of ln V.
    fn entropy_span(&self, number: String) -> Span<'static> {
        let vocab = self.ctx.state.run.as_ref().map_or(2, |run| run.vocab_size.max(2));
        match number.parse::<f64>() {
            Ok(entropy) => Span::styled(number, self.ctx.theme.heat(entropy / (vocab as f64).ln())),
            Err(_) => self.ctx.span(Role::Recycled, number),
        }
    }
}
