//! Owns: what a run was before this process, for a screen that has just opened: steps, entropies, samples, changes.
//! Must not know: who looks.
//! Invariant: bounded, however long the run was.

use crate::config::{self, Config};
use crate::message::{Changed, Event, Sample, Spread, TokenRow};
use crate::record::folder::RunFolder;
use crate::record::registry::StepRow;
use crate::record::rows::{self, ChangeRow, EventRow, Outcome, Row};
use crate::record::{RecordError, changes, parts};
use arrow::array::RecordBatch;
use std::path::Path;

/// Most rows of a table that are shown: they wait in memory until the screen takes them.
const MOST: usize = 100_000;

/// All of it as events, in the order in which a screen takes it up. `config` is in force, at `version`.
pub(super) fn all(
    folder: &RunFolder,
    config: &Config,
    version: u64,
    vocab_size: usize,
) -> impl Iterator<Item = Event> + use<> {
    let steps = table(folder, StepRow::TABLE, parts::read, rows::steps).into_iter().map(Event::Past);
    let columns = |path: &Path| parts::read_columns(path, rows::SPREAD_COLUMNS);
    let spreads = |batch: &RecordBatch| rows::spreads(batch, vocab_size);
    let spreads: Vec<Spread> = table(folder, TokenRow::TABLE, columns, spreads).concat();
    let samples: Vec<Sample> = table(folder, EventRow::TABLE, parts::read, rows::samples).concat();
    let spreads = (!spreads.is_empty()).then_some(Event::Spreads(spreads));
    let samples = samples.into_iter().map(|sample| Event::Sample(Box::new(sample)));
    let changed = changed(folder, config, version).into_iter().map(|one| Event::Changed(Box::new(one)));
    steps.chain(spreads).chain(samples).chain(changed)
}

/// What `of` makes of a table's finished parts, in order, a part at a time; what cannot be read is left out.
fn table<T>(
    folder: &RunFolder,
    name: &str,
    read: impl Fn(&Path) -> Result<Vec<RecordBatch>, RecordError>,
    of: impl Fn(&RecordBatch) -> Vec<T>,
) -> Vec<Vec<T>> {
    let dir = folder.path().join(name);
    let (mut past, mut count) = (Vec::new(), 0);
    for number in parts::numbers(&dir, "parquet").into_iter().rev() {
        if count >= MOST {
            tracing::info!(
                "{name}: the dashboard shows the newest {count} rows of this run alone; `watch` reads all"
            );
            break;
        }
        let batches = read(&parts::part(&dir, number)).unwrap_or_default();
        let rows: Vec<T> = batches.iter().flat_map(&of).collect();
        count += rows.len();
        past.push(rows);
    }
    past.reverse();
    past
}

/// The changes before, each with the config that held after it; first one of nothing, with the config that the run began
/// with. None where nothing was changed.
fn changed(folder: &RunFolder, in_force: &Config, newest: u64) -> Vec<Changed> {
    let record = changes::read(&folder.changes()).unwrap_or_default();
    let version = |version: u64| match version == newest {
        true => Some(in_force.clone()),
        false => config::load(&folder.version(version), &[]).ok(),
    };
    let (Some(first), false) = (version(0), record.is_empty()) else { return Vec::new() };
    let mut now = Changed { config: first, version: 0, rows: Vec::new() };
    let mut told = vec![now.clone()];
    for set in record.chunk_by(|a: &ChangeRow, b| a.set == b.set) {
        // What was refused, or noted, may be of a past that was given up, and left the config as it was.
        if set[0].outcome == Outcome::Applied
            && let Some(config) = version(set[0].version)
        {
            now = Changed { config, version: set[0].version, rows: Vec::new() };
        }
        told.push(Changed { rows: set.to_vec(), ..now.clone() });
    }
    told
}
