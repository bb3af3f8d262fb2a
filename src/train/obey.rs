//! Owns: what happens between two steps: commands, changes of the config, pauses, and waiting for room on the disk.
//! Must not know: what a step is.
//! Invariant: a run that holds takes up commands and changes as one that goes on does.

use super::evaluate::Evaluator;
use super::run::Run;
use super::steer::{Boundary, News, PAUSED};
use super::{TrainError, begin, prepare};
use crate::config::Config;
use crate::message::{About, Alert, Command, Event, Phase, Set};
use crate::record::RecordError;
use crate::record::recorder::Health;
use crate::record::rows::{self, EventRow, Outcome};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How often a run that holds looks at its config files and the disk.
const TURN: Duration = Duration::from_millis(100);
/// How long a full disk is left alone before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

impl Run<'_> {
    /// Takes up commands and changes; holds while paused or while there is no room on the disk. Whether to go on.
    pub fn obey(&mut self) -> Result<bool, TrainError> {
        let mut held = false;
        loop {
            let answers = self.answer();
            self.turn(if held && !answers { TURN } else { Duration::ZERO })?;
            self.show_machine();
            // Asked while paused, too: it is what writes changes down.
            let room = self.has_room()?;
            let hold = !self.stopped && ((self.paused && self.once == 0) || !room);
            if hold != held {
                self.tell_hold(hold);
                held = hold;
            }
            if !hold {
                self.single = self.paused;
                self.once = if self.paused { self.once.saturating_sub(1) } else { 0 };
                return Ok(!self.stopped);
            }
        }
    }

    /// Takes up what there is, waiting for a command at most `wait`.
    fn turn(&mut self, wait: Duration) -> Result<(), TrainError> {
        let mut asked = Vec::new();
        let mut next = self.later.pop_front().or_else(|| self.wait_for_command(wait));
        while let Some(command) = next {
            self.command(command, &mut asked)?;
            let more = !self.stopped;
            next = more.then(|| self.later.pop_front().or_else(|| self.commands.try_recv().ok())).flatten();
        }
        self.change(asked)
    }

    /// Shows what the machine does, now and then.
    fn show_machine(&mut self) {
        if let Some(row) = self.machine.as_mut().and_then(|machine| machine.due(self.learner.step)) {
            self.out.frame(Event::System(Box::new(row)));
        }
    }

    /// A command that comes within `wait`. Where nobody is left who could say "go on", a file still may.
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

    fn command(&mut self, command: Command, asked: &mut Vec<Set>) -> Result<(), TrainError> {
        match command {
            Command::Pause(hold) => {
                self.paused = hold;
                // The file must not go on saying otherwise.
                if self.config().run.paused && !hold {
                    asked.push(Set::one(PAUSED, "false"));
                }
            }
            Command::Set(set) => asked.push(set),
            Command::Step => self.step_once(),
            Command::Note(text) => self.note(&text),
            Command::Ask(ask) => self.ask(*ask),
            Command::Save => drop(self.save()?),
            Command::Stop => self.stopped = true,
            Command::Drop => (self.stopped, self.dropped) = (true, true),
        }
        Ok(())
    }

    /// One step of a run that holds; one that does not has its step anyway.
    fn step_once(&mut self) {
        self.once += u64::from(self.paused);
    }

    fn note(&mut self, text: &str) {
        let at = Boundary { step: self.learner.step + 1, tokens: self.tokens };
        let news = self.steering.note(text, at);
        self.tell(news);
        tracing::info!("note: {text}");
    }

    /// Takes up changes of the config at this boundary.
    fn change(&mut self, asked: Vec<Set>) -> Result<(), TrainError> {
        let batches = self.config().eval.batches;
        let at = Boundary { step: self.learner.step + 1, tokens: self.tokens };
        let (shape, dataset) = (self.learner.model.shape(), &self.dataset);
        let fits = |config: &Config| prepare::fits(config, shape, dataset.vocab_size());
        let news = self.steering.boundary(at, asked, &fits);
        let any = !news.changes.is_empty();
        self.tell(news);
        if any { self.took_up(batches) } else { Ok(()) }
    }

    /// Records, then shows.
    fn tell(&mut self, news: News) {
        for changed in news.changes {
            for row in &changed.rows {
                let paused = row.outcome == Outcome::Applied && row.key.as_deref() == Some(PAUSED);
                self.paused = if paused { changed.config.run.paused } else { self.paused };
                self.recorder.change(row.clone());
            }
            self.out.fact(Event::Changed(Box::new(changed)));
        }
        news.alerts.into_iter().for_each(|alert| self.out.fact(Event::Alert(alert)));
    }

    /// What a change of the config asks of the run, which had so many validation batches.
    fn took_up(&mut self, batches: usize) -> Result<(), TrainError> {
        let config = &self.steering.config;
        self.recorder.config(begin::timing(&config.record), begin::hash(config));
        if config.eval.batches != batches {
            let vocab_size = self.learner.model.shape().vocab_size;
            self.evaluator = Evaluator::new(config, &self.dataset, vocab_size)?;
        }
        Ok(())
    }

    /// Whether all that is to be on the disk could be written.
    fn has_room(&mut self) -> Result<bool, TrainError> {
        let settled = match self.steering.settle() {
            Err(error) if error.is_full() => Some(error.to_string()),
            settled => {
                settled?;
                None
            }
        };
        let full = match self.recorder.health() {
            Health::Fine => settled,
            Health::Full(error) => Some(error),
            Health::Failed(error) => return Err(TrainError::Recording(error)),
        };
        self.tell_room(full.clone());
        Ok(full.is_none())
    }

    fn tell_room(&mut self, full: Option<String>) {
        if full.is_some() == self.full {
            return;
        }
        self.full = full.is_some();
        let text = full.map(|error| format!("no room on the disk, holding until there is: {error}"));
        match &text {
            Some(text) => tracing::error!("{text}"),
            None => tracing::info!("there is room on the disk again"),
        }
        self.event("alert", "disk", None, text.clone());
        self.out.fact(Event::Alert(Alert { about: About::Disk, text }));
    }

    fn tell_hold(&mut self, hold: bool) {
        if self.stopped {
            return;
        }
        let word = if hold { rows::PAUSED } else { "goes on" };
        tracing::info!("{word} before step {}", self.learner.step + 1);
        self.event(rows::PAUSE, word, None, None);
        self.out.fact(Event::Phase(if hold { Phase::Paused } else { self.work() }));
        if hold && !self.full && !std::mem::take(&mut self.single) {
            // A pause may be long: what was measured until now is not held back by it.
            self.recorder.flush();
        }
    }

    /// Whether everything that was measured is in finished parts.
    pub fn flushed(&mut self) -> Result<(), TrainError> {
        match self.recorder.flush() {
            Health::Fine => Ok(()),
            Health::Full(error) => {
                let cause = std::io::Error::new(std::io::ErrorKind::StorageFull, error);
                let path = self.folder.path().display().to_string();
                Err(TrainError::Record(RecordError::Io { action: "record in", path, cause }))
            }
            Health::Failed(error) => Err(TrainError::Recording(error)),
        }
    }

    /// Does `what` again and again until the disk has room for it; `false` where a command ended the wait before.
    pub fn hold_until(
        &mut self,
        what: &str,
        mut does: impl FnMut(&mut Self) -> Result<(), TrainError>,
    ) -> Result<bool, TrainError> {
        let stopped = self.stopped;
        loop {
            match does(self) {
                Err(error) if error.is_full() => self.tell_room(Some(format!("{what}: {error}"))),
                done => {
                    done?;
                    self.tell_room(None);
                    return Ok(true);
                }
            }
            let until = Instant::now() + RETRY;
            while Instant::now() < until {
                match self.commands.recv_timeout(TURN) {
                    Ok(Command::Drop) => (self.stopped, self.dropped) = (true, true),
                    Ok(Command::Stop) => self.stopped = true,
                    // What else is asked for has to wait for a step boundary.
                    Ok(command) => self.later.push_back(command),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TURN),
                }
                // A run that was already ending is waited for until somebody drops it.
                if self.dropped || (self.stopped && !stopped) {
                    return Ok(false);
                }
            }
        }
    }

    /// Records something that happened.
    pub fn event(&self, kind: &'static str, name: &str, value: Option<f64>, text: Option<String>) {
        self.recorder.event(EventRow {
            step: self.learner.step,
            tokens: self.tokens,
            time: chrono::Utc::now(),
            kind,
            name: name.to_owned(),
            value,
            text,
        });
    }
}
