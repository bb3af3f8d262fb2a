//! Owns: `requests/` of a run folder: leaving a request, taking it, answering it.
//! Must not know: what a command does, screens.
//! Invariant: a request is taken once (renamed) before it is carried out; the folder is bounded; links, pipes, folders
//! and foreign files in it are never followed or waited for.
//!
//! ```text
//! NAME.json ──renamed by the trainer──► NAME.taken ──carried out──► NAME.answer.json, and NAME.taken is removed
//! ```
//!
//! Who asked removes the answer. What a trainer finds at its start was left for another one: a request is refused, and
//! one that was taken but not answered is answered as unknown. So nothing is ever carried out twice.

use super::RecordError;
use super::run_folder::RunFolder;
use crate::files::atomic::{replace_file, replace_json};
use crate::files::foreign::read_text;
use crate::schema::protocol::Command;
use crate::schema::requests::{Request, RequestAnswer, RequestOutcome};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Bytes of the largest request.
const MAX_REQUEST_BYTES: u64 = 64 << 10;
/// Bytes of the largest answer: a model can write more than it was asked.
const MAX_ANSWER_BYTES: u64 = 16 << 20;
/// Most requests that may wait, and that are taken at once.
const MAX_WAITING: usize = 64;
/// Most answers that are kept for those who asked.
const MAX_ANSWERS: usize = 256;
/// Age at which an answer that nobody has fetched is removed.
const MAX_ANSWER_AGE: Duration = Duration::from_secs(24 * 3600);
/// Longest name, in bytes.
const MAX_NAME: usize = 100;
/// Shortest time between two looks into the folder.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Coarsest clock of a file system: two changes within it may have the same time.
const CLOCK_TICK: Duration = Duration::from_secs(3);

/// The name of a request, without ending: letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestName(String);

impl RequestName {
    /// Makes a name that sorts by time and that no other process makes.
    fn unique() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let time = chrono::Utc::now().format("%Y%m%dT%H%M%S-%9f");
        Self(format!("{time}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// Returns the name in the file name `file`; `None` if it has another `ending` or other characters.
    fn parse(file: &str, ending: &str) -> Option<Self> {
        let name = file.strip_suffix(ending)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_plain);
        fits.then(|| Self(name.to_owned()))
    }

    fn file(&self, dir: &Path, ending: &str) -> PathBuf {
        dir.join(format!("{}{ending}", self.0))
    }
}

const WAITING: &str = ".json";
const TAKEN: &str = ".taken";
const ANSWER: &str = ".answer.json";

/// A request that was left for the trainer of a run.
#[derive(Debug)]
pub struct SentRequest {
    dir: PathBuf,
    name: RequestName,
}

impl SentRequest {
    /// Leaves `command` for the trainer of the run in `folder`.
    ///
    /// # Errors
    /// The folder cannot be written, too many requests wait, or the request is too large.
    pub fn send(folder: &RunFolder, command: &Command) -> Result<Self, RecordError> {
        let dir = folder.requests_dir();
        match std::fs::create_dir(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(RecordError::io("create", &dir)(error));
            }
            _ if changed_at(&dir).is_none() => return Err(RecordError::table(&dir, "it is not a folder")),
            _ => {}
        }
        if names_in(&dir, WAITING, MAX_WAITING).len() >= MAX_WAITING {
            let reason = format!("{MAX_WAITING} requests wait already; the run takes them at its next step");
            return Err(RecordError::table(&dir, &reason));
        }
        let request = Request { asked_at: chrono::Utc::now(), command: command.clone() };
        let text = serde_json::to_string(&request).map_err(|error| RecordError::table(&dir, &error))?;
        if text.len() as u64 > MAX_REQUEST_BYTES {
            let reason = format!("the request has {} bytes; allowed: at most {MAX_REQUEST_BYTES}", text.len());
            return Err(RecordError::table(&dir, &reason));
        }
        let name = RequestName::unique();
        replace_file(&name.file(&dir, WAITING), text.as_bytes())?;
        Ok(Self { dir, name })
    }

    /// Returns the answer, if there is one, and removes it.
    pub fn take_answer(&self) -> Option<RequestAnswer> {
        let file = self.name.file(&self.dir, ANSWER);
        let answer = serde_json::from_str(&read_text(&file, MAX_ANSWER_BYTES).ok()?).ok()?;
        let _ = std::fs::remove_file(&file);
        Some(answer)
    }

    /// Takes the request back. Returns `false` if the trainer has taken it.
    pub fn withdraw(&self) -> bool {
        std::fs::remove_file(self.name.file(&self.dir, WAITING)).is_ok()
    }
}

/// A request that this trainer has taken, or why it cannot be read.
#[derive(Debug)]
pub struct TakenRequest {
    pub name: RequestName,
    pub request: Result<Request, String>,
}

/// The trainer's side of `requests/`.
#[derive(Debug)]
pub struct RequestInbox {
    dir: PathBuf,
    looked_at: Option<Instant>,
    /// When the folder changed, if nothing waited in it then and it has rested since.
    seen: Option<SystemTime>,
}

impl RequestInbox {
    pub fn new(folder: &RunFolder) -> Self {
        Self { dir: folder.requests_dir(), looked_at: None, seen: None }
    }

    /// Returns the requests that wait now.
    pub fn waiting(&self) -> BTreeSet<RequestName> {
        names_in(&self.dir, WAITING, usize::MAX)
    }

    /// Answers what was left for an earlier trainer: what it took but did not answer, and the requests `left`, which
    /// waited when this one started. Removes old answers.
    pub fn refuse_leftovers(&self, left: BTreeSet<RequestName>) {
        for name in names_in(&self.dir, TAKEN, usize::MAX) {
            if name.file(&self.dir, ANSWER).is_file() {
                let _ = std::fs::remove_file(name.file(&self.dir, TAKEN));
                continue;
            }
            let text = "the process ended while it carried this out; look at the run before you ask again".to_owned();
            self.answer_or_warn(&name, &unanswered(RequestOutcome::Unknown, text));
        }
        for name in left {
            let text = "asked before this trainer had started; ask again".to_owned();
            if self.claim(&name) {
                self.answer_or_warn(&name, &unanswered(RequestOutcome::Refused, text));
            }
        }
        let is_old = |file: &Path| {
            let changed = std::fs::symlink_metadata(file).and_then(|metadata| metadata.modified());
            changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age > MAX_ANSWER_AGE))
        };
        let answers = names_in(&self.dir, ANSWER, usize::MAX).into_iter().map(|name| name.file(&self.dir, ANSWER));
        answers.filter(|file| is_old(file)).for_each(|file| drop(std::fs::remove_file(file)));
    }

    /// Takes the requests that wait, in the order of their names. Costs a look at the folder's time if there are none,
    /// and nothing if that was a moment ago.
    pub fn take_new(&mut self) -> Vec<TakenRequest> {
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return Vec::new();
        }
        self.take_all()
    }

    /// Takes the requests that wait, as [`take_new`](Self::take_new) does, but looks now.
    pub fn take_all(&mut self) -> Vec<TakenRequest> {
        self.looked_at = Some(Instant::now());
        let changed = changed_at(&self.dir);
        if changed.is_none() || self.seen == changed {
            return Vec::new();
        }
        let names = names_in(&self.dir, WAITING, MAX_WAITING);
        // Another file may come within the same tick of the file system's clock.
        let rests = changed.and_then(|changed| changed.elapsed().ok()).is_some_and(|age| age > CLOCK_TICK);
        self.seen = changed.filter(|_| names.is_empty() && rests);
        let taken = names.into_iter().filter(|name| self.claim(name));
        taken.map(|name| TakenRequest { request: read_request(&name.file(&self.dir, TAKEN)), name }).collect()
    }

    /// Renames a request, so that it is not taken again. Returns `false` if it is gone or cannot be renamed.
    fn claim(&self, name: &RequestName) -> bool {
        std::fs::rename(name.file(&self.dir, WAITING), name.file(&self.dir, TAKEN)).is_ok()
    }

    /// Answers a request that was taken, and removes it. An answer that cannot be written is logged.
    pub fn answer_or_warn(&self, name: &RequestName, answer: &RequestAnswer) {
        let file = name.file(&self.dir, ANSWER);
        if file.is_symlink() {
            // Writing would follow the link.
            let _ = std::fs::remove_file(&file);
        }
        if let Err(error) = replace_json(&file, answer) {
            tracing::warn!("cannot answer a request: {error}");
            return;
        }
        let _ = std::fs::remove_file(name.file(&self.dir, TAKEN));
        let answers = names_in(&self.dir, ANSWER, usize::MAX);
        let too_many = answers.len().saturating_sub(MAX_ANSWERS);
        answers.iter().take(too_many).for_each(|name| drop(std::fs::remove_file(name.file(&self.dir, ANSWER))));
    }
}

fn unanswered(outcome: RequestOutcome, text: String) -> RequestAnswer {
    RequestAnswer { outcome, step: None, text, answer: None }
}

/// Returns when the folder changed; `None` if it does not exist or is not a folder itself.
fn changed_at(dir: &Path) -> Option<SystemTime> {
    let metadata = std::fs::symlink_metadata(dir).ok().filter(std::fs::Metadata::is_dir)?;
    metadata.modified().ok()
}

/// Returns the first `most` names with this ending in the folder, in order. Folders and other names are passed over.
fn names_in(dir: &Path, ending: &str, most: usize) -> BTreeSet<RequestName> {
    let mut names = BTreeSet::new();
    if changed_at(dir).is_none() {
        return names;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_str().and_then(|file| RequestName::parse(file, ending));
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        names.extend(name.filter(|_| !is_dir));
        if names.len() > most {
            names.pop_last();
        }
    }
    names
}

/// Reads a request. A link is not followed, a pipe not waited for.
fn read_request(file: &Path) -> Result<Request, String> {
    let kind = std::fs::symlink_metadata(file).map_err(|error| error.to_string())?.file_type();
    if !kind.is_file() {
        let found = if kind.is_symlink() { "a link" } else { "a pipe, socket or device" };
        return Err(format!("not a request: {found}; allowed: a regular file"));
    }
    let text = read_text(file, MAX_REQUEST_BYTES).map_err(|error| format!("not a request: {}", error.cause))?;
    serde_json::from_str(&text).map_err(|error| format!("not a request: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(dir: &Path) -> RunFolder {
        RunFolder::create(dir, "x", chrono::Local::now()).unwrap()
    }

    fn done(text: &str) -> RequestAnswer {
        RequestAnswer { outcome: RequestOutcome::Done, step: Some(3), text: text.into(), answer: None }
    }

    #[test]
    fn requests_are_taken_once_in_order_and_answered() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let mut inbox = RequestInbox::new(&folder);
        assert!(inbox.take_all().is_empty(), "no folder yet");
        let sent: Vec<SentRequest> = [Command::Save, Command::StepOnce, Command::Note("x".into())]
            .iter()
            .map(|command| SentRequest::send(&folder, command).unwrap())
            .collect();
        let taken = inbox.take_all();
        let commands: Vec<Command> = taken.iter().map(|taken| taken.request.clone().unwrap().command).collect();
        assert_eq!(commands, [Command::Save, Command::StepOnce, Command::Note("x".into())]);
        assert!(inbox.take_all().is_empty() && !sent[0].withdraw() && sent[0].take_answer().is_none());
        inbox.answer_or_warn(&taken[0].name, &done("saved"));
        assert_eq!(sent[0].take_answer(), Some(done("saved")));
        assert_eq!(sent[0].take_answer(), None, "the answer is removed");
        let late = SentRequest::send(&folder, &Command::Stop).unwrap();
        assert!(late.withdraw() && inbox.take_all().is_empty());
    }

    #[test]
    fn what_an_earlier_trainer_left_is_answered_and_not_carried_out() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let mut inbox = RequestInbox::new(&folder);
        let sent = ["taken", "answered"].map(|text| SentRequest::send(&folder, &Command::Note(text.into())).unwrap());
        let taken = inbox.take_all();
        // A kill between the answer and the removal.
        replace_json(&taken[1].name.file(&inbox.dir, ANSWER), &done("noted")).unwrap();
        let waits = SentRequest::send(&folder, &Command::Stop).unwrap();
        let mut next = RequestInbox::new(&folder);
        next.refuse_leftovers(next.waiting());
        assert!(next.take_all().is_empty());
        assert_eq!(sent[0].take_answer().unwrap().outcome, RequestOutcome::Unknown);
        assert_eq!(sent[1].take_answer(), Some(done("noted")));
        assert_eq!(waits.take_answer().unwrap().outcome, RequestOutcome::Refused);
        assert_eq!(std::fs::read_dir(&inbox.dir).unwrap().count(), 0);
    }

    #[test]
    fn foreign_files_are_refused_and_the_folder_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let requests = folder.requests_dir();
        std::fs::create_dir(&requests).unwrap();
        std::fs::create_dir(requests.join("a-folder.json")).unwrap();
        std::fs::write(requests.join("huge.json"), vec![b' '; 1 << 20]).unwrap();
        std::fs::write(requests.join("bad.json"), "{\"command\": \"dance\"}").unwrap();
        std::fs::write(requests.join("bytes.json"), [0xff, 0]).unwrap();
        std::fs::write(requests.join("with space.json"), "{}").unwrap();
        let mut inbox = RequestInbox::new(&folder);
        let mut refused: Vec<(String, String)> =
            inbox.take_all().into_iter().map(|taken| (taken.name.0, taken.request.unwrap_err())).collect();
        let reasons = ["not a request: unknown variant `dance`", "not UTF-8", "more than 65536 bytes"];
        for reason in reasons {
            let (_, found) = refused.remove(0);
            assert!(found.contains(reason), "{found}");
        }
        assert!(refused.is_empty());
        for _ in 0..MAX_WAITING {
            SentRequest::send(&folder, &Command::Save).unwrap();
        }
        assert!(SentRequest::send(&folder, &Command::Save).unwrap_err().to_string().contains("64 requests wait"));
        let long = Command::Note("x".repeat(1 << 20));
        inbox.take_all();
        assert!(SentRequest::send(&folder, &long).unwrap_err().to_string().contains("at most 65536"));
        for number in 0..MAX_ANSWERS + 9 {
            inbox.answer_or_warn(&RequestName(format!("{number:04}")), &done(""));
        }
        let answers = names_in(&requests, ANSWER, usize::MAX);
        assert_eq!((answers.len(), answers.first().unwrap().0.as_str()), (MAX_ANSWERS, "0009"));
    }

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_are_neither_followed_nor_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (folder, outside) = (folder(dir.path()), dir.path().join("outside"));
        std::fs::write(&outside, "{\"command\": \"stop\"}").unwrap();
        symlink(dir.path(), folder.requests_dir()).unwrap();
        let mut inbox = RequestInbox::new(&folder);
        assert!(SentRequest::send(&folder, &Command::Save).unwrap_err().to_string().contains("not a folder"));
        assert!(inbox.take_all().is_empty());
        std::fs::remove_file(folder.requests_dir()).unwrap();
        std::fs::create_dir(folder.requests_dir()).unwrap();
        symlink(&outside, folder.requests_dir().join("a.json")).unwrap();
        symlink(&outside, folder.requests_dir().join("a.answer.json")).unwrap();
        mknodat(CWD, folder.requests_dir().join("b.json"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let taken = inbox.take_all();
        let reasons: Vec<&str> = taken.iter().map(|taken| taken.request.as_ref().unwrap_err().as_str()).collect();
        assert!(reasons[0].contains("a link") && reasons[1].contains("a pipe"), "{reasons:?}");
        taken.iter().for_each(|taken| inbox.answer_or_warn(&taken.name, &done("no")));
        assert!(std::fs::read_to_string(&outside).unwrap().contains("stop"), "nothing was written through the link");
        assert_eq!(names_in(&folder.requests_dir(), TAKEN, 9).len(), 0);
    }
}
