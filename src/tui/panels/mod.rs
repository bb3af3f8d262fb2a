//! Owns: the map of the panels, and what they share: the render context, the frame, lines made of parts.
//! Must not know: how the run state came about.
//! Invariant: a panel is a function of the context and its area; it keeps no state and draws nowhere else.
//!
//! - [`header`]: the run in two lines; [`run`]: the same panel on the full screen
//! - [`loss`] (with [`loss_marks`] and its legend), [`schedule`] (with `measured_rows`), [`entropy`] (with
//!   [`entropy_heatmap`]), [`thoughts`], [`cost`], [`layers`] (with [`histogram_bars`]): charts and tables
//! - [`rollouts`] (with `rollout_text`): groups of completions with their rewards
//! - [`changes`], [`log`], [`samples`], [`playground`]: lists, drawn by [`list`]
//! - [`prepare`]: replaces the charts before the first step
//! - [`notice`]: alerts and banners; [`footer`]: the keys; [`prompt`]: the command line in their place;
//!   [`reply`]: what the last key or command led to
//! - [`help`], [`stop_dialog`]: overlays above all panels

pub mod changes;
pub mod cost;
pub mod entropy;
pub mod entropy_heatmap;
pub mod footer;
pub mod header;
pub mod help;
pub mod histogram_bars;
pub mod layers;
pub mod legend;
pub mod list;
pub mod log;
pub mod loss;
mod loss_legend;
pub mod loss_marks;
mod measured_rows;
pub mod notice;
pub mod playground;
pub mod prepare;
pub mod prompt;
pub mod reply;
mod rollout_text;
pub mod rollouts;
pub mod run;
pub mod samples;
pub mod schedule;
pub mod stop_dialog;
pub mod thoughts;

use super::app::layout;
use super::app::layout::TabSet;
use super::app::panel_id::Panel;
use super::app::view::ViewState;
use super::model::state::RunModel;
use super::text;
use super::theme::{Role, Theme};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear};

#[derive(Clone, Copy)]
pub struct RenderContext<'a> {
    /// The run as displayed: now, or as it was when the display was frozen.
    pub state: &'a RunModel,
    pub live: &'a RunModel,
    pub view: &'a ViewState,
    pub theme: &'a Theme,
    /// Which panels frames name as tabs.
    pub tabs: TabSet,
}

impl RenderContext<'_> {
    pub fn smoothing(&self) -> f64 {
        self.view.charts.smoothing(self.state.dashboard_config().smoothing)
    }

    /// Returns the first and the last step that charts show.
    pub fn visible_steps(&self) -> (u64, u64) {
        self.view.charts.visible_steps(self.state.known_steps())
    }

    /// Returns the step at which values are shown: that of the cursor, else the end of the run.
    pub fn cursor_step(&self) -> u64 {
        self.view.charts.cursor.unwrap_or(u64::MAX)
    }

    pub fn span(&self, role: Role, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.theme.style(role))
    }

    /// Returns a part of a line in one style; see [`LinePart`] for `rank`.
    pub fn part(&self, rank: u8, role: Role, text: impl Into<String>) -> LinePart {
        (rank, vec![self.span(role, text)])
    }

    /// Returns a part of a line that is a name and a value; see [`LinePart`] for `rank`.
    pub fn named_part(&self, rank: u8, name: &str, value: String) -> LinePart {
        let name = self.span(Role::Name, format!("{name} "));
        (rank, vec![name, self.span(Role::Value, value)])
    }
}

/// Draws the frame of `panel` with `subtitle` above and `below` below. Returns the area within.
pub fn draw_frame(
    frame: &mut Frame,
    area: Rect,
    ctx: RenderContext,
    panel: Panel,
    subtitle: Line,
    below: Line,
) -> Rect {
    let focused = ctx.view.panels.focus == panel;
    let role = if focused { Role::Key } else { Role::Frame };
    let number = if focused { Role::Focus } else { Role::Dim };
    let name = if focused { Role::Focus } else { Role::Value };
    let mut title =
        Line::from(vec![ctx.span(number, format!(" {} ", panel.key())), ctx.span(name, format!("{} ", panel.name()))]);
    let hidden = layout::other_tabs(panel, ctx.tabs);
    title.extend(hidden.map(|other| ctx.span(Role::Dim, layout::panel_title(other))));
    let (named, has_tabs) = (title.spans.len(), title.spans.len() > 2);
    // Spans of the subtitle that do not fit are left out, from its end.
    let mut room = usize::from(area.width.saturating_sub(3)).saturating_sub(title.width());
    for span in subtitle.spans.into_iter().filter(|span| !span.content.is_empty()) {
        let separator = if has_tabs && title.spans.len() == named { "─ " } else { "" };
        let needed = text::width(separator) + span.width();
        if needed + 1 > room {
            break;
        }
        room -= needed;
        title.extend([ctx.span(role, separator), span]);
    }
    if title.spans.len() > named {
        title.push_span(" ");
    }
    let below = if below.width() + 2 <= usize::from(area.width) { below } else { Line::default() };
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(ctx.theme.style(role))
        .title_top(title)
        .title_bottom(below.right_aligned());
    let within = block.inner(area);
    frame.render_widget(block, area);
    within
}

/// Clears `area` for an overlay, and any wide character that would reach into it.
pub fn clear_area(frame: &mut Frame, area: Rect) {
    frame.render_widget(Clear, area);
    for y in area.top()..area.bottom() {
        let left = area.x.checked_sub(1).and_then(|x| frame.buffer_mut().cell_mut((x, y)));
        if let Some(cell) = left.filter(|cell| text::width(cell.symbol()) > 1) {
            cell.set_symbol(" ");
        }
    }
}

/// A part of a line: its rank and its text. Parts of the highest rank are left out first.
pub type LinePart = (u8, Vec<Span<'static>>);

/// Joins `parts` with `between`, leaving out those of the highest rank until the line fits into `cells`.
pub fn fit_line(ctx: RenderContext, parts: Vec<LinePart>, between: &'static str, cells: usize) -> Line<'static> {
    fit_lines(ctx, parts, between, cells, 1).pop().unwrap_or_default()
}

/// Joins `parts` into at most `rows` lines, leaving out those of the highest rank until they fit.
pub fn fit_lines(
    ctx: RenderContext,
    mut parts: Vec<LinePart>,
    between: &'static str,
    cells: usize,
    rows: usize,
) -> Vec<Line<'static>> {
    let mut lines = break_lines(&parts, text::width(between), cells);
    while lines.len() > rows && parts.len() > 1 {
        let highest = parts.iter().map(|(rank, _)| *rank).max();
        let last = parts.iter().rposition(|(rank, _)| Some(*rank) == highest);
        parts.remove(last.unwrap_or_default());
        lines = break_lines(&parts, text::width(between), cells);
    }
    let mut parts = parts.into_iter();
    let join = |count: usize| {
        let mut line = Line::default();
        for (index, (_, part)) in parts.by_ref().take(count).enumerate() {
            if index > 0 {
                line.push_span(ctx.span(Role::Frame, between));
            }
            line.extend(part);
        }
        line
    };
    lines.into_iter().map(join).collect()
}

/// Returns how many of `parts` each line of `cells` cells takes, with gaps of `gap` cells.
fn break_lines(parts: &[LinePart], gap: usize, cells: usize) -> Vec<usize> {
    let mut lines: Vec<usize> = Vec::new();
    let mut used = 0;
    for (_, part) in parts {
        let width = part.iter().map(Span::width).sum::<usize>();
        match lines.last_mut() {
            Some(count) if used + gap + width <= cells => {
                *count += 1;
                used += gap + width;
            }
            _ => {
                lines.push(1);
                used = width;
            }
        }
    }
    lines
}
