//! Owns: [`Command`] and [`Event`], the plain host data that the trainer and its screens exchange.
//! Must not know: tensors, terminals, threads.
//! Invariant: every event is self-contained. A reader of all events in order can rebuild all that is shown.

use crate::config::Config;
use crate::schema::layer_rows::LayerRow;
use crate::schema::metrics::{LossSummary, StepRow};
use crate::schema::rollout_rows::RolloutRow;
use crate::schema::rows::{ChangeRow, SystemRow};
use crate::schema::token_rows::{EntropyHistogram, TokenRow};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A command to the trainer, applied at the next step boundary. It comes from a screen, or from a request in the run
/// folder, whose JSON uses these names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Pauses after the current step (`true`), or continues (`false`).
    SetPaused(bool),
    /// Runs one step, then pauses again.
    #[serde(rename = "step")]
    StepOnce,
    /// Changes config keys, all or none, and writes the new values into the run's config file.
    #[serde(rename = "set")]
    SetKeys(SetKeys),
    /// Adds this text to the table of changes, at the current step.
    Note(String),
    /// Continues a prompt of the user between steps. It cancels an answer that is still being generated.
    Ask(Box<PlaygroundRequest>),
    #[serde(rename = "checkpoint")]
    Save,
    /// Ends the run now and writes a checkpoint from which it can be resumed.
    Stop,
    /// Ends the run now without a checkpoint. Metrics measured so far are still written.
    StopWithoutCheckpoint,
}

impl Command {
    /// Returns the word that a user types for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SetPaused(true) => "pause",
            Self::SetPaused(false) => "go",
            Self::StepOnce => "step",
            Self::SetKeys(_) => "set",
            Self::Note(_) => "note",
            Self::Ask(_) => "ask",
            Self::Save => "checkpoint",
            Self::Stop | Self::StopWithoutCheckpoint => "stop",
        }
    }
}

/// A prompt for the model to continue in the playground.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlaygroundRequest {
    pub prompt: String,
    /// When to generate latents, as `generate --policy` takes it.
    pub policy: String,
    /// Divisor of the logits; 0 picks the most likely token (greedy).
    pub temperature: f64,
    pub max_tokens: usize,
    /// Step of the checkpoint whose weights answer; `None` uses the current weights.
    #[serde(default)]
    pub checkpoint: Option<u64>,
}

impl Default for PlaygroundRequest {
    /// Returns the settings of a first request, without a prompt: greedy, with thoughts by entropy.
    fn default() -> Self {
        let (prompt, policy) = (String::new(), "entropy:start=1.5,stop=0.5,most=8".into());
        Self { prompt, policy, temperature: 0.0, max_tokens: 64, checkpoint: None }
    }
}

/// The model's continuation of a playground prompt so far. A finished one is kept as JSON in the table of events.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlaygroundAnswer {
    /// Number of the answer, counted from 1. Each event about an answer carries all of it so far.
    pub number: u64,
    /// Number of updates that produced the weights that answer.
    pub step: u64,
    pub policy: String,
    pub prompt: String,
    pub parts: Vec<AnswerPart>,
    /// Why generation ended or failed; `None` while it continues.
    pub end_reason: Option<String>,
}

/// A stretch of an answer: text tokens or a thought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerPart {
    Text(String),
    /// Entropies of a stretch of latents, in nats: one for each latent that was fed, then one after the last.
    /// The final value is absent until it is known.
    Thought(Vec<f64>),
}

/// New values for config keys, requested by the user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetKeys {
    /// Pairs of `section.key` and its value as TOML. Values of text keys are plain text, not quoted.
    pub values: Vec<(String, String)>,
    /// Time of the request. Of two changes to one key, the later request wins. In a file, the request has it.
    #[serde(skip, default = "SystemTime::now")]
    pub requested_at: SystemTime,
}

impl SetKeys {
    /// Requests a new value for a single key, with the current time.
    pub fn single(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { values: vec![(key.into(), value.into())], requested_at: SystemTime::now() }
    }
}

/// A value with a name of its own, measured at a validation.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationFigure {
    pub step: u64,
    pub name: String,
    pub value: f64,
}

/// Name of the figure: share of the validation questions with so many steps that are answered rightly.
pub fn accuracy_by_steps_name(steps: usize) -> String {
    format!("valid_accuracy_{steps}_steps")
}

/// Returns the number of steps that such a name is about.
pub fn steps_of_accuracy_name(name: &str) -> Option<usize> {
    name.strip_prefix("valid_accuracy_")?.strip_suffix("_steps")?.parse().ok()
}

/// A report from the trainer to its screens.
#[derive(Clone, Debug)]
pub enum Event {
    Phase(RunPhase),
    /// Progress of a long preparation, such as making a dataset.
    Progress {
        /// What `done` and `total` count, such as "records".
        label: String,
        done: u64,
        /// Units in all; 0 if unknown.
        total: u64,
    },
    /// The device, model and data are ready and the run folder exists.
    Started(Box<RunInfo>),
    /// Metrics of one step. Dropped if the screen is slow; the recorder has them already.
    Step(Box<StepRow>),
    /// Metrics of earlier steps, in order, sent when a run is resumed.
    History(Vec<StepRow>),
    /// One probed row of tokens. Dropped if the screen is slow.
    ProbedRow(Box<TokenRow>),
    /// Entropy histograms of probed rows that are not sent in full, in order of steps.
    EntropyHistograms(Vec<EntropyHistogram>),
    /// What was measured of the layers at one step, in their order. Dropped if the screen is slow.
    Layers(Vec<LayerRow>),
    /// All rollouts of an iteration of reinforcement learning. Dropped if the screen is slow.
    Rollouts(Vec<RolloutRow>),
    /// Load of the machine: processor, memory, GPU. Dropped if the screen is slow.
    System(Box<SystemRow>),
    /// A continuation that the model generated at a validation.
    Sample(Box<ValidationSample>),
    /// What a validation measured beside the metrics.
    Figure(ValidationFigure),
    /// A playground answer so far. Dropped if the screen is slow, unless the answer is complete.
    Answer(Box<PlaygroundAnswer>),
    Log(LogLine),
    /// The config was changed, or a change was refused. A resumed run first sends its earlier changes, each
    /// with the config and version after it. The first of these has no rows and holds the initial config.
    ConfigChanged(Box<ConfigUpdate>),
    /// Something needs the user's attention, or no longer needs it.
    Alert(Alert),
    Finished(Box<RunSummary>),
    /// The run ended with an error, or its thread panicked.
    Failed(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunPhase {
    LoadData,
    BuildModel,
    /// The first step on a GPU, during which kernels are compiled and tuned.
    Compile,
    Train,
    Eval,
    Save,
    /// Waiting until the user continues the run.
    Paused,
}

/// A config change, applied as a whole or not at all; or a note.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigUpdate {
    /// The current config after the change.
    pub config: Config,
    pub version: u64,
    /// One row for each key that was changed or refused, or for the note.
    pub rows: Vec<ChangeRow>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Subject of the alert. A later alert with the same subject replaces this one.
    pub topic: AlertTopic,
    /// Description of the problem; `None` if it is solved.
    pub text: Option<String>,
    /// When it appeared or was solved.
    pub time: DateTime<Utc>,
}

impl Alert {
    /// An alert that appears or is solved now.
    pub fn now(topic: AlertTopic, text: Option<String>) -> Self {
        Self { topic, text, time: Utc::now() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertTopic {
    /// The disk is full. The run waits until there is space.
    DiskFull,
    /// This config file has an error and cannot be applied.
    ConfigFile(String),
    /// Losses or gradients are far too large, though still finite.
    Divergence,
    /// A metric is not finite.
    NotFinite,
    /// Almost all rollouts are in groups with equal rewards, which teach nothing.
    EqualRewards,
    /// All rollouts are cut off before their end.
    CutRollouts,
    /// No step has ended for much longer than steps usually take.
    Stalled,
    /// The last change made in the dashboard was refused.
    DashboardEdit,
    /// A file of the run cannot be read; what it held is missing. The text says which and why.
    DamagedFile(String),
}

/// The earlier run that a run derives from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    pub folder: PathBuf,
    /// Step of the checkpoint that the run started from; `None` if it only replays the earlier run's changes.
    pub step: Option<u64>,
    /// What was not taken from the checkpoint, in words.
    #[serde(rename = "without")]
    pub left_out: Vec<String>,
}

impl AlertTopic {
    /// Returns the topic's name for `record.hook` and, of those that are recorded, for the table of events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DiskFull => "disk",
            Self::ConfigFile(_) => "config_file",
            Self::Divergence => "divergence",
            Self::NotFinite => "not_finite",
            Self::EqualRewards => "equal_rewards",
            Self::CutRollouts => "cut_rollouts",
            Self::Stalled => "stalled",
            Self::DashboardEdit => "dashboard_edit",
            Self::DamagedFile(_) => "damaged_file",
        }
    }
}

impl std::fmt::Display for Lineage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let folder = self.folder.display();
        match self.step {
            Some(step) => write!(f, "{folder} at step {step}")?,
            None => write!(f, "replayed changes of {folder}")?,
        }
        match &self.left_out[..] {
            [] => Ok(()),
            without => write!(f, ", without {}", without.join(", ")),
        }
    }
}

/// Facts that are known once a run has been set up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    #[serde(skip)]
    pub config: Config,
    #[serde(skip)]
    pub version: u64,
    pub lineage: Option<Lineage>,
    /// Recipe whose later edits are applied too, in addition to the run's own config file.
    pub recipe: Option<PathBuf>,
    pub folder: PathBuf,
    pub device: String,
    pub device_reason: String,
    pub params: u64,
    pub vocab_size: usize,
    pub train_docs: u64,
    /// Throughput of a large matrix product on the device, in flop/s, measured at the start.
    #[serde(default)]
    pub peak_flop_per_s: Option<f64>,
}

/// A prompt from the validation split and the model's continuation of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationSample {
    /// Number of updates done.
    pub step: u64,
    /// Name of the decoding method, such as `greedy`.
    pub decoding: String,
    pub prompt: String,
    pub text: String,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    #[default]
    Info,
    /// Something differs from what was requested; the run continues.
    Warn,
    Error,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Local time of the message.
    pub time: chrono::DateTime<chrono::Local>,
    pub level: LogLevel,
    /// Message, without line breaks.
    pub text: String,
}

/// The checkpoint with the best validation so far. It is stored in `state.json`, whose keys are a file format.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestCheckpoint {
    pub step: u64,
    /// Level of difficulty: a validation of a higher one counts as better.
    pub level: u64,
    /// Name of the metric that chose it.
    pub metric: String,
    pub value: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    pub folder: PathBuf,
    /// Number of updates done.
    pub steps: u64,
    pub tokens: u64,
    /// Time since training began, including validations and pauses.
    pub duration: Duration,
    pub losses: LossSummary,
    /// Folder of the checkpoint written at the end, if there is one.
    pub checkpoint: Option<PathBuf>,
    /// The best checkpoint, if `checkpoint.best` chooses one.
    pub best: Option<BestCheckpoint>,
    /// Whether the run ended before its last planned step.
    pub stopped_early: bool,
}
