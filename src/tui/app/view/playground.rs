//! Owns: the settings of the playground, and the commands that change them.
//! Must not know: what a policy does. The trainer reports whether it accepts one.
//! Invariant: a request has the settings that the frame of the playground panel shows.

use super::{Effect, Panel, RunModel, ViewState};
use crate::policy::grammar;
use crate::policy::threshold::Threshold;
use crate::schema::protocol::{Command, PlaygroundRequest};
use crate::tui::app::actions::Nudge;
use crate::tui::app::command::PlaygroundCommand;

/// The next request to the playground, still without a prompt.
#[derive(Debug, Default)]
pub struct NextRequest(pub PlaygroundRequest);

impl ViewState {
    /// Applies a command to the playground, and focuses its panel.
    pub fn apply_playground_command(&mut self, command: PlaygroundCommand, state: &RunModel) -> Effect {
        self.panels.focus_on(Panel::Playground);
        match command {
            PlaygroundCommand::Ask(_) if state.is_over() => {
                let run = state.run.as_ref().map_or("RUN".into(), |run| run.folder.display().to_string());
                self.refuse(format!("the run has ended: r resumes it, and `coconut-lab generate {run}` answers now"));
            }
            PlaygroundCommand::Ask(prompt) => {
                let request = PlaygroundRequest { prompt, ..self.playground.0.clone() };
                return self.request(state, Command::Ask(Box::new(request)));
            }
            PlaygroundCommand::Policy(policy) => self.playground.0.policy = policy,
            PlaygroundCommand::Temperature(temperature) => self.playground.0.temperature = temperature,
            PlaygroundCommand::Length(max_tokens) => self.playground.0.max_tokens = max_tokens,
            PlaygroundCommand::Weights(checkpoint) => self.playground.0.checkpoint = checkpoint,
        }
        Effect::None
    }

    /// Raises or lowers the entropy threshold at which a thought starts.
    pub fn nudge_threshold(&mut self, nudge: Nudge) {
        match grammar::change_start(&self.playground.0.policy, |start| nudged(start, nudge)) {
            Some(policy) => self.playground.0.policy = policy,
            None => self.refuse("the policy has no `start`; y changes the policy"),
        }
    }
}

/// Returns the threshold moved by 0.1 nats, 0.02 of ln V, or 0.02 of a quantile.
fn nudged(threshold: Threshold, nudge: Nudge) -> Threshold {
    // Rounded to the unit, so that 0.1 + 0.2 is 0.3.
    let moved = |value: f64, unit: f64, max: f64| {
        let units = (value / unit + if nudge == Nudge::Up { 1.0 } else { -1.0 }).round();
        ((units * unit * 100.0).round() / 100.0).clamp(0.0, max)
    };
    match threshold {
        Threshold::Nats(value) => Threshold::Nats(moved(value, 0.1, f64::MAX)),
        Threshold::FractionOfMax(value) => Threshold::FractionOfMax(moved(value, 0.02, 1.0)),
        Threshold::Quantile(value) => Threshold::Quantile(moved(value, 0.02, 1.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_moves_in_its_own_unit_and_range() {
        for (policy, nudge, wanted) in [
            ("entropy:start=1.5,stop=0.5", Nudge::Up, Some("entropy:start=1.6,stop=0.5")),
            ("entropy:stop=0.5,start=0.05", Nudge::Down, Some("entropy:stop=0.5,start=0")),
            ("entropy:start=q0.9,most=3", Nudge::Up, Some("entropy:start=q0.92,most=3")),
            ("entropy:start=1lnV", Nudge::Up, Some("entropy:start=1lnV")),
            ("entropy:start=0.2lnV", Nudge::Down, Some("entropy:start=0.18lnV")),
            ("never", Nudge::Up, None),
            ("entropy:start=x", Nudge::Up, None),
        ] {
            let changed = grammar::change_start(policy, |start| nudged(start, nudge));
            assert_eq!(changed.as_deref(), wanted, "{policy}");
        }
    }
}
