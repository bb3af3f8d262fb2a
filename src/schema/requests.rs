//! Owns: a request to the trainer of a run, and the answer to it, as the files in `requests/` hold them.
//! Must not know: files, who asks.
//! Invariant: the words of the files are those of the fields and variants; they never change.

use super::protocol::{Command, PlaygroundAnswer};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A command that another process left in the run folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// When it was asked.
    #[serde(default = "Utc::now")]
    pub asked_at: DateTime<Utc>,
    pub command: Command,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestOutcome {
    /// It was carried out.
    Done,
    /// It was not carried out.
    Refused,
    /// The process ended while it was carried out.
    Unknown,
}

/// The trainer's answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestAnswer {
    pub outcome: RequestOutcome,
    /// Updates done by then; none if no trainer was running.
    pub step: Option<u64>,
    /// What was done, or why not.
    pub text: String,
    /// What the model has written, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<PlaygroundAnswer>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::protocol::{PlaygroundRequest, SetKeys};

    #[test]
    fn commands_have_these_names_in_files() {
        let ask = PlaygroundRequest { prompt: "a".into(), policy: "never".into(), ..PlaygroundRequest::default() };
        for (command, json) in [
            (Command::SetPaused(true), r#"{"set_paused":true}"#),
            (Command::StepOnce, r#""step""#),
            (Command::SetKeys(SetKeys::single("optim.lr", "1e-4")), r#"{"set":{"values":[["optim.lr","1e-4"]]}}"#),
            (Command::Note("x".into()), r#"{"note":"x"}"#),
            (
                Command::Ask(Box::new(ask)),
                r#"{"ask":{"prompt":"a","policy":"never","temperature":0.0,"max_tokens":64,"checkpoint":null}}"#,
            ),
            (Command::Save, r#""checkpoint""#),
            (Command::Stop, r#""stop""#),
            (Command::StopWithoutCheckpoint, r#""stop_without_checkpoint""#),
        ] {
            assert_eq!(serde_json::to_string(&command).unwrap(), json);
            let read: Request = serde_json::from_str(&format!(r#"{{"command":{json}}}"#)).unwrap();
            assert_eq!(serde_json::to_string(&read.command).unwrap(), json);
        }
        assert!(serde_json::from_str::<Request>(r#"{"command":"stop","now":true}"#).is_err());
    }
}
