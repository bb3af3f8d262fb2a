//! Owns: `Mixture`, a number of passes or several with probabilities, and how it is written in TOML.
//! Must not know: what a pass is.
//! Invariant: at least one entry; passes ascend, from 1 to [`MOST`]; probabilities are positive and add up to 1.

use serde::de::{self, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Most passes of a step.
pub const MOST: u64 = 64;

/// How many passes: `2`, or `[[1, 0.97], [3, 0.03]]` (passes, probability).
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    parts: Vec<(u64, f64)>,
}

impl Mixture {
    /// Always `passes`.
    pub fn always(passes: u64) -> Self {
        Self { parts: vec![(passes, 1.0)] }
    }

    /// A mixture of `parts` (passes, probability); says what is wrong with them otherwise.
    pub fn of(parts: Vec<(u64, f64)>) -> Result<Self, String> {
        if parts.is_empty() {
            return Err("a mixture needs at least one [passes, probability]".into());
        }
        if let Some((passes, _)) = parts.iter().find(|(passes, _)| !(1..=MOST).contains(passes)) {
            return Err(format!("{passes} passes are not allowed; allowed: from 1 to {MOST}"));
        }
        if let Some(pair) = parts.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(format!("passes must ascend, but {} is followed by {}", pair[0].0, pair[1].0));
        }
        if let Some((passes, share)) = parts.iter().find(|(_, share)| !(*share > 0.0 && *share <= 1.0)) {
            return Err(format!(
                "the probability of {passes} passes is {share}; it must be above 0 and at most 1"
            ));
        }
        let sum: f64 = parts.iter().map(|(_, share)| share).sum();
        if (sum - 1.0).abs() > 1e-6 {
            return Err(format!("the probabilities add up to {sum}; they must add up to 1"));
        }
        Ok(Self { parts })
    }

    /// The passes that a number `unit` in [0, 1) draws.
    pub fn draw(&self, unit: f64) -> usize {
        let mut below = 0.0;
        let drawn = self.parts.iter().find(|(_, share)| {
            below += share;
            unit < below
        });
        drawn.or(self.parts.last()).map_or(1, |(passes, _)| *passes as usize)
    }

    /// Every number of passes that it can draw, ascending.
    pub fn depths(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().map(|(passes, _)| *passes as usize)
    }

    /// The most passes it can draw.
    pub fn most(&self) -> usize {
        self.parts.last().map_or(1, |(passes, _)| *passes as usize)
    }

    /// The passes drawn most often, the fewest of equals: what validations and looks use.
    pub fn usual(&self) -> usize {
        let usual = self.parts.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
        usual.map_or(1, |(passes, _)| *passes as usize)
    }
}

impl Serialize for Mixture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let [(passes, _)] = self.parts[..] {
            return serializer.serialize_u64(passes);
        }
        let mut seq = serializer.serialize_seq(Some(self.parts.len()))?;
        for part in &self.parts {
            seq.serialize_element(part)?;
        }
        seq.end()
    }
}

impl<'de> Deserialize<'de> for Mixture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MixtureVisitor)
    }
}

struct MixtureVisitor;

impl<'de> Visitor<'de> for MixtureVisitor {
    type Value = Mixture;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a whole number of passes, or a mixture [[passes, probability], …]")
    }

    fn visit_u64<E: de::Error>(self, passes: u64) -> Result<Mixture, E> {
        Mixture::of(vec![(passes, 1.0)]).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, passes: i64) -> Result<Mixture, E> {
        let whole = u64::try_from(passes);
        whole
            .map_err(|_| E::custom(format!("{passes} passes are not allowed")))
            .and_then(|n| self.visit_u64(n))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Mixture, A::Error> {
        let mut parts = Vec::new();
        while let Some(part) = seq.next_element::<(u64, f64)>()? {
            parts.push(part);
        }
        Mixture::of(parts).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_in_proportion() {
        let mixture = Mixture::of(vec![(1, 0.75), (3, 0.25)]).unwrap();
        for (unit, passes) in [(0.0, 1), (0.74, 1), (0.76, 3), (0.999_999, 3), (1.0, 3)] {
            assert_eq!(mixture.draw(unit), passes);
        }
        assert_eq!((mixture.usual(), mixture.most()), (1, 3));
        assert_eq!(Mixture::of(vec![(1, 0.5), (2, 0.5)]).unwrap().usual(), 1);
    }

    #[test]
    fn refuses_what_is_no_distribution() {
        for parts in [
            vec![],
            vec![(0, 1.0)],
            vec![(65, 1.0)],
            vec![(2, 0.5), (1, 0.5)],
            vec![(1, 0.5)],
            vec![(1, f64::NAN)],
        ] {
            assert!(Mixture::of(parts).is_err());
        }
    }
}
