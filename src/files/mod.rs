//! Owns: files: [`atomic`] replacement of files and folders, [`parquet`] writing and [checks](parquet_check), reading of [`foreign`] files.
//! Must not know: what a file contains.
//! Invariant: a file or folder that has its final name is complete. It survives a power cut, unless the caller chose
//! the unsynced write.

pub mod atomic;
pub mod foreign;
pub mod parquet;
pub mod parquet_check;
mod parquet_page;
mod thrift;

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

/// A file operation that failed. The cause is part of the message, so that an error chain shows it once.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {cause}", path.display())]
pub struct FileError {
    /// A verb that completes "cannot …".
    pub action: &'static str,
    pub path: PathBuf,
    pub cause: Error,
}

impl FileError {
    /// Returns a function that wraps an error of the operating system.
    pub fn wrap(action: &'static str, path: &Path) -> impl FnOnce(Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self { action, path, cause }
    }

    /// Returns whether the disk is full. Writing can then be tried again later.
    pub fn is_disk_full(&self) -> bool {
        means_disk_full(self.cause.kind())
    }
}

/// Returns whether an error of this kind means that the disk or the quota is full.
pub fn means_disk_full(kind: ErrorKind) -> bool {
    // A limit on the size of a file (`ulimit -f`) is as good as a full disk.
    [ErrorKind::StorageFull, ErrorKind::QuotaExceeded, ErrorKind::FileTooLarge].contains(&kind)
}
