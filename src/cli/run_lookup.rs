//! Owns: how a RUN argument is resolved: a path, a folder in `checkpoints/`, the name of a run, or `last`.
//! Must not know: what the run is used for.
//! Invariant: a name means its newest run; the error for an unknown run names existing ones.

use super::bail_usage;
use crate::record::labels::find_renamed;
use crate::record::run_folder::RunFolder;
use anyhow::Context;
use std::path::{Path, PathBuf};

/// The default folder of run folders.
pub(super) const RUNS_DIR: &str = "checkpoints";

pub(super) fn run_folder(name: &str) -> anyhow::Result<PathBuf> {
    let (path, in_runs) = (Path::new(name), Path::new(RUNS_DIR).join(name));
    for path in [path, &in_runs] {
        if RunFolder::exists(path) {
            return Ok(path.to_owned());
        }
    }
    let runs = run_folders(Path::new(RUNS_DIR));
    let found = match name {
        "last" => runs.last(),
        name => runs.iter().rev().find(|path| has_run_name(path, name)),
    };
    let renamed = || find_renamed(path).or_else(|| find_renamed(&in_runs));
    match found.cloned().or_else(renamed) {
        Some(path) => Ok(path),
        None if path.exists() => Ok(RunFolder::open(path).map(|folder| folder.path().to_owned())?),
        None if runs.is_empty() => bail_usage!("no run `{name}`: {RUNS_DIR}/ has no runs"),
        None => {
            let names = runs.iter().rev().take(5).filter_map(|path| path.file_name());
            let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
            bail_usage!("no run `{name}`; the newest in {RUNS_DIR}/ are: {}", names.join(", "))
        }
    }
}

/// Returns the newest run in `dir` that has this name.
pub(super) fn newest_of_name(dir: &Path, name: &str) -> Option<PathBuf> {
    run_folders(dir).into_iter().rev().find(|path| has_run_name(path, name))
}

/// Whether `path` is the folder of a run `name`: `20261124-101500-name`, or the same with a suffix like `-2`.
fn has_run_name(path: &Path, name: &str) -> bool {
    let folder = path.file_name().unwrap_or_default().to_string_lossy();
    let run = folder.splitn(3, '-').nth(2).unwrap_or_default();
    run == name || run.rsplit_once('-').is_some_and(|(run, n)| run == name && n.parse::<u32>().is_ok())
}

/// Resolves RUN, RUN@STEP or RUN@best.
pub(super) fn run_folder_and_step(name: &str) -> anyhow::Result<(PathBuf, Option<u64>)> {
    match (run_folder(name), name.rsplit_once('@')) {
        (Err(_), Some((name, "best"))) => {
            let run = run_folder(name)?;
            let Some(best) = RunFolder::open(&run)?.best_checkpoint() else {
                bail_usage!(
                    "{} has no best checkpoint: `checkpoint.best` chooses one while a run trains",
                    run.display()
                )
            };
            Ok((run, Some(best.step)))
        }
        (Err(_), Some((name, step))) => {
            let step =
                step.parse().with_context(|| format!("`{step}` is not a step; expected RUN@STEP or RUN@best"))?;
            Ok((run_folder(name)?, Some(step)))
        }
        (found, _) => Ok((found?, None)),
    }
}

/// Lists the run folders in `dir`, the one that began first at first: folder names are local times of any time zone.
pub(super) fn run_folders(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| RunFolder::exists(path)).collect();
    runs.sort_by_cached_key(|path| (RunFolder::begun_at(path), path.clone()));
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_by_its_name() {
        for (folder, name, is) in [
            ("20261124-101500-quick", "quick", true),
            ("20261124-101500-quick-2", "quick", true),
            ("20261124-101500-full-bandwidth", "full-bandwidth", true),
            ("20261124-101500-full-bandwidth", "bandwidth", false),
            ("20261124-101500-quick-start", "quick", false),
        ] {
            assert_eq!(has_run_name(Path::new(folder), name), is, "{folder} {name}");
        }
    }
}
