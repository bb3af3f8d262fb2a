//! Owns: the layout of a dataset on disk: which files belong to which split, and facts about their tokens.
//! Must not know: order, batches, the terminal.
//! Invariant: an opened dataset has at least one of the splits train, valid and test. Every shard has a
//! readable footer and a token column, and no split is without rows.
//!
//! A dataset is a folder `DIR/{train,valid,test}-00000.parquet …` with `tokenizer.json` and `dataset.json`. Datasets
//! made elsewhere need neither file, and may have folders in folders (`layout`).

use super::decode::ReadCounts;
use super::error::{DataError, Result};
use super::layout::{DatasetFiles, PassedOver, find_shards};
use super::manifest::{
    DatasetManifest, EOS_ID_KEY, MANIFEST_FILE, ShardRecord, TOKENIZER_FILE, TOKENIZER_HASH_KEY, VOCAB_SIZE_KEY,
};
use super::parquet_input::open_input;
use super::shard::{Shard, ShardReadOptions};
use super::tokenizer::Tokenizer;
use super::{MAX_VOCAB, OnProgress, Progress, Split};
use crate::files::parquet_check::check_file;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The shards of one split, in the order of their names.
#[derive(Clone, Default)]
struct SplitShards {
    paths: Vec<PathBuf>,
    shards: Vec<Shard>,
}

/// An opened dataset: the footers of its shards have been read and checked, their pages have not.
#[derive(Clone)]
pub struct Dataset {
    path: PathBuf,
    splits: [SplitShards; 3],
    passed_over: Vec<PassedOver>,
    manifest: Option<DatasetManifest>,
    tokenizer: Option<Tokenizer>,
}

impl Dataset {
    /// Opens a dataset folder, or a single `.parquet` file as a train split. Fails if a file is broken or
    /// lacks a token column, a split has no rows, or the shards were written with another tokenizer.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(DataError::io(path, "be opened"))?;
        let (files, folder) = match metadata.is_dir() {
            true => (find_shards(path)?, path),
            false => {
                let shards = vec![(Split::Train, path.to_path_buf())];
                let files = DatasetFiles { shards, passed_over: Vec::new() };
                (files, path.parent().unwrap_or(Path::new(".")))
            }
        };
        let mut splits: [SplitShards; 3] = Default::default();
        for (split, file) in files.shards {
            let part = &mut splits[split as usize];
            part.shards.push(Shard::open(&file)?);
            part.paths.push(file);
        }
        let passed_over = files.passed_over;
        let mut dataset = Self { path: path.to_path_buf(), splits, passed_over, manifest: None, tokenizer: None };
        dataset.check_splits_not_empty()?;
        dataset.read_companion_files(folder, metadata.is_dir())?;
        dataset.check_recorded_shards_exist()?;
        Ok(dataset)
    }

    /// Returns the files of the folder that look like data and are not read.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// Returns what a user of the dataset should know: files and columns that are passed over. A reason that several
    /// files have is said once.
    pub fn warnings(&self) -> Vec<String> {
        let passed_over = self.passed_over.iter().map(|passed| (passed.file.as_path(), passed.reason.clone()));
        let mut reasons: Vec<(&Path, String)> = passed_over.collect();
        for shard in self.splits.iter().flat_map(|part| &part.shards) {
            reasons.extend(shard.notes().iter().map(|note| (shard.path(), note.clone())));
            if self.has_hashes() && self.recorded(shard.path()).is_none() {
                reasons.push((shard.path(), format!("not in {MANIFEST_FILE}: added after the dataset was made")));
            }
        }
        let mut grouped: BTreeMap<String, Vec<&Path>> = BTreeMap::new();
        reasons.into_iter().for_each(|(path, reason)| grouped.entry(reason).or_default().push(path));
        let say = |(reason, paths): (String, Vec<&Path>)| match paths.len() {
            1 => format!("{}: {reason}", paths[0].display()),
            count => format!("{} and {} more: {reason}", paths[0].display(), count - 1),
        };
        grouped.into_iter().map(say).collect()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn has_split(&self, split: Split) -> bool {
        !self.shard_paths(split).is_empty()
    }

    /// Returns the paths of the split's shards, in the order of their names.
    pub fn shard_paths(&self, split: Split) -> &[PathBuf] {
        &self.splits[split as usize].paths
    }

    /// Returns the number of rows from the footers. A row is a document; in a flat file it is one token.
    pub fn rows(&self, split: Split) -> u64 {
        self.opened_shards(split).iter().map(Shard::rows).sum()
    }

    /// Returns the vocabulary size from the footers, else the manifest, else the tokenizer.
    pub fn vocab_size(&self) -> Option<usize> {
        let footers = self.footer_values(VOCAB_SIZE_KEY).filter_map(|value| value.parse().ok()).max();
        let manifest = || self.manifest.as_ref().map(|manifest| manifest.vocab_size);
        footers.or_else(manifest).or_else(|| self.tokenizer.as_ref().map(Tokenizer::vocab_size))
    }

    pub fn tokenizer(&self) -> Option<Tokenizer> {
        let tokenizer = self.tokenizer.clone()?;
        Some(match self.eos_id() {
            Some(id) => tokenizer.with_end_id(id),
            None => tokenizer,
        })
    }

    /// Returns the id of the token that ends a document, if it is known.
    pub fn eos_id(&self) -> Option<u32> {
        let footers = self.footer_values(EOS_ID_KEY).find_map(|value| value.parse().ok());
        let manifest = || self.manifest.as_ref().and_then(|manifest| manifest.eos_id);
        footers.or_else(manifest).or_else(|| self.tokenizer.as_ref().and_then(Tokenizer::eos_id))
    }

    /// Says how the tokenizer that made the data differs from `other`; none if it does not, or if nobody knows.
    pub fn tokenizer_difference(&self, other: &Tokenizer) -> Option<String> {
        let recorded = self.footer_values(TOKENIZER_HASH_KEY).next();
        let recorded = recorded.or_else(|| self.manifest.as_ref().map(|manifest| manifest.tokenizer_hash.clone()));
        let own = self.tokenizer.as_ref();
        let hash = recorded.or_else(|| own.map(Tokenizer::hash)).filter(|hash| *hash != other.hash())?;
        let Some(own) = own else {
            return Some(format!("its hash is {hash}, that of the other {}", other.hash()));
        };
        // Formatting and added tokens do not matter: the ids of the data mean the same.
        let (token, id, others) = own.first_difference(other)?;
        let text = |id: Option<u32>| id.map_or("no id".to_owned(), |id| format!("id {id}"));
        Some(format!("`{token}` has {} there, and {} in the model's", text(id), text(others)))
    }

    pub fn manifest(&self) -> Option<&DatasetManifest> {
        self.manifest.as_ref()
    }

    /// Returns the opened shards of a split, which must exist.
    pub(crate) fn require_split(&self, split: Split) -> Result<&[Shard]> {
        if self.has_split(split) {
            return Ok(self.opened_shards(split));
        }
        let present: Vec<&str> =
            Split::ALL.iter().filter(|split| self.has_split(**split)).map(|split| split.name()).collect();
        let found = format!("only {}", present.join(", "));
        Err(DataError::NoSplit { file: self.path.clone(), split, found })
    }

    /// Returns the opened shards of a split; empty if the dataset lacks it.
    pub(crate) fn opened_shards(&self, split: Split) -> &[Shard] {
        &self.splits[split as usize].shards
    }

    /// Reads a whole split once, to find changed bytes, damaged pages and ids not below `vocab_size` before training.
    /// Returns what reading passes over.
    pub fn check_split(&self, split: Split, vocab_size: usize, on_progress: OnProgress<'_>) -> Result<ReadCounts> {
        let read_options = ShardReadOptions { vocab_size, eos_id: self.eos_id() };
        let (total, mut done, mut counts) = (self.rows(split), 0, ReadCounts::default());
        for shard in self.opened_shards(split) {
            self.check_bytes(shard)?;
            for (group, rows) in shard.compression_and_group_rows().1.into_iter().enumerate() {
                counts.add(shard.read_group(group, read_options)?.counts());
                done += rows;
                on_progress(Progress { label: "rows checked", done, total });
            }
        }
        Ok(counts)
    }

    /// Fails if the bytes of a shard are not those that were written: by its hash in `dataset.json`, else by the
    /// checksum in a file of this program. Shards of other programs have neither; their pages may have checksums, which
    /// are checked when they are read.
    pub(crate) fn check_bytes(&self, shard: &Shard) -> Result<()> {
        let path = shard.path();
        if let Some(recorded) = self.recorded(path) {
            return recorded.check(path);
        }
        let checked = check_file(&mut open_input(path)?).map_err(DataError::io(path, "be read"))?;
        checked.map(drop).map_err(|found| DataError::Checksum { file: path.to_path_buf(), found })
    }

    /// Whether `dataset.json` records hashes of the shards.
    pub fn has_hashes(&self) -> bool {
        self.manifest.as_ref().is_some_and(|manifest| !manifest.shards.is_empty())
    }

    fn recorded(&self, path: &Path) -> Option<&ShardRecord> {
        let name = path.strip_prefix(&self.path).ok()?.to_str()?;
        self.manifest.as_ref()?.shards.get(name)
    }

    /// Fails if a shard that `dataset.json` records is gone.
    fn check_recorded_shards_exist(&self) -> Result<()> {
        let recorded = self.manifest.iter().flat_map(|manifest| manifest.shards.keys());
        let missing = recorded.map(|name| self.path.join(name)).find(|path| !path.exists());
        match missing {
            None => Ok(()),
            Some(file) => {
                Err(DataError::Checksum { file, found: format!("{MANIFEST_FILE} records it, but it is gone") })
            }
        }
    }

    /// Returns the read options for the dataset's own vocabulary size, or the largest allowed one if unknown.
    pub(crate) fn read_options(&self) -> ShardReadOptions {
        ShardReadOptions { vocab_size: self.vocab_size().unwrap_or(MAX_VOCAB), eos_id: self.eos_id() }
    }

    fn footer_values(&self, key: &'static str) -> impl Iterator<Item = String> + '_ {
        let shards = self.splits.iter().flat_map(|part| &part.shards);
        shards.filter_map(move |shard| shard.footer().remove(key))
    }

    fn check_splits_not_empty(&self) -> Result<()> {
        for part in self.splits.iter().filter(|part| !part.shards.is_empty()) {
            if part.shards.iter().all(|shard| shard.rows() == 0) {
                return Err(DataError::Empty {
                    file: part.paths[0].clone(),
                    found: "no rows (0) in the split".to_owned(),
                    allowed: "at least one row, a document each",
                });
            }
        }
        Ok(())
    }

    /// Reads the manifest and the tokenizer in the folder of the shards. The tokenizer next to a single file
    /// may belong to other data: it is used only if the file records the hash of its tokenizer.
    fn read_companion_files(&mut self, folder: &Path, is_dataset_folder: bool) -> Result<()> {
        let manifest = folder.join(MANIFEST_FILE);
        if is_dataset_folder && manifest.is_file() {
            self.manifest = Some(DatasetManifest::read(&manifest)?);
        }
        let tokenizer_file = folder.join(TOKENIZER_FILE);
        if !tokenizer_file.is_file() {
            return Ok(());
        }
        let written_with: Vec<String> = self.footer_values(TOKENIZER_HASH_KEY).collect();
        if !is_dataset_folder && written_with.is_empty() {
            return Ok(());
        }
        let tokenizer = Tokenizer::from_file(&tokenizer_file)?;
        if let Some(other) = written_with.iter().find(|hash| **hash != tokenizer.hash()) {
            // A damaged footer is another fault than another tokenizer.
            self.splits.iter().flat_map(|part| &part.shards).try_for_each(|shard| self.check_bytes(shard))?;
            return Err(DataError::Tokenizer {
                tokenizer: tokenizer_file.display().to_string(),
                found: format!("hash {}, but the shards were written with {other}", tokenizer.hash()),
                allowed: "the tokenizer that the shards were written with",
            });
        }
        self.tokenizer = Some(tokenizer);
        Ok(())
    }
}
