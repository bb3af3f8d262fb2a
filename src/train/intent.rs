//! Owns: making a run folder that of a run which has come to a checkpoint and no further.
//! Must not know: why.
//! Invariant: it is written down before anything is touched, and can be done again where it was interrupted.

use super::replay::write_known;
use crate::record::folder::{RunFolder, replace};
use crate::record::rows::{ChangeRow, Row};
use crate::record::{RecordError, changes, parts, recorder};
use serde::{Deserialize, Serialize};

/// What is to be made of the folder.
#[derive(Serialize, Deserialize)]
pub(super) struct Intent {
    /// The last step whose rows stay; -1: none do.
    pub until: i64,
    /// The record of changes as it stays.
    pub kept: Vec<ChangeRow>,
    /// The changes that are to be done again.
    pub scheduled: Vec<ChangeRow>,
    /// What the config file held, and what it is to hold, where that is another.
    pub before: String,
    pub rewritten: Option<String>,
    /// Checkpoints that are damaged.
    pub aside: Vec<u64>,
    /// The version of the config; whether later ones are given up.
    pub newest: u64,
    pub rewind: bool,
    /// Hash of the config, for the footers of what is written again.
    pub config_hash: String,
}

/// Writes `intent` down and does it.
pub(super) fn carry_out(folder: &RunFolder, intent: &Intent) -> Result<(), RecordError> {
    let file = folder.intent();
    let json = serde_json::to_string(intent).map_err(|error| RecordError::table(&file, &error))?;
    replace(&file, json.as_bytes())?;
    perform(folder, intent)
}

/// Does what an interrupted resume had begun to do.
pub(super) fn finish(folder: &RunFolder) -> Result<(), RecordError> {
    folder.sweep();
    let file = folder.intent();
    let json = match std::fs::read_to_string(&file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(RecordError::io("read", &file))?,
    };
    let intent: Intent = serde_json::from_str(&json).map_err(|error| RecordError::table(&file, &error))?;
    tracing::info!("a resume was interrupted: what it had begun is done first");
    perform(folder, &intent)
}

fn perform(folder: &RunFolder, intent: &Intent) -> Result<(), RecordError> {
    changes::rewrite(&folder.replay(), &intent.scheduled)?;
    changes::rewrite(&folder.changes(), &intent.kept)?;
    write_config(folder, intent)?;
    put_aside(folder, intent)?;
    recorder::recover(folder, &intent.config_hash, intent.until)?;
    rewrite_changes_table(folder, intent)?;
    if intent.rewind {
        let stale = (intent.newest + 1..).map(|version| folder.version(version));
        for version in stale.take_while(|path| path.exists()) {
            std::fs::remove_file(&version).map_err(RecordError::io("remove", &version))?;
        }
    }
    std::fs::remove_file(folder.intent()).map_err(RecordError::io("remove", &folder.intent()))
}

/// Unless a person has saved something else meanwhile.
fn write_config(folder: &RunFolder, intent: &Intent) -> Result<(), RecordError> {
    let now = std::fs::read_to_string(folder.config()).unwrap_or_default();
    match &intent.rewritten {
        Some(text) if now == intent.before || now == *text => {
            write_known(folder, &[&intent.before, text])?;
            replace(&folder.config(), text.as_bytes())?;
            write_known(folder, &[text])
        }
        Some(text) => write_known(folder, &[text]),
        None => write_known(folder, &[&intent.before]),
    }
}

fn put_aside(folder: &RunFolder, intent: &Intent) -> Result<(), RecordError> {
    for step in folder.checkpoints() {
        if intent.aside.contains(&step) || step as i64 > intent.until {
            let aside = folder.put_aside(step)?;
            tracing::info!(
                "a checkpoint that is damaged or of a past that is given up is now {}",
                aside.display()
            );
        }
    }
    Ok(())
}

/// The table of changes is the record in another form: a change may be of a step whose rows are cut, and stay.
fn rewrite_changes_table(folder: &RunFolder, intent: &Intent) -> Result<(), RecordError> {
    let dir = folder.path().join(ChangeRow::TABLE);
    for number in parts::numbers(&dir, "parquet") {
        let part = parts::part(&dir, number);
        std::fs::remove_file(&part).map_err(RecordError::io("remove", &part))?;
    }
    if intent.kept.is_empty() {
        return Ok(());
    }
    let batch = ChangeRow::batch(&intent.kept).map_err(|error| RecordError::table(&dir, &error))?;
    let footer = recorder::footer(&folder.id(), &intent.config_hash);
    parts::write(&dir, 0, ChangeRow::schema(), &[batch], &footer)
}
