//! Owns: `SettingDraft`, an edit in progress of a live setting: a value or the knots of a curve, moved by keys, before
//! it is sent.
//! Must not know: how it is drawn, or whether the run will accept it.
//! Invariant: a draft is always a curve within the setting's limits, with ascending knots.

use crate::config::{ConfigKey, Curve, KeyKind, Limit};
use crate::tui::model::config_history::{knot_to_toml, numeric_settings};
use toml::Value;

/// An edit of a live setting that is not sent yet.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingDraft {
    /// The setting, as an index into [`numeric_settings`].
    pub setting_index: usize,
    /// The knots as (step, value), ascending in step. A single knot is a constant.
    pub knots: Vec<(u64, f64)>,
    /// Index of the selected knot.
    pub knot_index: usize,
}

/// An edit that was sent to the trainer.
#[derive(Clone, Debug, PartialEq)]
pub struct SentEdit {
    /// The config key, with its section.
    pub key: String,
    /// The value as TOML.
    pub value: String,
    /// Number of changes received before it was sent.
    pub changes_before: u64,
}

/// The step width of a key that moves a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NudgeSize {
    /// One unit of the second significant digit.
    Fine,
    /// One unit of the first significant digit.
    Coarse,
}

impl SettingDraft {
    /// Creates a draft of setting `setting` with the current value `curve`. Selects the knot nearest to `step`.
    pub fn new(setting: usize, curve: &Curve, step: u64) -> Self {
        let knots = curve.knots().to_vec();
        let nearest = knots.iter().enumerate().min_by_key(|(_, (knot, _))| knot.abs_diff(step));
        let selected = nearest.map_or(0, |(index, _)| index);
        Self { setting_index: setting, knots, knot_index: selected }
    }

    /// Returns the setting that is edited.
    pub fn setting(&self) -> &'static ConfigKey {
        numeric_settings()[self.setting_index]
    }

    /// Returns the selected knot as (step, value).
    pub fn selected_knot(&self) -> (u64, f64) {
        self.knots[self.knot_index]
    }

    /// Returns the draft's value at `step`.
    pub fn value_at(&self, step: u64) -> f64 {
        self.to_curve().map_or(0.0, |curve| curve.value_at(step))
    }

    /// Returns the draft as a curve.
    pub fn to_curve(&self) -> Option<Curve> {
        Curve::from_knots(self.knots.clone()).ok()
    }

    /// Raises or lowers the value of the selected knot.
    pub fn nudge(&mut self, up: bool, nudge: NudgeSize) {
        let setting = self.setting();
        let value = &mut self.knots[self.knot_index].1;
        *value = nudged_value(*value, up, nudge, setting.limit, setting.kind);
    }

    /// Selects the next or the previous knot.
    pub fn select_knot(&mut self, forward: bool) {
        let last = self.knots.len() - 1;
        self.knot_index = if forward { (self.knot_index + 1).min(last) } else { self.knot_index.saturating_sub(1) };
    }

    /// Moves the selected knot by 1/100 of `steps`, as far as its neighbours allow.
    pub fn shift_knot(&mut self, forward: bool, steps: u64) {
        let by = (steps / 100).max(1);
        let step = self.knots[self.knot_index].0;
        let min = self.knot_index.checked_sub(1).map_or(0, |before| self.knots[before].0 + 1);
        let max = self.knots.get(self.knot_index + 1).map_or(u64::MAX, |after| after.0 - 1);
        let to = if forward { step.saturating_add(by) } else { step.saturating_sub(by) };
        self.knots[self.knot_index].0 = to.clamp(min, max);
    }

    /// Adds a knot at `step`, on the curve. Does nothing if the setting cannot be a curve.
    pub fn add_knot(&mut self, step: u64) {
        if self.setting().kind != KeyKind::Curve {
            return;
        }
        let value = self.value_at(step);
        match self.knots.binary_search_by_key(&step, |(knot, _)| *knot) {
            Ok(existing) => self.knot_index = existing,
            Err(index) => {
                self.knots.insert(index, (step, value));
                self.knot_index = index;
            }
        }
    }

    /// Removes the selected knot, unless it is the only one.
    pub fn remove_knot(&mut self) {
        if self.knots.len() > 1 {
            self.knots.remove(self.knot_index);
            self.knot_index = self.knot_index.min(self.knots.len() - 1);
        }
    }

    /// Returns the draft as a TOML value.
    pub fn to_toml(&self) -> String {
        match self.knots[..] {
            // A single knot is a constant.
            [(_, value)] if self.setting().kind.is_integer() => Value::Integer(value as i64).to_string(),
            [(_, value)] => Value::Float(value).to_string(),
            _ => Value::Array(self.knots.iter().map(|(step, value)| knot_to_toml(*step, *value)).collect()).to_string(),
        }
    }
}

/// Returns `value` moved up or down by one nudge, within its limit.
fn nudged_value(value: f64, up: bool, nudge: NudgeSize, limit: Limit, kind: KeyKind) -> f64 {
    let (min, max) = match limit {
        Limit::Any => (if kind.is_integer() { 0.0 } else { f64::MIN }, f64::MAX),
        Limit::Within(low, high) => (low, high),
        Limit::AtLeast(low) => (low, f64::MAX),
        Limit::Above(low) => (low + f64::EPSILON, f64::MAX),
    };
    let sign = if up { 1.0 } else { -1.0 };
    let unit = nudge_unit(value, up, nudge, (min, max), kind);
    // Rounded to the unit, so that 0.1 + 0.2 is 0.3.
    let moved = ((value + sign * unit) / unit).round() * unit;
    let digits = (-unit.log10().floor()).clamp(0.0, 12.0);
    let factor = 10f64.powf(digits);
    let moved = if digits > 0.0 { (moved * factor).round() / factor } else { moved };
    moved.clamp(min, max)
}

fn nudge_unit(value: f64, up: bool, nudge: NudgeSize, (min, max): (f64, f64), kind: KeyKind) -> f64 {
    let coarse: f64 = if nudge == NudgeSize::Coarse { 10.0 } else { 1.0 };
    if value == 0.0 {
        let unit = match max - min {
            span if kind.is_integer() => coarse.min(span.max(1.0)),
            span if span <= 10.0 => span / 100.0 * coarse,
            _ => 0.01 * coarse,
        };
        return unit.max(f64::MIN_POSITIVE);
    }
    // Going down from 1, the next value is 0.99 or 0.9: the unit comes from the decade below.
    let size = value.abs() * if (value > 0.0) == up { 1.0 } else { 1.0 - 1e-9 };
    let figure = 10f64.powf(size.log10().floor() - 1.0) * coarse;
    if kind.is_integer() { figure.round().max(1.0) } else { figure }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::model::config_history::tests::setting_index;

    #[test]
    fn values_move_by_one_digit_and_stay_within_their_limit() {
        let share = Limit::Within(0.0, 1.0);
        for (value, up, nudge, wanted) in [
            (0.15, true, NudgeSize::Fine, 0.16),
            (0.3, false, NudgeSize::Coarse, 0.2),
            (1.0, false, NudgeSize::Fine, 0.99),
            (1.0, true, NudgeSize::Fine, 1.0),
            (0.0, true, NudgeSize::Fine, 0.01),
            (0.0, false, NudgeSize::Fine, 0.0),
        ] {
            assert_eq!(nudged_value(value, up, nudge, share, KeyKind::Float), wanted, "{value} {up} {nudge:?}");
        }
        assert!((nudged_value(8.1e-4, true, NudgeSize::Fine, Limit::Any, KeyKind::Float) - 8.2e-4).abs() < 1e-12);
        assert_eq!(nudged_value(4.0, false, NudgeSize::Fine, Limit::Any, KeyKind::Integer), 3.0);
        assert_eq!(
            nudged_value(0.0, false, NudgeSize::Fine, Limit::Any, KeyKind::Integer),
            0.0,
            "a count is never negative"
        );
        assert_eq!(nudged_value(2000.0, true, NudgeSize::Fine, Limit::AtLeast(1.0), KeyKind::Integer), 2100.0);
    }

    #[test]
    fn knots_keep_their_order() {
        let curve = Curve::from_knots(vec![(0, 0.0), (500, 0.1), (510, 0.3)]).unwrap();
        let mut draft = SettingDraft::new(setting_index("recycle.fraction"), &curve, 495);
        assert_eq!(draft.knot_index, 1);
        (0..9).for_each(|_| draft.shift_knot(true, 1000));
        assert_eq!(draft.selected_knot().0, 509, "the next knot limits it");
        draft.select_knot(true);
        draft.remove_knot();
        assert_eq!((draft.knots.len(), draft.knot_index), (2, 1));
        draft.add_knot(100);
        assert_eq!((draft.knots.len(), draft.knot_index), (3, 1));
        assert!(draft.to_curve().is_some());
        assert!(draft.to_toml().starts_with("[[0, 0.0], [100, "));
        (0..9).for_each(|_| draft.remove_knot());
        assert_eq!(draft.knots.len(), 1);
    }

    #[test]
    fn a_setting_that_cannot_be_a_curve_gets_no_knots() {
        let mut draft = SettingDraft::new(setting_index("recycle.every"), &Curve::constant(4.0), 9);
        draft.add_knot(7);
        draft.nudge(true, NudgeSize::Fine);
        assert_eq!(draft.to_toml(), "5");
    }
}
