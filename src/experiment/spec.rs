//! Owns: the file of an experiment: its keys, what they may be, and the arms with their overrides.
//! Must not know: run folders, statistics, how a run is made.
//! Invariant: an [`ExperimentSpec`] that was read names existing arms only, each once, and each seed once.

use super::ExperimentError;
use crate::config;
use crate::schema::metrics::Metric;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Most runs of an experiment.
pub const MAX_RUNS: usize = 4096;

/// Updates of a run whose budget of tokens or operations ends it: a number that no run reaches.
pub const UNREACHED_STEPS: u64 = 1_000_000_000_000;

/// An experiment, as its file describes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentSpec {
    /// Name of the experiment. Default: that of the file.
    #[serde(default)]
    pub name: String,
    /// The question, in words.
    #[serde(default)]
    pub question: String,
    /// Recipe that all arms start from, relative to the experiment's file.
    pub base: PathBuf,
    /// Folder of the runs, relative to the working directory. Default: `checkpoints/<name>`.
    #[serde(default)]
    pub dir: PathBuf,
    pub seeds: Vec<u64>,
    /// What all arms have equal.
    pub hold: HeldEqual,
    /// How much of it a run has.
    pub budget: f64,
    /// Metric that decides: a column of `metrics/`, or a figure of validations.
    pub primary: String,
    /// Which of a run's values counts.
    #[serde(default)]
    pub value: ValueOf,
    /// Whether smaller or larger is better. Default: by the metric's name.
    #[serde(default)]
    pub better: Option<Better>,
    /// The smallest difference of the primary metric that would matter; 0 if none is known.
    #[serde(default)]
    pub smallest_effect: f64,
    /// Value of the primary metric for "operations to reach". Default: the worst value of all runs.
    #[serde(default)]
    pub reach: Option<f64>,
    /// Further metrics: reported, not tested.
    #[serde(default)]
    pub metrics: Vec<String>,
    /// Overrides of all arms.
    #[serde(default)]
    pub set: Table,
    pub arms: Vec<ArmSpec>,
    #[serde(default)]
    pub comparisons: Vec<ComparisonSpec>,
}

/// An arm: what differs from the base recipe.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArmSpec {
    pub name: String,
    #[serde(default)]
    pub set: Table,
    /// An earlier arm whose run of the same seed gives the weights that this arm starts from.
    #[serde(default)]
    pub start_from: Option<String>,
    /// Which of its checkpoints.
    #[serde(default)]
    pub start_at: ValueOf,
    /// A budget of its own; 0: the experiment's.
    #[serde(default)]
    pub budget: f64,
}

impl ArmSpec {
    /// Returns what it overrides, as `section.key = value`.
    pub fn settings(&self) -> Vec<String> {
        let budget = (self.budget > 0.0).then(|| format!("budget = {}", self.budget));
        let start = self.start_from.iter().map(|start| format!("starts from {start}")).chain(budget);
        let sets = key_values(&self.set).unwrap_or_default();
        sets.into_iter().map(|set| set.replacen('=', " = ", 1)).chain(start).collect()
    }
}

/// Two arms that are compared: the difference is `a` minus `b`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComparisonSpec {
    pub a: String,
    pub b: String,
    /// Default: the primary metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Metric of `b`, if another one than that of `a`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric_b: Option<String>,
}

/// What all arms of an experiment have equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum HeldEqual {
    Steps,
    Tokens,
    /// Floating-point operations.
    Flop,
}

impl HeldEqual {
    /// Returns the metric that measures it.
    pub fn metric(self) -> Metric {
        match self {
            HeldEqual::Steps => Metric::Step,
            HeldEqual::Tokens => Metric::Tokens,
            HeldEqual::Flop => Metric::TotalFlop,
        }
    }

    /// Returns the overrides that end a run at `budget`.
    fn overrides(self, budget: f64) -> Vec<String> {
        // The recipe's own limits do not hold.
        let (steps, tokens, flop) = match self {
            HeldEqual::Steps => (budget, 0.0, 0.0),
            HeldEqual::Tokens => (UNREACHED_STEPS as f64, budget, 0.0),
            HeldEqual::Flop => (UNREACHED_STEPS as f64, 0.0, budget),
        };
        vec![format!("run.steps={steps}"), format!("run.max_tokens={tokens}"), format!("run.max_flop={flop:e}")]
    }
}

/// Which of the values, or checkpoints, of a run counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueOf {
    #[default]
    Last,
    Best,
}

/// Which values of a metric are better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Lower,
    Higher,
}

impl Better {
    /// Returns what is better of a metric, if its name tells.
    pub fn of_metric(name: &str) -> Option<Self> {
        let is_one_of = |words: &[&str]| words.iter().any(|word| name.contains(word));
        if is_one_of(&["accuracy", "reward", "per_s"]) {
            return Some(Better::Higher);
        }
        is_one_of(&["loss", "nats", "valid_plain", "valid_recycled", "_ms", "flop"]).then_some(Better::Lower)
    }
}

impl ExperimentSpec {
    /// Reads the experiment in `file`, and checks everything that can be checked without its recipe.
    pub fn read(file: &Path) -> Result<Self, ExperimentError> {
        Self::from_text(&config::read_file(file)?, file)
    }

    /// Reads an experiment from the text of `file`.
    pub fn from_text(text: &str, file: &Path) -> Result<Self, ExperimentError> {
        let refuse = |message: String| ExperimentError::Spec { file: file.display().to_string(), message };
        let mut spec: Self = toml::from_str(text).map_err(|error| refuse(error.to_string().trim().to_owned()))?;
        if spec.name.is_empty() {
            spec.name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        }
        if spec.dir.as_os_str().is_empty() {
            spec.dir = Path::new("checkpoints").join(&spec.name);
        }
        spec.check().map_err(refuse)?;
        Ok(spec)
    }

    fn check(&mut self) -> Result<(), String> {
        if self.arms.is_empty() || self.seeds.is_empty() {
            return Err("needs at least one arm in `[[arms]]` and one seed in `seeds`".into());
        }
        let runs = self.arms.len() * self.seeds.len();
        if runs > MAX_RUNS {
            return Err(format!("{runs} runs; allowed: at most {MAX_RUNS}"));
        }
        if let Some(seed) = first_duplicate(&self.seeds) {
            return Err(format!("`seeds` has {seed} twice"));
        }
        if let Some(name) = first_duplicate(self.arms.iter().map(|arm| &arm.name)) {
            return Err(format!("two arms have the name `{name}`"));
        }
        let budgets = self.arms.iter().map(|arm| arm.budget).filter(|budget| *budget != 0.0).chain([self.budget]);
        if let Some(budget) = budgets.into_iter().find(|budget| !self.is_budget(*budget)) {
            let whole = if self.hold == HeldEqual::Flop { "a number" } else { "a whole number" };
            return Err(format!("`budget` = {budget}; allowed: {whole} of at least 1"));
        }
        if !(self.smallest_effect >= 0.0 && self.smallest_effect.is_finite()) {
            return Err(format!("`smallest_effect` = {}; allowed: a number of at least 0", self.smallest_effect));
        }
        if let Some(reach) = self.reach.filter(|reach| !reach.is_finite()) {
            return Err(format!("`reach` = {reach}; allowed: a finite number"));
        }
        check_name("experiment", &self.name)?;
        for (index, arm) in self.arms.iter().enumerate() {
            check_name("arm", &arm.name)?;
            let start = arm.start_from.as_deref();
            if let Some(start) = start.filter(|start| self.arms[..index].iter().all(|earlier| earlier.name != *start)) {
                return Err(format!("arm `{}`: `start_from` = \"{start}\" is no arm before it", arm.name));
            }
        }
        let compared = self.comparisons.iter().flat_map(|found| [&found.metric, &found.metric_b]).flatten();
        [&self.primary].into_iter().chain(&self.metrics).chain(compared).try_for_each(|name| check_metric(name))?;
        self.better = Some(self.better_by_name()?);
        self.check_comparisons()
    }

    fn is_budget(&self, budget: f64) -> bool {
        budget >= 1.0 && budget.is_finite() && (self.hold == HeldEqual::Flop || budget.fract() == 0.0 && budget < 1e15)
    }

    fn better_by_name(&self) -> Result<Better, String> {
        let unknown = || format!("`better`: say \"lower\" or \"higher\"; the name `{}` does not tell", self.primary);
        self.better.or_else(|| Better::of_metric(&self.primary)).ok_or_else(unknown)
    }

    fn check_comparisons(&self) -> Result<(), String> {
        let names: Vec<&str> = self.arms.iter().map(|arm| arm.name.as_str()).collect();
        for comparison in &self.comparisons {
            if let Some(unknown) = [&comparison.a, &comparison.b].into_iter().find(|arm| !names.contains(&arm.as_str()))
            {
                return Err(format!("a comparison names `{unknown}`; the arms are {}", names.join(", ")));
            }
            if comparison.a == comparison.b && comparison.metric_b.is_none() {
                return Err(format!("a comparison compares `{}` with itself", comparison.a));
            }
        }
        match first_duplicate(
            self.comparisons.iter().map(|c| format!("{} with {}, {:?}, {:?}", c.a, c.b, c.metric, c.metric_b)),
        ) {
            Some(twice) => Err(format!("a comparison stands twice: {twice}")),
            None => Ok(()),
        }
    }

    pub fn better(&self) -> Better {
        self.better.unwrap_or(Better::Lower)
    }

    pub fn arm(&self, name: &str) -> Option<&ArmSpec> {
        self.arms.iter().find(|arm| arm.name == name)
    }

    /// Returns the budget of an arm.
    pub fn budget_of(&self, arm: &ArmSpec) -> f64 {
        if arm.budget > 0.0 { arm.budget } else { self.budget }
    }

    /// Returns the overrides of a run, as `section.key=value`: those of all arms, of the arm, then name, seed and budget.
    pub fn overrides(&self, arm: &ArmSpec, seed: u64) -> Result<Vec<String>, String> {
        let mut found = key_values(&self.set)?;
        found.extend(key_values(&arm.set)?);
        let quoted = |text: &str| Value::String(text.to_owned()).to_string();
        found.push(format!("run.name={}", quoted(&run_name(&arm.name, seed))));
        found.push(format!("run.dir={}", quoted(&self.dir.to_string_lossy())));
        found.push(format!("run.seed={seed}"));
        found.extend(self.hold.overrides(self.budget_of(arm)));
        Ok(found)
    }
}

/// Returns the name of the run of an arm with a seed.
pub fn run_name(arm: &str, seed: u64) -> String {
    format!("{arm}-s{seed}")
}

/// Returns the keys of a table of sections as `section.key=value`.
fn key_values(table: &Table) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for (section, keys) in table {
        let Value::Table(keys) = keys else {
            return Err(format!("`set.{section}` = {keys}: expected a section, such as `set.optim.lr = 1e-3`"));
        };
        found.extend(keys.iter().map(|(key, value)| format!("{section}.{key}={value}")));
    }
    Ok(found)
}

/// Refuses a name that is no metric, and no figure that a validation may measure.
fn check_metric(name: &str) -> Result<(), String> {
    if Metric::find(name).is_some() || name.starts_with("valid_accuracy_") {
        return Ok(());
    }
    let similarity = |metric: &&Metric| strsim::jaro_winkler(metric.spec().name, name);
    let nearest = Metric::ALL.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
    Err(format!("unknown metric `{name}`; the nearest one is `{}`", nearest.map_or("", |metric| metric.spec().name)))
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    if !name.is_empty() && name.len() <= 60 && name.chars().all(is_plain) && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    Err(format!("{what} name {name:?}; allowed: 1 to 60 letters, digits and `. _ - +`, not first `.` or `-`"))
}

fn first_duplicate<T: Ord + Clone>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    values.into_iter().find(|value| !seen.insert(value.clone()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub const TEXT: &str = r#"
base = "base.toml"
seeds = [0, 1]
hold = "flop"
budget = 1e9
primary = "valid_loss_plain_nats"
set.optim.lr = 1e-3
[[arms]]
name = "never"
set.recycle.every = 0
[[arms]]
name = "every-2"
set.recycle = { every = 2, reach = "isolated" }
[[comparisons]]
a = "every-2"
b = "never"
"#;

    fn read(text: &str) -> Result<ExperimentSpec, String> {
        ExperimentSpec::from_text(text, Path::new("x/often.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_arm_is_a_list_of_overrides() {
        let spec = read(TEXT).unwrap();
        assert_eq!((spec.name.as_str(), spec.dir.as_path()), ("often", Path::new("checkpoints/often")));
        assert_eq!(spec.better(), Better::Lower);
        assert_eq!(
            spec.overrides(&spec.arms[1], 1).unwrap(),
            [
                "optim.lr=0.001",
                "recycle.every=2",
                "recycle.reach=\"isolated\"",
                "run.name=\"every-2-s1\"",
                "run.dir=\"checkpoints/often\"",
                "run.seed=1",
                "run.steps=1000000000000",
                "run.max_tokens=0",
                "run.max_flop=1e9"
            ]
        );
    }

    #[test]
    fn a_wrong_file_is_refused_with_what_is_allowed() {
        for (from, to, wanted) in [
            ("seeds = [0, 1]", "seeds = [0, 0]", "`seeds` has 0 twice"),
            ("seeds = [0, 1]", "seeds = []", "at least one arm"),
            ("\"every-2\"\nset", "\"never\"\nset", "two arms have the name `never`"),
            ("\"every-2\"\nset", "\"a/b\"\nset", "allowed: 1 to 60 letters"),
            ("b = \"never\"", "b = \"nevr\"", "the arms are never, every-2"),
            ("b = \"never\"", "b = \"every-2\"", "with itself"),
            ("budget = 1e9", "budget = 0", "`budget` = 0; allowed: a number of at least 1"),
            ("hold = \"flop\"\nbudget = 1e9", "hold = \"steps\"\nbudget = 1.5", "a whole number"),
            ("budget = 1e9", "budget = 1e9\nsmallest_effect = -0.5", "a number of at least 0"),
            ("budget = 1e9", "budget = 1e9\nname = \"a b\"", "experiment name"),
            ("valid_loss_plain_nats", "epoch", "say \"lower\" or \"higher\""),
            ("valid_loss_plain_nats", "valid_plain_nats", "the nearest one is `valid_loss_plain_nats`"),
            ("hold = \"flop\"", "hold = \"time\"", "unknown variant `time`"),
            ("name = \"never\"", "name = \"never\"\nstart_from = \"every-2\"", "is no arm before it"),
            ("seeds", "sedes", "unknown field `sedes`"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let error = read(&TEXT.replacen(from, to, 1)).unwrap_err();
            assert!(error.starts_with("x/often.toml: ") && error.contains(wanted), "{error}");
        }
        let flat = read(&TEXT.replace("set.optim.lr", "set.lr")).unwrap();
        assert!(flat.overrides(&flat.arms[0], 0).unwrap_err().contains("expected a section"));
    }
}
