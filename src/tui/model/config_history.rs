//! Owns: the configs of a run by step; the live numeric settings of a config, and their values over the run.
//! Must not know: how a setting is drawn, or who changes it.
//! Invariant: bounded. A value at a past step comes from the config of that step, at a future step from the current
//! config.

use crate::config::{Config, ConfigKey, Curve, KeyKind, Mutability, ObjectiveKind, WorkDone};
use std::sync::LazyLock;
use toml::Value;

/// Maximum number of configs kept. The oldest are dropped first, except the initial one.
const MAX_EPOCHS: usize = 512;

/// Returns the numeric keys that may change during a run: first those that matter most to recycling, then the rest in
/// the order of the key table.
pub fn numeric_settings() -> &'static [&'static ConfigKey] {
    static SETTINGS: LazyLock<Vec<&'static ConfigKey>> = LazyLock::new(|| {
        let mut found: Vec<&ConfigKey> =
            Config::keys().filter(|key| key.mutability == Mutability::Live && key.kind.is_number()).collect();
        found.sort_by_key(|key| {
            let rank = LEADING_SETTINGS.iter().position(|path| key.path() == *path);
            rank.unwrap_or(LEADING_SETTINGS.len())
        });
        found
    });
    &SETTINGS
}

/// Returns whether a key is the learning rate. Its value is the peak; charts show the scheduled rate.
pub fn is_lr(key: &ConfigKey) -> bool {
    (key.section, key.name) == ("optim", "lr")
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

/// Returns a knot as the TOML array `[step, value]`.
pub fn knot_to_toml(step: u64, value: f64) -> Value {
    Value::Array(vec![Value::Integer(step as i64), Value::Float(value)])
}

/// Returns the indices of the settings that have an effect in `config`.
pub fn settings_in_use(config: &Config) -> Vec<usize> {
    let settings = numeric_settings();
    let has_effect = |key: &ConfigKey| match key.section {
        "recycle" => config.objective.kind == ObjectiveKind::Pretraining && !config.recycle.ignores(key),
        "objective" => config.objective.kind == ObjectiveKind::Curriculum,
        "rl" => config.objective.kind == ObjectiveKind::Rl,
        _ => !config.recycle.ignores(key),
    };
    (0..settings.len()).filter(|index| has_effect(settings[*index])).collect()
}

/// A config and the range of steps that starts with it.
#[derive(Clone, Debug)]
pub struct ConfigEpoch {
    /// The first step that this config applies to.
    pub first_step: u64,
    pub config: Config,
    /// Its live settings, in the order of [`numeric_settings`]; none if the value is not a number or a curve.
    pub curves: Vec<Option<Curve>>,
}

impl ConfigEpoch {
    fn new(first_step: u64, config: &Config) -> Self {
        let curves = numeric_settings().iter().map(|key| parse_curve(key, &config.value(key))).collect();
        Self { first_step, config: config.clone(), curves }
    }

    /// Returns setting `index` at `step`. For the learning rate this is the scheduled rate. `done`: the work of the run.
    fn value_at(&self, index: usize, step: u64, done: &WorkDone) -> Option<f64> {
        if is_lr(numeric_settings()[index]) {
            return Some(self.config.lr_after(done, step));
        }
        self.curves[index].as_ref().map(|curve| curve.value_at(step))
    }
}

fn parse_curve(key: &ConfigKey, value: &Value) -> Option<Curve> {
    match value {
        Value::Integer(number) => Some(Curve::constant(*number as f64)),
        Value::Float(number) => Some(Curve::constant(*number)),
        Value::Array(_) if key.kind == KeyKind::Curve => value.clone().try_into::<Curve>().ok(),
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

    /// Returns setting `index` at `step`. If `step` is after what is `done`, this is its planned value.
    pub fn value_at(&self, index: usize, step: u64, done: &WorkDone) -> Option<f64> {
        let epoch = match self.epochs.partition_point(|epoch| epoch.first_step <= step) {
            _ if step > done.step => self.epochs.last(),
            0 => self.epochs.first(),
            after => self.epochs.get(after - 1),
        };
        epoch?.value_at(index, step, done)
    }
}

#[cfg(test)]
pub(in crate::tui) mod tests {
    use super::*;

    pub fn setting_index(path: &str) -> usize {
        numeric_settings().iter().position(|key| key.path() == path).unwrap()
    }

    #[test]
    fn live_numbers_are_found_in_the_key_table() {
        let kinds = ["recycle.fraction", "recycle.every", "optim.lr", "recycle.passes"]
            .map(|path| numeric_settings()[setting_index(path)].kind);
        assert_eq!(kinds, [KeyKind::Curve, KeyKind::Integer, KeyKind::Float, KeyKind::Mixture]);
        assert!(numeric_settings().iter().all(|key| key.path() != "data.batch"), "frozen");
        let used = settings_in_use(&Config::default());
        assert!(used.contains(&setting_index("recycle.fraction")) && !used.contains(&setting_index("recycle.count")));
    }

    #[test]
    fn past_values_come_from_past_configs_and_future_values_from_the_current_one() {
        let (mut config, fraction) = (Config::default(), setting_index("recycle.fraction"));
        config.recycle.fraction = Curve::constant(0.1);
        let mut history = ConfigHistory::new(&config);
        config.recycle.fraction = Curve::from_knots(vec![(100, 0.2), (200, 0.4)]).unwrap();
        history.push(150, &config);
        let now = WorkDone { step: 160, ..WorkDone::default() };
        assert_eq!(history.value_at(fraction, 120, &now), Some(0.1));
        assert_eq!(history.value_at(fraction, 160, &now), config.recycle.fraction.value_at(160).into());
        assert_eq!(history.value_at(fraction, 190, &now), config.recycle.fraction.value_at(190).into());
        // Two changes at one step: the later one applies.
        config.recycle.fraction = Curve::constant(0.9);
        history.push(150, &config);
        assert_eq!(history.value_at(fraction, 150, &now), Some(0.9));
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
