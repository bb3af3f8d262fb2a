//! Owns: following config files: saying when their content is another, however an editor saves them.
//! Must not know: what stands in the files, who asks.
//! Invariant: content that is known, or that was written by ourselves, is never reported; half-written content neither.
//!
//! Editors replace files, so folders are watched and not files. An event is but a hint to look: the truth is the content,
//! once it has been the same for a while. A slow poll stands in for file systems that have no events.

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Largest file that is read: a config is far below.
const MOST_BYTES: u64 = 1 << 20;
/// Editors empty a file before they write it: so many times the rest of other content is waited for.
const EMPTY_RESTS: u32 = 3;
/// And take it away before they put another in its place.
const MISSING_RESTS: u32 = 5;

/// A file whose content is another than was known.
#[derive(Debug)]
pub struct Saved {
    /// Which of the files.
    pub file: usize,
    /// What it holds, or why that cannot be read.
    pub text: Result<String, Error>,
    /// When it was saved, as far as that is known; never in the future.
    pub at: SystemTime,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long content must have been the same.
    pub debounce: Duration,
    /// Time between two looks without an event.
    pub poll: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { debounce: Duration::from_millis(100), poll: Duration::from_secs(2) }
    }
}

/// What a file was found to hold.
#[derive(Clone, Debug, PartialEq)]
enum Content {
    Text(String),
    Missing,
    Unreadable(ErrorKind, String),
}

/// By what a change is noticed without reading.
type Stamp = Option<(SystemTime, u64, u64)>;

struct File {
    path: PathBuf,
    /// What is known of it.
    known: Content,
    /// What it held before we began to write it ourselves, until what we wrote has been seen.
    before: Option<Content>,
    /// Other content, and since when it has been there.
    rests: Option<(Content, Instant)>,
    stamp: Stamp,
}

#[derive(Default)]
struct Shared {
    files: Vec<File>,
    saved: Vec<Saved>,
}

enum Wake {
    Look,
    Stop,
}

/// Follows files on a thread of its own, which ends with this.
pub struct Watcher {
    shared: Arc<Mutex<Shared>>,
    wake: Sender<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Follows `files`, which hold `texts` as far as is known.
    pub fn start(files: Vec<PathBuf>, texts: Vec<String>, timing: Timing) -> Self {
        Self::with(files, texts, timing, true)
    }

    fn with(files: Vec<PathBuf>, texts: Vec<String>, timing: Timing, events: bool) -> Self {
        let files = files.into_iter().zip(texts).map(|(path, text)| File {
            path,
            known: Content::Text(text),
            before: None,
            rests: None,
            stamp: None,
        });
        let shared = Arc::new(Mutex::new(Shared { files: files.collect(), saved: Vec::new() }));
        let (wake, wakes) = channel();
        let (seen, hint) = (shared.clone(), wake.clone());
        let thread = std::thread::Builder::new().name("config watch".into());
        let thread = thread.spawn(move || {
            let mut folders = Folders { watcher: None, watched: BTreeSet::new() };
            if events {
                // Where there can be no events, the poll has to do.
                folders.watcher = notify::recommended_watcher(move |_| drop(hint.send(Wake::Look))).ok();
            }
            work(&seen, &wakes, timing, &mut folders);
        });
        Self { shared, wake, thread: thread.ok() }
    }

    /// What was saved since it was asked last. Does not wait.
    pub fn take(&self) -> Vec<Saved> {
        std::mem::take(&mut lock(&self.shared).saved)
    }

    /// Looks at the files now, and then as [`Self::take`]. What is empty or missing may be being written, and is left to
    /// the thread.
    pub fn look(&self) -> Vec<Saved> {
        let mut shared = lock(&self.shared);
        for index in 0..shared.files.len() {
            let content = read(&shared.files[index].path);
            let whole = matches!(&content, Content::Text(text) if !text.is_empty());
            if whole && shared.files[index].is_news(&content) {
                shared.report(index, content);
            }
        }
        std::mem::take(&mut shared.saved)
    }

    /// `text` is about to be written into the file by ourselves.
    pub fn own(&self, file: usize, text: &str) {
        let mut shared = lock(&self.shared);
        let file = &mut shared.files[file];
        file.before = Some(std::mem::replace(&mut file.known, Content::Text(text.to_owned())));
        file.rests = None;
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.wake.send(Wake::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folders that are watched for events.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Folders {
    /// Watches the folder of `path` and that of the file which it leads to in the end.
    fn follow(&mut self, path: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        let real = path.canonicalize().ok();
        for folder in [Some(path), real.as_deref()].into_iter().flatten().filter_map(Path::parent) {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            if !self.watched.contains(folder) && watcher.watch(folder, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert(folder.to_owned());
            }
        }
    }
}

fn work(shared: &Mutex<Shared>, wakes: &Receiver<Wake>, timing: Timing, folders: &mut Folders) {
    let mut hinted = true;
    loop {
        let restless = look(shared, timing, hinted, folders);
        let wait = if restless { timing.debounce / 2 } else { timing.poll };
        hinted = match wakes.recv_timeout(wait) {
            Ok(Wake::Look) => true,
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => false,
        };
        // One look does for all hints so far.
        while let Ok(wake) = wakes.try_recv() {
            if matches!(wake, Wake::Stop) {
                return;
            }
        }
    }
}

/// Looks at every file; whether one of them has not come to rest.
fn look(shared: &Mutex<Shared>, timing: Timing, hinted: bool, folders: &mut Folders) -> bool {
    let paths: Vec<PathBuf> = lock(shared).files.iter().map(|file| file.path.clone()).collect();
    for (index, path) in paths.iter().enumerate() {
        folders.follow(path);
        let stamp = stamp(path);
        let same = {
            let file = &lock(shared).files[index];
            !hinted && file.rests.is_none() && file.before.is_none() && file.stamp == stamp
        };
        if same {
            continue;
        }
        // Without the lock: a slow file system must not hold up who asks.
        let content = read(path);
        let mut shared = lock(shared);
        shared.files[index].stamp = stamp;
        shared.found(index, content, timing.debounce);
    }
    lock(shared).files.iter().any(|file| file.rests.is_some())
}

impl Shared {
    fn found(&mut self, index: usize, content: Content, debounce: Duration) {
        let file = &mut self.files[index];
        if !file.is_news(&content) {
            file.rests = None;
            return;
        }
        let rest = match &content {
            Content::Missing => debounce * MISSING_RESTS,
            Content::Text(text) if text.is_empty() => debounce * EMPTY_RESTS,
            _ => debounce,
        };
        match &file.rests {
            Some((rests, since)) if *rests == content => {
                if since.elapsed() >= rest {
                    self.report(index, content);
                }
            }
            _ => file.rests = Some((content, Instant::now())),
        }
    }

    fn report(&mut self, index: usize, content: Content) {
        let file = &mut self.files[index];
        let now = SystemTime::now();
        let at = std::fs::metadata(&file.path).and_then(|about| about.modified()).unwrap_or(now).min(now);
        file.known = content.clone();
        (file.before, file.rests) = (None, None);
        let text = match content {
            Content::Text(text) => Ok(text),
            Content::Missing => Err(Error::new(ErrorKind::NotFound, "it is gone")),
            Content::Unreadable(kind, message) => Err(Error::new(kind, message)),
        };
        self.saved.push(Saved { file: index, text, at });
    }
}

impl File {
    fn is_news(&mut self, content: &Content) -> bool {
        if *content == self.known {
            self.before = None;
            return false;
        }
        self.before.as_ref() != Some(content)
    }
}

fn stamp(path: &Path) -> Stamp {
    let about = std::fs::metadata(path).ok()?;
    // Files that were made together have the same time: which one it is counts, too.
    #[cfg(unix)]
    let file = std::os::unix::fs::MetadataExt::ino(&about);
    #[cfg(not(unix))]
    let file = 0;
    Some((about.modified().ok()?, about.len(), file))
}

fn read(path: &Path) -> Content {
    let unreadable = |error: &Error| Content::Unreadable(error.kind(), error.to_string());
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => Content::Missing,
        Err(error) => unreadable(&error),
        Ok(_) if bytes.len() as u64 > MOST_BYTES => {
            Content::Unreadable(ErrorKind::InvalidData, format!("it is larger than {MOST_BYTES} bytes"))
        }
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => Content::Text(text),
            Err(error) => Content::Unreadable(ErrorKind::InvalidData, format!("it is no text: {error}")),
        },
    }
}

#[cfg(test)]
mod tests;
