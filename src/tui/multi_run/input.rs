//! Owns: what keys do in the dashboard of several runs.
//! Must not know: how anything is drawn, how a run is opened.
//! Invariant: no key changes a run.

use super::layout;
use super::state::MultiRunState;
use super::view::{MultiRunScreen, MultiRunView, RunLines};
use crate::run_list::column::{Column, MetricFigure};
use crate::run_list::sort::SortOrder;
use crate::schema::metrics::Metric;
use crate::schema::protocol::LogLevel;
use crate::tui::app::actions::{Action, Direction, Motion, MultiRunAction};
use crate::tui::app::command::PromptOutcome;
use crate::tui::app::keys::{self, Scope};
use crate::tui::browser::input::moved;
use crate::tui::browser::overlays::{self, KeyHelp};
use crate::tui::browser::prompt::complete_word;
use crate::tui::browser::state::{BrowserView, PromptKind};
use crossterm::event::{KeyCode, KeyEvent, KeyEventKind};
use ratatui::layout::Rect;
use std::path::PathBuf;

/// The help page of the screen.
pub const HELP: KeyHelp = KeyHelp { title: "several runs: keys", scopes: &[Scope::MultiRun, Scope::Always] };

/// What the screen requests from the main loop.
#[derive(Clone, Debug, PartialEq)]
pub enum MultiRunEffect {
    /// Nothing but a redraw.
    None,
    /// Open the run in this folder in its own dashboard.
    Open(PathBuf),
    Leave,
    Suspend,
}

/// Returns where keys work now.
pub fn active_scopes(state: &MultiRunState, view: &MultiRunView) -> Vec<Scope> {
    match (state.list.view, view.screen) {
        (BrowserView::Prompt(_), _) | (_, MultiRunScreen::MetricPrompt) => vec![Scope::Prompt],
        (_, MultiRunScreen::Help(_)) => vec![Scope::Help, Scope::Always],
        (_, MultiRunScreen::Charts) => vec![Scope::MultiRun, Scope::Always],
    }
}

/// Handles a key on a screen of this size.
pub fn handle_key(state: &mut MultiRunState, view: &mut MultiRunView, key: &KeyEvent, screen: Rect) -> MultiRunEffect {
    if key.kind == KeyEventKind::Release {
        return MultiRunEffect::None;
    }
    if keys::action_for(key, &[Scope::Always]) == Some(Action::Suspend) {
        return MultiRunEffect::Suspend;
    }
    if let BrowserView::Prompt(kind) = state.list.view {
        state.list.handle_prompt_key(kind, key);
        return MultiRunEffect::None;
    }
    if view.screen == MultiRunScreen::MetricPrompt {
        handle_metric_key(state, view, key);
        return MultiRunEffect::None;
    }
    state.list.message = None;
    match keys::action_for(key, &active_scopes(state, view)) {
        Some(Action::Move(motion)) => apply_motion(state, view, motion, screen),
        Some(Action::Help) => {
            let is_open = matches!(view.screen, MultiRunScreen::Help(_));
            view.screen = if is_open { MultiRunScreen::Charts } else { MultiRunScreen::Help(0) };
        }
        Some(Action::Quit | Action::Interrupt) => return MultiRunEffect::Leave,
        Some(Action::Back) => drop_filter(state),
        Some(Action::ToggleLogX) => view.charts.x_scale = view.charts.x_scale.toggled(),
        Some(Action::ToggleLogY) => view.charts.y_scale = view.charts.y_scale.toggled(),
        Some(Action::NextSmoothing) => view.cycle_smoothing(),
        Some(Action::NextChartSpan) => view.span = view.span.next(),
        Some(Action::MultiRun(MultiRunAction::Open)) => {
            let selected = state.list.selected_row().map(|row| row.folder.clone());
            return selected.map_or(MultiRunEffect::None, MultiRunEffect::Open);
        }
        Some(Action::MultiRun(action)) => apply_action(state, view, action),
        _ => {}
    }
    MultiRunEffect::None
}

fn drop_filter(state: &mut MultiRunState) {
    // An empty filter can be parsed.
    let _ = state.list.set_filter("");
}

fn apply_motion(state: &mut MultiRunState, view: &mut MultiRunView, motion: Motion, screen: Rect) {
    let areas = layout::areas(screen, state.list.visible_rows().len(), state.work.lines());
    let page = usize::from(areas.table.height).max(2) - 1;
    if let MultiRunScreen::Help(scroll) = &mut view.screen {
        let limit = usize::from(overlays::help_scroll_limit(screen, HELP));
        *scroll = moved(usize::from(*scroll), limit, page, motion) as u16;
        return;
    }
    let last = state.list.visible_rows().len().saturating_sub(1);
    state.list.select_line(moved(state.list.selected_line(), last, page, motion));
}

fn apply_action(state: &mut MultiRunState, view: &mut MultiRunView, action: MultiRunAction) {
    let selected = state.list.selected_row().map(|row| row.folder.clone());
    let slot = selected.as_ref().and_then(|folder| state.groups.group_of(folder)).map(|group| group.slot);
    match action {
        MultiRunAction::Open => {}
        MultiRunAction::SelectMetric(direction) => select_metric(state, view, direction),
        MultiRunAction::ChooseMetric => {
            view.metric_prompt.open(String::new());
            view.screen = MultiRunScreen::MetricPrompt;
        }
        MultiRunAction::NextXAxis => view.axis = view.axis.next(),
        MultiRunAction::NextBand => view.band = view.band.next(),
        MultiRunAction::ToggleRunLines => {
            view.run_lines = if view.run_lines == RunLines::Shown { RunLines::Hidden } else { RunLines::Shown };
        }
        MultiRunAction::PinRun => selected.iter().for_each(|folder| view.toggle_run_pin(folder)),
        MultiRunAction::HideRun => selected.iter().for_each(|folder| view.toggle_run(folder)),
        MultiRunAction::PinGroup | MultiRunAction::HideGroup if slot.is_none() => {
            let text = if selected.is_some() {
                "this run has no group: its config cannot be read"
            } else {
                "no run is selected"
            };
            state.list.message = Some((LogLevel::Info, text.to_owned()));
        }
        MultiRunAction::PinGroup => slot.iter().for_each(|slot| view.toggle_group_pin(*slot)),
        MultiRunAction::HideGroup => slot.iter().for_each(|slot| view.toggle_group(*slot)),
        MultiRunAction::ShowAll => view.show_all(),
        MultiRunAction::Filter => state.list.open_prompt(PromptKind::Filter),
        MultiRunAction::Sort => state.list.open_prompt(PromptKind::Sort),
        MultiRunAction::Columns => state.list.open_prompt(PromptKind::Columns),
        MultiRunAction::Reverse => {
            let SortOrder { column, direction } = state.list.settings.order;
            state.list.set_order(SortOrder { column, direction: direction.reversed() });
        }
    }
}

/// Charts the next metric of which a run has a value, or the previous one.
fn select_metric(state: &MultiRunState, view: &mut MultiRunView, direction: Direction) {
    let known = state.metrics();
    let Some(shown) = view.charted_metric(state).and_then(|metric| known.iter().position(|other| *other == metric))
    else {
        view.metric = known.first().copied();
        return;
    };
    let by = if direction == Direction::Forward { 1 } else { known.len() - 1 };
    view.metric = known.get((shown + by) % known.len()).copied();
}

/// Handles a key while the metric is typed.
fn handle_metric_key(state: &MultiRunState, view: &mut MultiRunView, key: &KeyEvent) {
    let names = || state.metrics().into_iter().map(|metric| metric.spec().name.to_owned()).collect::<Vec<_>>();
    if key.code == KeyCode::Tab {
        return complete_word(&mut view.metric_prompt, names());
    }
    view.metric_prompt.candidates.clear();
    match view.metric_prompt.handle_text_key(key) {
        PromptOutcome::Accepted => match find_metric(&names(), view.metric_prompt.text.trim()) {
            Ok(metric) => {
                view.metric = Some(metric);
                view.screen = MultiRunScreen::Charts;
            }
            Err(error) => view.metric_prompt.error = Some(error),
        },
        PromptOutcome::Cancelled => view.screen = MultiRunScreen::Charts,
        _ => {}
    }
}

/// Finds the metric `text` names: its name, with or without its unit, or a part of the name of a single metric in `known`.
fn find_metric(known: &[String], text: &str) -> Result<Metric, String> {
    if let Some(metric) = Metric::find(text) {
        return Ok(metric);
    }
    let found: Vec<&String> = known.iter().filter(|name| name.contains(text)).collect();
    match found[..] {
        [name] => Metric::find(name).ok_or_else(|| format!("unknown metric `{text}`")),
        [] => Err(format!("no run has a metric `{text}`; Tab completes")),
        [first, second, ..] => {
            Err(format!("`{text}` may be {first}, {second}{}", if found.len() > 2 { " or others" } else { "" }))
        }
    }
}

/// Returns the columns of the table in their order, each with its rank: those of the highest rank are left out first.
pub fn table_columns(state: &MultiRunState, view: &MultiRunView) -> Vec<(Column, u8)> {
    let seed = Column::parse("run.seed").ok().map(|column| (column, 3));
    let mut columns = vec![(Column::Name, 0), (Column::State, 1)];
    columns.extend(seed);
    columns.push((Column::Step, 4));
    if let Some(metric) = view.charted_metric(state) {
        let best = if metric.larger_is_better() { MetricFigure::Max } else { MetricFigure::Min };
        columns.extend([(Column::Metric(metric, MetricFigure::Last), 2), (Column::Metric(metric, best), 5)]);
    }
    let settings = &state.list.settings;
    let more = settings.columns.iter().map(|column| (*column, 4));
    for (column, rank) in std::iter::once((settings.order.column, 2)).chain(more) {
        match columns.iter_mut().find(|(other, _)| *other == column) {
            Some((_, known)) => *known = rank.min(*known),
            None if column != Column::Began => columns.push((column, rank)),
            None => {}
        }
    }
    columns
}
