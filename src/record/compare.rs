//! Owns: the comparison of the configs of two runs, as they are now or were at a step, and as the runs started.
//! Must not know: how a comparison is shown.
//! Invariant: nothing is written; the config of a step is the version that trained it.

use super::RecordError;
use super::changes::{applied_changes, read_changes};
use super::run_folder::RunFolder;
use crate::config::{self, Config, ConfigError, change};
use crate::schema::rows::ChangeRow;
use crate::schema::run_list::{ComparedRun, RunComparison, SettingDifference};
use std::path::Path;

/// Why two runs cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The configs of a run, and the changes between them.
struct RunConfigs {
    run: String,
    initial: Config,
    current: Config,
    version: u64,
    changes: Vec<ChangeRow>,
}

/// Compares the runs in two folders, each now or at a step.
///
/// # Errors
/// A folder is not a run, or its changes or configs cannot be read.
pub fn compare_runs(a: (&Path, Option<u64>), b: (&Path, Option<u64>)) -> Result<RunComparison, CompareError> {
    let (a, b) = (read_configs(a.0, a.1)?, read_configs(b.0, b.1)?);
    let current = differences(&a.current, &b.current);
    let initial = differences(&a.initial, &b.initial);
    Ok(RunComparison { a: a.into(), b: b.into(), current, initial })
}

impl From<RunConfigs> for ComparedRun {
    fn from(configs: RunConfigs) -> Self {
        Self { run: configs.run, version: configs.version, changes: configs.changes }
    }
}

fn read_configs(run: &Path, step: Option<u64>) -> Result<RunConfigs, CompareError> {
    let folder = RunFolder::open(run)?;
    let mut changes = applied_changes(&read_changes(&folder.changes_file())?);
    // A change has the first step that it applies to.
    changes.retain(|change| step.is_none_or(|step| change.step <= step));
    let version = changes.last().map_or(0, |change| change.version);
    // Without versions there is only the config file, as in a run that has not started.
    let load = |version| match folder.version_file(version) {
        file if file.is_file() => config::load(&file, &[]),
        _ => config::load(&folder.config_file(), &[]),
    };
    let run = step.map_or_else(|| folder.id(), |step| format!("{}@{step}", folder.id()));
    Ok(RunConfigs { run, initial: load(0)?, current: load(version)?, version, changes })
}

fn differences(a: &Config, b: &Config) -> Vec<SettingDifference> {
    let changes = change::diff(a, b).into_iter();
    changes
        .map(|change| SettingDifference {
            key: change.key.path(),
            a: change.old.to_string(),
            b: change.new.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::changes::append_changes;
    use crate::schema::rows::{ChangeOutcome, ChangeSource};
    use serde_json::json;

    fn make_run(dir: &Path, name: &str, versions: &[(u64, &str)]) -> std::path::PathBuf {
        let folder = RunFolder::create(dir, name, chrono::Local::now()).unwrap();
        for (version, (step, lr)) in versions.iter().enumerate() {
            let text = format!("[run]\nname = {name:?}\n[optim]\nlr = {lr}\n");
            std::fs::write(folder.version_file(version as u64), &text).unwrap();
            std::fs::write(folder.config_file(), text).unwrap();
            let row = ChangeRow {
                step: *step,
                tokens: 0,
                time: chrono::Utc::now(),
                version: version as u64,
                set: version.to_string(),
                value: (*lr).to_owned(),
                key: Some("optim.lr".into()),
                old: json!(0.0),
                new: json!(0.0),
                source: ChangeSource::Keys,
                outcome: ChangeOutcome::Applied,
                reason: None,
            };
            if version > 0 {
                append_changes(&folder.changes_file(), &[row]).unwrap();
            }
        }
        folder.path().to_owned()
    }

    #[test]
    fn configs_now_at_first_and_at_a_step_are_compared() {
        let dir = tempfile::tempdir().unwrap();
        let a = make_run(dir.path(), "a", &[(0, "0.1"), (5, "0.2"), (9, "0.3")]);
        let b = make_run(dir.path(), "b", &[(0, "0.1")]);
        let keys = |found: &[SettingDifference]| found.iter().map(|found| found.key.clone()).collect::<Vec<_>>();
        let now = compare_runs((&a, None), (&b, None)).unwrap();
        assert_eq!(
            (keys(&now.current), keys(&now.initial)),
            (vec!["run.name".into(), "optim.lr".into()], vec!["run.name".into()])
        );
        assert_eq!((now.current[1].a.as_str(), now.current[1].b.as_str()), ("0.3", "0.1"));
        assert_eq!((now.a.version, now.a.changes.len(), now.b.changes.len()), (2, 2, 0));
        for (step, lr) in [(4, "0.1"), (5, "0.2"), (8, "0.2"), (9, "0.3")] {
            let then = compare_runs((&a, Some(step)), (&b, None)).unwrap();
            assert_eq!(read_configs(&a, Some(step)).unwrap().current.optim.lr.to_string(), lr);
            assert!(then.a.run.ends_with(&format!("-a@{step}")));
        }
        assert!(compare_runs((&a, None), (&a, None)).unwrap().current.is_empty());
        assert!(compare_runs((&a, None), (dir.path(), None)).is_err());
    }
}
