//! Owns: reading a run folder as a stream of events: first what its files hold, then what is added to them.
//! Must not know: screens, how the files are written.
//! Invariant: it only reads; `config_writer` writes the run's config file, `requester` leaves requests.

use crate::config::{self, Config};
use crate::data::{Dataset, Tokenizer};
use crate::record::reader::event_fold::EventFold;
use crate::record::reader::open_request::OpenRequest;
use crate::record::reader::tail::{ReadDepth, TableTail, TextTail};
use crate::record::rows::{self};
use crate::record::run_folder::{RunFolder, read_json};
use crate::record::{log, status};
use crate::schema::metrics::{LossSummary, Metric, StepRow};
use crate::schema::protocol::{Alert, AlertTopic, Command, ConfigUpdate, Event, RunInfo, RunPhase, RunSummary};
use crate::schema::rollout_rows::{MAX_KEPT_ROLLOUTS, RolloutRow};
use crate::schema::rows::{ChangeOutcome, ChangeRow, ChangeSource};
use crate::schema::status::{RunState, RunStatus};
use crate::schema::token_rows::EntropyHistogram;
use arrow::array::RecordBatch;
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// Follows the run in `folder` until a channel is closed. Sends `events`, and carries out `commands`.
pub fn follow_run(folder: RunFolder, events: SyncSender<Event>, commands: &Receiver<Command>) {
    let mut reader = RunReader::new(folder, events);
    while reader.poll() {
        match commands.recv_timeout(POLL_INTERVAL) {
            Ok(command) => reader.handle_command(command),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Returns the events of what the files in `folder` hold now. A thread reads them as they are consumed.
pub fn current_events(folder: RunFolder) -> impl Iterator<Item = Event> {
    let (events_in, events) = sync_channel(256);
    std::thread::spawn(move || RunReader::new(folder, events_in).poll());
    events.into_iter()
}

/// Reads a run folder, remembers how far it has read, and sends what is new as events.
pub struct RunReader {
    pub(super) folder: RunFolder,
    pub(super) events: SyncSender<Event>,
    /// Whether `run.json` was read and `Started` sent.
    started: bool,
    pub(super) config: Config,
    version: u64,
    tokenizer: Option<Tokenizer>,
    vocab_size: usize,
    metrics: TableTail,
    tokens: TableTail,
    thoughts: TableTail,
    layers: TableTail,
    rollouts: TableTail,
    events_table: TableTail,
    system: TableTail,
    unsent_thoughts: Vec<RecordBatch>,
    log: TextTail,
    changes: TextTail,
    last_row: Option<StepRow>,
    losses: LossSummary,
    phase: Option<RunPhase>,
    /// Whether the last recorded pause event says that the run is paused.
    pub(super) pause_recorded: bool,
    event_fold: EventFold,
    /// The requests to the run's trainer that have no answer yet.
    pub(super) requests: Vec<OpenRequest>,
    /// The config file whose last edit was refused.
    refused_file: Option<AlertTopic>,
    process_id: Option<u32>,
    end_sent: bool,
    disconnected: bool,
    /// What could not be read, and was said.
    known_damage: HashSet<String>,
}

impl RunReader {
    pub(super) fn new(folder: RunFolder, events: SyncSender<Event>) -> Self {
        Self {
            metrics: TableTail::new(folder.path().join("metrics")),
            tokens: TableTail::new(folder.path().join("tokens")),
            thoughts: TableTail::new(folder.path().join("thoughts")),
            layers: TableTail::new(folder.path().join("layers")),
            rollouts: TableTail::new(folder.path().join("rollouts")),
            events_table: TableTail::new(folder.path().join("events")),
            system: TableTail::new(folder.path().join("system")),
            unsent_thoughts: Vec::new(),
            log: TextTail::new(folder.log_file()),
            changes: TextTail::new(folder.changes_file()),
            folder,
            events,
            started: false,
            config: Config::default(),
            version: 0,
            tokenizer: None,
            vocab_size: 0,
            last_row: None,
            losses: LossSummary::default(),
            phase: None,
            pause_recorded: false,
            event_fold: EventFold::default(),
            requests: Vec::new(),
            refused_file: None,
            process_id: None,
            end_sent: false,
            disconnected: false,
            known_damage: HashSet::new(),
        }
    }

    /// Sends what is new; returns whether anyone still receives it.
    fn poll(&mut self) -> bool {
        if !self.started && !self.read_run_info() {
            return !self.disconnected;
        }
        // Read first: a run that has ended has written all its files.
        let status = status::read_status(&self.folder).unwrap_or_else(|error| {
            self.emit_unreadable(error.to_string());
            None
        });
        let process = status.as_ref().map(|status| status.process);
        if self.process_id.is_some() && process.is_some() && self.process_id != process {
            self.restart();
        }
        self.process_id = process;
        self.emit_log();
        self.emit_changes();
        self.clear_fixed_alert();
        self.emit_steps();
        self.emit_token_rows();
        self.emit_layers();
        self.emit_rollouts();
        self.emit_samples();
        self.emit_system();
        self.emit_damage();
        self.check_requests();
        match status {
            Some(status) if status.state != RunState::Running => self.emit_end(&status),
            _ => {
                self.end_sent = false;
                let phase =
                    if self.config.run.paused || self.pause_recorded { RunPhase::Paused } else { RunPhase::Train };
                if self.phase.replace(phase) != Some(phase) {
                    self.emit(Event::Phase(phase));
                }
            }
        }
        !self.disconnected
    }

    /// Starts again, except for the log, after another process has resumed the run and maybe cut its tables.
    fn restart(&mut self) {
        let log = std::mem::replace(&mut self.log, TextTail::new(PathBuf::new()));
        let requests = std::mem::take(&mut self.requests);
        let fresh = Self::new(self.folder.clone(), self.events.clone());
        *self = Self { log, requests, ..fresh };
        self.read_run_info();
    }

    /// Reads `run.json` and the first config, and sends `Started`; returns whether the file is there.
    fn read_run_info(&mut self) -> bool {
        let mut info = match read_json::<RunInfo>(&self.folder.run_info_file()) {
            Ok(Some(info)) => info,
            read => {
                if let Err(error) = read {
                    self.emit_unreadable(error.to_string());
                }
                self.emit_log();
                return false;
            }
        };
        self.config = config::load(&self.folder.version_file(0), &[]).unwrap_or_default();
        info.config = self.config.clone();
        info.folder = self.folder.path().to_owned();
        self.vocab_size = info.vocab_size;
        self.tokenizer = self.load_tokenizer();
        self.started = true;
        self.emit(Event::Started(Box::new(info)));
        true
    }

    /// Loads the tokenizer of the dataset; if the dataset does not exist here, that of the newest checkpoint.
    fn load_tokenizer(&self) -> Option<Tokenizer> {
        let dataset = Dataset::open(Path::new(&self.config.data.dir)).ok();
        let of_checkpoint = || {
            let newest = *self.folder.checkpoint_steps().last()?;
            Tokenizer::from_file(&self.folder.checkpoint_folder(newest).join("tokenizer.json")).ok()
        };
        let tokenizer = dataset.and_then(|dataset| dataset.tokenizer()).or_else(of_checkpoint)?;
        match self.config.objective.kind {
            kind if kind.learns_questions() => tokenizer.with_markers().ok(),
            _ => Some(tokenizer),
        }
    }

    /// Sends an event. Waits while the channel is full, so that no event is dropped.
    pub(super) fn emit(&mut self, event: Event) {
        self.disconnected |= self.events.send(event).is_err();
    }

    fn emit_log(&mut self) {
        for line in self.log.new_lines() {
            if let Some(line) = log::parse_line(&line) {
                self.emit(Event::Log(line));
            }
        }
    }

    fn emit_changes(&mut self) {
        let lines = self.changes.new_lines();
        let rows: Vec<ChangeRow> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        for rows in rows.chunk_by(|a, b| a.set == b.set) {
            let (applied, noted) = (rows[0].outcome == ChangeOutcome::Applied, rows[0].outcome == ChangeOutcome::Noted);
            if applied && let Ok(config) = config::load(&self.folder.version_file(rows[0].version), &[]) {
                self.config = config;
                self.version = rows[0].version;
            }
            let topic = match &rows[0].source {
                ChangeSource::Keys => AlertTopic::DashboardEdit,
                file => AlertTopic::ConfigFile(file.to_string()),
            };
            let text = rows[0].reason.clone().filter(|_| !applied);
            if !noted && let AlertTopic::ConfigFile(_) = topic {
                self.refused_file = text.is_some().then(|| topic.clone());
            }
            let changed = ConfigUpdate { config: self.config.clone(), version: self.version, rows: rows.to_vec() };
            self.emit(Event::ConfigChanged(Box::new(changed)));
            // A note raises no alert.
            if !noted {
                self.emit(Event::Alert(Alert { topic, text, time: rows[0].time }));
            }
        }
    }

    /// Clears the alert about a refused edit once the config file equals the current config again. Undoing an
    /// edit is not a change, so the record does not show it.
    fn clear_fixed_alert(&mut self) {
        let fixed = |topic: &mut AlertTopic| match topic {
            AlertTopic::ConfigFile(name) if name == "config.toml" => {
                config::load(&self.folder.config_file(), &[]).is_ok_and(|config| config == self.config)
            }
            _ => false,
        };
        if let Some(topic) = self.refused_file.take_if(fixed) {
            self.emit(Event::Alert(Alert::now(topic, None)));
        }
    }

    fn emit_steps(&mut self) {
        let mut metrics = std::mem::replace(&mut self.metrics, TableTail::new(PathBuf::new()));
        metrics.for_each_new(ReadDepth::AllColumns, &mut |batch| {
            for row in rows::step_rows(&batch) {
                if self.last_row.as_ref().is_some_and(|last| last.step() >= row.step()) {
                    continue;
                }
                self.losses.update(&row);
                self.last_row = Some(row.clone());
                self.emit(Event::Step(Box::new(row)));
            }
        });
        self.metrics = metrics;
    }

    fn emit_token_rows(&mut self) {
        let (mut histograms, mut last) = (Vec::<EntropyHistogram>::new(), None);
        let vocab_size = self.vocab_size;
        self.tokens.for_each_new(ReadDepth::Columns(rows::HISTOGRAM_COLUMNS), &mut |batch| {
            histograms.extend(rows::entropy_histograms(&batch, vocab_size));
            last = Some(batch);
        });
        // Read after the token rows, because their recycled positions are written before them.
        let thought = &mut self.unsent_thoughts;
        self.thoughts.for_each_new(ReadDepth::Skip, &mut |batch| thought.push(batch));
        let Some(last) = last else { return };
        let text =
            |id: u32| self.tokenizer.as_ref().map_or_else(|| format!("{id} "), |tokenizer| tokenizer.token_text(id));
        let mut row = rows::last_token_row(&last, vocab_size, text);
        if let Some(row) = &mut row {
            row.thoughts = self.unsent_thoughts.iter().flat_map(|batch| rows::thoughts_at(batch, row.step)).collect();
            row.fill_token_texts(text);
            if self.config.objective.kind.learns_questions() {
                row.number_latents();
            }
        }
        // The last row is sent whole.
        histograms.truncate(histograms.len().saturating_sub(usize::from(row.is_some())));
        self.unsent_thoughts.retain(|batch| rows::last_step(batch) > row.as_ref().map(|row| row.step));
        if !histograms.is_empty() {
            self.emit(Event::EntropyHistograms(histograms));
        }
        if let Some(row) = row {
            self.emit(Event::ProbedRow(Box::new(row)));
        }
    }

    /// Sends the rows of the layers step by step, those of old segments without histograms. If a segment ends within a step,
    /// its rows are sent in two events.
    fn emit_layers(&mut self) {
        let mut layers = std::mem::replace(&mut self.layers, TableTail::new(PathBuf::new()));
        layers.for_each_new(ReadDepth::Columns(rows::LAYER_SERIES_COLUMNS), &mut |batch| {
            for step in rows::read_layer_rows(&batch).chunk_by(|a, b| a.step == b.step) {
                self.emit(Event::Layers(step.to_vec()));
            }
        });
        self.layers = layers;
    }

    /// Sends new rollouts, iteration by iteration: the newest, as many as a screen keeps.
    fn emit_rollouts(&mut self) {
        let (mut newest, mut count) = (VecDeque::<Vec<RolloutRow>>::new(), 0);
        self.rollouts.for_each_new(ReadDepth::AllColumns, &mut |batch| {
            for iteration in rows::read_rollout_rows(&batch).chunk_by(|a, b| a.step == b.step) {
                count += iteration.len();
                newest.push_back(iteration.to_vec());
            }
            while newest.len() > 1 && count > MAX_KEPT_ROLLOUTS {
                count -= newest.pop_front().map_or(0, |oldest| oldest.len());
            }
        });
        newest.into_iter().for_each(|rows| self.emit(Event::Rollouts(rows)));
    }

    fn emit_samples(&mut self) {
        let batches = self.events_table.new_rows();
        self.event_fold.fold(&batches).into_iter().for_each(|event| self.emit(event));
        for batch in batches {
            self.pause_recorded = rows::paused_after(&batch).unwrap_or(self.pause_recorded);
            rows::figures(&batch).into_iter().for_each(|figure| self.emit(Event::Figure(figure)));
            rows::samples(&batch).into_iter().for_each(|sample| self.emit(Event::Sample(Box::new(sample))));
        }
    }

    fn emit_system(&mut self) {
        let batches = self.system.new_rows();
        if let Some(row) = batches.last().and_then(rows::last_system_row) {
            self.emit(Event::System(Box::new(row)));
        }
    }

    /// Says what of the tables could not be read. The dashboard would otherwise show gaps as if there were no rows.
    fn emit_damage(&mut self) {
        let tables = [
            &mut self.metrics,
            &mut self.tokens,
            &mut self.thoughts,
            &mut self.layers,
            &mut self.rollouts,
            &mut self.events_table,
            &mut self.system,
        ];
        let damage: Vec<String> = tables.into_iter().flat_map(TableTail::take_damage).collect();
        damage.into_iter().for_each(|text| self.emit_unreadable(text));
    }

    /// Says once that something cannot be read.
    fn emit_unreadable(&mut self, text: String) {
        if self.known_damage.insert(text.clone()) {
            self.emit(Event::Alert(Alert::now(AlertTopic::DamagedFile(text.clone()), Some(text))));
        }
    }

    fn emit_end(&mut self, status: &RunStatus) {
        if std::mem::replace(&mut self.end_sent, true) {
            return;
        }
        match status.state {
            RunState::Failed => self.emit(Event::Failed(status.error.clone().unwrap_or_default())),
            RunState::Interrupted => {
                let run = self.folder.path().display();
                let text = format!("its process is gone; `coconut-lab resume {run}` continues the run");
                self.emit(Event::Failed(text));
            }
            state => {
                let summary = self.summary(status, state == RunState::Stopped);
                self.emit(Event::Finished(Box::new(summary)));
            }
        }
    }

    fn summary(&self, status: &RunStatus, stopped: bool) -> RunSummary {
        let last = |metric| self.last_row.as_ref().and_then(|row| row.get(metric));
        let seconds = last(Metric::WallS).unwrap_or(0.0);
        RunSummary {
            folder: self.folder.path().to_owned(),
            steps: status.step,
            tokens: last(Metric::Tokens).unwrap_or(0.0) as u64,
            duration: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            losses: self.losses.clone(),
            checkpoint: self.folder.checkpoint_steps().last().map(|step| self.folder.checkpoint_folder(*step)),
            best: self.folder.best_checkpoint(),
            stopped_early: stopped,
        }
    }
}

#[cfg(test)]
mod tests;
