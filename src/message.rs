//! Owns: `Command` and `Event`: plain host data, all that trainer and screens say to each other.
//! Must not know: tensors, terminals, threads.
//! Invariant: an event is complete in itself; whoever reads the events in order knows all there is to show.

use crate::config::Config;
use crate::record::registry::StepRow;
use std::path::PathBuf;
use std::time::Duration;

/// What a screen asks of the trainer. Taken up at the next step boundary.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Hold after the present step (`true`), or go on (`false`).
    Pause(bool),
    /// End the run now, as if its last step had been done.
    Stop,
    /// End the run now, without a checkpoint; what was measured is still written.
    Drop,
}

/// What the trainer says.
#[derive(Clone, Debug)]
pub enum Event {
    /// It does something else now.
    Phase(Phase),
    /// How far a long preparation has come, in units of `what`.
    Progress {
        /// What is counted.
        what: String,
        /// How many are done.
        done: u64,
        /// How many there are; 0: not known.
        total: u64,
    },
    /// Device, model and data are known, the run folder stands.
    Started(Box<RunInfo>),
    /// One step's metrics. May be dropped by a slow screen; the metrics writer has it already.
    Step(Box<StepRow>),
    /// One row of tokens, looked at. May be dropped likewise.
    Tokens(Box<TokenRow>),
    /// A line of the log.
    Log(LogLine),
    /// The run is over.
    Finished(Box<Summary>),
    /// The run ended with an error, or its thread with a panic.
    Failed(String),
}

/// What the trainer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Makes or opens the dataset.
    Data,
    /// Builds or loads the model; on a GPU the first steps compile kernels.
    Build,
    /// Trains.
    Train,
    /// Validates.
    Eval,
    /// Writes a checkpoint.
    Save,
    /// Holds until told to go on.
    Paused,
}

/// What is fixed for a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunInfo {
    /// The config in force.
    pub config: Config,
    /// The run folder.
    pub folder: PathBuf,
    /// The device, in words.
    pub device: String,
    /// Why this device.
    pub device_reason: String,
    /// Trainable parameters.
    pub params: u64,
    /// Vocabulary size (V).
    pub vocab_size: usize,
    /// Documents of the training split.
    pub train_docs: u64,
}

/// One row of a batch as the model saw it: inputs `[T]` and what it made of them.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRow {
    /// Updates done when it was looked at.
    pub step: u64,
    /// Vocabulary size: ln of it is the largest possible entropy, in nats.
    pub vocab_size: usize,
    /// The positions in order.
    pub cells: Vec<TokenCell>,
}

/// One position of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenCell {
    /// Id of the input token.
    pub id: u32,
    /// Its text, or the id where there is no tokenizer; partial UTF-8 and control characters escaped.
    pub text: String,
    /// Whether a document begins here.
    pub doc_start: bool,
    /// Entropy of the plain pass's output here, nats.
    pub entropy_plain: f32,
    /// Entropy of the recycled pass's output here, nats; `None` where no recycled pass was made.
    pub entropy_recycled: Option<f32>,
    /// Plain nll of the next token, nats.
    pub nll_plain: f32,
    /// Whether this position's input was recycled.
    pub recycled: bool,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For the curious.
    Info,
    /// Something is not as asked for.
    Warn,
    /// Something failed.
    Error,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// When, local time.
    pub at: chrono::DateTime<chrono::Local>,
    /// How much it matters.
    pub level: Level,
    /// The text, one line.
    pub text: String,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The run folder.
    pub folder: PathBuf,
    /// Updates done.
    pub steps: u64,
    /// Input tokens seen.
    pub tokens: u64,
    /// Time since training began, validations and pauses included.
    pub took: Duration,
    /// First and last plain training loss, nats.
    pub loss_plain: Option<(f64, f64)>,
    /// First and last recycled training loss, nats.
    pub loss_recycled: Option<(f64, f64)>,
    /// First and last plain validation loss, nats.
    pub valid_plain: Option<(f64, f64)>,
    /// Steps that carried a recycled pass.
    pub recycled_steps: u64,
    /// The checkpoint written at the end.
    pub checkpoint: Option<PathBuf>,
    /// Whether it was ended before its last step.
    pub stopped: bool,
}
