//! Owns: planning to resume a run: from which checkpoint, with which config and which changes to apply again.
//! Must not know: tensors, the training loop.
//! Invariant: before all checks, only an interrupted resume is completed and a deleted config file restored.

use super::resume_journal::{self, ResumeJournal};
use super::run_plan::{Origin, ResumedFolder, RunPlan, check_steps_left, config_file_error};
use super::{checkpoint, recording};
use crate::config::change::{self, KeyChange};
use crate::config::{self, Config};
use crate::files::atomic::replace_file;
use crate::record::rows::{self, TableRow};
use crate::record::run_folder::{RunFolder, read_json};
use crate::record::{changes, segments, status};
use crate::schema::protocol::{Lineage, RunInfo};
use crate::schema::rows::{ChangeOutcome, ChangeRow, ChangeSource, EventRow, RunPosition};
use crate::schema::status::{RunState, RunStatus};
use crate::train::live::replay::{self, ChangeStamp, change_row};
use crate::train::{Recipe, TrainError};
use std::path::Path;

/// Plans to resume the run from its newest checkpoint, or to rewind it to the checkpoint of `step`.
pub(in crate::train) fn plan_resume(
    run: &Path,
    step: Option<u64>,
    restart: bool,
    overrides: &[String],
) -> Result<(RunPlan, ResumedFolder), TrainError> {
    let folder = RunFolder::open(run)?;
    let lock = folder.lock()?;
    resume_journal::finish_interrupted(&folder)?;
    let text = read_config_text(&folder)?;
    let (recipe, lineage) =
        read_json::<RunInfo>(&folder.run_info_file())?.map_or((None, None), |info| (info.recipe, info.lineage));
    let (start, damaged_checkpoints) = starting_plan(&folder, lineage.as_ref(), step, restart)?;
    let (edits, edited_text) = offline_edits(&folder, &text, overrides)?;
    let (kept, scheduled) = split_changes(&folder, &start, &edits, step.is_some())?;
    let steps_done = start.steps_done();
    let continued = replay::replay_changes(&start.config, &scheduled);
    if let Err(error) = check_steps_left(&start.work_done(), &continued) {
        mark_finished(&folder, steps_done);
        return Err(error);
    }
    warn_of_raised_rate(&start.config, &continued, steps_done);
    if start.checkpoint.is_none() {
        tracing::info!("no checkpoint yet: starting at the beginning");
    }
    if !scheduled.is_empty() {
        tracing::info!("{} changes after step {steps_done} will be applied at their steps", scheduled.len());
    }
    // A config file that is not rewritten keeps the settings of later changes.
    let rewritten = match step {
        Some(_) => Some(with_edits(&text, &start.config, &edits)?),
        None => Some(edited_text).filter(|edited| *edited != text),
    };
    let journal = ResumeJournal {
        last_kept_step: if start.origin == Origin::Resume { steps_done as i64 } else { -1 },
        kept_changes: kept,
        scheduled: scheduled.clone(),
        config_before: text.clone(),
        config_after: rewritten.clone(),
        damaged_checkpoints,
        config_version: start.version,
        rewind: step.is_some(),
        config_hash: recording::config_hash(&start.config),
    };
    let config_text = rewritten.unwrap_or(text);
    let plan = RunPlan { config_text, recipe, scheduled, lineage, ..start };
    Ok((plan, ResumedFolder { folder, lock, journal }))
}

/// Returns a plan to start from the own checkpoint, or as at first, and the steps of the damaged checkpoints.
fn starting_plan(
    folder: &RunFolder,
    lineage: Option<&Lineage>,
    step: Option<u64>,
    restart: bool,
) -> Result<(RunPlan, Vec<u64>), TrainError> {
    let new = |config| RunPlan::new(Recipe { config, text: String::new(), watched_file: None });
    let (own, damaged) = checkpoint::find_checkpoint(folder, step)?;
    let lost = match damaged.first() {
        Some((_, reason)) => Some(reason.clone()),
        None if own.is_none() => {
            recorded_checkpoint(folder, first_step(lineage))?.map(|name| format!("{name} is gone"))
        }
        None => None,
    };
    match (&own, lost) {
        (None, Some(reason)) if !restart => return Err(unreadable_checkpoints(folder, &reason)),
        (Some(found), Some(_)) => tracing::warn!(
            "going back to the checkpoint of step {}: rows after it are discarded, and those steps trained again",
            found.state.step
        ),
        (None, Some(_)) => tracing::warn!("beginning again at step 0, as --restart says: all rows are discarded"),
        (_, None) => {}
    }
    let damaged = damaged.into_iter().map(|(step, _)| step).collect();
    let plan = match own {
        Some(found) => RunPlan {
            version: found.state.config_version,
            origin: Origin::Resume,
            checkpoint: Some(found.clone()),
            ..new(found.config)
        },
        None => new(config::load(&folder.version_file(0), &[])?).with_parent(lineage)?,
    };
    Ok((plan, damaged))
}

/// Returns the step that a run started from: 0, or that of its parent's checkpoint.
fn first_step(lineage: Option<&Lineage>) -> u64 {
    let counts_on = |lineage: &&Lineage| !lineage.left_out.iter().any(|part| part == "step");
    lineage.filter(counts_on).and_then(|lineage| lineage.step).unwrap_or(0)
}

/// Returns the folder of the last checkpoint that the run recorded, if that was after its first step. Without a
/// checkpoint of its first step it starts as at first, and loses nothing.
fn recorded_checkpoint(folder: &RunFolder, first_step: u64) -> Result<Option<String>, TrainError> {
    let events = segments::read_table(&folder.path().join(EventRow::TABLE))?;
    let last = events.batches.iter().filter_map(rows::last_checkpoint).next_back();
    Ok(last.filter(|(step, _)| *step > first_step).map(|(_, name)| name))
}

fn unreadable_checkpoints(folder: &RunFolder, reason: &str) -> TrainError {
    let run = folder.path().display();
    TrainError::NoCheckpoint {
        run: run.to_string(),
        reason: format!(
            "{reason}. Nothing was changed. Restore the file, or begin again at step 0, which discards all recorded \
             rows: coconut-lab resume {run} --restart"
        ),
    }
}

/// Warns if the learning rate had decayed at the end of a run, and more steps raise it again.
fn warn_of_raised_rate(old: &Config, new: &Config, steps_done: u64) {
    if steps_done < old.run.steps || new.run.steps <= old.run.steps {
        return;
    }
    let (was, becomes) = (old.optim.lr_at(steps_done, old.run.steps), new.optim.lr_at(steps_done + 1, new.run.steps));
    if becomes > was * 1.05 {
        tracing::warn!(
            "the schedule had ended: the learning rate was {was:.3e} at step {steps_done}, and is {becomes:.3e} now, \
             because `optim.decay` is stretched to {} steps. To train on at its end: --set optim.decay=constant \
             --set optim.lr={was:e} --set optim.warmup=0",
            new.run.steps
        );
    }
}

/// Returns the changes to keep and those to apply: offline edits, then recorded ones unless `rewind`.
fn split_changes(
    folder: &RunFolder,
    start: &RunPlan,
    edits: &[KeyChange],
    rewind: bool,
) -> Result<(Vec<ChangeRow>, Vec<ChangeRow>), TrainError> {
    let (record, pending) =
        (changes::read_changes(&folder.changes_file())?, changes::read_changes(&folder.replay_file())?);
    let (mut kept, mut scheduled) = changes::split_for_replay(record, pending, start.version);
    let at = start.steps_done();
    if rewind {
        tracing::info!("discarding {} changes after step {at}", scheduled.len());
        scheduled.clear();
        // Notes are kept, even those about discarded steps.
        kept.retain(|change| change.outcome == ChangeOutcome::Noted || change.step <= at + 1);
    }
    // A replayed change must not undo a newer edit of the same key.
    scheduled.retain(|change| !replay::has_same_key(change, edits));
    let stamp = ChangeStamp::new(RunPosition { step: at + 1, tokens: 0, version: 0 });
    let offline = edits.iter().map(|edit| change_row(Some(edit), &stamp, &ChangeSource::Offline));
    Ok((kept, offline.chain(scheduled).collect()))
}

/// Returns the text of the run's config file. Restores a deleted file from the newest config version.
fn read_config_text(folder: &RunFolder) -> Result<String, TrainError> {
    let (file, newest) = (folder.config_file(), folder.newest_version_file());
    if !file.exists()
        && let Some(newest) = newest
    {
        tracing::warn!("{} was deleted; restoring it from {}", file.display(), newest.display());
        replace_file(&file, config::read_file(&newest)?.as_bytes())?;
    }
    let text = config::read_file(&file)?;
    // Refuse an invalid file before anything is touched.
    config::from_text(&text, &file.display().to_string(), &[])?;
    Ok(text)
}

/// Marks a run as finished that was killed after its last step.
fn mark_finished(folder: &RunFolder, step: u64) {
    let status = status::read_status(folder).ok().flatten();
    if status.is_some_and(|status| [RunState::Running, RunState::Interrupted].contains(&status.state)) {
        let _ = status::write_status(folder, &RunStatus::new(RunState::Finished, step, step));
    }
}

/// Returns the edits made while the run was not running, by file and `overrides`, and the file's text with them.
fn offline_edits(folder: &RunFolder, text: &str, overrides: &[String]) -> Result<(Vec<KeyChange>, String), TrainError> {
    let (file, name) = (folder.config_file(), folder.config_file().display().to_string());
    let known = replay::read_known_texts(folder);
    if let Some(last) = known.last().filter(|_| !known.iter().any(|known| known == text)) {
        config::refuse_torn(text, last, &name, true)?;
    }
    let saved = config::from_text(text, &name, &[])?;
    let base = match known.iter().any(|known| known == text) {
        true => saved,
        false => known.last().and_then(|known| config::from_text(known, &name, &[]).ok()).unwrap_or(saved),
    };
    let edited = config::from_text(text, &name, overrides)?;
    let edits = change::diff(&base, &edited);
    if let Some(frozen) = edits.iter().find(|edit| edit.is_frozen()) {
        let line = config::line_of_key(text, frozen.key).map_or(String::new(), |line| format!(" line {line}"));
        return Err(TrainError::FrozenKey {
            place: format!("{}{line}", file.display()),
            key: frozen.key.path(),
            old: frozen.old.to_string(),
            new: frozen.new.to_string(),
            run: folder.id(),
        });
    }
    let values: Vec<_> = edits.iter().map(|edit| (edit.key, &edit.new)).collect();
    let text = config::edit::set(text, &values).map_err(config_file_error)?;
    Ok((edits, text))
}

/// Returns the config text with the values of `base`, to which the run is rewound, and with `edits`.
fn with_edits(text: &str, base: &Config, edits: &[KeyChange]) -> Result<String, TrainError> {
    let text = config::edit::complete(text, base).map_err(config_file_error)?;
    let values: Vec<_> = edits.iter().map(|edit| (edit.key, &edit.new)).collect();
    Ok(config::edit::set(&text, &values).map_err(config_file_error)?)
}
