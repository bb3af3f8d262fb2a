//! Owns: [`Command`] and [`Event`], the plain host data that the trainer and its screens exchange.
//! Must not know: tensors, terminals, threads.
//! Invariant: every event is self-contained. A reader of all events in order can rebuild all that is shown.

use crate::config::Config;
use crate::schema::metrics::StepRow;
use crate::schema::rows::{ChangeRow, SystemRow};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// A request from a screen to the trainer, applied at the next step boundary.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Pauses after the current step (`true`), or continues (`false`).
    SetPaused(bool),
    /// Runs one step, then pauses again.
    StepOnce,
    /// Changes config keys, all or none, and writes the new values into the run's config file.
    SetKeys(SetKeys),
    /// Adds this text to the table of changes, at the current step.
    Note(String),
    /// Continues a prompt of the user between steps. It cancels an answer that is still being generated.
    Ask(Box<PlaygroundRequest>),
    /// Writes a checkpoint now.
    Save,
    /// Ends the run now and writes a checkpoint from which it can be resumed.
    Stop,
    /// Ends the run now without a checkpoint. Metrics measured so far are still written.
    StopWithoutCheckpoint,
}

/// A prompt for the model to continue in the playground.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaygroundRequest {
    pub prompt: String,
    /// When to generate latents, as `generate --policy` takes it.
    pub policy: String,
    /// Divisor of the logits; 0 picks the most likely token (greedy).
    pub temperature: f64,
    pub max_tokens: usize,
    /// Step of the checkpoint whose weights answer; `None` uses the current weights.
    pub checkpoint: Option<u64>,
}

/// The model's continuation of a playground prompt so far.
#[derive(Clone, Debug, Default, PartialEq)]
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
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerPart {
    /// Decoded tokens.
    Text(String),
    /// Entropies of a stretch of latents, in nats: one for each latent that was fed, then one after the last.
    /// The final value is absent until it is known.
    Thought(Vec<f64>),
}

/// New values for config keys, requested by the user.
#[derive(Clone, Debug, PartialEq)]
pub struct SetKeys {
    /// Pairs of `section.key` and its value as TOML. Values of text keys are plain text, not quoted.
    pub values: Vec<(String, String)>,
    /// Time of the request. Of two changes to one key, the later request wins.
    pub requested_at: SystemTime,
}

impl SetKeys {
    /// Requests a new value for a single key, with the current time.
    pub fn single(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { values: vec![(key.into(), value.into())], requested_at: SystemTime::now() }
    }
}

/// A report from the trainer to its screens.
#[derive(Clone, Debug)]
pub enum Event {
    /// The trainer entered another phase.
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
    /// Load of the machine: processor, memory, GPU. Dropped if the screen is slow.
    System(Box<SystemRow>),
    /// A continuation that the model generated at a validation.
    Sample(Box<ValidationSample>),
    /// A playground answer so far. Dropped if the screen is slow, unless the answer is complete.
    Answer(Box<PlaygroundAnswer>),
    /// A new line of the log.
    Log(LogLine),
    /// The config was changed, or a change was refused. A resumed run first sends its earlier changes, each
    /// with the config and version after it. The first of these has no rows and holds the initial config.
    ConfigChanged(Box<ConfigUpdate>),
    /// Something needs the user's attention, or no longer needs it.
    Alert(Alert),
    /// The run ended normally.
    Finished(Box<RunSummary>),
    /// The run ended with an error, or its thread panicked.
    Failed(String),
}

/// What the trainer is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunPhase {
    /// Creating or opening the dataset.
    LoadData,
    /// Building or loading the model.
    BuildModel,
    /// The first step on a GPU, during which kernels are compiled and tuned.
    Compile,
    Train,
    /// Running a validation.
    Eval,
    /// Writing a checkpoint.
    Save,
    /// Waiting until the user continues the run.
    Paused,
}

/// A config change, applied as a whole or not at all; or a note.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigUpdate {
    /// The current config after the change.
    pub config: Config,
    /// Version of `config`.
    pub version: u64,
    /// One row for each key that was changed or refused, or for the note.
    pub rows: Vec<ChangeRow>,
}

/// A problem that needs the user's attention.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Subject of the alert. A later alert with the same subject replaces this one.
    pub topic: AlertTopic,
    /// Description of the problem; `None` if it is solved.
    pub text: Option<String>,
}

/// The subject of an alert.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertTopic {
    /// The disk is full. The run waits until there is space.
    DiskFull,
    /// This config file has an error and cannot be applied.
    ConfigFile(String),
    /// The last change made in the dashboard was refused.
    DashboardEdit,
}

/// The earlier run that a run derives from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// Run folder of the earlier run.
    pub folder: PathBuf,
    /// Step of the checkpoint that the run started from; `None` if it only replays the earlier run's changes.
    pub step: Option<u64>,
    /// What was not taken from the checkpoint, in words.
    #[serde(rename = "without")]
    pub left_out: Vec<String>,
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
    /// Version of `config`.
    #[serde(skip)]
    pub version: u64,
    /// The earlier run that this one derives from, if any.
    pub lineage: Option<Lineage>,
    /// Recipe whose later edits are applied too, in addition to the run's own config file.
    pub recipe: Option<PathBuf>,
    /// The run folder.
    pub folder: PathBuf,
    /// Name of the device.
    pub device: String,
    /// Why this device was chosen.
    pub device_reason: String,
    /// Number of trainable parameters.
    pub params: u64,
    /// Vocabulary size V of the model.
    pub vocab_size: usize,
    /// Number of documents in the training split.
    pub train_docs: u64,
    /// Throughput of a large matrix product on the device, in flop/s, measured at the start.
    #[serde(default)]
    pub peak_flop_per_s: Option<f64>,
}

/// A probed row of a batch: its input tokens `[T]` and the model's output distributions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenRow {
    /// Number of updates done when the row was probed.
    pub step: u64,
    /// Vocabulary size V; ln V is the largest possible entropy, in nats.
    pub vocab_size: usize,
    /// The T positions in order.
    pub cells: Vec<TokenCell>,
    /// The recycled positions, with their states pass by pass.
    pub thoughts: Vec<Thought>,
    /// Text of every token id among the likely tokens, written as in [`TokenCell::text`].
    pub token_texts: BTreeMap<u32, String>,
}

impl TokenRow {
    /// Fills in the text of every token id among the likely tokens, using `text`.
    pub fn fill_token_texts(&mut self, text: impl Fn(u32) -> String) {
        let cells = self.cells.iter().flat_map(|cell| cell.top_plain.iter().chain(&cell.top_recycled));
        let decoded = self
            .thoughts
            .iter()
            .flat_map(|thought| thought.fed_by_pass.iter().chain(&thought.output_by_pass));
        let choices = cells.chain(decoded.flat_map(|decoded| &decoded.top));
        for choice in choices {
            self.token_texts.entry(choice.id).or_insert_with(|| text(choice.id));
        }
    }
}

/// One position of a probed row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenCell {
    /// Id of the input token.
    pub id: u32,
    /// Text of the token, or its id if there is no tokenizer. Partial UTF-8 and control characters are
    /// escaped.
    pub text: String,
    /// Whether a document starts at this position.
    pub doc_start: bool,
    /// Entropy of the plain pass's output, in nats.
    pub entropy_plain: f32,
    /// Entropy of the recycled pass's output, in nats; `None` if there was no recycled pass.
    pub entropy_recycled: Option<f32>,
    /// Negative log-likelihood of the next token in the plain pass, in nats.
    pub nll_plain: f32,
    /// Whether this position's input was recycled.
    pub recycled: bool,
    /// The [`TOP`] most likely next tokens after the plain pass, in descending order.
    pub top_plain: Vec<TokenProb>,
    /// The [`TOP`] most likely next tokens after the recycled pass; empty if there was none.
    pub top_recycled: Vec<TokenProb>,
}

/// Number of most likely tokens kept of a distribution.
pub const TOP_TOKENS: usize = 5;

/// A likely token of a distribution and its probability.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenProb {
    pub id: u32,
    pub prob: f32,
}

/// A hidden state decoded by the head into a distribution over tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecodedState {
    /// Entropy of the distribution, in nats.
    pub entropy: f32,
    /// The [`TOP`] most likely tokens, in descending order.
    pub top: Vec<TokenProb>,
}

/// The states of one recycled position t, pass by pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thought {
    /// Position t within the row.
    pub position: usize,
    /// State at t-1 after pass k = 0 (plain), 1, …; pass k+1 receives it as its input at t.
    pub fed_by_pass: Vec<DecodedState>,
    /// Output at t after pass k = 0 (plain), 1, ….
    pub output_by_pass: Vec<DecodedState>,
}

/// Number of equal bins of a [`Spread`], which cover 0 to ln V nats.
pub const ENTROPY_BINS: usize = 48;

/// Histogram of the output entropies of a probed row: the number of positions in each bin.
#[derive(Clone, Debug, PartialEq)]
pub struct EntropyHistogram {
    /// Number of updates done when the row was probed.
    pub step: u64,
    /// Counts of the plain pass, over all positions.
    pub plain: [u32; ENTROPY_BINS],
    /// Counts of the recycled pass, over the recycled positions.
    pub recycled: [u32; ENTROPY_BINS],
}

impl EntropyHistogram {
    /// Counts the entropies of the plain pass and those at `recycled` positions, in nats, into bins up to
    /// ln `vocab_size`. Values that are not finite are skipped.
    pub fn from_entropies(
        step: u64,
        vocab_size: usize,
        plain: impl Iterator<Item = f32>,
        recycled: impl Iterator<Item = f32>,
    ) -> Self {
        let max_entropy = (vocab_size.max(2) as f32).ln();
        let count = |values: &mut dyn Iterator<Item = f32>| {
            let mut bins = [0; ENTROPY_BINS];
            for value in values.filter(|value| value.is_finite()) {
                bins[((value / max_entropy * ENTROPY_BINS as f32) as usize).min(ENTROPY_BINS - 1)] += 1;
            }
            bins
        };
        let (mut plain, mut recycled) = (plain, recycled);
        Self { step, plain: count(&mut plain), recycled: count(&mut recycled) }
    }
}

impl From<&TokenRow> for EntropyHistogram {
    fn from(row: &TokenRow) -> Self {
        let recycled = row.cells.iter().filter(|cell| cell.recycled).filter_map(|cell| cell.entropy_recycled);
        Self::from_entropies(
            row.step,
            row.vocab_size,
            row.cells.iter().map(|cell| cell.entropy_plain),
            recycled,
        )
    }
}

/// A prompt from the validation split and the model's continuation of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidationSample {
    /// Number of updates done.
    pub step: u64,
    /// Name of the decoding method, such as `greedy`.
    pub decoding: String,
    pub prompt: String,
    /// Continuation of the prompt.
    pub text: String,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Ordinary progress of the run.
    #[default]
    Info,
    /// Something differs from what was requested; the run continues.
    Warn,
    /// An operation failed.
    Error,
}

/// One line of the run's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Local time of the message.
    pub time: chrono::DateTime<chrono::Local>,
    pub level: LogLevel,
    /// Message, without line breaks.
    pub text: String,
}

/// The outcome of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// The run folder.
    pub folder: PathBuf,
    /// Number of updates done.
    pub steps: u64,
    /// Number of input tokens trained on.
    pub tokens: u64,
    /// Time since training began, including validations and pauses.
    pub duration: Duration,
    /// First and last plain training loss, in nats.
    pub loss_plain: Option<(f64, f64)>,
    /// First and last recycled training loss, in nats.
    pub loss_recycled: Option<(f64, f64)>,
    /// First and last plain validation loss, in nats.
    pub valid_plain: Option<(f64, f64)>,
    /// Number of steps that had a recycled pass.
    pub recycled_steps: u64,
    /// Folder of the checkpoint written at the end, if there is one.
    pub checkpoint: Option<PathBuf>,
    /// Whether the run ended before its last planned step.
    pub stopped_early: bool,
}
