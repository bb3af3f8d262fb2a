//! Owns: the work between two steps: commands, config changes, pauses, and waiting for disk space.
//! Must not know: what a step does.
//! Invariant: a run that is held handles commands and config changes exactly as a running one does.

use super::hold::Ending;
use super::playground::PlaygroundSession;
use super::request_desk::{AwaitedEvent, CommandReply, Incoming};
use super::training_loop::TrainingRun;
use super::{recording, setup};
use crate::config::Config;
use crate::model::{Transformer, hf};
use crate::record::RecordError;
use crate::record::recorder::RecorderHealth;
use crate::schema::protocol::{
    Alert, AlertTopic, Command, Event, PlaygroundAnswer, PlaygroundRequest, RunPhase, SetKeys,
};
use crate::schema::rows::{ChangeOutcome, EventKind, EventRow, PAUSE_STARTED, RunPosition};
use crate::train::TrainError;
use crate::train::live::controller::{BoundaryReport, PAUSED_KEY};
use burn::module::Module;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How often a held run polls its config files and the disk.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Delay before a failed write to a full disk is retried.
const RETRY_DELAY: Duration = Duration::from_secs(1);

impl TrainingRun<'_> {
    /// Handles commands and config changes while the run is held. Returns `false` if the run has to end.
    pub fn handle_commands(&mut self) -> Result<bool, TrainError> {
        let mut held = false;
        self.answer_done_steps();
        loop {
            let is_answering = self.continue_answer();
            self.poll_commands(if held && !is_answering { POLL_INTERVAL } else { Duration::ZERO })?;
            self.publish_system_row();
            // Needed while held, too, because it persists config changes.
            self.persist()?;
            if self.hold.is_held() != held {
                held = !held;
                self.report_hold();
            }
            if !held {
                return Ok(self.hold.begin_step());
            }
        }
    }

    /// Handles all pending commands, requests and config changes. Waits at most `wait` for the first command.
    fn poll_commands(&mut self, wait: Duration) -> Result<(), TrainError> {
        let mut edits = Vec::new();
        let requests = self.take_requests();
        self.deferred.extend(requests);
        let mut next = self.deferred.pop_front().or_else(|| self.wait_for_command(wait).map(Incoming::from));
        while let Some(incoming) = next {
            self.desk.replace_current(incoming.request);
            let reply = self.handle_command(incoming.command, &mut edits)?;
            self.reply(reply);
            next = match self.hold.is_ending() {
                true => None,
                false => self.deferred.pop_front().or_else(|| self.commands.try_recv().ok().map(Incoming::from)),
            };
        }
        self.apply_config_changes(edits)
    }

    fn publish_system_row(&mut self) {
        if let Some(row) = self.recorder.take_system_row() {
            self.publisher.send_frame(Event::System(Box::new(row)));
        }
    }

    /// Returns a command that arrives within `wait`. Without senders it still waits: a file can end a pause.
    fn wait_for_command(&self, wait: Duration) -> Option<Command> {
        if wait.is_zero() {
            return self.commands.try_recv().ok();
        }
        let command = self.commands.recv_timeout(wait);
        if command == Err(RecvTimeoutError::Disconnected) {
            std::thread::sleep(wait);
        }
        command.ok()
    }

    /// Executes one command. Config edits are only collected in `edits`.
    fn handle_command(&mut self, command: Command, edits: &mut Vec<SetKeys>) -> Result<CommandReply, TrainError> {
        let next = self.learner.step + 1;
        Ok(match command {
            Command::SetPaused(true) => {
                self.hold.pause();
                CommandReply::Done(format!("paused before step {next}"))
            }
            Command::SetPaused(false) => {
                self.hold.unpause();
                // Otherwise the config file would still say `paused`.
                if self.config().run.paused {
                    edits.push(SetKeys::single(PAUSED_KEY, "false"));
                }
                let when = if self.hold.is_held() { " once the disk has space" } else { "" };
                CommandReply::Done(format!("continues with step {next}{when}"))
            }
            Command::SetKeys(set) => {
                edits.push(set);
                CommandReply::When(AwaitedEvent::Edit(edits.len() - 1))
            }
            Command::StepOnce => match self.hold.request_step() {
                0 => CommandReply::Refused("the run is not paused: pause it first".into()),
                steps => CommandReply::When(AwaitedEvent::Step(self.learner.step + steps)),
            },
            Command::Note(text) => {
                self.add_note(&text);
                // Who asked may read the record as soon as there is an answer.
                self.persist()?;
                CommandReply::Done(format!("noted at step {next}"))
            }
            Command::Ask(request) => self.start_answer(*request),
            Command::Save => match self.save_checkpoint()? {
                Some(path) => CommandReply::Done(format!("checkpoint: {}", path.display())),
                None => CommandReply::Refused("the run was stopped while the disk was full".into()),
            },
            Command::Stop => self.request_end(Ending::WithCheckpoint),
            Command::StopWithoutCheckpoint => self.request_end(Ending::WithoutCheckpoint),
        })
    }

    fn request_end(&mut self, ending: Ending) -> CommandReply {
        self.hold.end(ending);
        CommandReply::When(AwaitedEvent::End)
    }

    /// Returns the position from which changes apply now.
    fn next_boundary(&self) -> RunPosition {
        let version = self.controller.live.version;
        RunPosition { step: self.learner.step + 1, tokens: self.progress.tokens, version }
    }

    /// Adds a person's note to the record of changes, at the next step.
    fn add_note(&mut self, text: &str) {
        let at = self.next_boundary();
        let report = self.controller.record_note(text, at);
        self.publish_report(report);
        tracing::info!("note: {text}");
    }

    /// Applies config changes at this step boundary: scheduled ones, saved files, and `edits` from commands.
    fn apply_config_changes(&mut self, edits: Vec<SetKeys>) -> Result<(), TrainError> {
        let at = self.next_boundary();
        let (shape, dataset) = (self.learner.model.shape(), &self.dataset);
        let check = |config: &Config| setup::check_compatible(config, shape, setup::model_vocab(config, dataset));
        let mut report = self.controller.process_boundary(at, edits, &check);
        let (refused, has_changes) = (std::mem::take(&mut report.refused_edits), !report.changes.is_empty());
        self.publish_report(report);
        if has_changes {
            self.after_config_change()?;
        }
        if self.awaits_edits() {
            // Who asked may rely on what is written.
            self.persist()?;
            self.answer_edits(&refused);
        }
        Ok(())
    }

    /// Sends the changes of a boundary to the screen. `persist` writes them down.
    fn publish_report(&mut self, report: BoundaryReport) {
        for changed in report.changes {
            for row in &changed.rows {
                if row.outcome == ChangeOutcome::Applied && row.key.as_deref() == Some(PAUSED_KEY) {
                    if changed.config.run.paused { self.hold.pause() } else { self.hold.unpause() }
                }
            }
            let hook = &self.controller.live.config.record.hook;
            self.publisher.set_hook(hook, self.folder.path());
            self.publisher.send_fact(Event::ConfigChanged(Box::new(changed)));
        }
        report.alerts.into_iter().for_each(|alert| self.publisher.send_fact(Event::Alert(alert)));
    }

    /// Hands a changed config to the recorder and the objective.
    fn after_config_change(&mut self) -> Result<(), TrainError> {
        let config = &self.controller.live.config;
        self.recorder.set_event_files(recording::event_files(&config.record));
        self.recorder.set_config(recording::recorder_timing(&config.record), recording::config_hash(config));
        self.objective.set_config(config)
    }

    /// Persists config changes and checks the recorder. A full disk holds the run.
    fn persist(&mut self) -> Result<(), TrainError> {
        let unwritten = match self.controller.persist() {
            Err(error) if error.is_disk_full() => Some(error.to_string()),
            result => result.map(|()| None)?,
        };
        let full = match self.recorder.health() {
            RecorderHealth::Healthy => unwritten,
            RecorderHealth::DiskFull(error) => Some(error),
            RecorderHealth::Failed(error) => return Err(TrainError::Recording(error)),
        };
        self.report_disk_state(full);
        Ok(())
    }

    /// Logs, records and alerts when the disk has become full (`error`) or has space again.
    fn report_disk_state(&mut self, error: Option<String>) {
        if !self.hold.set_disk_full(error.is_some()) {
            return;
        }
        let text = error.map(|error| format!("disk full; waiting for space: {error}"));
        match &text {
            Some(text) => tracing::error!("{text}"),
            None => tracing::info!("the disk has space again"),
        }
        self.record_event(EventKind::Alert, "disk", None, text.clone());
        self.publisher.send_fact(Event::Alert(Alert::now(AlertTopic::DiskFull, text)));
    }

    /// Logs, records and shows that the run is held, or continues.
    fn report_hold(&mut self) {
        if self.hold.is_ending() {
            return;
        }
        // The name of the recorded event is part of the file format.
        let (name, word, phase) = match self.hold.is_held() {
            true => (PAUSE_STARTED, "paused before", RunPhase::Paused),
            false => ("goes on", "continuing with", self.active_phase),
        };
        tracing::info!("{word} step {}", self.learner.step + 1);
        self.record_event(EventKind::Pause, name, None, None);
        self.publisher.send_fact(Event::Phase(phase));
        if self.hold.is_held() && self.hold.is_long() {
            // Flush the rows measured so far.
            self.recorder.flush();
        }
    }

    /// Flushes all recorded rows into finished segments.
    pub fn flush_records(&mut self) -> Result<(), TrainError> {
        match self.recorder.flush() {
            RecorderHealth::Healthy => Ok(()),
            RecorderHealth::DiskFull(error) => Err(RecordError::DiskFull(error).into()),
            RecorderHealth::Failed(error) => Err(TrainError::Recording(error)),
        }
    }

    /// Runs `work`, called `what` in alerts, until the disk has space. Returns `false` if a command ended the wait.
    pub fn retry_while_disk_full(
        &mut self,
        what: &str,
        mut work: impl FnMut(&mut Self) -> Result<(), TrainError>,
    ) -> Result<bool, TrainError> {
        let ending = self.hold.ending();
        loop {
            match work(self) {
                Err(error) if error.is_disk_full() => self.report_disk_state(Some(format!("{what}: {error}"))),
                result => {
                    result?;
                    self.report_disk_state(None);
                    return Ok(true);
                }
            }
            let until = Instant::now() + RETRY_DELAY;
            while Instant::now() < until {
                self.wait_for_end_or_space();
                if self.hold.gives_up_waiting(ending) {
                    return Ok(false);
                }
            }
        }
    }

    /// Waits a moment. Only commands that end the run are handled; all others have to wait for a step boundary.
    fn wait_for_end_or_space(&mut self) {
        let mut arrived = self.take_requests();
        match self.commands.recv_timeout(POLL_INTERVAL) {
            Ok(command) => arrived.push(command.into()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(POLL_INTERVAL),
        }
        for incoming in arrived {
            let ending = match incoming.command {
                Command::Stop => Ending::WithCheckpoint,
                Command::StopWithoutCheckpoint => Ending::WithoutCheckpoint,
                _ => {
                    self.deferred.push_back(incoming);
                    continue;
                }
            };
            // The request whose checkpoint waits for space stays the current one.
            let waiting = self.desk.replace_current(incoming.request);
            let reply = self.request_end(ending);
            self.reply(reply);
            self.desk.replace_current(waiting);
        }
    }

    /// Starts a playground answer. An answer in progress is abandoned for it.
    fn start_answer(&mut self, request: PlaygroundRequest) -> CommandReply {
        self.answers_requested += 1;
        self.end_answer("replaced by the next request");
        let answer = PlaygroundAnswer {
            number: self.answers_requested,
            step: request.checkpoint.unwrap_or(self.learner.step),
            policy: request.policy.clone(),
            prompt: request.prompt.clone(),
            ..PlaygroundAnswer::default()
        };
        self.record_event(EventKind::Asked, &request.policy, None, Some(request.prompt.clone()));
        let tokenizer = self.tokenizer.as_ref();
        let model = || self.answering_model(request.checkpoint);
        match PlaygroundSession::start(&request, answer.clone(), tokenizer, &self.end_tokens, model) {
            Ok(session) => {
                self.playground = Some(session);
                self.publisher.send_fact(Event::Answer(Box::new(answer)));
                CommandReply::When(AwaitedEvent::Answer(self.answers_requested))
            }
            Err(reason) => {
                self.publish_ended_answer(PlaygroundAnswer { end_reason: Some(reason.clone()), ..answer });
                CommandReply::Refused(reason)
            }
        }
    }

    /// Returns the current model without autodiff, or the model of the checkpoint of step `checkpoint`.
    fn answering_model(&self, checkpoint: Option<u64>) -> Result<Transformer, String> {
        let Some(step) = checkpoint else { return Ok(self.learner.model.valid()) };
        let steps = self.folder.checkpoint_steps();
        if !steps.contains(&step) {
            let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
            return Err(format!("no checkpoint of step {step}; existing steps: {}", steps.join(", ")));
        }
        let device = self.learner.model.device().without_autodiff();
        hf::load_with_feedback(&self.folder.checkpoint_folder(step), &device).map_err(|error| error.to_string())
    }

    /// Continues the answer in progress for a short time. Returns whether one is still in progress.
    fn continue_answer(&mut self) -> bool {
        let Some(session) = &mut self.playground else { return false };
        match session.advance(self.tokenizer.as_ref()) {
            Some(reason) => self.end_answer(&reason),
            None => self.publisher.send_frame(Event::Answer(Box::new(session.answer().clone()))),
        }
        self.playground.is_some()
    }

    /// Ends the answer in progress, if there is one, for this reason.
    pub(super) fn end_answer(&mut self, reason: &str) {
        if let Some(session) = self.playground.take() {
            let answer = session.into_ended(reason);
            self.answer_asked(&answer);
            self.publish_ended_answer(answer);
        }
    }

    /// Records an answer that has ended, and shows it.
    fn publish_ended_answer(&mut self, answer: PlaygroundAnswer) {
        // It has only texts and numbers, which JSON can hold.
        let json = serde_json::to_string(&answer).ok();
        self.record_event(EventKind::Answered, &answer.policy, None, json);
        self.publisher.send_fact(Event::Answer(Box::new(answer)));
    }

    pub fn record_event(&self, kind: EventKind, name: &str, value: Option<f64>, text: Option<String>) {
        self.recorder.record_event(EventRow {
            step: self.learner.step,
            tokens: self.progress.tokens,
            time: chrono::Utc::now(),
            kind,
            name: name.to_owned(),
            value,
            text,
        });
    }
}
