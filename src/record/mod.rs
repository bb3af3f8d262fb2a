//! Owns: what a run writes to disk: its folder, crash-safe tables, the log.
//! Must not know: tensors, terminals, how a metric is computed.
//! Invariant: other processes can read the record while the run continues.
//!
//! - [`rows`]: the rows of every table
//! - [`wal`]: the write-ahead log; [`segments`]: Parquet segments; [`table`]: both, for one table
//! - [`recorder`]: the thread that writes all tables; [`system`]: CPU, memory, disk and GPU use
//! - [`run_folder`]: the run folder and its lock; [`status`]: the run's status
//! - [`run_list`]: a run as a row of the list of runs, with [`summary`], its metrics; [`compare`]: two runs
//! - [`curve`]: a metric of a run as a curve
//! - [`labels`]: tags and earlier names of a run; [`manage`]: tagging, renaming and deleting it
//! - [`check`]: whether a run is whole
//! - [`changes`]: the record of config changes; [`log`]: `log.txt`
//! - [`requests`]: what other processes ask of the trainer
//! - [`tensorboard`]: event files for other programs
//! - [`export`]: tables as one file; [`reader`]: a run folder as events

pub mod changes;
pub mod check;
pub mod compare;
pub mod curve;
pub mod export;
pub mod labels;
pub mod log;
pub mod manage;
pub mod reader;
pub mod recorder;
pub mod requests;
pub mod rows;
pub mod run_folder;
pub mod run_list;
pub mod segments;
pub mod status;
pub mod summary;
pub mod system;
pub mod table;
pub mod tensorboard;
pub mod wal;

use crate::files::FileError;
use std::path::Path;

/// Why something could not be recorded or read back.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path}: {message}")]
    Table { path: String, message: String },
    #[error("{path}: another process holds this run ({owner}); follow it with `coconut-lab watch`")]
    Locked { path: String, owner: String },
    #[error("{path}: refused: {message}")]
    UnsafeEntry { path: String, message: String },
    /// A request about a run that cannot be carried out.
    #[error("{path}: {message}")]
    Refused { path: String, message: String },
    #[error("{path}: not a run folder: {reason}")]
    NoRun { path: String, reason: String },
    /// The recorder's thread found the disk full, with its message.
    #[error("cannot record: {0}")]
    DiskFull(String),
}

impl RecordError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> RecordError + use<> {
        let wrap = FileError::wrap(action, path);
        move |cause| RecordError::File(wrap(cause))
    }

    pub(crate) fn table(path: &Path, message: &(impl std::fmt::Display + ?Sized)) -> Self {
        Self::Table { path: path.display().to_string(), message: message.to_string() }
    }

    /// Returns whether the disk is full. Writing can then be tried again later.
    pub fn is_disk_full(&self) -> bool {
        match self {
            RecordError::File(error) => error.is_disk_full(),
            RecordError::DiskFull(_) => true,
            _ => false,
        }
    }
}
