//! Owns: distributions over tokens, and sampling of a token.
//! Must not know: where logits come from, latents.
//! Invariant: entropy and probabilities are those of the plain softmax; equal streams sample equal tokens.

use crate::rng::RngStream;

/// How a token is sampled. Each filter, in this order, keeps the most likely token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divisor of the logits; 0 means greedy decoding.
    pub temperature: f64,
    /// Keeps this many of the most likely tokens; 0 means all.
    pub top_k: usize,
    /// Keeps the likeliest tokens that reach this probability (Holtzman et al., arXiv 1904.09751); 1: all.
    pub top_p: f64,
    /// Keeps tokens with this share of the largest probability (Nguyen et al., arXiv 2407.01082); 0: all.
    pub min_p: f64,
}

impl SamplingParams {
    /// Always takes the most likely token.
    pub const GREEDY: Self = Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0 };

    /// Checks the ranges of the parameters; an error names the value and its range.
    pub fn validate(&self) -> Result<(), String> {
        let within = |name: &str, value: f64, max: f64| match value >= 0.0 && value <= max {
            true => Ok(()),
            false => Err(format!("{name} = {value} is out of range; allowed: 0 to {max}")),
        };
        within("temperature", self.temperature, 100.0)?;
        within("top-p", self.top_p, 1.0)?;
        within("min-p", self.min_p, 1.0)
    }

    /// Samples a token id from `logits` `[V]`. Returns it with the log-probability (nats) that it was sampled with.
    pub fn sample(&self, logits: &[f32], stream: &mut RngStream) -> (u32, f64) {
        if self.temperature == 0.0 {
            return (top_logits(logits, 1)[0].0, 0.0);
        }
        let (ids, weights) = self.filter_tokens(logits);
        let sum = weights.iter().sum::<f64>();
        let mut remaining = stream.uniform() * sum;
        let sampled = weights.iter().position(|weight| {
            remaining -= weight;
            remaining < 0.0
        });
        let index = sampled.unwrap_or(ids.len() - 1);
        (ids[index], (weights[index] / sum).ln())
    }

    /// Returns the tokens that the filters keep, and their unnormalized probabilities. They are sorted, most
    /// likely first; without filters they are in order of their ids, which saves the sort.
    fn filter_tokens(&self, logits: &[f32]) -> (Vec<u32>, Vec<f64>) {
        let max = f64::from(top_logits(logits, 1)[0].1);
        let weight = |logit: f32| ((f64::from(logit) - max) / self.temperature).exp();
        if self.top_k == 0 && self.top_p >= 1.0 && self.min_p == 0.0 {
            return ((0..logits.len() as u32).collect(), logits.iter().map(|logit| weight(*logit)).collect());
        }
        let count = if self.top_k == 0 { logits.len() } else { self.top_k.min(logits.len()) };
        let ranked = top_logits(logits, count);
        let mut weights: Vec<f64> = ranked.iter().map(|(_, logit)| weight(*logit)).collect();
        let total: f64 = weights.iter().sum();
        let mut reached = 0.0;
        let nucleus = weights.iter().take_while(|weight| {
            let inside = reached < self.top_p * total;
            reached += **weight;
            inside
        });
        weights.truncate(nucleus.count().max(1));
        weights.truncate(weights.partition_point(|weight| *weight >= self.min_p).max(1));
        let ids = ranked.iter().take(weights.len()).map(|(id, _)| *id).collect();
        (ids, weights)
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenDistribution {
    pub entropy: f64,
    /// The most likely tokens as (id, probability), most likely first.
    pub top: Vec<(u32, f64)>,
}

impl TokenDistribution {
    /// Summarizes softmax(`logits`), with its `k` most likely tokens.
    pub fn from_logits(logits: &[f32], k: usize) -> Self {
        let ranked = top_logits(logits, k.clamp(1, logits.len()));
        let max = ranked[0].1;
        let (mut sum, mut dot) = (0.0_f64, 0.0_f64);
        for logit in logits {
            let shifted = f64::from(logit - max);
            let weight = shifted.exp();
            sum += weight;
            dot += weight * shifted;
        }
        let prob = |logit: f32| f64::from(logit - max).exp() / sum;
        let top = ranked.into_iter().take(k).map(|(id, logit)| (id, prob(logit))).collect();
        Self { entropy: (sum.ln() - dot / sum).max(0.0), top }
    }
}

/// Returns the `count` largest logits (at least one) as (id, logit), largest and then lowest id first.
fn top_logits(logits: &[f32], count: usize) -> Vec<(u32, f32)> {
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    let tokens = (0..).zip(logits.iter().copied());
    if count == 1 {
        return tokens.min_by(order).into_iter().collect();
    }
    let mut tokens: Vec<(u32, f32)> = tokens.collect();
    if count < tokens.len() {
        tokens.select_nth_unstable_by(count, order);
        tokens.truncate(count);
    }
    tokens.sort_unstable_by(order);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{RngKey, RngPurpose};

    /// Logits of the probabilities 1/8, 2/8, 4/8, 1/8: token 2 is the most likely.
    const LOGITS: [f32; 4] = [0.0, std::f32::consts::LN_2, 2.0 * std::f32::consts::LN_2, 0.0];

    fn frequencies(params: SamplingParams) -> [f64; 4] {
        let mut stream = RngKey::default().stream(RngPurpose::TokenSampling, 0);
        let (mut counts, mut log_probs) = ([0.0; 4], [0.0; 4]);
        for _ in 0..8000 {
            let (id, log_prob) = params.sample(&LOGITS, &mut stream);
            counts[id as usize] += 1.0 / 8000.0;
            log_probs[id as usize] = log_prob;
        }
        // The stated probabilities are those that tokens are sampled with.
        for (count, log_prob) in counts.iter().zip(log_probs) {
            let stated: f64 = if *count > 0.0 { log_prob.exp() } else { 0.0 };
            assert!((count - stated).abs() < 0.02, "{count} {stated}");
        }
        counts
    }

    fn assert_near(found: [f64; 4], wanted: [f64; 4]) {
        for (found, wanted) in found.into_iter().zip(wanted) {
            assert!((found - wanted).abs() < 0.02 && (wanted > 0.0 || found == 0.0), "{found} {wanted}");
        }
    }

    #[test]
    fn tokens_are_sampled_with_their_probabilities() {
        let plain = SamplingParams { temperature: 1.0, ..SamplingParams::GREEDY };
        assert_near(frequencies(SamplingParams::GREEDY), [0.0, 0.0, 1.0, 0.0]);
        assert_near(frequencies(plain), [0.125, 0.25, 0.5, 0.125]);
        // Squared: 16, 4, 1, 1.
        assert_near(
            frequencies(SamplingParams { temperature: 0.5, ..plain }),
            [1.0 / 22.0, 4.0 / 22.0, 16.0 / 22.0, 1.0 / 22.0],
        );
        let two = [0.0, 1.0 / 3.0, 2.0 / 3.0, 0.0];
        assert_near(frequencies(SamplingParams { top_k: 2, ..plain }), two);
        assert_near(frequencies(SamplingParams { top_p: 0.6, ..plain }), two);
        assert_near(frequencies(SamplingParams { min_p: 0.3, ..plain }), two);
        assert_near(frequencies(SamplingParams { top_p: 0.4, ..plain }), [0.0, 0.0, 1.0, 0.0]);
        assert_near(frequencies(SamplingParams { top_k: 9, min_p: 1.0, ..plain }), [0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn a_distribution_has_its_entropy_and_its_top_tokens() {
        let distribution = TokenDistribution::from_logits(&LOGITS, 2);
        assert!((distribution.entropy - 1.75 * 2f64.ln()).abs() < 1e-6);
        let top = &distribution.top;
        assert_eq!((top.len(), top[0].0, top[1].0), (2, 2, 1));
        assert!((top[0].1 - 0.5).abs() < 1e-6);
        assert_eq!(TokenDistribution::from_logits(&[5.0], 3).top, [(0, 1.0)]);
        assert!(
            SamplingParams { top_p: 1.5, ..SamplingParams::GREEDY }.validate().unwrap_err().contains("top-p = 1.5")
        );
    }
}
