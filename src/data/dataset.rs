//! Owns: the layout of a dataset on disk: which files belong to which split, and facts about their tokens.
//! Must not know: order, batches, the terminal.
//! Invariant: an opened dataset has at least one of the splits train, valid and test. Every shard has a
//! readable footer and a token column, and no split is without rows.
//!
//! A dataset is a folder `DIR/{train,valid,test}-00000.parquet …` with `tokenizer.json` and `dataset.json`. Datasets
//! made elsewhere need neither file. The start of a file name decides its split; if no name has one, all are train.

use super::error::{DataError, Result};
use super::manifest::{DatasetManifest, EOS_ID_KEY, MANIFEST_FILE, TOKENIZER_FILE, TOKENIZER_HASH_KEY, VOCAB_SIZE_KEY};
use super::shard::{MAX_VOCAB, Shard, ShardReadOptions};
use super::tokenizer::Tokenizer;
use super::{OnProgress, Progress, Split};
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
    manifest: Option<DatasetManifest>,
    tokenizer: Option<Tokenizer>,
}

impl Dataset {
    /// Opens a dataset folder, or a single `.parquet` file as a train split. Fails if a file is broken or
    /// lacks a token column, a split has no rows, or the shards were written with another tokenizer.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(DataError::io(path, "be opened"))?;
        let (files, folder) = match metadata.is_dir() {
            true => (assign_splits(list_shards(path)?), path),
            false => (vec![(Split::Train, path.to_path_buf())], path.parent().unwrap_or(Path::new("."))),
        };
        let mut splits: [SplitShards; 3] = Default::default();
        for (split, file) in files {
            let part = &mut splits[split as usize];
            part.shards.push(Shard::open(&file)?);
            part.paths.push(file);
        }
        let mut dataset = Self { path: path.to_path_buf(), splits, manifest: None, tokenizer: None };
        dataset.check_splits_not_empty()?;
        dataset.read_companion_files(folder, metadata.is_dir())?;
        Ok(dataset)
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
        self.tokenizer.clone()
    }

    /// Returns the id of the token that ends a document, if it is known.
    pub fn eos_id(&self) -> Option<u32> {
        let footers = self.footer_values(EOS_ID_KEY).find_map(|value| value.parse().ok());
        let manifest = || self.manifest.as_ref().and_then(|manifest| manifest.eos_id);
        footers.or_else(manifest).or_else(|| self.tokenizer.as_ref().and_then(Tokenizer::eos_id))
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

    /// Reads a whole split once, to find damaged pages and ids not below `vocab_size` before training.
    pub fn check_split(&self, split: Split, vocab_size: usize, on_progress: OnProgress<'_>) -> Result<()> {
        let read_options = ShardReadOptions { vocab_size, eos_id: self.eos_id() };
        let (total, mut done) = (self.rows(split), 0);
        for shard in self.opened_shards(split) {
            for (group, rows) in shard.compression_and_group_rows().1.into_iter().enumerate() {
                shard.read_group(group, read_options)?;
                done += rows;
                on_progress(Progress { label: "rows checked", done, total });
            }
        }
        Ok(())
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

/// Lists the Parquet files of a folder by name, without hidden ones.
fn list_shards(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(DataError::io(dir, "be listed"))? {
        let path = entry.map_err(DataError::io(dir, "be listed"))?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path);
        }
    }
    files.sort();
    match files.is_empty() {
        false => Ok(files),
        true => Err(DataError::Empty {
            file: dir.to_path_buf(),
            found: "no .parquet file in the folder".to_owned(),
            allowed: "token shards such as train-00000.parquet",
        }),
    }
}

/// Assigns each file to the split in its name. Files without one are train if no file has one, else left out.
fn assign_splits(files: Vec<PathBuf>) -> Vec<(Split, PathBuf)> {
    let split_of = |file: &Path| file.file_name().and_then(|name| Split::from_name_prefix(&name.to_string_lossy()));
    match files.iter().any(|file| split_of(file).is_some()) {
        true => files.into_iter().filter_map(|file| Some((split_of(&file)?, file))).collect(),
        false => files.into_iter().map(|file| (Split::Train, file)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_go_by_the_beginning_of_the_name() {
        let cases = [
            ("train-00000-of-00002.parquet", Some(Split::Train)),
            ("validation-0.parquet", Some(Split::Valid)),
            ("val_3.parquet", Some(Split::Valid)),
            ("dev.parquet", Some(Split::Valid)),
            ("Test.parquet", Some(Split::Test)),
            ("shard-1.parquet", None),
        ];
        for (name, split) in cases {
            assert_eq!(Split::from_name_prefix(name), split, "{name}");
        }
    }

    #[test]
    fn nameless_files_are_train_only_where_no_file_has_a_split() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let all = assign_splits(paths(&["a.parquet", "b.parquet"]));
        assert!(all.iter().all(|(split, _)| *split == Split::Train) && all.len() == 2);
        let some = assign_splits(paths(&["a.parquet", "valid-0.parquet"]));
        assert_eq!(some, vec![(Split::Valid, PathBuf::from("valid-0.parquet"))]);
    }
}
