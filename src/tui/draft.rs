//! Owns: an edit of a live number that is being made: a value or the knots of a curve, moved by keys, until it is asked for.
//! Must not know: how it is drawn, whether the run will take it up.
//! Invariant: a draft is always a curve within the number's limit, its knots ascending.

use super::eras::{Number, knot, numbers};
use crate::config::{Curve, Limit};
use toml::Value;

/// An edit that is not asked for yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Which of [`numbers`].
    pub number: usize,
    /// The knots, ascending; one is a constant.
    pub knots: Vec<(u64, f64)>,
    /// The knot that is moved.
    pub at: usize,
}

/// An edit that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// The key.
    pub path: String,
    /// The value.
    pub value: String,
    /// Changes seen before it was asked for.
    pub seen: u64,
}

/// How far a key moves a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// One unit of the second figure.
    Fine,
    /// One unit of the first figure.
    Coarse,
}

impl Draft {
    /// Of number `number`, which is `curve` now; the knot nearest to `step` is moved first.
    pub fn of(number: usize, curve: &Curve, step: u64) -> Self {
        let knots = curve.knots().to_vec();
        let nearest = knots.iter().enumerate().min_by_key(|(_, (knot, _))| knot.abs_diff(step));
        let at = nearest.map_or(0, |(index, _)| index);
        Self { number, knots, at }
    }

    /// The number.
    pub fn number(&self) -> &'static Number {
        &numbers()[self.number]
    }

    /// The knot that is moved.
    pub fn knot(&self) -> (u64, f64) {
        self.knots[self.at]
    }

    /// Its value at `step`.
    pub fn value_at(&self, step: u64) -> f64 {
        self.curve().map_or(0.0, |curve| curve.at(step))
    }

    /// It as a curve.
    pub fn curve(&self) -> Option<Curve> {
        Curve::through(self.knots.clone()).ok()
    }

    /// Moves the knot's value.
    pub fn nudge(&mut self, up: bool, nudge: Nudge) {
        let number = self.number();
        let value = &mut self.knots[self.at].1;
        *value = nudged(*value, up, nudge, number.limit(), number.whole);
    }

    /// The knot after or before.
    pub fn choose(&mut self, forward: bool) {
        let last = self.knots.len() - 1;
        self.at = if forward { (self.at + 1).min(last) } else { self.at.saturating_sub(1) };
    }

    /// Moves the knot by a hundredth of a run of `steps`, as far as its neighbours let it.
    pub fn shift(&mut self, forward: bool, steps: u64) {
        let by = (steps / 100).max(1);
        let step = self.knots[self.at].0;
        let least = self.at.checked_sub(1).map_or(0, |before| self.knots[before].0 + 1);
        let most = self.knots.get(self.at + 1).map_or(u64::MAX, |after| after.0 - 1);
        let to = if forward { step.saturating_add(by) } else { step.saturating_sub(by) };
        self.knots[self.at].0 = to.clamp(least, most);
    }

    /// A knot at `step`, where the curve is then; no number but a curve has one.
    pub fn add(&mut self, step: u64) {
        if !self.number().curved {
            return;
        }
        let value = self.value_at(step);
        match self.knots.binary_search_by_key(&step, |(knot, _)| *knot) {
            Ok(there) => self.at = there,
            Err(place) => {
                self.knots.insert(place, (step, value));
                self.at = place;
            }
        }
    }

    /// Takes the knot away, unless it is the last.
    pub fn remove(&mut self) {
        if self.knots.len() > 1 {
            self.knots.remove(self.at);
            self.at = self.at.min(self.knots.len() - 1);
        }
    }

    /// It as a value in TOML.
    pub fn toml(&self) -> String {
        match self.knots[..] {
            // A single knot is the same everywhere.
            [(_, value)] if self.number().whole => Value::Integer(value as i64).to_string(),
            [(_, value)] => Value::Float(value).to_string(),
            _ => {
                Value::Array(self.knots.iter().map(|(step, value)| knot(*step, *value)).collect()).to_string()
            }
        }
    }
}

/// `value`, a little more or less, within its limit.
fn nudged(value: f64, up: bool, nudge: Nudge, limit: Limit, whole: bool) -> f64 {
    let (least, most) = match limit {
        Limit::Any => (if whole { 0.0 } else { f64::MIN }, f64::MAX),
        Limit::Within(low, high) => (low, high),
        Limit::AtLeast(low) => (low, f64::MAX),
        Limit::Above(low) => (low + f64::EPSILON, f64::MAX),
    };
    let sign = if up { 1.0 } else { -1.0 };
    let unit = unit(value, up, nudge, (least, most), whole);
    // Rounded to its unit, so that 0.1 + 0.2 is 0.3.
    let moved = ((value + sign * unit) / unit).round() * unit;
    let digits = (-unit.log10().floor()).clamp(0.0, 12.0);
    let factor = 10f64.powf(digits);
    let moved = if digits > 0.0 { (moved * factor).round() / factor } else { moved };
    moved.clamp(least, most)
}

fn unit(value: f64, up: bool, nudge: Nudge, (least, most): (f64, f64), whole: bool) -> f64 {
    let coarse: f64 = if nudge == Nudge::Coarse { 10.0 } else { 1.0 };
    if value == 0.0 {
        let unit = match most - least {
            span if whole => coarse.min(span.max(1.0)),
            span if span <= 10.0 => span / 100.0 * coarse,
            _ => 0.01 * coarse,
        };
        return unit.max(f64::MIN_POSITIVE);
    }
    // Going down from 1 the next figure is 0.9 of the power below.
    let size = value.abs() * if (value > 0.0) == up { 1.0 } else { 1.0 - 1e-9 };
    let figure = 10f64.powf(size.log10().floor() - 1.0) * coarse;
    if whole { figure.round().max(1.0) } else { figure }
}

#[cfg(test)]
mod tests {
    use super::super::eras::tests::index;
    use super::*;

    #[test]
    fn values_move_by_a_figure_and_stay_within_their_limit() {
        let share = Limit::Within(0.0, 1.0);
        for (value, up, nudge, wanted) in [
            (0.15, true, Nudge::Fine, 0.16),
            (0.3, false, Nudge::Coarse, 0.2),
            (1.0, false, Nudge::Fine, 0.99),
            (1.0, true, Nudge::Fine, 1.0),
            (0.0, true, Nudge::Fine, 0.01),
            (0.0, false, Nudge::Fine, 0.0),
        ] {
            assert_eq!(nudged(value, up, nudge, share, false), wanted, "{value} {up} {nudge:?}");
        }
        assert!((nudged(8.1e-4, true, Nudge::Fine, Limit::Any, false) - 8.2e-4).abs() < 1e-12);
        assert_eq!(nudged(4.0, false, Nudge::Fine, Limit::Any, true), 3.0);
        assert_eq!(nudged(0.0, false, Nudge::Fine, Limit::Any, true), 0.0, "a count is not below 0");
        assert_eq!(nudged(2000.0, true, Nudge::Fine, Limit::AtLeast(1.0), true), 2100.0);
    }

    #[test]
    fn knots_keep_their_order() {
        let curve = Curve::through(vec![(0, 0.0), (500, 0.1), (510, 0.3)]).unwrap();
        let mut draft = Draft::of(index("recycle.fraction"), &curve, 495);
        assert_eq!(draft.at, 1);
        (0..9).for_each(|_| draft.shift(true, 1000));
        assert_eq!(draft.knot().0, 509, "the next knot is in the way");
        draft.choose(true);
        draft.remove();
        assert_eq!((draft.knots.len(), draft.at), (2, 1));
        draft.add(100);
        assert_eq!((draft.knots.len(), draft.at), (3, 1));
        assert!(draft.curve().is_some());
        assert!(draft.toml().starts_with("[[0, 0.0], [100, "));
        (0..9).for_each(|_| draft.remove());
        assert_eq!(draft.knots.len(), 1);
    }

    #[test]
    fn a_number_that_is_no_curve_gets_no_knots() {
        let mut draft = Draft::of(index("recycle.every"), &Curve::constant(4.0), 9);
        draft.add(7);
        draft.nudge(true, Nudge::Fine);
        assert_eq!(draft.toml(), "5");
    }
}
