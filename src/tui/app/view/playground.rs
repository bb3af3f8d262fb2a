//! Owns: the settings of the playground, and the commands that change them.
//! Must not know: what a policy does. The trainer reports whether it accepts one.
//! Invariant: a request has the settings that the frame of the playground panel shows.

use super::{Effect, Panel, RunState, ViewState};
use crate::schema::protocol::{Command, PlaygroundRequest};

/// How the playground generates an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaygroundSettings {
    /// The thinking policy, in the syntax of `generate --policy`.
    pub policy: String,
    /// Sampling temperature; 0 is greedy decoding.
    pub temperature: f64,
    /// Maximum number of generated tokens.
    pub max_tokens: usize,
    /// Step of the checkpoint that answers; none for the current weights.
    pub checkpoint: Option<u64>,
}

impl Default for PlaygroundSettings {
    fn default() -> Self {
        let policy = "entropy:start=1.5,stop=0.5,most=8".into();
        Self { policy, temperature: 0.0, max_tokens: 64, checkpoint: None }
    }
}

/// A command of the command line for the playground.
#[derive(Clone, Debug, PartialEq)]
pub enum PlaygroundCommand {
    /// Generate an answer to this prompt.
    Ask(String),
    Policy(String),
    Temperature(f64),
    /// Set the maximum number of tokens.
    Length(usize),
    /// Set the step of the checkpoint that answers; none for the current weights.
    Weights(Option<u64>),
}

impl ViewState {
    /// Applies a command to the playground, and focuses its panel.
    pub(in crate::tui) fn apply_playground_command(
        &mut self,
        command: PlaygroundCommand,
        state: &RunState,
    ) -> Effect {
        self.focus_panel(Panel::Playground);
        match command {
            PlaygroundCommand::Ask(text) => {
                let PlaygroundSettings { policy, temperature, max_tokens, checkpoint } =
                    self.playground.clone();
                let request = PlaygroundRequest { prompt: text, policy, temperature, max_tokens, checkpoint };
                return self.request(state, Command::Ask(Box::new(request)));
            }
            PlaygroundCommand::Policy(policy) => self.playground.policy = policy,
            PlaygroundCommand::Temperature(temperature) => self.playground.temperature = temperature,
            PlaygroundCommand::Length(max_tokens) => self.playground.max_tokens = max_tokens,
            PlaygroundCommand::Weights(checkpoint) => self.playground.checkpoint = checkpoint,
        }
        Effect::None
    }

    /// Raises or lowers the entropy threshold at which a thought starts.
    pub(in crate::tui) fn nudge_threshold(&mut self, up: bool) {
        match with_nudged_start(&self.playground.policy, up) {
            Some(policy) => self.playground.policy = policy,
            None => self.hint = Some("the policy has no `start`; y changes the policy".into()),
        }
    }
}

/// Returns `policy` with `start` moved by 0.1 nats, 0.02 of ln V, or 0.02 of a quantile.
fn with_nudged_start(policy: &str, up: bool) -> Option<String> {
    let (before, rest) = policy.split_once("start=")?;
    let end = rest.find(',').unwrap_or(rest.len());
    let (value, after) = rest.split_at(end);
    let number = value.trim_start_matches('q').trim_end_matches("lnV");
    let (prefix, suffix) =
        (&value[..value.len() - value.trim_start_matches('q').len()], value.strip_prefix('q'));
    let relative = suffix.is_some() || value.ends_with("lnV");
    let (unit, max) = if relative { (0.02, 1.0) } else { (0.1, f64::MAX) };
    let moved = number.parse::<f64>().ok()? + if up { unit } else { -unit };
    let moved = ((moved / unit).round() * unit * 100.0).round() / 100.0;
    let suffix = if value.ends_with("lnV") { "lnV" } else { "" };
    Some(format!("{before}start={prefix}{}{suffix}{after}", moved.clamp(0.0, max)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_moves_in_its_own_unit_and_range() {
        for (policy, up, wanted) in [
            ("entropy:start=1.5,stop=0.5", true, Some("entropy:start=1.6,stop=0.5")),
            ("entropy:stop=0.5,start=0.05", false, Some("entropy:stop=0.5,start=0")),
            ("entropy:start=q0.9,most=3", true, Some("entropy:start=q0.92,most=3")),
            ("entropy:start=1lnV", true, Some("entropy:start=1lnV")),
            ("entropy:start=0.2lnV", false, Some("entropy:start=0.18lnV")),
            ("never", true, None),
            ("entropy:start=x", true, None),
        ] {
            assert_eq!(with_nudged_start(policy, up).as_deref(), wanted, "{policy}");
        }
    }
}
