//! Owns: the kinds of events of a rollout, and which of them count in the loss.
//! Must not know: log-probabilities, losses.
//! Invariant: latents, inserted tokens and forced decisions never count.

/// What happened at a point of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutEventKind {
    /// A sampled token.
    Token,
    /// A token that the policy inserted.
    Given,
    Latent,
    /// A decision between token and latent that had a choice.
    SampledSwitch,
    /// A decision that a limit left no choice in.
    ForcedSwitch,
}

/// The events of a rollout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolloutEvents {
    pub kinds: Vec<RolloutEventKind>,
    /// Whether it ran into its limit and has no end of its own.
    pub is_truncated: bool,
}

/// Whether decisions count beside tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwitchCounting {
    Ignored,
    Counted,
}

/// Whether truncated rollouts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TruncatedCounting {
    Kept,
    Masked,
}

/// Which events count in the loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountingRule {
    pub switches: SwitchCounting,
    pub truncated: TruncatedCounting,
}

impl RolloutEvents {
    /// Returns whether each event counts in the loss.
    pub fn counted(&self, rule: CountingRule) -> Vec<bool> {
        let is_masked = self.is_truncated && rule.truncated == TruncatedCounting::Masked;
        let counts = |kind: &RolloutEventKind| match kind {
            RolloutEventKind::Token => true,
            RolloutEventKind::SampledSwitch => rule.switches == SwitchCounting::Counted,
            RolloutEventKind::Given | RolloutEventKind::Latent | RolloutEventKind::ForcedSwitch => false,
        };
        self.kinds.iter().map(|kind| !is_masked && counts(kind)).collect()
    }

    /// Returns the number of tokens, inserted ones included.
    pub fn tokens(&self) -> usize {
        self.kinds.iter().filter(|kind| matches!(kind, RolloutEventKind::Token | RolloutEventKind::Given)).count()
    }
}
