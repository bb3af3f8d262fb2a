//! Owns: going on with a run: from which checkpoint, with which config, and which changes are still to be made.
//! Must not know: tensors, the loop.
//! Invariant: the folder is not touched before everything that could be refused has been looked at, but for what an earlier
//! resume had begun and a config file that was taken away.

use super::begin::{self, Beginning, Resumed};
use super::checkpoint::Found;
use super::intent::{self, Intent};
use super::{Fresh, TrainError, replay};
use crate::config::change::{self, Edit};
use crate::config::{self, Config};
use crate::message::{Lineage, RunInfo};
use crate::record::folder::{RunFolder, read_json, replace};
use crate::record::rows::{ChangeRow, Outcome};
use crate::record::{changes, status};
use std::path::Path;

/// The source of what was edited while nothing ran: it holds from the next step on.
const MEANWHILE: &str = "config.toml, while the run was not running";

/// Where a run stands.
struct Standing {
    /// The checkpoint, if there is one: its own, or the one that a fork began with.
    from: Option<Found>,
    fresh: Fresh,
    /// The config in force there, and its version.
    base: Config,
    version: u64,
    /// Updates done.
    at: u64,
    /// The last step whose rows stay; -1: none do.
    until: i64,
    /// Checkpoints that are damaged.
    damaged: Vec<u64>,
}

/// The run in `run` as it goes on: from its newest checkpoint, or from that of `step`, what came after which is given up.
pub(super) fn resume(run: &Path, step: Option<u64>, sets: &[String]) -> Result<Beginning, TrainError> {
    let folder = RunFolder::open(run)?;
    let lock = folder.lock()?;
    intent::finish(&folder)?;
    let text = config_text(&folder)?;
    let (recipe, lineage) =
        read_json::<RunInfo>(&folder.about()).map_or((None, None), |about| (about.recipe, about.lineage));
    let standing = standing(&folder, lineage.as_ref(), step)?;
    let (edits, asked) = meanwhile(&folder, &text, sets)?;
    let (kept, scheduled) = record(&folder, &standing, &edits, step.is_some())?;
    if let Err(error) = begin::must_go_on(standing.at, &replay::reapplied(&standing.base, &scheduled)) {
        note_finished(&folder, standing.at);
        return Err(error);
    }
    tell(&standing, scheduled.len());
    // What is not rewritten holds what is to come.
    let rewritten = match step {
        Some(_) => Some(with_edits(&text, &standing.base, &edits)?),
        None => Some(asked).filter(|asked| *asked != text),
    };
    let intent = Intent {
        until: standing.until,
        kept,
        scheduled: scheduled.clone(),
        before: text.clone(),
        rewritten: rewritten.clone(),
        aside: standing.damaged,
        newest: standing.version,
        rewind: step.is_some(),
        config_hash: begin::hash(&standing.base),
    };
    Ok(Beginning {
        config: standing.base,
        version: standing.version,
        text: rewritten.unwrap_or(text),
        recipe,
        from: standing.from,
        fresh: standing.fresh,
        scheduled,
        lineage,
        resumed: Some(Resumed { folder, lock, intent }),
    })
}

fn standing(
    folder: &RunFolder,
    lineage: Option<&Lineage>,
    step: Option<u64>,
) -> Result<Standing, TrainError> {
    let (own, damaged) = begin::newest(folder, step)?;
    if let Some(found) = own {
        let (at, version) = (found.state.step, found.state.config_version);
        let (base, fresh) = (found.config.clone(), Fresh::default());
        return Ok(Standing { from: Some(found), fresh, base, version, at, until: at as i64, damaged });
    }
    let base = config::load(&folder.version(0), &[])?;
    let (from, fresh) = match lineage.filter(|lineage| lineage.step.is_some()) {
        Some(lineage) => begin::parents(lineage)?,
        None => (None, Fresh::default()),
    };
    let at = from.as_ref().filter(|_| !fresh.step).map_or(0, |found| found.state.step);
    Ok(Standing { from, fresh, base, version: 0, at, until: -1, damaged })
}

/// The record of changes as it stays, and the changes that are to be made: what a person has edited meanwhile, then those
/// that the checkpoint's config has not seen, or with `rewind` none of them.
fn record(
    folder: &RunFolder,
    standing: &Standing,
    edits: &[Edit],
    rewind: bool,
) -> Result<(Vec<ChangeRow>, Vec<ChangeRow>), TrainError> {
    let (record, left) = (changes::read(&folder.changes())?, changes::read(&folder.replay())?);
    let (mut kept, mut again) = changes::split(record, left, standing.version);
    let at = standing.at;
    if rewind {
        tracing::info!("{} changes after step {at} are given up", again.len());
        again.clear();
        // A note is a person's word, also of steps that are done again.
        kept.retain(|change| change.outcome == Outcome::Noted || change.step <= at + 1);
    }
    // What a person has changed since is not changed back by the record.
    again.retain(|change| !replay::is_of(change, edits));
    let set = replay::new_set();
    let since = edits.iter().map(|edit| replay::as_row(Some(edit), at + 1, &set, MEANWHILE));
    Ok((kept, since.chain(again).collect()))
}

/// The text of the config file; where that was taken away, that of the newest version.
fn config_text(folder: &RunFolder) -> Result<String, TrainError> {
    let (file, newest) = (folder.config(), folder.newest_version());
    if !file.exists()
        && let Some(newest) = newest
    {
        tracing::warn!("{} is gone, and is made again from {}", file.display(), newest.display());
        replace(&file, config::read(&newest)?.as_bytes())?;
    }
    let text = config::read(&file)?;
    // Refused now, before anything is touched.
    config::from_text(&text, &file.display().to_string(), &[])?;
    Ok(text)
}

/// A run that was killed between its last step and its last word has come to its end.
fn note_finished(folder: &RunFolder, step: u64) {
    if status::read(folder).is_some_and(|status| ["running", "interrupted"].contains(&status.state.as_str()))
    {
        let _ = status::write(folder, &status::Status::ended("finished", step, step));
    }
}

fn tell(standing: &Standing, changes: usize) {
    if standing.from.is_none() {
        tracing::info!("there is no checkpoint yet: the run begins again");
    }
    if changes > 0 {
        tracing::info!("{changes} changes after step {} will be made at their steps", standing.at);
    }
}

/// What was changed while the run was not running, in its config file and by `sets`; and the text with all of it.
fn meanwhile(folder: &RunFolder, text: &str, sets: &[String]) -> Result<(Vec<Edit>, String), TrainError> {
    let (file, name) = (folder.config(), folder.config().display().to_string());
    let known = replay::read_known(folder);
    let saved = config::from_text(text, &name, &[])?;
    let base = match known.iter().any(|known| known == text) {
        true => saved,
        false => known.last().and_then(|known| config::from_text(known, &name, &[]).ok()).unwrap_or(saved),
    };
    let asked = config::from_text(text, &name, sets)?;
    let edits = change::between(&base, &asked);
    if let Some(frozen) = edits.iter().find(|edit| edit.is_frozen()) {
        let line =
            config::line_of_key(text, frozen.key).map_or(String::new(), |line| format!(" line {line}"));
        return Err(TrainError::Frozen {
            place: format!("{}{line}", file.display()),
            key: frozen.key.path(),
            old: frozen.old.to_string(),
            new: frozen.new.to_string(),
            run: folder.id(),
        });
    }
    let laid: Vec<_> = edits.iter().map(|edit| (edit.key, &edit.new)).collect();
    let text = config::edit::set(text, &laid).map_err(begin::own_file)?;
    Ok((edits, text))
}

/// The text with the values of `base`, to which the run is rewound, and `edits`.
fn with_edits(text: &str, base: &Config, edits: &[Edit]) -> Result<String, TrainError> {
    let text = config::edit::complete(text, base).map_err(begin::own_file)?;
    let laid: Vec<_> = edits.iter().map(|edit| (edit.key, &edit.new)).collect();
    Ok(config::edit::set(&text, &laid).map_err(begin::own_file)?)
}
