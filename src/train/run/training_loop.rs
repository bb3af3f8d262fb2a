//! Owns: the run: its setup, the training loop, and its end.
//! Must not know: the contents of tensors, screens.
//! Invariant: a metrics row reaches the recorder before a screen, and the disk before its step's checkpoint.

use super::hold::{Ending, Hold};
use super::playground::PlaygroundSession;
use super::progress::RunProgress;
use super::publisher::Publisher;
use super::request_desk::{Incoming, RequestDesk};
use super::run_plan::{Origin, RunPlan};
use super::setup::ClaimedFolder;
use super::{history_backfill, plan, recording, setup};
use crate::config::{BestCheckpointBy, Config, WorkDone};
use crate::data::{Dataset, Tokenizer};
use crate::model::hf::Companions;
use crate::ops::threads;
use crate::record::log::RunLog;
use crate::record::recorder::Recorder;
use crate::record::requests::RequestInbox;
use crate::record::run_folder::{RunFolder, RunLock};
use crate::record::status;
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::protocol::{
    Alert, AlertTopic, Command, Event, RunPhase, RunSummary, ValidationFigure, ValidationSample,
};
use crate::schema::rows::EventKind;
use crate::schema::status::{RunState, RunStatus};
use crate::train::eval::{probe, report};
use crate::train::live::controller::ConfigController;
use crate::train::objective::Objective;
use crate::train::step::divergence::{DivergenceChange, DivergenceWatch};
use crate::train::step::finite::{FiniteChange, FiniteWatch};
use crate::train::step::learner::Learner;
use crate::train::step::metrics_row;
use crate::train::step::rollout_watch::RolloutWatch;
use crate::train::{StartMode, TrainError, TrainerOptions};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Instant;

/// A training run that has been set up.
pub(in crate::train) struct TrainingRun<'a> {
    pub controller: ConfigController,
    pub folder: RunFolder,
    pub learner: Learner,
    pub objective: Box<dyn Objective>,
    pub dataset: Dataset,
    pub tokenizer: Option<Tokenizer>,
    /// Tokens that end a generated text.
    pub end_tokens: Vec<u32>,
    /// What checkpoints hold beside weights and state.
    pub companions: Companions,
    pub recorder: Recorder,
    pub commands: &'a Receiver<Command>,
    pub publisher: &'a mut Publisher,
    options: TrainerOptions,
    /// The phase to show while no other is active: on a GPU, kernels are compiled until the first step is done.
    pub active_phase: RunPhase,
    /// Best rate of the device that was seen, FLOP/s.
    peak_flop_per_s: Option<f64>,
    divergence: DivergenceWatch,
    finite: FiniteWatch,
    rollout_watch: RolloutWatch,
    pub progress: RunProgress,
    pub started: Instant,
    pub last_save: Instant,
    origin: Origin,
    pub playground: Option<PlaygroundSession>,
    pub answers_requested: u64,
    /// Commands that arrived when none could be handled.
    pub deferred: VecDeque<Incoming>,
    /// The requests of other processes.
    pub desk: RequestDesk,
    pub hold: Hold,
    _lock: RunLock,
}

impl<'a> TrainingRun<'a> {
    /// Opens the data, selects the device, builds the model, and creates or reopens the run folder.
    pub fn set_up(
        mode: StartMode,
        options: TrainerOptions,
        log: &RunLog,
        commands: &'a Receiver<Command>,
        publisher: &'a mut Publisher,
    ) -> Result<Self, TrainError> {
        let (mut plan, resumed) = plan::plan_run(mode)?;
        let left = resumed.as_ref().map(|resumed| RequestInbox::new(&resumed.folder).waiting()).unwrap_or_default();
        let dataset = setup::open_dataset(&plan.config, publisher)?;
        let device = setup::select_device(&plan.config)?;
        let model = setup::build_model(&plan.config, &dataset, &device, plan.checkpoint.as_ref(), publisher)?;
        let (companions, end_tokens) = setup::read_companions(&plan.config, &dataset, plan.checkpoint.as_ref())?;
        let peak_flop_per_s = setup::measure_peak(&device);
        let vocab_size = model.shape().vocab_size;
        plan.adopt_shape(model.shape())?;
        let fingerprint = setup::dataset_fingerprint(&dataset);
        let is_resumed = resumed.is_some();
        if is_resumed {
            plan.check_same_dataset(&fingerprint)?;
        }
        let start = plan.objective_start(&fingerprint);
        let objective = setup::open_objective(&plan.config, &dataset, vocab_size, start, publisher)?;
        let learner = setup::restore_learner(&plan, Learner::new(model, &plan.config.optim))?;
        // From here on, a stop leaves a run that can be resumed.
        options.preparing.store(false, Ordering::SeqCst);
        let ClaimedFolder { folder, lock, config_text } = setup::claim_folder(&plan, resumed)?;
        setup::attach_log(&folder, log)?;
        RequestInbox::new(&folder).refuse_leftovers(left);
        let info = setup::run_info(&plan, &dataset, &device, &learner.model, &folder, peak_flop_per_s)?;
        let progress = RunProgress::from_plan(&plan).with_best_in(&folder);
        let tokenizer = setup::tokenizer(&plan.config, &dataset)?;
        let RunPlan { config, version, recipe, origin, scheduled, .. } = plan;
        let (timing, hash) = (recording::recorder_timing(&config.record), recording::config_hash(&config));
        let recorder = Recorder::start(&folder, timing, hash)?;
        recorder.set_event_files(recording::event_files(&config.record));
        device.pci_bus_id.iter().for_each(|bus| recorder.watch_gpu(bus.clone()));
        if options.screen_events {
            recorder.show_system();
        }
        let mut hold = Hold::default();
        if config.run.paused {
            hold.pause();
        }
        let controller = ConfigController::new(&folder, (config, version), config_text, recipe, scheduled)?;
        publisher.set_hook(&controller.live.config.record.hook, folder.path());
        publisher.send_fact(Event::Started(Box::new(info)));
        let mut run = Self {
            hold,
            origin,
            tokenizer,
            end_tokens,
            companions,
            playground: None,
            answers_requested: 0,
            deferred: VecDeque::new(),
            desk: RequestDesk::new(&folder),
            controller,
            learner,
            recorder,
            objective,
            dataset,
            folder,
            commands,
            publisher,
            options,
            active_phase: if device.kind.compiles_kernels() { RunPhase::Compile } else { RunPhase::Train },
            peak_flop_per_s,
            divergence: DivergenceWatch::new(vocab_size),
            finite: FiniteWatch::default(),
            rollout_watch: RolloutWatch::default(),
            progress,
            started: Instant::now(),
            last_save: Instant::now(),
            _lock: lock,
        };
        if run.options.screen_events && is_resumed {
            let (config, version) = (run.config().clone(), run.controller.live.version);
            history_backfill::history_events(&run.folder, &config, version, vocab_size)
                .for_each(|event| run.publisher.send_fact(event));
        }
        run.announce_start();
        Ok(run)
    }

    /// Logs and records that the run has started or was resumed.
    fn announce_start(&mut self) {
        let step = self.learner.step;
        let kind = if self.origin == Origin::Resume { EventKind::Resume } else { EventKind::Start };
        if step > 0 {
            tracing::info!("continuing after step {step}");
        }
        if self.config().checkpoint.best != BestCheckpointBy::None && !self.objective.can_validate() {
            tracing::warn!("`checkpoint.best` has no effect: {} has no validation split", self.config().data.dir);
        }
        if self.origin == Origin::Resume {
            self.record_lost_checkpoint();
        }
        self.record_event(kind, env!("CARGO_PKG_VERSION"), None, None);
        self.write_status(self.status(RunState::Running));
    }

    /// Trains to the last step, or until a command stops the run. Records a failure before returning it.
    pub fn train(mut self) -> Result<RunSummary, TrainError> {
        let result = self.run_steps().or_else(|error| self.end_cancelled(error)).and_then(|()| self.finish_run());
        if let Err(error) = &result {
            self.record_event(EventKind::End, "failed", None, Some(error.to_string()));
            self.write_status(RunStatus { error: Some(error.to_string()), ..self.status(RunState::Failed) });
        }
        self.answer_at_end(&result);
        result
    }

    /// Ends the run after its last whole step, if `error` says that a step was given up for that.
    fn end_cancelled(&mut self, error: TrainError) -> Result<(), TrainError> {
        match error {
            TrainError::Cancelled => {
                tracing::warn!("stopped within step {}: it is not counted", self.learner.step + 1);
                self.hold.end(Ending::WithCheckpoint);
                Ok(())
            }
            error => Err(error),
        }
    }

    fn run_steps(&mut self) -> Result<(), TrainError> {
        if self.config().eval.at_start && self.learner.step == 0 && !self.has_checkpoint() {
            let mut row = StepRow::new(0);
            self.evaluate(&mut row)?;
            self.finish_row(row);
        }
        // The parent keeps only its newest checkpoints: this one may be gone when the fork is resumed.
        if self.origin == Origin::Fork && !self.has_checkpoint() {
            self.save_checkpoint()?;
        }
        self.publisher.send_fact(Event::Phase(self.active_phase));
        while self.handle_commands()? && !self.is_complete() {
            let began = Instant::now();
            self.publisher.watchdog.begin_step(self.learner.step + 1);
            let updated = self.update();
            self.end_stall();
            let (mut row, failed) = updated?;
            self.record_timing(&mut row, began);
            if std::mem::replace(&mut self.active_phase, RunPhase::Train) == RunPhase::Compile {
                self.publisher.send_fact(Event::Phase(RunPhase::Train));
            }
            if let Some(error) = failed {
                self.finish_row(row);
                return Err(error);
            }
            self.watch_divergence(&row);
            self.watch_rollouts(&row);
            self.publish_layers();
            self.publish_rollouts();
            self.probe_row()?;
            if self.is_due(self.config().eval.every) || self.is_complete() {
                self.evaluate(&mut row)?;
            }
            self.note_best_validation(&row);
            self.finish_row(row);
            if self.is_save_due() {
                self.save_checkpoint()?;
            }
        }
        Ok(())
    }

    /// Logs, records and shows that training diverges, or does so no longer.
    fn watch_divergence(&mut self, row: &StepRow) {
        let lr = row.get(Metric::Lr).unwrap_or_default();
        let text = match self.divergence.observe(row, lr) {
            None => return,
            Some(DivergenceChange::Diverged(text)) => Some(text),
            Some(DivergenceChange::Recovered) => None,
        };
        if text.is_none() {
            tracing::info!("training no longer diverges");
        }
        self.raise_alert(AlertTopic::Divergence, text);
    }

    /// Logs, records and shows that rollouts teach nothing, or do so again.
    fn watch_rollouts(&mut self, row: &StepRow) {
        for change in self.rollout_watch.observe(row) {
            self.raise_alert(change.topic, change.text);
        }
    }

    /// Logs, records and shows that a metric is not finite, or is finite again.
    fn watch_finite(&mut self, row: &StepRow) {
        let text = match self.finite.observe(row) {
            None => return,
            Some(FiniteChange::NotFinite(text)) => Some(text),
            Some(FiniteChange::Recovered) => None,
        };
        self.raise_alert(AlertTopic::NotFinite, text);
    }

    /// Ends the alert of the watchdog, if the step that has just ended had one.
    fn end_stall(&mut self) {
        if let Some(took) = self.publisher.watchdog.end_step() {
            tracing::warn!("step {} took {:.0} s", self.learner.step, took.as_secs_f64());
            self.publisher.send_fact(Event::Alert(Alert::now(AlertTopic::Stalled, None)));
        }
    }

    /// Records and shows an alert; without a text, that it is over. A text is logged, too.
    fn raise_alert(&mut self, topic: AlertTopic, text: Option<String>) {
        text.iter().for_each(|text| tracing::warn!("{text}"));
        self.record_event(EventKind::Alert, topic.name(), None, text.clone());
        self.publisher.send_fact(Event::Alert(Alert::now(topic, text)));
    }

    fn has_checkpoint(&self) -> bool {
        !self.folder.checkpoint_steps().is_empty()
    }

    pub fn config(&self) -> &Config {
        &self.controller.live.config
    }

    /// Does one update on the next batches of the objective.
    fn update(&mut self) -> Result<(StepRow, Option<TrainError>), TrainError> {
        let done = self.work_done();
        let config = &self.controller.live.config;
        let mut batches = self.objective.next_batches(config, &self.learner.model, self.learner.step)?;
        self.learner.update_on(config, &done, &mut *batches)
    }

    /// Returns what the run has done, as the length of a run is measured.
    fn work_done(&self) -> WorkDone {
        WorkDone { step: self.learner.step, tokens: self.progress.tokens, flop: self.progress.flop }
    }

    /// Whether the run has done its last update.
    pub fn is_complete(&self) -> bool {
        self.config().run.is_complete(&self.work_done())
    }

    /// Returns the status of the run now.
    pub fn status(&self, state: RunState) -> RunStatus {
        RunStatus::new(state, self.learner.step, self.config().run.expected_steps(&self.work_done()))
    }

    /// Sets the time, throughput and epoch of a step in `row`.
    fn record_timing(&mut self, row: &mut StepRow, began: Instant) {
        let (tokens, epoch) = self.objective.count_update();
        self.progress.tokens += tokens;
        self.progress.flop.iter_mut().for_each(|flop| *flop += row.flop());
        row.set(Metric::Epoch, epoch as f64);
        let seconds = began.elapsed().as_secs_f64();
        metrics_row::set_speed(row, tokens, seconds, &mut self.peak_flop_per_s);
    }

    /// Records and shows what was measured of the layers at this step, if anything.
    fn publish_layers(&mut self) {
        let rows = self.learner.take_layer_rows();
        if !rows.is_empty() {
            self.recorder.record_layers(rows.clone());
            self.publisher.send_frame(Event::Layers(rows));
        }
    }

    /// Shows the rollouts that were made for this update, if any, and records them if `record.rollouts_every` asks for it.
    fn publish_rollouts(&mut self) {
        let rows = self.objective.take_rollouts();
        let Some(made_at) = rows.first().map(|row| row.step) else { return };
        let (every, updates) = (self.config().record.rollouts_every, self.config().rl.num_iterations as u64);
        // Iterations are some updates apart: the first one at or after each multiple.
        let is_due = |every: u64| made_at == 0 || made_at / every != made_at.saturating_sub(updates) / every;
        if every > 0 && is_due(every) {
            self.recorder.record_rollouts(rows.clone());
        }
        self.publisher.send_frame(Event::Rollouts(rows));
    }

    /// Probes a row of the batches, if `record.token_every` or `probe.every` asks for it now.
    fn probe_row(&mut self) -> Result<(), TrainError> {
        let step = self.learner.step;
        let due = |every: u64| every > 0 && (step == 1 || step.is_multiple_of(every));
        let recorded = due(self.config().record.token_every);
        let shown = self.options.screen_events && due(self.config().probe.every);
        if !recorded && !shown {
            return Ok(());
        }
        let (config, model) = (&self.controller.live.config, &self.learner.model);
        let Some(row) = self.objective.probe_row(config, model, self.tokenizer.as_ref(), step)? else { return Ok(()) };
        if recorded {
            self.recorder.record_tokens(row.clone());
        }
        self.publisher.send_frame(Event::ProbedRow(Box::new(row)));
        Ok(())
    }

    /// Validates and writes samples. Lets the pause vector be fitted first, unless training has updated it.
    fn evaluate(&mut self, row: &mut StepRow) -> Result<(), TrainError> {
        if !self.objective.can_validate() {
            return Ok(());
        }
        let compiles = self.active_phase == RunPhase::Compile;
        self.publisher.send_fact(Event::Phase(if compiles { RunPhase::Compile } else { RunPhase::Eval }));
        // Do not refit a pause vector that training has updated.
        let fit_pause = self.learner.pause_updates == self.progress.pause_updates_at_validation;
        self.progress.pause_updates_at_validation = self.learner.pause_updates;
        let config = &self.controller.live.config;
        let pause = self.learner.model.feedback.pause.clone();
        let measured = row.clone();
        let figures = match self.objective.validate(config, &mut self.learner.model, fit_pause, row) {
            // A given-up operation may look like a failure of the device.
            Err(_) if threads::is_cancelled() => Vec::new(),
            figures => figures?,
        };
        if threads::is_cancelled() {
            // What was measured is not to be believed.
            tracing::warn!("stopped within the validation after step {}: it is not recorded", row.step());
            self.learner.model.feedback.pause = pause;
            *row = measured;
            self.hold.end(Ending::WithCheckpoint);
            return Ok(());
        }
        let every = config.eval.sequential_every;
        // At step 0 nothing is warm yet.
        if row.step() > 0 && every > 0 {
            if self.progress.validations.is_multiple_of(every) {
                self.objective.measure_sequential_cost(config, &self.learner.model, row);
            }
            self.progress.validations += 1;
        }
        report::log_validation(row);
        for metric in Metric::ALL.iter().filter(|metric| metric.spec().name.starts_with("valid_")) {
            if let Some(value) = row.get(*metric) {
                self.record_event(EventKind::Validation, metric.spec().name, Some(value), None);
            }
        }
        for (name, value) in figures {
            self.record_event(EventKind::Validation, &name, Some(value), None);
            self.publisher.send_fact(Event::Figure(ValidationFigure { step: self.learner.step, name, value }));
        }
        self.write_samples()?;
        self.publisher.send_fact(Event::Phase(self.active_phase));
        Ok(())
    }

    /// Continues the validation prompts with the model, records the samples and sends them to the screen.
    fn write_samples(&mut self) -> Result<(), TrainError> {
        let (config, model) = (&self.controller.live.config, &self.learner.model);
        for generated in self.objective.samples(config, model, &self.end_tokens)? {
            let decode = |ids: &[u32]| probe::decode_text(self.tokenizer.as_ref(), ids);
            let sample = ValidationSample {
                step: self.learner.step,
                prompt: decode(&generated.prompt),
                text: generated.text(decode),
                decoding: generated.decoding,
            };
            self.record_event(EventKind::Sample, &sample.prompt, generated.entropy, Some(sample.text.clone()));
            self.publisher.send_fact(Event::Sample(Box::new(sample)));
        }
        Ok(())
    }

    /// Completes a metrics row, records it, then sends it to the screen.
    fn finish_row(&mut self, mut row: StepRow) {
        row.set(Metric::Tokens, self.progress.tokens as f64);
        row.set_if_some(Metric::TotalFlop, self.progress.flop);
        row.set(Metric::WallS, self.wall_s());
        row.set(Metric::ConfigVersion, self.controller.live.version as f64);
        self.progress.losses.update(&row);
        self.watch_finite(&row);
        self.recorder.record_step(row.clone());
        self.publisher.send_frame(Event::Step(Box::new(row)));
    }

    /// Returns the seconds since training began, earlier processes included.
    pub fn wall_s(&self) -> f64 {
        self.progress.earlier_wall_s + self.started.elapsed().as_secs_f64()
    }

    /// Whether something that happens every `every` steps (0: never) is due at the current step.
    pub fn is_due(&self, every: u64) -> bool {
        every > 0 && self.learner.step.is_multiple_of(every)
    }

    /// Writes the status file. A failure is only logged.
    pub fn write_status(&self, status: RunStatus) {
        if let Err(error) = status::write_status(&self.folder, &status) {
            tracing::warn!("{error}");
        }
    }
}
