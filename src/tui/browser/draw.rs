//! Owns: drawing the browser: status, headings, rows, the selected run in full, messages, keys or prompt.
//! Must not know: keys, files.
//! Invariant: text that has no room ends in `…`; columns that have none are counted in the status line.
//!
//! ```text
//!  runs checkpoints · 12 of 40 runs · 2 marked · sorted by began ▼ · state=finished
//!    name        state     step         best valid  tags   began ▼           size
//!  ● quickstart  finished  2,000 / 2,000    0.8123  base   2026-11-24 10:15  12.30 MB
//! ```

use super::columns::{self, ShownColumns};
use super::layout::{self, BrowserAreas};
use super::overlays;
use super::state::{BelowList, BrowserView, PromptKind, RunBrowser};
use super::table;
use crate::schema::protocol::LogLevel;
use crate::schema::run_list::RunListRow;
use crate::tui::app::command::CommandPrompt;
use crate::tui::app::keys;
use crate::tui::app::layout::{MIN_SIZE, line_area};
use crate::tui::panels::footer;
use crate::tui::text;
use crate::tui::theme::{Role, Theme};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Draws the browser on the whole screen.
pub fn render(frame: &mut Frame, browser: &RunBrowser, theme: &Theme) {
    let screen = frame.area();
    if screen.width < MIN_SIZE.0 || screen.height < MIN_SIZE.1 {
        let text = format!("{}×{} is too small; at least {}×{}", screen.width, screen.height, MIN_SIZE.0, MIN_SIZE.1);
        let text = text::wrap(&text, usize::from(screen.width)).into_iter().map(Line::from).collect::<Vec<_>>();
        return frame.render_widget(Paragraph::new(text), screen);
    }
    let areas = layout::areas(screen);
    if let BrowserView::Comparison(scroll) = browser.view {
        overlays::render_comparison(frame, browser, theme, scroll);
    } else {
        render_list(frame, browser, theme, areas);
    }
    match browser.view {
        BrowserView::Prompt(kind) => frame.render_widget(prompt_line(browser, theme, kind, areas.footer), areas.footer),
        _ => {
            let groups = browser.active_scopes().into_iter().flat_map(keys::binding_groups).collect();
            frame.render_widget(footer::hint_line(theme, groups, areas.footer.width), areas.footer);
        }
    }
    match browser.view {
        BrowserView::Help(scroll) => overlays::render_help(frame, theme, overlays::RUNS_HELP, scroll),
        BrowserView::DeleteDialog => overlays::render_delete_dialog(frame, browser, theme),
        _ => {}
    }
}

fn render_list(frame: &mut Frame, browser: &RunBrowser, theme: &Theme, areas: BrowserAreas) {
    let shown = columns::fit_columns(browser, usize::from(areas.list.width).saturating_sub(1));
    frame.render_widget(status_line(browser, theme, &shown, areas.status.width), areas.status);
    let heading = " ".repeat(columns::GUTTER + 1);
    frame.render_widget(table::heading_line(browser, theme, &shown, &heading), areas.heading);
    let lines = table::row_lines(browser, theme, &shown, areas.list, |row| vec![mark_span(browser, theme, row)]);
    match lines.is_empty() {
        true => frame.render_widget(empty_text(browser, theme), areas.list),
        false => frame.render_widget(Paragraph::new(lines), areas.list),
    }
    if let Some(row) = browser.selected_row() {
        render_details(frame, row, theme, areas.details);
    }
    frame.render_widget(message_line(browser, theme, areas.message.width), areas.message);
}

/// Returns what is wrong with the typed line, which has no room beside it; else the last message.
pub fn message_line(browser: &RunBrowser, theme: &Theme, width: u16) -> Line<'static> {
    let error = browser.prompt.error.as_ref().filter(|_| matches!(browser.view, BrowserView::Prompt(_)));
    let message = browser.message.as_ref().map(|(level, text)| (*level, text));
    let Some((level, text)) = error.map(|error| (LogLevel::Error, error)).or(message) else { return Line::default() };
    let role = match level {
        LogLevel::Info => Role::Name,
        LogLevel::Warn => Role::Warn,
        LogLevel::Error => Role::Bad,
    };
    Line::from(vec![Span::raw(" "), span(theme, role, text::clip(text, usize::from(width).saturating_sub(2)))])
}

/// Returns the mark of a run before its line.
fn mark_span(browser: &RunBrowser, theme: &Theme, row: &RunListRow) -> Span<'static> {
    let is_below = browser.below == BelowList::Dashboard(Some(row.folder.clone()));
    match browser.marks.contains(&row.folder) {
        true => span(theme, Role::Mark, " ● "),
        false if is_below => span(theme, Role::Key, " ▸ "),
        false => span(theme, Role::Value, "   "),
    }
}

fn span(theme: &Theme, role: Role, text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), theme.style(role))
}

/// Returns the line above the list. Its parts are left out from the end if there is no room.
fn status_line(browser: &RunBrowser, theme: &Theme, shown: &ShownColumns, width: u16) -> Line<'static> {
    let (visible, all) = (browser.visible_rows().len(), browser.row_count());
    let count = if visible == all { format!("{all} runs") } else { format!("{visible} of {all} runs") };
    let mut parts = vec![(Role::Value, count)];
    if browser.is_reading() {
        parts.push((Role::Warn, format!("reading {} of {}", browser.progress.0, browser.progress.1)));
    }
    if !browser.marks.is_empty() {
        parts.push((Role::Mark, format!("{} marked", browser.marks.len())));
    }
    if !browser.settings.filter.is_empty() {
        parts.push((Role::Key, format!("/{}", text::clip(&browser.settings.filter, 40))));
    }
    if !shown.columns.iter().any(|column| column.column == browser.settings.order.column) {
        parts.push((Role::Name, format!("sorted by {}", browser.settings.order.text())));
    }
    if shown.left_out > 0 {
        let columns = if shown.left_out == 1 { "column" } else { "columns" };
        parts.push((Role::Name, format!("{} more {columns}", shown.left_out)));
    }
    parts.push((Role::Dim, text::clip(&browser.settings.dir.display().to_string(), 60)));
    let mut line = Line::from(span(theme, Role::Focus, " runs"));
    for (role, part) in parts {
        if line.width() + text::width(&part) + 3 <= usize::from(width) {
            line.push_span(span(theme, Role::Frame, " · "));
            line.push_span(span(theme, role, part));
        }
    }
    line
}

/// Returns why the list is empty.
pub fn empty_text(browser: &RunBrowser, theme: &Theme) -> Line<'static> {
    let dir = text::clip(&browser.settings.dir.display().to_string(), 40);
    let text = match browser.row_count() {
        0 if browser.is_reading() || browser.progress == (0, 0) => "   reading the runs …".to_owned(),
        0 => format!("   no runs in {dir}"),
        _ => "   no run meets the filter; Esc clears it".to_owned(),
    };
    Line::from(span(theme, Role::Dim, text))
}

/// Draws the selected run below the list: its folder, origin, tags and the first problem.
fn render_details(frame: &mut Frame, row: &RunListRow, theme: &Theme, area: Rect) {
    if area.height == 0 {
        return;
    }
    let rule = "─".repeat(usize::from(area.width));
    frame.render_widget(span(theme, Role::Frame, rule), line_area(area, 0));
    let named = |name: &str, value: &str| {
        let name = span(theme, Role::Name, format!(" {name:<8} "));
        let room = usize::from(area.width).saturating_sub(name.width() + 1);
        Line::from(vec![name, span(theme, Role::Value, text::clip(value, room))])
    };
    let tags = if row.tags.is_empty() { "-".to_owned() } else { row.tags.join(" ") };
    let from = row.lineage.as_ref().map_or("-".into(), ToString::to_string);
    let last = match row.problems.first() {
        Some(problem) => {
            let more = if row.problems.len() > 1 { format!(" (+{})", row.problems.len() - 1) } else { String::new() };
            let mut line = named("damaged", &format!("{problem}{more}"));
            line.spans[0].style = theme.style(Role::Bad);
            line
        }
        None => named("from", &from),
    };
    let lines = [named("folder", &row.folder.display().to_string()), named("tags", &tags), last];
    for (index, line) in lines.into_iter().enumerate().take(usize::from(area.height) - 1) {
        frame.render_widget(line, line_area(area, index as u16 + 1));
    }
}

/// Returns the typed text with its cursor, and a hint about it.
pub fn prompt_line(browser: &RunBrowser, theme: &Theme, kind: PromptKind, area: Rect) -> Line<'static> {
    let (width, prompt) = (usize::from(area.width), &browser.prompt);
    let sign = match kind {
        PromptKind::Filter => " /".to_owned(),
        PromptKind::Sort => " sort by: ".to_owned(),
        PromptKind::Columns => " columns: ".to_owned(),
        PromptKind::Tags if browser.targets.len() > 1 => format!(" tag {} runs: ", browser.targets.len()),
        PromptKind::Tags => " tag: ".to_owned(),
        PromptKind::Rename => " name: ".to_owned(),
    };
    typed_line(theme, prompt, sign, prompt_hint(browser, kind), width)
}

/// Returns the text of `prompt` with its cursor between `sign` and `hint`, in `width` cells.
pub fn typed_line(
    theme: &Theme,
    prompt: &CommandPrompt,
    sign: String,
    (role, hint): (Role, String),
    width: usize,
) -> Line<'static> {
    let (before, after) = prompt.split_at_cursor();
    let room = width.saturating_sub(text::width(&sign) + 4);
    let hidden = text::width(before).saturating_sub(room);
    let start: String = before.chars().skip(hidden).collect();
    let mut line = Line::from(vec![
        span(theme, Role::Key, sign),
        span(theme, Role::Value, start),
        span(theme, Role::Key, "▏"),
        span(theme, Role::Value, text::clip(after, room / 2)),
    ]);
    let room = width.saturating_sub(line.width() + 3);
    line.push_span(span(theme, role, format!("  {}", text::clip(&hint, room))));
    line
}

fn prompt_hint(browser: &RunBrowser, kind: PromptKind) -> (Role, String) {
    let prompt = &browser.prompt;
    if !prompt.candidates.is_empty() {
        return (Role::Name, prompt.candidates.join(" "));
    }
    let hint = match kind {
        PromptKind::Filter => "a word, or KEY=VALUE with = != < <= > >= ~; Tab completes, Esc clears",
        PromptKind::Sort => "a column, metric or config key; -KEY descends; Tab completes",
        PromptKind::Columns => "metrics and config keys; Tab completes",
        PromptKind::Tags => "tags to add; -TAG removes one",
        PromptKind::Rename => "the folder gets this name after its time",
    };
    (Role::Dim, hint.to_owned())
}
