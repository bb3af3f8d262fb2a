//! Owns: the entropy panel, 4: one probed row as text, and the entropy heatmap if there is room or it is selected.
//! Must not know: the terminal, keys, how tokens are laid out.
//! Invariant: a recycled position is marked by a glyph and an underline, not by colour alone.
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

use super::{LinePart, RenderContext, draw_frame, entropy_heatmap, fit_line};
use crate::schema::metrics::Metric;
use crate::schema::token_rows::{TokenCell, TokenProb, TokenRow};
use crate::tui::app::layout;
use crate::tui::app::panel_id::Panel;
use crate::tui::app::token_view::EntropyDisplay;
use crate::tui::app::view::ViewState;
use crate::tui::model::state::RunModel;
use crate::tui::plot::token_grid::{PlacedToken, TokenValue};
use crate::tui::plot::{chart, token_grid};
use crate::tui::text;
use crate::tui::theme::Role;
use ratatui::Frame;
use ratatui::layout::{Margin, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};

const SCALE_CELLS: usize = 12;
/// The fewest lines within the frame that have room for the likeliest tokens.
const TOP_TOKENS_MIN_HEIGHT: u16 = 8;
/// The fewest lines within the frame that have room for the heatmap below the row.
const HEATMAP_MIN_HEIGHT: u16 = 26;
const MAX_DETAIL_LINES: u16 = 3;

struct EntropyAreas {
    text: Rect,
    details: Rect,
    heatmap: Rect,
}

/// Divides the area within the frame, for a row of `lines` lines.
fn split_area(within: Rect, picture: EntropyDisplay, lines: usize) -> EntropyAreas {
    let course = match picture {
        EntropyDisplay::Heatmap => within.height,
        EntropyDisplay::Row if within.height >= HEATMAP_MIN_HEIGHT => {
            let needed = (lines as u16).saturating_add(MAX_DETAIL_LINES + 1);
            (within.height * 2 / 5).max(within.height.saturating_sub(needed))
        }
        EntropyDisplay::Row => 0,
    };
    let above = within.height - course;
    let status = match above {
        0 => 0,
        1..TOP_TOKENS_MIN_HEIGHT => 1,
        _ => MAX_DETAIL_LINES,
    };
    let text = Rect { height: above - status, ..within };
    let status = Rect { y: text.bottom(), height: status, ..within };
    EntropyAreas { text, details: status, heatmap: Rect { y: status.bottom(), height: course, ..within } }
}

fn line_count(placed: &[PlacedToken]) -> usize {
    placed.last().map_or(0, |last| last.line + 1)
}

/// Returns the area of the row's tokens; `within` is the area within the panel's frame.
pub fn text_area(within: Rect, view: &ViewState, state: &RunModel) -> Rect {
    let placed =
        view.tokens.row(state).map_or_else(Vec::new, |row| token_grid::layout_tokens(&row.cells, within.width));
    split_area(within, view.tokens.display, line_count(&placed)).text
}

/// Draws the row, the details of the selected position, the heatmap and the legend.
pub fn render(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let picture = ctx.view.tokens.display;
    let Some(row) = ctx.view.tokens.row(ctx.state) else {
        if picture == EntropyDisplay::Heatmap && !ctx.state.histograms.columns().is_empty() {
            return render_heatmap(frame, area, ctx);
        }
        return render_empty(frame, area, ctx);
    };
    if picture == EntropyDisplay::Heatmap {
        return render_heatmap(frame, area, ctx);
    }
    let mode = shown_mode(ctx, row);
    let legend = legend(ctx, row, mode, area.width);
    let shows_heatmap = layout::inner_area(area).height >= HEATMAP_MIN_HEIGHT;
    let markers = if shows_heatmap && area.width >= 100 { chart::marker_legend(ctx) } else { Vec::new() };
    let bottom: Line = markers.into_iter().chain(legend.spans).collect();
    let within = draw_frame(frame, area, ctx, Panel::Entropy, subtitle(ctx, row, mode), bottom);
    let placed = token_grid::layout_tokens(&row.cells, within.width);
    let parts = split_area(within, picture, line_count(&placed));
    let selected = ctx.view.tokens.selected.min(placed.len().saturating_sub(1));
    draw_tokens(frame, parts.text, ctx, (row, mode), &placed, selected);
    if let Some(cell) = row.cells.get(selected) {
        draw_details(frame, parts.details, ctx, row, selected, cell);
    }
    if !parts.heatmap.is_empty() {
        entropy_heatmap::render(frame, parts.heatmap.inner(Margin::new(1, 0)), ctx, mode);
    }
}

/// Returns the mode to display: a row without a recycled pass only has plain values.
fn shown_mode(ctx: RenderContext, row: &TokenRow) -> TokenValue {
    match ctx.view.tokens.value {
        TokenValue::Recycled | TokenValue::Difference if !token_grid::has_recycled(row) => TokenValue::Plain,
        mode => mode,
    }
}

fn render_heatmap(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let mode = ctx.view.tokens.value;
    let subtitle = Line::from(ctx.span(Role::Value, entropy_heatmap::subtitle(ctx, mode)));
    let mut bottom = Line::from(chart::marker_legend(ctx));
    bottom.push_span(ctx.span(Role::Name, " t shows the row "));
    let within = draw_frame(frame, area, ctx, Panel::Entropy, subtitle, bottom);
    entropy_heatmap::render(frame, within.inner(Margin::new(1, 0)), ctx, mode);
}

fn render_empty(frame: &mut Frame, area: Rect, ctx: RenderContext) {
    let none = Line::default;
    let within = draw_frame(frame, area, ctx, Panel::Entropy, none(), none());
    let is_off = ctx.state.run.as_ref().is_some_and(|run| run.config.probe.every == 0);
    let text = if is_off { "probes are off (probe.every = 0)" } else { "no row has been probed yet" };
    let middle = layout::line_area(within, within.height / 2).inner(Margin::new(1, 0));
    frame.render_widget(ctx.span(Role::Dim, text), middle);
}

/// Returns the subtitle: mode, step of the row, numbers of newer rows and of recycled positions.
fn subtitle(ctx: RenderContext, row: &TokenRow, mode: TokenValue) -> Line<'static> {
    let recycled = row.cells.iter().filter(|cell| cell.recycled).count();
    let mut line = Line::from(ctx.span(Role::Value, mode.name()));
    if mode != ctx.view.tokens.value {
        line.push_span(ctx.span(Role::Warn, ": no recycled pass in this row"));
    }
    line.push_span(ctx.span(Role::Name, format!(" · step {}", text::with_separators(row.step))));
    let newer = ctx.state.token_rows.iter().filter(|other| other.step > row.step).count();
    if newer > 0 {
        line.push_span(ctx.span(Role::Key, format!(", {newer} newer ]")));
    }
    line.push_span(ctx.span(Role::Name, format!(" · {recycled} of {} recycled", row.cells.len())));
    line
}

/// Returns the legend: the marks of tokens and the colour scale in nats.
fn legend(ctx: RenderContext, row: &TokenRow, mode: TokenValue, width: u16) -> Line<'static> {
    let (low, high) = mode.range(row.vocab_size);
    let mut line = Line::from(vec![
        Span::raw(" "),
        Span::styled(
            format!("{}recycled", token_grid::RECYCLED_MARK),
            ctx.theme.style(Role::Value).add_modifier(Modifier::UNDERLINED),
        ),
        ctx.span(Role::Name, format!("  {}document  ", token_grid::DOCUMENT_MARK)),
        ctx.span(Role::Name, if low == 0.0 { "0 ".into() } else { format!("{low:.2} ") }),
    ]);
    for index in 0..SCALE_CELLS {
        let share = index as f64 / (SCALE_CELLS - 1) as f64;
        let style = heat_style(ctx, mode, low + (high - low) * share, (low, high));
        line.push_span(Span::styled(if ctx.theme.has_colors() { " " } else { "a" }, style));
    }
    let unit = if width >= 100 && mode != TokenValue::Difference { " nats = ln V " } else { " nats " };
    line.push_span(ctx.span(Role::Name, format!(" {high:.2}{unit}")));
    line
}

fn heat_style(ctx: RenderContext, mode: TokenValue, value: f64, (low, high): (f64, f64)) -> Style {
    match mode {
        TokenValue::Difference => ctx.theme.difference(value / high),
        _ => ctx.theme.heat((value - low) / (high - low)),
    }
}

/// Returns the first visible line: the selected token stays in the middle, except at the ends.
fn first_visible_line(placed: &[PlacedToken], selected: usize, height: usize) -> usize {
    let lines = line_count(placed);
    let here = placed.get(selected).map_or(0, |token| token.line);
    here.saturating_sub(height / 2).min(lines.saturating_sub(height))
}

/// Returns the index of the token at a screen position of `area`, if `selected` is the selected token.
pub fn token_at(row: &TokenRow, area: Rect, selected: usize, at: Position) -> Option<usize> {
    if !area.contains(at) {
        return None;
    }
    let placed = token_grid::layout_tokens(&row.cells, area.width);
    let selected = selected.min(placed.len().saturating_sub(1));
    let line = first_visible_line(&placed, selected, usize::from(area.height)) + usize::from(at.y - area.y);
    let column = at.x - area.x;
    placed
        .iter()
        .position(|token| token.line == line && (token.column..token.column + token.width.max(1)).contains(&column))
}

fn draw_tokens(
    frame: &mut Frame,
    area: Rect,
    ctx: RenderContext,
    (row, mode): (&TokenRow, TokenValue),
    placed: &[PlacedToken],
    selected: usize,
) {
    let height = usize::from(area.height);
    let top = first_visible_line(placed, selected, height);
    let range = mode.range(row.vocab_size);
    let focused = ctx.view.panels.focus == Panel::Entropy;
    let start = placed.partition_point(|token| token.line < top);
    for (index, (token, cell)) in placed.iter().zip(&row.cells).enumerate().skip(start) {
        if token.line >= top + height {
            break;
        }
        let mut style =
            mode.value_of(cell).map_or_else(|| ctx.theme.style(Role::Dim), |value| heat_style(ctx, mode, value, range));
        if cell.recycled {
            style = style.add_modifier(Modifier::UNDERLINED | Modifier::BOLD);
        }
        if focused && index == selected {
            style = style.patch(ctx.theme.style(Role::Selected));
        }
        let (x, y) = (area.x + token.column, area.y + (token.line - top) as u16);
        frame.buffer_mut().set_span(x, y, &Span::styled(token.text.as_str(), style), token.width);
    }
}

fn draw_details(frame: &mut Frame, area: Rect, ctx: RenderContext, row: &TokenRow, at: usize, cell: &TokenCell) {
    let area = area.inner(Margin::new(1, 0));
    let width = usize::from(area.width);
    let first = fit_line(ctx, position_parts(ctx, at, cell), " · ", width);
    frame.render_widget(first, layout::line_area(area, 0));
    if area.height < 3 {
        return;
    }
    for (index, name, choices) in [(1, "plain", &cell.top_plain), (2, "recycled", &cell.top_recycled)] {
        let line = fit_line(ctx, top_token_parts(ctx, row, name, choices), " · ", width);
        frame.render_widget(line, layout::line_area(area, index));
    }
}

/// Returns the likeliest next tokens of a pass with their probabilities, or `–` if there are none.
fn top_token_parts(ctx: RenderContext, row: &TokenRow, name: &str, choices: &[TokenProb]) -> Vec<LinePart> {
    let head = ctx.span(Role::Name, format!("{name:<9}"));
    if choices.is_empty() {
        return vec![(0, vec![head, ctx.span(Role::Dim, "–")])];
    }
    let token_part = |(rank, choice): (usize, &TokenProb)| {
        let text = text::token_text(row, choice.id);
        let token = ctx.span(Role::Value, format!("\"{}\"", text::clip(&text, 20)));
        let prob = ctx.span(Role::Name, format!(" {:.1}%", choice.prob * 100.0));
        let spans = if rank == 0 { vec![head.clone(), token, prob] } else { vec![token, prob] };
        (rank as u8, spans)
    };
    choices.iter().enumerate().map(token_part).collect()
}

fn position_parts(ctx: RenderContext, position: usize, cell: &TokenCell) -> Vec<LinePart> {
    let entropy = match cell.entropy_recycled {
        Some(recycled) => format!("{} → {}", format_nats(cell.entropy_plain), format_nats(recycled)),
        None => format_nats(cell.entropy_plain),
    };
    let token = text::clip(&text::spell_out(&cell.text), 24);
    let nll = format!("{} {}", format_nats(cell.nll_plain), Metric::LossPlain.spec().unit);
    let mut parts = vec![
        ctx.named_part(0, "position", position.to_string()),
        ctx.named_part(1, "token", format!("{} \"{token}\"", cell.id)),
        ctx.named_part(0, "entropy", entropy),
        ctx.named_part(2, "nll", nll),
    ];
    if cell.recycled {
        parts.push(ctx.part(1, Role::Recycled, "recycled"));
    }
    if cell.doc_start {
        parts.push(ctx.part(3, Role::Name, "document start"));
    }
    parts
}

fn format_nats(value: f32) -> String {
    if value.is_finite() { text::decimal(f64::from(value)) } else { "not finite".into() }
}
