//! Owns: the configs of a run by step; the live numeric settings of a config, and their values over the run.
//! Must not know: how a setting is drawn, or who changes it.
//! Invariant: bounded. A value at a past step comes from the config of that step, at a future step from the
//! current config.

use crate::config::{Config, ConfigKey, Curve, Limit, Mutability, SelectionRule};
use std::sync::OnceLock;
use toml::Value;

/// Maximum number of configs kept. The oldest are dropped first, except the initial one.
const MAX_EPOCHS: usize = 512;

/// A numeric config key that may change during a run.
#[derive(Clone, Copy, Debug)]
pub struct NumericSetting {
    pub key: &'static ConfigKey,
    /// Whether it is an integer.
    pub is_integer: bool,
    /// Whether it may be a curve over steps.
    pub is_curve: bool,
}

impl NumericSetting {
    /// Returns whether it is the learning rate. Its key holds the peak; charts show the scheduled rate.
    pub fn is_lr(&self) -> bool {
        (self.key.section, self.key.name) == ("optim", "lr")
    }

    /// Returns the limit of its values.
    pub fn limit(&self) -> Limit {
        self.key.limit
    }
}

/// Returns all live settings: first those that matter most to recycling, then the rest in the order of the
/// key table.
pub fn numeric_settings() -> &'static [NumericSetting] {
    static NUMBERS: OnceLock<Vec<NumericSetting>> = OnceLock::new();
    NUMBERS.get_or_init(|| {
        let table = Config::default();
        let mut found: Vec<NumericSetting> = Config::keys()
            .filter(|key| key.mutability == Mutability::Live)
            .filter_map(|key| {
                let whole = match table.value(key) {
                    Value::Integer(_) => true,
                    Value::Float(_) => false,
                    _ => return None,
                };
                Some(NumericSetting { key, is_integer: whole, is_curve: accepts_curve(key) })
            })
            .collect();
        let rank = |setting: &NumericSetting| {
            LEADING_SETTINGS
                .iter()
                .position(|path| setting.key.path() == **path)
                .unwrap_or(LEADING_SETTINGS.len())
        };
        found.sort_by_key(rank);
        found
    })
}

/// The settings that matter most to recycling.
const LEADING_SETTINGS: [&str; 10] = [
    "recycle.probability",
    "recycle.fraction",
    "recycle.count",
    "recycle.threshold",
    "recycle.weight",
    "optim.lr",
    "recycle.scale",
    "recycle.every",
    "recycle.passes",
    "optim.clip",
];

/// Returns whether a key can be a curve: whether setting one and reading it back gives the same curve.
fn accepts_curve(key: &ConfigKey) -> bool {
    let knots = Value::Array(vec![knot_to_toml(0, 0.5), knot_to_toml(9, 0.6)]);
    crate::config::change::apply_changes(&Config::default(), [(key, &knots)], "curve")
        .is_ok_and(|config| config.value(key) == knots)
}

/// Returns a knot as the TOML array `[step, value]`.
pub fn knot_to_toml(step: u64, value: f64) -> Value {
    Value::Array(vec![Value::Integer(step as i64), Value::Float(value)])
}

/// Returns the indices of the settings that have an effect in `config`. Of the keys that select recycled
/// positions, only the one chosen by `recycle.share` has an effect.
pub fn settings_in_use(config: &Config) -> Vec<usize> {
    let share = match config.recycle.share {
        SelectionRule::Fraction => "fraction",
        SelectionRule::Count => "count",
        SelectionRule::Threshold | SelectionRule::RelativeThreshold => "threshold",
    };
    let idle = |setting: &NumericSetting| {
        let name = setting.key.name;
        setting.key.section == "recycle"
            && ["fraction", "count", "threshold"].contains(&name)
            && name != share
    };
    numeric_settings()
        .iter()
        .enumerate()
        .filter(|(_, setting)| !idle(setting))
        .map(|(index, _)| index)
        .collect()
}

/// A config and the range of steps that starts with it.
#[derive(Clone, Debug)]
pub struct ConfigEpoch {
    /// The first step that this config applies to.
    pub first_step: u64,
    pub config: Config,
    /// Its live settings, in the order of [`numbers`]; none if the value is not a number or a curve.
    pub curves: Vec<Option<Curve>>,
}

impl ConfigEpoch {
    fn new(first_step: u64, config: &Config) -> Self {
        let curves = numeric_settings()
            .iter()
            .map(|setting| parse_curve(setting, &config.value(setting.key)))
            .collect();
        Self { first_step, config: config.clone(), curves }
    }

    /// Returns setting `index` at `step`. For the learning rate this is the scheduled rate.
    fn value_at(&self, index: usize, step: u64) -> Option<f64> {
        if numeric_settings()[index].is_lr() {
            return Some(self.config.optim.lr_at(step, self.config.run.steps));
        }
        self.curves[index].as_ref().map(|curve| curve.value_at(step))
    }
}

fn parse_curve(setting: &NumericSetting, value: &Value) -> Option<Curve> {
    match value {
        Value::Integer(number) => Some(Curve::constant(*number as f64)),
        Value::Float(number) => Some(Curve::constant(*number)),
        // A data mixture is an array, too, but does not parse as a curve.
        Value::Array(_) if setting.is_curve => value.clone().try_into::<Curve>().ok(),
        _ => None,
    }
}

/// All configs of a run, in the order of their steps.
#[derive(Clone, Debug, Default)]
pub struct ConfigHistory {
    epochs: Vec<ConfigEpoch>,
}

impl ConfigHistory {
    /// Creates a history that starts with `config`.
    pub fn new(config: &Config) -> Self {
        Self { epochs: vec![ConfigEpoch::new(0, config)] }
    }

    /// Records that `config` applies from `step` on.
    pub fn push(&mut self, step: u64, config: &Config) {
        self.epochs.retain(|epoch| epoch.first_step < step || epoch.first_step == 0);
        if self.epochs.len() == MAX_EPOCHS {
            self.epochs.remove(1);
        }
        self.epochs.push(ConfigEpoch::new(step, config));
    }

    /// Returns the current config.
    pub fn current(&self) -> Option<&ConfigEpoch> {
        self.epochs.last()
    }

    /// Returns setting `index` at `step`. If `step` is after `now`, this is its planned value.
    pub fn value_at(&self, index: usize, step: u64, now: u64) -> Option<f64> {
        let epoch = match self.epochs.partition_point(|epoch| epoch.first_step <= step) {
            _ if step > now => self.epochs.last(),
            0 => self.epochs.first(),
            after => self.epochs.get(after - 1),
        };
        epoch?.value_at(index, step)
    }
}

#[cfg(test)]
pub(in crate::tui) mod tests {
    use super::*;

    pub fn setting_index(path: &str) -> usize {
        numeric_settings().iter().position(|setting| setting.key.path() == path).unwrap()
    }

    #[test]
    fn live_numbers_are_found_in_the_key_table() {
        let [fraction, every, lr] = ["recycle.fraction", "recycle.every", "optim.lr"]
            .map(|path| numeric_settings()[setting_index(path)]);
        assert!(fraction.is_curve && !fraction.is_integer);
        assert!(every.is_integer && !every.is_curve);
        assert!(!lr.is_curve);
        assert!(numeric_settings().iter().all(|setting| setting.key.path() != "data.batch"), "frozen");
        let used = settings_in_use(&Config::default());
        assert!(
            used.contains(&setting_index("recycle.fraction"))
                && !used.contains(&setting_index("recycle.count"))
        );
    }

    #[test]
    fn past_values_come_from_past_configs_and_future_values_from_the_current_one() {
        let (mut config, fraction) = (Config::default(), setting_index("recycle.fraction"));
        config.recycle.fraction = Curve::constant(0.1);
        let mut history = ConfigHistory::new(&config);
        config.recycle.fraction = Curve::from_knots(vec![(100, 0.2), (200, 0.4)]).unwrap();
        history.push(150, &config);
        assert_eq!(history.value_at(fraction, 120, 160), Some(0.1));
        assert_eq!(history.value_at(fraction, 160, 160), config.recycle.fraction.value_at(160).into());
        assert_eq!(history.value_at(fraction, 190, 160), config.recycle.fraction.value_at(190).into());
        // Two changes at one step: the later one applies.
        config.recycle.fraction = Curve::constant(0.9);
        history.push(150, &config);
        assert_eq!(history.value_at(fraction, 150, 160), Some(0.9));
    }

    #[test]
    fn the_history_is_bounded_and_keeps_the_initial_config() {
        let config = Config::default();
        let mut history = ConfigHistory::new(&config);
        (1..5000).for_each(|step| history.push(step, &config));
        assert_eq!(history.epochs.len(), MAX_EPOCHS);
        assert_eq!(history.epochs[0].first_step, 0);
    }
}
