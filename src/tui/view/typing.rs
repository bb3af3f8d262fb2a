//! Owns: what is typed: the command line, filters, and what comes of them.
//! Must not know: how a line is drawn, whether the trainer will take up what it asks for.
//! Invariant: what nobody could take up, or what would stop a run in vain, stays in the line with what is wrong.

use super::super::charts::Span;
use super::super::command::{Does, Typed};
use super::super::eras;
use super::super::state::State;
use super::{Effect, OVER, Overlay, View};
use crate::config::{Config, change};
use crate::message::Command;
use crossterm::event::KeyEvent;

impl View {
    /// Opens the command line; `=` stands for the value of the number that is looked at.
    pub(super) fn open(&mut self, text: &str, state: &State) {
        let text = match text {
            "=" => self.setting(state).unwrap_or_default(),
            "fork " => {
                state.run.as_ref().map_or(text.into(), |run| format!("fork {}-2", run.config.run.name))
            }
            "policy " => format!("policy {}", self.play.policy),
            "temperature " => format!("temperature {}", self.play.temperature),
            "weights " => {
                format!("weights {}", self.play.checkpoint.map_or("now".into(), |step| step.to_string()))
            }
            text => text.to_owned(),
        };
        self.overlay = Overlay::Prompt;
        self.prompt.open(text);
    }

    pub(super) fn setting(&self, state: &State) -> Option<String> {
        let config = &state.run.as_ref()?.config;
        let number = &eras::numbers()[self.number_in(state)?];
        Some(format!("set {} {}", number.key.path(), config.value(number.key)))
    }

    /// Takes a key of the command line or of a filter.
    pub fn type_key(&mut self, key: &KeyEvent, state: &State) -> Effect {
        if self.overlay == Overlay::Filter {
            return self.type_filter(key);
        }
        let typed = self.prompt.press(key, state.run.as_ref().map(|run| &run.config));
        if let Typed::Asks(Command::Note(text)) = &typed
            && (state.is_over() || self.watching)
        {
            self.overlay = Overlay::None;
            return Effect::Note(text.clone());
        }
        if matches!(typed, Typed::Asks(_)) && state.is_over() && !self.watching {
            // There is nobody who could take it up, and it is not to be lost in silence.
            self.prompt.error = Some(OVER.into());
            return Effect::None;
        }
        if let Typed::Does(Does::Fork(name, sets)) = &typed {
            // What is wrong with it is said while it can be mended, before the run is stopped for it.
            self.prompt.error = state.run.as_ref().and_then(|run| wrong_fork(&run.config, name, sets));
            if self.prompt.error.is_some() {
                return Effect::None;
            }
        }
        if typed != Typed::More {
            self.overlay = Overlay::None;
        }
        match typed {
            Typed::More | Typed::Closed | Typed::Done => Effect::None,
            Typed::Asks(Command::Pause(hold)) => {
                self.pause_asked = Some(hold);
                Effect::Send(Command::Pause(hold))
            }
            Typed::Asks(command) => Effect::Send(command),
            Typed::Does(does) => self.does(does, state),
        }
    }

    pub(super) fn does(&mut self, does: Does, state: &State) -> Effect {
        match does {
            Does::Quit => return self.quit(state),
            Does::Play(playing) => return self.play(playing, state),
            Does::Help => self.overlay = Overlay::Help(0),
            Does::Undo => return self.undo(state),
            Does::Resume(None) => return self.resume(state),
            Does::Resume(steps) if state.is_over() => return Effect::Resume(steps),
            Does::Resume(_) => self.hint = Some("the run goes on already".into()),
            Does::Goto(wanted) => {
                let (first, last) = self.seen(state).span();
                let step = wanted.clamp(first, last);
                if step != wanted {
                    self.hint = Some(format!("there are the steps {first} to {last}"));
                }
                self.charts.cross = Some(step);
                let (from, to) = self.charts.window((first, last));
                if !(from..=to).contains(&step) {
                    self.charts.span = Span::All;
                }
            }
            Does::Fork(name, sets) => return Effect::Fork(name, sets),
            Does::Export(table, file) => return Effect::Export(table, file),
        }
        Effect::None
    }

    pub(super) fn type_filter(&mut self, key: &KeyEvent) -> Effect {
        let typed = self.prompt.type_text(key);
        if typed == Typed::Closed {
            self.prompt.text.clear();
        }
        self.filters[self.focus as usize] = self.prompt.text.to_lowercase();
        self.scrolled[self.focus as usize] = 0;
        if typed != Typed::More {
            self.overlay = Overlay::None;
        }
        Effect::None
    }
}

/// What is wrong with a fork of a run with this config, of this name and with these overrides.
fn wrong_fork(config: &Config, name: &str, sets: &[String]) -> Option<String> {
    let named = format!("run.name={}", toml::Value::String(name.to_owned()));
    let mut config = config.clone();
    for set in std::iter::once(&named).chain(sets) {
        let (key, value) = set.split_once('=')?;
        let edit = match change::parse(&config, key, value) {
            Ok(edit) => edit,
            Err(error) => return Some(error.to_string()),
        };
        if edit.key.section == "model" {
            return Some(format!("`{key}`: a fork has the model of the run it begins with"));
        }
        match change::with(&config, [(edit.key, &edit.new)], "the fork") {
            Ok(changed) => config = changed,
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}
