//! Owns: the run: preparation, the loop, the end. The loop reads as a sentence.
//! Must not know: tensors' insides, screens.
//! Invariant: a metrics row is with the recorder before it is shown, and safe before a checkpoint of its step stands.

use super::answer::Answering;
use super::begin::{self, Beginning};
use super::evaluate::Evaluator;
use super::publish::Publisher;
use super::read::mean;
use super::shown::Machine;
use super::steer::Steering;
use super::step::Learner;
use super::{Begin, TrainError, Wants, past, prepare, probe, report};
use crate::config::Config;
use crate::data::{Batch, Codec, Dataset, Loader, Position};
use crate::message::{Command, Event, Phase, Sample, Summary};
use crate::record::folder::{Lock, RunFolder};
use crate::record::log::RunLog;
use crate::record::recorder::Recorder;
use crate::record::registry::{Metric, StepRow};
use crate::record::rows::{GREEDY, SAMPLE};
use crate::record::status::{self, Status};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// A run under way.
pub(super) struct Run<'a> {
    pub steering: Steering,
    pub folder: RunFolder,
    pub learner: Learner,
    loader: Loader,
    pub dataset: Dataset,
    pub evaluator: Option<Evaluator>,
    pub codec: Option<Codec>,
    pub recorder: Recorder,
    pub commands: &'a Receiver<Command>,
    pub out: &'a mut Publisher,
    wants: Wants,
    /// What the machine does, for a screen.
    pub machine: Option<Machine>,
    /// Whether the device still compiles: no step was made yet.
    cold: bool,
    /// Rate of the device's own matrix product.
    peak_flop_per_s: Option<f64>,
    pub next: Position,
    pub tokens: u64,
    pub began: Instant,
    /// Seconds of the run before it was resumed.
    wall_before: f64,
    pub saved: Instant,
    /// Whether it began with the checkpoint of another run.
    forked: bool,
    /// The answer under way, and how many were asked for.
    pub answering: Option<Answering>,
    pub asked: u64,
    /// Commands that came while none could be taken up.
    pub later: VecDeque<Command>,
    pub paused: bool,
    /// So many steps are to be done although it is paused.
    pub once: u64,
    /// Whether it went on for one of them, and will hold again at once: no time to make parts of every table.
    pub single: bool,
    pub stopped: bool,
    pub dropped: bool,
    /// Whether the disk had no room when it was last asked.
    pub full: bool,
    pub seen: Seen,
    /// Validations made after step 0.
    pub validations: usize,
    /// Lessons of the pause vector before the last validation.
    pub lessons: u64,
    /// For as long as this is here, no other process has the folder.
    _lock: Lock,
}

/// First and last losses, for the summary.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Seen {
    pub plain: Option<(f64, f64)>,
    pub recycled: Option<(f64, f64)>,
    pub valid: Option<(f64, f64)>,
    pub recycled_steps: u64,
}

/// What a run has behind it.
#[derive(Default)]
struct Past {
    /// Whether it is the run's own, and not that of the run it began with.
    is_own: bool,
    tokens: u64,
    validations: usize,
    lessons: u64,
    wall_s: f64,
    seen: Seen,
}

impl Past {
    fn of(beginning: &Beginning, is_own: bool) -> Self {
        let Some(state) = beginning.from.as_ref().map(|found| &found.state).filter(|_| !beginning.fresh.step)
        else {
            return Self::default();
        };
        let (tokens, validations, lessons) = (state.tokens, state.validations, state.lessons.1);
        let (wall_s, seen) = if is_own { (state.wall_s, state.seen.clone()) } else { (0.0, Seen::default()) };
        Self { is_own, tokens, validations, lessons, wall_s, seen }
    }
}

impl<'a> Run<'a> {
    /// Prepares a run: data, device, model, folder.
    pub fn prepare(
        begin: Begin,
        wants: Wants,
        log: &RunLog,
        commands: &'a Receiver<Command>,
        out: &'a mut Publisher,
    ) -> Result<Self, TrainError> {
        let mut beginning = begin::beginning(begin)?;
        let dataset = prepare::dataset(&beginning.config, out)?;
        let chosen = prepare::device(&beginning.config)?;
        let model = prepare::model(&beginning.config, &dataset, &chosen, beginning.from.as_ref(), out)?;
        let peak_flop_per_s = prepare::peak(&chosen);
        let vocab_size = model.shape().vocab_size;
        // What is recorded is the shape in force, which a loaded model brings along.
        let asked = beginning.config.model.clone();
        prepare::adopt(&mut beginning.config.model, model.shape());
        if beginning.from.is_some() {
            prepare::same_shape(&asked, &beginning.config)?;
        }
        let start = prepare::start(&mut beginning, &dataset)?;
        let loader = prepare::loader(&beginning.config, &dataset, vocab_size, start.clone(), out)?;
        let evaluator = Evaluator::new(&beginning.config, &dataset, vocab_size)?;
        let learner = begin::learner(&beginning, Learner::new(model, &beginning.config.optim))?;
        let is_resumed = beginning.resumed.is_some();
        let (folder, lock) = prepare::folder(&mut beginning)?;
        prepare::log_to(&folder, log)?;
        let info = prepare::info(&beginning, &dataset, &chosen, &learner.model, &folder, peak_flop_per_s)?;
        let past = Past::of(&beginning, is_resumed && folder.id() == beginning.run_before());
        let config = beginning.config.clone();
        let recorder = Recorder::start(&folder, begin::timing(&config.record), begin::hash(&config))?;
        chosen.bus.iter().for_each(|bus| recorder.watch_gpu(bus.clone()));
        let machine = wants.screen.then(|| Machine::new(&folder, chosen.bus.as_deref()));
        let forked = beginning.from.is_some() && !past.is_own;
        let in_force = (config, beginning.version);
        let steering =
            Steering::new(&folder, in_force, beginning.text, beginning.recipe, beginning.scheduled)?;
        out.fact(Event::Started(Box::new(info)));
        let mut run = Self {
            paused: steering.config.run.paused,
            forked,
            codec: dataset.tokenizer(),
            answering: None,
            asked: 0,
            later: VecDeque::new(),
            steering,
            learner,
            recorder,
            loader,
            dataset,
            evaluator,
            folder,
            commands,
            out,
            wants,
            machine,
            cold: chosen.kind.compiles(),
            peak_flop_per_s,
            next: start,
            tokens: past.tokens,
            began: Instant::now(),
            wall_before: past.wall_s,
            saved: Instant::now(),
            once: 0,
            single: false,
            stopped: false,
            dropped: false,
            full: false,
            seen: past.seen,
            validations: past.validations,
            lessons: past.lessons,
            _lock: lock,
        };
        if wants.screen && is_resumed {
            let (config, version) = (run.steering.config.clone(), run.steering.version);
            past::all(&run.folder, &config, version, vocab_size).for_each(|event| run.out.fact(event));
        }
        run.tell_start(past.is_own);
        Ok(run)
    }

    fn tell_start(&mut self, resumed: bool) {
        let (step, kind) = (self.learner.step, if resumed { "resume" } else { "start" });
        if step > 0 {
            tracing::info!("goes on after step {step}");
        }
        self.event(kind, env!("CARGO_PKG_VERSION"), None, None);
        self.note_status(Status::running(step, self.config().run.steps));
    }

    /// Trains to the last step, or until told to stop.
    pub fn train(mut self) -> Result<Summary, TrainError> {
        let result = self.steps().and_then(|()| self.end());
        if let Err(error) = &result {
            self.event("end", "failed", None, Some(error.to_string()));
            self.note_status(Status::failed(self.learner.step, self.config().run.steps, error.to_string()));
        }
        result
    }

    fn steps(&mut self) -> Result<(), TrainError> {
        if self.config().eval.at_start && self.learner.step == 0 && !self.has_checkpoint() {
            let mut row = StepRow::new(0);
            self.evaluate(None, &mut row)?;
            self.finish(row);
        }
        // What it began with may be gone when it is to be resumed: the other run keeps its last ones alone.
        if self.forked && !self.has_checkpoint() {
            self.save()?;
        }
        self.out.fact(Event::Phase(self.work()));
        while self.obey()? && self.learner.step < self.config().run.steps {
            let began = Instant::now();
            let batches = self.batches()?;
            let (mut row, failed) = self.learner.update(&self.steering.config, &batches)?;
            self.clock(&mut row, &batches, began);
            if std::mem::take(&mut self.cold) {
                self.out.fact(Event::Phase(Phase::Train));
            }
            if let Some(error) = failed {
                self.finish(row);
                return Err(error);
            }
            self.look(&batches)?;
            if self.due(self.config().eval.every) || self.learner.step == self.config().run.steps {
                self.evaluate(batches.first(), &mut row)?;
            }
            self.finish(row);
            if self.save_due() {
                self.save()?;
            }
        }
        Ok(())
    }

    /// What the run does when it does nothing else.
    pub fn work(&self) -> Phase {
        if self.cold { Phase::Compile } else { Phase::Train }
    }

    fn has_checkpoint(&self) -> bool {
        !self.folder.checkpoints().is_empty()
    }

    /// The config in force.
    pub fn config(&self) -> &Config {
        &self.steering.config
    }

    /// The batches of the next update.
    fn batches(&mut self) -> Result<Vec<Batch>, TrainError> {
        let accumulate = self.config().optim.accumulate;
        let mut batches = Vec::with_capacity(accumulate);
        while batches.len() < accumulate {
            match self.loader.next_batch()? {
                Some(batch) => batches.push(batch),
                None => {
                    return Err(TrainError::Setting {
                        key: "data.dir",
                        value: self.config().data.dir.clone(),
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
        let flop = [Metric::PlainFlop, Metric::RecycledFlop, Metric::HeadFlop, Metric::UpdateFlop];
        let flop: f64 = flop.into_iter().filter_map(|metric| row.get(metric)).sum();
        row.set_if(Metric::ShareOfPeak, self.peak_flop_per_s.map(|peak| flop / seconds / peak));
    }

    /// Looks at a row of the batch where it is to be recorded, or shown and somebody looks.
    fn look(&mut self, batches: &[Batch]) -> Result<(), TrainError> {
        let step = self.learner.step;
        let due = |every: u64| every > 0 && (step == 1 || step.is_multiple_of(every));
        let recorded = due(self.config().record.token_every);
        let shown = self.wants.screen && due(self.config().probe.every);
        if !recorded && !shown {
            return Ok(());
        }
        let row = probe::look(self.config(), &self.learner.model, self.codec.as_ref(), &batches[0], step)?;
        if recorded {
            self.recorder.tokens(row.clone());
        }
        self.out.frame(Event::Tokens(Box::new(row)));
        Ok(())
    }

    /// Validates, having fitted the pause vector on `last`. Goes without where there is no validation split.
    fn evaluate(&mut self, last: Option<&Batch>, row: &mut StepRow) -> Result<(), TrainError> {
        let Some(evaluator) = &self.evaluator else {
            return Ok(());
        };
        self.out.fact(Event::Phase(if self.cold { Phase::Compile } else { Phase::Eval }));
        // Where training has taught the pause since, it is left as it is.
        let fit = last.filter(|_| self.learner.lessons == self.lessons);
        self.lessons = self.learner.lessons;
        let config = &self.steering.config;
        evaluator.run(config, &mut self.learner.model, fit, row)?;
        let every = config.eval.sequential_every;
        // Step 0 comes before anything is warm.
        if row.step() > 0 && every > 0 && config.recycle.every > 0 {
            if self.validations.is_multiple_of(every) {
                evaluator.price(config, &self.learner.model, row);
            }
            self.validations += 1;
        }
        report::validation(row);
        for metric in Metric::ALL.iter().filter(|metric| metric.spec().name.starts_with("valid_")) {
            if let Some(value) = row.get(*metric) {
                self.event("validation", metric.spec().name, Some(value), None);
            }
        }
        self.sample()?;
        self.out.fact(Event::Phase(self.work()));
        Ok(())
    }

    /// Has the model write, records it, and shows it.
    fn sample(&mut self) -> Result<(), TrainError> {
        let Some(evaluator) = &self.evaluator else { return Ok(()) };
        let end = self.codec.as_ref().and_then(Codec::eos_id);
        for (prompt, written) in evaluator.samples(self.config(), &self.learner.model, end)? {
            let sample = Sample {
                step: self.learner.step,
                how: GREEDY.into(),
                prompt: probe::words(self.codec.as_ref(), &prompt),
                text: probe::words(self.codec.as_ref(), &written.ids),
            };
            self.event(SAMPLE, &sample.prompt, mean(written.entropies), Some(sample.text.clone()));
            self.out.fact(Event::Sample(Box::new(sample)));
        }
        Ok(())
    }

    /// Records a row, then shows it.
    fn finish(&mut self, mut row: StepRow) {
        row.set(Metric::Tokens, self.tokens as f64);
        row.set(Metric::WallS, self.wall_s());
        row.set(Metric::ConfigVersion, self.steering.version as f64);
        self.seen.note(&row);
        self.recorder.step(row.clone());
        self.out.frame(Event::Step(Box::new(row)));
    }

    pub fn wall_s(&self) -> f64 {
        self.wall_before + self.began.elapsed().as_secs_f64()
    }

    pub fn due(&self, every: u64) -> bool {
        every > 0 && self.learner.step.is_multiple_of(every)
    }

    pub fn note_status(&self, status: Status) {
        if let Err(error) = status::write(&self.folder, &status) {
            tracing::warn!("{error}");
        }
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
