//! Owns: the history of a resumed run as events for a screen: steps, entropies, layers, rollouts, samples, changes.
//! Must not know: which screen.
//! Invariant: the number of rows is bounded, however long the run was.

use crate::config::{self, Config};
use crate::record::rows::{self, TableRow};
use crate::record::run_folder::RunFolder;
use crate::record::{RecordError, changes, segments};
use crate::schema::layer_rows::LayerRow;
use crate::schema::metrics::StepRow;
use crate::schema::protocol::{ConfigUpdate, Event, ValidationSample};
use crate::schema::rollout_rows::{MAX_KEPT_ROLLOUTS, RolloutRow};
use crate::schema::rows::{ChangeOutcome, ChangeRow, EventRow};
use crate::schema::token_rows::{EntropyHistogram, TokenRow};
use arrow::array::RecordBatch;
use std::path::Path;

/// Maximum number of rows of a table. They are held in memory until the screen receives them.
const MAX_ROWS: usize = 100_000;

/// Returns the history as events, in the order that a screen expects, up to the `config` of `version`.
pub(in crate::train) fn history_events(
    folder: &RunFolder,
    config: &Config,
    version: u64,
    vocab_size: usize,
) -> impl Iterator<Item = Event> + use<> {
    let steps =
        read_table(folder, StepRow::TABLE, segments::read_segment, rows::step_rows).into_iter().map(Event::History);
    let columns = |path: &Path| segments::read_columns(path, rows::HISTOGRAM_COLUMNS);
    let spreads = |batch: &RecordBatch| rows::entropy_histograms(batch, vocab_size);
    let spreads: Vec<EntropyHistogram> = read_table(folder, TokenRow::TABLE, columns, spreads).concat();
    let samples: Vec<ValidationSample> =
        read_table(folder, EventRow::TABLE, segments::read_segment, rows::samples).concat();
    let answers = read_table(folder, EventRow::TABLE, segments::read_segment, rows::answers).concat();
    let answers = answers.into_iter().map(|answer| Event::Answer(Box::new(answer)));
    let figures = read_table(folder, EventRow::TABLE, segments::read_segment, rows::figures).concat();
    let figures = figures.into_iter().map(Event::Figure);
    let spreads = (!spreads.is_empty()).then_some(Event::EntropyHistograms(spreads));
    let samples = samples.into_iter().map(|sample| Event::Sample(Box::new(sample)));
    let changed = change_events(folder, config, version).into_iter().map(|one| Event::ConfigChanged(Box::new(one)));
    steps
        .chain(spreads)
        .chain(layer_events(folder))
        .chain(rollout_events(folder))
        .chain(figures)
        .chain(samples)
        .chain(answers)
        .chain(changed)
}

/// Returns the layers' rows, step by step; only the last step's with histograms, because a screen shows no others.
fn layer_events(folder: &RunFolder) -> Vec<Event> {
    let mut rows = read_table(folder, LayerRow::TABLE, segments::read_segment, rows::read_layer_rows).concat();
    let last = rows.last().map_or(0, |row| row.step);
    for row in rows.iter_mut().filter(|row| row.step != last) {
        (row.weight_histogram, row.grad_histogram) = Default::default();
    }
    rows.chunk_by(|a, b| a.step == b.step).map(|step| Event::Layers(step.to_vec())).collect()
}

/// Returns the newest rollouts, iteration by iteration.
fn rollout_events(folder: &RunFolder) -> Vec<Event> {
    let (name, read) = (RolloutRow::TABLE, segments::read_segment);
    let rows = read_newest(folder, name, MAX_KEPT_ROLLOUTS, read, rows::read_rollout_rows).concat();
    rows.chunk_by(|a, b| a.step == b.step).map(|iteration| Event::Rollouts(iteration.to_vec())).collect()
}

/// Converts a table's newest readable segments, in order, one vector for each segment.
fn read_table<T>(
    folder: &RunFolder,
    name: &str,
    read: impl Fn(&Path) -> Result<Vec<RecordBatch>, RecordError>,
    convert: impl Fn(&RecordBatch) -> Vec<T>,
) -> Vec<Vec<T>> {
    read_newest(folder, name, MAX_ROWS, read, convert)
}

/// As [`read_table`], until there are at least `enough` rows.
fn read_newest<T>(
    folder: &RunFolder,
    name: &str,
    enough: usize,
    read: impl Fn(&Path) -> Result<Vec<RecordBatch>, RecordError>,
    convert: impl Fn(&RecordBatch) -> Vec<T>,
) -> Vec<Vec<T>> {
    let dir = folder.path().join(name);
    let (mut segments, mut count) = (Vec::new(), 0);
    for number in segments::file_numbers(&dir, "parquet").into_iter().rev() {
        if count >= enough {
            tracing::info!("{name}: the dashboard shows only the newest {count} rows of this run; `watch` reads all");
            break;
        }
        let batches = read(&segments::segment_path(&dir, number)).unwrap_or_default();
        let rows: Vec<T> = batches.iter().flat_map(&convert).collect();
        count += rows.len();
        segments.push(rows);
    }
    segments.reverse();
    segments
}

/// Returns the recorded changes, each with the config after it, preceded by the first config.
fn change_events(folder: &RunFolder, current: &Config, newest: u64) -> Vec<ConfigUpdate> {
    let record = changes::read_changes(&folder.changes_file()).unwrap_or_default();
    let version = |version: u64| match version == newest {
        true => Some(current.clone()),
        false => config::load(&folder.version_file(version), &[]).ok(),
    };
    let (Some(first), false) = (version(0), record.is_empty()) else { return Vec::new() };
    let mut state = ConfigUpdate { config: first, version: 0, rows: Vec::new() };
    let mut events = vec![state.clone()];
    for set in record.chunk_by(|a: &ChangeRow, b| a.set == b.set) {
        // Refused changes and notes did not change the config, and may belong to discarded steps.
        if set[0].outcome == ChangeOutcome::Applied
            && let Some(config) = version(set[0].version)
        {
            state = ConfigUpdate { config, version: set[0].version, rows: Vec::new() };
        }
        events.push(ConfigUpdate { rows: set.to_vec(), ..state.clone() });
    }
    events
}
