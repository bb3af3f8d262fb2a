//! Owns the rule that a dataset is there whole or not at all: written beside its place, then renamed into it.
//!
//! Must not know: what is written. Invariant: the destination never holds a half-written dataset, and a folder that is
//! not a dataset of ours is never replaced.

use std::path::{Path, PathBuf};

use super::error::{DataError, Result};
use super::manifest::MANIFEST_FILE;

/// A folder being filled; removed when dropped, unless [`Staging::commit`] moved it into place.
pub(crate) struct Staging {
    partial: PathBuf,
    out: PathBuf,
    force: bool,
}

impl Staging {
    /// Creates `OUT.partial-<pid>`.
    ///
    /// # Errors
    /// `out` is taken (a file; or a folder with something in it, without `force` or not a dataset), or nothing can be
    /// created there.
    pub fn begin(out: &Path, force: bool) -> Result<Self> {
        check_free(out, force)?;
        let partial = beside(out, "partial")?;
        if let Some(parent) = partial.parent() {
            std::fs::create_dir_all(parent).map_err(DataError::io(parent, "be created"))?;
        }
        std::fs::create_dir(&partial).map_err(DataError::io(&partial, "be created"))?;
        Ok(Self { partial, out: out.to_path_buf(), force })
    }

    /// Where to write.
    pub fn dir(&self) -> &Path {
        &self.partial
    }

    /// Puts the folder into its place; an older dataset there steps aside first and is then removed.
    ///
    /// # Errors
    /// As of [`Staging::begin`], where the place was taken meanwhile; or it cannot be renamed.
    pub fn commit(self) -> Result<()> {
        check_free(&self.out, self.force)?;
        let old = beside(&self.out, "replaced")?;
        if self.out.exists() {
            std::fs::rename(&self.out, &old).map_err(DataError::io(&self.out, "be replaced"))?;
        }
        std::fs::rename(&self.partial, &self.out).map_err(DataError::io(&self.out, "be created"))?;
        if old.exists() {
            std::fs::remove_dir_all(&old).map_err(DataError::io(&old, "be removed"))?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // After a commit there is nothing left under this name; an error here has no one left to tell.
        let _ = std::fs::remove_dir_all(&self.partial);
    }
}

fn beside(out: &Path, word: &str) -> Result<PathBuf> {
    let Some(name) = out.file_name() else {
        return Err(DataError::Setting {
            name: "out",
            found: out.display().to_string(),
            allowed: "a path that ends in the name of the folder to create",
        });
    };
    let mut name = name.to_os_string();
    name.push(format!(".{word}-{}", std::process::id()));
    Ok(out.with_file_name(name))
}

fn check_free(out: &Path, force: bool) -> Result<()> {
    let taken = |found, allowed| Err(DataError::Taken { dir: out.to_path_buf(), found, allowed });
    if !out.exists() {
        return Ok(());
    }
    if !out.is_dir() {
        return taken("there is a file of this name", "a new name, or an empty folder");
    }
    let mut entries = std::fs::read_dir(out).map_err(DataError::io(out, "be listed"))?;
    if entries.next().is_none() {
        return Ok(());
    }
    match (force, out.join(MANIFEST_FILE).is_file()) {
        (true, true) => Ok(()),
        (true, false) => taken(
            "the folder is not empty and has no dataset.json, so it is not replaced",
            "a new name, an empty folder, or a dataset to replace",
        ),
        (false, _) => {
            taken("the folder is not empty", "a new name, an empty folder, or --force to replace a dataset")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_staging_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/b");
        let staging = Staging::begin(&out, false).unwrap();
        std::fs::write(staging.dir().join("x"), "x").unwrap();
        drop(staging);
        assert_eq!(std::fs::read_dir(dir.path().join("a")).unwrap().count(), 0);
    }

    #[test]
    fn only_a_dataset_is_replaced_and_only_by_force() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("set");
        std::fs::create_dir(&out).unwrap();
        Staging::begin(&out, false).unwrap().commit().unwrap();
        std::fs::write(out.join("precious"), "x").unwrap();
        assert!(Staging::begin(&out, false).is_err());
        assert!(Staging::begin(&out, true).is_err());
        std::fs::write(out.join(MANIFEST_FILE), "{}").unwrap();
        assert!(Staging::begin(&out, false).is_err());
        Staging::begin(&out, true).unwrap().commit().unwrap();
        assert!(!out.join("precious").exists());
    }
}
