//! Owns: which runs of an experiment exist, and how far they are.
//! Must not know: how a run is made, statistics.
//! Invariant: it only reads. A run whose config is not that of its arm is not taken for it.

use super::plan::{Experiment, PlannedRun, config_differences};
use super::spec::ValueOf;
use crate::config;
use crate::record::changes;
use crate::record::run_folder::RunFolder;
use crate::record::status;
use crate::schema::rows::ChangeOutcome;
use crate::schema::run_list::split_run_id;
use crate::schema::status::RunState;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A planned run as it is on disk.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedRunState {
    /// Its folder; none if it has not begun.
    pub folder: Option<PathBuf>,
    pub state: ProgressState,
    pub step: u64,
    /// Expected number of updates.
    pub steps: u64,
    /// Number of config changes that were applied while it ran.
    pub changes: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ProgressState {
    Missing,
    /// A process has it now.
    Running,
    /// It was stopped or interrupted, and can go on.
    Unfinished,
    Finished,
    /// It ended with this error.
    Failed(String),
    /// Its config is another than planned: the keys, or why it cannot be read.
    Differs(Vec<String>),
}

impl ProgressState {
    /// Returns the word for the state.
    pub fn word(&self) -> &'static str {
        match self {
            ProgressState::Missing => "missing",
            ProgressState::Running => "running",
            ProgressState::Unfinished => "unfinished",
            ProgressState::Finished => "finished",
            ProgressState::Failed(_) => "failed",
            ProgressState::Differs(_) => "differs",
        }
    }
}

/// Returns the folders of runs in `dir`, by the name of the run; the newest one last.
pub fn folders_by_name(dir: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| RunFolder::exists(path)).collect();
    folders.sort_by_cached_key(|path| (RunFolder::begun_at(path), path.clone()));
    for path in folders {
        let id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((_, name)) = split_run_id(&id) else { continue };
        // A folder whose name was taken has a number at its end.
        let unnumbered =
            name.rsplit_once('-').filter(|(_, number)| number.parse::<u32>().is_ok()).map(|(name, _)| name);
        for name in [Some(name), unnumbered].into_iter().flatten() {
            found.entry(name.to_owned()).or_default().push(path.clone());
        }
    }
    found
}

impl Experiment {
    /// Returns the progress of all runs, in the order of the plan.
    pub fn progress(&self) -> Vec<PlannedRunState> {
        let folders = folders_by_name(&self.spec.dir);
        self.runs.iter().map(|run| self.progress_in(run, &folders)).collect()
    }

    /// Returns the progress of one run.
    pub fn progress_of(&self, run: &PlannedRun) -> PlannedRunState {
        self.progress_in(run, &folders_by_name(&self.spec.dir))
    }

    fn progress_in(&self, run: &PlannedRun, folders: &BTreeMap<String, Vec<PathBuf>>) -> PlannedRunState {
        let all = folders.get(&run.name).into_iter().flatten();
        let found: Vec<PlannedRunState> = all.map(|folder| self.folder_progress(run, folder)).collect();
        let is_finished = |progress: &&PlannedRunState| progress.state == ProgressState::Finished;
        let fits = |progress: &&PlannedRunState| !matches!(progress.state, ProgressState::Differs(_));
        let newest = found.iter().rev();
        let best = newest.clone().find(is_finished).or(newest.clone().find(fits)).or(found.last());
        best.cloned().unwrap_or(PlannedRunState {
            folder: None,
            state: ProgressState::Missing,
            step: 0,
            steps: 0,
            changes: 0,
        })
    }

    fn folder_progress(&self, run: &PlannedRun, path: &Path) -> PlannedRunState {
        let mut progress = PlannedRunState {
            folder: Some(path.to_owned()),
            state: ProgressState::Unfinished,
            step: 0,
            steps: 0,
            changes: 0,
        };
        match self.read_progress(run, path, &mut progress) {
            Ok(()) => {}
            Err(reason) => progress.state = ProgressState::Differs(vec![reason]),
        }
        progress
    }

    fn read_progress(&self, run: &PlannedRun, path: &Path, progress: &mut PlannedRunState) -> Result<(), String> {
        let folder = RunFolder::open(path).map_err(|error| error.to_string())?;
        let found = config::load(&folder.version_file(0), &[]).map_err(|error| error.to_string())?;
        let start = self.start_of(run).map(|start| start.name.as_str());
        let mut differences = config_differences(&run.config, &found, start);
        // What was changed while it ran, and was not changed back.
        if let Some(newest) = folder.newest_version_file() {
            let newest = config::load(&newest, &[]).map_err(|error| error.to_string())?;
            let changed = config_differences(&run.config, &newest, start).into_iter();
            differences.extend(changed.filter(|words| !differences.contains(words)).collect::<Vec<_>>());
        }
        let status = status::read_status(&folder).map_err(|error| error.to_string())?;
        let applied = changes::read_changes(&folder.changes_file()).map_err(|error| error.to_string())?;
        progress.changes = applied.iter().filter(|row| row.outcome == ChangeOutcome::Applied).count();
        if let Some(status) = &status {
            (progress.step, progress.steps) = (status.step, status.steps);
        }
        progress.state = match status.as_ref().map(|status| status.state) {
            _ if !differences.is_empty() => ProgressState::Differs(differences),
            Some(RunState::Finished) => ProgressState::Finished,
            Some(RunState::Failed) => ProgressState::Failed(status.and_then(|status| status.error).unwrap_or_default()),
            Some(RunState::Running) => ProgressState::Running,
            Some(RunState::Stopped | RunState::Interrupted) | None => ProgressState::Unfinished,
        };
        Ok(())
    }

    /// Returns the checkpoint that `run` starts from: of the run of its `start_from` arm, which has to be finished.
    pub fn start_checkpoint(&self, run: &PlannedRun) -> Result<Option<PathBuf>, String> {
        let Some(start) = self.start_of(run) else { return Ok(None) };
        let progress = self.progress_of(start);
        let (ProgressState::Finished, Some(path)) = (&progress.state, &progress.folder) else {
            return Err(format!("{} starts from {}, which is {}", run.name, start.name, progress.state.word()));
        };
        let folder = RunFolder::open(path).map_err(|error| error.to_string())?;
        let step = match self.arm_of(run).start_at {
            ValueOf::Best => folder.best_checkpoint().map(|best| best.step),
            ValueOf::Last => folder.checkpoint_steps().last().copied(),
        };
        let none = || format!("{} has no such checkpoint for {} to start from", path.display(), run.name);
        step.map(|step| Some(folder.checkpoint_folder(step))).ok_or_else(none)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::plan::tests::experiment;
    use super::*;
    use crate::schema::status::RunStatus;

    /// Makes a run folder as `run` would have it, in this state.
    pub fn make_folder(experiment: &Experiment, run: &PlannedRun, state: RunState) -> RunFolder {
        let folder = RunFolder::create(&experiment.spec.dir, &run.name, chrono::Local::now()).unwrap();
        let text = run.config.to_toml().unwrap();
        std::fs::write(folder.config_file(), &text).unwrap();
        std::fs::write(folder.version_file(0), &text).unwrap();
        status::write_status(&folder, &RunStatus::new(state, 7, 9)).unwrap();
        folder
    }

    #[test]
    fn a_finished_run_counts_only_if_its_config_is_as_planned() {
        let dir = tempfile::tempdir().unwrap();
        let planned = experiment(dir.path(), str::to_owned).unwrap();
        let words = || planned.progress().iter().map(|progress| progress.state.word()).collect::<Vec<_>>();
        assert_eq!(words(), ["missing"; 4]);
        make_folder(&planned, &planned.runs[0], RunState::Stopped);
        make_folder(&planned, &planned.runs[1], RunState::Finished);
        let mut other = planned.runs[2].clone();
        other.config.optim.lr = 0.25;
        make_folder(&planned, &other, RunState::Finished);
        assert_eq!(words(), ["unfinished", "finished", "differs", "missing"]);
        let differs = ProgressState::Differs(vec!["optim.lr is 0.25, planned 0.001".into()]);
        assert_eq!(planned.progress()[2].state, differs);
        // Made again as planned, it is there.
        make_folder(&planned, &planned.runs[2], RunState::Finished);
        assert_eq!(words()[2], "finished");
    }
}
