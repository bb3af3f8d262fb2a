//! Owns making a ProsQA dataset: drawn from a seed, or from records in the published form.
//!
//! Must not know: the terminal, models. Invariant: a record depends on (seed, split, index) alone, so that a longer
//! train split does not change the held-out ones; every answer has been checked against its graph.
//!
//! ProsQA: Hao et al. 2024, arXiv 2412.06769. "Every terpus is a brimpus. … Is Tom a lempus or scrompus?"

mod graph;
mod record;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rand::seq::SliceRandom;

use super::error::{DataError, Result};
use super::manifest::{GraphMeans, MANIFEST_FILE, Made, Manifest, TOKENIZER_FILE};
use super::staging::Staging;
use super::stream::rng;
use super::tokenizer::split_words;
use super::writer::{Row, Solved, Writers};
use super::{Codec, OnProgress, Progress, Split};

pub use record::{Record, document, read_records};

/// Means that the paper gives for its graphs.
pub const PAPER_MEANS: GraphMeans = GraphMeans { nodes: 23.0, edges: 36.0, shortest_path: 3.8 };

/// Records encoded at a time.
const CHUNK: usize = 512;

/// What to make.
#[derive(Clone, Debug, PartialEq)]
pub struct ProsqaOptions {
    /// The folder to create.
    pub out: PathBuf,
    pub seed: u64,
    /// Records a split. With one `from` file: valid and test are taken first, train gets at most `train` of the rest.
    pub train: usize,
    pub valid: usize,
    pub test: usize,
    /// Published records instead of drawn ones. One file is shuffled by the seed and divided; of several, each is the
    /// split that its name says (`prosqa_train.json`, `prosqa_valid.json`, …), whole.
    pub from: Vec<PathBuf>,
    /// Name or file of a tokenizer; `words` is one id a word.
    pub tokenizer: String,
    /// Replace a dataset that is there.
    pub force: bool,
}

/// The fixed word list, for the tokenizer `words`.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    words::FUNCTION.into_iter().chain(words::NAMES).chain(words::CONCEPTS)
}

/// Counts for `--from` where none are asked for: a tenth for each of valid and test (at least one), the rest for train.
///
/// # Errors
/// The file cannot be read as records.
pub fn tenths(from: &Path) -> Result<(usize, usize, usize)> {
    let records = read_records(from)?.len();
    let tenth = records.div_ceil(10).min((records - 1) / 2);
    Ok((records - 2 * tenth, tenth, tenth))
}

/// Makes a ProsQA dataset.
///
/// # Errors
/// `out` is taken or cannot be written, the tokenizer cannot be loaded, or a `from` file is unusable.
pub fn make_prosqa(options: &ProsqaOptions, on_progress: OnProgress<'_>) -> Result<Made> {
    let staging = Staging::begin(&options.out, options.force)?;
    let source = Source::open(options)?;
    let codec = source.codec(&options.tokenizer)?;
    let total = source.counts().iter().map(|(_, count)| *count as u64).sum();
    let mut writers = Writers::new(staging.dir(), "prosqa", &codec, true);
    let mut sums = Sums::default();
    for (split, count) in source.counts() {
        for start in (0..count).step_by(CHUNK) {
            let records: Vec<Record> = (start..count.min(start + CHUNK))
                .map(|index| source.record(options.seed, split, index))
                .collect();
            write(&records, split, &codec, &mut writers)?;
            records.iter().for_each(|record| sums.add(record));
            on_progress(Progress { what: "records", done: sums.records, total });
        }
    }
    let splits = writers.finish()?;
    codec.save(&staging.dir().join(TOKENIZER_FILE))?;
    let manifest = Manifest::new("prosqa", options.notes(), options.seed, splits.clone(), &codec);
    manifest.write(&staging.dir().join(MANIFEST_FILE))?;
    staging.commit()?;
    let (out, vocab_size) = (options.out.clone(), codec.vocab_size());
    Ok(Made { out, splits, vocab_size, empty: 0, graphs: Some(sums.means()) })
}

impl ProsqaOptions {
    fn notes(&self) -> BTreeMap<String, String> {
        let from: Vec<String> = self.from.iter().map(|path| path.display().to_string()).collect();
        let mut notes = BTreeMap::from([("tokenizer".to_owned(), self.tokenizer.clone())]);
        if !from.is_empty() {
            notes.insert("from".to_owned(), from.join(", "));
        }
        notes
    }
}

/// Where records come from.
enum Source {
    Drawn([(Split, usize); 3]),
    Read(BTreeMap<Split, Vec<Record>>),
}

impl Source {
    fn open(options: &ProsqaOptions) -> Result<Self> {
        let counts =
            [(Split::Train, options.train), (Split::Valid, options.valid), (Split::Test, options.test)];
        match &options.from[..] {
            [] if options.train == 0 => Err(DataError::Setting {
                name: "train",
                found: "0".to_owned(),
                allowed: "at least 1 record to train on",
            }),
            [] => Ok(Self::Drawn(counts)),
            [one] => divide(one, options).map(Self::Read),
            several => by_name(several).map(Self::Read),
        }
    }

    fn counts(&self) -> Vec<(Split, usize)> {
        match self {
            Self::Drawn(counts) => counts.to_vec(),
            Self::Read(records) => records.iter().map(|(split, records)| (*split, records.len())).collect(),
        }
    }

    fn record(&self, seed: u64, split: Split, index: usize) -> Record {
        match self {
            Self::Drawn(_) => Record::draw(&mut rng([seed, split as u64, index as u64])),
            Self::Read(records) => records[&split][index].clone(),
        }
    }

    /// `words` is the fixed list, unless records have other words: then it is theirs, over all splits.
    fn codec(&self, tokenizer: &str) -> Result<Codec> {
        let codec = Codec::from_name_or_file(tokenizer)?;
        let Self::Read(records) = self else { return Ok(codec) };
        if tokenizer != "words" {
            return Ok(codec);
        }
        let texts = records
            .values()
            .flatten()
            .map(|record| document(&record.question, &record.steps, &record.answer));
        let mut words: BTreeSet<String> = BTreeSet::new();
        for text in texts {
            words.extend(split_words(&text).map(str::to_owned));
        }
        match words.iter().all(|word| codec.token_id(word).is_some()) {
            true => Ok(codec),
            false => Codec::from_words(words.iter().map(String::as_str)),
        }
    }
}

fn divide(path: &Path, options: &ProsqaOptions) -> Result<BTreeMap<Split, Vec<Record>>> {
    let mut records = read_records(path)?;
    let held_out = options.valid.saturating_add(options.test);
    if options.train == 0 || held_out >= records.len() {
        return Err(DataError::Setting {
            name: "train, valid, test",
            found: format!(
                "{}, {}, {} of {} records",
                options.train,
                options.valid,
                options.test,
                records.len()
            ),
            allowed: "valid and test together fewer than the records, and at least 1 to train on",
        });
    }
    records.shuffle(&mut rng([options.seed, 0, 0]));
    let valid = records.split_off(records.len() - options.valid);
    let test = records.split_off(records.len() - options.test);
    records.truncate(options.train);
    Ok(BTreeMap::from([(Split::Train, records), (Split::Valid, valid), (Split::Test, test)]))
}

fn by_name(paths: &[PathBuf]) -> Result<BTreeMap<Split, Vec<Record>>> {
    let mut records: BTreeMap<Split, Vec<Record>> = BTreeMap::new();
    for path in paths {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let split = stem.split(['_', '-', '.']).find_map(Split::of_name).ok_or_else(|| DataError::Setting {
            name: "from",
            found: path.display().to_string(),
            allowed: "where several files are given, names that say train, valid or test (prosqa_train.json)",
        })?;
        records.entry(split).or_default().extend(read_records(path)?);
    }
    Ok(records)
}

fn write(records: &[Record], split: Split, codec: &Codec, writers: &mut Writers) -> Result<()> {
    let texts: Vec<String> =
        records.iter().map(|record| document(&record.question, &record.steps, &record.answer)).collect();
    for (ids, record) in codec.encode_documents(&texts)?.into_iter().zip(records) {
        let Record { question, steps, answer, .. } = record.clone();
        writers.push(split, Row { ids, solved: Some(Solved { question, steps, answer }) })?;
    }
    Ok(())
}

/// Sums over records, for their means.
#[derive(Default)]
struct Sums {
    records: u64,
    nodes: usize,
    edges: usize,
    steps: usize,
}

impl Sums {
    fn add(&mut self, record: &Record) {
        self.records += 1;
        self.nodes += record.idx_to_symbol.len();
        self.edges += record.edges.len();
        self.steps += record.steps.len();
    }

    fn means(&self) -> GraphMeans {
        let mean = |sum: usize| sum as f64 / self.records.max(1) as f64;
        GraphMeans { nodes: mean(self.nodes), edges: mean(self.edges), shortest_path: mean(self.steps) }
    }
}
