//! Owns: the layout of a run folder, and its lock.
//! Must not know: what the files contain.
//! Invariant: a folder or file that has its final name is complete and survives a power cut.

use super::RecordError;
use super::labels::find_renamed;
use crate::files::atomic::{is_partial_name, sync_folder};
use crate::files::foreign::read_text;
use crate::schema::protocol::BestCheckpoint;
use serde::de::DeserializeOwned;
use std::fs::{DirEntry, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
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
        let begun = path.join(BEGUN);
        let time = now.to_utc().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
        std::fs::write(&begun, time + "\n").map_err(RecordError::io("write", &begun))?;
        Ok(Self { path })
    }

    /// Opens the folder of an existing run, or that of the run which had this path before it was renamed. Fails if
    /// `path` is not a run folder.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let no_run = |reason: &str| RecordError::NoRun { path: path.display().to_string(), reason: reason.into() };
        let renamed = if path.is_dir() { None } else { find_renamed(path) };
        let path = renamed.as_deref().unwrap_or(path);
        if !path.is_dir() {
            return Err(no_run("it does not exist"));
        }
        if is_deleted_name(path) {
            return Err(no_run("it is what is left of a deleted run"));
        }
        let folder = Self { path: path.to_owned() };
        if !folder.is_run() {
            return Err(no_run("it has neither config.toml nor versions/config-0000.toml"));
        }
        folder.refuse_links()?;
        Ok(folder)
    }

    /// Returns whether `path` is a run folder, even one that [`open`](Self::open) refuses.
    pub fn exists(path: &Path) -> bool {
        path.is_dir() && !is_deleted_name(path) && Self { path: path.to_owned() }.is_run()
    }

    /// Fails if the folder, or a folder in it, holds a link, a pipe or a device. A run has none, so another hand made
    /// it; the program would read, write or delete elsewhere, or wait for ever.
    fn refuse_links(&self) -> Result<(), RecordError> {
        let mut folders = vec![(self.path.clone(), 0)];
        while let Some((dir, depth)) = folders.pop() {
            for entry in std::fs::read_dir(&dir).map_err(RecordError::io("read", &dir))? {
                let entry = entry.map_err(RecordError::io("read", &dir))?;
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() && depth == 0 {
                    folders.push((entry.path(), 1));
                } else if !kind.is_dir() && !kind.is_file() {
                    let found = if kind.is_symlink() { "a link" } else { "a pipe, socket or device" };
                    let name = entry.path().strip_prefix(&self.path).map(Path::to_owned).unwrap_or_default();
                    let name = name.display();
                    return Err(RecordError::UnsafeEntry {
                        path: self.path.display().to_string(),
                        message: format!("`{name}` is {found}; a run folder holds regular files and folders alone"),
                    });
                }
            }
        }
        Ok(())
    }

    /// Returns when the run began. A folder of an older version says it in its name alone, in local time.
    pub fn begun_at(path: &Path) -> Option<chrono::DateTime<chrono::Utc>> {
        if let Ok(text) = read_text(&path.join(BEGUN), 64) {
            return text.trim().parse().ok();
        }
        let name = path.file_name()?.to_str()?;
        let named = chrono::NaiveDateTime::parse_from_str(name.get(..15)?, "%Y%m%d-%H%M%S").ok()?;
        Some(named.and_local_timezone(chrono::Local).earliest()?.to_utc())
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
        let entries_in = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
        // The type of an entry is that of a link itself, not of what it leads to.
        let is_dir = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        let tables = entries_in(&self.path).filter(is_dir).flat_map(|dir| entries_in(&dir.path()));
        for entry in entries_in(&self.path).chain(tables).collect::<Vec<_>>() {
            let (name, path) = (entry.file_name(), entry.path());
            let name = name.to_string_lossy();
            if is_partial_name(&name) || name.starts_with('.') && name.ends_with(".old") {
                let _ = if is_dir(&entry) { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
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

    /// The folder in which other processes leave requests to the trainer.
    pub fn requests_dir(&self) -> PathBuf {
        self.path.join("requests")
    }

    pub fn checkpoint_folder(&self, step: u64) -> PathBuf {
        self.path.join(Self::checkpoint_name(step))
    }

    /// Returns the name of a checkpoint's folder.
    pub fn checkpoint_name(step: u64) -> String {
        format!("step-{step:06}")
    }

    /// Returns the steps of the existing checkpoints, ascending. None if the folder cannot be read: where that would
    /// discard rows, call [`read_checkpoint_steps`](Self::read_checkpoint_steps).
    pub fn checkpoint_steps(&self) -> Vec<u64> {
        self.read_checkpoint_steps().unwrap_or_default()
    }

    /// Returns the best checkpoint that the newest one names, if it is there.
    pub fn best_checkpoint(&self) -> Option<BestCheckpoint> {
        #[derive(serde::Deserialize)]
        struct StateWithBest {
            best: Option<BestCheckpoint>,
        }
        let steps = self.checkpoint_steps();
        let state = read_json::<StateWithBest>(&self.checkpoint_folder(*steps.last()?).join("state.json")).ok()??;
        state.best.filter(|best| steps.contains(&best.step))
    }

    /// Reads the steps of the existing checkpoints, ascending.
    pub fn read_checkpoint_steps(&self) -> Result<Vec<u64>, RecordError> {
        let mut steps = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(RecordError::io("read", &self.path))? {
            let name = entry.map_err(RecordError::io("read", &self.path))?.file_name();
            steps.extend(name.to_str().and_then(|name| name.strip_prefix("step-")?.parse::<u64>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Moves a checkpoint that is damaged or no longer in the run's history to `aside/`. Returns its new path.
    pub fn quarantine(&self, step: u64) -> Result<PathBuf, RecordError> {
        self.move_aside(&Self::checkpoint_name(step))
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
        let mut file = open_lock(&path, true).map_err(RecordError::io("open", &path))?;
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
        let open = open_lock(&self.path.join("lock"), false);
        open.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

/// End of the hidden name that a run has while it is deleted.
pub const DELETED_SUFFIX: &str = ".deleted-run";

/// Returns whether `path` is named as a run that is being deleted, or what a killed process has left of one.
pub fn is_deleted_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.ends_with(DELETED_SUFFIX)
}

/// The lock of a run folder, held by this process until dropped.
pub struct RunLock {
    _file: File,
}

const VERSIONS: &str = "versions";
/// Holds the time at which the run began, in UTC.
const BEGUN: &str = ".begun";

/// Opens the lock file. A link is refused: what it leads to would be overwritten.
fn open_lock(path: &Path, create: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(create).truncate(false).read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.custom_flags(flags.bits() as i32);
    }
    options.open(path)
}

/// Bytes of the largest JSON file of a run.
const MAX_JSON_BYTES: u64 = 64 << 20;

/// Reads `file` as JSON; `None` if it does not exist. A file that does not hold a `T` is an error: it is damaged.
pub fn read_json<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, RecordError> {
    let text = match read_text(file, MAX_JSON_BYTES) {
        Err(error) if error.cause.kind() == ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let damaged = |error: serde_json::Error| RecordError::table(file, &format!("damaged: {error}"));
    serde_json::from_str(&text).map(Some).map_err(damaged)
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

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_in_a_run_folder_are_refused_and_not_followed() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (folder, outside) = (run(dir.path()), dir.path().join("outside"));
        std::fs::write(folder.config_file(), "").unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join(".precious.old"), "precious").unwrap();
        assert!(RunFolder::open(folder.path()).is_ok());
        for name in ["lock", "notes", "step-000004", "metrics", "versions/config-0001.toml"] {
            let link = folder.path().join(name);
            symlink(&outside, &link).unwrap();
            let error = RunFolder::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("a link"), "{error}");
            assert!(RunFolder::exists(folder.path()));
            folder.remove_partial_files();
            assert!(outside.join(".precious.old").exists());
            std::fs::remove_file(&link).unwrap();
        }
        symlink(outside.join(".precious.old"), folder.path().join("lock")).unwrap();
        assert!(folder.lock().is_err() && !folder.is_locked());
        assert_eq!(std::fs::read_to_string(outside.join(".precious.old")).unwrap(), "precious");
        std::fs::remove_file(folder.path().join("lock")).unwrap();
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        mknodat(CWD, folder.status_file(), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(RunFolder::open(folder.path()).unwrap_err().to_string().contains("a pipe"));
    }

    #[test]
    fn a_run_knows_when_it_began_whatever_the_time_zone() {
        let dir = tempfile::tempdir().unwrap();
        let now = chrono::Local::now();
        assert_eq!(RunFolder::begun_at(run(dir.path()).path()).map(|at| at >= now.to_utc()), Some(true));
        let old = dir.path().join("20200229-101500-old");
        std::fs::create_dir(&old).unwrap();
        let begun = RunFolder::begun_at(&old).unwrap().with_timezone(&chrono::Local);
        assert_eq!(begun.format("%Y%m%d-%H%M%S").to_string(), "20200229-101500");
        assert_eq!(RunFolder::begun_at(dir.path()), None);
    }

    #[test]
    fn a_damaged_json_file_is_not_an_absent_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.json");
        assert_eq!(read_json::<u64>(&file).unwrap(), None);
        std::fs::write(&file, "7").unwrap();
        assert_eq!(read_json::<u64>(&file).unwrap(), Some(7));
        std::fs::write(&file, "{").unwrap();
        assert!(read_json::<u64>(&file).unwrap_err().to_string().contains("a.json: damaged"));
    }
}
