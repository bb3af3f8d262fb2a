//! Owns: the layout of a run folder and how its files come into being.
//! Must not know: what stands in the files.
//! Invariant: a folder or file that has its final name is complete.

use super::RecordError;
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
        let names = std::iter::once(base.clone()).chain((2..).map(|n| format!("{base}-{n}")));
        for name in names {
            let path = dir.join(name);
            match std::fs::create_dir(&path) {
                Ok(()) => {
                    let metrics = path.join("metrics");
                    std::fs::create_dir(&metrics).map_err(RecordError::io("make", &metrics))?;
                    return Ok(Self { path });
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(RecordError::io("make", &path)(source)),
            }
        }
        unreachable!("the names do not end")
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its last name: the run's id.
    pub fn id(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// Where metrics parts stand.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics")
    }

    /// The log, as text.
    pub fn log(&self) -> PathBuf {
        self.path.join("log.txt")
    }

    /// Where the checkpoint of `step` stands.
    pub fn checkpoint(&self, step: u64) -> PathBuf {
        self.path.join(format!("step-{step:06}"))
    }

    /// Writes the config as run.
    pub fn write_config(&self, toml: &str) -> Result<(), RecordError> {
        let path = self.path.join("config.toml");
        std::fs::write(&path, toml).map_err(RecordError::io("write", &path))
    }
}

/// Makes the folder `path` by letting `fill` fill a hidden one beside it, which then takes its name.
/// What `fill` leaves behind when it fails is removed.
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
        std::fs::rename(&hidden, path).map_err(|error| wrap(RecordError::io("rename", &hidden)(error)))
    });
    if filled.is_err() {
        // The first error is the one to tell; what cannot be removed stays hidden and is replaced next time.
        let _ = std::fs::remove_dir_all(&hidden);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_the_same_second_do_not_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let now = chrono::Local::now();
        let a = RunFolder::create(dir.path(), "x", now).unwrap();
        let b = RunFolder::create(dir.path(), "x", now).unwrap();
        assert!(a.id().ends_with("-x") && b.id().ends_with("-x-2"));
        assert!(a.metrics().is_dir() && b.metrics().is_dir());
    }

    #[test]
    fn a_folder_that_cannot_be_filled_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("step-000001");
        let fail = |dir: &Path| {
            std::fs::write(dir.join("half"), "x").unwrap();
            Err(RecordError::Metrics { path: String::new(), message: "full".into() })
        };
        assert!(whole_folder(&path, |error| error, fail).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        whole_folder(&path, |error: RecordError| error, |_| Ok(())).unwrap();
        assert!(path.is_dir());
    }
}
