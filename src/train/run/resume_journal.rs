//! Owns: truncating a run folder to the state of a checkpoint, by way of a journal.
//! Must not know: why a run is resumed.
//! Invariant: the journal is written before anything is touched, and can be applied again after an interruption.

use crate::files::atomic::replace_file;
use crate::record::rows::TableRow;
use crate::record::run_folder::RunFolder;
use crate::record::{RecordError, changes, recorder};
use crate::schema::rows::ChangeRow;
use crate::train::live::replay::write_known_texts;
use serde::{Deserialize, Serialize};

/// What has to be done to the run folder. It is stored as JSON, whose keys are a file format.
#[derive(Serialize, Deserialize)]
pub(in crate::train) struct ResumeJournal {
    /// The last step whose rows are kept; -1: none.
    #[serde(rename = "until")]
    pub last_kept_step: i64,
    /// The record of changes to keep.
    #[serde(rename = "kept")]
    pub kept_changes: Vec<ChangeRow>,
    /// The changes to apply again at their steps.
    pub scheduled: Vec<ChangeRow>,
    /// Text of the config file before the resume.
    #[serde(rename = "before")]
    pub config_before: String,
    /// New text of the config file; `None` if it does not change.
    #[serde(rename = "rewritten")]
    pub config_after: Option<String>,
    #[serde(rename = "aside")]
    pub damaged_checkpoints: Vec<u64>,
    /// Version of the config to continue with.
    #[serde(rename = "newest")]
    pub config_version: u64,
    /// Whether later config versions are removed.
    pub rewind: bool,
    /// Hash of the config, for the footers of rewritten tables.
    pub config_hash: String,
}

pub(in crate::train) fn write_and_apply(folder: &RunFolder, journal: &ResumeJournal) -> Result<(), RecordError> {
    let file = folder.resume_journal();
    let json = serde_json::to_string(journal).map_err(|error| RecordError::table(&file, &error))?;
    replace_file(&file, json.as_bytes())?;
    apply_journal(folder, journal)
}

/// Completes an interrupted resume, if there is a journal.
pub(in crate::train) fn finish_interrupted(folder: &RunFolder) -> Result<(), RecordError> {
    folder.remove_partial_files();
    let file = folder.resume_journal();
    let json = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(RecordError::io("read", &file))?,
    };
    let journal: ResumeJournal = serde_json::from_str(&json).map_err(|error| RecordError::table(&file, &error))?;
    tracing::info!("a resume was interrupted: completing it first");
    apply_journal(folder, &journal)
}

/// Applies a journal, then removes its file. Every step can be repeated.
fn apply_journal(folder: &RunFolder, journal: &ResumeJournal) -> Result<(), RecordError> {
    changes::rewrite_changes(&folder.replay_file(), &journal.scheduled)?;
    changes::rewrite_changes(&folder.changes_file(), &journal.kept_changes)?;
    write_config(folder, journal)?;
    quarantine_checkpoints(folder, journal)?;
    recorder::recover_tables(folder, &journal.config_hash, journal.last_kept_step)?;
    quarantine_changes_table(folder)?;
    if journal.rewind {
        let stale = (journal.config_version + 1..).map(|version| folder.version_file(version));
        for version in stale.take_while(|path| path.exists()) {
            std::fs::remove_file(&version).map_err(RecordError::io("remove", &version))?;
        }
    }
    std::fs::remove_file(folder.resume_journal()).map_err(RecordError::io("remove", &folder.resume_journal()))
}

/// Rewrites the config file, unless a person has saved another text in the meantime.
fn write_config(folder: &RunFolder, journal: &ResumeJournal) -> Result<(), RecordError> {
    let now = std::fs::read_to_string(folder.config_file()).unwrap_or_default();
    match &journal.config_after {
        Some(text) if now == journal.config_before || now == *text => {
            write_known_texts(folder, &[&journal.config_before, text])?;
            replace_file(&folder.config_file(), text.as_bytes())?;
            write_known_texts(folder, &[text])
        }
        Some(text) => write_known_texts(folder, &[text]),
        None => write_known_texts(folder, &[&journal.config_before]),
    }
}

/// Quarantines checkpoints that are damaged or later than the last kept step.
fn quarantine_checkpoints(folder: &RunFolder, journal: &ResumeJournal) -> Result<(), RecordError> {
    for step in folder.checkpoint_steps() {
        if journal.damaged_checkpoints.contains(&step) || step as i64 > journal.last_kept_step {
            let quarantined = folder.quarantine(step)?;
            tracing::info!("moved a damaged or discarded checkpoint to {}", quarantined.display());
        }
    }
    Ok(())
}

/// Moves the table of changes of older versions aside: it is no longer written, and would fall behind the record.
fn quarantine_changes_table(folder: &RunFolder) -> Result<(), RecordError> {
    if folder.path().join(ChangeRow::TABLE).is_dir() {
        folder.move_aside(ChangeRow::TABLE)?;
    }
    Ok(())
}
