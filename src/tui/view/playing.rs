//! Owns: how the playground answers, and what changes that.
//! Must not know: what a policy does; whether the trainer takes it, it says itself.
//! Invariant: what is asked is asked as it stands in the panel's frame.

use super::{Effect, Panel, State, View};
use crate::message::{Ask, Command};

/// How a text is answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Play {
    /// As `generate --policy` takes it.
    pub policy: String,
    /// 0: the likeliest token each time.
    pub temperature: f64,
    /// Most tokens.
    pub most: usize,
    /// Step of the checkpoint that answers; none: the present weights.
    pub checkpoint: Option<u64>,
}

impl Default for Play {
    fn default() -> Self {
        let policy = "entropy:start=1.5,stop=0.5,most=8".into();
        Self { policy, temperature: 0.0, most: 64, checkpoint: None }
    }
}

/// What the command line asks of the playground.
#[derive(Clone, Debug, PartialEq)]
pub enum Playing {
    /// An answer to this.
    Ask(String),
    /// Another policy.
    Policy(String),
    /// Another temperature.
    Temperature(f64),
    /// Another length.
    Length(usize),
    /// Other weights.
    Weights(Option<u64>),
}

impl View {
    /// Carries out what the command line asks of the playground, and shows that.
    pub(super) fn play(&mut self, playing: Playing, state: &State) -> Effect {
        self.look_at(Panel::Playground);
        match playing {
            Playing::Ask(text) => {
                let Play { policy, temperature, most, checkpoint } = self.play.clone();
                let ask = Ask { text, policy, temperature, most, checkpoint };
                return self.ask(state, Command::Ask(Box::new(ask)));
            }
            Playing::Policy(policy) => self.play.policy = policy,
            Playing::Temperature(temperature) => self.play.temperature = temperature,
            Playing::Length(most) => self.play.most = most,
            Playing::Weights(checkpoint) => self.play.checkpoint = checkpoint,
        }
        Effect::None
    }

    /// The threshold at which a thought begins, a little higher or lower.
    pub(super) fn nudge_threshold(&mut self, up: bool) {
        match nudged(&self.play.policy, up) {
            Some(policy) => self.play.policy = policy,
            None => self.hint = Some("the policy has no `start`; y changes the policy".into()),
        }
    }
}

/// `policy` with another `start`: by 0.1 nats, 0.02 of ln V, or 0.02 of a quantile.
fn nudged(policy: &str, up: bool) -> Option<String> {
    let (before, rest) = policy.split_once("start=")?;
    let end = rest.find(',').unwrap_or(rest.len());
    let (value, after) = rest.split_at(end);
    let number = value.trim_start_matches('q').trim_end_matches("lnV");
    let (prefix, suffix) =
        (&value[..value.len() - value.trim_start_matches('q').len()], value.strip_prefix('q'));
    let relative = suffix.is_some() || value.ends_with("lnV");
    let (unit, most) = if relative { (0.02, 1.0) } else { (0.1, f64::MAX) };
    let moved = number.parse::<f64>().ok()? + if up { unit } else { -unit };
    let moved = ((moved / unit).round() * unit * 100.0).round() / 100.0;
    let suffix = if value.ends_with("lnV") { "lnV" } else { "" };
    Some(format!("{before}start={prefix}{}{suffix}{after}", moved.clamp(0.0, most)))
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
            assert_eq!(nudged(policy, up).as_deref(), wanted, "{policy}");
        }
    }
}
