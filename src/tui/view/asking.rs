//! Owns: what is asked of the run by keys: to stop, hold, go on; settings, their undoing and their drafts.
//! Must not know: how it is sent, what becomes of it.
//! Invariant: what cannot be asked now is said.

use super::super::draft::{Draft, Sent};
use super::super::state::{End, State};
use super::{Edit, Effect, OVER, Overlay, View};
use crate::message::{Command, Set};
use std::time::SystemTime;

impl View {
    pub(super) fn quit(&mut self, state: &State) -> Effect {
        if state.is_over() || self.watching {
            return Effect::Leave;
        }
        self.overlay = Overlay::Question;
        Effect::None
    }

    /// Goes on with a run that is over; one that has come to its last step needs to be told how far.
    pub(super) fn resume(&mut self, state: &State) -> Effect {
        match &state.end {
            End::Running => self.hint = Some("the run goes on already".into()),
            End::Finished(summary) if !summary.stopped => self.open("resume ", state),
            _ => return Effect::Resume(None),
        }
        Effect::None
    }

    pub(super) fn ask(&mut self, state: &State, command: Command) -> Effect {
        if state.is_over() && !self.watching {
            self.hint = Some(OVER.into());
        } else if self.stopping {
            self.hint = Some("the run is being stopped".into());
        } else {
            return Effect::Send(command);
        }
        Effect::None
    }

    pub(super) fn pause(&mut self, state: &State) -> Effect {
        if state.is_over() || self.stopping {
            return Effect::None;
        }
        let hold = !self.pause_asked.unwrap_or(state.is_paused());
        self.pause_asked = Some(hold);
        Effect::Send(Command::Pause(hold))
    }

    /// Brings back how it was before the last setting.
    pub(super) fn undo(&mut self, state: &State) -> Effect {
        if self.undos.0 == 0 {
            self.undos.1 = state.changes_seen;
        }
        let Some(values) = state.undo(self.undos.0).cloned() else {
            self.hint = Some("there is nothing to undo".into());
            return Effect::None;
        };
        let effect = self.ask(state, Command::Set(Set { values, at: SystemTime::now() }));
        self.undos.0 += usize::from(effect != Effect::None);
        effect
    }

    pub(super) fn edit(&mut self, edit: Edit, state: &State) {
        let Some(run) = &state.run else { return };
        // What was is past: a knot there would change nothing of it.
        let next = state.step_now() + 1;
        let (steps, at) = (run.config.run.steps, self.charts.cross.unwrap_or(next).max(next));
        if self.draft.is_none() {
            let Some(number) = self.number_in(state) else { return };
            let curve = state.eras.last().and_then(|era| era.curves[number].clone());
            // A mixture is no number that could be moved.
            let Some(curve) = curve else { return self.open("=", state) };
            (self.draft, self.sent) = (Some(Draft::of(number, &curve, at)), None);
        }
        let Some(draft) = &mut self.draft else { return };
        match edit {
            Edit::Value(up, nudge) => draft.nudge(up, nudge),
            Edit::Knot(forward) => draft.choose(forward),
            Edit::Shift(forward) => draft.shift(forward, steps),
            Edit::Add => draft.add(at),
            Edit::Remove => draft.remove(),
        }
    }

    pub(super) fn send_draft(&mut self, state: &State) -> Effect {
        let Some(draft) = self.draft.take() else { return Effect::None };
        let (path, value) = (draft.number().key.path(), draft.toml());
        let effect = self.ask(state, Command::Set(Set::one(path.clone(), value.clone())));
        if effect != Effect::None {
            self.sent = Some(Sent { path, value, seen: state.changes_seen });
        }
        effect
    }
}
