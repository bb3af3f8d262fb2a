//! Owns: what the user looks at, and how an action changes that.
//! Must not know: colours, drawing, the terminal, the channels (it returns what must be sent).
//! Invariant: an action on the view never blocks and never changes the state of the run.

mod copying;
mod mouse;
mod navigation;
mod playground;
mod prompt_input;
mod reply;
mod requests;

use super::actions::{Action, Direction};
use super::chart_settings::{ChartSettings, ChartSpan};
use super::command::CommandPrompt;
use super::draft::{SentEdit, SettingDraft};
use super::keys::{self, Scope};
use super::layout::ShownPanels;
use super::panel_id::Panel;
use super::rollout_view::RolloutView;
use super::token_view::TokenView;
use crate::schema::protocol::{Command, LogLevel};
use crate::tui::model::config_history;
use crate::tui::model::state::{EventCounts, RunModel};
use crate::tui::text;
use crate::tui::theme::BackgroundChoice;
use playground::NextRequest;
use ratatui::layout::Rect;
pub use reply::{AwaitedReply, Reply, ReplyKind};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlay {
    #[default]
    None,
    /// The help page, scrolled down by this many lines.
    Help(u16),
    /// The help page while a search is typed.
    HelpFilter,
    /// The dialog that asks whether to stop the run.
    StopDialog,
    Prompt,
    Filter,
}

/// What an action requests from the main loop.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Nothing but a redraw.
    None,
    Send(Command),
    /// Resume the run in another trainer, up to this many steps in total if given.
    Resume(Option<u64>),
    /// Stop the run and fork it from its newest checkpoint, with this name and these overrides.
    Fork(String, Vec<String>),
    /// Write a note into the record of a run that no trainer of this process has open.
    WriteNote(String),
    /// Write a table to a file: table name, file name.
    Export(String, String),
    /// Put a text into the clipboard.
    Copy(String),
    /// Capture the mouse (`true`), or leave it to the terminal.
    CaptureMouse(bool),
    /// Open the list of runs over the dashboard.
    BrowseRuns,
    /// Show the previous or next of the runs that were opened together.
    SwitchRun(Direction),
    Suspend,
    Leave,
}

/// What the user looks at.
#[derive(Debug, Default)]
pub struct ViewState {
    pub panels: ShownPanels,
    pub overlay: Overlay,
    /// The command line; its text also serves the filter.
    pub prompt: CommandPrompt,
    /// What the help page is searched for; empty for all of it.
    pub help_filter: String,
    /// How far each panel is scrolled, and what it is filtered by, in the order of the panels.
    pub lists: [ListView; Panel::ALL.len()],
    /// Whether the run belongs to another process: leaving does not stop it.
    pub watching: bool,
    /// Whether leaving the run of another process leads back to the list of runs.
    pub leads_back: bool,
    /// Whether the run was asked to stop.
    pub stopping: bool,
    /// Whether the dashboard closes when the run has stopped.
    pub leaving: bool,
    /// The pause state that was requested but not reached yet.
    pub requested_pause: Option<bool>,
    pub charts: ChartSettings,
    /// The state at the moment the display was frozen.
    pub frozen: Option<Box<RunModel>>,
    /// The selected setting of the schedule panel, as an index into the settings in use.
    pub selected_setting: usize,
    /// The edit in progress in the schedule panel.
    pub draft: Option<SettingDraft>,
    /// The last edit that was sent from the schedule panel.
    pub sent_edit: Option<SentEdit>,
    pub tokens: TokenView,
    pub rollouts: RolloutView,
    pub min_log_level: LogLevel,
    pub playground: NextRequest,
    /// Whether mouse events are left to the terminal.
    pub mouse_released: bool,
    pub background: BackgroundChoice,
    pub reply: Option<Reply>,
    pub awaited_reply: AwaitedReply,
    pub dismissed_alerts: Vec<String>,
    pub pending_undos: PendingUndos,
    /// The run's counts at the last update.
    pub last_counts: EventCounts,
}

/// What the user sees of a list.
#[derive(Clone, Debug, Default)]
pub struct ListView {
    /// The filter, in lower case; empty for no filter.
    pub filter: String,
    /// Entries scrolled back from the end, or lines scrolled down from the start.
    pub offset: usize,
}

/// The undo requests that have no answer yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct PendingUndos {
    pub count: usize,
    /// The number of changes received before the first request.
    changes_before: u64,
}

impl ViewState {
    pub fn active_scopes(&self) -> Vec<Scope> {
        match self.overlay {
            Overlay::None if self.draft.is_some() => vec![Scope::Draft, Scope::Always],
            Overlay::None if keys::is_list_panel(self.panels.focus) => {
                vec![Scope::Panel(self.panels.focus), Scope::List, Scope::Panels, Scope::Always]
            }
            Overlay::None => vec![Scope::Panel(self.panels.focus), Scope::Panels, Scope::Always],
            Overlay::Help(_) => vec![Scope::Help, Scope::Always],
            Overlay::StopDialog => vec![Scope::StopDialog, Scope::Always],
            Overlay::Prompt | Overlay::Filter | Overlay::HelpFilter => vec![Scope::Prompt],
        }
    }

    /// Returns the state to display: the frozen one if there is one, else the current one.
    pub fn displayed_state<'a>(&'a self, state: &'a RunModel) -> &'a RunModel {
        self.frozen.as_deref().unwrap_or(state)
    }

    pub fn list(&self, panel: Panel) -> &ListView {
        &self.lists[panel as usize]
    }

    fn focused_list(&mut self) -> &mut ListView {
        &mut self.lists[self.panels.focus as usize]
    }

    /// Drops requests that the run has fulfilled or that can no longer be fulfilled.
    pub fn reconcile(&mut self, state: &RunModel) {
        if self.requested_pause == Some(state.is_paused()) || state.is_over() {
            self.requested_pause = None;
        }
        if state.is_over() && self.overlay == Overlay::StopDialog {
            self.overlay = Overlay::None;
        }
        self.stopping &= self.leaving || !state.is_over();
        let PendingUndos { count, changes_before } = self.pending_undos;
        if state.is_over() || state.changes.total() >= changes_before + count as u64 {
            self.pending_undos.count = 0;
        }
        self.update_counts(state);
    }

    /// Keeps the scroll position while lists grow. Resets the view when another trainer has started.
    fn update_counts(&mut self, state: &RunModel) {
        let now = state.counts();
        let before = std::mem::replace(&mut self.last_counts, now);
        if now.trainers != before.trainers {
            (self.draft, self.sent_edit, self.frozen, self.tokens.row_step) = (None, None, None, None);
            (self.charts.cursor, self.awaited_reply) = (None, AwaitedReply::None);
            self.rollouts = RolloutView { order: self.rollouts.order, ..RolloutView::default() };
            self.lists.iter_mut().for_each(|list| list.offset = 0);
            // Of the panels that share its place, each kind of run begins with the one that has most to show.
            match state.is_rl() {
                true => self.panels.replace(Panel::Entropy, Panel::Rollouts),
                false => self.panels.replace(Panel::Rollouts, Panel::Entropy),
            }
            return;
        }
        for (panel, now, before, kept) in [
            (Panel::Log, now.log_lines, before.log_lines, state.log.len()),
            (Panel::Changes, now.changes, before.changes, state.changes.len()),
            (Panel::Samples, now.samples, before.samples, state.samples.len()),
            (Panel::Playground, now.answers, before.answers, state.answers.len()),
        ] {
            let list = &mut self.lists[panel as usize];
            // A frozen display does not grow; and the view cannot scroll back to lines no longer kept.
            if list.offset > 0 && list.filter.is_empty() && self.frozen.is_none() {
                let grown = now.saturating_sub(before) as usize;
                list.offset = (list.offset + grown).min(kept.saturating_sub(1));
            }
        }
    }

    /// Applies `action`, on a screen of this size.
    pub fn apply_action(&mut self, action: Action, state: &RunModel, screen: Rect) -> Effect {
        self.reply = None;
        match action {
            Action::Help => {
                self.overlay = if self.overlay == Overlay::None { Overlay::Help(0) } else { Overlay::None };
                self.help_filter.clear();
            }
            Action::SearchHelp => {
                self.overlay = Overlay::HelpFilter;
                self.prompt.open(self.help_filter.clone());
            }
            Action::Quit => return self.request_quit(state),
            Action::Interrupt if self.overlay == Overlay::StopDialog => return Effect::Leave,
            Action::Interrupt => return self.request_quit(state),
            Action::Suspend => return Effect::Suspend,
            Action::Pause => return self.toggle_pause(state),
            Action::Step => return self.request(state, Command::StepOnce),
            Action::Resume => return self.request_resume(state),
            Action::Undo => return self.request_undo(state),
            Action::OpenPrompt(text) => self.open_prompt(text, state),
            Action::OpenFilter => {
                if !FILTERABLE.contains(&self.panels.focus) {
                    // Charts are filtered by metric, in the run panel.
                    self.panels.focus_on(Panel::Run);
                    self.panels.expanded = true;
                }
                self.overlay = Overlay::Filter;
                let filter = self.focused_list().filter.clone();
                self.prompt.open(filter);
            }
            Action::NextPanel => self.panels.focus_on(self.panels.focus.offset_by(1)),
            Action::PreviousPanel => self.panels.focus_on(self.panels.focus.offset_by(Panel::ALL.len() - 1)),
            Action::FocusPanel(panel) => self.panels.focus_on(panel),
            Action::ToggleExpanded => self.panels.expanded = !self.panels.expanded,
            Action::Back => self.go_back(state),
            Action::ToggleFreeze => {
                self.frozen = if self.frozen.is_some() { None } else { Some(Box::new(state.clone())) };
            }
            Action::ToggleMouse => {
                self.mouse_released = !self.mouse_released;
                return Effect::CaptureMouse(!self.mouse_released);
            }
            Action::Copy => return self.copy(state),
            Action::NextBackground => {
                self.background = self.background.next();
                self.reply = Some(Reply::done(format!("colours for a background: {}", self.background.name())));
            }
            Action::BrowseRuns => return Effect::BrowseRuns,
            Action::SwitchRun(direction) => return Effect::SwitchRun(direction),
            Action::KeepRunning => self.overlay = Overlay::None,
            Action::LeaveNow => return Effect::Leave,
            Action::StopRun => {
                self.overlay = Overlay::None;
                (self.stopping, self.leaving) = (true, true);
                return Effect::Send(Command::Stop);
            }
            Action::NudgeThreshold(nudge) => self.nudge_threshold(nudge),
            Action::SendDraft => return self.send_draft(state),
            Action::DiscardDraft => self.draft = None,
            action => self.apply_display_action(action, state, screen),
        }
        Effect::None
    }

    /// Applies an action that changes only what is displayed.
    fn apply_display_action(&mut self, action: Action, state: &RunModel, screen: Rect) {
        let frozen = self.frozen.take();
        let seen = frozen.as_deref().unwrap_or(state);
        let run = seen.known_steps();
        match action {
            Action::Move(motion) => self.apply_motion(motion, seen, screen),
            Action::Zoom(zoom) => self.charts.zoom(run, zoom),
            Action::NextChartSpan => self.charts.cycle_span(run),
            Action::ShowWholeRun => self.charts.span = ChartSpan::All,
            Action::FollowEnd => {
                self.charts.follow_end();
                (self.tokens.row_step, self.rollouts.step) = (None, None);
            }
            Action::Pan(direction) => self.charts.pan(run, direction),
            Action::MoveCursor(by) => {
                let width = self.panels.area_of(self.panels.focus, screen, 0).width;
                self.charts.move_cursor(run, width.saturating_sub(10), by);
                self.show_row_at_cursor(seen);
            }
            Action::ToggleLogX => self.charts.x_scale = self.charts.x_scale.toggled(),
            Action::ToggleLogY => self.charts.y_scale = self.charts.y_scale.toggled(),
            Action::NextSmoothing => self.charts.cycle_smoothing(seen.dashboard_config().smoothing),
            Action::NextLossCharts => self.charts.loss_charts = self.charts.loss_charts.next(),
            Action::NextTokenValue => self.tokens.value = self.tokens.value.next(),
            Action::ToggleEntropyDisplay => self.tokens.display = self.tokens.display.toggled(),
            Action::SelectRow(direction) if self.panels.focus == Panel::Rollouts => {
                self.rollouts.select_iteration(direction, seen);
            }
            Action::SelectRow(direction) => self.tokens.select_row(direction, seen),
            Action::ToggleRolloutOrder => self.rollouts.toggle_order(seen),
            Action::NextLogLevel => {
                self.min_log_level = match self.min_log_level {
                    LogLevel::Info => LogLevel::Warn,
                    LogLevel::Warn => LogLevel::Error,
                    LogLevel::Error => LogLevel::Info,
                }
            }
            Action::EditDraft(edit) => self.edit_draft(edit, seen),
            _ => {}
        }
        self.frozen = frozen;
    }

    fn copy(&mut self, state: &RunModel) -> Effect {
        let Some(text) = self.text_to_copy(self.displayed_state(state)) else {
            self.refuse("this panel has nothing to copy");
            return Effect::None;
        };
        let first = text::clip(text.lines().next().unwrap_or_default(), 60);
        let count = text.lines().count();
        let lines = if count > 1 { format!("{count} lines from {first}") } else { first };
        self.reply = Some(Reply::done(format!("copied, if the terminal takes it (OSC 52): {lines}")));
        Effect::Copy(text)
    }

    /// Leaves one level: unread alerts, then the filter, then the step cursor, then full screen.
    fn go_back(&mut self, state: &RunModel) {
        let passing: Vec<String> = state.dismissible_alerts().collect();
        let filter = &mut self.lists[self.panels.focus as usize].filter;
        if passing.iter().any(|text| !self.dismissed_alerts.contains(text)) {
            self.dismissed_alerts = passing;
        } else if !filter.is_empty() {
            filter.clear();
        } else if self.charts.cursor.is_some() {
            (self.charts.cursor, self.tokens.row_step, self.rollouts.step) = (None, None, None);
        } else {
            self.panels.expanded = false;
        }
    }

    /// Selects the token row and the rollouts that are nearest to the step cursor, so that all panels show the same
    /// step.
    fn show_row_at_cursor(&mut self, seen: &RunModel) {
        let Some(cursor) = self.charts.cursor else { return };
        let steps = seen.token_rows.iter().map(|row| row.step);
        self.tokens.row_step = steps.min_by_key(|step| step.abs_diff(cursor));
        self.rollouts.show_step(cursor, seen);
    }

    /// Returns the selected setting, as an index into all live settings.
    pub fn selected_setting_index(&self, state: &RunModel) -> Option<usize> {
        let used = config_history::settings_in_use(&state.run.as_ref()?.config);
        used.get(self.selected_setting.min(used.len().saturating_sub(1))).copied()
    }
}

/// Why no command can be sent to the run.
const RUN_ENDED: &str = "the run has ended; r or `:resume STEPS` resumes it";

const FILTERABLE: [Panel; 5] = [Panel::Run, Panel::Changes, Panel::Log, Panel::Samples, Panel::Playground];
