//! Owns: bringing runs that were made elsewhere into an experiment's folder.
//! Must not know: how a run is made, schedulers.
//! Invariant: a run is copied whole or not at all, and only if it is as planned and whole; nothing is overwritten.

use super::ExperimentError;
use super::declaration::merge_declarations;
use super::plan::{Experiment, PlannedRun, config_differences};
use super::progress::{ProgressState, folders_by_name};
use crate::config;
use crate::files::FileError;
use crate::files::atomic::StagedFolder;
use crate::record::check::check_record;
use crate::record::run_folder::RunFolder;
use crate::record::status;
use crate::schema::status::RunState;
use std::path::{Path, PathBuf};

/// What became of one planned run.
#[derive(Clone, Debug, PartialEq)]
pub struct Collected {
    pub run: String,
    pub outcome: CollectOutcome,
}

#[derive(Clone, Debug, PartialEq)]
pub enum CollectOutcome {
    /// It was there already.
    Present,
    /// It was copied from this folder.
    Copied(PathBuf),
    /// A folder of its name was found, but not taken, and why.
    Refused(PathBuf, String),
    Missing,
}

impl Experiment {
    /// Copies finished runs from `sources`, folders of run folders, that the experiment's own folder lacks.
    pub fn collect(&self, sources: &[PathBuf]) -> Result<Vec<Collected>, ExperimentError> {
        sources.iter().try_for_each(|source| merge_declarations(&self.spec.dir, source))?;
        let found: Vec<_> = sources.iter().map(|source| folders_by_name(source)).collect();
        let progress = self.progress();
        let mut collected = Vec::new();
        for (run, progress) in self.runs.iter().zip(progress) {
            let mut outcome = CollectOutcome::Missing;
            if progress.state == ProgressState::Finished {
                outcome = CollectOutcome::Present;
            } else {
                for path in found.iter().filter_map(|folders| folders.get(&run.name)).flatten().rev() {
                    match self.check_foreign(run, path) {
                        Ok(()) => {
                            self.copy_run(path)?;
                            outcome = CollectOutcome::Copied(path.clone());
                            break;
                        }
                        Err(reason) => outcome = CollectOutcome::Refused(path.clone(), reason),
                    }
                }
            }
            collected.push(Collected { run: run.name.clone(), outcome });
        }
        Ok(collected)
    }

    /// Checks that a folder holds the finished run as it was planned, with every file whole.
    fn check_foreign(&self, run: &PlannedRun, path: &Path) -> Result<(), String> {
        let folder = RunFolder::open(path).map_err(|error| error.to_string())?;
        let status = status::read_status(&folder).map_err(|error| error.to_string())?;
        let state = status.map(|status| status.state);
        if state != Some(RunState::Finished) {
            return Err(format!("it is {}", state.map_or("without a status", <&str>::from)));
        }
        let found = config::load(&folder.version_file(0), &[]).map_err(|error| error.to_string())?;
        let differences = config_differences(&run.config, &found, self.start_of(run).map(|start| start.name.as_str()));
        if !differences.is_empty() {
            return Err(format!("its config differs: {}", differences.join("; ")));
        }
        let damaged =
            check_record(&folder).into_iter().find_map(|item| item.problem.map(|why| format!("{}: {why}", item.name)));
        damaged.map_or(Ok(()), Err)
    }

    /// Copies a run folder into the experiment's folder.
    fn copy_run(&self, path: &Path) -> Result<(), ExperimentError> {
        std::fs::create_dir_all(&self.spec.dir).map_err(FileError::wrap("create", &self.spec.dir))?;
        let name = path.file_name().unwrap_or_default();
        let (mut target, mut taken) = (self.spec.dir.join(name), 1);
        while target.exists() {
            taken += 1;
            target = self.spec.dir.join(format!("{}-{taken}", name.to_string_lossy()));
        }
        let staged = StagedFolder::create(&target)?;
        copy_files(path, staged.dir())?;
        Ok(staged.commit()?)
    }
}

/// Copies regular files and folders. A run folder holds nothing else.
fn copy_files(from: &Path, to: &Path) -> Result<(), FileError> {
    for entry in std::fs::read_dir(from).map_err(FileError::wrap("read", from))? {
        let entry = entry.map_err(FileError::wrap("read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(FileError::wrap("read", &source))?;
        if kind.is_dir() {
            std::fs::create_dir(&target).map_err(FileError::wrap("create", &target))?;
            copy_files(&source, &target)?;
        } else if kind.is_file() {
            std::fs::copy(&source, &target).map_err(FileError::wrap("copy", &source))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::experiment;
    use super::super::progress::tests::make_folder;
    use super::*;

    #[test]
    fn finished_runs_are_copied_and_others_named() {
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let planned = experiment(dir.path(), str::to_owned).unwrap();
        let mut foreign = planned.clone();
        foreign.spec.dir = elsewhere.path().to_owned();
        make_folder(&planned, &planned.runs[0], RunState::Finished);
        let whole = make_folder(&foreign, &planned.runs[1], RunState::Finished);
        let info = serde_json::json!({"lineage": null, "recipe": null, "folder": "", "device": "", "device_reason": "",
            "params": 1, "vocab_size": 9, "train_docs": 1});
        std::fs::write(whole.run_info_file(), info.to_string()).unwrap();
        make_folder(&foreign, &planned.runs[2], RunState::Stopped);
        let collected = planned.collect(&[elsewhere.path().to_owned()]).unwrap();
        assert_eq!(collected[0].outcome, CollectOutcome::Present);
        assert!(matches!(&collected[1].outcome, CollectOutcome::Copied(from) if from.starts_with(elsewhere.path())));
        assert!(
            matches!(&collected[2].outcome, CollectOutcome::Refused(_, why) if why == "it is stopped"),
            "{collected:?}"
        );
        assert_eq!(collected[3].outcome, CollectOutcome::Missing);
        let states: Vec<&str> = planned.progress().iter().map(|progress| progress.state.word()).collect();
        assert_eq!(states, ["finished", "finished", "missing", "missing"]);
        // Once more: nothing is copied twice.
        let again = planned.collect(&[elsewhere.path().to_owned()]).unwrap();
        assert_eq!(again[1].outcome, CollectOutcome::Present);
    }
}
