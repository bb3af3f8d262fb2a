//! Owns: the entropies, panel 4: one row as text, and where there is room (or it is asked for) their course.
//! Must not know: the terminal, keys, how tokens are laid out.
//! Invariant: a recycled position is marked by a glyph and a line, not by colour alone.
//!
//! ```text
//! ╭ 4 entropy plain · step 1,230 · 12 of 256 recycled ────────────╮
//! │┃Every wumpus is a ▸rompus. Every ▸rompus is a yumpus. Is Alex │
//! │ a yumpus?┃Every …                                             │
//! │ position 17 · token 4021 "␣rompus" · entropy 1.203 → 1.502 …  │
//! │ plain    wumpus 51% · rompus 20% · yumpus 9%                  │
//! │ recycled wumpus 60% · rompus 18% · yumpus 7%                  │
//! ╰──────────────────── ▸ recycled  ┃ document  0 ▒▒▒▒▒▒ 5.3 nats ╯
//! ```

use super::{Part, Scene, course, fit, framed};
use crate::message::{Choice, TokenCell, TokenRow};
use crate::record::registry::Metric;
use crate::tui::heat::{self, Mode, Placed};
use crate::tui::state::State;
use crate::tui::theme::Role;
use crate::tui::view::{Panel, Picture, View};
use crate::tui::{layout, text};
use ratatui::Frame;
use ratatui::layout::{Margin, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

/// Cells of the legend's scale.
const SCALE: usize = 12;
/// Lines within the frame from which on the likeliest tokens are shown, and from which on the course is, too.
const TOP_FROM: u16 = 8;
const COURSE_FROM: u16 = 26;
/// Most lines of what is known of the selected position.
const STATUS: u16 = 3;

/// How the lines within the frame are shared out.
struct Parts {
    text: Rect,
    status: Rect,
    course: Rect,
}

/// `lines` are those of the row.
fn parts(within: Rect, picture: Picture, lines: usize) -> Parts {
    let course = match picture {
        Picture::Course => within.height,
        Picture::Row if within.height >= COURSE_FROM => {
            let needed = (lines as u16).saturating_add(STATUS + 1);
            (within.height * 2 / 5).max(within.height.saturating_sub(needed))
        }
        Picture::Row => 0,
    };
    let above = within.height - course;
    let status = match above {
        0 => 0,
        1..TOP_FROM => 1,
        _ => STATUS,
    };
    let text = Rect { height: above - status, ..within };
    let status = Rect { y: text.bottom(), height: status, ..within };
    Parts { text, status, course: Rect { y: status.bottom(), height: course, ..within } }
}

fn lines_of(placed: &[Placed]) -> usize {
    placed.last().map_or(0, |last| last.line + 1)
}

/// Where the tokens of a row stand within the frame of the panel, `within`.
pub fn text_area(within: Rect, view: &View, state: &State) -> Rect {
    let placed = view.row(state).map_or_else(Vec::new, |row| heat::arrange(&row.cells, within.width));
    parts(within, view.picture, lines_of(&placed)).text
}

/// Draws the row, the status of the selected position, the course, and the legend.
pub fn render(frame: &mut Frame, area: Rect, scene: Scene) {
    let picture = scene.view.picture;
    let Some(row) = scene.view.row(scene.state) else {
        if picture == Picture::Course && !scene.state.spreads.columns().is_empty() {
            return render_course(frame, area, scene);
        }
        return render_none(frame, area, scene);
    };
    if picture == Picture::Course {
        return render_course(frame, area, scene);
    }
    let mode = shown_mode(scene, row);
    let (about, legend) = (about(scene, row, mode), legend(scene, row, mode, area.width));
    let within = framed(frame, area, scene, Panel::Entropy, about, legend);
    let placed = heat::arrange(&row.cells, within.width);
    let parts = parts(within, picture, lines_of(&placed));
    let selected = scene.view.selected.min(placed.len().saturating_sub(1));
    draw_tokens(frame, parts.text, scene, (row, mode), &placed, selected);
    if let Some(cell) = row.cells.get(selected) {
        draw_status(frame, parts.status, scene, row, selected, cell);
    }
    if !parts.course.is_empty() {
        course::render(frame, parts.course.inner(Margin::new(1, 0)), scene, mode);
    }
}

/// A row without a recycled pass has nothing else to show.
fn shown_mode(scene: Scene, row: &TokenRow) -> Mode {
    match scene.view.mode {
        Mode::Recycled | Mode::Difference if !heat::has_recycled(row) => Mode::Plain,
        mode => mode,
    }
}

fn render_course(frame: &mut Frame, area: Rect, scene: Scene) {
    let mode = scene.view.mode;
    let about = Line::from(scene.span(Role::Value, course::about(mode)));
    let below = Line::from(scene.span(Role::Name, " t shows the row "));
    let within = framed(frame, area, scene, Panel::Entropy, about, below);
    course::render(frame, within.inner(Margin::new(1, 0)), scene, mode);
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
    line.push_span(scene.span(Role::Name, format!(" · step {}", text::count(row.step))));
    let newer = scene.state.rows.iter().filter(|other| other.step > row.step).count();
    if newer > 0 {
        line.push_span(scene.span(Role::Key, format!(", {newer} newer ]")));
    }
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

/// The first of so many lines that is shown: the selected one stays in the middle, except at the ends.
fn top_line(placed: &[Placed], selected: usize, height: usize) -> usize {
    let lines = lines_of(placed);
    let here = placed.get(selected).map_or(0, |token| token.line);
    here.saturating_sub(height / 2).min(lines.saturating_sub(height))
}

/// The token of `row` that stands at a place of `area`, when `selected` is the one that is looked at.
pub fn token_at(row: &TokenRow, area: Rect, selected: usize, at: Position) -> Option<usize> {
    if !area.contains(at) {
        return None;
    }
    let placed = heat::arrange(&row.cells, area.width);
    let selected = selected.min(placed.len().saturating_sub(1));
    let line = top_line(&placed, selected, usize::from(area.height)) + usize::from(at.y - area.y);
    let column = at.x - area.x;
    placed.iter().position(|token| {
        token.line == line && (token.column..token.column + token.width.max(1)).contains(&column)
    })
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
    let top = top_line(placed, selected, height);
    let range = mode.range(row.vocab_size);
    let focused = scene.view.focus == Panel::Entropy;
    let start = placed.partition_point(|token| token.line < top);
    for (index, (token, cell)) in placed.iter().zip(&row.cells).enumerate().skip(start) {
        if token.line >= top + height {
            break;
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

fn draw_status(frame: &mut Frame, area: Rect, scene: Scene, row: &TokenRow, at: usize, cell: &TokenCell) {
    let area = area.inner(Margin::new(1, 0));
    let width = usize::from(area.width);
    let first = fit(scene, about_cell(scene, at, cell), " · ", width);
    frame.render_widget(first, layout::line(area, 0));
    if area.height < 3 {
        return;
    }
    for (index, name, choices) in [(1, "plain", &cell.top_plain), (2, "recycled", &cell.top_recycled)] {
        let line = fit(scene, likeliest(scene, row, name, choices), " · ", width);
        frame.render_widget(line, layout::line(area, index));
    }
}

/// The likeliest next tokens; the one that comes is marked by the row itself, one position on.
fn likeliest(scene: Scene, row: &TokenRow, name: &str, choices: &[Choice]) -> Vec<Part> {
    let head = scene.span(Role::Name, format!("{name:<9}"));
    if choices.is_empty() {
        return vec![(0, vec![head, scene.span(Role::Dim, "–")])];
    }
    let said = |(rank, choice): (usize, &Choice)| {
        let text =
            row.words.get(&choice.id).map_or_else(|| choice.id.to_string(), |text| text::spelled(text));
        let token = scene.span(Role::Value, format!("\"{}\"", text::clip(&text, 20)));
        let prob = scene.span(Role::Name, format!(" {:.1}%", choice.prob * 100.0));
        let spans = if rank == 0 { vec![head.clone(), token, prob] } else { vec![token, prob] };
        (rank as u8, spans)
    };
    choices.iter().enumerate().map(said).collect()
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
