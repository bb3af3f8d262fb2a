//! Owns: `Curve`, a number or a piecewise linear function of the step, and its TOML form.
//! Must not know: which setting it belongs to, tensors, terminals.
//! Invariant: at least one knot; the knots' steps ascend strictly; every value is finite.

use serde::{Deserialize, Serialize};

/// A setting that may change over the run: `0.3`, or knots `[[0, 0.0], [500, 0.0], [2000, 0.3]]`. A knot is a control
/// point (step, value). The curve is linear between knots and constant before the first and after the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "CurveForm", into = "CurveForm")]
pub struct Curve {
    knots: Vec<(u64, f64)>,
}

impl Curve {
    /// Creates a curve with the same value at every step.
    pub fn constant(value: f64) -> Self {
        Self { knots: vec![(0, value)] }
    }

    /// Creates a curve through `knots` (step, value). Fails if they are empty, not ascending or not finite.
    pub fn from_knots(knots: Vec<(u64, f64)>) -> Result<Self, String> {
        if knots.is_empty() {
            return Err("a curve needs at least one knot [step, value]".into());
        }
        if let Some((step, value)) = knots.iter().find(|(_, value)| !value.is_finite()) {
            return Err(format!("the knot at step {step} has the value {value}; it must be finite"));
        }
        if let Some(pair) = knots.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(format!("knots must ascend in step, but {} is followed by {}", pair[0].0, pair[1].0));
        }
        Ok(Self { knots })
    }

    /// Returns the value at `step`.
    pub fn value_at(&self, step: u64) -> f64 {
        let after = self.knots.partition_point(|(knot, _)| *knot <= step);
        match (after.checked_sub(1).map(|i| self.knots[i]), self.knots.get(after)) {
            (None, _) => self.knots[0].1,
            (Some((_, value)), None) => value,
            (Some((s0, v0)), Some(&(s1, v1))) => {
                let fraction = (step - s0) as f64 / (s1 - s0) as f64;
                v0 + (v1 - v0) * fraction
            }
        }
    }

    /// Returns the knots (step, value) in ascending order. A single knot is a constant.
    pub fn knots(&self) -> &[(u64, f64)] {
        &self.knots
    }

    /// Returns the smallest value over all steps.
    pub fn min(&self) -> f64 {
        self.knots.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min)
    }

    /// Returns the largest value over all steps.
    pub fn max(&self) -> f64 {
        self.knots.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max)
    }
}

/// A curve as it is written in TOML and JSON.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a number, or a curve of knots [[step, value], …]")]
enum CurveForm {
    Constant(f64),
    Knots(Vec<(u64, f64)>),
}

impl From<Curve> for CurveForm {
    fn from(curve: Curve) -> Self {
        match curve.knots[..] {
            [(0, value)] => CurveForm::Constant(value),
            _ => CurveForm::Knots(curve.knots),
        }
    }
}

impl TryFrom<CurveForm> for Curve {
    type Error = String;

    fn try_from(form: CurveForm) -> Result<Self, String> {
        Self::from_knots(match form {
            CurveForm::Constant(value) => vec![(0, value)],
            CurveForm::Knots(knots) => knots,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_linear_between_knots_and_flat_outside() {
        let curve = Curve::from_knots(vec![(100, 0.0), (500, 0.2), (600, 1.0)]).unwrap();
        for (step, value) in [(0, 0.0), (100, 0.0), (300, 0.1), (500, 0.2), (550, 0.6), (600, 1.0), (9999, 1.0)] {
            assert!((curve.value_at(step) - value).abs() < 1e-12, "at {step}");
        }
        assert_eq!(Curve::constant(0.3).value_at(7), 0.3);
    }

    #[test]
    fn refuses_knots_that_are_no_function() {
        for knots in [vec![], vec![(5, 0.0), (5, 1.0)], vec![(5, 0.0), (4, 1.0)], vec![(0, f64::NAN)]] {
            assert!(Curve::from_knots(knots).is_err());
        }
    }
}
