//! Owns: the map of the panels, and what they share: the scene they draw and the frame around them.
//! Must not know: how the scene came about.
//! Invariant: a panel is a function of the scene and its area; it keeps nothing and draws nowhere else.
//!
//! - [`header`]: the run in two lines; [`run`]: the same panel on the whole screen
//! - [`loss`], [`schedule`], [`entropy`] (and [`course`]), [`thoughts`], [`cost`], [`changes`], [`log`], [`samples`],
//!   [`playground`]: the others; [`list`] is what those share that are lists
//! - [`prepare`]: what stands in their place before the first step
//! - [`notice`]: alerts and banners; [`footer`]: the keys; [`prompt`]: the command line in their place
//! - [`help`], [`question`]: what lies over all

pub mod changes;
pub mod cost;
pub mod course;
pub mod entropy;
pub mod footer;
pub mod header;
pub mod help;
pub mod list;
pub mod log;
pub mod loss;
pub mod notice;
pub mod playground;
pub mod prepare;
pub mod prompt;
pub mod question;
pub mod run;
pub mod samples;
pub mod schedule;
pub mod thoughts;

use super::layout;
use super::state::State;
use super::text;
use super::theme::{Role, Theme};
use super::view::{Panel, View};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Clear};

/// All that a panel may look at.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The run as it is looked at: now, or when the picture was frozen.
    pub state: &'a State,
    /// The run now.
    pub live: &'a State,
    /// What is looked at.
    pub view: &'a View,
    /// The colours.
    pub theme: &'a Theme,
    /// Whether panels share places, and frames name those that are hidden.
    pub tabs: bool,
}

impl Scene<'_> {
    /// Weight of the past in smoothed curves.
    pub fn smoothing(&self) -> f64 {
        self.view.charts.smoothing(self.state.dashboard().smoothing)
    }

    /// `text` in the style of `role`.
    pub fn span(&self, role: Role, text: impl Into<String>) -> Span<'static> {
        Span::styled(text.into(), self.theme.style(role))
    }

    /// A part of a line in one style.
    pub fn part(&self, rank: u8, role: Role, text: impl Into<String>) -> Part {
        (rank, vec![self.span(role, text)])
    }

    /// A part of a line that names a value.
    pub fn named(&self, rank: u8, name: &str, value: String) -> Part {
        let name = self.span(Role::Name, format!("{name} "));
        (rank, vec![name, self.span(Role::Value, value)])
    }
}

/// Draws the frame of `panel` with its number, its name, `about` beside them and `below` in the bottom border;
/// returns what is within.
pub fn framed(frame: &mut Frame, area: Rect, scene: Scene, panel: Panel, about: Line, below: Line) -> Rect {
    let focused = scene.view.focus == panel;
    let role = if focused { Role::Key } else { Role::Frame };
    let number = if focused { Role::Focus } else { Role::Dim };
    let name = if focused { Role::Focus } else { Role::Value };
    let mut title = Line::from(vec![
        scene.span(number, format!(" {} ", panel.key())),
        scene.span(name, format!("{} ", panel.name())),
    ]);
    let hidden = layout::beside(panel).filter(|_| scene.tabs);
    title.extend(hidden.map(|other| scene.span(Role::Dim, layout::title(other))));
    if title.spans.len() > 2 && about.width() > 0 {
        title.push_span(scene.span(role, "─ "));
    }
    let named = title.spans.len();
    // What does not fit into the border is left out whole, from its end.
    let mut room = usize::from(area.width.saturating_sub(3)).saturating_sub(title.width());
    for span in about.spans.into_iter().filter(|span| !span.content.is_empty()) {
        if span.width() + 1 > room {
            break;
        }
        room -= span.width();
        title.push_span(span);
    }
    if title.spans.len() > named {
        title.push_span(" ");
    }
    let below = if below.width() + 2 <= usize::from(area.width) { below } else { Line::default() };
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(scene.theme.style(role))
        .title_top(title)
        .title_bottom(below.right_aligned());
    let within = block.inner(area);
    frame.render_widget(block, area);
    within
}

/// Clears `area` for what lies over the panels. A wide character that would reach into it goes too.
pub fn clear(frame: &mut Frame, area: Rect) {
    frame.render_widget(Clear, area);
    for y in area.top()..area.bottom() {
        let left = area.x.checked_sub(1).and_then(|x| frame.buffer_mut().cell_mut((x, y)));
        if let Some(cell) = left.filter(|cell| text::width(cell.symbol()) > 1) {
            cell.set_symbol(" ");
        }
    }
}

/// What can be left out of a line: how dispensable it is, and what it says.
pub type Part = (u8, Vec<Span<'static>>);

/// Joins `parts` with `between`; the most dispensable go until it fits into `cells`.
pub fn fit(scene: Scene, mut parts: Vec<Part>, between: &'static str, cells: usize) -> Line<'static> {
    let wide = |part: &[Span]| part.iter().map(Span::width).sum::<usize>();
    let gap = text::width(between);
    while parts.iter().map(|(_, part)| wide(part) + gap).sum::<usize>() > cells + gap && parts.len() > 1 {
        let most = parts.iter().map(|(rank, _)| *rank).max();
        let last = parts.iter().rposition(|(rank, _)| Some(*rank) == most);
        parts.remove(last.unwrap_or_default());
    }
    let mut line = Line::default();
    for (index, (_, part)) in parts.into_iter().enumerate() {
        if index > 0 {
            line.push_span(scene.span(Role::Frame, between));
        }
        line.extend(part);
    }
    line
}
