//! Owns: when a generation thinks: a state machine from the entropy at each position to the next input.
//! Must not know: models, what tokens mean, how a token is sampled.
//! Invariant: pure: equal entropies and tokens give equal actions; no bound is ever exceeded.

use super::threshold::{EntropyScale, Threshold};
use crate::rng::RngStream;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyAction {
    /// A token sampled from the distribution.
    Token,
    /// This token, whatever the distribution: a marker of a thought's beginning or end, as in Hao et al.
    Marker(u32),
    /// A latent: the hidden state of the previous position.
    Latent,
    /// A latent that replaces the last token: the hidden state that the token was sampled from.
    ReplaceToken,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// Plain decoding.
    Never,
    /// A fixed number of latents at given positions, as in Hao et al. (arXiv 2412.06769).
    Fixed(FixedPolicy),
    /// Thinks from a high entropy on, until the entropy is low.
    Entropy(EntropyPolicy),
    /// Thinks while the entropy is above that of the last switch (SwiReasoning, arXiv 2510.05069).
    Trend(TrendPolicy),
}

impl Policy {
    /// Returns the token ids that the policy contains, each with its key.
    pub fn named_tokens(&self) -> Vec<(&'static str, u32)> {
        let Self::Fixed(FixedPolicy { starts, bot, eot, .. }) = self else { return Vec::new() };
        let after = if let ThoughtStarts::AfterToken(id) = starts { Some(*id) } else { None };
        let named = [("after", after), ("bot", *bot), ("eot", *eot)];
        named.into_iter().filter_map(|(key, id)| id.map(|id| (key, id))).collect()
    }

    pub fn uses_prompt_entropies(&self) -> bool {
        let is_quantile = |threshold| matches!(threshold, Threshold::Quantile(_));
        matches!(self, Self::Entropy(policy) if is_quantile(policy.start) || is_quantile(policy.stop))
    }
}

/// Thoughts with a fixed number of latents.
#[derive(Clone, Debug, PartialEq)]
pub struct FixedPolicy {
    pub count: usize,
    pub starts: ThoughtStarts,
    /// Token to insert before each thought (beginning of thought).
    pub bot: Option<u32>,
    /// Token to insert after each thought (end of thought).
    pub eot: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ThoughtStarts {
    /// After these numbers of generated tokens, markers included. 0 is directly after the prompt.
    TokenCounts(Vec<usize>),
    /// After each token with this id, including the last token of the prompt.
    AfterToken(u32),
}

#[derive(Clone, Debug, PartialEq)]
pub struct EntropyPolicy {
    /// A thought starts at or above this entropy.
    pub start: Threshold,
    /// A thought ends below this entropy.
    pub stop: Threshold,
    pub bounds: ThoughtBounds,
    /// Which hidden state starts a thought.
    pub position: LatentPosition,
}

/// Thoughts while the entropy is above that of the last switch.
#[derive(Clone, Debug, PartialEq)]
pub struct TrendPolicy {
    pub dwell: usize,
    pub bounds: ThoughtBounds,
    /// Which hidden state starts a thought.
    pub position: LatentPosition,
}

/// How long thoughts may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThoughtBounds {
    pub min_latents: usize,
    pub max_latents: usize,
    /// `None` means no limit for the row.
    pub max_total_latents: Option<usize>,
}

/// Which hidden state is recycled if the output at `t` is uncertain: the article allows both readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatentPosition {
    /// The uncertain state itself, as the input at `t+1`.
    Next,
    /// The state at `t-1`, as the input at `t`, in place of the token there, if it is not of the prompt.
    InPlace,
}

/// A choice between a token and a latent by a policy that compares entropies with a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThresholdDecision {
    pub thinks: bool,
    /// The threshold that the entropy was compared with, nats; `None` if a limit left no choice.
    pub threshold: Option<f64>,
}

/// What is added to an entropy before it is compared with a threshold. With logistic noise of scale τ a latent is chosen with
/// the probability 1 / (1 + exp((threshold - entropy) / τ)).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum SwitchNoise {
    #[default]
    None,
    /// Logistic noise of this scale (nats), drawn anew at each decision.
    PerDecision(f64),
    /// Logistic noise of this scale (nats), drawn once for each row.
    PerRow(f64),
}

impl SwitchNoise {
    /// Returns the log-probability (nats) of a decision by noise of scale `scale` at an entropy, and its derivative by the
    /// entropy.
    pub fn log_prob(scale: f64, thinks: bool, entropy: f64, threshold: f64) -> (f64, f64) {
        let sign = if thinks { 1.0 } else { -1.0 };
        let x = sign * (entropy - threshold) / scale;
        // -ln(1 + exp(-x)), without overflow.
        let log_prob = x.min(0.0) - (-x.abs()).exp().ln_1p();
        let other = if x >= 0.0 { (-x).exp() / (1.0 + (-x).exp()) } else { 1.0 / (1.0 + x.exp()) };
        (log_prob, sign * other / scale)
    }

    /// Draws noise in nats for a decision of a row whose noise was `before` at its last decision, if it had one.
    pub fn draw(self, before: Option<f64>, stream: &mut RngStream) -> f64 {
        match (self, before) {
            (Self::None, _) => 0.0,
            (Self::PerRow(_), Some(before)) => before,
            (Self::PerRow(scale) | Self::PerDecision(scale), _) => {
                let share = stream.uniform().max(f64::MIN_POSITIVE);
                scale * (share / (1.0 - share)).ln()
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ThoughtPhase {
    Tokens,
    /// The marker before a thought has just been inserted.
    Opening,
    /// Thinking, after this many latents of the thought.
    Thinking(usize),
}

#[derive(Clone, Debug)]
pub struct PolicyState {
    policy: Policy,
    entropy_scale: EntropyScale,
    phase: ThoughtPhase,
    /// Number of generated tokens, markers included.
    tokens: usize,
    /// Number of tokens since the last thought; `None` before the first thought.
    tokens_since_thought: Option<usize>,
    latents: usize,
    /// Entropy at the last switch between tokens and latents, in nats.
    switch_entropy: Option<f64>,
    /// Whether the last input was a sampled token, which a latent may replace.
    last_is_replaceable: bool,
    /// Added to entropies before they are compared, nats.
    noise: f64,
    decision: Option<ThresholdDecision>,
}

impl PolicyState {
    /// Starts `policy` on a row, for a vocabulary of `vocab` tokens.
    pub fn new(policy: Policy, vocab: usize) -> Self {
        let entropy_scale = EntropyScale::new(vocab);
        Self {
            policy,
            entropy_scale,
            phase: ThoughtPhase::Tokens,
            tokens: 0,
            tokens_since_thought: None,
            latents: 0,
            switch_entropy: None,
            last_is_replaceable: false,
            noise: 0.0,
            decision: None,
        }
    }

    /// Sets what is added to entropies (nats) before they are compared with a threshold.
    pub fn set_noise(&mut self, nats: f64) {
        self.noise = nats;
    }

    /// Returns what was decided by a threshold at the last action; `None` if the policy compares nothing there.
    pub fn decision(&self) -> Option<ThresholdDecision> {
        self.decision
    }

    /// Records the entropy (nats) at a position of the prompt, except the last.
    pub fn observe_prompt(&mut self, entropy: f64) {
        self.entropy_scale.observe(entropy);
    }

    /// Decides the next input from the entropy (nats) at the last position; `last`: its token, if it has one.
    pub fn next_action(&mut self, entropy: f64, last: Option<u32>) -> PolicyAction {
        self.decision = None;
        let action = self.decide(entropy, last);
        self.entropy_scale.observe(entropy);
        match action {
            PolicyAction::Token | PolicyAction::Marker(_) => {
                self.tokens += 1;
                self.tokens_since_thought = self.tokens_since_thought.map(|since| since + 1);
            }
            PolicyAction::Latent | PolicyAction::ReplaceToken => {
                self.tokens -= usize::from(action == PolicyAction::ReplaceToken);
                self.latents += 1;
                self.tokens_since_thought = Some(0);
                let count = if let ThoughtPhase::Thinking(count) = self.phase { count } else { 0 };
                self.phase = ThoughtPhase::Thinking(count + 1);
            }
        }
        self.last_is_replaceable = action == PolicyAction::Token;
        action
    }

    pub fn latents(&self) -> usize {
        self.latents
    }

    fn decide(&mut self, entropy: f64, last: Option<u32>) -> PolicyAction {
        let phase = self.phase;
        match phase {
            ThoughtPhase::Opening => PolicyAction::Latent,
            ThoughtPhase::Thinking(count) => match self.continues(count, entropy) {
                true => PolicyAction::Latent,
                false => {
                    self.phase = ThoughtPhase::Tokens;
                    self.switch_entropy = Some(entropy);
                    self.marker(|fixed| fixed.eot).unwrap_or(PolicyAction::Token)
                }
            },
            ThoughtPhase::Tokens => match self.starts_thought(entropy, last) {
                true => self.start_thought(entropy),
                false => {
                    self.switch_entropy.get_or_insert(entropy);
                    PolicyAction::Token
                }
            },
        }
    }

    /// Returns the first action of a thought: its marker, if it has one, or a latent.
    fn start_thought(&mut self, entropy: f64) -> PolicyAction {
        self.switch_entropy = Some(entropy);
        match self.marker(|fixed| fixed.bot) {
            Some(marker) => {
                self.phase = ThoughtPhase::Opening;
                marker
            }
            None if self.latent_position() == LatentPosition::InPlace => PolicyAction::ReplaceToken,
            None => PolicyAction::Latent,
        }
    }

    /// Returns the action that inserts a marker token, if the policy has that marker.
    fn marker(&self, which: fn(&FixedPolicy) -> Option<u32>) -> Option<PolicyAction> {
        match &self.policy {
            Policy::Fixed(fixed) => which(fixed).map(PolicyAction::Marker),
            _ => None,
        }
    }

    fn latent_position(&self) -> LatentPosition {
        match &self.policy {
            Policy::Entropy(EntropyPolicy { position, .. }) | Policy::Trend(TrendPolicy { position, .. }) => *position,
            Policy::Never | Policy::Fixed(_) => LatentPosition::Next,
        }
    }

    /// Records a decision, and returns whether it is for a latent. `threshold`: what the entropy is compared with; `None`
    /// if there is no choice, but `otherwise`.
    fn compare(&mut self, entropy: f64, threshold: Option<f64>, otherwise: bool) -> bool {
        let threshold = threshold.filter(|threshold| threshold.is_finite());
        let thinks = threshold.map_or(otherwise, |threshold| entropy + self.noise >= threshold);
        self.decision = Some(ThresholdDecision { thinks, threshold });
        thinks
    }

    fn continues(&mut self, count: usize, entropy: f64) -> bool {
        let (bounds, threshold) = match &self.policy {
            Policy::Never => return false,
            Policy::Fixed(fixed) => return count < fixed.count,
            Policy::Entropy(policy) => (policy.bounds, Some(self.entropy_scale.to_nats(policy.stop))),
            Policy::Trend(policy) => (policy.bounds, self.switch_entropy),
        };
        let allowed = count < bounds.max_latents && bounds.max_total_latents.is_none_or(|max| self.latents < max);
        match allowed && count < bounds.min_latents {
            true => self.compare(entropy, None, true),
            false => self.compare(entropy, threshold.filter(|_| allowed), false),
        }
    }

    /// Whether a thought starts after `entropy` at the last position, whose input was the token `last`.
    fn starts_thought(&mut self, entropy: f64, last: Option<u32>) -> bool {
        // At least one token that stays separates two thoughts.
        let tokens_since = self.tokens_since_thought;
        let separated = |tokens: usize| tokens_since.is_none_or(|since| since >= tokens.max(1));
        let (bounds, position, dwell, threshold) = match &self.policy {
            Policy::Never => return false,
            Policy::Fixed(fixed) => {
                let here = match &fixed.starts {
                    ThoughtStarts::TokenCounts(counts) => counts.contains(&self.tokens),
                    ThoughtStarts::AfterToken(marker) => last == Some(*marker),
                };
                return fixed.count > 0 && here && separated(1);
            }
            Policy::Entropy(policy) => {
                (policy.bounds, policy.position, 1, Some(self.entropy_scale.to_nats(policy.start)))
            }
            // Above, not at, the last switch's entropy.
            Policy::Trend(policy) => {
                (policy.bounds, policy.position, policy.dwell, self.switch_entropy.map(f64::next_up))
            }
        };
        let allowed = bounds.max_latents > 0 && bounds.max_total_latents.is_none_or(|max| self.latents < max);
        let has_place = match position {
            LatentPosition::Next => separated(dwell),
            LatentPosition::InPlace => separated(dwell.max(1) + 1) && self.last_is_replaceable,
        };
        self.compare(entropy, threshold.filter(|_| allowed && has_place), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ThoughtBounds = ThoughtBounds { min_latents: 1, max_latents: 4, max_total_latents: None };

    /// Returns the action after each of `entropies`: `T` token, `L` latent, `B` latent in place of a token,
    /// `m` marker. Every sampled token is 7, and so is the last token of the prompt.
    fn actions(policy: Policy, entropies: &[f64]) -> String {
        let mut state = PolicyState::new(policy, 100);
        let mut last = Some(7);
        let mut letters = String::new();
        for entropy in entropies {
            let action = state.next_action(*entropy, last);
            (last, _) = match action {
                PolicyAction::Token => (Some(7), letters.push('T')),
                PolicyAction::Marker(id) => (Some(id), letters.push('m')),
                PolicyAction::Latent => (None, letters.push('L')),
                PolicyAction::ReplaceToken => (None, letters.push('B')),
            };
        }
        let latents = letters.chars().filter(|letter| "LB".contains(*letter)).count();
        assert_eq!(state.latents(), latents);
        letters
    }

    fn entropy(bounds: ThoughtBounds, position: LatentPosition) -> Policy {
        Policy::Entropy(EntropyPolicy { start: Threshold::Nats(2.0), stop: Threshold::Nats(1.0), bounds, position })
    }

    #[test]
    fn entropy_has_two_thresholds() {
        let next = |bounds, entropies: &[f64]| actions(entropy(bounds, LatentPosition::Next), entropies);
        // Starts at or above one threshold, ends below the other; no switch between them.
        assert_eq!(next(BOUNDS, &[1.9, 2.0, 1.5, 1.0, 0.99, 1.5, 2.5]), "TLLLTTL");
        // No longer than the maximum, and a token before the next thought.
        assert_eq!(next(BOUNDS, &[3.0; 7]), "LLLLTLL");
        assert_eq!(next(ThoughtBounds { min_latents: 3, ..BOUNDS }, &[3.0, 0.0, 0.0, 0.0]), "LLLT");
        assert_eq!(
            next(ThoughtBounds { max_total_latents: Some(3), ..BOUNDS }, &[3.0, 0.0, 3.0, 3.0, 3.0, 3.0]),
            "LTLLTT"
        );
        assert_eq!(next(ThoughtBounds { max_total_latents: Some(0), ..BOUNDS }, &[3.0, 3.0]), "TT");
        assert_eq!(next(ThoughtBounds { max_latents: 0, min_latents: 0, max_total_latents: None }, &[3.0, 3.0]), "TT");
    }

    #[test]
    fn uncertain_tokens_are_replaced_except_in_the_prompt() {
        let in_place = |entropies: &[f64]| actions(entropy(BOUNDS, LatentPosition::InPlace), entropies);
        assert_eq!(in_place(&[3.0, 3.0, 3.0, 0.5, 0.0, 2.0]), "TBLTTB");
        assert_eq!(in_place(&[3.0, 0.5, 0.5]), "TTT");
        // At least one token stays between two thoughts.
        assert_eq!(in_place(&[3.0; 10]), "TBLLLTTBLL");
    }

    #[test]
    fn fixed_thoughts_start_where_the_policy_says() {
        let fixed =
            |count, starts, marker: Option<u32>| Policy::Fixed(FixedPolicy { count, starts, bot: marker, eot: marker });
        assert_eq!(actions(fixed(2, ThoughtStarts::TokenCounts(vec![0, 2]), None), &[0.0; 8]), "LLTTLLTT");
        assert_eq!(actions(fixed(2, ThoughtStarts::TokenCounts(vec![0]), Some(9)), &[0.0; 6]), "mLLmTT");
        assert_eq!(actions(fixed(1, ThoughtStarts::AfterToken(7), None), &[0.0; 5]), "LTLTL");
        assert_eq!(actions(fixed(1, ThoughtStarts::AfterToken(8), None), &[0.0; 3]), "TTT");
        assert_eq!(actions(fixed(0, ThoughtStarts::TokenCounts(vec![0]), Some(9)), &[0.0; 3]), "TTT");
        assert_eq!(actions(Policy::Never, &[9.0; 3]), "TTT");
    }

    #[test]
    fn trend_compares_with_the_last_switch() {
        let trend = |dwell| Policy::Trend(TrendPolicy { dwell, bounds: BOUNDS, position: LatentPosition::Next });
        // The first entropy is the reference. A thought starts above it, and ends below the entropy at its start.
        assert_eq!(actions(trend(1), &[1.0, 0.9, 1.1, 1.2, 1.05, 1.0, 1.06]), "TTLLTTL");
        assert_eq!(actions(trend(3), &[1.0, 2.0, 1.0, 2.0, 2.0, 2.0, 2.0]), "TLTTTLL");
    }

    #[test]
    fn decisions_say_what_was_compared_and_whether_there_was_a_choice() {
        let bounds = ThoughtBounds { min_latents: 2, max_latents: 3, max_total_latents: None };
        let mut state = PolicyState::new(entropy(bounds, LatentPosition::Next), 100);
        let decided = [0.5, 2.5, 2.5, 2.5, 2.5, 9.0, 9.0].map(|entropy| {
            state.next_action(entropy, None);
            state.decision().map(|decision| (decision.thinks, decision.threshold))
        });
        let free = |thinks, threshold| Some((thinks, Some(threshold)));
        let forced = |thinks| Some((thinks, None));
        // A second latent is forced, a fourth is ruled out; after its token the next thought is free again.
        let wanted = [free(false, 2.0), free(true, 2.0), forced(true), free(true, 1.0), forced(false), free(true, 2.0)];
        assert_eq!(decided[..6], wanted);
        let mut never = PolicyState::new(Policy::Never, 100);
        never.next_action(9.0, None);
        assert_eq!(never.decision(), None);
    }

    #[test]
    fn noise_decides_with_the_stated_probability() {
        let mut stream = crate::rng::RngKey::default().stream(crate::rng::RngPurpose::SwitchDecision, 0);
        let (scale, entropy_now, threshold) = (0.3, 1.8, 2.0);
        let thinks = (0..20_000).filter(|_| {
            let mut state = PolicyState::new(entropy(BOUNDS, LatentPosition::Next), 100);
            state.set_noise(SwitchNoise::PerDecision(scale).draw(None, &mut stream));
            state.next_action(entropy_now, None) == PolicyAction::Latent
        });
        let share = thinks.count() as f64 / 20_000.0;
        let (yes, slope) = SwitchNoise::log_prob(scale, true, entropy_now, threshold);
        let (no, _) = SwitchNoise::log_prob(scale, false, entropy_now, threshold);
        assert!(
            (share - yes.exp()).abs() < 0.02 && (yes.exp() + no.exp() - 1.0).abs() < 1e-12,
            "{share} {}",
            yes.exp()
        );
        let moved = SwitchNoise::log_prob(scale, true, entropy_now + 1e-6, threshold).0;
        assert!(((moved - yes) / 1e-6 - slope).abs() < 1e-5);
        assert_eq!(SwitchNoise::log_prob(1e-3, true, 0.0, 50.0).0, -50_000.0);
        let once = SwitchNoise::PerRow(scale);
        assert_eq!(once.draw(Some(0.7), &mut stream), 0.7);
        assert_ne!(SwitchNoise::PerDecision(scale).draw(Some(0.7), &mut stream), 0.7);
        assert_eq!(SwitchNoise::None.draw(None, &mut stream), 0.0);
    }

    #[test]
    fn quantile_thresholds_depend_on_past_entropies() {
        let (start, stop) = (Threshold::Quantile(0.5), Threshold::FractionOfMax(0.1));
        let policy = Policy::Entropy(EntropyPolicy { start, stop, bounds: BOUNDS, position: LatentPosition::Next });
        let mut state = PolicyState::new(policy, 100);
        for entropy in [1.0, 2.0, 3.0] {
            state.observe_prompt(entropy);
        }
        assert_eq!(state.next_action(1.9, None), PolicyAction::Token);
        assert_eq!(state.next_action(2.0, None), PolicyAction::Latent);
        // A tenth of ln 100.
        assert_eq!(state.next_action(0.47, None), PolicyAction::Latent);
        assert_eq!(state.next_action(0.45, None), PolicyAction::Token);
    }
}
