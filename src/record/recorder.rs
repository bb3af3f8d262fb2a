//! Owns: the thread that writes the tables, and the trainer's handle to it.
//! Must not know: what the rows mean.
//! Invariant: the trainer waits for the disk only in `flush`. Rows are lost only if the process is killed,
//! and then none older than `sync_time`.

use super::RecordError;
use super::rows::{TableRow, ThoughtRow};
use super::run_folder::RunFolder;
use super::segments;
use super::system::SystemMonitor;
use super::table::Table;
use super::tensorboard::{EventFiles, EventWriter};
use crate::files::parquet::Footer;
use crate::schema::layer_rows::LayerRow;
use crate::schema::metrics::{SCHEMA_VERSION, StepRow};
use crate::schema::rollout_rows::RolloutRow;
use crate::schema::rows::{EventRow, SystemRow};
use crate::schema::token_rows::TokenRow;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Messages that may wait for the thread before the trainer blocks.
const QUEUE_CAPACITY: usize = 4096;
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// When rows are synced, and when they become a segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecordTiming {
    /// Age at which a row is synced to the WAL.
    pub sync_time: Duration,
    /// Number of unsynced steps at which rows are synced, even if they are younger.
    pub sync_rows: usize,
    /// Number of rows at which a table's rows become a segment.
    pub part_rows: usize,
    /// Age at which a table's rows become a segment, even if they are fewer.
    pub part_time: Duration,
    /// Time between two rows of the system table; zero for no rows.
    pub system_time: Duration,
}

enum RecorderMessage {
    Step(Box<StepRow>),
    Event(EventRow),
    Tokens(Box<TokenRow>),
    Layers(Vec<LayerRow>),
    Rollouts(Vec<RolloutRow>),
    /// New timing, and the hash of the new config.
    Config(RecordTiming, String),
    /// Whether rows of steps are also written as TensorBoard's event files.
    EventFiles(EventFiles),
    /// PCI bus id of the GPU that the run uses.
    Gpu(String),
    /// Measure the system for a screen too, then reply.
    ShowSystem(SyncSender<()>),
    /// Write all rows to segments, then reply.
    Flush(SyncSender<()>),
}

/// State of the recorder's writing.
#[derive(Clone, Debug, PartialEq)]
pub enum RecorderHealth {
    Healthy,
    /// The disk is full, with the error. All rows are kept and written when there is room.
    DiskFull(String),
    /// Writing failed for another reason, with the error.
    Failed(String),
}

/// The trainer's handle to the recorder's thread. Dropping it writes the remaining rows.
pub struct Recorder {
    sender: Option<SyncSender<RecorderMessage>>,
    health: Arc<Mutex<RecorderHealth>>,
    latest_system: Arc<Mutex<Option<SystemRow>>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the thread that writes into `folder`, whose WALs must have been recovered.
    pub fn start(folder: &RunFolder, timing: RecordTiming, config_hash: String) -> Result<Self, RecordError> {
        let health = Arc::new(Mutex::new(RecorderHealth::Healthy));
        let latest_system: Arc<Mutex<Option<SystemRow>>> = Arc::default();
        let (sender, messages) = sync_channel(QUEUE_CAPACITY);
        let mut writer = RecorderThread {
            tables: Tables::open(folder)?,
            system: SystemMonitor::new(folder.path(), latest_system.clone()),
            run: folder.id(),
            config_hash,
            timing,
            step: 0,
            unsynced_since: None,
            events: None,
            health: health.clone(),
            path: folder.path().to_owned(),
        };
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .spawn(move || writer.run(&messages))
            .map_err(RecordError::io("start a thread for", folder.path()))?;
        Ok(Self { sender: Some(sender), health, latest_system, thread: Some(thread) })
    }

    pub fn record_step(&self, row: StepRow) {
        self.send(RecorderMessage::Step(Box::new(row)));
    }

    pub fn record_event(&self, row: EventRow) {
        self.send(RecorderMessage::Event(row));
    }

    /// Records a probed row of tokens and its thoughts.
    pub fn record_tokens(&self, row: TokenRow) {
        self.send(RecorderMessage::Tokens(Box::new(row)));
    }

    /// Records what was measured of the layers at a step.
    pub fn record_layers(&self, rows: Vec<LayerRow>) {
        self.send(RecorderMessage::Layers(rows));
    }

    /// Records the rollouts of an iteration.
    pub fn record_rollouts(&self, rows: Vec<RolloutRow>) {
        self.send(RecorderMessage::Rollouts(rows));
    }

    /// Sets the timing, and the config hash that is written to segment footers.
    pub fn set_config(&self, timing: RecordTiming, hash: String) {
        self.send(RecorderMessage::Config(timing, hash));
    }

    /// Also writes the rows of steps from now on as event files of TensorBoard, or stops doing so.
    pub fn set_event_files(&self, files: EventFiles) {
        self.send(RecorderMessage::EventFiles(files));
    }

    /// Includes the GPU with this PCI bus id in the system table from now on.
    pub fn watch_gpu(&self, bus: String) {
        self.send(RecorderMessage::Gpu(bus));
    }

    /// Measures the system for a screen too, now and every few seconds.
    pub fn show_system(&self) {
        self.send_and_wait(RecorderMessage::ShowSystem);
    }

    /// Returns a measurement of the system that the screen does not have yet, if there is one.
    pub fn take_system_row(&self) -> Option<SystemRow> {
        self.latest_system.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Waits until all rows are in segments or could not be written. Returns the recorder's health.
    pub fn flush(&self) -> RecorderHealth {
        self.send_and_wait(RecorderMessage::Flush);
        self.health()
    }

    pub fn health(&self) -> RecorderHealth {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn send_and_wait(&self, message: impl FnOnce(SyncSender<()>) -> RecorderMessage) {
        let (sender, done) = sync_channel(1);
        self.send(message(sender));
        let _ = done.recv();
    }

    fn send(&self, message: RecorderMessage) {
        let thread_ended = self.sender.as_ref().is_none_or(|sender| sender.send(message).is_err());
        if thread_ended {
            let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            if *health == RecorderHealth::Healthy {
                *health = RecorderHealth::Failed("the recorder's thread ended unexpectedly".into());
            }
        }
    }
}

impl Drop for Recorder {
    /// Writes the remaining rows, even if the trainer panics.
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let RecorderHealth::DiskFull(error) | RecorderHealth::Failed(error) = self.health() {
            tracing::error!("cannot write the last rows: {error}");
        }
    }
}

struct Tables {
    steps: Table<StepRow>,
    events: Table<EventRow>,
    tokens: Table<TokenRow>,
    thoughts: Table<ThoughtRow>,
    layers: Table<LayerRow>,
    rollouts: Table<RolloutRow>,
    system: Table<SystemRow>,
}

impl Tables {
    fn open(folder: &RunFolder) -> Result<Self, RecordError> {
        let run = folder.path();
        Ok(Self {
            steps: Table::open(run)?,
            events: Table::open(run)?,
            tokens: Table::open(run)?,
            thoughts: Table::open(run)?,
            layers: Table::open(run)?,
            rollouts: Table::open(run)?,
            system: Table::open(run)?,
        })
    }

    fn push_probe(&mut self, mut row: TokenRow) {
        ThoughtRow::from_token_row(&row).into_iter().for_each(|thought| self.thoughts.push(thought));
        (row.thoughts, row.token_texts) = Default::default();
        self.tokens.push(row);
    }

    fn write(&mut self, all: bool, timing: &RecordTiming, footer: &Footer) -> Result<(), RecordError> {
        let (rows, time) = if all { (0, Duration::ZERO) } else { (timing.part_rows, timing.part_time) };
        self.steps.write_pending(rows, time, footer)?;
        self.events.write_pending(rows, time, footer)?;
        // Before the tokens: a reader that sees a row of tokens then also finds its thoughts.
        self.thoughts.write_pending(rows, time, footer)?;
        self.tokens.write_pending(rows, time, footer)?;
        self.layers.write_pending(rows, time, footer)?;
        self.rollouts.write_pending(rows, time, footer)?;
        self.system.write_pending(rows, time, footer)
    }
}

struct RecorderThread {
    tables: Tables,
    system: SystemMonitor,
    run: String,
    config_hash: String,
    timing: RecordTiming,
    step: u64,
    /// When the oldest unsynced row arrived.
    unsynced_since: Option<Instant>,
    /// The event file; none unless one is wanted.
    events: Option<EventWriter>,
    health: Arc<Mutex<RecorderHealth>>,
    path: PathBuf,
}

impl RecorderThread {
    fn run(&mut self, messages: &Receiver<RecorderMessage>) {
        loop {
            match messages.recv_timeout(self.time_until_due()) {
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.write_tables(true),
            }
            if self.measure_and_check_due() {
                self.write_tables(false);
            }
        }
    }

    /// Returns how long to wait for a message before something is due.
    fn time_until_due(&self) -> Duration {
        if self.is_disk_full() {
            return RETRY_INTERVAL;
        }
        let sync = self.unsynced_since.map(|since| self.timing.sync_time.saturating_sub(since.elapsed()));
        let system = self.system.time_until_due(self.timing.system_time);
        sync.into_iter().chain(system).min().unwrap_or(Duration::from_secs(3600))
    }

    fn handle(&mut self, message: RecorderMessage) {
        match message {
            RecorderMessage::Step(row) => {
                self.step = row.step();
                self.events.iter_mut().for_each(|events| events.push(&row));
                self.tables.steps.push(*row);
            }
            RecorderMessage::Event(row) => self.tables.events.push(row),
            RecorderMessage::Tokens(row) => self.tables.push_probe(*row),
            RecorderMessage::Layers(rows) => rows.into_iter().for_each(|row| self.tables.layers.push(row)),
            RecorderMessage::Rollouts(rows) => rows.into_iter().for_each(|row| self.tables.rollouts.push(row)),
            RecorderMessage::Config(timing, hash) => (self.timing, self.config_hash) = (timing, hash),
            RecorderMessage::EventFiles(files) => return self.set_event_files(files),
            RecorderMessage::Gpu(bus) => return self.system.watch_gpu(&bus),
            RecorderMessage::ShowSystem(done) => {
                self.system.show(self.step);
                let _ = done.send(());
                return;
            }
            RecorderMessage::Flush(done) => {
                self.write_tables(true);
                let _ = done.send(());
            }
        }
        self.unsynced_since.get_or_insert_with(Instant::now);
    }

    fn set_event_files(&mut self, files: EventFiles) {
        match files {
            EventFiles::Written if self.events.is_none() => self.events = Some(EventWriter::new(&self.path)),
            EventFiles::Written => {}
            EventFiles::Omitted => {
                // Rows that cannot be written now are not wanted any more; the tables have them.
                let _ = self.events.take().map(|mut events| events.write_pending());
            }
        }
    }

    fn is_disk_full(&self) -> bool {
        matches!(*self.health.lock().unwrap_or_else(PoisonError::into_inner), RecorderHealth::DiskFull(_))
    }

    /// Measures the system if that is due. Returns whether rows must be written.
    fn measure_and_check_due(&mut self) -> bool {
        let time = if self.is_disk_full() { Duration::ZERO } else { self.timing.system_time };
        if let Some(row) = self.system.measure_if_due(self.step, time) {
            self.tables.system.push(row);
            self.unsynced_since.get_or_insert_with(Instant::now);
        }
        let by_rows = self.tables.steps.unsynced_rows() >= self.timing.sync_rows;
        let by_age = self.unsynced_since.is_some_and(|since| since.elapsed() >= self.timing.sync_time);
        // A full disk is tried again after a pause, not after every row.
        if self.is_disk_full() { by_age } else { by_rows || by_age }
    }

    /// Syncs all rows, and writes segments of the tables that are due, or of all tables if `all`.
    fn write_tables(&mut self, all: bool) {
        let result = self.try_write_tables(all);
        self.unsynced_since = match &result {
            Ok(()) => None,
            // Try again after the retry interval.
            Err(_) => Some(Instant::now() + RETRY_INTERVAL.saturating_sub(self.timing.sync_time)),
        };
        let health = match result {
            Ok(()) => RecorderHealth::Healthy,
            Err(error) if error.is_disk_full() => RecorderHealth::DiskFull(error.to_string()),
            Err(error) => RecorderHealth::Failed(error.to_string()),
        };
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    fn try_write_tables(&mut self, all: bool) -> Result<(), RecordError> {
        if !self.path.is_dir() {
            let path = self.path.display().to_string();
            return Err(RecordError::NoRun { path, reason: "it was removed".into() });
        }
        self.tables.write(all, &self.timing, &segment_footer(&self.run, &self.config_hash))?;
        self.events.iter_mut().try_for_each(EventWriter::write_pending)
    }
}

/// Returns the metadata for the footer of every segment: run id, schema version and config hash.
pub fn segment_footer(run: &str, config_hash: &str) -> Footer {
    [("run", run), ("schema_version", SCHEMA_VERSION), ("config_sha256", config_hash)]
        .map(|(key, value)| (format!("coconut_lab.{key}"), value.to_owned()))
        .to_vec()
}

/// Converts the WALs of a killed process to segments, and removes all rows after step `until` (-1: all rows).
pub fn recover_tables(folder: &RunFolder, config_hash: &str, until: i64) -> Result<(), RecordError> {
    fn recover_table<R: TableRow>(folder: &RunFolder, footer: &Footer, until: i64) -> Result<(), RecordError> {
        let dir = folder.path().join(R::TABLE);
        segments::recover_wals(&dir, &R::schema(), footer)?;
        segments::truncate_after(&dir, until, footer)
    }
    let footer = segment_footer(&folder.id(), config_hash);
    recover_table::<StepRow>(folder, &footer, until)?;
    recover_table::<EventRow>(folder, &footer, until)?;
    recover_table::<TokenRow>(folder, &footer, until)?;
    recover_table::<ThoughtRow>(folder, &footer, until)?;
    recover_table::<LayerRow>(folder, &footer, until)?;
    recover_table::<RolloutRow>(folder, &footer, until)?;
    recover_table::<SystemRow>(folder, &footer, until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing() -> RecordTiming {
        RecordTiming {
            sync_time: Duration::from_millis(20),
            sync_rows: 1000,
            part_rows: 1000,
            part_time: Duration::from_secs(3600),
            system_time: Duration::ZERO,
        }
    }

    fn rows(folder: &RunFolder) -> usize {
        let batches = segments::read_table(&folder.path().join("metrics")).unwrap().batches;
        batches.iter().map(arrow::array::RecordBatch::num_rows).sum()
    }

    fn wait_for(condition: impl Fn() -> bool) -> bool {
        let until = Instant::now() + Duration::from_secs(10);
        while !condition() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        condition()
    }

    #[test]
    fn rows_are_in_the_wal_after_the_sync_time_and_in_segments_after_a_flush() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        let recorder = Recorder::start(&folder, timing(), "h".into()).unwrap();
        recorder.record_step(StepRow::new(1));
        assert!(wait_for(|| rows(&folder) == 1), "in the WAL");
        assert!(segments::file_numbers(&folder.path().join("metrics"), "parquet").is_empty());
        recorder.record_step(StepRow::new(2));
        assert_eq!(recorder.flush(), RecorderHealth::Healthy);
        assert_eq!(segments::file_numbers(&folder.path().join("metrics"), "parquet"), [0]);
        recorder.record_step(StepRow::new(3));
        drop(recorder);
        assert_eq!(rows(&folder), 3);
        assert!(segments::file_numbers(&folder.path().join("metrics"), "log").is_empty());
    }

    #[test]
    fn rollouts_in_the_wal_of_a_killed_process_are_recovered_and_later_ones_cut() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        let row = |step, rollout| RolloutRow { step, rollout, text: "⟨4 10⟩ 1".into(), ..RolloutRow::default() };
        let mut table = Table::open(folder.path()).unwrap();
        [row(5, 0), row(5, 1), row(10, 0)].into_iter().for_each(|row| table.push(row));
        table.sync_wal().unwrap();
        std::mem::forget(table);
        recover_tables(&folder, "h", 9).unwrap();
        let rollouts = folder.path().join("rollouts");
        assert!(segments::file_numbers(&rollouts, "log").is_empty());
        let read = segments::read_table(&rollouts).unwrap().batches;
        let read: Vec<RolloutRow> = read.iter().flat_map(super::super::rows::read_rollout_rows).collect();
        assert_eq!(read, [row(5, 0), row(5, 1)]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_reported_until_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        let recorder = Recorder::start(&folder, timing(), "h".into()).unwrap();
        let log = segments::wal_path(&folder.path().join("metrics"), 0);
        std::os::unix::fs::symlink("/dev/full", &log).unwrap();
        recorder.record_step(StepRow::new(1));
        assert!(wait_for(|| matches!(recorder.health(), RecorderHealth::DiskFull(_))), "{:?}", recorder.health());
        std::fs::remove_file(&log).unwrap();
        assert!(wait_for(|| recorder.health() == RecorderHealth::Healthy));
        assert_eq!(rows(&folder), 1);
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        let recorder = Recorder::start(&folder, timing(), "h".into()).unwrap();
        std::fs::remove_dir_all(folder.path()).unwrap();
        recorder.record_step(StepRow::new(1));
        assert!(matches!(recorder.flush(), RecorderHealth::Failed(_)));
    }
}
