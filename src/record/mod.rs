//! Owns: what a run writes to disk: its folder, the registry of columns, crash-safe tables, the log.
//! Must not know: tensors, terminals, how a metric is computed.
//! Invariant: other processes can read the record while the run continues.
//!
//! - [`registry`]: names, units and descriptions of columns; [`rows`]: the rows of every table
//! - [`frames`]: the write-ahead log (WAL); [`parts`]: Parquet segments; [`table`]: both, for one table
//! - [`recorder`]: the thread that writes all tables; [`system`]: CPU, memory, disk and GPU use
//! - [`folder`]: the run folder, its lock and its small files; [`status`]: the run's status
//! - [`changes`]: the record of config changes; [`log`]: `log.txt`

pub mod changes;
pub mod export;
pub mod log;
pub mod reader;
pub mod recorder;
pub mod rows;
pub mod run_folder;
pub mod segments;
pub mod status;
pub mod system;
pub mod table;
pub mod wal;

use std::io::ErrorKind;
use std::path::Path;

/// Why something could not be recorded or read back.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot {action} {path}: {cause}")]
    Io { action: &'static str, path: String, cause: std::io::Error },
    #[error("{path}: {message}")]
    Table { path: String, message: String },
    #[error("{path}: another process holds this run ({owner}); follow it with `coconut-lab watch`")]
    Locked { path: String, owner: String },
    #[error("{path}: not a run folder: {reason}")]
    NoRun { path: String, reason: String },
}

impl RecordError {
    pub(crate) fn io(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> RecordError + use<> {
        let path = path.display().to_string();
        move |cause| RecordError::Io { action, path, cause }
    }

    pub(crate) fn table(path: &Path, message: &(impl std::fmt::Display + ?Sized)) -> Self {
        Self::Table { path: path.display().to_string(), message: message.to_string() }
    }

    /// Returns whether the disk is full. Writing can then be tried again later.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, RecordError::Io { cause, .. } if means_disk_full(cause.kind()))
    }
}

/// Returns whether an I/O error of this kind means that the disk or the quota is full.
pub fn means_disk_full(kind: ErrorKind) -> bool {
    [ErrorKind::StorageFull, ErrorKind::QuotaExceeded].contains(&kind)
}
