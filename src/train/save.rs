//! Owns: when a run's checkpoints are written, and its end.
//! Must not know: what stands in a checkpoint.
//! Invariant: what was measured up to a checkpoint's step is safe before the checkpoint stands.

use super::checkpoint::{self, State};
use super::run::Run;
use super::{TrainError, prepare};
use crate::message::{Event, Phase, Summary};
use crate::record::status::Status;
use std::path::PathBuf;
use std::time::Instant;

impl Run<'_> {
    pub fn save_due(&self) -> bool {
        let checkpoint = &self.config().checkpoint;
        let last = self.learner.step >= self.config().run.steps;
        let by_time = checkpoint.seconds > 0.0 && self.saved.elapsed().as_secs_f64() >= checkpoint.seconds;
        // That of the last step is written at the end, if it is to be.
        (self.due(checkpoint.every) && !(last && checkpoint.at_end)) || (by_time && !last)
    }

    /// Writes a checkpoint, waiting for room where the disk has none. `None` where the wait was ended by a command.
    pub fn save(&mut self) -> Result<Option<PathBuf>, TrainError> {
        self.out.fact(Event::Phase(Phase::Save));
        // What a checkpoint has seen must be safe before it: rows before its step are not made again.
        if !self.hold_until("recording", |run| run.flushed())? {
            return Ok(None);
        }
        let mut path = None;
        let saved = self.hold_until("writing a checkpoint", |run| {
            path = Some(run.write_checkpoint()?);
            Ok(())
        })?;
        self.saved = Instant::now();
        if let Some(path) = path.as_ref().filter(|_| saved) {
            tracing::info!("checkpoint: {}", path.display());
            self.event("checkpoint", &path.display().to_string(), None, None);
        }
        self.out.fact(Event::Phase(self.work()));
        Ok(path.filter(|_| saved))
    }

    fn write_checkpoint(&mut self) -> Result<PathBuf, TrainError> {
        let state = State {
            run: self.folder.id(),
            step: self.learner.step,
            tokens: self.tokens,
            loader: self.next.clone(),
            config_version: self.steering.version,
            lessons: (self.learner.lessons, self.lessons),
            validations: self.validations,
            wall_s: self.wall_s(),
            seen: self.seen.clone(),
            data: prepare::fingerprint(&self.dataset),
            random: checkpoint::RANDOM.into(),
            written: chrono::Local::now().to_rfc3339(),
            program: env!("CARGO_PKG_VERSION").into(),
        };
        let path =
            checkpoint::write(&self.folder, &self.learner, self.codec.as_ref(), self.config(), &state)?;
        let keep = &self.config().checkpoint;
        if let Err(error) = checkpoint::thin(&self.folder, keep.keep, keep.keep_every) {
            tracing::warn!("an old checkpoint stays: {error}");
        }
        Ok(path)
    }

    /// Last checkpoint, summary.
    pub fn end(&mut self) -> Result<Summary, TrainError> {
        let step = self.learner.step;
        // A run that is stopped on the way is to be gone on with.
        let save = (self.config().checkpoint.at_end || self.stopped) && !self.dropped;
        let checkpoint = if save { self.save()? } else { None };
        let word = if self.stopped { "stopped" } else { "finished" };
        tracing::info!("{word} after {step} steps");
        self.event("end", word, None, None);
        self.hold_until("recording", |run| run.flushed())?;
        self.note_status(Status::ended(word, step, self.config().run.steps));
        Ok(Summary {
            folder: self.folder.path().to_owned(),
            steps: step,
            tokens: self.tokens,
            took: self.began.elapsed(),
            loss_plain: self.seen.plain,
            loss_recycled: self.seen.recycled,
            valid_plain: self.seen.valid,
            recycled_steps: self.seen.recycled_steps,
            checkpoint,
            stopped: self.stopped,
        })
    }
}
