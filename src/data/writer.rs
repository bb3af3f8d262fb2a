//! Owns: the writing of token shards: one document per row in `input_ids: list<int32>`, zstd compression,
//! bounded row groups, and metadata in the footer.
//! Must not know: where documents come from.
//! Invariant: memory holds at most one row group; a closed shard is complete.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, ListBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::errors::ParquetError;

use super::error::{DataError, Result};
use super::manifest::{EOS_ID_KEY, KIND_KEY, SplitCounts, TOKENIZER_HASH_KEY, VERSION_KEY, VOCAB_SIZE_KEY};
use super::{Split, Tokenizer};
use crate::files::parquet::{Footer, ParquetWriter, start_parquet};

/// Limits of a row group, which is closed at either one: tokens (4 MiB of ids) and rows.
const GROUP_TOKENS: usize = 1 << 20;
const GROUP_ROWS: usize = 8192;
/// Number of tokens at which a shard is closed.
const SHARD_TOKENS: u64 = 64 << 20;

/// A question with its reasoning steps and answer. It is stored next to its tokens for use in evaluations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SolvedQuestion {
    pub question: String,
    pub steps: Vec<String>,
    pub answer: String,
    /// Nodes at distance 1, 2, … from a graph's root, separated by spaces; empty if there are none.
    pub frontier: Vec<String>,
}

/// A row of a shard: one document.
pub(crate) struct DocumentRow {
    pub ids: Vec<u32>,
    /// Question that the document was made from. It is present in all rows of a dataset or in none.
    pub question: Option<SolvedQuestion>,
}

/// Writes the shards of one split into a folder.
pub(crate) struct SplitWriter {
    dir: PathBuf,
    split: Split,
    schema: SchemaRef,
    footer: Footer,
    /// Path and writer of the current shard.
    open_shard: Option<(PathBuf, ParquetWriter<File>)>,
    shard_tokens: u64,
    /// Rows that are waiting to be written as one row group.
    pending_rows: Vec<DocumentRow>,
    pending_tokens: usize,
    counts: SplitCounts,
}

impl SplitWriter {
    /// Creates a writer. `with_questions` adds the columns question, steps and answer.
    pub fn new(dir: &Path, split: Split, kind: &str, tokenizer: &Tokenizer, with_questions: bool) -> Self {
        let entry = |key: &str, value: String| (key.to_owned(), value);
        let mut footer = vec![
            entry(KIND_KEY, kind.to_owned()),
            entry(VOCAB_SIZE_KEY, tokenizer.vocab_size().to_string()),
            entry(TOKENIZER_HASH_KEY, tokenizer.hash()),
            entry(VERSION_KEY, env!("CARGO_PKG_VERSION").to_owned()),
        ];
        footer.extend(tokenizer.eos_id().map(|id| entry(EOS_ID_KEY, id.to_string())));
        Self {
            dir: dir.to_path_buf(),
            split,
            schema: shard_schema(with_questions),
            footer,
            open_shard: None,
            shard_tokens: 0,
            pending_rows: Vec::new(),
            pending_tokens: 0,
            counts: SplitCounts::default(),
        }
    }

    pub fn documents(&self) -> u64 {
        self.counts.documents
    }

    /// Adds a row, and writes a row group once it is full.
    ///
    /// # Errors
    /// Fails if the shard cannot be created or written.
    pub fn push(&mut self, row: DocumentRow) -> Result<()> {
        self.pending_tokens += row.ids.len();
        self.counts.tokens += row.ids.len() as u64;
        self.counts.documents += 1;
        self.pending_rows.push(row);
        match self.pending_tokens >= GROUP_TOKENS || self.pending_rows.len() >= GROUP_ROWS {
            true => self.write_group(),
            false => Ok(()),
        }
    }

    /// Writes the remaining rows and closes the shard. A split without documents creates no file.
    pub fn finish(mut self) -> Result<SplitCounts> {
        self.write_group()?;
        self.close_shard()?;
        Ok(self.counts)
    }

    fn write_group(&mut self) -> Result<()> {
        if self.pending_rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.pending_rows);
        self.shard_tokens += std::mem::take(&mut self.pending_tokens) as u64;
        let (path, mut writer) = match self.open_shard.take() {
            Some(open) => open,
            None => self.create_shard()?,
        };
        let arrays = to_arrays(&self.schema, rows);
        RecordBatch::try_new(self.schema.clone(), arrays)
            .map_err(ParquetError::from)
            .and_then(|batch| writer.write(&batch))
            .and_then(|()| writer.flush())
            .map_err(|error| write_error(&path, error))?;
        self.open_shard = Some((path, writer));
        match self.shard_tokens >= SHARD_TOKENS {
            true => self.close_shard(),
            false => Ok(()),
        }
    }

    fn create_shard(&mut self) -> Result<(PathBuf, ParquetWriter<File>)> {
        let path = self.dir.join(format!("{}-{:05}.parquet", self.split, self.counts.shards));
        let file = File::create(&path).map_err(DataError::io(&path, "be created"))?;
        let writer = start_parquet(file, self.schema.clone(), GROUP_ROWS, &self.footer)
            .map_err(|error| write_error(&path, error))?;
        self.counts.shards += 1;
        Ok((path, writer))
    }

    fn close_shard(&mut self) -> Result<()> {
        self.shard_tokens = 0;
        match self.open_shard.take() {
            Some((path, writer)) => writer.close().map_err(|error| write_error(&path, error)),
            None => Ok(()),
        }
    }
}

pub(crate) struct SplitWriters(BTreeMap<Split, SplitWriter>);

impl SplitWriters {
    pub fn new(dir: &Path, kind: &str, tokenizer: &Tokenizer, with_questions: bool) -> Self {
        let writer = |split| (split, SplitWriter::new(dir, split, kind, tokenizer, with_questions));
        Self(Split::ALL.into_iter().map(writer).collect())
    }

    pub fn push(&mut self, split: Split, row: DocumentRow) -> Result<()> {
        self.0.get_mut(&split).map_or(Ok(()), |writer| writer.push(row))
    }

    pub fn documents(&self, split: Split) -> u64 {
        self.0.get(&split).map_or(0, SplitWriter::documents)
    }

    /// Closes all shards. Returns the size of each split, without empty ones.
    pub fn finish(self) -> Result<BTreeMap<Split, SplitCounts>> {
        let mut counts = BTreeMap::new();
        for (split, writer) in self.0 {
            let count = writer.finish()?;
            if count.documents > 0 {
                counts.insert(split, count);
            }
        }
        Ok(counts)
    }
}

fn shard_schema(with_questions: bool) -> SchemaRef {
    let list = |name: &str, item| Field::new_list(name, Field::new("item", item, true), true);
    let mut fields = vec![list("input_ids", DataType::Int32)];
    if with_questions {
        fields.push(Field::new("question", DataType::Utf8, true));
        fields.push(list("steps", DataType::Utf8));
        fields.push(Field::new("answer", DataType::Utf8, true));
        fields.push(list("frontier", DataType::Utf8));
    }
    Arc::new(Schema::new(fields))
}

fn to_arrays(schema: &Schema, rows: Vec<DocumentRow>) -> Vec<ArrayRef> {
    let tokens = rows.iter().map(|row| row.ids.len()).sum();
    let mut ids = ListBuilder::new(Int32Builder::with_capacity(tokens));
    let mut steps = ListBuilder::new(StringBuilder::new());
    let mut frontiers = ListBuilder::new(StringBuilder::new());
    let (mut questions, mut answers) = (Vec::new(), Vec::new());
    for row in rows {
        // Ids are far below 2^31, so the cast keeps the value.
        row.ids.iter().for_each(|id| ids.values().append_value(*id as i32));
        ids.append(true);
        if let Some(solved) = row.question {
            solved.steps.iter().for_each(|step| steps.values().append_value(step));
            steps.append(true);
            solved.frontier.iter().for_each(|nodes| frontiers.values().append_value(nodes));
            frontiers.append(true);
            questions.push(solved.question);
            answers.push(solved.answer);
        }
    }
    let mut arrays: Vec<ArrayRef> = vec![Arc::new(ids.finish())];
    if schema.fields().len() > 1 {
        arrays.push(Arc::new(StringArray::from(questions)));
        arrays.push(Arc::new(steps.finish()));
        arrays.push(Arc::new(StringArray::from(answers)));
        arrays.push(Arc::new(frontiers.finish()));
    }
    arrays
}

/// Converts an error of the Parquet crate, which may wrap one of the operating system, such as a full disk.
fn write_error(path: &Path, error: ParquetError) -> DataError {
    let cause = match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(io) => *io,
            Err(other) => std::io::Error::other(other),
        },
        other => std::io::Error::other(other),
    };
    DataError::Io { file: path.to_path_buf(), action: "be written", cause }
}
