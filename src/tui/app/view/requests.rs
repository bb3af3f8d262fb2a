//! Owns: requests to the run by keys: stop, pause, resume, undo, and edits of live settings.
//! Must not know: how requests are sent, or what becomes of them.
//! Invariant: if a request cannot be made now, the view says why.

use super::{Effect, Overlay, Panel, RUN_ENDED, ViewState};
use crate::schema::protocol::{Command, SetKeys};
use crate::tui::app::actions::{Action, Direction, DraftEdit, Nudge};
use crate::tui::app::draft::{SentEdit, SettingDraft};
use crate::tui::model::state::{RunModel, TrainerStatus};
use std::time::SystemTime;

impl ViewState {
    /// Whether a key for `action` would do something now.
    pub fn works_now(&self, action: Action, state: &RunModel) -> bool {
        let takes_requests = !self.stopping && (!state.is_over() || self.watching);
        match action {
            Action::Pause | Action::Step => !self.stopping && !state.is_over(),
            Action::Undo => takes_requests && state.undo_values(self.pending_undos.count).is_some(),
            Action::OpenPrompt("ask ") => !self.stopping && !state.is_over(),
            Action::OpenPrompt("note " | "=") | Action::EditDraft(_) | Action::NudgeThreshold(_) => takes_requests,
            Action::Resume => state.is_over(),
            Action::SelectRow(_) if self.panels.focus == Panel::Rollouts => state.rollouts.iterations().len() > 1,
            Action::SelectRow(_) => state.token_rows.len() > 1,
            _ => true,
        }
    }

    pub fn request_quit(&mut self, state: &RunModel) -> Effect {
        if state.is_over() || self.watching {
            return Effect::Leave;
        }
        self.overlay = Overlay::StopDialog;
        Effect::None
    }

    /// Resumes a run that has ended. After its last step, the command line asks for more steps.
    pub fn request_resume(&mut self, state: &RunModel) -> Effect {
        match &state.status {
            TrainerStatus::Running => self.refuse("the run is already running"),
            TrainerStatus::Finished(summary) if !summary.stopped_early => self.open_prompt("resume ", state),
            _ => return Effect::Resume(None),
        }
        Effect::None
    }

    pub fn request(&mut self, state: &RunModel, command: Command) -> Effect {
        if !self.can_take(&command, state) {
            self.refuse(RUN_ENDED);
        } else if self.stopping {
            self.refuse("the run is stopping");
        } else {
            return Effect::Send(command);
        }
        Effect::None
    }

    /// Whether the run can take `command`: while it runs, any; after that, of a watched run, edits of its config file.
    pub fn can_take(&self, command: &Command, state: &RunModel) -> bool {
        !state.is_over() || self.watching && matches!(command, Command::SetKeys(_))
    }

    /// Forgets what was asked of the run and is refused now.
    pub fn drop_requests(&mut self) {
        self.requested_pause = None;
        // A run of this process never refuses to stop.
        self.stopping &= !self.watching;
    }

    pub fn toggle_pause(&mut self, state: &RunModel) -> Effect {
        if state.is_over() || self.stopping {
            return Effect::None;
        }
        let hold = !self.requested_pause.unwrap_or(state.is_paused());
        self.requested_pause = Some(hold);
        Effect::Send(Command::SetPaused(hold))
    }

    /// Requests the values before the last change.
    pub fn request_undo(&mut self, state: &RunModel) -> Effect {
        if self.pending_undos.count == 0 {
            self.pending_undos.changes_before = state.changes.total();
        }
        let Some(values) = state.undo_values(self.pending_undos.count).cloned() else {
            self.refuse("there is nothing to undo");
            return Effect::None;
        };
        let effect = self.request(state, Command::SetKeys(SetKeys { values, requested_at: SystemTime::now() }));
        self.pending_undos.count += usize::from(effect != Effect::None);
        effect
    }

    pub fn edit_draft(&mut self, edit: DraftEdit, state: &RunModel) {
        if state.run.is_none() {
            return;
        }
        // A knot at a past step would change nothing.
        let next = state.current_step() + 1;
        let (steps, at) = (state.expected_steps(), self.charts.cursor.unwrap_or(next).max(next));
        if self.draft.is_none() {
            let Some(setting) = self.selected_setting_index(state) else { return };
            let curve = state.config_history.current().and_then(|epoch| epoch.curves[setting].clone());
            // A mixture of passes is not a single number, so it is edited as text.
            let Some(curve) = curve else { return self.open_prompt("=", state) };
            (self.draft, self.sent_edit) = (Some(SettingDraft::new(setting, &curve, at)), None);
        }
        let Some(draft) = &mut self.draft else { return };
        match edit {
            DraftEdit::NudgeValue(nudge, size) => draft.nudge(nudge == Nudge::Up, size),
            DraftEdit::SelectKnot(to) => draft.select_knot(to == Direction::Forward),
            DraftEdit::ShiftKnot(to) => draft.shift_knot(to == Direction::Forward, steps),
            DraftEdit::AddKnot => draft.add_knot(at),
            DraftEdit::RemoveKnot => draft.remove_knot(),
        }
    }

    pub fn send_draft(&mut self, state: &RunModel) -> Effect {
        let Some(draft) = self.draft.take() else { return Effect::None };
        let (path, value) = (draft.setting().path(), draft.to_toml());
        let effect = self.request(state, Command::SetKeys(SetKeys::single(path.clone(), value.clone())));
        if effect != Effect::None {
            self.sent_edit = Some(SentEdit { key: path, value, changes_before: state.changes.total() });
        }
        effect
    }
}
