//! Owns: when a generation thinks: a state machine that is told the entropy at each position and says what the next input is.
//! Must not know: models, tokens' meaning, how a token is chosen.
//! Invariant: pure: the same entropies and tokens give the same moves; no bound is ever passed.

use super::threshold::{Scale, Threshold};

/// What the next input is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// A token, chosen from the distribution.
    Token,
    /// This token, whatever the distribution: a marker of the paper's way.
    Mark(u32),
    /// The state of the position before.
    Latent,
    /// The last token is taken back, and the state before it stands in its place.
    Back,
}

/// When to think.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// Plain decoding.
    Never,
    /// So many latents at given places, as Hao et al. (arXiv 2412.06769) do.
    Fixed(Fixed),
    /// Where the entropy is high, until it is low.
    Entropy(Entropy),
    /// Where the entropy is above that of the last switch, until it is below (SwiReasoning, arXiv 2510.05069).
    Trend(Trend),
}

impl Policy {
    /// Tokens that it names, each under its key.
    pub fn tokens(&self) -> Vec<(&'static str, u32)> {
        let Self::Fixed(Fixed { places, bot, eot, .. }) = self else { return Vec::new() };
        let after = if let Places::After(id) = places { Some(*id) } else { None };
        let named = [("after", after), ("bot", *bot), ("eot", *eot)];
        named.into_iter().filter_map(|(key, id)| id.map(|id| (key, id))).collect()
    }

    /// Whether it goes by the entropies of the prompt.
    pub(super) fn watches(&self) -> bool {
        let watches = |threshold| matches!(threshold, Threshold::Quantile(_));
        matches!(self, Self::Entropy(own) if watches(own.start) || watches(own.stop))
    }
}

/// A fixed number of latents.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixed {
    /// Latents of a thought.
    pub count: usize,
    /// Where thoughts begin.
    pub places: Places,
    /// Token before each thought.
    pub bot: Option<u32>,
    /// Token behind each thought.
    pub eot: Option<u32>,
}

/// Where fixed thoughts begin.
#[derive(Clone, Debug, PartialEq)]
pub enum Places {
    /// After so many tokens of one's own, marks among them; 0 is right behind the prompt.
    At(Vec<usize>),
    /// Behind each token of this id, the prompt's last one too.
    After(u32),
}

/// From one threshold to another.
#[derive(Clone, Debug, PartialEq)]
pub struct Entropy {
    /// A thought begins at or above it.
    pub start: Threshold,
    /// A thought ends below it.
    pub stop: Threshold,
    /// Bounds of a thought.
    pub bounds: Bounds,
    /// Which position is recycled.
    pub at: At,
}

/// Against the entropy of the last switch.
#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    /// Fewest tokens between two thoughts.
    pub dwell: usize,
    /// Bounds of a thought.
    pub bounds: Bounds,
    /// Which position is recycled.
    pub at: At,
}

/// How long thoughts may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Fewest latents of a thought.
    pub least: usize,
    /// Most latents of a thought.
    pub most: usize,
    /// Most latents in all; none: as many as may be.
    pub all: Option<usize>,
}

/// Which state is recycled where the output at position `t` is uncertain: both readings of the article.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The uncertain state itself, which becomes the input at `t+1`.
    Next,
    /// The state before it, which takes the place of the token at `t`. A prompt's tokens stay.
    Own,
}

/// Where a generation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Tokens,
    /// The mark before a thought is set.
    Opened,
    /// After so many latents.
    Thought(usize),
}

/// A policy at work on one row.
#[derive(Clone, Debug)]
pub struct Machine {
    policy: Policy,
    scale: Scale,
    phase: Phase,
    /// Tokens of its own, marks too.
    tokens: usize,
    /// Of these, since the last thought; none: there was no thought.
    since: Option<usize>,
    latents: usize,
    /// The entropy of the last switch.
    reference: Option<f64>,
    /// Whether the last input is a token that may be taken back.
    fresh: bool,
}

impl Machine {
    /// For a vocabulary of `vocab` tokens.
    pub fn new(policy: Policy, vocab: usize) -> Self {
        let scale = Scale::new(vocab);
        Self {
            policy,
            scale,
            phase: Phase::Tokens,
            tokens: 0,
            since: None,
            latents: 0,
            reference: None,
            fresh: false,
        }
    }

    /// Is told the entropy (nats) at a position of the prompt but the last.
    pub fn saw(&mut self, entropy: f64) {
        self.scale.see(entropy);
    }

    /// What the next input is, after `entropy` (nats) at the last position, whose input was the token `last`, if it was one.
    pub fn next(&mut self, entropy: f64, last: Option<u32>) -> Move {
        let found = self.decide(entropy, last);
        self.scale.see(entropy);
        match found {
            Move::Token | Move::Mark(_) => {
                self.tokens += 1;
                self.since = self.since.map(|since| since + 1);
            }
            Move::Latent | Move::Back => {
                self.tokens -= usize::from(found == Move::Back);
                self.latents += 1;
                self.since = Some(0);
                let before = if let Phase::Thought(count) = self.phase { count } else { 0 };
                self.phase = Phase::Thought(before + 1);
            }
        }
        self.fresh = found == Move::Token;
        found
    }

    /// Latents so far.
    pub fn latents(&self) -> usize {
        self.latents
    }

    fn decide(&mut self, entropy: f64, last: Option<u32>) -> Move {
        match self.phase {
            Phase::Opened => Move::Latent,
            Phase::Thought(count) if self.goes_on(count, entropy) => Move::Latent,
            Phase::Thought(_) => {
                self.phase = Phase::Tokens;
                self.reference = Some(entropy);
                self.mark(|fixed| fixed.eot).unwrap_or(Move::Token)
            }
            Phase::Tokens if self.starts(entropy, last) => {
                self.reference = Some(entropy);
                match self.mark(|fixed| fixed.bot) {
                    Some(mark) => {
                        self.phase = Phase::Opened;
                        mark
                    }
                    None if self.at() == At::Own => Move::Back,
                    None => Move::Latent,
                }
            }
            Phase::Tokens => {
                self.reference.get_or_insert(entropy);
                Move::Token
            }
        }
    }

    fn mark(&self, which: fn(&Fixed) -> Option<u32>) -> Option<Move> {
        match &self.policy {
            Policy::Fixed(fixed) => which(fixed).map(Move::Mark),
            _ => None,
        }
    }

    fn at(&self) -> At {
        match &self.policy {
            Policy::Entropy(Entropy { at, .. }) | Policy::Trend(Trend { at, .. }) => *at,
            Policy::Never | Policy::Fixed(_) => At::Next,
        }
    }

    /// Whether a thought of `count` latents goes on.
    fn goes_on(&self, count: usize, entropy: f64) -> bool {
        let (bounds, uncertain) = match &self.policy {
            Policy::Never => return false,
            Policy::Fixed(fixed) => return count < fixed.count,
            Policy::Entropy(own) => (own.bounds, entropy >= self.scale.nats(own.stop)),
            Policy::Trend(own) => (own.bounds, self.reference.is_some_and(|reference| entropy >= reference)),
        };
        let left = bounds.all.is_none_or(|all| self.latents < all);
        left && count < bounds.most && (count < bounds.least || uncertain)
    }

    fn starts(&self, entropy: f64, last: Option<u32>) -> bool {
        // A thought that has just ended does not begin again without a token that stays.
        let apart = |tokens: usize| self.since.is_none_or(|since| since >= tokens.max(1));
        let (bounds, at, dwell, uncertain) = match &self.policy {
            Policy::Never => return false,
            Policy::Fixed(fixed) => {
                let there = match &fixed.places {
                    Places::At(places) => places.contains(&self.tokens),
                    Places::After(marker) => last == Some(*marker),
                };
                return fixed.count > 0 && there && apart(1);
            }
            Policy::Entropy(own) => (own.bounds, own.at, 1, entropy >= self.scale.nats(own.start)),
            Policy::Trend(own) => {
                let above = self.reference.is_some_and(|reference| entropy > reference);
                (own.bounds, own.at, own.dwell, above)
            }
        };
        let left = bounds.most > 0 && bounds.all.is_none_or(|all| self.latents < all);
        match at {
            At::Next => left && uncertain && apart(dwell),
            At::Own => left && uncertain && apart(dwell.max(1) + 1) && self.fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { least: 1, most: 4, all: None };

    /// The moves after each of `entropies`, `T`, `L`, `B`, or `m` for a mark; each token is 7, and so is the prompt's last.
    fn moves(policy: Policy, entropies: &[f64]) -> String {
        let mut machine = Machine::new(policy, 100);
        let mut last = Some(7);
        let mut made = String::new();
        for entropy in entropies {
            let found = machine.next(*entropy, last);
            (last, _) = match found {
                Move::Token => (Some(7), made.push('T')),
                Move::Mark(id) => (Some(id), made.push('m')),
                Move::Latent => (None, made.push('L')),
                Move::Back => (None, made.push('B')),
            };
        }
        assert_eq!(machine.latents(), made.chars().filter(|made| "LB".contains(*made)).count());
        made
    }

    fn entropy(bounds: Bounds, at: At) -> Policy {
        Policy::Entropy(Entropy { start: Threshold::Nats(2.0), stop: Threshold::Nats(1.0), bounds, at })
    }

    #[test]
    fn entropy_has_two_thresholds() {
        let next = |bounds, entropies: &[f64]| moves(entropy(bounds, At::Next), entropies);
        // At or above the one, until below the other; between them, as it was.
        assert_eq!(next(BOUNDS, &[1.9, 2.0, 1.5, 1.0, 0.99, 1.5, 2.5]), "TLLLTTL");
        // No longer than allowed, and a token before the next thought.
        assert_eq!(next(BOUNDS, &[3.0; 7]), "LLLLTLL");
        assert_eq!(next(Bounds { least: 3, ..BOUNDS }, &[3.0, 0.0, 0.0, 0.0]), "LLLT");
        assert_eq!(next(Bounds { all: Some(3), ..BOUNDS }, &[3.0, 0.0, 3.0, 3.0, 3.0, 3.0]), "LTLLTT");
        assert_eq!(next(Bounds { all: Some(0), ..BOUNDS }, &[3.0, 3.0]), "TT");
        assert_eq!(next(Bounds { most: 0, least: 0, all: None }, &[3.0, 3.0]), "TT");
    }

    #[test]
    fn what_is_uncertain_itself_is_taken_back_but_for_the_prompt() {
        let own = |entropies: &[f64]| moves(entropy(BOUNDS, At::Own), entropies);
        assert_eq!(own(&[3.0, 3.0, 3.0, 0.5, 0.0, 2.0]), "TBLTTB");
        assert_eq!(own(&[3.0, 0.5, 0.5]), "TTT");
        // One token at least stays between two thoughts.
        assert_eq!(own(&[3.0; 10]), "TBLLLTTBLL");
    }

    #[test]
    fn fixed_thoughts_are_where_they_are_said_to_be() {
        let fixed = |count, places, marks: Option<u32>| {
            Policy::Fixed(Fixed { count, places, bot: marks, eot: marks })
        };
        assert_eq!(moves(fixed(2, Places::At(vec![0, 2]), None), &[0.0; 8]), "LLTTLLTT");
        assert_eq!(moves(fixed(2, Places::At(vec![0]), Some(9)), &[0.0; 6]), "mLLmTT");
        assert_eq!(moves(fixed(1, Places::After(7), None), &[0.0; 5]), "LTLTL");
        assert_eq!(moves(fixed(1, Places::After(8), None), &[0.0; 3]), "TTT");
        assert_eq!(moves(fixed(0, Places::At(vec![0]), Some(9)), &[0.0; 3]), "TTT");
        assert_eq!(moves(Policy::Never, &[9.0; 3]), "TTT");
    }

    #[test]
    fn trend_looks_at_the_last_switch() {
        let trend = |dwell| Policy::Trend(Trend { dwell, bounds: BOUNDS, at: At::Next });
        // The first one is the reference; above it a thought begins, which ends below that.
        assert_eq!(moves(trend(1), &[1.0, 0.9, 1.1, 1.2, 1.05, 1.0, 1.06]), "TTLLTTL");
        assert_eq!(moves(trend(3), &[1.0, 2.0, 1.0, 2.0, 2.0, 2.0, 2.0]), "TLTTTLL");
    }

    #[test]
    fn thresholds_may_go_by_what_was_seen() {
        let (start, stop) = (Threshold::Quantile(0.5), Threshold::Share(0.1));
        let policy = Policy::Entropy(Entropy { start, stop, bounds: BOUNDS, at: At::Next });
        let mut machine = Machine::new(policy, 100);
        for entropy in [1.0, 2.0, 3.0] {
            machine.saw(entropy);
        }
        assert_eq!(machine.next(1.9, None), Move::Token);
        assert_eq!(machine.next(2.0, None), Move::Latent);
        // A tenth of ln 100.
        assert_eq!(machine.next(0.47, None), Move::Latent);
        assert_eq!(machine.next(0.45, None), Move::Token);
    }
}
