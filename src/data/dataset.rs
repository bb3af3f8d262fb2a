//! Owns what a dataset is on disk: which files belong to which split, and what is known about their tokens.
//!
//! Must not know: order, batches, the terminal. Invariant: an opened dataset has a train, valid or test split whose
//! shards all have a readable footer and a token column, and no split without rows.
//!
//! `DIR/{train,valid,test}-00000.parquet …`, beside them `tokenizer.json` and `dataset.json`. Foreign folders need
//! neither: splits go by the beginning of the file name, and files that say nothing are the train split.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::{DataError, Result};
use super::manifest::{EOS_KEY, HASH_KEY, MANIFEST_FILE, Manifest, TOKENIZER_FILE, VOCAB_KEY};
use super::shard::{Accept, MAX_VOCAB, Shard};
use super::tokenizer::Codec;
use super::{OnProgress, Progress};

/// The parts of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    Train,
    Valid,
    Test,
}

impl Split {
    pub const ALL: [Self; 3] = [Self::Train, Self::Valid, Self::Test];

    /// The beginning of its shards' names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Valid => "valid",
            Self::Test => "test",
        }
    }

    /// The split that a foreign file's name begins with, if it does.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let name = name.to_lowercase();
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        match () {
            () if begins(&["train"]) => Some(Self::Train),
            () if begins(&["val", "dev"]) => Some(Self::Valid),
            () if begins(&["test"]) => Some(Self::Test),
            () => None,
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One split's shards, in the order of their names.
#[derive(Clone, Default)]
struct Part {
    paths: Vec<PathBuf>,
    shards: Vec<Shard>,
}

/// A dataset whose footers have been read and found usable; its pages have not.
#[derive(Clone)]
pub struct Dataset {
    path: PathBuf,
    parts: [Part; 3],
    manifest: Option<Manifest>,
    codec: Option<Codec>,
}

impl Dataset {
    /// Opens a dataset folder, or a single `.parquet` file as a train split.
    ///
    /// # Errors
    /// Nothing there, a shard that is not Parquet or has no token column, a split without a row, a broken
    /// `dataset.json` or `tokenizer.json`, or a tokenizer other than the one that the shards were written with.
    pub fn open(path: &Path) -> Result<Self> {
        let kind = std::fs::metadata(path).map_err(DataError::io(path, "be opened"))?;
        let (files, beside) = match kind.is_dir() {
            true => (assign(list_shards(path)?), path),
            false => (vec![(Split::Train, path.to_path_buf())], path.parent().unwrap_or(Path::new("."))),
        };
        let mut parts: [Part; 3] = Default::default();
        for (split, file) in files {
            let part = &mut parts[split as usize];
            part.shards.push(Shard::open(&file)?);
            part.paths.push(file);
        }
        let mut dataset = Self { path: path.to_path_buf(), parts, manifest: None, codec: None };
        dataset.refuse_empty()?;
        dataset.attach(beside, kind.is_dir())?;
        Ok(dataset)
    }

    /// The path it was opened from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn has(&self, split: Split) -> bool {
        !self.shards(split).is_empty()
    }

    /// The split's files, by name.
    pub fn shards(&self, split: Split) -> &[PathBuf] {
        &self.parts[split as usize].paths
    }

    /// Rows by the footers: documents, except in flat files, where a row is one token.
    pub fn rows(&self, split: Split) -> u64 {
        self.opened(split).iter().map(Shard::rows).sum()
    }

    /// Number of token ids: by the footers, else the manifest, else the tokenizer. `None`: nobody says.
    pub fn vocab_size(&self) -> Option<usize> {
        let footers = self.footer_values(VOCAB_KEY).filter_map(|value| value.parse().ok()).max();
        let manifest = || self.manifest.as_ref().map(|manifest| manifest.vocab_size);
        footers.or_else(manifest).or_else(|| self.codec.as_ref().map(Codec::vocab_size))
    }

    /// The tokenizer beside the shards, where there is one.
    pub fn tokenizer(&self) -> Option<Codec> {
        self.codec.clone()
    }

    /// The token that ends a document, where one is known.
    pub fn eos_id(&self) -> Option<u32> {
        let footers = self.footer_values(EOS_KEY).find_map(|value| value.parse().ok());
        let manifest = || self.manifest.as_ref().and_then(|manifest| manifest.eos_id);
        footers.or_else(manifest).or_else(|| self.codec.as_ref().and_then(Codec::eos_id))
    }

    /// How it was made, for datasets of our own making.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// The split's opened shards.
    ///
    /// # Errors
    /// The dataset has no such split.
    pub(crate) fn split(&self, split: Split) -> Result<&[Shard]> {
        if self.has(split) {
            return Ok(self.opened(split));
        }
        let have: Vec<&str> =
            Split::ALL.iter().filter(|have| self.has(**have)).map(|have| have.name()).collect();
        Err(DataError::NoSplit { file: self.path.clone(), split, found: format!("only {}", have.join(", ")) })
    }

    pub(crate) fn opened(&self, split: Split) -> &[Shard] {
        &self.parts[split as usize].shards
    }

    /// Reads a split through once, so that a damaged page or an id not below `vocab_size` is found before anything is
    /// trained on. Memory: one row group. Progress in rows.
    ///
    /// # Errors
    /// The first that a reader of the split would meet.
    pub fn check(&self, split: Split, vocab_size: usize, on_progress: OnProgress<'_>) -> Result<()> {
        let accept = Accept { vocab: vocab_size, eos: self.eos_id() };
        let (total, mut done) = (self.rows(split), 0);
        for shard in self.opened(split) {
            for (group, rows) in shard.storage().1.into_iter().enumerate() {
                shard.read_group(group, accept)?;
                done += rows;
                on_progress(Progress { what: "rows checked", done, total });
            }
        }
        Ok(())
    }

    /// What to accept when nothing but the dataset itself says how large its vocabulary is.
    pub(crate) fn accept(&self) -> Accept {
        Accept { vocab: self.vocab_size().unwrap_or(MAX_VOCAB), eos: self.eos_id() }
    }

    fn footer_values(&self, key: &'static str) -> impl Iterator<Item = String> + '_ {
        let shards = self.parts.iter().flat_map(|part| &part.shards);
        shards.filter_map(move |shard| shard.footer().remove(key))
    }

    fn refuse_empty(&self) -> Result<()> {
        for part in self.parts.iter().filter(|part| !part.shards.is_empty()) {
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

    /// Reads what lies beside the shards. A lone file may lie beside a tokenizer that is not its own: then it goes without.
    fn attach(&mut self, beside: &Path, folder: bool) -> Result<()> {
        let manifest = beside.join(MANIFEST_FILE);
        if folder && manifest.is_file() {
            self.manifest = Some(Manifest::read(&manifest)?);
        }
        let tokenizer = beside.join(TOKENIZER_FILE);
        if !tokenizer.is_file() {
            return Ok(());
        }
        let written_with: Vec<String> = self.footer_values(HASH_KEY).collect();
        if !folder && written_with.is_empty() {
            return Ok(());
        }
        let codec = Codec::from_file(&tokenizer)?;
        if let Some(other) = written_with.iter().find(|hash| **hash != codec.hash()) {
            return Err(DataError::Tokenizer {
                tokenizer: tokenizer.display().to_string(),
                found: format!("hash {}, but the shards were written with {other}", codec.hash()),
                allowed: "the tokenizer that the shards were written with",
            });
        }
        self.codec = Some(codec);
        Ok(())
    }
}

fn list_shards(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(DataError::io(dir, "be listed"))? {
        let path = entry.map_err(DataError::io(dir, "be listed"))?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|end| end == "parquet") {
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

/// Files without a split in their name are left out where others have one, and are the train split where none has.
fn assign(files: Vec<PathBuf>) -> Vec<(Split, PathBuf)> {
    let split_of = |file: &Path| file.file_name().and_then(|name| Split::of_name(&name.to_string_lossy()));
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
            assert_eq!(Split::of_name(name), split, "{name}");
        }
    }

    #[test]
    fn nameless_files_are_train_only_where_no_file_has_a_split() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let all = assign(paths(&["a.parquet", "b.parquet"]));
        assert!(all.iter().all(|(split, _)| *split == Split::Train) && all.len() == 2);
        let some = assign(paths(&["a.parquet", "valid-0.parquet"]));
        assert_eq!(some, vec![(Split::Valid, PathBuf::from("valid-0.parquet"))]);
    }
}
