//! Owns: `Command` and `Event`: plain host data, all that trainer and screens say to each other.
//! Must not know: tensors, terminals, threads.
//! Invariant: an event is complete in itself; whoever reads the events in order knows all there is to show.

use crate::config::Config;
use crate::record::registry::StepRow;
use crate::record::rows::{ChangeRow, SystemRow};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// What a screen asks of the trainer. Taken up at the next step boundary.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Hold after the present step (`true`), or go on (`false`).
    Pause(bool),
    /// One step, then hold again.
    Step,
    /// Give keys of the config other values, all or none, and write them into the run's config file.
    Set(Set),
    /// Write this into the record of changes, at the present step.
    Note(String),
    /// Go on with a text of a person's, between steps; an answer under way is given up for it.
    Ask(Box<Ask>),
    /// Write a checkpoint now.
    Save,
    /// End the run now, with a checkpoint from which it can be resumed.
    Stop,
    /// End the run now, without a checkpoint; what was measured is still written.
    Drop,
}

/// A text that the model is to go on with.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The prompt.
    pub text: String,
    /// When to think, as `generate --policy` takes it.
    pub policy: String,
    /// Divides the logits; 0: the likeliest token each time.
    pub temperature: f64,
    /// Most tokens.
    pub most: usize,
    /// The checkpoint whose weights answer; none: the present ones.
    pub checkpoint: Option<u64>,
}

/// What the model has made of a person's text so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Which, counted from 1; each is told whole again with every part that is added.
    pub number: u64,
    /// Updates behind the weights that answer.
    pub step: u64,
    pub policy: String,
    pub prompt: String,
    pub parts: Vec<Spoken>,
    /// Why it ended, or failed; none: it goes on.
    pub over: Option<String>,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Spoken {
    /// Tokens, as text.
    Text(String),
    /// A thought: the entropy of each state that was fed, and after the last (nats); the latter may not be known yet.
    Thought(Vec<f64>),
}

/// Values that a person gives keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Set {
    /// `section.key` and its value as TOML; text where the key takes text.
    pub values: Vec<(String, String)>,
    /// When it was asked for: of two changes of a key the later one holds.
    pub at: SystemTime,
}

impl Set {
    /// One key, asked for now.
    pub fn one(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { values: vec![(key.into(), value.into())], at: SystemTime::now() }
    }
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
    /// Metrics of steps before this process, in order; a run that is gone on with has them.
    Past(Vec<StepRow>),
    /// One row of tokens, looked at. May be dropped likewise.
    Tokens(Box<TokenRow>),
    /// How entropies lay in rows of tokens that are not told whole, in order.
    Spreads(Vec<Spread>),
    /// What the machine does. May be dropped likewise.
    System(Box<SystemRow>),
    /// What the model wrote at a validation.
    Sample(Box<Sample>),
    /// What the model makes of a person's text. While it goes on it may be dropped by a slow screen.
    Answer(Box<Answer>),
    /// A line of the log.
    Log(LogLine),
    /// The config was changed, or was to be. Before anything new, a run that is gone on with tells its earlier changes, each
    /// with the config and version that held after it; the first of these has no rows, and the config that the run began
    /// with.
    Changed(Box<Changed>),
    /// Something needs a person, or needs one no more.
    Alert(Alert),
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
    /// Builds or loads the model.
    Build,
    /// The first step on a GPU: kernels are compiled and tuned.
    Compile,
    /// Trains.
    Train,
    /// Validates.
    Eval,
    /// Writes a checkpoint.
    Save,
    /// Holds until told to go on.
    Paused,
}

/// A change of the config, taken up whole or not at all; or a note.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The config in force after it.
    pub config: Config,
    /// Its version.
    pub version: u64,
    /// What was changed, or refused.
    pub rows: Vec<ChangeRow>,
}

/// What needs a person.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// About what; a later alert about the same takes this one's place.
    pub about: About,
    /// What is the matter; none: nothing any more.
    pub text: Option<String>,
}

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The disk has no room: the run holds until it has.
    Disk,
    /// This config file cannot be taken up as it is.
    File(String),
    /// The last change from the keys was refused.
    Keys,
}

/// Where a run comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lineage {
    /// The run folder of the one before.
    pub folder: PathBuf,
    /// The checkpoint that it began with; none: it does again what was changed there.
    pub step: Option<u64>,
    /// What did not come along, in words.
    pub without: Vec<String>,
}

impl std::fmt::Display for Lineage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let folder = self.folder.display();
        match self.step {
            Some(step) => write!(f, "{folder} at step {step}")?,
            None => write!(f, "the changes of {folder}, done again")?,
        }
        match &self.without[..] {
            [] => Ok(()),
            without => write!(f, ", without {}", without.join(", ")),
        }
    }
}

/// What is fixed for a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// The config in force.
    #[serde(skip)]
    pub config: Config,
    /// Version of that config.
    #[serde(skip)]
    pub version: u64,
    /// Where it comes from.
    pub lineage: Option<Lineage>,
    /// The recipe that is followed beside the run's own config file.
    pub recipe: Option<PathBuf>,
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
    /// Rate of the device's own matrix product, floating-point operations a second, measured at the start.
    #[serde(default)]
    pub peak_flop_per_s: Option<f64>,
}

/// One row of a batch as the model saw it: inputs `[T]` and what it made of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenRow {
    /// Updates done when it was looked at.
    pub step: u64,
    /// Vocabulary size: ln of it is the largest possible entropy, in nats.
    pub vocab_size: usize,
    /// The positions in order.
    pub cells: Vec<TokenCell>,
    /// The recycled positions, pass by pass.
    pub thoughts: Vec<Thought>,
    /// Text of every id that stands in choices, as in [`TokenCell::text`].
    pub words: BTreeMap<u32, String>,
}

impl TokenRow {
    /// Notes the `text` of every id that stands in choices.
    pub fn spell(&mut self, text: impl Fn(u32) -> String) {
        let cells = self.cells.iter().flat_map(|cell| cell.top_plain.iter().chain(&cell.top_recycled));
        let decoded = self.thoughts.iter().flat_map(|thought| thought.fed.iter().chain(&thought.out));
        let choices = cells.chain(decoded.flat_map(|decoded| &decoded.top));
        for choice in choices {
            self.words.entry(choice.id).or_insert_with(|| text(choice.id));
        }
    }
}

/// One position of a row.
#[derive(Clone, Debug, Default, PartialEq)]
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
    /// The [`TOP`] likeliest next tokens after the plain pass, the likeliest first.
    pub top_plain: Vec<Choice>,
    /// The same after the recycled pass; none where no recycled pass was made.
    pub top_recycled: Vec<Choice>,
}

/// How many of the likeliest tokens are kept of a distribution.
pub const TOP: usize = 5;

/// A token that a distribution holds likely.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Choice {
    /// Its id.
    pub id: u32,
    /// Its probability.
    pub prob: f32,
}

/// What the head makes of a state: a distribution over tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Its entropy, nats.
    pub entropy: f32,
    /// Its [`TOP`] likeliest tokens, the likeliest first.
    pub top: Vec<Choice>,
}

/// A recycled position t, pass by pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thought {
    /// t.
    pub position: usize,
    /// After pass k = 0 (plain), 1, …: the state at t-1, which pass k+1 is fed at t.
    pub fed: Vec<Decoded>,
    /// After pass k = 0 (plain), 1, …: the output at t.
    pub out: Vec<Decoded>,
}

/// Bins of a [`Spread`], from 0 to ln V.
pub const BINS: usize = 48;

/// How the entropies of a row lie: counts by bin.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Updates done.
    pub step: u64,
    /// Of the plain pass, at all positions.
    pub plain: [u32; BINS],
    /// Of the recycled pass, at the recycled positions.
    pub recycled: [u32; BINS],
}

impl Spread {
    /// Of `plain` entropies and those of `recycled` positions, nats, over a vocabulary of this size.
    pub fn of(
        step: u64,
        vocab_size: usize,
        plain: impl Iterator<Item = f32>,
        recycled: impl Iterator<Item = f32>,
    ) -> Self {
        let most = (vocab_size.max(2) as f32).ln();
        let count = |values: &mut dyn Iterator<Item = f32>| {
            let mut bins = [0; BINS];
            for value in values.filter(|value| value.is_finite()) {
                bins[((value / most * BINS as f32) as usize).min(BINS - 1)] += 1;
            }
            bins
        };
        let (mut plain, mut recycled) = (plain, recycled);
        Self { step, plain: count(&mut plain), recycled: count(&mut recycled) }
    }
}

impl From<&TokenRow> for Spread {
    fn from(row: &TokenRow) -> Self {
        let recycled = row.cells.iter().filter(|cell| cell.recycled).filter_map(|cell| cell.entropy_recycled);
        Self::of(row.step, row.vocab_size, row.cells.iter().map(|cell| cell.entropy_plain), recycled)
    }
}

/// What the model wrote: a prompt of the validation split and its continuation.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Updates done.
    pub step: u64,
    /// How it was written.
    pub how: String,
    /// The prompt.
    pub prompt: String,
    /// The continuation.
    pub text: String,
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
