//! Owns: the layout of a run folder, its lock, and how its files come into being.
//! Must not know: what stands in the files.
//! Invariant: a folder or file that has its final name is complete, and outlives a power cut.

use super::RecordError;
use super::parts::sync_folder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// A run's folder, `<run.dir>/<date-time>-<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder of a new run that starts now. Another run of the same second gets a number.
    pub fn create(dir: &Path, name: &str, now: chrono::DateTime<chrono::Local>) -> Result<Self, RecordError> {
        std::fs::create_dir_all(dir).map_err(RecordError::io("make", dir))?;
        let base = format!("{}-{name}", now.format("%Y%m%d-%H%M%S"));
        let (mut path, mut taken) = (dir.join(&base), 1);
        while let Err(error) = std::fs::create_dir(&path) {
            if error.kind() != std::io::ErrorKind::AlreadyExists {
                return Err(RecordError::io("make", &path)(error));
            }
            taken += 1;
            path = dir.join(format!("{base}-{taken}"));
        }
        let versions = path.join(VERSIONS);
        std::fs::create_dir(&versions).map_err(RecordError::io("make", &versions))?;
        Ok(Self { path })
    }

    /// The folder of a run that has been.
    pub fn open(path: &Path) -> Result<Self, RecordError> {
        let no_run =
            |reason: &str| RecordError::NoRun { path: path.display().to_string(), reason: reason.into() };
        if !path.is_dir() {
            return Err(no_run("it is not there"));
        }
        let folder = Self { path: path.to_owned() };
        match folder.is_run() {
            true => Ok(folder),
            false => Err(no_run("it has no config.toml and no versions of one")),
        }
    }

    /// Whether it is one: a run whose config file was taken away still is.
    fn is_run(&self) -> bool {
        self.config().is_file() || self.version(0).is_file()
    }

    /// The file of the newest version.
    pub fn newest_version(&self) -> Option<PathBuf> {
        (0..).map(|version| self.version(version)).take_while(|path| path.is_file()).last()
    }

    /// Takes away what a killed process had not finished.
    pub fn sweep(&self) {
        let within =
            |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let tables =
            within(&self.path).filter(|path| path.is_dir()).flat_map(|dir| within(&dir).collect::<Vec<_>>());
        for path in within(&self.path).chain(tables).collect::<Vec<_>>() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') && (name.ends_with(".partial") || name.ends_with(".old")) {
                let _ =
                    if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            }
        }
    }

    /// What a resume that was interrupted had in mind.
    pub fn intent(&self) -> PathBuf {
        self.path.join(".resume.json")
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its last name: the run's id.
    pub fn id(&self) -> String {
        // `.` and `..` have names, too.
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The config file: saving it changes the run.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// What the config file held when the program last read or wrote it.
    pub fn known_config(&self) -> PathBuf {
        self.path.join(".config.known")
    }

    /// The config in force at `version`, whole.
    pub fn version(&self, version: u64) -> PathBuf {
        self.path.join(VERSIONS).join(format!("config-{version:04}.toml"))
    }

    /// The record of changes.
    pub fn changes(&self) -> PathBuf {
        self.path.join("changes.jsonl")
    }

    /// Recorded changes that are to be done again.
    pub fn replay(&self) -> PathBuf {
        self.path.join("replay.jsonl")
    }

    /// The log, as text.
    pub fn log(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    /// What is fixed for the run.
    pub fn about(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// How it last ended, or that it goes on.
    pub fn status(&self) -> PathBuf {
        self.path.join("status.json")
    }

    /// Where the checkpoint of `step` stands.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.path.join(format!("step-{step:06}"))
    }

    /// Steps of the checkpoints that are there, ascending.
    pub fn checkpoints(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten().flatten();
        let mut steps: Vec<u64> = entries
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok())
            .collect();
        steps.sort_unstable();
        steps
    }

    /// Puts a checkpoint aside, to `aside/step-…`: it belongs to a past that is no longer the run's, or is damaged.
    pub fn put_aside(&self, step: u64) -> Result<PathBuf, RecordError> {
        let (from, aside) = (self.checkpoint(step), self.path.join("aside"));
        std::fs::create_dir_all(&aside).map_err(RecordError::io("make", &aside))?;
        let (mut to, mut taken) = (aside.join(format!("step-{step:06}")), 1);
        while to.exists() {
            taken += 1;
            to = aside.join(format!("step-{step:06}-{taken}"));
        }
        std::fs::rename(&from, &to).map_err(RecordError::io("rename", &from))?;
        sync_folder(&self.path);
        Ok(to)
    }

    /// Takes the run for this process until the lock is dropped. The lock of a process that is gone is none.
    pub fn lock(&self) -> Result<Lock, RecordError> {
        let path = self.path.join("lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(RecordError::io("open", &path))?;
        // Whoever asks whether it is locked has it for a moment.
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
        let owner =
            format!("process {} since {}\n", std::process::id(), chrono::Local::now().format("%F %T"));
        file.set_len(0)
            .and_then(|()| file.write_all(owner.as_bytes()))
            .map_err(RecordError::io("write", &path))?;
        Ok(Lock { _file: file })
    }

    /// Whether a process has it now.
    pub fn is_locked(&self) -> bool {
        let open = OpenOptions::new().read(true).write(true).open(self.path.join("lock"));
        open.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

/// A run folder taken by this process.
pub struct Lock {
    _file: File,
}

const VERSIONS: &str = "versions";

/// Puts `bytes` in the place of `file`: whoever reads it sees the old or the new, whole. Links are followed.
pub fn replace(file: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    replace_if(file, bytes, || true).map(|_| ())
}

/// As [`replace`], if `still` holds at the last moment; whether it did.
pub fn replace_if(file: &Path, bytes: &[u8], still: impl FnOnce() -> bool) -> Result<bool, RecordError> {
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let hidden = file.with_file_name(format!(".{name}.{}.partial", std::process::id()));
    let written = write_synced(&hidden, bytes);
    if written.is_ok() && still() {
        std::fs::rename(&hidden, &file).map_err(RecordError::io("rename", &hidden))?;
        file.parent().into_iter().for_each(sync_folder);
        return Ok(true);
    }
    let _ = std::fs::remove_file(&hidden);
    written.map(|()| false)
}

/// Puts `value`, as JSON for people, in the place of `file`.
pub fn replace_json(file: &Path, value: &impl Serialize) -> Result<(), RecordError> {
    let json = serde_json::to_string_pretty(value).map_err(|error| RecordError::table(file, &error))?;
    replace(file, (json + "\n").as_bytes())
}

/// What `file` holds as JSON; none where it is not there, or holds something else.
pub fn read_json<T: DeserializeOwned>(file: &Path) -> Option<T> {
    serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
}

/// Writes `bytes` to `file` so that they outlive a power cut.
pub fn write_synced(file: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    let write = || {
        let mut file = File::create(file)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(RecordError::io("write", file))
}

/// Makes the folder `path` by letting `fill` fill a hidden one beside it, whose files are then made safe, and which then
/// takes its name. What `fill` leaves behind when it fails is removed.
pub fn whole_folder<E>(
    path: &Path,
    wrap: impl Fn(RecordError) -> E,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let hidden = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => parent.join(format!(".{}.partial", name.to_string_lossy())),
        _ => path.with_extension("partial"),
    };
    if hidden.exists() {
        std::fs::remove_dir_all(&hidden).map_err(|error| wrap(RecordError::io("remove", &hidden)(error)))?;
    }
    std::fs::create_dir(&hidden).map_err(|error| wrap(RecordError::io("make", &hidden)(error)))?;
    let filled = fill(&hidden).and_then(|()| {
        sync_all(&hidden).map_err(&wrap)?;
        std::fs::rename(&hidden, path).map_err(|error| wrap(RecordError::io("rename", &hidden)(error)))
    });
    match filled {
        Ok(()) => path.parent().into_iter().for_each(sync_folder),
        // The first error is the one to tell; what cannot be removed stays hidden and is replaced next time.
        Err(_) => drop(std::fs::remove_dir_all(&hidden)),
    }
    filled
}

fn sync_all(dir: &Path) -> Result<(), RecordError> {
    let entries = std::fs::read_dir(dir).map_err(RecordError::io("read", dir))?;
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()) {
        let synced = OpenOptions::new().write(true).open(&path).and_then(|file| file.sync_all());
        synced.map_err(RecordError::io("write", &path))?;
    }
    sync_folder(dir);
    Ok(())
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
    fn a_folder_that_cannot_be_filled_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("step-000001");
        let fail = |dir: &Path| {
            std::fs::write(dir.join("half"), "x").unwrap();
            Err(RecordError::table(dir, "full"))
        };
        assert!(whole_folder(&path, |error| error, fail).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        whole_folder(&path, |error: RecordError| error, |_| Ok(())).unwrap();
        assert!(path.is_dir());
    }

    #[test]
    fn one_process_has_a_run_and_its_end_frees_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = run(dir.path());
        assert!(!folder.is_locked());
        // What a process that was killed leaves behind.
        std::fs::write(
            folder.path().join("lock"),
            "process 1 since long ago and much longer than the next\n",
        )
        .unwrap();
        let lock = folder.lock().unwrap();
        let said = folder.lock().err().unwrap().to_string();
        assert!(
            said.contains(&format!("process {}", std::process::id())) && !said.contains("long ago"),
            "{said}"
        );
        assert!(folder.is_locked());
        drop(lock);
        assert!(!folder.is_locked() && folder.lock().is_ok());
    }

    #[test]
    fn what_is_replaced_is_whole_and_links_stay_links() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        replace(&file, b"one").unwrap();
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&file, &link).unwrap();
            replace(&link, b"two").unwrap();
            assert!(link.is_symlink());
            assert_eq!(std::fs::read(&file).unwrap(), b"two");
        }
        assert!(replace(&dir.path().join("no/where"), b"x").is_err());
    }

    #[test]
    fn checkpoints_are_found_and_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let folder = run(dir.path());
        for step in [30, 4, 1_000_000] {
            std::fs::create_dir(folder.checkpoint(step)).unwrap();
        }
        std::fs::create_dir(folder.path().join(".step-000005.partial")).unwrap();
        assert_eq!(folder.checkpoints(), [4, 30, 1_000_000]);
        folder.put_aside(30).unwrap();
        std::fs::create_dir(folder.checkpoint(30)).unwrap();
        assert!(folder.put_aside(30).unwrap().ends_with("step-000030-2"));
        assert_eq!(folder.checkpoints(), [4, 1_000_000]);
    }
}
