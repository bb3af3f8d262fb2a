//! Owns: which files of a dataset folder are shards, and which split each belongs to, by the names alone.
//! Must not know: what is in the files.
//! Invariant: files come in the order of their paths. No file with data in its name is passed over without a word. No
//! link leads to an endless walk.
//!
//! A folder with `.parquet` files of its own is flat: folders in it are passed over, but for those whose names end in
//! `.parquet` (as Spark writes them). Otherwise all folders in it are searched. A file belongs to the split that its
//! own name says, else to that of the nearest folder. If no name says a split, all files are train.

use super::Split;
use super::error::{DataError, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Deepest folder below the dataset that is searched.
const MAX_DEPTH: usize = 16;
/// Ends of names that are those of data in other formats.
const OTHER_DATA: [&str; 20] = [
    ".arrow",
    ".feather",
    ".bin",
    ".npy",
    ".npz",
    ".idx",
    ".jsonl",
    ".ndjson",
    ".csv",
    ".tsv",
    ".txt",
    ".gz",
    ".zst",
    ".zip",
    ".tar",
    ".pq",
    ".parq",
    ".orc",
    ".avro",
    ".tfrecord",
];

/// A file or folder of a dataset that is not read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    pub file: PathBuf,
    pub reason: String,
}

/// The files of a dataset folder.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct DatasetFiles {
    pub shards: Vec<(Split, PathBuf)>,
    pub passed_over: Vec<PassedOver>,
}

/// Finds the shards of a dataset folder. Fails if there are none, or if a name says two splits.
pub(crate) fn find_shards(dir: &Path) -> Result<DatasetFiles> {
    let mut search = Search { shards: Vec::new(), passed_over: Vec::new(), open_folders: Vec::new() };
    search.walk(dir, false)?;
    let Search { mut shards, mut passed_over, .. } = search;
    if shards.is_empty() {
        return Err(DataError::Empty {
            file: dir.to_path_buf(),
            found: format!("no .parquet file in the folder or below it{}", other_files(&passed_over)),
            allowed: "token shards such as train-00000.parquet",
        });
    }
    shards.sort();
    let mut split_of = Vec::new();
    for file in &shards {
        split_of.push(split_from_path(dir, file)?);
    }
    let named = split_of.iter().any(Option::is_some);
    let mut files = DatasetFiles::default();
    for (file, split) in shards.into_iter().zip(split_of) {
        match split {
            Some(split) => files.shards.push((split, file)),
            None if !named => files.shards.push((Split::Train, file)),
            None => passed_over.push(PassedOver {
                file,
                reason: "passed over: its name says no split, but those of others do (to use it, name it train-…)"
                    .to_owned(),
            }),
        }
    }
    passed_over.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(DatasetFiles { passed_over, ..files })
}

/// Says which files are there instead of shards.
fn other_files(passed_over: &[PassedOver]) -> String {
    match passed_over {
        [] => String::new(),
        [first, rest @ ..] => {
            let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            format!(", but {}{more}: text becomes shards by `coconut-lab data text`", first.file.display())
        }
    }
}

/// Returns the split that the file's name says, else the nearest folder's below `dir`.
fn split_from_path(dir: &Path, file: &Path) -> Result<Option<Split>> {
    let below = file.strip_prefix(dir).unwrap_or(file);
    for part in below.iter().rev() {
        match Split::from_name(&part.to_string_lossy()) {
            Ok(None) => {}
            Ok(said) => return Ok(said),
            Err([one, other]) => {
                return Err(DataError::SplitName {
                    file: file.to_path_buf(),
                    found: format!("the name `{}` says both {one} and {other}", part.to_string_lossy()),
                });
            }
        }
    }
    Ok(None)
}

struct Search {
    shards: Vec<PathBuf>,
    passed_over: Vec<PassedOver>,
    /// The folders that lead to the one that is searched, without links.
    open_folders: Vec<PathBuf>,
}

impl Search {
    /// Searches a folder. In a folder of shards (as Spark writes them) no other folder is expected.
    fn walk(&mut self, dir: &Path, is_shard_folder: bool) -> Result<()> {
        let real = std::fs::canonicalize(dir).map_err(DataError::io(dir, "be listed"))?;
        if self.open_folders.contains(&real) {
            self.pass_over(dir, "passed over: a link back to a folder that leads here");
            return Ok(());
        }
        if self.open_folders.len() >= MAX_DEPTH {
            self.pass_over(dir, "passed over: too many folders within folders");
            return Ok(());
        }
        self.open_folders.push(real);
        let (mut folders, mut shard_folders, mut has_shards) = (Vec::new(), Vec::new(), false);
        for path in list_visible(dir)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match (path.is_dir(), name.ends_with(".parquet")) {
                (true, true) => shard_folders.push(path),
                (true, false) => folders.push(path),
                (false, true) if name.starts_with('_') => {
                    self.pass_over(&path, "passed over: its name starts with `_`")
                }
                (false, true) => {
                    has_shards = true;
                    self.shards.push(path);
                }
                (false, false) => self.pass_over_other_data(path, &name.to_lowercase()),
            }
        }
        for folder in shard_folders {
            self.walk(&folder, true)?;
        }
        for folder in folders {
            match has_shards && !is_shard_folder {
                true => self.pass_over_folder(folder),
                false => self.walk(&folder, is_shard_folder)?,
            }
        }
        self.open_folders.pop();
        Ok(())
    }

    fn pass_over(&mut self, file: &Path, reason: &str) {
        self.passed_over.push(PassedOver { file: file.to_path_buf(), reason: reason.to_owned() });
    }

    fn pass_over_other_data(&mut self, file: PathBuf, name: &str) {
        if let Some(end) = OTHER_DATA.iter().find(|end| name.ends_with(**end)) {
            self.pass_over(&file, &format!("passed over: a {end} file, only .parquet files are read"));
        } else if name.ends_with(".parquet") {
            self.pass_over(&file, "passed over: its name does not end in .parquet in small letters");
        }
    }

    /// Passes over a folder beside shards, with a word if there are Parquet files right in it.
    fn pass_over_folder(&mut self, folder: PathBuf) {
        let holds_shards = list_visible(&folder)
            .is_ok_and(|paths| paths.iter().any(|path| path.extension().is_some_and(|end| end == "parquet")));
        if holds_shards {
            self.pass_over(&folder, "passed over: a folder of .parquet files beside shards (move one of the two away)");
        }
    }
}

/// Lists a folder by name, without hidden files, and without the folders that Spark and others start with `_`.
fn list_visible(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(DataError::io(dir, "be listed"))? {
        let path = entry.map_err(DataError::io(dir, "be listed"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !(name.starts_with('.') || name.starts_with('_') && path.is_dir()) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes empty files and returns what is found in their folder: shards by split, and files passed over.
    #[allow(clippy::type_complexity)]
    fn found(names: &[&str]) -> Result<(Vec<(Split, String)>, Vec<String>)> {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let files = find_shards(dir.path())?;
        let below = |path: &Path| path.strip_prefix(dir.path()).unwrap().display().to_string();
        let shards = files.shards.iter().map(|(split, file)| (*split, below(file))).collect();
        Ok((shards, files.passed_over.iter().map(|passed| below(&passed.file)).collect()))
    }

    #[test]
    fn layouts_of_other_programs_are_found() {
        use Split::{Train, Valid};
        #[allow(clippy::type_complexity)]
        let cases: [(&[&str], &[(Split, &str)], &[&str]); 8] = [
            (&["a.parquet", "b.parquet"], &[(Train, "a.parquet"), (Train, "b.parquet")], &[]),
            (&["a.parquet", "val-0.parquet", "c.bin"], &[(Valid, "val-0.parquet")], &["a.parquet", "c.bin"]),
            (
                &["data/train-00000-of-00001.parquet", "data/validation-0.parquet", "README.md"],
                &[(Train, "data/train-00000-of-00001.parquet"), (Valid, "data/validation-0.parquet")],
                &[],
            ),
            (
                &["split=train/a=1/part-0.parquet", "split=valid/a=1/part-0.parquet"],
                &[(Train, "split=train/a=1/part-0.parquet"), (Valid, "split=valid/a=1/part-0.parquet")],
                &[],
            ),
            (
                &[
                    "train.parquet/part-0.parquet",
                    "train.parquet/_SUCCESS",
                    "valid.parquet/.part-0.parquet.crc",
                    "valid.parquet/part-0.parquet",
                ],
                &[(Train, "train.parquet/part-0.parquet"), (Valid, "valid.parquet/part-0.parquet")],
                &[],
            ),
            (&["train/val-0.parquet"], &[(Valid, "train/val-0.parquet")], &[]),
            (&["train-0.parquet", "raw/x.parquet", "notes/a.md"], &[(Train, "train-0.parquet")], &["raw"]),
            (
                &["train-0.parquet", "_tmp/train-1.parquet", "_x.parquet"],
                &[(Train, "train-0.parquet")],
                &["_x.parquet"],
            ),
        ];
        for (names, shards, passed_over) in cases {
            let expected: Vec<_> = shards.iter().map(|(split, name)| (*split, (*name).to_owned())).collect();
            assert_eq!(found(names).unwrap(), (expected, passed_over.iter().map(|name| (*name).to_owned()).collect()));
        }
    }

    #[test]
    fn a_name_that_says_two_splits_and_a_folder_without_shards_are_errors() {
        let error = found(&["train_test.parquet"]).unwrap_err().to_string();
        assert!(error.contains("train_test.parquet") && error.contains("both train and test"), "{error}");
        let error = found(&["a.jsonl", "b.jsonl"]).unwrap_err().to_string();
        assert!(error.contains("a.jsonl and 1 more") && error.contains("data text"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_in_a_circle_end() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/train-0.parquet"), "").unwrap();
        std::os::unix::fs::symlink(dir.path(), dir.path().join("again")).unwrap();
        let files = find_shards(dir.path()).unwrap();
        assert_eq!((files.shards.len(), files.passed_over.len()), (1, 1));
    }
}
