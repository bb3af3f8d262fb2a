//! Owns: what the user looks at, and how an action changes that.
//! Must not know: colours, drawing, the terminal, the channels (it returns what must be sent).
//! Invariant: an action on the view never blocks and never changes the state of the run.

mod mouse;
mod navigation;
mod playground;
mod prompt_input;
mod requests;

use super::chart_settings::{ChartSettings, ChartSpan};
use super::command::CommandPrompt;
use super::draft::{NudgeSize, SentEdit, SettingDraft};
use super::keys::{self, Action, Scope};
use super::layout::{self, SLOTS};
use crate::schema::protocol::{Command, LogLevel};
use crate::schema::token_rows::TokenRow;
use crate::tui::model::config_history;
use crate::tui::model::state::RunState;
use crate::tui::plot::token_grid::TokenValue;
pub use playground::{PlaygroundCommand, PlaygroundSettings};
use ratatui::layout::Rect;

/// A panel, in the order of the panel numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Panel {
    /// Key figures of the run.
    Run,
    Loss,
    /// Curves of the live settings.
    Schedule,
    /// Token entropies: a row as text, or a heatmap over the whole run.
    Entropy,
    /// What recycled states decode to.
    Thoughts,
    /// Time and FLOP of steps.
    Cost,
    /// Config changes and notes.
    Changes,
    Log,
    /// Samples that the model generates.
    Samples,
    /// The model's answers to the user's prompts.
    Playground,
}

impl Panel {
    /// All panels, in order.
    pub const ALL: [Panel; 10] = [
        Panel::Run,
        Panel::Loss,
        Panel::Schedule,
        Panel::Entropy,
        Panel::Thoughts,
        Panel::Cost,
        Panel::Changes,
        Panel::Log,
        Panel::Samples,
        Panel::Playground,
    ];

    /// Returns the key that focuses the panel: a digit from 1, or a letter.
    pub fn key(self) -> char {
        match self {
            Panel::Playground => 'p',
            panel => char::from(b'1' + panel as u8),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Panel::Run => "run",
            Panel::Loss => "loss",
            Panel::Schedule => "schedule",
            Panel::Entropy => "entropy",
            Panel::Thoughts => "thoughts",
            Panel::Cost => "cost",
            Panel::Changes => "changes",
            Panel::Log => "log",
            Panel::Samples => "samples",
            Panel::Playground => "playground",
        }
    }

    /// Returns the panel with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|panel| panel.name() == name)
    }

    fn offset_by(self, by: usize) -> Panel {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// What is drawn over the panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    None,
    /// The help page, scrolled down by this many lines.
    Help(u16),
    /// The dialog that asks whether to stop the run.
    StopDialog,
    Prompt,
    /// The filter line of the focused panel.
    Filter,
}

/// How the entropy panel shows entropies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntropyDisplay {
    /// One token row as text.
    Row,
    /// A heatmap of step by entropy over the whole run.
    #[serde(rename = "course")]
    Heatmap,
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
    /// Capture the mouse (`true`), or leave it to the terminal.
    CaptureMouse(bool),
    /// Suspend the process until the shell resumes it.
    Suspend,
    Leave,
}

/// What the user looks at.
#[derive(Debug)]
pub struct ViewState {
    pub focus: Panel,
    /// The panel that each slot shows, on screens where panels share slots.
    pub slot_panels: [Panel; SLOTS],
    /// Whether the focused panel fills the screen.
    pub expanded: bool,
    pub overlay: Overlay,
    /// The command line; its text also serves the filter.
    pub prompt: CommandPrompt,
    /// The filter of each panel, in lower case; empty for no filter.
    pub filters: [String; Panel::ALL.len()],
    /// Whether the run belongs to another process: leaving does not stop it.
    pub watching: bool,
    /// Whether the run was asked to stop.
    pub stopping: bool,
    /// The pause state that was requested but not reached yet.
    pub requested_pause: Option<bool>,
    /// Range, cursor and scales of the charts.
    pub charts: ChartSettings,
    /// The state at the moment the display was frozen.
    pub frozen: Option<Box<RunState>>,
    /// The selected setting of the schedule panel, as an index into the settings in use.
    pub selected_setting: usize,
    /// The edit in progress in the schedule panel.
    pub draft: Option<SettingDraft>,
    /// The last edit that was sent from the schedule panel.
    pub sent_edit: Option<SentEdit>,
    /// The selected position in the token row.
    pub selected_token: usize,
    /// The step of the displayed token row; none for the newest.
    pub row_step: Option<u64>,
    /// Which value of each token is displayed.
    pub token_value: TokenValue,
    /// Whether entropies are displayed as a row or as a heatmap.
    pub entropy_display: EntropyDisplay,
    /// The minimum level of displayed log lines.
    pub min_log_level: LogLevel,
    /// The settings of the playground.
    pub playground: PlaygroundSettings,
    /// For each list panel: lines scrolled back from its end, or down from its start.
    pub scroll_offsets: [usize; Panel::ALL.len()],
    /// Whether the dashboard captures the mouse.
    pub mouse_captured: bool,
    /// A message about the last key, shown until the next key.
    pub hint: Option<String>,
    /// Alerts that the user has dismissed.
    pub dismissed_alerts: Vec<String>,
    /// Number of undo requests without an answer, and the changes received before the first of them.
    pub pending_undos: (usize, u64),
    /// Counts at the last update: trainers started, log lines, changes, samples, answers.
    pub last_counts: [u64; 5],
}

impl Default for ViewState {
    fn default() -> Self {
        Self {
            focus: Panel::Loss,
            slot_panels: layout::INITIAL_PANELS,
            expanded: false,
            overlay: Overlay::None,
            prompt: CommandPrompt::default(),
            filters: Default::default(),
            watching: false,
            stopping: false,
            requested_pause: None,
            charts: ChartSettings::default(),
            frozen: None,
            selected_setting: 0,
            draft: None,
            sent_edit: None,
            selected_token: 0,
            row_step: None,
            token_value: TokenValue::Plain,
            entropy_display: EntropyDisplay::Row,
            min_log_level: LogLevel::Info,
            playground: PlaygroundSettings::default(),
            scroll_offsets: [0; Panel::ALL.len()],
            mouse_captured: true,
            hint: None,
            dismissed_alerts: Vec::new(),
            pending_undos: (0, 0),
            last_counts: [0; 5],
        }
    }
}

impl ViewState {
    /// Returns the scopes whose keys work now.
    pub fn active_scopes(&self) -> Vec<Scope> {
        match self.overlay {
            Overlay::None if self.draft.is_some() => vec![Scope::Draft, Scope::Always],
            Overlay::None if keys::is_list_panel(self.focus) => {
                vec![Scope::Panel(self.focus), Scope::List, Scope::Panels, Scope::Always]
            }
            Overlay::None => vec![Scope::Panel(self.focus), Scope::Panels, Scope::Always],
            Overlay::Help(_) => vec![Scope::Help, Scope::Always],
            Overlay::StopDialog => vec![Scope::StopDialog, Scope::Always],
            Overlay::Prompt | Overlay::Filter => vec![Scope::Prompt],
        }
    }

    /// Focuses `panel`, and shows it in its slot.
    pub fn focus_panel(&mut self, panel: Panel) {
        self.focus = panel;
        if let Some(slot) = layout::slot_of(panel) {
            self.slot_panels[slot] = panel;
        }
    }

    /// Returns the state to display: the frozen one if there is one, else the current one.
    pub fn displayed_state<'a>(&'a self, state: &'a RunState) -> &'a RunState {
        self.frozen.as_deref().unwrap_or(state)
    }

    /// Returns the token row to display.
    pub fn displayed_row<'a>(&self, state: &'a RunState) -> Option<&'a TokenRow> {
        let held = self.row_step.and_then(|step| state.token_rows.iter().find(|row| row.step >= step));
        held.or(state.token_rows.back()).map(|row| &**row)
    }

    /// Returns the filter of `panel`, in lower case.
    pub fn filter(&self, panel: Panel) -> &str {
        &self.filters[panel as usize]
    }

    /// Drops requests that the run has fulfilled or that can no longer be fulfilled.
    pub fn reconcile(&mut self, state: &RunState) {
        if self.requested_pause == Some(state.is_paused()) || state.is_over() {
            self.requested_pause = None;
        }
        if state.is_over() && self.overlay == Overlay::StopDialog {
            self.overlay = Overlay::None;
        }
        if state.is_over() || state.changes_total >= self.pending_undos.1 + self.pending_undos.0 as u64 {
            self.pending_undos = (0, state.changes_total);
        }
        self.update_counts(state);
    }

    /// Keeps the scroll position while lists grow. Resets the view when another trainer has started.
    fn update_counts(&mut self, state: &RunState) {
        let now = [
            state.trainers_started,
            state.log_lines_total,
            state.changes_total,
            state.samples_total,
            state.answers_total,
        ];
        let before = std::mem::replace(&mut self.last_counts, now);
        if now[0] != before[0] {
            (self.draft, self.sent_edit, self.frozen, self.row_step) = (None, None, None, None);
            self.charts.cursor = None;
            self.scroll_offsets = [0; Panel::ALL.len()];
            return;
        }
        let lists = [
            (Panel::Log, state.log.len()),
            (Panel::Changes, state.changes.len()),
            (Panel::Samples, state.samples.len()),
            (Panel::Playground, state.answers.len()),
        ];
        for ((panel, kept), (now, before)) in lists.into_iter().zip(now.into_iter().zip(before).skip(1)) {
            let offset = &mut self.scroll_offsets[panel as usize];
            // A frozen display does not grow; and the view cannot scroll back to lines no longer kept.
            if *offset > 0 && self.filters[panel as usize].is_empty() && self.frozen.is_none() {
                *offset = (*offset + now.saturating_sub(before) as usize).min(kept.saturating_sub(1));
            }
        }
    }

    /// Applies `action`, on a screen of this size.
    pub fn apply_action(&mut self, action: Action, state: &RunState, screen: Rect) -> Effect {
        self.hint = None;
        match action {
            Action::Help => {
                self.overlay = if self.overlay == Overlay::None { Overlay::Help(0) } else { Overlay::None }
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
                if !FILTERABLE.contains(&self.focus) {
                    // Charts are filtered by metric, in the run panel.
                    self.focus_panel(Panel::Run);
                    self.expanded = true;
                }
                self.overlay = Overlay::Filter;
                self.prompt.open(self.filters[self.focus as usize].clone());
            }
            Action::NextPanel => self.focus_panel(self.focus.offset_by(1)),
            Action::PreviousPanel => self.focus_panel(self.focus.offset_by(Panel::ALL.len() - 1)),
            Action::FocusPanel(panel) => self.focus_panel(panel),
            Action::ToggleExpanded => self.expanded = !self.expanded,
            Action::Back => self.go_back(state),
            Action::ToggleFreeze => {
                self.frozen = if self.frozen.is_some() { None } else { Some(Box::new(state.clone())) };
            }
            Action::ToggleMouse => {
                self.mouse_captured = !self.mouse_captured;
                return Effect::CaptureMouse(self.mouse_captured);
            }
            Action::KeepRunning => self.overlay = Overlay::None,
            Action::LeaveNow => return Effect::Leave,
            Action::StopRun => {
                self.overlay = Overlay::None;
                self.stopping = true;
                return Effect::Send(Command::Stop);
            }
            Action::NudgeThreshold(up) => self.nudge_threshold(up),
            Action::SendDraft => return self.send_draft(state),
            Action::DiscardDraft => self.draft = None,
            action => self.apply_display_action(action, state, screen),
        }
        Effect::None
    }

    /// Applies an action that changes only what is displayed.
    fn apply_display_action(&mut self, action: Action, state: &RunState, screen: Rect) {
        let frozen = self.frozen.take();
        let seen = frozen.as_deref().unwrap_or(state);
        let run = seen.known_steps();
        match action {
            Action::Move(motion) => self.apply_motion(motion, seen, screen),
            Action::Zoom(inward) => self.charts.zoom(run, inward),
            Action::NextChartSpan => self.charts.cycle_span(run),
            Action::ShowWholeRun => self.charts.span = ChartSpan::All,
            Action::FollowEnd => self.charts.follow_end(),
            Action::Pan(forward) => self.charts.pan(run, forward),
            Action::MoveCursor(by) => {
                let width = layout::panel_area(screen, 0, self, self.focus).width;
                self.charts.move_cursor(run, width.saturating_sub(10), by);
            }
            Action::ToggleLogX => self.charts.log_x = !self.charts.log_x,
            Action::ToggleLogY => self.charts.log_y = !self.charts.log_y,
            Action::NextSmoothing => self.charts.cycle_smoothing(seen.dashboard_config().smoothing),
            Action::NextLossCharts => self.charts.loss_charts = self.charts.loss_charts.next(),
            Action::NextTokenValue => self.token_value = self.token_value.next(),
            Action::ToggleEntropyDisplay => {
                self.entropy_display = if self.entropy_display == EntropyDisplay::Row {
                    EntropyDisplay::Heatmap
                } else {
                    EntropyDisplay::Row
                };
            }
            Action::SelectRow(older) => {
                let shown = self.displayed_row(seen).map(|row| row.step);
                let older_ones =
                    seen.token_rows.iter().rev().map(|row| row.step).find(|step| Some(*step) < shown);
                let newer = seen.token_rows.iter().map(|row| row.step).find(|step| Some(*step) > shown);
                let newest = seen.token_rows.back().map(|row| row.step);
                let to = if older { older_ones.or(shown) } else { newer };
                self.row_step = to.filter(|to| Some(*to) != newest);
            }
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

    /// Leaves one level: unread alerts, then the filter, then the step cursor, then full screen.
    fn go_back(&mut self, state: &RunState) {
        let passing: Vec<String> = state.dismissible_alerts().collect();
        let filter = &mut self.filters[self.focus as usize];
        if passing.iter().any(|text| !self.dismissed_alerts.contains(text)) {
            self.dismissed_alerts = passing;
        } else if !filter.is_empty() {
            filter.clear();
        } else if self.charts.cursor.is_some() {
            self.charts.cursor = None;
        } else {
            self.expanded = false;
        }
    }

    /// Returns the selected setting, as an index into all live settings.
    pub fn selected_setting_index(&self, state: &RunState) -> Option<usize> {
        let used = config_history::settings_in_use(&state.run.as_ref()?.config);
        used.get(self.selected_setting.min(used.len().saturating_sub(1))).copied()
    }
}

/// Why no command can be sent to the run.
const RUN_ENDED: &str = "the run has ended; r or `:resume STEPS` resumes it";

/// The panels that can be filtered.
const FILTERABLE: [Panel; 5] = [Panel::Run, Panel::Changes, Panel::Log, Panel::Samples, Panel::Playground];

/// What a key does to the draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftEdit {
    /// Raises (`true`) or lowers the value of the knot.
    NudgeValue(bool, NudgeSize),
    /// Selects the next (`true`) or the previous knot.
    SelectKnot(bool),
    /// Moves the knot to a later (`true`) or an earlier step.
    ShiftKnot(bool),
    /// Adds a knot at the step cursor, or at the next step.
    AddKnot,
    /// Removes the knot.
    RemoveKnot,
}
