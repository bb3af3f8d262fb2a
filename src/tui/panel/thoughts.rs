//! Owns: what recycled states decode to, pass by pass, panel 5.
//! Must not know: the terminal, keys, how a state was decoded.
//! Invariant: what stands below each other is of the same position, what stands beside each other of ascending passes.
//!
//! ```text
//! ╭ 5 thoughts step 460 · 38 positions · 3 passes ───────────────────────────────────╮
//! │ mean entropy   state 0.512 → 0.498 → 0.497   output 0.530 → 0.511 → 0.508        │
//! │                      plain                pass 1               pass 2            │
//! │   17 rompus   state  0.42 rompus 83%      0.40 rompus 85%      0.40 rompus 85%   │
//! │              output  1.20 wumpus 51%      1.03 wumpus 60%      1.01 wumpus 61%   │
//! ╰──────────────────────────────── the output's entropy falls at 24 of 38 ──────────╯
//! ```

use super::{Part, Scene, fit, framed};
use crate::message::{Decoded, Thought, TokenRow};
use crate::tui::heat::Mode;
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::Panel;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Cells of position, hidden token and kind.
const GUTTER: usize = 27;
/// Fewest cells of a pass.
const PASS: usize = 15;

/// Draws the thoughts of the row that is shown.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let row = scene.view.row(scene.state).filter(|row| !row.thoughts.is_empty());
    let Some(row) = row else {
        return render_none(frame, area, scene);
    };
    let about = about(scene, row);
    let within = framed(frame, area, scene, Panel::Thoughts, about, below(scene, row));
    let within = within.inner(Margin::new(1, 0));
    let width = usize::from(within.width);
    let passes = row.thoughts.iter().map(|thought| thought.out.len()).max().unwrap_or(0);
    let shown = passes.min((width.saturating_sub(GUTTER) / PASS).max(1));
    let cells = width.saturating_sub(GUTTER) / shown.max(1);
    let mut lines = vec![means(scene, row, width)];
    if within.height >= 4 {
        lines.push(heading(scene, shown, cells));
    }
    let from = scene.view.scrolled[Panel::Thoughts as usize].min(row.thoughts.len() - 1);
    let room = usize::from(within.height).saturating_sub(lines.len());
    let thoughts = row.thoughts.iter().skip(from).flat_map(|thought| {
        [(Kind::State, &thought.fed), (Kind::Output, &thought.out)].map(|(kind, decoded)| {
            thought_line(scene, row, thought, kind, &decoded[..shown.min(decoded.len())], cells)
        })
    });
    lines.extend(thoughts.take(room));
    frame.render_widget(Paragraph::new(lines), within);
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    State,
    Output,
}

fn render_none(frame: &mut Frame, area: Rect, scene: Scene) {
    let none = Line::default;
    let within = framed(frame, area, scene, Panel::Thoughts, none(), none()).inner(Margin::new(1, 0));
    let looked = scene.state.row().is_some();
    let text = if looked { "no position of this row is recycled" } else { "no row has been looked at yet" };
    frame.render_widget(scene.span(Role::Dim, text), crate::tui::layout::line(within, within.height / 2));
}

fn about(scene: Scene, row: &TokenRow) -> Line<'static> {
    let passes = row.thoughts.first().map_or(0, |thought| thought.out.len().saturating_sub(1));
    let text = format!(
        "step {} · {} positions · {passes} passes",
        text::count(row.step),
        text::count(row.thoughts.len() as u64)
    );
    Line::from(scene.span(Role::Name, text))
}

/// At how many positions the output is more certain after the last pass than after the plain one.
fn below(scene: Scene, row: &TokenRow) -> Line<'static> {
    let falls = |thought: &&Thought| match (thought.out.first(), thought.out.last()) {
        (Some(first), Some(last)) => last.entropy < first.entropy,
        _ => false,
    };
    let falls = row.thoughts.iter().filter(falls).count();
    let text = format!(" the output's entropy falls at {falls} of {} ", row.thoughts.len());
    Line::from(scene.span(Role::Name, text))
}

/// Mean entropies by pass, of the states that are fed and of what comes out.
fn means(scene: Scene, row: &TokenRow, width: usize) -> Line<'static> {
    let mean = |of: fn(&Thought) -> &Vec<Decoded>, pass: usize| {
        let found: Vec<f64> = row
            .thoughts
            .iter()
            .filter_map(|thought| of(thought).get(pass))
            .map(|decoded| f64::from(decoded.entropy))
            .filter(|entropy| entropy.is_finite())
            .collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    };
    let course = |of: fn(&Thought) -> &Vec<Decoded>| {
        (0..).map_while(|pass| mean(of, pass)).map(text::real).collect::<Vec<_>>().join(" → ")
    };
    let parts: Vec<Part> = vec![
        scene.part(2, Role::Name, "mean entropy"),
        scene.named(1, "state", course(|thought| &thought.fed)),
        scene.named(0, "output", course(|thought| &thought.out)),
    ];
    fit(scene, parts, "   ", width)
}

fn heading(scene: Scene, shown: usize, cells: usize) -> Line<'static> {
    let mut line = Line::from(" ".repeat(GUTTER));
    for pass in 0..shown {
        let name = if pass == 0 { "plain".to_owned() } else { format!("pass {pass}") };
        line.push_span(scene.span(Role::Dim, format!("{name:<cells$}")));
    }
    line
}

fn thought_line(
    scene: Scene,
    row: &TokenRow,
    thought: &Thought,
    kind: Kind,
    decoded: &[Decoded],
    cells: usize,
) -> Line<'static> {
    let mut line = match kind {
        Kind::State => {
            let hidden = row.cells.get(thought.position).map_or("", |cell| &cell.text);
            let hidden = text::clip(&text::spelled(hidden), 12);
            let gap = " ".repeat(12 - text::width(&hidden));
            Line::from(vec![
                scene.span(Role::Recycled, format!("{:>5} ", thought.position)),
                scene.span(Role::Value, format!("{hidden}{gap}")),
                scene.span(Role::Dim, format!("{:>7}  ", "state")),
            ])
        }
        Kind::Output => Line::from(scene.span(Role::Dim, format!("{:>25}  ", "output"))),
    };
    decoded.iter().for_each(|decoded| line.extend(decoded_spans(scene, row, decoded, cells)));
    line
}

/// Entropy, coloured, and as many of the likeliest tokens as fit.
fn decoded_spans(scene: Scene, row: &TokenRow, decoded: &Decoded, cells: usize) -> Vec<Span<'static>> {
    let (low, high) = Mode::Plain.range(row.vocab_size);
    let share = (f64::from(decoded.entropy) - low) / (high - low);
    let mut spans = vec![Span::styled(format!("{:.2}", decoded.entropy), scene.theme.heat(share))];
    let mut said = String::new();
    for choice in &decoded.top {
        let text =
            row.words.get(&choice.id).map_or_else(|| choice.id.to_string(), |text| text::spelled(text));
        let next =
            format!(" {} {:.0}%", text::clip(&text, cells.saturating_sub(11).max(3)), choice.prob * 100.0);
        if text::width(&said) + text::width(&next) + 6 > cells {
            break;
        }
        said += &next;
    }
    let gap = cells.saturating_sub(spans[0].width() + text::width(&said));
    spans.push(scene.span(Role::Value, said));
    spans.push(Span::raw(" ".repeat(gap)));
    spans
}
