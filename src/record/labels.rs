//! Owns: `labels.json` of a run folder: the run's tags, and the names that the folder had before it was renamed.
//! Must not know: who sets a tag, how a folder is renamed.
//! Invariant: tags are few, short and plain, also if another hand wrote the file.

use super::RecordError;
use crate::files::FileError;
use crate::files::atomic::replace_json;
use crate::files::foreign::read_text;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Most tags of a run.
pub const MAX_TAGS: usize = 16;
/// Most characters of a tag.
pub const MAX_TAG_CHARS: usize = 32;
/// Most earlier names that are kept, the newest ones.
const MAX_FORMER_NAMES: usize = 32;
/// Bytes of the largest file that is read.
const MAX_BYTES: u64 = 64 << 10;

/// What a person has noted about a run as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunLabels {
    pub tags: Vec<String>,
    /// Earlier names of the folder, the oldest first.
    pub former_names: Vec<String>,
}

impl RunLabels {
    /// Reads the labels of the run in folder `run`. A run without the file has none.
    pub fn read(run: &Path) -> Result<Self, RecordError> {
        let file = labels_file(run);
        let text = match read_text(&file, MAX_BYTES) {
            Err(error) if error.cause.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            read => read?,
        };
        let labels: Self =
            serde_json::from_str(&text).map_err(|error| RecordError::table(&file, &format!("damaged: {error}")))?;
        check_tags(&labels.tags).map_err(|message| RecordError::table(&file, &message))?;
        Ok(labels)
    }

    /// Writes the labels of the run in folder `run`, atomically.
    pub fn write(&self, run: &Path) -> Result<(), FileError> {
        replace_json(&labels_file(run), self)
    }

    /// Adds an earlier name of the folder.
    pub fn add_former_name(&mut self, name: &str) {
        self.former_names.retain(|former| former != name);
        self.former_names.push(name.to_owned());
        let surplus = self.former_names.len().saturating_sub(MAX_FORMER_NAMES);
        self.former_names.drain(..surplus);
    }
}

fn labels_file(run: &Path) -> PathBuf {
    run.join("labels.json")
}

/// Checks the number of tags and each of them.
///
/// # Errors
/// Returns what is wrong and what is allowed.
pub fn check_tags(tags: &[String]) -> Result<(), String> {
    if tags.len() > MAX_TAGS {
        return Err(format!("{} tags; allowed: at most {MAX_TAGS}", tags.len()));
    }
    let is_plain = |tag: &str| {
        let starts = tag.starts_with(|first: char| first.is_ascii_alphanumeric());
        starts && tag.chars().all(|c| c.is_ascii_alphanumeric() || "-_./+".contains(c))
    };
    match tags.iter().find(|tag| tag.len() > MAX_TAG_CHARS || !is_plain(tag)) {
        Some(tag) => Err(format!(
            "tag {tag:?}: allowed are at most {MAX_TAG_CHARS} of the characters a-z A-Z 0-9 - _ . / +, the first a \
             letter or digit"
        )),
        None => Ok(()),
    }
}

/// Returns the run that had the path `path` before it was renamed; none if there is no such run beside it.
pub fn find_renamed(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folders = std::fs::read_dir(parent).ok()?.flatten();
    let is_folder = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut runs = folders.filter(is_folder).map(|entry| path.with_file_name(entry.file_name()));
    runs.find(|run| RunLabels::read(run).is_ok_and(|labels| labels.former_names.iter().any(|former| former == name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_back_and_foreign_ones_are_checked() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(RunLabels::read(run.path()).unwrap(), RunLabels::default());
        let mut labels = RunLabels { tags: vec!["base".into(), "lr/1e-3".into()], ..RunLabels::default() };
        (0..40).for_each(|name| labels.add_former_name(&name.to_string()));
        labels.add_former_name("20");
        labels.write(run.path()).unwrap();
        let read = RunLabels::read(run.path()).unwrap();
        assert_eq!(read, labels);
        assert_eq!((read.former_names.len(), read.former_names.last().unwrap().as_str()), (MAX_FORMER_NAMES, "20"));
        for (text, wanted) in [
            ("{", "damaged"),
            (r#"{"tags": ["a b"]}"#, "tag \"a b\""),
            (r#"{"tags": ["\u001b[2J"]}"#, "allowed are"),
            (r#"{"tags": ["-x"]}"#, "the first a letter"),
        ] {
            std::fs::write(labels_file(run.path()), text).unwrap();
            let error = RunLabels::read(run.path()).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("labels.json"), "{error}");
        }
        assert!(check_tags(&vec!["a".to_owned(); MAX_TAGS + 1]).unwrap_err().contains("at most 16"));
        assert!(check_tags(&["a".repeat(MAX_TAG_CHARS + 1)]).is_err() && check_tags(&["a".repeat(32)]).is_ok());
    }
}
