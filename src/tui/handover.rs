//! Owns: going from one trainer to another in the same dashboard, and notes in a run that has none.
//! Must not know: how a trainer is begun (the host does).
//! Invariant: a trainer that cannot begin leaves all as it was.

use super::state::End;
use super::{Dashboard, Link};
use crate::message::{Changed, Command, Event, Level, Phase};
use crate::record::registry::Metric;

/// What there was before another trainer was asked for, until that one has begun.
pub(super) struct Before {
    link: Link,
    connected: bool,
    end: End,
    phase: Option<Phase>,
    watching: bool,
}

/// What is to be done when the run is over.
pub(super) enum Then {
    Fork(String, Vec<String>),
}

impl Dashboard<'_> {
    pub(super) fn resume(&mut self, steps: Option<u64>) {
        let Some(run) = &self.stage.state.run else {
            return self.stage.state.say(Level::Warn, "there is no run to go on with".into());
        };
        let link = self.host.resume(&run.folder, steps);
        self.connect(link);
    }

    /// A run of this process is stopped first, with the checkpoint that the other begins with.
    pub(super) fn fork_when_over(&mut self, name: String, sets: Vec<String>) {
        if self.stage.state.is_over() || self.stage.view.watching {
            return self.fork(&name, &sets);
        }
        self.then = Some(Then::Fork(name, sets));
        self.stage.view.stopping = true;
        self.waiting.push_back(Command::Stop);
    }

    pub(super) fn fork(&mut self, name: &str, sets: &[String]) {
        let Some(run) = &self.stage.state.run else {
            return self.stage.state.say(Level::Warn, "there is no run to fork from".into());
        };
        let link = self.host.fork(&run.folder, name, sets);
        self.connect(link);
    }

    /// From now on the dashboard is that of another trainer.
    pub(super) fn connect(&mut self, link: Result<Link, String>) {
        let (state, view) = (&mut self.stage.state, &mut self.stage.view);
        match link {
            Ok(link) => {
                self.before = Some(Before {
                    link: std::mem::replace(&mut self.link, link),
                    connected: std::mem::replace(&mut self.connected, true),
                    end: state.end.clone(),
                    phase: state.phase,
                    watching: std::mem::take(&mut view.watching),
                });
                self.waiting.clear();
                state.begin_again();
            }
            Err(error) => self.cannot(error),
        }
    }

    /// The trainer that was asked for could not begin: all is as it was before.
    pub(super) fn back_to_before(&mut self, error: String) {
        if let Some(before) = self.before.take() {
            (self.link, self.connected) = (before.link, before.connected);
            (self.stage.state.end, self.stage.state.phase) = (before.end, before.phase);
            self.stage.view.watching = before.watching;
            self.host.gave_up();
        }
        // It has said so in the log itself.
        self.stage.view.hint = Some(error);
    }

    /// Says why something that was asked for was not done.
    pub(super) fn cannot(&mut self, error: String) {
        self.stage.view.hint = Some(error.clone());
        self.stage.state.say(Level::Error, error);
    }

    /// Writes a note into a run that no trainer of this process has.
    pub(super) fn note(&mut self, text: &str) {
        let state = &self.stage.state;
        let Some(run) = &state.run else { return };
        let tokens = state.latest.get(Metric::Tokens).unwrap_or(0.0) as u64;
        let at = (state.step_now(), tokens, state.version());
        match self.host.note(&run.folder, at, text) {
            // A watched run tells it itself.
            Ok(_) if self.stage.view.watching => {}
            Ok(row) => {
                let changed = Changed { config: run.config.clone(), version: run.version, rows: vec![row] };
                self.stage.apply(Event::Changed(Box::new(changed)), self.opened.elapsed());
            }
            Err(error) => self.cannot(error),
        }
    }
}
