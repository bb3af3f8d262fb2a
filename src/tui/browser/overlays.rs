//! Owns: what covers the list of runs: the keys, the dialog before a deletion, the comparison of two runs.
//! Must not know: which keys exist (the key table does), how runs are compared.
//! Invariant: the dialog names the runs that would be lost, as many as there is room for, and counts the others.

use super::layout as list_layout;
use super::state::RunBrowser;
use crate::schema::rows::ChangeRow;
use crate::schema::run_list::{ComparedRun, RunComparison, SettingDifference};
use crate::tui::app::keys::{self, Scope};
use crate::tui::app::layout::{centered, line_area};
use crate::tui::panels::clear_area;
use crate::tui::text;
use crate::tui::theme::{Role, Theme};
use indicatif::DecimalBytes;
use ratatui::Frame;
use ratatui::layout::{Margin, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph};

const HELP_WIDTH: u16 = 58;
const HELP_KEY_CELLS: usize = 18;
const DIALOG_WIDTH: u16 = 72;
/// Lines of the dialog besides those of the runs.
const DIALOG_OTHER_LINES: u16 = 7;
const MAX_KEY_CELLS: usize = 32;

fn span(theme: &Theme, role: Role, text: impl Into<String>) -> Span<'static> {
    Span::styled(text.into(), theme.style(role))
}

fn frame_block(theme: &Theme, role: Role, title: &str) -> Block<'static> {
    Block::bordered().border_type(BorderType::Rounded).border_style(theme.style(role)).title_top(span(
        theme,
        role,
        format!(" {title} "),
    ))
}

/// A help page: its title, and where the keys work that it lists.
#[derive(Clone, Copy, Debug)]
pub struct KeyHelp {
    pub title: &'static str,
    pub scopes: &'static [Scope],
}

/// The keys of the list of runs.
pub const RUNS_HELP: KeyHelp =
    KeyHelp { title: "runs: keys", scopes: &[Scope::Runs, Scope::Comparison, Scope::Always] };

/// Returns the keys of the page, each with what it does.
fn help_lines(page: KeyHelp) -> Vec<(String, &'static str)> {
    let groups = page.scopes.iter().copied().flat_map(keys::binding_groups);
    groups
        .map(|group| {
            let names: Vec<String> = group.iter().flat_map(|row| row.keys).map(|key| key.name()).collect();
            (names.join(" "), group[0].help)
        })
        .collect()
}

fn help_area(screen: Rect, page: KeyHelp) -> Rect {
    centered(screen, HELP_WIDTH, help_lines(page).len() as u16 + 2)
}

/// Returns how many lines the help can be scrolled on `screen`.
pub fn help_scroll_limit(screen: Rect, page: KeyHelp) -> u16 {
    (help_lines(page).len() as u16).saturating_sub(help_area(screen, page).height.saturating_sub(2))
}

pub fn render_help(frame: &mut Frame, theme: &Theme, page: KeyHelp, scroll: u16) {
    let area = help_area(frame.area(), page);
    clear_area(frame, area);
    let below = if help_scroll_limit(frame.area(), page) > 0 { " ↑ ↓ scroll, Esc closes " } else { " Esc closes " };
    let block = frame_block(theme, Role::Focus, page.title)
        .title_bottom(Line::from(span(theme, Role::Name, below)).right_aligned());
    let within = block.inner(area).inner(Margin::new(1, 0));
    frame.render_widget(block, area);
    let room = usize::from(within.width).saturating_sub(HELP_KEY_CELLS + 1);
    let line = |(keys, help): (String, &str)| {
        let gap = " ".repeat(HELP_KEY_CELLS.saturating_sub(text::width(&keys)) + 1);
        Line::from(vec![span(theme, Role::Key, keys + &gap), span(theme, Role::Value, text::clip(help, room))])
    };
    let lines: Vec<Line> = help_lines(page).into_iter().skip(usize::from(scroll)).map(line).collect();
    frame.render_widget(Paragraph::new(lines), within);
}

/// Draws the question whether to delete the runs that the browser asks about.
pub fn render_delete_dialog(frame: &mut Frame, browser: &RunBrowser, theme: &Theme) {
    let screen = frame.area();
    let rows: Vec<_> = browser.targets.iter().filter_map(|folder| browser.row(folder)).collect();
    let room = usize::from(screen.height.saturating_sub(DIALOG_OTHER_LINES + 2)).max(1);
    let named = if rows.len() > room { room - 1 } else { rows.len() };
    let total: u64 = rows.iter().map(|row| row.bytes).sum();
    let width = usize::from(DIALOG_WIDTH.min(screen.width)).saturating_sub(6);
    let mut lines = vec![Line::default()];
    for row in &rows[..named] {
        let size = format!("  {}  {}", row.state_word(), DecimalBytes(row.bytes));
        let run = text::clip(&row.run, width.saturating_sub(text::width(&size)));
        lines.push(Line::from(vec![span(theme, Role::Value, run), span(theme, Role::Name, size)]));
    }
    if named < rows.len() {
        lines.push(Line::from(span(theme, Role::Warn, format!("and {} more", rows.len() - named))));
    }
    lines.push(Line::default());
    let children = match browser.children_of(&browser.targets) {
        0 => String::new(),
        1 => "; another run started from one of them".into(),
        count => format!("; {count} other runs started from them"),
    };
    let warning = format!("{} with all checkpoints{children}", DecimalBytes(total));
    lines.push(Line::from(span(theme, Role::Warn, text::clip(&warning, width))));
    for binding in keys::bindings_in(&[Scope::DeleteDialog]) {
        let key = binding.keys.first().map(|key| key.name()).unwrap_or_default();
        lines.push(Line::from(vec![
            span(theme, Role::Key, format!("[{key}] ")),
            span(theme, Role::Value, binding.help),
        ]));
    }
    let area = centered(screen, DIALOG_WIDTH, lines.len() as u16 + 2);
    clear_area(frame, area);
    let title = if rows.len() == 1 { "Delete this run?".into() } else { format!("Delete {} runs?", rows.len()) };
    let block = frame_block(theme, Role::Bad, &title);
    let within = block.inner(area).inner(Margin::new(2, 0));
    frame.render_widget(block, area);
    frame.render_widget(Paragraph::new(lines), within);
}

/// A line of the comparison.
enum ComparisonLine<'a> {
    Empty,
    Heading(String),
    Run(&'static str, String),
    Difference(&'a SettingDifference),
    Change(&'a ChangeRow),
    Nothing(&'static str),
}

fn comparison_lines(found: &RunComparison) -> Vec<ComparisonLine<'_>> {
    let described = |run: &ComparedRun| format!("{}  config v{}", run.run, run.version);
    let mut lines = vec![ComparisonLine::Run("A", described(&found.a)), ComparisonLine::Run("B", described(&found.b))];
    for (title, differences) in [("config", &found.current), ("config at the start", &found.initial)] {
        lines.push(ComparisonLine::Empty);
        lines.push(ComparisonLine::Heading(format!("{title}: {}", counted(differences.len(), "difference"))));
        lines.extend(differences.iter().map(ComparisonLine::Difference));
    }
    for (name, run) in [("A", &found.a), ("B", &found.b)] {
        lines.push(ComparisonLine::Empty);
        lines.push(ComparisonLine::Heading(format!(
            "{name}: {} while it trained",
            counted(run.changes.len(), "change")
        )));
        match run.changes.is_empty() {
            true => lines.push(ComparisonLine::Nothing("its config is that of its start")),
            false => lines.extend(run.changes.iter().map(ComparisonLine::Change)),
        }
    }
    lines
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

pub fn comparison_line_count(found: &RunComparison) -> usize {
    comparison_lines(found).len()
}

/// Returns how many lines of a comparison are in view.
pub fn comparison_height(screen: Rect) -> usize {
    usize::from(comparison_area(screen).height.saturating_sub(2))
}

fn comparison_area(screen: Rect) -> Rect {
    Rect { height: list_layout::areas(screen).footer.y.saturating_sub(screen.y), ..screen }
}

/// Draws the comparison above the keys.
pub fn render_comparison(frame: &mut Frame, browser: &RunBrowser, theme: &Theme, scroll: u16) {
    let Some(found) = &browser.comparison else { return };
    let area = comparison_area(frame.area());
    let lines = comparison_lines(found);
    let hidden = lines.len().saturating_sub(usize::from(scroll) + comparison_height(frame.area()));
    let mut block = frame_block(theme, Role::Focus, "configs of two runs");
    if hidden > 0 {
        let below = format!(" {hidden} more, ↓ ");
        block = block.title_bottom(Line::from(span(theme, Role::Key, below)).right_aligned());
    }
    let within = block.inner(area).inner(Margin::new(1, 0));
    frame.render_widget(block, area);
    let differences = found.current.iter().chain(&found.initial);
    let key_cells = differences.map(|found| found.key.len()).max().unwrap_or(0).min(MAX_KEY_CELLS);
    for (index, line) in lines.iter().skip(usize::from(scroll)).take(usize::from(within.height)).enumerate() {
        let line = comparison_line(theme, line, key_cells, usize::from(within.width));
        frame.render_widget(line, line_area(within, index as u16));
    }
}

fn comparison_line(theme: &Theme, line: &ComparisonLine, key_cells: usize, width: usize) -> Line<'static> {
    match line {
        ComparisonLine::Empty => Line::default(),
        ComparisonLine::Heading(text) => Line::from(span(theme, Role::Focus, text::clip(text, width))),
        ComparisonLine::Nothing(text) => Line::from(span(theme, Role::Dim, format!("  {text}"))),
        ComparisonLine::Run(name, text) => {
            let role = if *name == "A" { Role::Plain } else { Role::Recycled };
            let name = span(theme, role, format!("{name}  "));
            Line::from(vec![name, span(theme, Role::Value, text::clip(text, width.saturating_sub(3)))])
        }
        ComparisonLine::Difference(found) => {
            let key = text::clip(&found.key, key_cells);
            let key = format!("  {key}{}  ", " ".repeat(key_cells - text::width(&key).min(key_cells)));
            let room = width.saturating_sub(text::width(&key) + 3);
            let b_cells = text::width(&text::make_visible(&found.b)).min(room / 2);
            let a = text::clip(&found.a, room - b_cells);
            let b = text::clip(&found.b, room - text::width(&a));
            Line::from(vec![
                span(theme, Role::Name, key),
                span(theme, Role::Plain, a),
                span(theme, Role::Frame, " │ "),
                span(theme, Role::Recycled, b),
            ])
        }
        ComparisonLine::Change(change) => {
            let step = format!("  step {}  ", text::with_separators(change.step));
            let what = format!("{}  {} → {}", change.key.as_deref().unwrap_or("-"), change.old, change.new);
            let room = width.saturating_sub(text::width(&step));
            Line::from(vec![span(theme, Role::Name, step), span(theme, Role::Value, text::clip(&what, room))])
        }
    }
}
