//! Owns: where a dataset is created: in a staged folder, which replaces its destination when it is complete.
//! Must not know: documents, how they are made.
//! Invariant: a folder that was not made by this program is never replaced.

use std::path::{Path, PathBuf};

use super::Split;
use super::error::{DataError, Result};
use super::manifest::{DatasetManifest, MANIFEST_FILE, TOKENIZER_FILE};
use super::tokenizer::Tokenizer;
use crate::files::atomic::{StagedFolder, is_process_gone};

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
        sweep_leftovers(out);
        Ok(Self { folder: StagedFolder::create(out)?, out: out.to_path_buf(), force })
    }

    /// Returns the folder to write to.
    pub fn dir(&self) -> &Path {
        self.folder.dir()
    }

    /// Adds the tokenizer and the manifest to the shards, and moves the folder to its destination.
    pub fn commit_dataset(self, tokenizer: &Tokenizer, manifest: DatasetManifest) -> Result<()> {
        tokenizer.save(&self.dir().join(TOKENIZER_FILE))?;
        manifest.write(self.dir())?;
        self.commit()
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

/// Removes what killed calls left next to `out`: hidden folders `.NAME.<pid>.partial` that hold files of a dataset alone,
/// and older datasets that were being replaced, `OUT.replaced-<pid>`. Does nothing where it cannot.
///
/// An older dataset is moved back if the call was killed before the new one was in its place.
fn sweep_leftovers(out: &Path) {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = out.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        // The type of the entry itself: links are not followed.
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let found = entry.file_name().to_string_lossy().into_owned();
        let hidden = found.strip_prefix('.').and_then(|rest| rest.strip_suffix(".partial"));
        if hidden.and_then(|rest| rest.rsplit_once('.')).is_some_and(|(_, id)| is_process_gone(id)) {
            remove_dataset_folder(&entry.path());
        } else if found.strip_prefix(&format!("{name}.replaced-")).is_some_and(is_process_gone) {
            match out.symlink_metadata().is_ok() {
                true => remove_dataset_folder(&entry.path()),
                false => drop(std::fs::rename(entry.path(), out)),
            }
        }
    }
}

/// Removes a folder if all in it are files of a dataset: one by one, so that nothing else can go.
fn remove_dataset_folder(dir: &Path) {
    let Ok(entries) = std::fs::read_dir(dir).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>()) else {
        return;
    };
    let is_ours = |entry: &std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_shard = Split::ALL.iter().any(|split| name.starts_with(split.name())) && name.ends_with(".parquet");
        let is_companion = name.trim_start_matches('.').starts_with(MANIFEST_FILE) || name == TOKENIZER_FILE;
        entry.file_type().is_ok_and(|kind| kind.is_file()) && (is_shard || is_companion)
    };
    if entries.iter().all(is_ours) {
        // A folder that keeps a file is not removed.
        entries.iter().for_each(|entry| drop(std::fs::remove_file(entry.path())));
        let _ = std::fs::remove_dir(dir);
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

    #[cfg(unix)]
    #[test]
    fn leftovers_of_killed_calls_are_swept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        // No process has this id: Linux ends at 2^22.
        let (gone, alive) = (i32::MAX - 7, std::process::id());
        let make = |name: &str, file: &str| {
            std::fs::create_dir(path(name)).unwrap();
            std::fs::write(path(name).join(file), "x").unwrap();
        };
        make(&format!(".other.{gone}.partial"), "train-00000.parquet");
        make(&format!(".foreign.{gone}.partial"), "precious");
        make(&format!(".live.{alive}.partial"), "train-00000.parquet");
        make(&format!("set.replaced-{gone}"), MANIFEST_FILE);
        make("elsewhere", "train-00000.parquet");
        std::os::unix::fs::symlink(path("elsewhere"), path(&format!(".link.{gone}.partial"))).unwrap();
        sweep_leftovers(&path("set"));
        assert!(!path(&format!(".other.{gone}.partial")).exists());
        assert!(path(&format!(".foreign.{gone}.partial")).join("precious").exists());
        assert!(path(&format!(".live.{alive}.partial")).exists());
        assert!(path("elsewhere/train-00000.parquet").exists() && path(&format!(".link.{gone}.partial")).is_symlink());
        assert!(path("set").join(MANIFEST_FILE).exists(), "the dataset that was being replaced is back");
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
