//! Owns: commands to a run of another process: as requests to its trainer, or as config edits if there is none.
//! Must not know: how the run is followed, what a command does.
//! Invariant: what becomes of a request is said, also if nobody answers.

use super::open_request::OpenRequest;
use super::run_reader::RunReader;
use crate::record::requests::SentRequest;
use crate::schema::protocol::{Alert, AlertTopic, Command, Event};
use crate::schema::requests::{RequestAnswer, RequestOutcome};
use std::time::{Duration, Instant};

/// Time without an answer after which that is said.
const PATIENCE: Duration = Duration::from_secs(10);

impl RunReader {
    /// Carries out a command: leaves a request to the run's trainer. Without one, config keys are written into the config
    /// file; all else is refused with an alert.
    pub fn handle_command(&mut self, command: Command) {
        let text = match &command {
            _ if self.folder.is_locked() => return self.send_request(command),
            Command::SetKeys(set) => self.set_keys(set),
            command => Some(format!("`{}` needs a running trainer: r or `:resume` resumes the run", command.name())),
        };
        self.emit_outcome(text);
    }

    fn send_request(&mut self, command: Command) {
        match SentRequest::send(&self.folder, &command) {
            Ok(sent) => self.requests.push(OpenRequest { sent, command, since: Instant::now(), late: false }),
            Err(error) => self.emit_outcome(Some(error.to_string())),
        }
    }

    fn emit_outcome(&mut self, text: Option<String>) {
        self.emit(Event::Alert(Alert::now(AlertTopic::DashboardEdit, text)));
    }

    /// Reads the answers to requests, and says if one was refused or is late.
    pub(super) fn check_requests(&mut self) {
        for mut request in std::mem::take(&mut self.requests) {
            let name = request.command.name();
            if let Some(answer) = request.sent.take_answer() {
                self.handle_answer(&request.command, answer);
            } else if !self.folder.is_locked() {
                // The answer may have been written before the lock was released.
                match request.sent.take_answer() {
                    Some(answer) => self.handle_answer(&request.command, answer),
                    None => {
                        request.sent.withdraw();
                        self.emit_outcome(Some(format!("`{name}` was not answered: the run's process has ended")));
                    }
                }
            } else {
                if !request.late && request.since.elapsed() > PATIENCE {
                    request.late = true;
                    let text = format!(
                        "`{name}` is not answered yet: it waits for the end of a step. If no step ends, look at the log; \
                         a trainer of an older version answers none"
                    );
                    self.emit_outcome(Some(text));
                }
                self.requests.push(request);
            }
        }
    }

    fn handle_answer(&mut self, command: &Command, answer: RequestAnswer) {
        let done = answer.outcome == RequestOutcome::Done;
        if let Command::SetPaused(hold) = command
            && done
        {
            // The table of events says it, too, but later.
            self.pause_recorded = *hold;
        }
        let name = command.name();
        self.emit_outcome((!done).then(|| format!("`{name}` was not done: {}", answer.text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::requests::RequestInbox;
    use crate::record::run_folder::RunFolder;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_command_is_a_request_while_a_trainer_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        std::fs::write(folder.config_file(), "").unwrap();
        let (sender, events) = sync_channel(99);
        let mut reader = RunReader::new(folder.clone(), sender);
        let outcome = || {
            events.try_iter().find_map(|event| match event {
                Event::Alert(alert) => Some(alert.text),
                _ => None,
            })
        };
        reader.handle_command(Command::StepOnce);
        assert!(outcome().unwrap().unwrap().contains("resume"), "nobody could take it");
        let lock = folder.lock().unwrap();
        let mut inbox = RequestInbox::new(&folder);
        for (answered, text) in
            [(RequestOutcome::Done, None), (RequestOutcome::Refused, Some("`checkpoint` was not done: no"))]
        {
            reader.handle_command(Command::Save);
            reader.check_requests();
            assert_eq!(outcome(), None, "no answer yet");
            let taken = inbox.take_all().remove(0);
            assert_eq!(taken.request.unwrap().command, Command::Save);
            let answer = RequestAnswer { outcome: answered, step: None, text: "no".into(), answer: None };
            inbox.answer_or_warn(&taken.name, &answer);
            reader.check_requests();
            assert_eq!(outcome().unwrap().as_deref(), text);
        }
        reader.handle_command(Command::Stop);
        drop(lock);
        reader.check_requests();
        assert!(outcome().unwrap().unwrap().contains("has ended"));
        assert!(reader.requests.is_empty() && inbox.take_all().is_empty(), "the request was taken back");
    }
}
