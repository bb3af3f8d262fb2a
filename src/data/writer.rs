//! Owns writing token shards: one document a row, `input_ids: list<int32>`, zstd, bounded row groups, notes in the footer.
//!
//! Must not know: where documents come from. Invariant: memory holds at most one row group; a closed shard is whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, ListBuilder, RecordBatch, StringArray, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::error::{DataError, Result};
use super::manifest::{Counts, EOS_KEY, HASH_KEY, KIND_KEY, VERSION_KEY, VOCAB_KEY};
use super::{Codec, Split};

/// A row group is closed at either bound: 4 MiB of ids, or so many rows.
const GROUP_TOKENS: usize = 1 << 20;
const GROUP_ROWS: usize = 8192;
/// A shard is closed once it has this many tokens.
const SHARD_TOKENS: u64 = 64 << 20;

/// A question with its chain of reasoning, kept beside its tokens so that evaluation can ask it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Solved {
    pub question: String,
    pub steps: Vec<String>,
    pub answer: String,
}

/// One row to be.
pub(crate) struct Row {
    pub ids: Vec<u32>,
    /// Present in every row of a dataset, or in none.
    pub solved: Option<Solved>,
}

/// Writes one split into a folder, shard after shard.
pub(crate) struct SplitWriter {
    dir: PathBuf,
    split: Split,
    schema: SchemaRef,
    notes: Vec<KeyValue>,
    open: Option<(PathBuf, ArrowWriter<File>)>,
    shard_tokens: u64,
    group: Vec<Row>,
    group_tokens: usize,
    counts: Counts,
}

impl SplitWriter {
    /// `solved`: whether rows carry question, steps and answer.
    pub fn new(dir: &Path, split: Split, kind: &str, codec: &Codec, solved: bool) -> Self {
        let note = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
        let mut notes = vec![
            note(KIND_KEY, kind.to_owned()),
            note(VOCAB_KEY, codec.vocab_size().to_string()),
            note(HASH_KEY, codec.hash()),
            note(VERSION_KEY, env!("CARGO_PKG_VERSION").to_owned()),
        ];
        notes.extend(codec.eos_id().map(|id| note(EOS_KEY, id.to_string())));
        Self {
            dir: dir.to_path_buf(),
            split,
            schema: schema(solved),
            notes,
            open: None,
            shard_tokens: 0,
            group: Vec::new(),
            group_tokens: 0,
            counts: Counts::default(),
        }
    }

    /// Documents taken so far.
    pub fn documents(&self) -> u64 {
        self.counts.documents
    }

    /// # Errors
    /// The shard cannot be created or written.
    pub fn push(&mut self, row: Row) -> Result<()> {
        self.group_tokens += row.ids.len();
        self.counts.tokens += row.ids.len() as u64;
        self.counts.documents += 1;
        self.group.push(row);
        match self.group_tokens >= GROUP_TOKENS || self.group.len() >= GROUP_ROWS {
            true => self.write_group(),
            false => Ok(()),
        }
    }

    /// Writes what is left and closes the shard; a split without documents leaves no file.
    pub fn finish(mut self) -> Result<Counts> {
        self.write_group()?;
        self.close()?;
        Ok(self.counts)
    }

    fn write_group(&mut self) -> Result<()> {
        if self.group.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.group);
        self.shard_tokens += std::mem::take(&mut self.group_tokens) as u64;
        let (path, mut writer) = match self.open.take() {
            Some(open) => open,
            None => self.create()?,
        };
        let columns = columns(&self.schema, rows);
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(ParquetError::from)
            .and_then(|batch| writer.write(&batch))
            .and_then(|()| writer.flush())
            .map_err(|error| write_error(&path, error))?;
        self.open = Some((path, writer));
        match self.shard_tokens >= SHARD_TOKENS {
            true => self.close(),
            false => Ok(()),
        }
    }

    fn create(&mut self) -> Result<(PathBuf, ArrowWriter<File>)> {
        let path = self.dir.join(format!("{}-{:05}.parquet", self.split, self.counts.shards));
        let file = File::create(&path).map_err(DataError::io(&path, "be created"))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_key_value_metadata(Some(self.notes.clone()))
            .build();
        let writer = ArrowWriter::try_new(file, self.schema.clone(), Some(properties))
            .map_err(|error| write_error(&path, error))?;
        self.counts.shards += 1;
        Ok((path, writer))
    }

    fn close(&mut self) -> Result<()> {
        self.shard_tokens = 0;
        match self.open.take() {
            Some((path, writer)) => writer.close().map(|_| ()).map_err(|error| write_error(&path, error)),
            None => Ok(()),
        }
    }
}

/// One writer a split. The counts at the end leave out splits without documents.
pub(crate) struct Writers(BTreeMap<Split, SplitWriter>);

impl Writers {
    pub fn new(dir: &Path, kind: &str, codec: &Codec, solved: bool) -> Self {
        let writer = |split| (split, SplitWriter::new(dir, split, kind, codec, solved));
        Self(Split::ALL.into_iter().map(writer).collect())
    }

    pub fn push(&mut self, split: Split, row: Row) -> Result<()> {
        self.0.get_mut(&split).map_or(Ok(()), |writer| writer.push(row))
    }

    pub fn documents(&self, split: Split) -> u64 {
        self.0.get(&split).map_or(0, SplitWriter::documents)
    }

    pub fn finish(self) -> Result<BTreeMap<Split, Counts>> {
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

fn schema(solved: bool) -> SchemaRef {
    let list = |name: &str, item| Field::new_list(name, Field::new("item", item, true), true);
    let mut fields = vec![list("input_ids", DataType::Int32)];
    if solved {
        fields.push(Field::new("question", DataType::Utf8, true));
        fields.push(list("steps", DataType::Utf8));
        fields.push(Field::new("answer", DataType::Utf8, true));
    }
    Arc::new(Schema::new(fields))
}

fn columns(schema: &Schema, rows: Vec<Row>) -> Vec<ArrayRef> {
    let mut ids = ListBuilder::new(Int32Builder::new());
    let mut steps = ListBuilder::new(StringBuilder::new());
    let (mut questions, mut answers) = (Vec::new(), Vec::new());
    for row in rows {
        // A vocabulary is far below 2^31, so the cast keeps the value.
        row.ids.iter().for_each(|id| ids.values().append_value(*id as i32));
        ids.append(true);
        if let Some(solved) = row.solved {
            solved.steps.iter().for_each(|step| steps.values().append_value(step));
            steps.append(true);
            questions.push(solved.question);
            answers.push(solved.answer);
        }
    }
    let mut columns: Vec<ArrayRef> = vec![Arc::new(ids.finish())];
    if schema.fields().len() > 1 {
        columns.push(Arc::new(StringArray::from(questions)));
        columns.push(Arc::new(steps.finish()));
        columns.push(Arc::new(StringArray::from(answers)));
    }
    columns
}

/// A full disk comes wrapped in the Parquet crate's error; what the system said is what the user needs.
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
