//! Owns: the reading of files that this program did not write: regular files only, bounded sizes, names for common
//! mistakes (a Git LFS pointer, a web page), and the guard that turns a panic of a library into an error.
//! Must not know: any format that the program reads.
//! Invariant: nothing here blocks on a pipe or a device, and no panic inside [`catch_panic`] is printed.

use super::FileError;
use std::cell::Cell;
use std::fs::File;
use std::io::{Error, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Once;

/// Bytes of a file's start that [`mistaken_kind`] needs.
pub const HEAD_BYTES: usize = 512;

/// Opens a regular file for reading. Follows links. A pipe, device, socket or folder is an error, and is not waited for.
pub fn open_regular(path: &Path) -> Result<File, FileError> {
    let fail = FileError::wrap("open", path);
    let file = match open_without_waiting(path) {
        Ok(file) => file,
        Err(cause) => return Err(fail(cause)),
    };
    match file.metadata() {
        Ok(metadata) if metadata.is_file() => Ok(file),
        Ok(metadata) => {
            let found = if metadata.is_dir() { "a folder" } else { "a pipe, socket or device" };
            Err(fail(Error::new(ErrorKind::InvalidInput, format!("{found}; allowed: a regular file"))))
        }
        Err(cause) => Err(fail(cause)),
    }
}

#[cfg(unix)]
fn open_without_waiting(path: &Path) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(File::from(open(path, flags, Mode::empty())?))
}

#[cfg(not(unix))]
fn open_without_waiting(path: &Path) -> std::io::Result<File> {
    File::open(path)
}

/// Reads a regular file of at most `limit` bytes.
pub fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(FileError::wrap("read", path))?;
    if bytes.len() as u64 > limit {
        let found = format!("more than {limit} bytes; allowed: at most {limit} bytes");
        return Err(FileError::wrap("read", path)(Error::new(ErrorKind::InvalidData, found)));
    }
    Ok(bytes)
}

/// Reads a regular text file of at most `limit` bytes, without its byte order mark. Text that is not UTF-8 is an error.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    let text = String::from_utf8(read_regular(path, limit)?);
    let invalid = |error: std::string::FromUtf8Error| {
        let found = format!("not UTF-8 text: byte {}", error.utf8_error().valid_up_to());
        FileError::wrap("read", path)(Error::new(ErrorKind::InvalidData, found))
    };
    let text = text.map_err(invalid)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// Says what a file is that is often mistaken for data or weights, from its first bytes (at least [`HEAD_BYTES`], if
/// the file has as many), and what to do about it.
pub fn mistaken_kind(head: &[u8]) -> Option<&'static str> {
    let text = head.trim_ascii_start();
    let starts = |prefix: &[u8]| text.len() >= prefix.len() && text[..prefix.len()].eq_ignore_ascii_case(prefix);
    match () {
        () if starts(b"version https://git-lfs") => {
            Some("a Git LFS pointer, not the file itself: fetch it with `git lfs pull`")
        }
        () if starts(b"<!doctype html") || starts(b"<html") => {
            Some("a web page, not the file itself: the download was answered with HTML (a login or error page)")
        }
        () if starts(b"<?xml") => Some("an XML document, not the file itself: a download was answered with an error"),
        () if head.starts_with(b"\x1f\x8b") => Some("compressed with gzip"),
        () if head.starts_with(b"\x28\xb5\x2f\xfd") => Some("compressed with zstd"),
        () if head.starts_with(b"PK\x03\x04") => Some("a zip archive (as PyTorch writes .bin and .pt files)"),
        () if head.starts_with(b"PARE") => {
            Some("a Parquet file with an encrypted footer, which this program cannot read")
        }
        _ => None,
    }
}

/// Reads the start of a regular file and returns its [`mistaken_kind`]; none if the file cannot be read either.
pub fn mistaken_kind_of_file(path: &Path) -> Option<&'static str> {
    let mut head = Vec::new();
    open_regular(path).ok()?.take(HEAD_BYTES as u64).read_to_end(&mut head).ok()?;
    mistaken_kind(&head)
}

thread_local! {
    /// Number of [`catch_panic`] calls that this thread is in.
    static GUARDS: Cell<usize> = const { Cell::new(0) };
}

/// Calls `read`, in which a library parses foreign bytes. A panic is not printed; its message is the error.
///
/// Only panics of the calling thread are caught. A failed allocation is no panic: check sizes before.
pub fn catch_panic<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    silence_guarded_panics();
    GUARDS.set(GUARDS.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(read));
    GUARDS.set(GUARDS.get() - 1);
    result.map_err(|panic| match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "without a message".to_owned(),
    })
}

/// Makes the panic hook silent for panics inside [`catch_panic`].
fn silence_guarded_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !is_guarded() {
                previous(info);
            }
        }));
    });
}

/// Whether the calling thread is inside [`catch_panic`]. A panic hook that is installed later asks this, too.
pub fn is_guarded() -> bool {
    GUARDS.get() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(catch_panic(|| panic!("row {}", 7)), Err::<(), _>("row 7".to_owned()));
        assert_eq!(catch_panic(|| 7), Ok(7));
        assert!(!is_guarded());
    }

    #[test]
    fn only_regular_files_of_bounded_size_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        std::fs::write(&file, "\u{feff}abc").unwrap();
        assert_eq!(read_text(&file, 6).unwrap(), "abc");
        assert!(read_regular(&file, 5).unwrap_err().to_string().contains("at most 5 bytes"));
        assert!(open_regular(dir.path()).unwrap_err().to_string().contains("a folder"));
        #[cfg(unix)]
        {
            let pipe = dir.path().join("pipe");
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &pipe,
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o600),
                0,
            )
            .unwrap();
            assert!(open_regular(&pipe).unwrap_err().to_string().contains("pipe"));
        }
    }

    #[test]
    fn common_mistakes_have_names() {
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
        assert!(mistaken_kind(lfs).unwrap().contains("git lfs pull"));
        assert!(mistaken_kind(b"\n<!DOCTYPE html><html>").unwrap().contains("web page"));
        assert_eq!(mistaken_kind(b"PAR1"), None);
        assert_eq!(mistaken_kind(b""), None);
    }
}
