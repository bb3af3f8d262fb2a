//! Owns: the atomic replacement of files and creation of folders: write next to it, sync, rename, sync the folder.
//! Must not know: what is written.
//! Invariant: readers see the old content or the new one, never a part; a failure leaves nothing behind.

use super::FileError;
use serde::Serialize;
use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Replaces the content of `file` with `bytes`. Follows links.
pub fn replace_file(file: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace_file_if(file, bytes, || true).map(drop)
}

/// Replaces `file` as [`replace_file`] does, if `condition` returns true just before. Returns whether it did.
pub fn replace_file_if(file: &Path, bytes: &[u8], condition: impl FnOnce() -> bool) -> Result<bool, FileError> {
    let fill = |mut sink: &File| sink.write_all(bytes).map_err(FileError::wrap("write", file));
    replace_with_if(file, fill, condition)
}

/// Replaces the content of `file` without waiting for the disk, so that a power cut may damage it.
pub fn replace_file_unsynced(file: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let hidden = hidden_sibling(file);
    let replaced =
        create_new(&hidden).and_then(|mut sink| sink.write_all(bytes)).and_then(|()| std::fs::rename(&hidden, file));
    replaced.inspect_err(|_| drop(std::fs::remove_file(&hidden))).map_err(FileError::wrap("write", file))
}

/// Replaces the content of `file` with what `fill` writes. Follows links.
pub fn replace_file_with<E: From<FileError>>(file: &Path, fill: impl FnOnce(&File) -> Result<(), E>) -> Result<(), E> {
    sweep_abandoned(file);
    replace_with_if(file, fill, || true).map(drop)
}

/// Replaces the content of `file` with `value` as pretty-printed JSON.
pub fn replace_json(file: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let json = serde_json::to_string_pretty(value);
    let json = json.map_err(|error| FileError::wrap("write", file)(error.into()))?;
    replace_file(file, (json + "\n").as_bytes())
}

fn replace_with_if<E: From<FileError>>(
    file: &Path,
    fill: impl FnOnce(&File) -> Result<(), E>,
    condition: impl FnOnce() -> bool,
) -> Result<bool, E> {
    let fail = |cause| E::from(FileError::wrap("write", file)(cause));
    let target = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let hidden = hidden_sibling(&target);
    let replace = || {
        let sink = create_new(&hidden).map_err(fail)?;
        fill(&sink)?;
        sink.sync_all().map_err(fail)?;
        let wanted = condition();
        if wanted {
            std::fs::rename(&hidden, &target).map_err(fail)?;
            target.parent().into_iter().for_each(sync_folder);
        }
        Ok(wanted)
    };
    let replaced = replace();
    if !matches!(replaced, Ok(true)) {
        // Report the first error, even if the hidden file cannot be removed.
        let _ = std::fs::remove_file(&hidden);
    }
    replaced
}

/// Appends `bytes` to `file`, which has `length` bytes, and syncs them. If that fails, a part is removed again.
pub fn append_synced(mut file: &File, length: u64, bytes: &[u8]) -> std::io::Result<()> {
    let appended = file.write_all(bytes).and_then(|()| file.sync_data());
    appended.inspect_err(|_| drop(file.set_len(length)))
}

/// A hidden folder next to its destination. It is removed on drop, unless [`StagedFolder::commit`] has moved it.
pub struct StagedFolder {
    hidden: PathBuf,
    path: PathBuf,
}

impl StagedFolder {
    /// Creates an empty hidden folder for the destination `path`.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        sweep_abandoned(path);
        let hidden = hidden_sibling(path);
        std::fs::create_dir(&hidden).map_err(FileError::wrap("create", path))?;
        Ok(Self { hidden, path: path.to_owned() })
    }

    /// Returns the folder to write to.
    pub fn dir(&self) -> &Path {
        &self.hidden
    }

    /// Syncs the files of the folder and renames it to its destination, which must be absent or empty.
    pub fn commit(self) -> Result<(), FileError> {
        let entries = std::fs::read_dir(&self.hidden).map_err(FileError::wrap("read", &self.hidden))?;
        for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
            let synced = OpenOptions::new().write(true).open(&path).and_then(|file| file.sync_all());
            synced.map_err(FileError::wrap("write", &path))?;
        }
        sync_folder(&self.hidden);
        std::fs::rename(&self.hidden, &self.path).map_err(FileError::wrap("create", &self.path))?;
        self.path.parent().into_iter().for_each(sync_folder);
        Ok(())
    }
}

impl Drop for StagedFolder {
    fn drop(&mut self) {
        // After a commit nothing is left under this name.
        let _ = std::fs::remove_dir_all(&self.hidden);
    }
}

/// Creates a file that does not exist yet, not even as a link.
fn create_new(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Returns a path `.NAME.<random>.<process id>.partial` next to `path`, which nobody can know before.
fn hidden_sibling(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // The standard library seeds its hashes from the system's random numbers.
    let random = RandomState::new().build_hasher().finish();
    path.with_file_name(format!(".{name}.{random:016x}.{}.partial", std::process::id()))
}

/// Removes what killed processes left of earlier attempts to write `path`. Does nothing where it cannot.
fn sweep_abandoned(path: &Path) {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let marks = name.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(".partial"));
        let Some((random, process)) = marks.and_then(|marks| marks.split_once('.')) else { continue };
        if random.len() == 16 && random.bytes().all(|digit| digit.is_ascii_hexdigit()) && is_process_gone(process) {
            // The type of the entry itself: links are not followed.
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let _ = if is_dir { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
        }
    }
}

/// Whether `id` is that of a process that is gone from this machine.
#[cfg(unix)]
pub fn is_process_gone(id: &str) -> bool {
    use rustix::process::{Pid, test_kill_process};
    let Some(process) = id.parse().ok().and_then(Pid::from_raw) else { return false };
    test_kill_process(process) == Err(rustix::io::Errno::SRCH)
}

/// Whether `id` is that of a process that is gone from this machine; never known here.
#[cfg(not(unix))]
pub fn is_process_gone(_: &str) -> bool {
    false
}

/// Returns whether `name` is that of an incomplete file or folder that a killed process left behind.
pub fn is_partial_name(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".partial")
}

/// Syncs the file names in `dir`, so that they survive a power cut, if the file system supports it.
pub fn sync_folder(dir: &Path) {
    if let Ok(dir) = File::open(dir) {
        let _ = dir.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_committed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("step-000001");
        let staged = StagedFolder::create(&path).unwrap();
        std::fs::write(staged.dir().join("half"), "x").unwrap();
        drop(staged);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        StagedFolder::create(&path).unwrap().commit().unwrap();
        assert!(path.is_dir());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn what_killed_processes_left_is_swept_and_planted_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, outside) = (dir.path().join("a"), dir.path().join("outside"));
        std::fs::write(&outside, "precious").unwrap();
        let (gone, alive) = (0x3fff_fff1, std::process::id());
        let of = |process: u32| dir.path().join(format!(".a.0123456789abcdef.{process}.partial"));
        std::os::unix::fs::symlink(&outside, of(gone)).unwrap();
        std::fs::write(of(alive), "x").unwrap();
        assert!(create_new(&of(gone)).is_err(), "a name that exists is not written to, link or not");
        replace_file_with(&file, |mut sink| sink.write_all(b"one").map_err(FileError::wrap("write", &file))).unwrap();
        assert!(!of(gone).is_symlink() && of(alive).exists());
        assert_eq!(std::fs::read(&outside).unwrap(), b"precious");
    }

    #[test]
    fn what_is_replaced_is_whole_and_links_stay_links() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        replace_file(&file, b"one").unwrap();
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&file, &link).unwrap();
            replace_file(&link, b"two").unwrap();
            assert!(link.is_symlink());
            assert_eq!(std::fs::read(&file).unwrap(), b"two");
        }
        assert!(replace_file(&dir.path().join("no/where"), b"x").is_err());
    }

    #[test]
    fn a_failure_keeps_the_old_file_and_removes_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        replace_file(&file, b"one").unwrap();
        assert!(!replace_file_if(&file, b"two", || false).unwrap());
        let fail = |_: &File| Err(FileError::wrap("write", &file)(std::io::ErrorKind::StorageFull.into()));
        assert!(replace_file_with(&file, fail).unwrap_err().is_disk_full());
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(replace_file(&dir.path().join("folder"), b"x").is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
