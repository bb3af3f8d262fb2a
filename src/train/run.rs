//! Owns: the run: preparation, the loop, the end. The loop reads as a sentence.
//! Must not know: tensors' insides, screens.
//! Invariant: a metrics row is with the writer before it is shown.

use super::evaluate::Evaluator;
use super::publish::Publisher;
use super::step::Learner;
use super::{TrainError, Wants, checkpoint, prepare, probe, report};
use crate::config::Config;
use crate::data::{Batch, Codec, Loader, Position};
use crate::message::{Command, Event, Phase, Summary};
use crate::record::folder::RunFolder;
use crate::record::log::RunLog;
use crate::record::metrics::MetricsWriter;
use crate::record::registry::{Metric, StepRow};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// A run under way.
pub(super) struct Run<'a> {
    config: Config,
    folder: RunFolder,
    learner: Learner,
    loader: Loader,
    evaluator: Option<Evaluator>,
    codec: Option<Codec>,
    metrics: MetricsWriter,
    commands: &'a Receiver<Command>,
    out: &'a mut Publisher,
    wants: Wants,
    next: Position,
    tokens: u64,
    began: Instant,
    stopped: bool,
    dropped: bool,
    seen: Seen,
    /// Validations made after step 0.
    validations: usize,
    /// Lessons of the pause vector before the last validation.
    lessons: u64,
}

/// First and last losses, for the summary.
#[derive(Default)]
struct Seen {
    plain: Option<(f64, f64)>,
    recycled: Option<(f64, f64)>,
    valid: Option<(f64, f64)>,
    recycled_steps: u64,
}

impl<'a> Run<'a> {
    /// Prepares a run: data, device, model, folder.
    pub fn prepare(
        mut config: Config,
        wants: Wants,
        log: &RunLog,
        commands: &'a Receiver<Command>,
        out: &'a mut Publisher,
    ) -> Result<Self, TrainError> {
        let dataset = prepare::dataset(&config, out)?;
        let chosen = prepare::device(&config)?;
        let model = prepare::model(&config, &dataset, &chosen, out)?;
        let vocab_size = model.shape().vocab_size;
        // What is recorded is the shape in force, which a loaded model brings along.
        prepare::adopt(&mut config.model, model.shape());
        let loader = prepare::loader(&config, &dataset, vocab_size, out)?;
        let evaluator = Evaluator::new(&config, &dataset, vocab_size)?;
        let folder = prepare::folder(&config, log)?;
        let info = prepare::info(&config, &dataset, chosen, &model, &folder);
        out.fact(Event::Started(Box::new(info)));
        Ok(Self {
            learner: Learner::new(model, &config.optim),
            metrics: MetricsWriter::new(folder.metrics(), folder.id()),
            loader,
            evaluator,
            codec: dataset.tokenizer(),
            folder,
            commands,
            out,
            wants,
            next: Position::default(),
            tokens: 0,
            began: Instant::now(),
            stopped: false,
            dropped: false,
            seen: Seen::default(),
            validations: 0,
            lessons: 0,
            config,
        })
    }

    /// Trains to the last step, or until told to stop.
    pub fn train(mut self) -> Result<Summary, TrainError> {
        if self.config.eval.at_start {
            let mut row = StepRow::new(0);
            self.evaluate(None, &mut row)?;
            self.finish(row)?;
        }
        self.out.fact(Event::Phase(Phase::Train));
        while self.learner.step < self.config.run.steps && self.obey()? {
            let began = Instant::now();
            let batches = self.batches()?;
            let (mut row, failed) = self.learner.update(&self.config, &batches)?;
            self.clock(&mut row, &batches, began);
            if let Some(error) = failed {
                self.finish(row)?;
                return Err(error);
            }
            self.look(&batches)?;
            if self.due(self.config.eval.every) || self.learner.step == self.config.run.steps {
                self.evaluate(batches.first(), &mut row)?;
            }
            self.finish(row)?;
            if self.due(self.config.checkpoint.every) {
                self.save()?;
            }
        }
        self.end()
    }

    /// Applies waiting commands; holds while paused. Whether to go on.
    fn obey(&mut self) -> Result<bool, TrainError> {
        let mut paused = false;
        while !self.stopped {
            let command = match paused {
                false => match self.commands.try_recv() {
                    Ok(command) => command,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                },
                true => match self.commands.recv_timeout(Duration::from_millis(200)) {
                    Ok(command) => command,
                    Err(RecvTimeoutError::Timeout) => continue,
                    // Nobody is left who could say "go on".
                    Err(RecvTimeoutError::Disconnected) => Command::Stop,
                },
            };
            match command {
                Command::Pause(hold) if hold != paused => {
                    paused = hold;
                    tracing::info!(
                        "{} before step {}",
                        if hold { "paused" } else { "goes on" },
                        self.learner.step + 1
                    );
                    self.out.fact(Event::Phase(if hold { Phase::Paused } else { Phase::Train }));
                    // A pause may be long: what was measured until now is not held back by it.
                    self.metrics.flush()?;
                }
                Command::Pause(_) => {}
                Command::Stop => self.stopped = true,
                Command::Drop => (self.stopped, self.dropped) = (true, true),
            }
        }
        Ok(!self.stopped)
    }

    /// The batches of the next update.
    fn batches(&mut self) -> Result<Vec<Batch>, TrainError> {
        let mut batches = Vec::with_capacity(self.config.optim.accumulate);
        while batches.len() < self.config.optim.accumulate {
            match self.loader.next_batch()? {
                Some(batch) => batches.push(batch),
                None => {
                    return Err(TrainError::Setting {
                        key: "data.dir",
                        value: self.config.data.dir.clone(),
                        reason: "the training split ended".into(),
                    });
                }
            }
        }
        Ok(batches)
    }

    fn clock(&mut self, row: &mut StepRow, batches: &[Batch], began: Instant) {
        let tokens = batches.iter().map(|batch| (batch.batch * batch.seq_len) as u64).sum::<u64>();
        self.tokens += tokens;
        if let Some(last) = batches.last() {
            self.next = last.after.clone();
            row.set(Metric::Epoch, last.epoch as f64);
        }
        let seconds = began.elapsed().as_secs_f64();
        row.set(Metric::StepMs, seconds * 1e3);
        row.set(Metric::TokensPerS, tokens as f64 / seconds);
    }

    /// Shows a row of the batch where one is due and somebody looks.
    fn look(&mut self, batches: &[Batch]) -> Result<(), TrainError> {
        let step = self.learner.step;
        let every = self.config.probe.every;
        if !self.wants.token_rows || every == 0 || !(step == 1 || step.is_multiple_of(every)) {
            return Ok(());
        }
        let row = probe::look(&self.config, &self.learner.model, self.codec.as_ref(), &batches[0], step)?;
        self.out.frame(Event::Tokens(Box::new(row)));
        Ok(())
    }

    /// Validates, having fitted the pause vector on `last`. Goes without where there is no validation split.
    fn evaluate(&mut self, last: Option<&Batch>, row: &mut StepRow) -> Result<(), TrainError> {
        let Some(evaluator) = &self.evaluator else {
            return Ok(());
        };
        self.out.fact(Event::Phase(Phase::Eval));
        // Where training has taught the pause since, it is left as it is.
        let fit = last.filter(|_| self.learner.lessons == self.lessons);
        self.lessons = self.learner.lessons;
        evaluator.run(&self.config, &mut self.learner.model, fit, row)?;
        let every = self.config.eval.sequential_every;
        // Step 0 comes before anything is warm.
        if row.step() > 0 && every > 0 && self.config.recycle.every > 0 {
            if self.validations.is_multiple_of(every) {
                evaluator.price(&self.config, &self.learner.model, row);
            }
            self.validations += 1;
        }
        report::validation(row);
        self.out.fact(Event::Phase(Phase::Train));
        Ok(())
    }

    /// Records a row, then shows it.
    fn finish(&mut self, mut row: StepRow) -> Result<(), TrainError> {
        row.set(Metric::Tokens, self.tokens as f64);
        row.set(Metric::WallS, self.began.elapsed().as_secs_f64());
        self.seen.note(&row);
        let record = &self.config.record;
        self.metrics.push(row.clone(), record.part_rows, Duration::from_secs_f64(record.part_seconds))?;
        self.out.frame(Event::Step(Box::new(row)));
        Ok(())
    }

    fn due(&self, every: u64) -> bool {
        every > 0 && self.learner.step.is_multiple_of(every)
    }

    fn save(&mut self) -> Result<PathBuf, TrainError> {
        self.out.fact(Event::Phase(Phase::Save));
        let (model, codec) = (&self.learner.model, self.codec.as_ref());
        let path = checkpoint::write(&self.folder, model, codec, self.learner.step, self.tokens, &self.next)?;
        tracing::info!("checkpoint: {}", path.display());
        self.out.fact(Event::Phase(Phase::Train));
        Ok(path)
    }

    /// Last checkpoint, summary.
    fn end(mut self) -> Result<Summary, TrainError> {
        let step = self.learner.step;
        let checkpoint = match self.config.checkpoint.at_end && !self.dropped {
            true => Some(self.save()?),
            false => None,
        };
        self.metrics.flush()?;
        tracing::info!("{} after {step} steps", if self.stopped { "stopped" } else { "finished" });
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

impl Seen {
    fn note(&mut self, row: &StepRow) {
        let keep = |pair: &mut Option<(f64, f64)>, value: Option<f64>| {
            if let Some(value) = value {
                *pair = Some((pair.map_or(value, |(first, _)| first), value));
            }
        };
        keep(&mut self.plain, row.get(Metric::LossPlain));
        keep(&mut self.recycled, row.get(Metric::LossRecycled));
        keep(&mut self.valid, row.get(Metric::ValidPlain));
        self.recycled_steps += u64::from(row.get(Metric::Recycled).is_some());
    }
}
