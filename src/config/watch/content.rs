//! Owns: reading a watched file, and telling without reading whether it is the same.
//! Must not know: what was known of the file, when it is read.
//! Invariant: reading never waits for a writer and never takes more than `MOST_BYTES`.

use std::fs::Metadata;
use std::io::{Error, ErrorKind, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Largest file that is read: a config is far below.
pub(super) const MOST_BYTES: u64 = 1 << 20;
/// A file that was written so recently may be written again without a new stamp: clocks of file systems are coarse.
const COARSE: Duration = Duration::from_secs(2);

/// What a file was found to hold.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    Text(String),
    Missing,
    Unreadable(ErrorKind, String),
}

impl Content {
    /// The text, or why there is none.
    pub(super) fn into_text(self) -> Result<String, Error> {
        match self {
            Content::Text(text) => Ok(text),
            Content::Missing => Err(Error::new(ErrorKind::NotFound, "the file is gone")),
            Content::Unreadable(kind, message) => Err(Error::new(kind, message)),
        }
    }

    fn no_text(message: impl Into<String>) -> Self {
        Content::Unreadable(ErrorKind::InvalidData, message.into())
    }
}

/// By what a change is noticed without reading.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stamp(Option<About>);

#[derive(Clone, Debug, PartialEq)]
struct About {
    modified: Option<SystemTime>,
    bytes: u64,
    /// Which file it is (another one may have been put in its place), and when anything about it changed.
    identity: [i64; 4],
}

impl Stamp {
    fn of(about: &Metadata) -> Self {
        Self(Some(About { modified: about.modified().ok(), bytes: about.len(), identity: identity(about) }))
    }

    /// When the content was written.
    pub(super) fn modified(&self) -> Option<SystemTime> {
        self.0.as_ref()?.modified
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        self.modified().is_some_and(|at| now.duration_since(at).is_ok_and(|age| age > COARSE))
    }
}

#[cfg(unix)]
fn identity(about: &Metadata) -> [i64; 4] {
    use std::os::unix::fs::MetadataExt;
    [about.dev().cast_signed(), about.ino().cast_signed(), about.ctime(), about.ctime_nsec()]
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> [i64; 4] {
    [0; 4]
}

/// A file as it was found.
pub(super) struct Found {
    pub(super) content: Content,
    /// From before it was read, so that a change meanwhile is noticed the next time.
    pub(super) stamp: Stamp,
    /// Whether the same stamp later means the same content.
    pub(super) is_settled: bool,
}

/// The file's stamp as it is now.
pub(super) fn stamp(path: &Path) -> Stamp {
    std::fs::metadata(path).map_or(Stamp(None), |about| Stamp::of(&about))
}

/// Reads the file.
pub(super) fn find(path: &Path) -> Found {
    let now = SystemTime::now();
    match std::fs::metadata(path) {
        Ok(about) => {
            let stamp = Stamp::of(&about);
            Found { content: read(path, &about), is_settled: stamp.is_settled(now), stamp }
        }
        Err(error) => Found { content: failed(&error), is_settled: false, stamp: Stamp(None) },
    }
}

fn read(path: &Path, about: &Metadata) -> Content {
    // To open a pipe would wait for somebody who writes into it.
    if !about.is_file() {
        return Content::no_text("it is not a file");
    }
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that there is more, even while the file grows.
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => failed(&error),
        Ok(_) if bytes.len() as u64 > MOST_BYTES => {
            Content::no_text(format!("it is larger than {MOST_BYTES} bytes"))
        }
        Ok(_) => String::from_utf8(bytes)
            .map_or_else(|error| Content::no_text(format!("it is no text: {error}")), Content::Text),
    }
}

fn failed(error: &Error) -> Content {
    match error.kind() {
        // A folder on the way may be replaced by a file for a moment, too.
        ErrorKind::NotFound | ErrorKind::NotADirectory => Content::Missing,
        kind => Content::Unreadable(kind, error.to_string()),
    }
}
