//! Owns: the runs of an experiment: the config of each, in the order in which they are made.
//! Must not know: which runs exist, how a run is made.
//! Invariant: arms of one seed differ in their overrides alone, so their data come in the same order.

use super::ExperimentError;
use super::spec::{ArmSpec, ExperimentSpec, run_name};
use crate::config::{self, Config};
use crate::schema::run_list::split_run_id;
use std::path::{Path, PathBuf};

/// An experiment with its recipe.
#[derive(Clone, Debug)]
pub struct Experiment {
    pub spec: ExperimentSpec,
    pub file: PathBuf,
    /// Text and path of the base recipe.
    pub base_text: String,
    pub base: PathBuf,
    /// All runs: seed after seed, so that what is there is paired at any time.
    pub runs: Vec<PlannedRun>,
}

/// A run that an experiment wants.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRun {
    /// Index of its arm.
    pub arm: usize,
    pub seed: u64,
    pub name: String,
    /// Its config. `model.from` is that of the recipe, also if the arm starts from another arm's run.
    pub config: Config,
}

impl Experiment {
    /// Reads the experiment in `file`, and checks the config of every run.
    pub fn open(file: &Path) -> Result<Self, ExperimentError> {
        let spec = ExperimentSpec::read(file)?;
        let base = file.parent().unwrap_or(Path::new("")).join(&spec.base);
        let base_text = config::read_file(&base)?;
        let mut runs = Vec::new();
        for seed in &spec.seeds {
            for (arm, arm_spec) in spec.arms.iter().enumerate() {
                let config = run_config(&spec, arm_spec, *seed, &base_text, file)?;
                runs.push(PlannedRun { arm, seed: *seed, name: run_name(&arm_spec.name, *seed), config });
            }
        }
        Ok(Self { spec, file: file.to_owned(), base_text, base, runs })
    }

    pub fn arm_of(&self, run: &PlannedRun) -> &ArmSpec {
        &self.spec.arms[run.arm]
    }

    /// Returns the run of another arm that `run` starts from, if its arm says so.
    pub fn start_of(&self, run: &PlannedRun) -> Option<&PlannedRun> {
        let start = self.arm_of(run).start_from.as_deref()?;
        self.runs.iter().find(|other| other.seed == run.seed && self.arm_of(other).name == start)
    }

    /// Returns the run with this name.
    pub fn run(&self, name: &str) -> Option<&PlannedRun> {
        self.runs.iter().find(|run| run.name == name)
    }
}

fn run_config(
    spec: &ExperimentSpec,
    arm: &ArmSpec,
    seed: u64,
    base_text: &str,
    file: &Path,
) -> Result<Config, ExperimentError> {
    let place = || format!("{}, arm `{}`", file.display(), arm.name);
    let refuse = |message| ExperimentError::Spec { file: place(), message };
    let overrides = spec.overrides(arm, seed).map_err(refuse)?;
    let reserved = ["run.name=", "run.dir=", "run.seed=", "run.steps=", "run.max_tokens=", "run.max_flop="];
    let own = overrides.iter().position(|set| set.starts_with("run.name=")).unwrap_or(0);
    if let Some(set) = overrides[..own].iter().find(|set| reserved.iter().any(|key| set.starts_with(key))) {
        return Err(refuse(format!("`set.{set}`: name, folder, seed and length of a run are the experiment's own")));
    }
    let base = spec.base.display().to_string();
    let config = config::from_text(base_text, &base, &overrides);
    config.map_err(|cause| ExperimentError::Arm { place: place(), cause })
}

/// Returns the keys in which the config of an existing run differs from the planned one, with both values. What does not
/// change its results is not compared, nor what a run derives from its data. `start`: name of the run whose checkpoint it has to
/// start from.
pub fn config_differences(planned: &Config, found: &Config, start: Option<&str>) -> Vec<String> {
    let starts_from_run = start.is_some();
    let is_ignored = |section: &str, key: &str| {
        ["dashboard", "record", "checkpoint", "probe"].contains(&section)
            || section == "run" && ["dir", "device", "paused"].contains(&key)
            || section == "model" && key == "from" && starts_from_run
    };
    // A model's shape is that of the data and the weights where the recipe leaves it open.
    let is_derived = |planned: &toml::Value| planned.as_integer() == Some(0);
    let from_weights = starts_from_run || !planned.model.from.is_empty();
    let from = start.filter(|start| !is_checkpoint_of(&found.model.from, start));
    let from = from.map(|start| format!("model.from is {:?}, planned a checkpoint of {start}", found.model.from));
    let changes = config::change::diff(planned, found).into_iter().filter(|change| {
        let (section, name) = (change.key.section, change.key.name);
        let derived = section == "model" && name != "from" && (from_weights || is_derived(&change.old));
        !is_ignored(section, name) && !derived
    });
    let words = changes.map(|change| format!("{} is {}, planned {}", change.key.path(), change.new, change.old));
    from.into_iter().chain(words).collect()
}

/// Whether `path` is a checkpoint in the folder of the run `name`.
fn is_checkpoint_of(path: &str, name: &str) -> bool {
    let folder = Path::new(path).parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let found = split_run_id(&folder).map_or("", |(_, name)| name);
    // A folder whose name was taken has a number at its end.
    found == name
        || found
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|rest| rest.parse::<u32>().is_ok())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::spec;
    use super::*;

    /// Writes an experiment of two arms and two seeds with its recipe into `dir`, and opens it.
    pub fn experiment(dir: &Path, change: impl Fn(&str) -> String) -> Result<Experiment, ExperimentError> {
        std::fs::write(dir.join("base.toml"), "[optim]\nwarmup = 7\n").unwrap();
        let text = format!("dir = {:?}\n{}", dir.join("runs"), spec::tests::TEXT);
        std::fs::write(dir.join("often.toml"), change(&text)).unwrap();
        Experiment::open(&dir.join("often.toml"))
    }

    #[test]
    fn runs_are_planned_seed_after_seed() {
        let dir = tempfile::tempdir().unwrap();
        let found = experiment(dir.path(), str::to_owned).unwrap();
        let names: Vec<&str> = found.runs.iter().map(|run| run.name.as_str()).collect();
        assert_eq!(names, ["never-s0", "every-2-s0", "never-s1", "every-2-s1"]);
        let config = &found.run("every-2-s1").unwrap().config;
        assert_eq!((config.optim.warmup, config.recycle.every, config.run.max_flop), (7, 2, 1e9));
        assert_eq!((config.run.seed, config.optim.lr), (1, 1e-3));
    }

    #[test]
    fn a_run_may_start_from_the_same_seed_of_another_arm() {
        let dir = tempfile::tempdir().unwrap();
        let text = |text: &str| text.replace("name = \"every-2\"\n", "name = \"every-2\"\nstart_from = \"never\"\n");
        let found = experiment(dir.path(), text).unwrap();
        let start = |name: &str| found.start_of(found.run(name).unwrap()).map(|run| run.name.as_str());
        assert_eq!((start("every-2-s1"), start("never-s1")), (Some("never-s1"), None));
    }

    #[test]
    fn every_experiment_of_the_project_can_be_planned() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/experiments");
        let files: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            let found = Experiment::open(&file).unwrap();
            assert!(found.spec.seeds.len() >= 3 && !found.spec.comparisons.is_empty(), "{}", file.display());
        }
    }

    #[test]
    fn a_wrong_arm_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (from, to, wanted) in [
            ("every = 0", "evry = 0", "arm `never`: --set recycle.evry=0: unknown key"),
            ("every = 0", "every = -1", "arm `never`"),
            ("set.optim.lr = 1e-3", "set.run.seed = 3", "the experiment's own"),
            ("base.toml", "base.tml", "base.tml"),
        ] {
            let error = experiment(dir.path(), |text| text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn what_changes_results_is_compared() {
        let planned = Config::default();
        let mut found = planned.clone();
        (found.run.dir, found.run.device, found.dashboard.line_seconds) = ("x".into(), "cuda".into(), 9.0);
        found.model.vocab_size = 40;
        assert!(config_differences(&planned, &found, None).is_empty());
        found.optim.lr = 0.5;
        assert_eq!(config_differences(&planned, &found, None), ["optim.lr is 0.5, planned 0.001"]);
        // A run that started from nothing, or from another run, is not one that starts from `never-s1`.
        let mut found = planned.clone();
        for (from, fits) in [
            ("", false),
            ("runs/20261201-132020-never-s1/step-000010", true),
            ("/elsewhere/20261201-132020-never-s1-2/step-000010", true),
            ("runs/20261201-132020-never-s2/step-000010", false),
        ] {
            found.model.from = from.into();
            assert_eq!(config_differences(&planned, &found, Some("never-s1")).is_empty(), fits, "{from}");
        }
    }
}
