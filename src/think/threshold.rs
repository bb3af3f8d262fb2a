//! Owns: thresholds of entropy: in nats, in shares of the greatest, or by rank among those seen.
//! Must not know: what is done above or below one.
//! Invariant: where nothing was seen, no entropy reaches a quantile.

use std::fmt;
use std::str::FromStr;

/// A threshold of entropy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// As it is.
    Nats(f64),
    /// A share of ln V, the entropy of knowing nothing.
    Share(f64),
    /// Of the entropies of the row so far, the prompt's too: this share of them is lower.
    Quantile(f64),
}

/// `1.5`, `0.2lnV`, `q0.9`.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nats(value) => write!(f, "{value}"),
            Self::Share(value) => write!(f, "{value}lnV"),
            Self::Quantile(value) => write!(f, "q{value}"),
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = "nats (1.5), a share of ln V (0.2lnV) or a quantile of what was seen (q0.9)";
        let (kind, number): (fn(f64) -> Self, _) = match (text.strip_prefix('q'), text.strip_suffix("lnV")) {
            (Some(number), _) => (Self::Quantile, number),
            (_, Some(number)) => (Self::Share, number),
            _ => (Self::Nats, text),
        };
        let value = number.parse::<f64>().ok().filter(|value| *value >= 0.0 && value.is_finite());
        let value = value.ok_or_else(|| format!("{text:?} is no threshold; allowed: {allowed}"))?;
        match kind(value) {
            Self::Share(_) | Self::Quantile(_) if value > 1.0 => {
                Err(format!("{text:?}: at most 1 is allowed"))
            }
            threshold => Ok(threshold),
        }
    }
}

/// What thresholds are measured by, for one row.
#[derive(Clone, Debug)]
pub struct Scale {
    most: f64,
    /// Ascending.
    seen: Vec<f64>,
}

impl Scale {
    pub(super) fn new(vocab: usize) -> Self {
        Self { most: (vocab as f64).ln(), seen: Vec::new() }
    }

    pub(super) fn see(&mut self, entropy: f64) {
        let at = self.seen.partition_point(|seen| seen.total_cmp(&entropy).is_lt());
        self.seen.insert(at, entropy);
    }

    /// In nats.
    pub(super) fn nats(&self, threshold: Threshold) -> f64 {
        match threshold {
            Threshold::Nats(value) => value,
            Threshold::Share(value) => value * self.most,
            Threshold::Quantile(value) => {
                let rank = (value * self.seen.len() as f64) as usize;
                let last = self.seen.len().saturating_sub(1);
                self.seen.get(rank.min(last)).copied().unwrap_or(f64::INFINITY)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_as_they_are_written() {
        for text in ["1.5", "0", "0.2lnV", "q0.9"] {
            assert_eq!(text.parse::<Threshold>().unwrap().to_string(), text);
        }
        for text in ["", "q", "-1", "NaN", "inf", "q1.5", "2lnV", "1.5nats"] {
            assert!(text.parse::<Threshold>().unwrap_err().contains(text), "{text}");
        }
    }

    #[test]
    fn quantiles_are_of_what_was_seen() {
        let mut scale = Scale::new(10);
        assert_eq!(scale.nats(Threshold::Quantile(0.0)), f64::INFINITY);
        for entropy in [3.0, 1.0, 2.0, 4.0] {
            scale.see(entropy);
        }
        let found = [0.0, 0.5, 0.75, 1.0].map(|share| scale.nats(Threshold::Quantile(share)));
        assert_eq!(found, [1.0, 3.0, 4.0, 4.0]);
        assert!((scale.nats(Threshold::Share(0.5)) - 10f64.ln() / 2.0).abs() < 1e-12);
    }
}
