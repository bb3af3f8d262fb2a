//! Owns: the typed config, where its values come from (defaults, file, `--set`), and whether they may stand together.
//! Must not know: tensors, terminals, the trainer.
//! Invariant: a `Config` that `load` returned keeps every limit and every rule.

pub mod change;
mod curve;
pub mod edit;
pub mod keys;
mod load;
mod mixture;
mod rules;
mod sections;
mod wanted;
pub mod watch;

pub use curve::Curve;
pub use keys::{Change, Key, Limit};
pub use load::{ConfigError, from_text, line_of_key, load, read};
pub use mixture::Mixture;
pub use rules::idle;
pub use sections::{
    Arch, Checkpoint, Control, Dashboard, Data, Decay, Dtype, Eval, Feedback, Flow, LossOn, Make, Model,
    Optim, Placement, Probe, Reach, Record, Recycle, Run, Share, State,
};
pub use wanted::Wanted;

use serde::{Deserialize, Serialize};

/// Everything a run is told. Every key has a default; `Config::default()` is the default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub run: Run,
    pub data: Data,
    pub model: Model,
    pub optim: Optim,
    pub recycle: Recycle,
    pub probe: Probe,
    pub eval: Eval,
    pub checkpoint: Checkpoint,
    pub record: Record,
    pub dashboard: Dashboard,
}

impl Config {
    /// The key table, section by section.
    pub fn keys() -> impl Iterator<Item = &'static Key> {
        [
            Run::KEYS,
            Data::KEYS,
            Model::KEYS,
            Optim::KEYS,
            Recycle::KEYS,
            Probe::KEYS,
            Eval::KEYS,
            Checkpoint::KEYS,
            Record::KEYS,
            Dashboard::KEYS,
        ]
        .into_iter()
        .flatten()
    }

    /// The whole config as TOML, every key written out.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self).map_err(|error| ConfigError::Rule {
            place: "the config in force".into(),
            message: format!("cannot be written as TOML: {error}"),
        })
    }
}
