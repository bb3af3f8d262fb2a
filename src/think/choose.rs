//! Owns: a distribution over tokens, and the choice of one from it.
//! Must not know: where logits come from, latents.
//! Invariant: entropy and probabilities are those of the plain softmax, whatever the choice is made by; the same stream
//! chooses the same tokens.

use crate::rng::Stream;

/// How a token is chosen. Filters apply in this order, each to what the one before has left, the likeliest always left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Divides the logits; 0: the likeliest token.
    pub temperature: f64,
    /// So many of the likeliest; 0: all.
    pub top_k: usize,
    /// The likeliest that together reach this probability (Holtzman et al., arXiv 1904.09751); 1: all.
    pub top_p: f64,
    /// Those of at least this share of the likeliest's probability (Nguyen et al., arXiv 2407.01082); 0: all.
    pub min_p: f64,
}

impl Choice {
    /// The likeliest.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 };

    /// What of it makes no sense, if something does.
    ///
    /// # Errors
    /// A value outside of its range, named with the range.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f64, most: f64| match value >= 0.0 && value <= most {
            true => Ok(()),
            false => Err(format!("{name} = {value}: from 0 to {most} is allowed")),
        };
        within("temperature", self.temperature, 100.0)?;
        within("top-p", self.top_p, 1.0)?;
        within("min-p", self.min_p, 1.0)
    }

    /// One of the tokens of `logits`.
    pub fn pick(&self, logits: &[f32], stream: &mut Stream) -> u32 {
        if self.temperature == 0.0 {
            return likeliest(logits, 1)[0].0;
        }
        let (ids, weights) = self.left(logits);
        let mut at = stream.unit() * weights.iter().sum::<f64>();
        let picked = weights.iter().position(|weight| {
            at -= weight;
            at < 0.0
        });
        ids[picked.unwrap_or(ids.len() - 1)]
    }

    /// What the filters leave of the tokens, and in proportion to what each is chosen: the likeliest first, or, where there are
    /// none, all as they are numbered, which needs no sorting.
    fn left(&self, logits: &[f32]) -> (Vec<u32>, Vec<f64>) {
        let most = f64::from(likeliest(logits, 1)[0].1);
        let weight = |logit: f32| ((f64::from(logit) - most) / self.temperature).exp();
        if self.top_k == 0 && self.top_p >= 1.0 && self.min_p == 0.0 {
            return ((0..logits.len() as u32).collect(), logits.iter().map(|logit| weight(*logit)).collect());
        }
        let count = if self.top_k == 0 { logits.len() } else { self.top_k.min(logits.len()) };
        let ranked = likeliest(logits, count);
        let mut weights: Vec<f64> = ranked.iter().map(|(_, logit)| weight(*logit)).collect();
        let all: f64 = weights.iter().sum();
        let mut reached = 0.0;
        let nucleus = weights.iter().take_while(|weight| {
            let inside = reached < self.top_p * all;
            reached += **weight;
            inside
        });
        weights.truncate(nucleus.count().max(1));
        weights.truncate(weights.partition_point(|weight| *weight >= self.min_p).max(1));
        let ids = ranked.iter().take(weights.len()).map(|(id, _)| *id).collect();
        (ids, weights)
    }
}

/// What a distribution says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Nats.
    pub entropy: f64,
    /// The likeliest tokens and their probabilities, the likeliest first.
    pub top: Vec<(u32, f64)>,
}

impl Said {
    /// Of softmax(`logits`), with its `k` likeliest tokens.
    pub fn of(logits: &[f32], k: usize) -> Self {
        let ranked = likeliest(logits, k.clamp(1, logits.len()));
        let most = ranked[0].1;
        let (mut sum, mut dot) = (0.0_f64, 0.0_f64);
        for logit in logits {
            let less = f64::from(logit - most);
            let weight = less.exp();
            sum += weight;
            dot += weight * less;
        }
        let prob = |logit: f32| f64::from(logit - most).exp() / sum;
        let top = ranked.into_iter().take(k).map(|(id, logit)| (id, prob(logit))).collect();
        Self { entropy: (sum.ln() - dot / sum).max(0.0), top }
    }
}

/// The `count` largest logits, at least one of them, the largest first; of equals, the first.
fn likeliest(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let all = (0..).zip(logits.iter().copied());
    if count == 1 {
        return all.min_by(order).into_iter().collect();
    }
    let mut all: Vec<(u32, f32)> = all.collect();
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all.sort_unstable_by(order);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Draw, Purpose};

    /// ln of 4, 2, 1, 1 eighths, somewhat shuffled: 2 is the likeliest.
    const LOGITS: [f32; 4] = [0.0, std::f32::consts::LN_2, 2.0 * std::f32::consts::LN_2, 0.0];

    fn shares(choice: Choice) -> [f64; 4] {
        let mut stream = Draw::default().stream(Purpose::Choice, 0);
        let mut counts = [0.0; 4];
        for _ in 0..8000 {
            counts[choice.pick(&LOGITS, &mut stream) as usize] += 1.0 / 8000.0;
        }
        counts
    }

    fn near(found: [f64; 4], wanted: [f64; 4]) {
        for (found, wanted) in found.into_iter().zip(wanted) {
            assert!((found - wanted).abs() < 0.02 && (wanted > 0.0 || found == 0.0), "{found} {wanted}");
        }
    }

    #[test]
    fn tokens_come_as_often_as_they_are_likely() {
        let plain = Choice { temperature: 1.0, ..Choice::GREEDY };
        near(shares(Choice::GREEDY), [0.0, 0.0, 1.0, 0.0]);
        near(shares(plain), [0.125, 0.25, 0.5, 0.125]);
        // Squared: 16, 4, 1, 1.
        near(shares(Choice { temperature: 0.5, ..plain }), [1.0 / 22.0, 4.0 / 22.0, 16.0 / 22.0, 1.0 / 22.0]);
        let two = [0.0, 1.0 / 3.0, 2.0 / 3.0, 0.0];
        near(shares(Choice { top_k: 2, ..plain }), two);
        near(shares(Choice { top_p: 0.6, ..plain }), two);
        near(shares(Choice { min_p: 0.3, ..plain }), two);
        near(shares(Choice { top_p: 0.4, ..plain }), [0.0, 0.0, 1.0, 0.0]);
        near(shares(Choice { top_k: 9, min_p: 1.0, ..plain }), [0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_distribution_tells_its_entropy_and_its_likeliest() {
        let said = Said::of(&LOGITS, 2);
        assert!((said.entropy - 1.75 * 2f64.ln()).abs() < 1e-6);
        assert_eq!((said.top.len(), said.top[0].0, said.top[1].0), (2, 2, 1));
        assert!((said.top[0].1 - 0.5).abs() < 1e-6);
        assert_eq!(Said::of(&[5.0], 3).top, [(0, 1.0)]);
        assert!(Choice { top_p: 1.5, ..Choice::GREEDY }.check().unwrap_err().contains("top-p = 1.5"));
    }
}
