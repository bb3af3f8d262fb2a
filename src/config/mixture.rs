//! Owns: `Mixture`, a number of passes or a distribution over several, and its TOML form.
//! Must not know: what a pass is.
//! Invariant: at least one entry; passes ascend, from 1 to [`MAX_PASSES`]; probabilities are positive with sum 1.

use serde::{Deserialize, Serialize};

/// Maximum number of recycled passes per step.
pub const MAX_PASSES: u64 = 64;

/// A distribution over numbers of passes: `2`, or `[[1, 0.97], [3, 0.03]]` (passes, probability).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "MixtureForm", into = "MixtureForm")]
pub struct Mixture {
    entries: Vec<(u64, f64)>,
}

impl Mixture {
    /// Creates a mixture that always draws `passes`.
    pub fn always(passes: u64) -> Self {
        Self { entries: vec![(passes, 1.0)] }
    }

    /// Creates a mixture of `entries` (passes, probability). Fails if they are not an ascending distribution.
    pub fn from_entries(entries: Vec<(u64, f64)>) -> Result<Self, String> {
        if entries.is_empty() {
            return Err("a mixture needs at least one [passes, probability]".into());
        }
        if let Some((passes, _)) = entries.iter().find(|(passes, _)| !(1..=MAX_PASSES).contains(passes)) {
            return Err(format!("{passes} passes are not allowed; allowed: from 1 to {MAX_PASSES}"));
        }
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(format!("passes must ascend, but {} is followed by {}", pair[0].0, pair[1].0));
        }
        let in_range = |probability: f64| probability > 0.0 && probability <= 1.0;
        if let Some((passes, probability)) = entries.iter().find(|(_, probability)| !in_range(*probability)) {
            return Err(format!(
                "the probability of {passes} passes is {probability}; it must be above 0 and at most 1"
            ));
        }
        let sum: f64 = entries.iter().map(|(_, probability)| probability).sum();
        if (sum - 1.0).abs() > 1e-6 {
            return Err(format!("the probabilities add up to {sum}; they must add up to 1"));
        }
        Ok(Self { entries })
    }

    /// Returns the number of passes that a uniform random number `unit` in [0, 1) selects.
    pub fn draw(&self, unit: f64) -> usize {
        let mut cumulative = 0.0;
        let drawn = self.entries.iter().find(|(_, probability)| {
            cumulative += probability;
            unit < cumulative
        });
        drawn.or(self.entries.last()).map_or(1, |(passes, _)| *passes as usize)
    }

    /// Iterates over the numbers of passes that can be drawn, in ascending order.
    pub fn pass_counts(&self) -> impl Iterator<Item = usize> {
        self.entries.iter().map(|(passes, _)| *passes as usize)
    }

    /// Returns the largest number of passes that can be drawn.
    pub fn max_passes(&self) -> usize {
        self.entries.last().map_or(1, |(passes, _)| *passes as usize)
    }

    /// Returns the number of passes drawn most often, the smallest on a tie. Validations and probes use it.
    pub fn most_probable(&self) -> usize {
        let usual = self.entries.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
        usual.map_or(1, |(passes, _)| *passes as usize)
    }
}

/// A mixture as it is written in TOML and JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number of passes, or a mixture [[passes, probability], …]")]
enum MixtureForm {
    Always(u64),
    Entries(Vec<(u64, f64)>),
}

impl From<Mixture> for MixtureForm {
    fn from(mixture: Mixture) -> Self {
        match mixture.entries[..] {
            [(passes, _)] => MixtureForm::Always(passes),
            _ => MixtureForm::Entries(mixture.entries),
        }
    }
}

impl TryFrom<MixtureForm> for Mixture {
    type Error = String;

    fn try_from(form: MixtureForm) -> Result<Self, String> {
        Self::from_entries(match form {
            MixtureForm::Always(passes) => vec![(passes, 1.0)],
            MixtureForm::Entries(entries) => entries,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_in_proportion() {
        let mixture = Mixture::from_entries(vec![(1, 0.75), (3, 0.25)]).unwrap();
        for (unit, passes) in [(0.0, 1), (0.74, 1), (0.76, 3), (0.999_999, 3), (1.0, 3)] {
            assert_eq!(mixture.draw(unit), passes);
        }
        assert_eq!((mixture.most_probable(), mixture.max_passes()), (1, 3));
        assert_eq!(Mixture::from_entries(vec![(1, 0.5), (2, 0.5)]).unwrap().most_probable(), 1);
    }

    #[test]
    fn refuses_what_is_no_distribution() {
        for parts in
            [vec![], vec![(0, 1.0)], vec![(65, 1.0)], vec![(2, 0.5), (1, 0.5)], vec![(1, 0.5)], vec![(1, f64::NAN)]]
        {
            assert!(Mixture::from_entries(parts).is_err());
        }
    }
}
