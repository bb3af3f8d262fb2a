//! Owns: when the terminal tells of an alert, or of the end of a run: once each, while the window is not in focus.
//! Must not know: how a terminal does that.
//! Invariant: what a recorded run holds is told to nobody; what is in sight neither.

use super::MainLoop;
use crate::tui::model::state::Attention;
use crate::tui::terminal::TerminalGuard;
use std::collections::BTreeSet;
use std::io;

/// What the user was told, and whether the window is in focus.
#[derive(Debug, Default)]
pub(super) struct AttentionState {
    told: BTreeSet<&'static str>,
    /// Whether the window is in focus, if the terminal reports it.
    pub focused: Option<bool>,
}

impl AttentionState {
    /// Takes what needs attention `now` into account. Returns the first of it that is new, if it should be told.
    /// `is_live`: the run is in progress, or was while the dashboard was up.
    fn news(&mut self, now: &BTreeSet<Attention>, is_live: bool) -> Option<String> {
        let new = now.iter().find(|one| !self.told.contains(one.topic)).map(|one| one.text.clone());
        self.told = now.iter().map(|one| one.topic).collect();
        new.filter(|_| is_live && self.focused != Some(true))
    }
}

impl MainLoop<'_> {
    /// Tells what is new, as `dashboard.notify` says.
    pub(super) fn notify_user(&mut self, guard: &mut TerminalGuard) -> io::Result<()> {
        let state = &self.app.state;
        let Some(text) = self.attention.news(&state.attention(), state.phase.is_some()) else { return Ok(()) };
        let name = state.run.as_ref().map_or("", |run| &run.config.run.name);
        guard.notify(state.dashboard_config().notify, &format!("{name} {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention(topics: &[&'static str]) -> BTreeSet<Attention> {
        topics.iter().map(|topic| Attention { topic, text: format!("{topic}!") }).collect()
    }

    #[test]
    fn each_topic_is_told_once_until_it_is_over() {
        let mut state = AttentionState::default();
        assert_eq!(state.news(&attention(&["disk"]), true).as_deref(), Some("disk!"));
        assert_eq!(state.news(&attention(&["disk"]), true), None);
        assert_eq!(state.news(&attention(&["disk", "finished"]), true).as_deref(), Some("finished!"));
        assert_eq!(state.news(&attention(&[]), true), None);
        assert_eq!(state.news(&attention(&["disk"]), true).as_deref(), Some("disk!"));
    }

    #[test]
    fn nothing_is_told_of_what_is_in_sight_or_over() {
        let mut state = AttentionState { focused: Some(true), ..AttentionState::default() };
        assert_eq!(state.news(&attention(&["disk"]), true), None);
        state.focused = Some(false);
        assert_eq!(state.news(&attention(&["disk"]), true), None, "it was seen");
        assert_eq!(state.news(&attention(&["finished"]), false), None, "a recorded run");
        assert_eq!(state.news(&attention(&["failed"]), true).as_deref(), Some("failed!"));
    }
}
