//! Owns: the thread that writes the tables, and the trainer's end of it.
//! Must not know: what the rows mean.
//! Invariant: the trainer waits for the disk only where it asks to (`flush`); a row is lost only with the process, and
//! then none that is older than `sync_time`.

use super::parts::{self, Footer};
use super::registry::{SCHEMA_VERSION, StepRow};
use super::rows::{ChangeRow, EventRow, Row, SystemRow, ThoughtRow};
use super::system::Probe;
use super::table::Table;
use super::{RecordError, folder::RunFolder};
use crate::message::TokenRow;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Rows that may wait for the thread before the trainer has to.
const WAITING: usize = 4096;
/// How long a full disk is left alone before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// When what is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// Age at which a row is made safe.
    pub sync_time: Duration,
    /// Rows at which they are, even if they are younger.
    pub sync_rows: usize,
    /// Rows of a part.
    pub part_rows: usize,
    /// Age at which the rows since the last part become one, even if they are fewer.
    pub part_time: Duration,
    /// Time between two rows of the system table; zero: none.
    pub system_time: Duration,
}

/// What the trainer hands over.
enum Entry {
    Step(Box<StepRow>),
    Event(EventRow),
    Change(ChangeRow),
    Tokens(Box<TokenRow>),
    /// The times, and the hash of the config, from now on.
    Config(Timing, String),
    /// The GPU at this place on the PCI bus is the run's.
    Gpu(String),
    /// Everything is to be in parts; then an answer.
    Flush(SyncSender<()>),
}

/// How the writing goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Health {
    /// Well.
    Fine,
    /// There is no room; all is kept, and written when there is.
    Full(String),
    /// It failed for good.
    Failed(String),
}

/// The trainer's end.
pub struct Recorder {
    entries: Option<SyncSender<Entry>>,
    health: Arc<Mutex<Health>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts writing into `folder`, whose logs have been recovered.
    pub fn start(folder: &RunFolder, timing: Timing, config_hash: String) -> Result<Self, RecordError> {
        let health = Arc::new(Mutex::new(Health::Fine));
        let (sender, entries) = sync_channel(WAITING);
        let mut writer = Writer {
            tables: Tables::open(folder)?,
            probe: Probe::new(folder.path()),
            run: folder.id(),
            config_hash,
            timing,
            step: 0,
            unsynced_since: None,
            system_at: Instant::now(),
            health: health.clone(),
            path: folder.path().to_owned(),
        };
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || writer.work(&entries))
            .map_err(RecordError::io("start a thread for", folder.path()))?;
        Ok(Self { entries: Some(sender), health, thread: Some(thread) })
    }

    /// A step's metrics.
    pub fn step(&self, row: StepRow) {
        self.send(Entry::Step(Box::new(row)));
    }

    /// Something that happened.
    pub fn event(&self, row: EventRow) {
        self.send(Entry::Event(row));
    }

    /// A change of the config.
    pub fn change(&self, row: ChangeRow) {
        self.send(Entry::Change(row));
    }

    /// A row of tokens, with its thoughts.
    pub fn tokens(&self, row: TokenRow) {
        self.send(Entry::Tokens(Box::new(row)));
    }

    /// Other times from now on, and another hash of the config for the footers.
    pub fn config(&self, timing: Timing, hash: String) {
        self.send(Entry::Config(timing, hash));
    }

    /// The system table has the GPU at this place on the PCI bus from now on.
    pub fn watch_gpu(&self, bus: String) {
        self.send(Entry::Gpu(bus));
    }

    /// Waits until everything is in parts, or could not be written.
    pub fn flush(&self) -> Health {
        let (sender, done) = sync_channel(1);
        self.send(Entry::Flush(sender));
        let _ = done.recv();
        self.health()
    }

    /// How the writing goes.
    pub fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn send(&self, entry: Entry) {
        let gone = self.entries.as_ref().is_none_or(|entries| entries.send(entry).is_err());
        if gone {
            let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            if *health == Health::Fine {
                *health = Health::Failed("the recorder's thread ended in the middle of its work".into());
            }
        }
    }
}

impl Drop for Recorder {
    /// A trainer that panics still leaves the rows it had.
    fn drop(&mut self) {
        self.entries = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Health::Full(error) | Health::Failed(error) = self.health() {
            tracing::error!("the last rows could not be written: {error}");
        }
    }
}

/// All tables.
struct Tables {
    steps: Table<StepRow>,
    events: Table<EventRow>,
    changes: Table<ChangeRow>,
    tokens: Table<TokenRow>,
    thoughts: Table<ThoughtRow>,
    system: Table<SystemRow>,
}

impl Tables {
    fn open(folder: &RunFolder) -> Result<Self, RecordError> {
        let run = folder.path();
        Ok(Self {
            steps: Table::open(run)?,
            events: Table::open(run)?,
            changes: Table::open(run)?,
            tokens: Table::open(run)?,
            thoughts: Table::open(run)?,
            system: Table::open(run)?,
        })
    }

    fn look(&mut self, mut row: TokenRow) {
        ThoughtRow::of(&row).into_iter().for_each(|thought| self.thoughts.push(thought));
        (row.thoughts, row.words) = Default::default();
        self.tokens.push(row);
    }

    fn write(&mut self, all: bool, timing: &Timing, footer: &Footer) -> Result<(), RecordError> {
        let (rows, time) = if all { (0, Duration::ZERO) } else { (timing.part_rows, timing.part_time) };
        self.steps.write(rows, time, footer)?;
        self.events.write(rows, time, footer)?;
        self.changes.write(rows, time, footer)?;
        // Before the row of tokens that they belong to: who has read that finds them.
        self.thoughts.write(rows, time, footer)?;
        self.tokens.write(rows, time, footer)?;
        self.system.write(rows, time, footer)
    }
}

/// The thread's end.
struct Writer {
    tables: Tables,
    probe: Probe,
    run: String,
    config_hash: String,
    timing: Timing,
    step: u64,
    /// When the oldest row that is not safe came.
    unsynced_since: Option<Instant>,
    system_at: Instant,
    health: Arc<Mutex<Health>>,
    path: PathBuf,
}

impl Writer {
    fn work(&mut self, entries: &Receiver<Entry>) {
        loop {
            match entries.recv_timeout(self.wait()) {
                Ok(entry) => self.take(entry),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.write(true),
            }
            if self.is_due() {
                self.write(false);
            }
        }
    }

    /// Until something is due.
    fn wait(&self) -> Duration {
        if self.is_full() {
            return RETRY;
        }
        let sync = self.unsynced_since.map(|since| self.timing.sync_time.saturating_sub(since.elapsed()));
        let system = (self.timing.system_time > Duration::ZERO)
            .then(|| self.timing.system_time.saturating_sub(self.system_at.elapsed()));
        sync.into_iter().chain(system).min().unwrap_or(Duration::from_secs(3600))
    }

    fn take(&mut self, entry: Entry) {
        match entry {
            Entry::Step(row) => {
                self.step = row.step();
                self.tables.steps.push(*row);
            }
            Entry::Event(row) => self.tables.events.push(row),
            Entry::Change(row) => self.tables.changes.push(row),
            Entry::Tokens(row) => self.tables.look(*row),
            Entry::Config(timing, hash) => (self.timing, self.config_hash) = (timing, hash),
            Entry::Gpu(bus) => return self.probe.watch_gpu(&bus),
            Entry::Flush(done) => {
                self.write(true);
                let _ = done.send(());
            }
        }
        self.unsynced_since.get_or_insert_with(Instant::now);
    }

    fn is_full(&self) -> bool {
        matches!(*self.health.lock().unwrap_or_else(PoisonError::into_inner), Health::Full(_))
    }

    fn is_due(&mut self) -> bool {
        let time = self.timing.system_time;
        if time > Duration::ZERO && self.system_at.elapsed() >= time && !self.is_full() {
            self.system_at = Instant::now();
            self.tables.system.push(self.probe.measure(self.step));
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        let many = self.tables.steps.unlogged() >= self.timing.sync_rows;
        let old = self.unsynced_since.is_some_and(|since| since.elapsed() >= self.timing.sync_time);
        // A full disk is not asked again with every row, but with every pause between rows.
        if self.is_full() { old } else { many || old }
    }

    /// Makes rows safe, and parts of those that are due or, for `all`, of all.
    fn write(&mut self, all: bool) {
        let result = self.try_write(all);
        self.unsynced_since = match &result {
            Ok(()) => None,
            // Tried again after a while.
            Err(_) => Some(Instant::now() + RETRY.saturating_sub(self.timing.sync_time)),
        };
        let health = match result {
            Ok(()) => Health::Fine,
            Err(error) if error.is_full() => Health::Full(error.to_string()),
            Err(error) => Health::Failed(error.to_string()),
        };
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    fn try_write(&mut self, all: bool) -> Result<(), RecordError> {
        if !self.path.is_dir() {
            let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
            return Err(RecordError::io("write into", &self.path)(gone));
        }
        self.tables.write(all, &self.timing, &footer(&self.run, &self.config_hash))
    }
}

/// What stands in every part's footer.
pub fn footer(run: &str, config_hash: &str) -> Footer {
    [("run", run), ("schema_version", SCHEMA_VERSION), ("config_sha256", config_hash)]
        .map(|(key, value)| (format!("coconut_lab.{key}"), value.to_owned()))
        .to_vec()
}

/// Makes parts of the logs that a killed process left in `folder`, and takes away what came after the step `until`
/// (-1: everything).
pub fn recover(folder: &RunFolder, config_hash: &str, until: i64) -> Result<(), RecordError> {
    fn one<R: Row>(folder: &RunFolder, footer: &Footer, until: i64) -> Result<(), RecordError> {
        let dir = folder.path().join(R::TABLE);
        parts::recover(&dir, &R::schema(), footer)?;
        parts::cut(&dir, until, footer)
    }
    let footer = footer(&folder.id(), config_hash);
    one::<StepRow>(folder, &footer, until)?;
    one::<EventRow>(folder, &footer, until)?;
    one::<ChangeRow>(folder, &footer, until)?;
    one::<TokenRow>(folder, &footer, until)?;
    one::<ThoughtRow>(folder, &footer, until)?;
    one::<SystemRow>(folder, &footer, until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing() -> Timing {
        Timing {
            sync_time: Duration::from_millis(20),
            sync_rows: 1000,
            part_rows: 1000,
            part_time: Duration::from_secs(3600),
            system_time: Duration::ZERO,
        }
    }

    fn rows(folder: &RunFolder) -> usize {
        let batches = parts::read_all(&folder.path().join("metrics")).unwrap();
        batches.iter().map(arrow::array::RecordBatch::num_rows).sum()
    }

    fn wait_for(what: impl Fn() -> bool) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while !what() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        what()
    }

    #[test]
    fn rows_are_safe_after_the_sync_time_and_in_parts_after_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        let recorder = Recorder::start(&folder, timing(), "h".into()).unwrap();
        recorder.step(StepRow::new(1));
        assert!(wait_for(|| rows(&folder) == 1), "in the log");
        assert!(parts::numbers(&folder.path().join("metrics"), "parquet").is_empty());
        recorder.step(StepRow::new(2));
        assert_eq!(recorder.flush(), Health::Fine);
        assert_eq!(parts::numbers(&folder.path().join("metrics"), "parquet"), [0]);
        recorder.step(StepRow::new(3));
        drop(recorder);
        assert_eq!(rows(&folder), 3);
        assert!(parts::numbers(&folder.path().join("metrics"), "log").is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_told_and_forgotten_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        let recorder = Recorder::start(&folder, timing(), "h".into()).unwrap();
        let log = parts::log(&folder.path().join("metrics"), 0);
        std::os::unix::fs::symlink("/dev/full", &log).unwrap();
        recorder.step(StepRow::new(1));
        assert!(wait_for(|| matches!(recorder.health(), Health::Full(_))), "{:?}", recorder.health());
        std::fs::remove_file(&log).unwrap();
        assert!(wait_for(|| recorder.health() == Health::Fine));
        assert_eq!(rows(&folder), 1);
    }

    #[test]
    fn a_folder_that_is_gone_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        let recorder = Recorder::start(&folder, timing(), "h".into()).unwrap();
        std::fs::remove_dir_all(folder.path()).unwrap();
        recorder.step(StepRow::new(1));
        assert!(matches!(recorder.flush(), Health::Failed(_)));
    }
}
