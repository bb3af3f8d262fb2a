//! Owns: typed input: the command line, filters, and their effects.
//! Must not know: how a line is drawn, or whether the trainer will accept a request.
//! Invariant: a line that cannot be sent now, or a fork that would fail, stays in the prompt with its error.

use super::{Effect, ListView, Overlay, RUN_ENDED, ViewState};
use crate::config::{Config, change};
use crate::schema::protocol::Command;
use crate::tui::app::chart_settings::ChartSpan;
use crate::tui::app::command::{DashboardCommand, PromptOutcome};
use crate::tui::model::config_history;
use crate::tui::model::state::RunModel;
use crossterm::event::KeyEvent;

impl ViewState {
    /// Opens the command line with `text`; `=` stands for a `set` command with the selected setting.
    pub fn open_prompt(&mut self, text: &str, state: &RunModel) {
        let text = match text {
            "=" => self.set_command_text(state).unwrap_or_default(),
            "fork " => state.run.as_ref().map_or(text.into(), |run| format!("fork {}-2", run.config.run.name)),
            "policy " => format!("policy {}", self.playground.0.policy),
            "temperature " => format!("temperature {}", self.playground.0.temperature),
            "weights " => {
                format!("weights {}", self.playground.0.checkpoint.map_or("now".into(), |step| step.to_string()))
            }
            text => text.to_owned(),
        };
        self.overlay = Overlay::Prompt;
        self.prompt.open(text);
    }

    pub fn set_command_text(&self, state: &RunModel) -> Option<String> {
        let config = &state.run.as_ref()?.config;
        let setting = config_history::numeric_settings()[self.selected_setting_index(state)?];
        Some(format!("set {} {}", setting.path(), config.value(setting)))
    }

    /// Handles a key of the command line or of a filter.
    pub fn handle_prompt_key(&mut self, key: &KeyEvent, state: &RunModel) -> Effect {
        match self.overlay {
            Overlay::Filter => return self.handle_filter_key(key),
            Overlay::HelpFilter => return self.handle_help_filter_key(key),
            _ => {}
        }
        let typed = self.prompt.handle_key(key, state.run.as_ref().map(|run| &run.config));
        if let PromptOutcome::Trainer(Command::Note(text)) = &typed
            && state.is_over()
        {
            self.overlay = Overlay::None;
            return Effect::WriteNote(text.clone());
        }
        if let PromptOutcome::Trainer(command) = &typed
            && !self.can_take(command, state)
        {
            // No trainer could apply it, and it must not be lost without a message.
            self.prompt.error = Some(RUN_ENDED.into());
            return Effect::None;
        }
        if let PromptOutcome::Dashboard(DashboardCommand::Fork(name, sets)) = &typed {
            // A wrong fork is reported while it can still be corrected, before the run is stopped for it.
            self.prompt.error = state.run.as_ref().and_then(|run| fork_error(&run.config, name, sets));
            if self.prompt.error.is_some() {
                return Effect::None;
            }
        }
        if typed != PromptOutcome::Editing {
            self.overlay = Overlay::None;
        }
        match typed {
            PromptOutcome::Editing | PromptOutcome::Cancelled | PromptOutcome::Accepted => Effect::None,
            PromptOutcome::Trainer(Command::SetPaused(hold)) => {
                self.requested_pause = Some(hold);
                Effect::Send(Command::SetPaused(hold))
            }
            PromptOutcome::Trainer(command) => {
                self.stopping |= matches!(command, Command::Stop | Command::StopWithoutCheckpoint);
                Effect::Send(command)
            }
            PromptOutcome::Dashboard(command) => self.apply_dashboard_command(command, state),
        }
    }

    pub fn apply_dashboard_command(&mut self, command: DashboardCommand, state: &RunModel) -> Effect {
        match command {
            DashboardCommand::Quit => return self.request_quit(state),
            DashboardCommand::Playground(command) => return self.apply_playground_command(command, state),
            DashboardCommand::Runs => return Effect::BrowseRuns,
            DashboardCommand::Help => self.overlay = Overlay::Help(0),
            DashboardCommand::Undo => return self.request_undo(state),
            DashboardCommand::Resume(None) => return self.request_resume(state),
            DashboardCommand::Resume(steps) if state.is_over() => return Effect::Resume(steps),
            DashboardCommand::Resume(_) => self.refuse("the run is already running"),
            DashboardCommand::Goto(requested) => {
                let (first, last) = self.displayed_state(state).known_steps();
                let step = requested.clamp(first, last);
                if step != requested {
                    self.refuse(format!("only steps {first} to {last} can be shown"));
                }
                self.charts.cursor = Some(step);
                let frozen = self.frozen.take();
                self.show_row_at_cursor(frozen.as_deref().unwrap_or(state));
                self.frozen = frozen;
                let (from, to) = self.charts.visible_steps((first, last));
                if !(from..=to).contains(&step) {
                    self.charts.span = ChartSpan::All;
                }
            }
            DashboardCommand::Fork(name, sets) => return Effect::Fork(name, sets),
            DashboardCommand::Export(table, file) => return Effect::Export(table, file),
        }
        Effect::None
    }

    fn handle_help_filter_key(&mut self, key: &KeyEvent) -> Effect {
        let typed = self.prompt.handle_text_key(key);
        if typed == PromptOutcome::Cancelled {
            self.prompt.text.clear();
        }
        self.help_filter.clone_from(&self.prompt.text);
        if typed != PromptOutcome::Editing {
            self.overlay = Overlay::Help(0);
        }
        Effect::None
    }

    pub fn handle_filter_key(&mut self, key: &KeyEvent) -> Effect {
        let typed = self.prompt.handle_text_key(key);
        if typed == PromptOutcome::Cancelled {
            self.prompt.text.clear();
        }
        *self.focused_list() = ListView { filter: self.prompt.text.to_lowercase(), offset: 0 };
        if typed != PromptOutcome::Editing {
            self.overlay = Overlay::None;
        }
        Effect::None
    }
}

/// Returns the error of a fork with this name and these overrides, of a run with this config.
fn fork_error(config: &Config, name: &str, sets: &[String]) -> Option<String> {
    let named = format!("run.name={}", toml::Value::String(name.to_owned()));
    let mut config = config.clone();
    for set in std::iter::once(&named).chain(sets) {
        let (key, value) = set.split_once('=')?;
        let edit = match change::parse(&config, key, value) {
            Ok(edit) => edit,
            Err(error) => return Some(error.to_string()),
        };
        if edit.key.section == "model" {
            return Some(format!("`{key}`: a fork keeps the model of its parent run"));
        }
        match change::apply_changes(&config, [(edit.key, &edit.new)], "the fork") {
            Ok(changed) => config = changed,
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}
