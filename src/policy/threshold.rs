//! Owns: entropy thresholds: in nats, a fraction of the maximum, or a quantile of past entropies.
//! Must not know: what happens above or below a threshold.
//! Invariant: without past entropies, no entropy reaches a quantile.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    Nats(f64),
    /// A fraction of ln V, the entropy of the uniform distribution.
    FractionOfMax(f64),
    /// This fraction of the row's entropies so far, the prompt's included, is lower.
    Quantile(f64),
}

/// Writes `1.5`, `0.2lnV` or `q0.9`.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nats(value) => write!(f, "{value}"),
            Self::FractionOfMax(value) => write!(f, "{value}lnV"),
            Self::Quantile(value) => write!(f, "q{value}"),
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = "nats (1.5), a fraction of ln V (0.2lnV) or a quantile of past entropies (q0.9)";
        let (kind, number): (fn(f64) -> Self, _) = match (text.strip_prefix('q'), text.strip_suffix("lnV")) {
            (Some(number), _) => (Self::Quantile, number),
            (_, Some(number)) => (Self::FractionOfMax, number),
            _ => (Self::Nats, text),
        };
        let value = number.parse::<f64>().ok().filter(|value| *value >= 0.0 && value.is_finite());
        let value = value.ok_or_else(|| format!("{text:?} is not a threshold; allowed: {allowed}"))?;
        match kind(value) {
            Self::FractionOfMax(_) | Self::Quantile(_) if value > 1.0 => {
                Err(format!("{text:?} is too large; at most 1 is allowed"))
            }
            threshold => Ok(threshold),
        }
    }
}

/// Converts the thresholds of one row to nats.
#[derive(Clone, Debug)]
pub struct EntropyScale {
    max_entropy: f64,
    /// Past entropies of the row in nats, ascending.
    past: Vec<f64>,
}

impl EntropyScale {
    pub(in crate::policy) fn new(vocab: usize) -> Self {
        Self { max_entropy: (vocab as f64).ln(), past: Vec::new() }
    }

    /// Adds an entropy (nats) to the past ones.
    pub(in crate::policy) fn observe(&mut self, entropy: f64) {
        let index = self.past.partition_point(|seen| seen.total_cmp(&entropy).is_lt());
        self.past.insert(index, entropy);
    }

    pub(in crate::policy) fn to_nats(&self, threshold: Threshold) -> f64 {
        match threshold {
            Threshold::Nats(value) => value,
            Threshold::FractionOfMax(value) => value * self.max_entropy,
            Threshold::Quantile(value) => {
                let rank = (value * self.past.len() as f64) as usize;
                let last = self.past.len().saturating_sub(1);
                self.past.get(rank.min(last)).copied().unwrap_or(f64::INFINITY)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_parse_what_they_display() {
        for text in ["1.5", "0", "0.2lnV", "q0.9"] {
            assert_eq!(text.parse::<Threshold>().unwrap().to_string(), text);
        }
        for text in ["", "q", "-1", "NaN", "inf", "q1.5", "2lnV", "1.5nats"] {
            assert!(text.parse::<Threshold>().unwrap_err().contains(text), "{text}");
        }
    }

    #[test]
    fn quantiles_are_of_past_entropies() {
        let mut scale = EntropyScale::new(10);
        assert_eq!(scale.to_nats(Threshold::Quantile(0.0)), f64::INFINITY);
        for entropy in [3.0, 1.0, 2.0, 4.0] {
            scale.observe(entropy);
        }
        let found = [0.0, 0.5, 0.75, 1.0].map(|share| scale.to_nats(Threshold::Quantile(share)));
        assert_eq!(found, [1.0, 3.0, 4.0, 4.0]);
        assert!((scale.to_nats(Threshold::FractionOfMax(0.5)) - 10f64.ln() / 2.0).abs() < 1e-12);
    }
}
