//! Owns: following config files: saying when their content is another, however an editor saves them.
//! Must not know: what stands in the files, who asks.
//! Invariant: content that is known, or that was written by ourselves, is never reported; half-written content neither.
//!
//! Editors replace files, so folders are watched and not files. An event is but a hint to look: the truth is the content,
//! once it has been the same for a while. A slow poll stands in where there are no events.

mod content;
mod folders;

use content::{Content, Found, Stamp, find, stamp};
use folders::Folders;
use std::io::Error;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Editors empty a file before they write it: so many times the rest of other content is waited for.
const EMPTY_RESTS: u32 = 3;
/// And take it away before they put another in its place.
const MISSING_RESTS: u32 = 5;
/// Events that come together are answered by one look, so that a busy folder costs little.
const GATHER: Duration = Duration::from_millis(10);
/// How long a thread that hangs in a dead file system is waited for at the end.
const LONGEST_END: Duration = Duration::from_millis(250);

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

impl Timing {
    /// How long this content must have been there to count.
    fn rest(self, content: &Content) -> Duration {
        self.debounce.saturating_mul(match content {
            Content::Missing => MISSING_RESTS,
            Content::Text(text) if text.is_empty() => EMPTY_RESTS,
            _ => 1,
        })
    }

    /// The same while somebody waits: content that is there counts as it is.
    fn rest_when_asked(self, content: &Content) -> Duration {
        let rest = self.rest(content);
        if rest > self.debounce { rest } else { Duration::ZERO }
    }
}

/// What is known of a file.
struct File {
    known: Content,
    /// Other content, and since when it has been there.
    rests: Option<(Content, Instant)>,
    /// As it was when it was read last, and whether the same stamp later means the same content.
    seen: Option<(Stamp, bool)>,
    /// As it was when we began to write it ourselves. Until it is another, its old content is no news.
    before: Option<Stamp>,
}

#[derive(Default)]
struct State {
    files: Vec<File>,
    saved: Vec<Saved>,
}

struct Shared {
    paths: Vec<PathBuf>,
    timing: Timing,
    state: Mutex<State>,
    stop: AtomicBool,
    /// Times a file was read.
    #[cfg(test)]
    reads: std::sync::atomic::AtomicUsize,
}

/// Follows files on a thread of its own, which ends with this.
pub struct Watcher {
    shared: Arc<Shared>,
    wake: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Follows `files`, which hold `texts` as far as is known. A file without a text is reported as it is found.
    pub fn start(files: Vec<PathBuf>, texts: Vec<String>, timing: Timing) -> Self {
        Self::with(files, texts, timing, true)
    }

    fn with(files: Vec<PathBuf>, mut texts: Vec<String>, timing: Timing, events: bool) -> Self {
        texts.resize(files.len(), String::new());
        let file = |text| File { known: Content::Text(text), rests: None, seen: None, before: None };
        let state = State { files: texts.into_iter().map(file).collect(), saved: Vec::new() };
        let shared = Arc::new(Shared {
            // The working folder may become another.
            paths: files.into_iter().map(|path| std::path::absolute(&path).unwrap_or(path)).collect(),
            timing,
            state: Mutex::new(state),
            stop: AtomicBool::new(false),
            #[cfg(test)]
            reads: Default::default(),
        });
        // One hint is as good as many.
        let (wake, wakes) = sync_channel(1);
        let (seen, hint) = (shared.clone(), wake.clone());
        let thread = std::thread::Builder::new().name("config watch".into()).spawn(move || {
            let folders = if events { Folders::watched(hint) } else { Folders::unwatched() };
            work(&seen, &wakes, folders);
        });
        Self { shared, wake, thread: thread.ok() }
    }

    /// What was saved since it was asked last. Does not wait.
    pub fn take(&self) -> Vec<Saved> {
        std::mem::take(&mut self.shared.lock().saved)
    }

    /// Looks at the files now, and then as [`Self::take`]. What is empty or missing may be being written, and is left to
    /// the thread.
    pub fn look(&self) -> Vec<Saved> {
        for file in 0..self.shared.paths.len() {
            self.shared.look_at(file, Timing::rest_when_asked);
        }
        let mut state = self.shared.lock();
        if state.files.iter().any(|file| file.rests.is_some()) {
            let _ = self.wake.try_send(());
        }
        std::mem::take(&mut state.saved)
    }

    /// `text` is about to be written into the file by ourselves, or just was.
    pub fn own(&self, file: usize, text: &str) {
        let Some(path) = self.shared.paths.get(file) else { return };
        let stamp = stamp(path);
        let file = &mut self.shared.lock().files[file];
        // What is there now is no news while we write, but only if it is known: not a save that has yet to be reported.
        let is_known = file.rests.is_none() && file.seen.as_ref().is_some_and(|(seen, _)| *seen == stamp);
        if is_known || file.before.as_ref() == Some(&stamp) {
            file.before = Some(stamp);
        } else {
            file.before = None;
        }
        (file.known, file.rests, file.seen) = (Content::Text(text.to_owned()), None, None);
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // If a hint is there already, that one wakes it.
        let _ = self.wake.try_send(());
        let Some(thread) = self.thread.take() else { return };
        let began = Instant::now();
        while !thread.is_finished() {
            if began.elapsed() > LONGEST_END {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = thread.join();
    }
}

fn work(shared: &Shared, wakes: &Receiver<()>, mut folders: Folders) {
    while !shared.stop.load(Ordering::Acquire) {
        // Watched first: what changes while the files are looked at is then hinted at.
        folders.follow(&shared.paths);
        for file in 0..shared.paths.len() {
            shared.look_at(file, Timing::rest);
        }
        match wakes.recv_timeout(shared.wait()) {
            Ok(()) if !shared.stop.load(Ordering::Acquire) => {
                std::thread::sleep(GATHER);
                let _ = wakes.try_recv();
            }
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long there is nothing to do without a hint.
    fn wait(&self) -> Duration {
        let state = self.lock();
        let rests = state.files.iter().filter_map(|file| file.rests.as_ref());
        let left = rests.map(|(content, since)| self.timing.rest(content).saturating_sub(since.elapsed()));
        // Not quite without a pause, whatever the timing says.
        left.fold(self.timing.poll, Duration::min).max(Duration::from_millis(1))
    }

    /// Reads a file, unless it is sure to be the same, and reports what has been there for its `rest`.
    fn look_at(&self, index: usize, rest: impl Fn(Timing, &Content) -> Duration) {
        if self.is_untouched(index) {
            return;
        }
        #[cfg(test)]
        self.reads.fetch_add(1, Ordering::Relaxed);
        // Without the lock: a slow file system must not hold up who asks.
        let found = find(&self.paths[index]);
        let mut state = self.lock();
        let file = &mut state.files[index];
        if !file.is_news(&found) {
            file.rests = None;
            return;
        }
        let since = match &file.rests {
            Some((content, since)) if *content == found.content => *since,
            _ => Instant::now(),
        };
        if since.elapsed() >= rest(self.timing, &found.content) {
            state.report(index, found);
        } else {
            file.rests = Some((found.content, since));
        }
    }

    fn is_untouched(&self, index: usize) -> bool {
        // Not under the lock, either.
        let now = stamp(&self.paths[index]);
        let file = &self.lock().files[index];
        file.rests.is_none()
            && file.seen.as_ref().is_some_and(|(seen, is_settled)| *is_settled && *seen == now)
    }
}

impl State {
    fn report(&mut self, index: usize, found: Found) {
        let now = SystemTime::now();
        let at = found.stamp.modified().unwrap_or(now).min(now);
        let file = &mut self.files[index];
        file.known = found.content.clone();
        (file.before, file.rests) = (None, None);
        self.saved.push(Saved { file: index, text: found.content.into_text(), at });
    }
}

impl File {
    /// Whether it holds what is not known and was not there when we began to write it.
    fn is_news(&mut self, found: &Found) -> bool {
        self.seen = Some((found.stamp.clone(), found.is_settled));
        if found.content == self.known {
            self.before = None;
            return false;
        }
        self.before.as_ref() != Some(&found.stamp)
    }
}

#[cfg(test)]
mod tests;
