//! Owns: where a dataset is created: in a staged folder, which replaces its destination when it is complete.
//! Must not know: what is written.
//! Invariant: a folder that was not made by this program is never replaced.

use std::path::{Path, PathBuf};

use super::error::{DataError, Result};
use super::manifest::MANIFEST_FILE;
use crate::files::atomic::StagedFolder;

/// A dataset in the making. It is removed on drop, unless [`StagedDataset::commit`] has moved it to its destination.
pub(crate) struct StagedDataset {
    folder: StagedFolder,
    out: PathBuf,
    force: bool,
}

impl StagedDataset {
    /// Creates the folder to write to.
    ///
    /// # Errors
    /// Fails if `out` is a file or a folder with content, unless it is a dataset and `force` is set. Fails
    /// too if the folder cannot be created.
    pub fn create(out: &Path, force: bool) -> Result<Self> {
        check_output(out, force)?;
        sibling_path(out, "replaced")?;
        if let Some(parent) = out.parent() {
            std::fs::create_dir_all(parent).map_err(DataError::io(parent, "be created"))?;
        }
        Ok(Self { folder: StagedFolder::create(out)?, out: out.to_path_buf(), force })
    }

    /// Returns the folder to write to.
    pub fn dir(&self) -> &Path {
        self.folder.dir()
    }

    /// Moves the folder to its destination. An older dataset there is first moved away, and removed afterwards.
    ///
    /// # Errors
    /// Fails if the destination was taken in the meantime, as in [`StagedDataset::create`], or if a rename fails.
    pub fn commit(self) -> Result<()> {
        check_output(&self.out, self.force)?;
        let old = sibling_path(&self.out, "replaced")?;
        if self.out.exists() {
            std::fs::rename(&self.out, &old).map_err(DataError::io(&self.out, "be replaced"))?;
        }
        self.folder.commit()?;
        if old.exists() {
            std::fs::remove_dir_all(&old).map_err(DataError::io(&old, "be removed"))?;
        }
        Ok(())
    }
}

/// Returns a path next to `out`: `OUT.<word>-<pid>`.
fn sibling_path(out: &Path, word: &str) -> Result<PathBuf> {
    let Some(name) = out.file_name() else {
        return Err(DataError::InvalidSetting {
            name: "out",
            found: out.display().to_string(),
            allowed: "a path that ends in the name of the folder to create",
        });
    };
    let mut name = name.to_os_string();
    name.push(format!(".{word}-{}", std::process::id()));
    Ok(out.with_file_name(name))
}

/// Checks that `out` is absent or an empty folder, or a dataset that `force` allows to replace.
fn check_output(out: &Path, force: bool) -> Result<()> {
    let error = |found, allowed| Err(DataError::OutputExists { dir: out.to_path_buf(), found, allowed });
    if !out.exists() {
        return Ok(());
    }
    if !out.is_dir() {
        return error("a file with this name exists", "a new name, or an empty folder");
    }
    let mut entries = std::fs::read_dir(out).map_err(DataError::io(out, "be listed"))?;
    if entries.next().is_none() {
        return Ok(());
    }
    match (force, out.join(MANIFEST_FILE).is_file()) {
        (true, true) => Ok(()),
        (true, false) => error(
            "the folder is not empty and has no dataset.json, so it is not replaced",
            "a new name, an empty folder, or a dataset to replace",
        ),
        (false, _) => error("the folder is not empty", "a new name, an empty folder, or --force to replace a dataset"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_staging_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/b");
        let staging = StagedDataset::create(&out, false).unwrap();
        std::fs::write(staging.dir().join("x"), "x").unwrap();
        drop(staging);
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 0);
    }

    #[test]
    fn only_a_dataset_is_replaced_and_only_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("set");
        std::fs::create_dir(&out).unwrap();
        StagedDataset::create(&out, false).unwrap().commit().unwrap();
        std::fs::write(out.join("precious"), "x").unwrap();
        assert!(StagedDataset::create(&out, false).is_err());
        assert!(StagedDataset::create(&out, true).is_err());
        std::fs::write(out.join(MANIFEST_FILE), "{}").unwrap();
        assert!(StagedDataset::create(&out, false).is_err());
        StagedDataset::create(&out, true).unwrap().commit().unwrap();
        assert!(!out.join("precious").exists());
    }
}
