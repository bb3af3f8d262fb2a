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
use crate::tui::text;
use crate::tui::theme::Role;
use crate::tui::view::Panel;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Cells of the legend's scale.
const SCALE: usize = 12;

/// Draws the row, the status of the selected position and the legend.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let Some(row) = scene.view.row(scene.state) else {
        let within = framed(frame, area, scene, Panel::Entropy, Line::default(), Line::default());
        let every = scene.state.run.as_ref().map_or(0, |run| run.config.probe.every);
        let text = if every == 0 {
            "no row is looked at (probe.every = 0)"
        } else {
            "no row has been looked at yet"
        };
        let middle = Rect {
            x: within.x + 1,
            y: within.y + within.height / 2,
            height: 1,
            width: within.width.saturating_sub(1),
        };
        frame.render_widget(scene.span(Role::Dim, text), middle);
        return;
    };
    let mode = if heat::has_recycled(row) { scene.view.mode } else { Mode::Plain };
    let within = framed(
        frame,
        area,
        scene,
        Panel::Entropy,
        about(scene, row, mode),
        legend(scene, row, mode, area.width),
    );
    let (tokens, status) = (within.height.saturating_sub(1), within.height > 1);
    let placed = heat::arrange(&row.cells, within.width);
    let selected = scene.view.selected.min(placed.len().saturating_sub(1));
    let tokens = if status { tokens } else { within.height };
    draw_tokens(frame, Rect { height: tokens, ..within }, scene, (row, mode), &placed, selected);
    if let Some(cell) = row.cells.get(selected).filter(|_| status) {
        let line = Rect {
            x: within.x + 1,
            y: within.bottom() - 1,
            width: within.width.saturating_sub(2),
            height: 1,
        };
        frame.render_widget(
            fit(scene, about_cell(scene, selected, cell), " · ", usize::from(line.width)),
            line,
        );
    }
}

fn about(scene: Scene, row: &TokenRow, mode: Mode) -> Line<'static> {
    let recycled = row.cells.iter().filter(|cell| cell.recycled).count();
    let mut line = Line::from(scene.span(Role::Value, mode.name()));
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
            Style::new().add_modifier(Modifier::UNDERLINED),
        ),
        scene.span(Role::Name, format!("  {}document  ", heat::DOCUMENT_MARK)),
        scene.span(Role::Name, format!("{} ", text::setting(low))),
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
    let pair = |rank, name: &str, value: String| {
        (rank, vec![scene.span(Role::Name, format!("{name} ")), scene.span(Role::Value, value)])
    };
    let number = |value: f32| {
        if value.is_finite() { text::real(f64::from(value)) } else { "not finite".into() }
    };
    let entropy = match cell.entropy_recycled {
        Some(recycled) => format!("{} → {}", number(cell.entropy_plain), number(recycled)),
        None => number(cell.entropy_plain),
    };
    let mut parts = vec![
        pair(0, "position", position.to_string()),
        pair(1, "token", format!("{} \"{}\"", cell.id, text::clip(&text::spelled(&cell.text), 24))),
        pair(0, "entropy", entropy),
        pair(2, "nll", format!("{} {}", number(cell.nll_plain), Metric::LossPlain.spec().unit)),
    ];
    if cell.recycled {
        parts.push((1, vec![scene.span(Role::Recycled, "recycled")]));
    }
    if cell.doc_start {
        parts.push((3, vec![scene.span(Role::Name, "document starts")]));
    }
    parts
}
