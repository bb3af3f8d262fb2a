//! Owns: drawing the dashboard of several runs: status, work, chart, table, messages, keys or prompt.
//! Must not know: what keys do, files.
//! Invariant: it draws at any size; text that has no room ends in `…`.

use super::chart;
use super::input::{self, HELP};
use super::layout::{self, MultiRunAreas};
use super::state::{MultiRunState, WorkState};
use super::view::{MultiRunScreen, MultiRunView};
use crate::schema::run_list::RunListRow;
use crate::tui::app::keys;
use crate::tui::app::layout::MIN_SIZE;
use crate::tui::browser::columns::{self, ShownColumns};
use crate::tui::browser::draw as browser_draw;
use crate::tui::browser::state::BrowserView;
use crate::tui::browser::{overlays, table};
use crate::tui::panels::footer;
use crate::tui::text;
use crate::tui::theme::{GroupTone, Role, Theme};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

const MAX_GROUP_CELLS: usize = 32;
/// Cells before the group's keys: a space, up to two of its letter, a mark, a space.
const LETTER_CELLS: usize = 5;

fn span(theme: &Theme, role: Role, text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), theme.style(role))
}

/// Draws the dashboard of several runs on the whole screen.
pub fn render(frame: &mut Frame, state: &MultiRunState, view: &MultiRunView, theme: &Theme) {
    let screen = frame.area();
    if screen.width < MIN_SIZE.0 || screen.height < MIN_SIZE.1 {
        let text = format!("{}×{} is too small; at least {}×{}", screen.width, screen.height, MIN_SIZE.0, MIN_SIZE.1);
        let text = text::wrap(&text, usize::from(screen.width)).into_iter().map(Line::from).collect::<Vec<_>>();
        return frame.render_widget(Paragraph::new(text), screen);
    }
    let areas = layout::areas(screen, state.list.visible_rows().len(), state.work.lines());
    frame.render_widget(work_line(&state.work, theme, areas.work.width), areas.work);
    chart::render(frame, areas.chart, state, view, theme);
    let shown = render_table(frame, state, view, theme, &areas);
    frame.render_widget(status_line(state, view, theme, &shown, areas.status.width), areas.status);
    frame.render_widget(message_line(state, view, theme, areas.message.width), areas.message);
    frame.render_widget(bottom_line(state, view, theme, areas.footer), areas.footer);
    if let MultiRunScreen::Help(scroll) = view.screen {
        overlays::render_help(frame, theme, HELP, scroll);
    }
}

/// Returns the first line: how many runs and groups there are, and what of them is shown.
fn status_line(
    state: &MultiRunState,
    view: &MultiRunView,
    theme: &Theme,
    shown: &ShownColumns,
    width: u16,
) -> Line<'static> {
    let list = &state.list;
    let (visible, all, groups) = (list.visible_rows().len(), list.row_count(), state.groups.all().len());
    let counted = |count: usize, noun: &str| if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") };
    let count = if visible == all { counted(all, "run") } else { format!("{visible} of {}", counted(all, "run")) };
    let mut parts = vec![(Role::Value, count), (Role::Value, counted(groups, "group"))];
    if list.is_reading() {
        parts.push((Role::Warn, format!("reading {} of {}", list.progress.0, list.progress.1)));
    }
    let pinned = view.pinned_runs.len() + view.pinned_groups.len();
    let hidden = view.hidden_runs.len() + view.hidden_groups.len();
    for (count, word, role) in [(pinned, "pinned", Role::Mark), (hidden, "hidden", Role::Warn)] {
        if count > 0 {
            parts.push((role, format!("{count} {word}")));
        }
    }
    if !list.settings.filter.is_empty() {
        parts.push((Role::Key, format!("/{}", text::clip(&list.settings.filter, 40))));
    }
    if !shown.columns.iter().any(|column| column.column == list.settings.order.column) {
        parts.push((Role::Name, format!("sorted by {}", list.settings.order.text())));
    }
    if shown.left_out > 0 {
        parts.push((Role::Name, counted(shown.left_out, "more column")));
    }
    parts.push((Role::Dim, text::clip(&list.settings.dir.display().to_string(), 60)));
    let mut line = Line::from(span(theme, Role::Focus, " several runs"));
    for (role, part) in parts {
        if line.width() + text::width(&part) + 3 <= usize::from(width) {
            line.push_span(span(theme, Role::Frame, " · "));
            line.push_span(span(theme, role, part));
        }
    }
    line
}

fn work_line(work: &WorkState, theme: &Theme, width: u16) -> Line<'static> {
    let room = |taken: usize| usize::from(width).saturating_sub(taken);
    match work {
        WorkState::None => Line::default(),
        WorkState::Running(text) => {
            Line::from(vec![span(theme, Role::Key, " ▸ "), span(theme, Role::Value, text::clip(text, room(4)))])
        }
        WorkState::Ended(text) => Line::from(vec![
            span(theme, Role::Good, " ended: "),
            span(theme, Role::Value, text::clip(text, room(22))),
            span(theme, Role::Name, "  q leaves"),
        ]),
    }
}

/// Draws the table of runs. Returns its columns.
fn render_table(
    frame: &mut Frame,
    state: &MultiRunState,
    view: &MultiRunView,
    theme: &Theme,
    areas: &MultiRunAreas,
) -> ShownColumns {
    let width = usize::from(areas.table.width);
    let widest = state.groups.all().iter().map(|group| text::width(&group.label)).max().unwrap_or(0);
    let label_cells = if state.groups.all().len() < 2 { 0 } else { widest.min(MAX_GROUP_CELLS).min(width / 3) };
    let before = LETTER_CELLS + label_cells + columns::GAP;
    let wanted = input::table_columns(state, view);
    let shown = columns::fit_wanted(&state.list, wanted, (width + columns::GUTTER).saturating_sub(before + 1));
    let heading = format!("{:<before$}", text::clip(" group", before));
    frame.render_widget(table::heading_line(&state.list, theme, &shown, &heading), areas.heading);
    let lines = table::row_lines(&state.list, theme, &shown, areas.table, |row| {
        group_spans(state, view, theme, row, label_cells)
    });
    match lines.is_empty() {
        true => frame.render_widget(browser_draw::empty_text(&state.list, theme), areas.table),
        false => frame.render_widget(Paragraph::new(lines), areas.table),
    }
    shown
}

/// Returns what stands before a run: the letter of its group, whether it is pinned or hidden, the group's keys.
fn group_spans(
    state: &MultiRunState,
    view: &MultiRunView,
    theme: &Theme,
    row: &RunListRow,
    label_cells: usize,
) -> Vec<Span<'static>> {
    let group = state.groups.group_of(&row.folder);
    let is_hidden = view.is_hidden(&row.folder, group);
    let style = match group {
        Some(group) if is_hidden => theme.group(group.slot, GroupTone::Band),
        Some(group) => theme.group(group.slot, GroupTone::Full),
        None => theme.style(Role::Dim),
    };
    let letter = group.map_or_else(|| "-".to_owned(), |group| group.letter());
    let group_is_pinned = group.is_some_and(|group| view.pinned_groups.contains(&group.slot));
    let mark = match () {
        () if view.is_pinned(&row.folder) || group_is_pinned => span(theme, Role::Mark, "★ "),
        () if is_hidden => span(theme, Role::Warn, "✗ "),
        () => span(theme, Role::Value, "  "),
    };
    let label = group.map_or_else(String::new, |group| text::clip(&group.label, label_cells));
    let free = " ".repeat(label_cells - text::width(&label).min(label_cells) + columns::GAP);
    vec![
        Span::styled(format!(" {letter:<2}"), style.add_modifier(Modifier::BOLD)),
        mark,
        Span::styled(label + &free, style),
    ]
}

/// Returns what is wrong with the typed line, else the last message, else what is wrong with the selected run, else its
/// folder.
fn message_line(state: &MultiRunState, view: &MultiRunView, theme: &Theme, width: u16) -> Line<'static> {
    let room = usize::from(width).saturating_sub(2);
    let typed = view.metric_prompt.error.as_ref().filter(|_| view.screen == MultiRunScreen::MetricPrompt);
    if let Some(error) = typed {
        return Line::from(span(theme, Role::Bad, format!(" {}", text::clip(error, room))));
    }
    let line = browser_draw::message_line(&state.list, theme, width);
    let Some(row) = state.list.selected_row().filter(|_| line.spans.is_empty()) else { return line };
    match row.problems.first() {
        Some(problem) => {
            let more = if row.problems.len() > 1 { format!(" (+{})", row.problems.len() - 1) } else { String::new() };
            Line::from(span(theme, Role::Bad, format!(" {}", text::clip(&format!("{problem}{more}"), room))))
        }
        None => {
            let folder = text::clip_start(&row.folder.display().to_string(), room);
            Line::from(span(theme, Role::Dim, format!(" {folder}")))
        }
    }
}

/// Returns the last line: what is typed, or the keys that work now.
fn bottom_line(state: &MultiRunState, view: &MultiRunView, theme: &Theme, area: Rect) -> Line<'static> {
    if let BrowserView::Prompt(kind) = state.list.view {
        return browser_draw::prompt_line(&state.list, theme, kind, area);
    }
    if view.screen == MultiRunScreen::MetricPrompt {
        let prompt = &view.metric_prompt;
        let hint = match prompt.candidates.is_empty() {
            true => (Role::Dim, "a metric, or a part of its name; Tab completes".to_owned()),
            false => (Role::Name, prompt.candidates.join(" ")),
        };
        return browser_draw::typed_line(theme, prompt, " metric: ".to_owned(), hint, usize::from(area.width));
    }
    let groups = input::active_scopes(state, view).into_iter().flat_map(keys::binding_groups).collect();
    footer::hint_line(theme, groups, area.width)
}
