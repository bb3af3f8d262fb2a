//! Owns: what the model makes of a person's texts, panel p.
//! Must not know: the terminal, keys, how an answer comes about.
//! Invariant: a thought is told from text by brackets, not by colour alone.
//!
//! ```text
//! ╭ p playground entropy:start=1.5,stop=0.5,most=8 · greedy · present weights ╮
//! │    200 Tom is a terpus. ⟦Every terpus is a ⟨1.83→0.97→0.42⟩ brimpus.⟧     │
//! ╰────────────────────────────────────────────────────────── its end ────────╯
//! ```

use super::{Scene, list};
use crate::message::{Answer, Spoken};
use crate::tui::state::State;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::{Panel, Play, View};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

/// The answers that are shown, the newest first.
pub fn entries<'a>(state: &'a State, view: &'a View) -> impl Iterator<Item = &'a Answer> {
    let passes = |text: &str| list::passes(view, Panel::Playground, text);
    state.answers.iter().rev().filter(move |answer| passes(&answer.prompt) || passes(&spoken(answer)))
}

/// Draws the last answers.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let Play { policy, temperature, checkpoint, .. } = &scene.view.play;
    let how = if *temperature == 0.0 { "greedy".into() } else { format!("temperature {temperature}") };
    let weights =
        checkpoint.map_or("present weights".into(), |step| format!("weights of {}", text::count(step)));
    let parts = [policy.clone(), format!(" · {how}"), format!(" · {weights}")];
    let mut about: Line = parts.into_iter().map(|part| scene.span(Role::Name, part)).collect();
    about.extend(list::filter_word(scene, Panel::Playground));
    let lines = |answer: &Answer, width, wraps| answer_lines(scene, answer, width, wraps);
    list::render(frame, area, scene, Panel::Playground, entries(scene.state, scene.view), about, lines);
}

/// All of an answer, thoughts in brackets.
fn spoken(answer: &Answer) -> String {
    let part = |part: &Spoken| match part {
        Spoken::Text(text) => text::visible(text),
        Spoken::Thought(entropies) => {
            let entropies: Vec<String> = entropies.iter().map(|entropy| format!("{entropy:.2}")).collect();
            format!("⟨{}⟩", entropies.join("→"))
        }
    };
    answer.parts.iter().map(part).collect()
}

fn answer_lines(scene: Scene, answer: &Answer, width: usize, wraps: bool) -> Vec<Line<'static>> {
    let step = vec![scene.span(Role::Dim, format!("{:>7} ", text::count(answer.step)))];
    let (prompt, end) = (text::visible(&answer.prompt), if answer.over.is_some() { "⟧" } else { "…" });
    let whole = format!("{prompt} ⟦{}{end}", spoken(answer));
    let mut ink = Ink { scene, inside: false, thought: None };
    let lines = list::paragraph(scene, step, (Role::Value, &whole), width, wraps);
    let mut lines: Vec<Line> = lines.into_iter().map(|line| ink.line(line)).collect();
    if let (Some(over), true) = (&answer.over, wraps) {
        let about = format!("{over}; {}", answer.policy);
        lines.extend(list::paragraph(scene, vec![Span::raw("        ")], (Role::Dim, &about), width, true));
    }
    lines
}

/// Colours of what is read, which go on over the ends of lines.
struct Ink<'a> {
    scene: Scene<'a>,
    /// Whether the prompt is over.
    inside: bool,
    /// The number of a thought that is being read.
    thought: Option<String>,
}

impl Ink<'_> {
    fn line(&mut self, line: Line<'static>) -> Line<'static> {
        let mut spans = line.spans;
        let Some(text) = spans.pop() else { return Line::from(spans) };
        let mut plain = String::new();
        for c in text.content.chars() {
            match (c, &mut self.thought) {
                ('⟨', _) => {
                    spans.push(self.plain(&mut plain));
                    spans.push(self.scene.span(Role::Recycled, "⟨"));
                    self.thought = Some(String::new());
                }
                ('→' | '⟩', Some(number)) => {
                    let number = std::mem::take(number);
                    spans.push(self.number(number));
                    spans.push(self.scene.span(Role::Recycled, c.to_string()));
                    self.thought = (c == '→').then(String::new);
                }
                (_, Some(number)) => number.push(c),
                (c, None) => {
                    if c == '⟦' && !self.inside {
                        spans.push(self.plain(&mut plain));
                        self.inside = true;
                    }
                    plain.push(c);
                }
            }
        }
        if let Some(number) = &mut self.thought {
            // A line that ends within a number shows its half.
            let number = std::mem::take(number);
            spans.push(self.number(number));
        }
        spans.push(self.plain(&mut plain));
        Line::from(spans)
    }

    fn plain(&self, text: &mut String) -> Span<'static> {
        let role = if self.inside { Role::Value } else { Role::Name };
        self.scene.span(role, std::mem::take(text))
    }

    fn number(&self, number: String) -> Span<'static> {
        let vocab = self.scene.state.run.as_ref().map_or(2, |run| run.vocab_size.max(2));
        match number.parse::<f64>() {
            Ok(entropy) => Span::styled(number, self.scene.theme.heat(entropy / (vocab as f64).ln())),
            Err(_) => self.scene.span(Role::Recycled, number),
        }
    }
}
