//! Owns: the typed config, where its values come from (defaults, file, `--set`), and the rules between them.
//! Must not know: tensors, terminals, the trainer.
//! Invariant: a `Config` returned by `load` is within every limit and satisfies every rule.

mod budget;
pub mod change;
mod choices;
mod curve;
pub mod edit;
pub mod keys;
mod load;
mod mixture;
mod rules;
mod run_length;
mod sections;
pub mod seed_groups;
pub mod watch;

pub use budget::PositionBudget;
pub use choices::{
    Arch, BestCheckpointBy, Control, CurriculumMethod, Dtype, EqualGroups, Feedback, GeneratedDataset, GradientFlow,
    ImportanceLevel, LatentOrder, LossPositions, LrDecay, Notify, ObjectiveKind, OptimizerReset, PassScope, Placement,
    RewardScale, RlLoss, SelectionRule, StateTransform, SwitchDecision,
};
pub use curve::Curve;
pub use keys::{ConfigKey, KeyKind, Limit, Mutability};
pub use load::{ConfigError, from_text, line_of_key, load, nearest_key, read_file, refuse_torn};
pub use mixture::Mixture;
pub use rules::ineffective_settings;
pub use run_length::WorkDone;
pub use sections::{
    Checkpoint, Dashboard, Data, Dropout, Eval, Model, Objective, Optim, Probe, Record, Recycle, Rl, Run,
};

use serde::{Deserialize, Serialize};

/// All settings of a run, by section. Every key has a default value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub run: Run,
    pub data: Data,
    pub model: Model,
    pub optim: Optim,
    pub recycle: Recycle,
    pub objective: Objective,
    pub rl: Rl,
    pub dropout: Dropout,
    pub probe: Probe,
    pub eval: Eval,
    pub checkpoint: Checkpoint,
    pub record: Record,
    pub dashboard: Dashboard,
}

impl Config {
    /// Iterates over the key table, section by section.
    pub fn keys() -> impl Iterator<Item = &'static ConfigKey> {
        sections::KEYS.iter().copied().flatten()
    }

    /// Returns the key with this path (`section.name`), which may use an alias.
    pub fn find_key(path: &str) -> Option<&'static ConfigKey> {
        let (section, name) = path.split_once('.')?;
        Self::keys().find(|key| key.section == section && key.is_named(name))
    }

    /// Returns the whole config as TOML, with every key written out.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string_pretty(self).map_err(|error| ConfigError::Rule {
            place: "the current config".into(),
            message: format!("cannot write it as TOML: {error}"),
        })
    }
}
