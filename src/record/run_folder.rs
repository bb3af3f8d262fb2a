//! Owns: the layout of a run folder, and its lock.
//! Must not know: what the files contain.
//! Invariant: a folder or file that has its final name is complete and survives a power cut.

use super::RecordError;
use crate::files::atomic::{is_partial_name, sync_folder};
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The folder of a run, `<run.dir>/<date-time>-<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Creates the folder of a new run that starts `now`. A name that is taken gets a number as its suffix.
    pub fn create(dir: &Path, name: &str, now: chrono::DateTime<chrono::Local>) -> Result<Self, RecordError> {
        std::fs::create_dir_all(dir).map_err(RecordError::io("create", dir))?;
        let base = format!("{}-{name}", now.format("%Y%m%d-%H%M%S"));
        let (mut path, mut taken) = (dir.join(&base), 1);
        while let Err(error) = std::fs::create_dir(&path) {
            if error.kind() != std::io::ErrorKind::AlreadyExists {
                return Err(RecordError::io("create", &path)(error));
            }
            taken += 1;
            path = dir.join(format!("{base}-{taken}"));
        }
        let versions = path.join(VERSIONS);
        std::fs::create_dir(&versions).map_err(RecordError::io("create", &versions))?;
        Ok(Self { path })
    }

    /// Opens the folder of an existing run. Fails if `path` is not a run folder.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let no_run = |reason: &str| RecordError::NoRun { path: path.display().to_string(), reason: reason.into() };
        if !path.is_dir() {
            return Err(no_run("it does not exist"));
        }
        let folder = Self { path: path.to_owned() };
        match folder.is_run() {
            true => Ok(folder),
            false => Err(no_run("it has neither config.toml nor versions/config-0000.toml")),
        }
    }

    /// Returns whether this is a run folder. A run whose config file was removed still is one.
    fn is_run(&self) -> bool {
        self.config_file().is_file() || self.version_file(0).is_file()
    }

    /// Returns the file of the newest config version, if there is one.
    pub fn newest_version_file(&self) -> Option<PathBuf> {
        (0..).map(|version| self.version_file(version)).take_while(|path| path.is_file()).last()
    }

    /// Removes incomplete files and folders that a killed process left behind.
    pub fn remove_partial_files(&self) {
        let paths_in = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let tables =
            paths_in(&self.path).filter(|path| path.is_dir()).flat_map(|dir| paths_in(&dir).collect::<Vec<_>>());
        for path in paths_in(&self.path).chain(tables).collect::<Vec<_>>() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if is_partial_name(&name) || name.starts_with('.') && name.ends_with(".old") {
                let _ = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            }
        }
    }

    pub fn resume_journal(&self) -> PathBuf {
        self.path.join(".resume.json")
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the run's id, which is the folder's name.
    pub fn id(&self) -> String {
        // Resolve `.` and `..` to real names.
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The config of the run. Saving this file changes the run.
    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// A copy of the config file as the program last read or wrote it.
    pub fn known_config_file(&self) -> PathBuf {
        self.path.join(".config.known")
    }

    pub fn version_file(&self, version: u64) -> PathBuf {
        self.path.join(VERSIONS).join(format!("config-{version:04}.toml"))
    }

    pub fn changes_file(&self) -> PathBuf {
        self.path.join("changes.jsonl")
    }

    /// The recorded changes that are still to be replayed.
    pub fn replay_file(&self) -> PathBuf {
        self.path.join("replay.jsonl")
    }

    pub fn log_file(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    pub fn run_info_file(&self) -> PathBuf {
        self.path.join("run.json")
    }

    pub fn status_file(&self) -> PathBuf {
        self.path.join("status.json")
    }

    pub fn checkpoint_folder(&self, step: u64) -> PathBuf {
        self.path.join(format!("step-{step:06}"))
    }

    /// Returns the steps of the existing checkpoints, ascending.
    pub fn checkpoint_steps(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut steps: Vec<u64> =
            entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok()).collect();
        steps.sort_unstable();
        steps
    }

    /// Moves a checkpoint that is damaged or no longer in the run's history to `aside/`. Returns its new path.
    pub fn quarantine(&self, step: u64) -> Result<PathBuf, RecordError> {
        self.move_aside(&format!("step-{step:06}"))
    }

    /// Moves the folder `name` of the run to `aside/`, under a free name, and returns its new path.
    pub fn move_aside(&self, name: &str) -> Result<PathBuf, RecordError> {
        let (from, quarantine) = (self.path.join(name), self.path.join("aside"));
        std::fs::create_dir_all(&quarantine).map_err(RecordError::io("create", &quarantine))?;
        let (mut to, mut taken) = (quarantine.join(name), 1);
        while to.exists() {
            taken += 1;
            to = quarantine.join(format!("{name}-{taken}"));
        }
        std::fs::rename(&from, &to).map_err(RecordError::io("rename", &from))?;
        sync_folder(&self.path);
        Ok(to)
    }

    /// Locks the run until the lock is dropped or the process ends. Fails if another process holds it.
    pub fn lock(&self) -> Result<RunLock, RecordError> {
        let path = self.path.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(RecordError::io("open", &path))?;
        // `is_locked` in another process holds a shared lock for a moment.
        let mut locked = file.try_lock();
        for _ in 0..5 {
            if matches!(locked, Err(TryLockError::WouldBlock)) {
                std::thread::sleep(std::time::Duration::from_millis(20));
                locked = file.try_lock();
            }
        }
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = file.read_to_string(&mut owner);
                let path = self.path.display().to_string();
                return Err(RecordError::Locked { path, owner: owner.trim().to_owned() });
            }
            Err(TryLockError::Error(cause)) => return Err(RecordError::io("lock", &path)(cause)),
        }
        let owner = format!("process {} since {}\n", std::process::id(), chrono::Local::now().format("%F %T"));
        file.set_len(0).and_then(|()| file.write_all(owner.as_bytes())).map_err(RecordError::io("write", &path))?;
        Ok(RunLock { _file: file })
    }

    pub fn is_locked(&self) -> bool {
        let open = OpenOptions::new().read(true).write(true).open(self.path.join("lock"));
        open.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

/// The lock of a run folder, held by this process until dropped.
pub struct RunLock {
    _file: File,
}

const VERSIONS: &str = "versions";

/// Reads `file` as JSON. Returns `None` if it does not exist or does not hold a `T`.
pub fn read_json<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(dir: &Path) -> RunFolder {
        RunFolder::create(dir, "x", chrono::Local::now()).unwrap()
    }

    #[test]
    fn runs_of_the_same_second_do_not_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let now = chrono::Local::now();
        let a = RunFolder::create(dir.path(), "x", now).unwrap();
        let b = RunFolder::create(dir.path(), "x", now).unwrap();
        assert!(a.id().ends_with("-x") && b.id().ends_with("-x-2"));
    }

    #[test]
    fn one_process_has_a_run_and_its_end_frees_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = run(dir.path());
        assert!(!folder.is_locked());
        // The lock file of a killed process.
        std::fs::write(folder.path().join("lock"), "process 1 since long ago and much longer than the next\n").unwrap();
        let lock = folder.lock().unwrap();
        let error = folder.lock().err().unwrap().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())) && !error.contains("long ago"), "{error}");
        assert!(folder.is_locked());
        drop(lock);
        assert!(!folder.is_locked() && folder.lock().is_ok());
    }

    #[test]
    fn checkpoints_are_found_and_quarantined() {
        let dir = tempfile::tempdir().unwrap();
        let folder = run(dir.path());
        for step in [30, 4, 1_000_000] {
            std::fs::create_dir(folder.checkpoint_folder(step)).unwrap();
        }
        std::fs::create_dir(folder.path().join(".step-000005.partial")).unwrap();
        assert_eq!(folder.checkpoint_steps(), [4, 30, 1_000_000]);
        folder.quarantine(30).unwrap();
        std::fs::create_dir(folder.checkpoint_folder(30)).unwrap();
        assert!(folder.quarantine(30).unwrap().ends_with("step-000030-2"));
        assert_eq!(folder.checkpoint_steps(), [4, 1_000_000]);
    }
}
