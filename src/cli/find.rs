//! Owns: what a person may call a run: a path, a folder in `checkpoints/`, the name of the newest run of it, `last`.
//! Must not know: what is done with it.
//! Invariant: what is ambiguous is the newest; what is not there is an error that names what is.

use crate::record::folder::RunFolder;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// Where run folders are looked for.
pub(super) const RUNS: &str = "checkpoints";

/// The run that `name` means.
pub(super) fn run(name: &str) -> anyhow::Result<PathBuf> {
    let (path, within) = (Path::new(name), Path::new(RUNS).join(name));
    for path in [path, &within] {
        if RunFolder::open(path).is_ok() {
            return Ok(path.to_owned());
        }
    }
    let all = all(Path::new(RUNS));
    let found = match name {
        "last" => all.last(),
        name => all.iter().rev().find(|path| is_called(path, name)),
    };
    match found {
        Some(path) => Ok(path.clone()),
        None if path.exists() => Ok(RunFolder::open(path).map(|folder| folder.path().to_owned())?),
        None if all.is_empty() => bail!("no run `{name}`: there are none in {RUNS}/"),
        None => {
            let names = all.iter().rev().take(5).filter_map(|path| path.file_name());
            let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
            bail!("no run `{name}`; the newest in {RUNS}/ are: {}", names.join(", "))
        }
    }
}

/// `20261124-101500-name`, or its `-2`, is called `name`.
fn is_called(path: &Path, name: &str) -> bool {
    let folder = path.file_name().unwrap_or_default().to_string_lossy();
    let own = folder.splitn(3, '-').nth(2).unwrap_or_default();
    own == name || own.rsplit_once('-').is_some_and(|(own, n)| own == name && n.parse::<u32>().is_ok())
}

/// The run and step that `RUN` or `RUN@STEP` means.
pub(super) fn run_at(name: &str) -> anyhow::Result<(PathBuf, Option<u64>)> {
    match (run(name), name.rsplit_once('@')) {
        (Err(_), Some((name, step))) => {
            let step = step.parse().with_context(|| format!("`{step}` is no step; RUN@STEP is expected"))?;
            Ok((run(name)?, Some(step)))
        }
        (found, _) => Ok((found?, None)),
    }
}

/// The run folders in `dir`, oldest first.
pub(super) fn all(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| RunFolder::open(path).is_ok()).collect();
    runs.sort();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_called_by_its_name() {
        for (folder, name, is) in [
            ("20261124-101500-quick", "quick", true),
            ("20261124-101500-quick-2", "quick", true),
            ("20261124-101500-full-bandwidth", "full-bandwidth", true),
            ("20261124-101500-full-bandwidth", "bandwidth", false),
            ("20261124-101500-quick-start", "quick", false),
        ] {
            assert_eq!(is_called(Path::new(folder), name), is, "{folder} {name}");
        }
    }
}
