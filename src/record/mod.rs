//! Owns: what a run leaves behind: its folder, the registry of columns, the tables and how they survive, the log.
//! Must not know: tensors, terminals, how a metric is computed.
//! Invariant: what is recorded can be read by others while the run goes on.
//!
//! - [`registry`]: names, units, descriptions; [`rows`]: the rows of every table
//! - [`frames`]: the log that survives a killed process; [`parts`]: Parquet; [`table`]: both for one table
//! - [`recorder`]: the thread that writes them all; [`system`]: what the machine does meanwhile
//! - [`folder`]: the run folder, its lock and its small files; [`status`]: how a run stands
//! - [`changes`]: the record of changes; [`log`]: `log.txt`

pub mod changes;
pub mod export;
pub mod filter;
pub mod folder;
pub mod frames;
pub mod log;
pub mod parts;
pub mod recorder;
pub mod registry;
pub mod rows;
pub mod status;
pub mod system;
pub mod table;

use std::io::ErrorKind;
use std::path::Path;

/// Why something could not be recorded, or read again.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot {action} {path}: {cause}")]
    Io { action: &'static str, path: String, cause: std::io::Error },
    #[error("{path}: {message}")]
    Table { path: String, message: String },
    #[error("{path}: another process has this run ({owner}); `coconut-lab watch` looks at it")]
    Locked { path: String, owner: String },
    #[error("{path}: no run folder: {reason}")]
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

    /// Whether there was no room: what has room again is written then.
    pub fn is_full(&self) -> bool {
        matches!(self, RecordError::Io { cause, .. } if no_room(cause.kind()))
    }
}

/// Whether it is a kind of error that room on the disk mends.
pub fn no_room(kind: ErrorKind) -> bool {
    [ErrorKind::StorageFull, ErrorKind::QuotaExceeded].contains(&kind)
}
