//! Owns: what a person does to whole runs: tags, a new name, deletion.
//! Must not know: who asks, whether a person has confirmed it.
//! Invariant: a run that a trainer holds is neither renamed nor deleted. A deletion that is interrupted leaves a folder
//! that no list takes for a run, and that the next deletion removes. No link is followed.

use super::RecordError;
use super::labels::{RunLabels, check_tags};
use super::run_folder::{DELETED_SUFFIX, RunFolder, is_deleted_name};
use crate::config;
use crate::files::atomic::sync_folder;
use crate::schema::run_list::{TagEdit, split_run_id};
use std::path::{Path, PathBuf};

/// Adds and removes tags of the run in folder `run`. Returns its tags then.
///
/// # Errors
/// A tag is not allowed, the folder is not a run, or its labels cannot be read or written. Nothing is changed then.
pub fn edit_tags(run: &Path, edit: &TagEdit) -> Result<Vec<String>, RecordError> {
    let folder = RunFolder::open(run)?;
    let mut labels = RunLabels::read(folder.path())?;
    let before = labels.tags.clone();
    labels.tags.retain(|tag| !edit.remove.contains(tag));
    for tag in &edit.add {
        if !labels.tags.contains(tag) {
            labels.tags.push(tag.clone());
        }
    }
    check_tags(&labels.tags).map_err(|message| refusal(folder.path(), &message))?;
    if labels.tags != before {
        labels.write(folder.path())?;
    }
    Ok(labels.tags)
}

/// Gives the run in folder `run` the name `name`, and returns its new path. The time in the folder's name stays, and so
/// does `run.name` in its configs, which says how the run was started. The old path is kept in the run's labels, so
/// that runs that started from it still find it.
///
/// # Errors
/// The name is not allowed or taken, or a trainer holds the run.
pub fn rename_run(run: &Path, name: &str) -> Result<PathBuf, RecordError> {
    let folder = RunFolder::open(&own_path(run)?)?;
    let (old, id) = (folder.path(), folder.id());
    let set = format!("run.name={}", toml::Value::String(name.to_owned()));
    config::from_text("", "the new name", &[set]).map_err(|error| refusal(old, &error))?;
    let new = old.with_file_name(split_run_id(&id).map_or(name.to_owned(), |(time, _)| format!("{time}-{name}")));
    if new.symlink_metadata().is_ok() {
        return Err(refusal(old, &format!("cannot be renamed: {} exists", new.display())));
    }
    let lock = folder.lock()?;
    let mut labels = RunLabels::read(old)?;
    labels.add_former_name(&id);
    labels.write(old)?;
    // Windows does not rename a folder that has an open file.
    let _held = (!cfg!(windows)).then_some(lock);
    std::fs::rename(old, &new).map_err(RecordError::io("rename", old))?;
    new.parent().into_iter().for_each(sync_folder);
    Ok(new)
}

/// Deletes the run in folder `run`, with its checkpoints.
///
/// # Errors
/// The folder is not a run, or a trainer holds it: then nothing is changed. Or a file cannot be removed: then the run
/// is gone, and [`finish_deletions`] removes the rest.
pub fn delete_run(run: &Path) -> Result<(), RecordError> {
    let folder = RunFolder::open(&own_path(run)?)?;
    let (path, lock) = (folder.path(), folder.lock()?);
    let hidden = hidden_path(path, &folder.id());
    // Windows does not rename a folder that has an open file.
    let _held = (!cfg!(windows)).then_some(lock);
    std::fs::rename(path, &hidden).map_err(RecordError::io("delete", path))?;
    hidden.parent().into_iter().for_each(sync_folder);
    remove_hidden(&hidden)
}

/// Removes what interrupted deletions have left in the folder of runs `dir`. Returns a line for each, in words.
pub fn finish_deletions(dir: &Path) -> Vec<Result<String, RecordError>> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    // The type of an entry is that of a link itself, not of what it leads to.
    let left = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let left = left.map(|entry| dir.join(entry.file_name())).filter(|path| is_deleted_name(path));
    left.map(|path| remove_hidden(&path).map(|()| format!("removed the rest of a deleted run, {}", path.display())))
        .collect()
}

/// Returns the path of the run itself, without `.` and `..`. A link to a run is refused.
fn own_path(run: &Path) -> Result<PathBuf, RecordError> {
    let trimmed: PathBuf = run.components().collect();
    if trimmed.is_symlink() {
        return Err(refusal(run, "it is a link; name the folder that it leads to"));
    }
    match trimmed.file_name() {
        Some(_) => Ok(trimmed),
        None => run.canonicalize().map_err(RecordError::io("find", run)),
    }
}

/// Returns a free path beside the run under which it is deleted.
fn hidden_path(run: &Path, id: &str) -> PathBuf {
    let names = (1..).map(|attempt| match attempt {
        1 => format!(".{id}{DELETED_SUFFIX}"),
        attempt => format!(".{id}-{attempt}{DELETED_SUFFIX}"),
    });
    let mut paths = names.map(|name| run.with_file_name(name));
    paths.find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| run.to_owned())
}

fn remove_hidden(hidden: &Path) -> Result<(), RecordError> {
    match std::fs::remove_dir_all(hidden) {
        // Another process removes it, too.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(RecordError::io("remove", hidden)),
    }
}

fn refusal(path: &Path, message: &(impl std::fmt::Display + ?Sized)) -> RecordError {
    RecordError::Refused { path: path.display().to_string(), message: message.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::labels::find_renamed;

    fn make_run(dir: &Path, name: &str) -> PathBuf {
        let folder = RunFolder::create(dir, name, chrono::Local::now()).unwrap();
        std::fs::write(folder.config_file(), format!("[run]\nname = {name:?}\n")).unwrap();
        std::fs::create_dir(folder.checkpoint_folder(3)).unwrap();
        std::fs::write(folder.checkpoint_folder(3).join("model.safetensors"), "weights").unwrap();
        folder.path().to_owned()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn tags_are_added_and_removed_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let run = make_run(dir.path(), "a");
        let edit = |add: &[&str], remove: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
            edit_tags(&run, &TagEdit { add: words(add), remove: words(remove) })
        };
        assert_eq!(edit(&["base", "good", "base"], &[]).unwrap(), ["base", "good"]);
        assert_eq!(edit(&["new"], &["base", "absent"]).unwrap(), ["good", "new"]);
        assert!(edit(&["not good"], &[]).unwrap_err().to_string().contains("tag \"not good\""));
        assert_eq!(RunLabels::read(&run).unwrap().tags, ["good", "new"]);
        assert!(edit_tags(dir.path(), &TagEdit::default()).unwrap_err().to_string().contains("not a run folder"));
    }

    #[test]
    fn a_renamed_run_keeps_its_time_and_is_found_by_its_old_path() {
        let dir = tempfile::tempdir().unwrap();
        let old = make_run(dir.path(), "a");
        let time = old.file_name().unwrap().to_str().unwrap()[..15].to_owned();
        let begun = RunFolder::begun_at(&old);
        let new = rename_run(&old, "better name").unwrap();
        assert_eq!(new, dir.path().join(format!("{time}-better name")));
        assert!(!old.exists() && begun.is_some() && RunFolder::begun_at(&new) == begun);
        assert_eq!(std::fs::read_to_string(new.join("config.toml")).unwrap(), "[run]\nname = \"a\"\n");
        assert_eq!(find_renamed(&old).as_ref(), Some(&new));
        assert_eq!(RunFolder::open(&old).unwrap().path(), new, "lineage and scripts name the old path");
        let newest = rename_run(&new, "c").unwrap();
        assert_eq!((find_renamed(&old), find_renamed(&new)), (Some(newest.clone()), Some(newest.clone())));
        assert_eq!(rename_run(&newest, "a").unwrap(), old);
        assert_eq!(RunFolder::open(&old).unwrap().path(), old);
    }

    #[test]
    fn a_name_that_is_taken_or_not_allowed_and_a_running_run_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let run = make_run(dir.path(), "a");
        let taken = run.with_file_name(format!("{}-b", &run.file_name().unwrap().to_str().unwrap()[..15]));
        std::fs::create_dir(&taken).unwrap();
        let before = names(dir.path());
        for (name, wanted) in [("b", "exists"), ("../x", "plain name"), (".x", "plain name"), ("", "plain name")] {
            let error = rename_run(&run, name).unwrap_err().to_string();
            assert!(error.contains(wanted), "{name}: {error}");
        }
        let lock = RunFolder::open(&run).unwrap().lock().unwrap();
        assert!(matches!(rename_run(&run, "c"), Err(RecordError::Locked { .. })));
        assert!(matches!(delete_run(&run), Err(RecordError::Locked { .. })));
        drop(lock);
        assert_eq!(names(dir.path()), before);
        assert!(!run.join("labels.json").exists());
    }

    #[test]
    fn deletion_takes_runs_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (run, other) = (make_run(dir.path(), "a"), make_run(dir.path(), "b"));
        let documents = dir.path().join("documents");
        std::fs::create_dir(&documents).unwrap();
        std::fs::write(documents.join("thesis.txt"), "precious").unwrap();
        for path in [documents.as_path(), dir.path(), &dir.path().join("absent")] {
            assert!(matches!(delete_run(path), Err(RecordError::NoRun { .. })), "{}", path.display());
        }
        delete_run(&run).unwrap();
        assert!(!run.exists() && other.join("step-000003/model.safetensors").exists());
        assert_eq!(names(dir.path()).len(), 2);
    }

    #[test]
    fn a_deletion_that_was_killed_leaves_no_run_and_is_finished_later() {
        let dir = tempfile::tempdir().unwrap();
        let (run, other) = (make_run(dir.path(), "a"), make_run(dir.path(), "b"));
        // The state after a kill between the rename and the removal.
        let id = run.file_name().unwrap().to_str().unwrap().to_owned();
        let hidden = hidden_path(&run, &id);
        std::fs::rename(&run, &hidden).unwrap();
        assert!(!RunFolder::exists(&hidden) && RunFolder::open(&hidden).is_err(), "no list takes it for a run");
        assert_ne!(hidden_path(&run, &id), hidden);
        let done = finish_deletions(dir.path());
        assert!(matches!(&done[..], [Ok(line)] if line.contains(&id)), "{done:?}");
        assert_eq!(names(dir.path()), [other.file_name().unwrap().to_str().unwrap()]);
        assert!(finish_deletions(dir.path()).is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn deletion_follows_no_link() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (runs, outside) = (dir.path().join("runs"), dir.path().join("outside"));
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("precious"), "x").unwrap();
        let (run, linked) = (make_run(&runs, "a"), make_run(&outside, "b"));
        symlink(&outside, run.join("tables")).unwrap();
        assert!(matches!(delete_run(&run), Err(RecordError::UnsafeEntry { .. })));
        std::fs::remove_file(run.join("tables")).unwrap();
        symlink(&linked, runs.join("link")).unwrap();
        for link in [runs.join("link"), runs.join("link/")] {
            assert!(delete_run(&link).unwrap_err().to_string().contains("is a link"));
        }
        // Deeper than what is checked before, and under the name of a leftover.
        std::fs::create_dir(run.join("step-000003/deep")).unwrap();
        symlink(&outside, run.join("step-000003/deep/link")).unwrap();
        symlink(&outside, runs.join(format!(".x{DELETED_SUFFIX}"))).unwrap();
        delete_run(&run).unwrap();
        assert!(finish_deletions(&runs).is_empty());
        assert!(outside.join("precious").exists() && linked.join("config.toml").exists() && !run.exists());
    }
}
