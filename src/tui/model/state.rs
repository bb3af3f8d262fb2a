//! Owns: `RunModel`, everything known of the run, folded from the trainer's events in their order.
//! Must not know: the terminal, keys, the view, the time of day (the caller passes the time).
//! Invariant: memory is bounded for a run of any length; every number in it is finite.

mod queries;

pub use queries::Attention;

use super::bounded_list::BoundedList;
use super::config_history::ConfigHistory;
use super::cost::RunCost;
use super::histograms::EntropyHistograms;
use super::history::{MovingAverage, SeriesHistory};
use super::layers::LayerHistories;
use super::metrics::RunMetrics;
use super::pace::PaceEstimator;
use super::rollouts::RolloutHistory;
use crate::config::{Config, ConfigKey};
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::pace::StepDurations;
use crate::schema::protocol::{
    Alert, AlertTopic, ConfigUpdate, Event, LogLevel, LogLine, PlaygroundAnswer, RunInfo, RunPhase, RunSummary,
    ValidationFigure, ValidationSample,
};
use crate::schema::rows::{ChangeOutcome, ChangeRow, SystemRow};
use crate::schema::token_rows::{EntropyHistogram, TokenRow};
use chrono::{DateTime, Local, Utc};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Maximum number of positions kept of one token row: more than a user scrolls through.
const MAX_CELLS_PER_ROW: usize = 16_384;
/// Maximum number of positions in all kept token rows together.
const MAX_CELLS: usize = 65_536;
/// Maximum number of values with names of their own whose history is kept.
const MAX_FIGURES: usize = 64;
const MAX_UNDO: usize = 200;
/// Weight of previous values in the displayed speed.
const SPEED_SMOOTHING: f64 = 0.9;

#[derive(Clone, Debug, PartialEq)]
pub struct PrepareProgress {
    /// What is counted, such as `records`.
    pub label: String,
    pub done: u64,
    /// The total count; 0 if it is not known.
    pub total: u64,
}

/// Whether the trainer still works on the run, and if not, how it ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum TrainerStatus {
    #[default]
    Running,
    /// The run reached its last step, or was stopped.
    Finished(Box<RunSummary>),
    Failed(String),
    /// The trainer disconnected without a summary, after it was asked to stop.
    Disconnected,
}

/// A line of the log. The dashboard's own lines have no time.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// Local time as `HH:MM:SS`, or empty.
    pub time: String,
    pub level: LogLevel,
    pub text: String,
}

/// An alert that needs the user's attention.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAlert {
    /// Local time as `HH:MM:SS`.
    pub time: String,
    pub text: String,
}

fn local_time(time: DateTime<Utc>) -> String {
    time.with_timezone(&Local).format("%H:%M:%S").to_string()
}

/// Something that charts mark at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChartMark {
    Change,
    Note,
}

/// How many trainers, and items of each list, a dashboard has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    pub trainers: u64,
    pub log_lines: u64,
    pub changes: u64,
    pub samples: u64,
    pub answers: u64,
}

/// Config keys with their values, as text that `set` accepts.
pub type KeyValues = Vec<(String, String)>;

#[derive(Clone, Debug, Default)]
pub struct RunModel {
    /// The run's fixed facts and its current config, after `Event::Started`.
    pub run: Option<Box<RunInfo>>,
    pub phase: Option<RunPhase>,
    pub progress: Option<PrepareProgress>,
    pub metrics: RunMetrics,
    /// Whether a live step was received (history does not count).
    pub has_live_step: bool,
    trainers_started: u64,
    /// The last token rows, oldest first.
    pub token_rows: VecDeque<Box<TokenRow>>,
    pub histograms: EntropyHistograms,
    pub layers: LayerHistories,
    pub rollouts: RolloutHistory,
    /// The histories of values with names of their own, at most [`MAX_FIGURES`].
    pub figures: BTreeMap<String, SeriesHistory>,
    pub samples: BoundedList<ValidationSample, 500>,
    /// The playground's answers. The last may be unfinished.
    pub answers: BoundedList<PlaygroundAnswer, 50>,
    /// Config changes that were applied or refused, and notes.
    pub changes: BoundedList<ChangeRow, 2000>,
    pub config_history: ConfigHistory,
    /// Undo stack: for each change, the values before it and the values it set.
    undo_stack: Vec<(KeyValues, KeyValues)>,
    pub cost: RunCost,
    pub system: Option<Box<SystemRow>>,
    pub log: BoundedList<LogEntry, 2000>,
    pub pace: PaceEstimator,
    /// How long the last steps took, on the run's clock.
    step_durations: StepDurations,
    /// When the last step was received or the phase changed, since the dashboard opened.
    last_progress: Duration,
    /// Tokens per second, smoothed.
    pub tokens_per_s: MovingAverage,
    pub status: TrainerStatus,
    /// The last panic of a thread other than the dashboard's.
    pub panic: Option<String>,
    pub dropped_frames: u64,
    /// The current time, since the dashboard opened.
    pub now: Duration,
    /// Seconds by which the run's own clock is ahead of the dashboard's.
    clock_offset_s: f64,
    /// Alerts that need the user's attention, by subject.
    pub alerts: BTreeMap<AlertTopic, OpenAlert>,
}

impl RunModel {
    fn add_figure(&mut self, ValidationFigure { step, name, value }: ValidationFigure) {
        if self.figures.len() < MAX_FIGURES || self.figures.contains_key(&name) {
            self.figures.entry(name).or_default().push(step, value);
        }
    }

    /// Applies one event that arrived `now` after the dashboard opened.
    pub fn apply(&mut self, event: Event, now: Duration) {
        self.now = now;
        match event {
            Event::Phase(phase) => {
                let now = self.now_on_run_clock();
                match phase {
                    RunPhase::Paused => self.pace.start_pause(now),
                    _ => self.pace.end_pause(now),
                }
                self.progress = None;
                self.phase = Some(phase);
                self.last_progress = self.now;
            }
            Event::Progress { label: what, done, total } => {
                self.progress = Some(PrepareProgress { label: what, done, total })
            }
            Event::Started(info) => {
                if self.run.is_some() {
                    // Another trainer continues the run, perhaps from an earlier step.
                    let last = std::mem::take(self);
                    self.log = last.log;
                    self.clock_offset_s = last.clock_offset_s;
                    self.trainers_started = last.trainers_started;
                    // A fork has no record of what its parent was asked; a resumed run sends it again.
                    if last.run.is_some_and(|run| run.folder != info.folder) {
                        self.answers = last.answers;
                    }
                    (self.phase, self.now) = (last.phase, now);
                }
                self.trainers_started += 1;
                self.config_history = ConfigHistory::new(&info.config);
                self.progress = None;
                self.run = Some(info);
            }
            Event::Step(row) => self.apply_step(&row),
            Event::History(rows) => rows.iter().for_each(|row| self.add_metrics(row)),
            Event::ProbedRow(row) => self.push_token_row(row),
            Event::EntropyHistograms(histograms) => histograms.iter().for_each(|next| self.histograms.push(next)),
            Event::Layers(rows) => self.layers.add(rows),
            Event::Rollouts(rows) => self.rollouts.add(rows),
            Event::System(row) => self.system = Some(row),
            Event::Figure(figure) => self.add_figure(figure),
            Event::Sample(sample) => self.samples.push(*sample),
            Event::Answer(answer) => self.update_answer(*answer),
            Event::Log(LogLine { time, level, text }) => {
                self.log.push(LogEntry { time: time.format("%H:%M:%S").to_string(), level, text })
            }
            Event::ConfigChanged(changed) => self.apply_changes(*changed),
            // A reply to what was pressed, which the view shows.
            Event::Alert(Alert { topic: AlertTopic::DashboardEdit, .. }) => {}
            Event::Alert(Alert { topic, text, time }) => {
                self.alerts.remove(&topic);
                self.alerts.extend(text.map(|text| (topic, OpenAlert { time: local_time(time), text })));
            }
            Event::Finished(summary) => self.status = TrainerStatus::Finished(summary),
            Event::Failed(text) => self.set_failed(text),
        }
    }

    fn update_answer(&mut self, answer: PlaygroundAnswer) {
        let is_same = |last: &&mut PlaygroundAnswer| last.number == answer.number && last.end_reason.is_none();
        match self.answers.last_mut().filter(is_same) {
            Some(last) => *last = answer,
            None => self.answers.push(answer),
        }
    }

    fn push_token_row(&mut self, mut row: Box<TokenRow>) {
        self.histograms.push(&EntropyHistogram::from(&*row));
        row.cells.truncate(MAX_CELLS_PER_ROW);
        self.token_rows.push_back(row);
        let cells = |rows: &VecDeque<Box<TokenRow>>| rows.iter().map(|row| row.cells.len()).sum::<usize>();
        while self.token_rows.len() > 1 && cells(&self.token_rows) > MAX_CELLS {
            self.token_rows.pop_front();
        }
    }

    fn apply_changes(&mut self, changed: ConfigUpdate) {
        let applied = changed.rows.iter().any(|row| row.outcome == ChangeOutcome::Applied);
        if changed.rows.is_empty() {
            // The config that the run started with; the events of its earlier changes follow.
            self.config_history = ConfigHistory::new(&changed.config);
        } else if applied {
            self.push_undo(&changed);
            self.config_history.push(changed.rows[0].step, &changed.config);
        }
        changed.rows.into_iter().for_each(|row| self.changes.push(row));
        if let Some(run) = &mut self.run {
            (run.config, run.version) = (changed.config, changed.version);
        }
    }

    /// Pushes the change onto the undo stack. A change that reverts the last one pops that one instead.
    fn push_undo(&mut self, changed: &ConfigUpdate) {
        let Some(before) = self.run.as_ref().map(|run| &run.config) else { return };
        let keys = changed.rows.iter().filter_map(|row| row.key.as_deref());
        let keys: Vec<&ConfigKey> = keys.filter_map(Config::find_key).collect();
        let values = |config: &Config| -> KeyValues {
            keys.iter().map(|key| (key.path(), config.value(key).to_string())).collect()
        };
        let (old, new) = (values(before), values(&changed.config));
        match self.undo_stack.last() {
            Some((before, _)) if *before == new => drop(self.undo_stack.pop()),
            _ => self.undo_stack.push((old, new)),
        }
        if self.undo_stack.len() > MAX_UNDO {
            self.undo_stack.remove(0);
        }
    }

    /// Returns the values that undo the last change; with `others` > 0, those of that many changes before it.
    pub fn undo_values(&self, others: usize) -> Option<&KeyValues> {
        self.undo_stack.iter().rev().nth(others).map(|(before, _)| before)
    }

    fn apply_step(&mut self, row: &StepRow) {
        self.has_live_step = true;
        // A reader that watches a run sends rows in bursts, so the time they were recorded counts.
        let recorded = row.get(Metric::WallS).filter(|wall| wall.is_finite());
        let before = self.metrics.latest(Metric::WallS).zip(row.step().checked_sub(self.metrics.current_step()));
        if let (Some(wall), Some((before, 1))) = (recorded, before)
            && let Ok(took) = Duration::try_from_secs_f64(wall - before)
        {
            self.step_durations.push(took);
        }
        self.last_progress = self.now;
        self.clock_offset_s = recorded.map_or(self.clock_offset_s, |wall| wall - self.now.as_secs_f64());
        self.pace.record_step(row.step(), self.now_on_run_clock());
        if let Some(speed) = row.get(Metric::TokensPerS).filter(|speed| speed.is_finite()) {
            self.tokens_per_s.add(speed, SPEED_SMOOTHING);
        }
        self.add_metrics(row);
    }

    /// Adds the metrics of a step, live or from history.
    fn add_metrics(&mut self, row: &StepRow) {
        self.cost.add(row);
        self.metrics.add(row);
    }

    fn now_on_run_clock(&self) -> Duration {
        Duration::try_from_secs_f64(self.now.as_secs_f64() + self.clock_offset_s).unwrap_or_default()
    }

    /// Appends a log line of the dashboard's own.
    pub fn log_message(&mut self, level: LogLevel, text: String) {
        self.log.push(LogEntry { time: String::new(), level, text });
    }

    fn set_failed(&mut self, text: String) {
        // The trainer has logged the error itself, if it could.
        let logged = self.log.iter().rev().take(8).any(|entry| entry.level == LogLevel::Error && entry.text == text);
        if !logged {
            self.log_message(LogLevel::Error, format!("training failed: {text}"));
        }
        self.status = TrainerStatus::Failed(text);
    }

    /// Resets what belonged to the last trainer, before another continues the run.
    pub fn reset_for_new_trainer(&mut self) {
        (self.status, self.phase, self.panic) = (TrainerStatus::Running, None, None);
        self.metrics.not_finite = None;
        self.alerts.clear();
    }

    /// Records the panic of a thread other than the dashboard's.
    pub fn record_panic(&mut self, text: String) {
        self.log_message(LogLevel::Error, text.clone());
        self.panic = Some(text);
    }

    /// Handles that the trainer's end of the channel closed; `asked` if it was asked to stop.
    pub fn handle_disconnect(&mut self, asked: bool) {
        if self.status != TrainerStatus::Running {
            return;
        }
        match self.panic.clone() {
            Some(text) => self.set_failed(text),
            None if asked => self.status = TrainerStatus::Disconnected,
            None => self.set_failed("its thread ended without an error message".into()),
        }
    }
}
