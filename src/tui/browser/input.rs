//! Owns: what keys and mouse do in the browser.
//! Must not know: how a request is carried out, how anything is drawn.
//! Invariant: nothing is deleted without a dialog that names the runs.

use super::layout::{self, BrowserAreas};
use super::overlays;
use super::state::{BelowList, BrowserView, PromptKind, RunBrowser};
use crate::run_list::sort::SortOrder;
use crate::schema::protocol::LogLevel;
use crate::schema::run_list::{RunListRequest, RunListRow};
use crate::schema::status::RunState;
use crate::tui::app::actions::{Action, BrowserAction, Motion};
use crate::tui::app::keys::{self, Scope};
use crossterm::event::{KeyEvent, KeyEventKind, MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};
use std::path::PathBuf;

/// What the browser requests from the main loop.
#[derive(Clone, Debug, PartialEq)]
pub enum BrowserEffect {
    /// Nothing but a redraw.
    None,
    Request(RunListRequest),
    /// Open these runs in the dashboard, the first one at first.
    Open(Vec<PathBuf>),
    /// Close the list.
    Close,
    Suspend,
}

impl RunBrowser {
    /// Returns where keys work now.
    pub fn active_scopes(&self) -> Vec<Scope> {
        match self.view {
            BrowserView::List => vec![Scope::Runs, Scope::Always],
            BrowserView::Help(_) => vec![Scope::Help, Scope::Always],
            BrowserView::Prompt(_) => vec![Scope::Prompt],
            BrowserView::DeleteDialog => vec![Scope::DeleteDialog, Scope::Always],
            BrowserView::Comparison(_) => vec![Scope::Comparison, Scope::Always],
        }
    }

    /// Handles a key, on a screen of this size.
    pub fn handle_key(&mut self, key: &KeyEvent, screen: Rect) -> BrowserEffect {
        if key.kind == KeyEventKind::Release {
            return BrowserEffect::None;
        }
        if keys::action_for(key, &[Scope::Always]) == Some(Action::Suspend) {
            return BrowserEffect::Suspend;
        }
        if let BrowserView::Prompt(kind) = self.view {
            return self.handle_prompt_key(kind, key);
        }
        self.message = None;
        match keys::action_for(key, &self.active_scopes()) {
            Some(Action::Move(motion)) => self.apply_motion(motion, screen),
            Some(Action::Help) => {
                let is_open = matches!(self.view, BrowserView::Help(_));
                self.view = if is_open { BrowserView::List } else { BrowserView::Help(0) };
            }
            Some(Action::Quit | Action::Interrupt) => return BrowserEffect::Close,
            Some(Action::Back) => return self.go_back(),
            Some(Action::Runs(action)) => return self.apply_action(action),
            _ => {}
        }
        BrowserEffect::None
    }

    /// Handles a mouse event, on a screen of this size: a click selects, the wheel moves the selection.
    pub fn handle_mouse(&mut self, event: &MouseEvent, screen: Rect) -> BrowserEffect {
        let BrowserAreas { list, .. } = layout::areas(screen);
        match event.kind {
            MouseEventKind::ScrollUp => self.apply_motion(Motion::Up, screen),
            MouseEventKind::ScrollDown => self.apply_motion(Motion::Down, screen),
            MouseEventKind::Down(MouseButton::Left)
                if self.view == BrowserView::List && list.contains(Position::new(event.column, event.row)) =>
            {
                let (count, height) = (self.visible_rows().len(), usize::from(list.height));
                let line = layout::first_line(self.selected_line(), count, height) + usize::from(event.row - list.y);
                if line < count {
                    self.select_line(line);
                }
            }
            _ => {}
        }
        BrowserEffect::None
    }

    fn apply_motion(&mut self, motion: Motion, screen: Rect) {
        let page = usize::from(layout::areas(screen).list.height).max(2) - 1;
        match &mut self.view {
            BrowserView::List => {
                let (line, last) = (self.selected_line(), self.visible_rows().len().saturating_sub(1));
                self.select_line(moved(line, last, page, motion));
            }
            BrowserView::Help(scroll) => {
                let limit = usize::from(overlays::help_scroll_limit(screen, overlays::RUNS_HELP));
                *scroll = moved(usize::from(*scroll), limit, page, motion) as u16;
            }
            BrowserView::Comparison(scroll) => {
                let lines = self.comparison.as_ref().map_or(0, |found| overlays::comparison_line_count(found));
                let limit = lines.saturating_sub(overlays::comparison_height(screen));
                *scroll = moved(usize::from(*scroll), limit, page, motion).min(usize::from(u16::MAX)) as u16;
            }
            BrowserView::Prompt(_) | BrowserView::DeleteDialog => {}
        }
    }

    fn apply_action(&mut self, action: BrowserAction) -> BrowserEffect {
        match action {
            BrowserAction::Open => {
                let selected = self.selected_row().map(|row| row.folder.clone());
                return selected.map_or(BrowserEffect::None, |run| BrowserEffect::Open(vec![run]));
            }
            BrowserAction::OpenMarked if self.marks.is_empty() => self.show_hint("mark runs with space first"),
            BrowserAction::OpenMarked => return BrowserEffect::Open(self.marked_runs()),
            BrowserAction::Mark => self.toggle_mark(),
            BrowserAction::MarkAll => self.toggle_all_marks(),
            BrowserAction::Filter => self.open_prompt(PromptKind::Filter),
            BrowserAction::Sort => self.open_prompt(PromptKind::Sort),
            BrowserAction::Columns => self.open_prompt(PromptKind::Columns),
            BrowserAction::Reverse => {
                let SortOrder { column, direction } = self.settings.order;
                self.set_order(SortOrder { column, direction: direction.reversed() });
            }
            BrowserAction::Tag => self.ask_about(self.requested_runs(), BrowserView::Prompt(PromptKind::Tags)),
            BrowserAction::Rename => {
                let selected = self.selected_row().map(|row| row.folder.clone()).into_iter().collect();
                self.ask_about(selected, BrowserView::Prompt(PromptKind::Rename));
            }
            BrowserAction::Delete => self.ask_to_delete(),
            BrowserAction::Compare => return self.request_comparison(),
            BrowserAction::ConfirmDelete => {
                self.view = BrowserView::List;
                let text = match self.targets.len() {
                    1 => "deleting a run …".to_owned(),
                    count => format!("deleting {count} runs …"),
                };
                self.show_hint(&text);
                return BrowserEffect::Request(RunListRequest::Delete(std::mem::take(&mut self.targets)));
            }
            BrowserAction::Close => self.view = BrowserView::List,
        }
        BrowserEffect::None
    }

    /// Opens a prompt or dialog about `runs`, if there are any.
    fn ask_about(&mut self, runs: Vec<PathBuf>, view: BrowserView) {
        if runs.is_empty() {
            return self.show_hint("no run is selected");
        }
        self.targets = runs;
        match view {
            BrowserView::Prompt(kind) => self.open_prompt(kind),
            view => self.view = view,
        }
    }

    fn ask_to_delete(&mut self) {
        let runs = self.requested_runs();
        let is_running = |row: &&RunListRow| row.state == Some(RunState::Running);
        let running = runs.iter().filter_map(|folder| self.row(folder)).find(is_running);
        match running.map(|row| row.name().to_owned()) {
            Some(name) => self.show_hint(&format!("{name} is running; stop it before you delete it")),
            None => self.ask_about(runs, BrowserView::DeleteDialog),
        }
    }

    fn toggle_mark(&mut self) {
        let Some(folder) = self.selected_row().map(|row| row.folder.clone()) else { return };
        if !self.marks.remove(&folder) {
            self.marks.insert(folder);
        }
        self.select_line(self.selected_line() + 1);
    }

    /// Marks all visible runs, or takes their marks if all have one.
    fn toggle_all_marks(&mut self) {
        let visible: Vec<PathBuf> = self.visible_rows().map(|row| row.folder.clone()).collect();
        if visible.iter().all(|folder| self.marks.contains(folder)) {
            self.marks.retain(|folder| !visible.contains(folder));
        } else {
            self.marks.extend(visible);
        }
    }

    /// Requests the comparison of the two marked runs, or of the marked and the selected one.
    fn request_comparison(&mut self) -> BrowserEffect {
        let mut runs = self.marked_runs();
        let selected = self.selected_row().map(|row| row.folder.clone());
        runs.extend(selected.filter(|folder| runs.len() == 1 && !runs.contains(folder)));
        match <[PathBuf; 2]>::try_from(runs) {
            Ok([a, b]) => return BrowserEffect::Request(RunListRequest::Compare(a, b)),
            Err(runs) if runs.len() > 2 => {
                self.show_hint(&format!("{} runs are marked; two can be compared", runs.len()))
            }
            Err(_) => self.show_hint("mark a run with space, then select another one"),
        }
        BrowserEffect::None
    }

    /// Leaves one level: a dialog, the filter, the marks, then the list if there is something below it.
    fn go_back(&mut self) -> BrowserEffect {
        if self.view != BrowserView::List {
            self.view = BrowserView::List;
        } else if !self.settings.filter.is_empty() {
            let _ = self.set_filter("");
        } else if !self.marks.is_empty() {
            self.marks.clear();
        } else if self.below != BelowList::Nothing {
            return BrowserEffect::Close;
        }
        BrowserEffect::None
    }

    fn show_hint(&mut self, text: &str) {
        self.message = Some((LogLevel::Info, text.to_owned()));
    }
}

/// Returns where a motion leads from `line`, of lines up to `last`, with pages of `page` lines.
pub fn moved(line: usize, last: usize, page: usize, motion: Motion) -> usize {
    let to = match motion {
        Motion::Up | Motion::Left => line.saturating_sub(1),
        Motion::Down | Motion::Right => line + 1,
        Motion::PageUp => line.saturating_sub(page),
        Motion::PageDown => line + page,
        Motion::Home => 0,
        Motion::End => last,
    };
    to.min(last)
}
