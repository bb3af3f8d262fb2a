//! Owns: the entropy heatmap of one row, panel 4.
//! Must not know: the terminal, keys, how tokens are laid out.
//! Invariant: a recycled position is marked by a glyph and a line, not by colour alone.
//!
//! ```text
//! ╭ 4 entropy plain · step 1,230 · 12 of 256 recycled ────────────╮
//! │┃Every wumpus is a ▸rompus. Every ▸rompus is a yumpus. Is Alex │
//! │ a yumpus?┃Every …                                             │
//! │ position 17  token 4021 "␣rompus"  entropy 1.203 → 1.502 …    │
//! ╰──────────────────── ▸ recycled  ┃ document  0 ▒▒▒▒▒▒ 5.3 nats ╯
//! ```

use super::{Part, Scene, fit, framed};
use crate::message::{TokenCell, TokenRow};
use crate::record::registry::Metric;
use crate::tui::heat::{self, Mode, Placed};
use crate::tui::theme::Role;
use crate::tui::view::Panel;
use crate::tui::{layout, text};
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Cells of the legend's scale.
const SCALE: usize = 12;

/// Draws the row, the status of the selected position and the legend.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let Some(row) = scene.view.row(scene.state) else {
        return render_none(frame, area, scene);
    };
    let mode = if heat::has_recycled(row) { scene.view.mode } else { Mode::Plain };
    let (about, legend) = (about(scene, row, mode), legend(scene, row, mode, area.width));
    let within = framed(frame, area, scene, Panel::Entropy, about, legend);
    let placed = heat::arrange(&row.cells, within.width);
    let selected = scene.view.selected.min(placed.len().saturating_sub(1));
    let height = within.height.saturating_sub(1);
    draw_tokens(frame, Rect { height, ..within }, scene, (row, mode), &placed, selected);
    if let Some(cell) = row.cells.get(selected) {
        let line = layout::line(within, height).inner(Margin::new(1, 0));
        let parts = about_cell(scene, selected, cell);
        frame.render_widget(fit(scene, parts, " · ", usize::from(line.width)), line);
    }
}

/// Says why there is no row.
fn render_none(frame: &mut Frame, area: Rect, scene: Scene) {
    let none = Line::default;
    let within = framed(frame, area, scene, Panel::Entropy, none(), none());
    let never = scene.state.run.as_ref().is_some_and(|run| run.config.probe.every == 0);
    let text = if never { "no row is looked at (probe.every = 0)" } else { "no row has been looked at yet" };
    let middle = layout::line(within, within.height / 2).inner(Margin::new(1, 0));
    frame.render_widget(scene.span(Role::Dim, text), middle);
}

fn about(scene: Scene, row: &TokenRow, mode: Mode) -> Line<'static> {
    let recycled = row.cells.iter().filter(|cell| cell.recycled).count();
    let mut line = Line::from(scene.span(Role::Value, mode.name()));
    if mode != scene.view.mode {
        line.push_span(scene.span(Role::Warn, ": no recycled pass here"));
    }
    if scene.view.frozen.is_some() {
        line.push_span(scene.span(Role::Key, " · frozen"));
    }
    line.push_span(scene.span(Role::Name, format!(" · step {}", text::count(row.step))));
    line.push_span(scene.span(Role::Name, format!(" · {recycled} of {} recycled", row.cells.len())));
    line
}

/// The scale and the marks.
fn legend(scene: Scene, row: &TokenRow, mode: Mode, width: u16) -> Line<'static> {
    let (low, high) = mode.range(row.vocab_size);
    let mut line = Line::from(vec![
        Span::raw(" "),
        Span::styled(
            format!("{}recycled", heat::RECYCLED_MARK),
            scene.theme.style(Role::Value).add_modifier(Modifier::UNDERLINED),
        ),
        scene.span(Role::Name, format!("  {}document  ", heat::DOCUMENT_MARK)),
        scene.span(Role::Name, if low == 0.0 { "0 ".into() } else { format!("{low:.2} ") }),
    ]);
    for index in 0..SCALE {
        let share = index as f64 / (SCALE - 1) as f64;
        let style = heat_style(scene, mode, low + (high - low) * share, (low, high));
        line.push_span(Span::styled(if scene.theme.has_colors() { " " } else { "a" }, style));
    }
    let unit = if width >= 100 && mode != Mode::Difference { " nats = ln V " } else { " nats " };
    line.push_span(scene.span(Role::Name, format!(" {high:.2}{unit}")));
    line
}

fn heat_style(scene: Scene, mode: Mode, value: f64, (low, high): (f64, f64)) -> Style {
    match mode {
        Mode::Difference => scene.theme.difference(value / high),
        _ => scene.theme.heat((value - low) / (high - low)),
    }
}

fn draw_tokens(
    frame: &mut Frame,
    area: Rect,
    scene: Scene,
    (row, mode): (&TokenRow, Mode),
    placed: &[Placed],
    selected: usize,
) {
    let height = usize::from(area.height);
    let lines = placed.last().map_or(0, |last| last.line + 1);
    let here = placed.get(selected).map_or(0, |token| token.line);
    // The selected line stays in the middle, except at the ends.
    let top = here.saturating_sub(height / 2).min(lines.saturating_sub(height));
    let range = mode.range(row.vocab_size);
    let focused = scene.view.focus == Panel::Entropy;
    for (index, (token, cell)) in placed.iter().zip(&row.cells).enumerate() {
        if token.line < top || token.line >= top + height {
            continue;
        }
        let mut style = mode
            .of(cell)
            .map_or_else(|| scene.theme.style(Role::Dim), |value| heat_style(scene, mode, value, range));
        if cell.recycled {
            style = style.add_modifier(Modifier::UNDERLINED | Modifier::BOLD);
        }
        if focused && index == selected {
            style = style.patch(scene.theme.style(Role::Selected));
        }
        let (x, y) = (area.x + token.column, area.y + (token.line - top) as u16);
        frame.buffer_mut().set_span(x, y, &Span::styled(token.text.as_str(), style), token.width);
    }
}

/// What is known of one position.
fn about_cell(scene: Scene, position: usize, cell: &TokenCell) -> Vec<Part> {
    let entropy = match cell.entropy_recycled {
        Some(recycled) => format!("{} → {}", nats(cell.entropy_plain), nats(recycled)),
        None => nats(cell.entropy_plain),
    };
    let token = text::clip(&text::spelled(&cell.text), 24);
    let nll = format!("{} {}", nats(cell.nll_plain), Metric::LossPlain.spec().unit);
    let mut parts = vec![
        scene.named(0, "position", position.to_string()),
        scene.named(1, "token", format!("{} \"{token}\"", cell.id)),
        scene.named(0, "entropy", entropy),
        scene.named(2, "nll", nll),
    ];
    if cell.recycled {
        parts.push(scene.part(1, Role::Recycled, "recycled"));
    }
    if cell.doc_start {
        parts.push(scene.part(3, Role::Name, "document starts"));
    }
    parts
}

fn nats(value: f32) -> String {
    if value.is_finite() { text::real(f64::from(value)) } else { "not finite".into() }
}
