//! Owns: the position budget: how many positions of a row are recycled, at a step and at most over the run.
//! Must not know: which positions they are.
//! Invariant: a budget depends on config, vocabulary size and step only.

use super::{ConfigKey, Curve, Recycle, SelectionRule};

/// A key of `[recycle]` that limits how many positions are recycled.
pub struct SelectionKey {
    pub name: &'static str,
    /// The selection rules that use it. The others ignore it.
    pub rules: &'static [SelectionRule],
    pub curve: fn(&Recycle) -> &Curve,
}

pub static SELECTION_KEYS: [SelectionKey; 3] = [
    SelectionKey { name: "fraction", rules: &[SelectionRule::Fraction], curve: |recycle| &recycle.fraction },
    SelectionKey { name: "count", rules: &[SelectionRule::Count], curve: |recycle| &recycle.count },
    SelectionKey {
        name: "threshold",
        rules: &[SelectionRule::Threshold, SelectionRule::RelativeThreshold],
        curve: |recycle| &recycle.threshold,
    },
];

/// A limit on how many positions of a row are recycled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PositionBudget {
    /// This fraction of the row's positions, and at least one.
    Fraction(f64),
    /// This number of positions per row.
    Count(usize),
    /// All positions whose plain entropy is at least this, in nats. Used with placements by entropy only.
    EntropyAtLeast(f64),
}

impl PositionBudget {
    /// Returns whether any position may be recycled.
    pub fn selects_any(self) -> bool {
        match self {
            PositionBudget::Fraction(fraction) => fraction > 0.0,
            PositionBudget::Count(count) => count > 0,
            PositionBudget::EntropyAtLeast(_) => true,
        }
    }

    /// Returns the maximum number of positions recycled in a row of `seq_len` positions.
    pub fn max_positions(self, seq_len: usize) -> usize {
        match self {
            PositionBudget::Fraction(fraction) => ((fraction * seq_len as f64).round() as usize).max(1),
            PositionBudget::Count(count) => count,
            PositionBudget::EntropyAtLeast(_) => seq_len,
        }
    }

    /// Returns whether a position with this plain entropy, in nats, may be recycled.
    pub fn admits(self, entropy: f32) -> bool {
        !matches!(self, PositionBudget::EntropyAtLeast(threshold) if f64::from(entropy) < threshold)
    }
}

impl Recycle {
    /// Returns whether `key` belongs to another selection rule than the chosen one.
    pub fn ignores(&self, key: &ConfigKey) -> bool {
        let other = |entry: &SelectionKey| entry.name == key.name && !entry.rules.contains(&self.share);
        key.section == "recycle" && SELECTION_KEYS.iter().any(other)
    }

    /// Returns the key of the chosen selection rule.
    pub fn selection_key(&self) -> &'static SelectionKey {
        SELECTION_KEYS.iter().find(|key| key.rules.contains(&self.share)).unwrap_or(&SELECTION_KEYS[0])
    }

    /// Returns the budget at `step`. Relative thresholds are shares of ln `vocab_size`.
    pub fn budget_at(&self, vocab_size: usize, step: u64) -> PositionBudget {
        self.budget(vocab_size, |curve| curve.value_at(step), |curve| curve.value_at(step))
    }

    /// Returns the largest budget of the whole run. Validations and early probes use it, so that they stay comparable
    /// over the run.
    pub fn max_budget(&self, vocab_size: usize) -> PositionBudget {
        self.budget(vocab_size, Curve::max, Curve::min)
    }

    fn budget(
        &self,
        vocab_size: usize,
        number: impl Fn(&Curve) -> f64,
        threshold: impl Fn(&Curve) -> f64,
    ) -> PositionBudget {
        let curve = (self.selection_key().curve)(self);
        match self.share {
            SelectionRule::Fraction => PositionBudget::Fraction(number(curve)),
            SelectionRule::Count => PositionBudget::Count(number(curve).round() as usize),
            SelectionRule::Threshold => PositionBudget::EntropyAtLeast(threshold(curve)),
            SelectionRule::RelativeThreshold => {
                PositionBudget::EntropyAtLeast(threshold(curve) * (vocab_size as f64).ln())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_selects_the_number() {
        let budget = |share| Recycle { share, ..Default::default() }.budget_at(100, 4);
        assert_eq!(budget(SelectionRule::Fraction), PositionBudget::Fraction(0.125));
        assert_eq!(budget(SelectionRule::Count), PositionBudget::Count(8));
        assert_eq!(budget(SelectionRule::Threshold), PositionBudget::EntropyAtLeast(0.5));
        assert_eq!(budget(SelectionRule::RelativeThreshold), PositionBudget::EntropyAtLeast(0.5 * 100_f64.ln()));
    }

    #[test]
    fn at_most_is_the_largest_number_or_the_lowest_threshold() {
        let curve = Curve::from_knots(vec![(0, 0.25), (10, 0.75), (20, 0.5)]).unwrap();
        let recycle =
            |share| Recycle { share, fraction: curve.clone(), threshold: curve.clone(), ..Default::default() };
        assert_eq!(recycle(SelectionRule::Fraction).max_budget(9), PositionBudget::Fraction(0.75));
        assert_eq!(recycle(SelectionRule::Threshold).max_budget(9), PositionBudget::EntropyAtLeast(0.25));
    }
}
