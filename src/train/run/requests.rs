//! Owns: requests from the run folder: taking them between steps, and answering each when its outcome is known.
//! Must not know: the files of a request, what a command does.
//! Invariant: every request that was taken is answered once, at the latest when the run ends.

use super::request_desk::{AwaitedEvent, CommandReply, Incoming};
use super::training_loop::TrainingRun;
use crate::schema::protocol::{Command, PlaygroundAnswer, RunSummary, SetKeys};
use crate::schema::requests::{RequestAnswer, RequestOutcome};
use crate::train::TrainError;

impl TrainingRun<'_> {
    /// Takes the requests that other processes left. They are handled like commands from the channel.
    pub(super) fn take_requests(&mut self) -> Vec<Incoming> {
        let mut incoming = Vec::new();
        for taken in self.desk.take_new() {
            match taken.request {
                Ok(request) => {
                    let command = with_time(request.command, request.asked_at);
                    incoming.push(Incoming { command, request: Some(taken.name) });
                }
                Err(reason) => {
                    tracing::warn!("refused a request: {reason}");
                    let answer = self.request_answer(RequestOutcome::Refused, reason);
                    self.desk.answer(vec![taken.name], &answer);
                }
            }
        }
        incoming
    }

    /// Answers the request that is being handled, or keeps it until its outcome is known.
    pub(super) fn reply(&mut self, reply: CommandReply) {
        let answer = match reply {
            CommandReply::Done(text) => self.request_answer(RequestOutcome::Done, text),
            CommandReply::Refused(reason) => self.request_answer(RequestOutcome::Refused, reason),
            CommandReply::When(awaited) => return self.desk.keep_current(awaited),
        };
        let current = self.desk.replace_current(None).into_iter().collect();
        self.desk.answer(current, &answer);
    }

    /// Answers the requests whose step is done.
    pub(super) fn answer_done_steps(&mut self) {
        let done = self.learner.step;
        let names = self.desk.take_open(|awaited| matches!(awaited, AwaitedEvent::Step(step) if step <= done));
        self.desk.answer(names, &self.request_answer(RequestOutcome::Done, format!("step {done} is done")));
    }

    /// Whether config edits of this boundary came through requests.
    pub(super) fn awaits_edits(&self) -> bool {
        self.desk.awaits(|awaited| matches!(awaited, AwaitedEvent::Edit(_)))
    }

    /// Answers the requests of this boundary's config edits. `refused` has the positions and reasons of those refused.
    pub(super) fn answer_edits(&mut self, refused: &[(usize, String)]) {
        for (edit, reason) in refused {
            let names = self.desk.take_open(|awaited| awaited == AwaitedEvent::Edit(*edit));
            self.desk.answer(names, &self.request_answer(RequestOutcome::Refused, reason.clone()));
        }
        let names = self.desk.take_open(|awaited| matches!(awaited, AwaitedEvent::Edit(_)));
        let text = format!("applies from step {} on", self.learner.step + 1);
        self.desk.answer(names, &self.request_answer(RequestOutcome::Done, text));
    }

    /// Answers the request for a playground answer that has ended.
    pub(super) fn answer_asked(&mut self, answer: &PlaygroundAnswer) {
        let names = self.desk.take_open(|awaited| awaited == AwaitedEvent::Answer(answer.number));
        let text = answer.end_reason.clone().unwrap_or_default();
        let reply = RequestAnswer {
            answer: Some(answer.clone()),
            ..self.request_answer(RequestOutcome::Done, format!("answered: {text}"))
        };
        self.desk.answer(names, &reply);
    }

    /// Answers all requests that are left when the run has ended: those for its end, and those that came too late.
    pub(super) fn answer_at_end(&mut self, result: &Result<RunSummary, TrainError>) {
        let late = match result {
            Ok(summary) => {
                let names = self.desk.take_open(|awaited| awaited == AwaitedEvent::End);
                self.desk.answer(names, &self.request_answer(RequestOutcome::Done, end_text(summary)));
                "the run has ended".to_owned()
            }
            Err(error) => format!("the run failed: {error}"),
        };
        let mut names = self.desk.take_rest();
        names.extend(self.deferred.drain(..).filter_map(|incoming| incoming.request));
        self.desk.answer(names, &self.request_answer(RequestOutcome::Refused, late));
    }

    fn request_answer(&self, outcome: RequestOutcome, text: String) -> RequestAnswer {
        RequestAnswer { outcome, step: Some(self.learner.step), text, answer: None }
    }
}

/// Sets the time of config edits, which is that of their request, but never in the future.
fn with_time(command: Command, asked_at: chrono::DateTime<chrono::Utc>) -> Command {
    match command {
        Command::SetKeys(set) => {
            let requested_at = std::time::SystemTime::from(asked_at.min(chrono::Utc::now()));
            Command::SetKeys(SetKeys { requested_at, ..set })
        }
        command => command,
    }
}

fn end_text(summary: &RunSummary) -> String {
    let checkpoint = match &summary.checkpoint {
        Some(path) => format!("checkpoint: {}", path.display()),
        None => "no checkpoint".to_owned(),
    };
    format!("ended after step {}; {checkpoint}", summary.steps)
}
