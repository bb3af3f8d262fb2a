//! Owns: watching config files: reporting when their content changes, however an editor saves them.
//! Must not know: what the files mean, who asks.
//! Invariant: known content and our own writes are never reported, nor half-written content; reading never waits for a
//! writer and never takes more than `MAX_BYTES`.
//!
//! Editors replace files, so their folders are watched. An event is only a hint to compare file stamps: our own reading
//! causes events, too. What counts is content that has stayed the same for a while. A slow poll covers missing events.

use notify_debouncer_mini::notify::{RecommendedWatcher, RecursiveMode};
use notify_debouncer_mini::{Debouncer, new_debouncer};
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io::{Error, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Editors empty a file before they write it: an empty file must rest this many times longer than other content.
const EMPTY_RESTS: u32 = 3;
/// Editors remove a file before they put another in its place: a missing file must rest this many times longer.
const MISSING_RESTS: u32 = 5;
/// Largest file that is read. A config is far smaller.
const MAX_BYTES: u64 = 1 << 20;

/// A file whose content has changed.
#[derive(Debug)]
pub struct Saved {
    /// Index of the file.
    pub file: usize,
    /// Its content, or why it cannot be read.
    pub text: Result<String, Error>,
    /// When it was saved, as far as that is known; never in the future.
    pub at: SystemTime,
}

#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long content must have stayed the same.
    pub debounce: Duration,
    /// Time between two reads without an event.
    pub poll: Duration,
    /// Events within this time cause a single read of the files. `None`: no events, polling only.
    pub gather: Option<Duration>,
}

impl Timing {
    pub const DEFAULT: Self = Self {
        debounce: Duration::from_millis(100),
        poll: Duration::from_secs(2),
        gather: Some(Duration::from_millis(10)),
    };

    /// Returns how long this content must have stayed the same to be reported.
    fn rest(self, content: &Content) -> Duration {
        self.debounce.saturating_mul(match content {
            Err((ErrorKind::NotFound, _)) => MISSING_RESTS,
            Ok(text) if text.is_empty() => EMPTY_RESTS,
            _ => 1,
        })
    }

    /// Returns how long content must have stayed the same if a caller waits: only empty or missing content must rest.
    fn rest_for_caller(self, content: &Content) -> Duration {
        Some(self.rest(content)).filter(|rest| *rest > self.debounce).unwrap_or_default()
    }
}

/// The content of a file, or why there is none.
type Content = Result<String, (ErrorKind, String)>;

/// Identifies a version of a file without reading it: modification time, size, device, inode and change time. `None` if
/// there is no file.
type Stamp = Option<(Option<SystemTime>, u64, [i64; 4])>;

struct WatchedContent {
    known: Content,
    /// Changed content, and since when it has been there.
    pending: Option<(Content, Instant)>,
    /// Stamp at the last read.
    stamp: Option<Stamp>,
    /// Stamp at the start of our own write. Until it changes, the old content is not reported.
    before_own_write: Option<Stamp>,
}

#[derive(Default)]
struct WatchState {
    files: Vec<WatchedContent>,
    saved: Vec<Saved>,
    stopped: bool,
}

struct Shared {
    paths: Vec<PathBuf>,
    timing: Timing,
    state: Mutex<WatchState>,
}

/// Watches files on its own thread, which ends when this is dropped.
pub struct Watcher {
    shared: Arc<Shared>,
    wake: SyncSender<()>,
}

impl Watcher {
    /// Watches `files`, whose known contents are `texts`. A file without a text counts as known to be empty.
    pub fn start(files: Vec<PathBuf>, mut texts: Vec<String>, timing: Timing) -> Self {
        texts.resize(files.len(), String::new());
        let known = |text| WatchedContent { known: Ok(text), pending: None, stamp: None, before_own_write: None };
        let state = WatchState { files: texts.into_iter().map(known).collect(), ..WatchState::default() };
        // The working folder may change.
        let paths = files.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect();
        let shared = Arc::new(Shared { paths, timing, state: Mutex::new(state) });
        // One hint is as good as many.
        let (wake, wakes) = sync_channel(1);
        let (watched, hint) = (shared.clone(), wake.clone());
        let thread = std::thread::Builder::new().name("config watch".into());
        if let Err(error) = thread.spawn(move || watched.run(&wakes, &hint)) {
            tracing::warn!("config files are not watched: {error}");
        }
        Self { shared, wake }
    }

    /// Returns what was saved since the last call. Does not wait.
    pub fn drain_saved(&self) -> Vec<Saved> {
        std::mem::take(&mut self.shared.lock().saved)
    }

    /// Reads the files now, then returns what was saved. Empty and missing files may be half-written and are left to
    /// the thread.
    pub fn read_now(&self) -> Vec<Saved> {
        (0..self.shared.paths.len()).for_each(|file| self.shared.read(file, Timing::rest_for_caller));
        let _ = self.wake.try_send(());
        self.drain_saved()
    }

    /// Notes that we are about to write `text` into the file, or just have.
    pub fn note_own_write(&self, file: usize, text: &str) {
        let Some(path) = self.shared.paths.get(file) else { return };
        let stamp = Some(stamp(path));
        let file = &mut self.shared.lock().files[file];
        // The present content is not reported while we write, but only if it is known: no unreported save may get lost.
        let is_known = file.pending.is_none() && file.stamp == stamp || file.before_own_write == stamp;
        file.before_own_write = stamp.filter(|_| is_known);
        (file.known, file.pending, file.stamp) = (Ok(text.to_owned()), None, None);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        let _ = self.wake.try_send(());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, WatchState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, wakes: &Receiver<()>, hint: &SyncSender<()>) {
        let mut folders = FolderEvents::default();
        let mut next_poll = Instant::now();
        while !self.lock().stopped {
            // Watched first, so that a change during the reading causes an event.
            folders.follow(&self.paths, self.timing.gather, hint);
            let polls = Instant::now() >= next_poll;
            (0..self.paths.len())
                .filter(|file| polls || self.needs_read(*file))
                .for_each(|file| self.read(file, Timing::rest));
            if polls {
                next_poll = Instant::now() + self.timing.poll;
            }
            let until_poll = next_poll.saturating_duration_since(Instant::now());
            if let Err(RecvTimeoutError::Disconnected) = wakes.recv_timeout(self.wait().min(until_poll)) {
                return;
            }
        }
    }

    /// Returns how long pending content still has to rest.
    fn wait(&self) -> Duration {
        let state = self.lock();
        let pending = state.files.iter().filter_map(|file| file.pending.as_ref());
        let left = pending.map(|(content, since)| self.timing.rest(content).saturating_sub(since.elapsed()));
        left.min().unwrap_or(Duration::MAX).max(Duration::from_millis(1))
    }

    /// Returns whether the file has another stamp than at the last read, or pending content that has rested.
    fn needs_read(&self, index: usize) -> bool {
        // Without the lock: a slow file system must not block callers.
        let stamp = stamp(&self.paths[index]);
        let file = &self.lock().files[index];
        let rested = |(content, since): &(Content, Instant)| since.elapsed() >= self.timing.rest(content);
        file.stamp.as_ref() != Some(&stamp) || file.pending.as_ref().is_some_and(rested)
    }

    /// Reads a file, and reports changed content that has been there for its `rest`.
    fn read(&self, index: usize, rest: impl Fn(Timing, &Content) -> Duration) {
        let path = &self.paths[index];
        // From before the read, so that a change during it is noticed the next time.
        let stamp = stamp(path);
        let content = read_content(path);
        let state = &mut *self.lock();
        let file = &mut state.files[index];
        file.stamp = Some(stamp);
        if content == file.known {
            file.before_own_write = None;
        }
        if content == file.known || file.before_own_write == file.stamp {
            file.pending = None;
            return;
        }
        let since = match &file.pending {
            Some((pending, since)) if *pending == content => *since,
            _ => Instant::now(),
        };
        if since.elapsed() < rest(self.timing, &content) {
            file.pending = Some((content, since));
            return;
        }
        file.known = content.clone();
        (file.before_own_write, file.pending) = (None, None);
        let now = SystemTime::now();
        let at = stamp.and_then(|(modified, ..)| modified).unwrap_or(now).min(now);
        let text = content.map_err(|(kind, message)| Error::new(kind, message));
        state.saved.push(Saved { file: index, text, at });
    }
}

/// The folders whose events are hints, and which folder each name stood for.
#[derive(Default)]
struct FolderEvents {
    debouncer: Option<Debouncer<RecommendedWatcher>>,
    watched: BTreeMap<PathBuf, (i64, Option<SystemTime>)>,
}

impl FolderEvents {
    /// Watches the folders of `paths` and of the files that links lead to. Folders that cannot be watched are left to
    /// the poll.
    fn follow(&mut self, paths: &[PathBuf], gather: Option<Duration>, hint: &SyncSender<()>) {
        let Some(gather) = gather else { return };
        let linked = paths.iter().filter_map(|path| path.parent()?.canonicalize().ok());
        let real = paths.iter().filter_map(|path| Some(path.canonicalize().ok()?.parent()?.to_owned()));
        let wanted: BTreeMap<_, _> = linked
            .chain(real)
            .filter_map(|folder| {
                let metadata = std::fs::metadata(&folder).ok()?;
                Some((folder, (identity(&metadata)[1], metadata.created().ok())))
            })
            .collect();
        if wanted == self.watched {
            return;
        }
        let hint = hint.clone();
        let debouncer = new_debouncer(gather, move |_| {
            let _ = hint.try_send(());
        });
        self.debouncer = debouncer.ok();
        if let Some(debouncer) = &mut self.debouncer {
            for folder in wanted.keys() {
                let _ = debouncer.watcher().watch(folder, RecursiveMode::NonRecursive);
            }
        }
        self.watched = wanted;
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok(), metadata.len(), identity(&metadata)))
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> [i64; 4] {
    use std::os::unix::fs::MetadataExt;
    [metadata.dev().cast_signed(), metadata.ino().cast_signed(), metadata.ctime(), metadata.ctime_nsec()]
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> [i64; 4] {
    [0; 4]
}

fn read_content(path: &Path) -> Content {
    let invalid = |message: String| (ErrorKind::InvalidData, message);
    let failed = |error: Error| match error.kind() {
        // An editor may replace a folder on the path by a file for a moment.
        ErrorKind::NotFound | ErrorKind::NotADirectory => (ErrorKind::NotFound, "the file is gone".into()),
        kind => (kind, error.to_string()),
    };
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(invalid("it is not a file".into()));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    // One byte more than allowed shows that there is more, even while the file grows.
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(invalid(format!("it is larger than {MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| invalid(format!("it is not UTF-8 text: {error}")))
}

#[cfg(test)]
mod tests;
