//! Owns: when checkpoints are written, and the end of a run.
//! Must not know: the contents of a checkpoint folder.
//! Invariant: all rows up to a checkpoint's step are on disk before the checkpoint exists.

use super::checkpoint::{self, CheckpointState};
use super::hold::Ending;
use super::setup;
use super::training_loop::TrainingRun;
use crate::config::BestCheckpointBy;
use crate::record::rows::{self, TableRow};
use crate::record::segments;
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::protocol::{BestCheckpoint, Event, RunPhase, RunSummary};
use crate::schema::rows::{EventKind, EventRow};
use crate::schema::status::RunState;
use crate::train::TrainError;
use std::path::{Path, PathBuf};
use std::time::Instant;

impl TrainingRun<'_> {
    /// Whether a checkpoint is due after the current step, by `checkpoint.every` or `checkpoint.seconds`.
    pub fn is_save_due(&self) -> bool {
        let checkpoint = &self.config().checkpoint;
        let last = self.is_complete();
        let by_time = checkpoint.seconds > 0.0 && self.last_save.elapsed().as_secs_f64() >= checkpoint.seconds;
        // With `checkpoint.at_end`, the end of the run writes the checkpoint of the last step.
        let is_best = self.progress.best.as_ref().is_some_and(|best| best.step == self.learner.step);
        ((self.is_due(checkpoint.every) || is_best) && !(last && checkpoint.at_end)) || (by_time && !last)
    }

    /// Takes note if the validation in `row` is better than all before.
    pub fn note_best_validation(&mut self, row: &StepRow) {
        let metrics: &[Metric] = match self.config().checkpoint.best {
            BestCheckpointBy::None => return,
            BestCheckpointBy::Accuracy => &[Metric::ValidAccuracy],
            BestCheckpointBy::Loss => &[Metric::ValidPlain, Metric::ValidQuestions],
        };
        let Some((metric, value)) = metrics.iter().find_map(|metric| Some((metric, row.get(*metric)?))) else { return };
        if !value.is_finite() {
            return;
        }
        let metric = metric.spec().name.to_owned();
        let validation = BestCheckpoint { step: row.step(), level: self.objective.level(), metric, value };
        if self.progress.best.as_ref().is_none_or(|best| is_better(&validation, best)) {
            tracing::info!("best so far: {} {value:.4}", validation.metric);
            self.progress.best = Some(validation);
        }
    }

    /// Writes a checkpoint and returns its folder; `None` if a command ended the wait for disk space.
    pub fn save_checkpoint(&mut self) -> Result<Option<PathBuf>, TrainError> {
        self.publisher.send_fact(Event::Phase(RunPhase::Save));
        // A resumed run does not repeat the steps before its checkpoint, so their rows must be on disk first.
        if !self.retry_while_disk_full("recording", |run| run.flush_records())? {
            return Ok(None);
        }
        let mut path = None;
        let saved = self.retry_while_disk_full("writing a checkpoint", |run| {
            path = Some(run.write_checkpoint()?);
            Ok(())
        })?;
        self.last_save = Instant::now();
        if let Some(path) = path.as_ref().filter(|_| saved) {
            tracing::info!("checkpoint: {}", path.display());
            self.record_event(EventKind::Checkpoint, &path.display().to_string(), None, None);
        }
        // A checkpoint may be asked for during a pause.
        let phase = if self.hold.is_held() { RunPhase::Paused } else { self.active_phase };
        self.publisher.send_fact(Event::Phase(phase));
        Ok(path.filter(|_| saved))
    }

    /// Writes the checkpoint of the current step and removes old ones. A failed removal is only logged.
    fn write_checkpoint(&mut self) -> Result<PathBuf, TrainError> {
        let state = CheckpointState {
            run: self.folder.id(),
            step: self.learner.step,
            tokens: self.progress.tokens,
            flop: self.progress.flop,
            loader: self.objective.position(),
            config_version: self.controller.live.version,
            pause_updates: (self.learner.pause_updates, self.progress.pause_updates_at_validation),
            validations: self.progress.validations,
            wall_s: self.wall_s(),
            losses: self.progress.losses.clone(),
            level: (self.learner.step > 0).then(|| self.objective.level()),
            best: self.progress.best.clone(),
            dataset: setup::dataset_fingerprint(&self.dataset),
            random_state: checkpoint::RANDOM_STATE.into(),
            written_at: chrono::Local::now().to_rfc3339(),
            program_version: env!("CARGO_PKG_VERSION").into(),
        };
        let (config, objective) = (self.config(), &self.objective);
        let save_more = |dir: &Path| objective.save_state(config, dir);
        let path =
            checkpoint::write_checkpoint(&self.folder, &self.learner, &self.companions, config, &state, save_more)?;
        let keep = &self.config().checkpoint;
        let best = self.progress.best.as_ref().map(|best| best.step);
        if let Err(error) = checkpoint::prune_checkpoints(&self.folder, keep.keep, keep.keep_every, best) {
            tracing::warn!("cannot remove an old checkpoint: {error}");
        }
        Ok(path)
    }

    /// Records the checkpoint that a resume starts from, if the process was killed between writing and recording it.
    pub fn record_lost_checkpoint(&mut self) {
        let path = self.folder.checkpoint_folder(self.learner.step);
        let recorded = segments::read_table(&self.folder.path().join(EventRow::TABLE)).map(|events| {
            events.batches.iter().filter_map(rows::last_checkpoint).any(|(step, _)| step == self.learner.step)
        });
        // Tables that cannot be read are said when they are recovered.
        if path.is_dir() && recorded.is_ok_and(|recorded| !recorded) {
            self.record_event(EventKind::Checkpoint, &path.display().to_string(), None, None);
        }
    }

    /// Ends the run: writes the last checkpoint, flushes the record, and returns the summary.
    pub fn finish_run(&mut self) -> Result<RunSummary, TrainError> {
        let step = self.learner.step;
        self.end_answer("the run has ended");
        // A stopped run gets a checkpoint, so that it can be resumed.
        let save = match self.hold.ending() {
            Ending::No => self.config().checkpoint.at_end,
            Ending::WithCheckpoint => true,
            Ending::WithoutCheckpoint => false,
        };
        let checkpoint = if save { self.save_checkpoint()? } else { None };
        let state = if self.hold.is_ending() { RunState::Stopped } else { RunState::Finished };
        let outcome: &str = state.into();
        tracing::info!("{outcome} after {step} steps");
        self.record_event(EventKind::End, outcome, None, None);
        self.retry_while_disk_full("recording", |run| run.flush_records())?;
        self.write_status(self.status(state));
        Ok(RunSummary {
            folder: self.folder.path().to_owned(),
            steps: step,
            tokens: self.progress.tokens,
            duration: self.started.elapsed(),
            losses: self.progress.losses.clone(),
            checkpoint,
            best: self.progress.best.clone(),
            stopped_early: self.hold.is_ending(),
        })
    }
}

/// Whether `validation` is better than the `best` one before: of a higher level, or in the same one with more accuracy or
/// less loss. Those by different metrics are not compared: the newer one counts.
fn is_better(validation: &BestCheckpoint, best: &BestCheckpoint) -> bool {
    if validation.metric != best.metric || validation.level != best.level {
        return validation.metric != best.metric || validation.level > best.level;
    }
    match validation.metric == Metric::ValidAccuracy.spec().name {
        true => validation.value > best.value,
        false => validation.value < best.value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_level_then_the_better_value_counts() {
        let of = |metric: Metric, level, value| BestCheckpoint {
            step: 1,
            level,
            metric: metric.spec().name.to_owned(),
            value,
        };
        let accuracy = |level, value| of(Metric::ValidAccuracy, level, value);
        let loss = |value| of(Metric::ValidPlain, 0, value);
        assert!(is_better(&accuracy(0, 0.6), &accuracy(0, 0.5)) && !is_better(&accuracy(0, 0.5), &accuracy(0, 0.5)));
        assert!(is_better(&accuracy(1, 0.1), &accuracy(0, 0.9)) && !is_better(&accuracy(0, 0.9), &accuracy(1, 0.1)));
        assert!(is_better(&loss(1.0), &loss(2.0)) && !is_better(&loss(2.0), &loss(1.0)));
        assert!(is_better(&loss(9.0), &accuracy(3, 1.0)));
    }
}
