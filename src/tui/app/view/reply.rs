//! Owns: the reply to what was just typed or pressed, and which event of the trainer is one.
//! Must not know: how a reply is drawn, how long requests take.
//! Invariant: an event is a reply only if a request waits for one: records of the past never reply.

use super::ViewState;
use crate::schema::protocol::{Alert, AlertTopic, Command, ConfigUpdate, Event};
use crate::schema::rows::ChangeOutcome;
use crate::tui::panels::changes;
use crate::tui::text;

/// Whether the request was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyKind {
    Done,
    /// It was not, or only in part; the text says why.
    Refused,
}

/// What can be the reply to the last request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AwaitedReply {
    #[default]
    None,
    /// A change of the config or a note, or why there is none.
    Change,
    /// Why it is refused; nothing is said if it is done.
    Refusal,
}

/// The reply to the last key or command, shown above the key hints until the next key.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub kind: ReplyKind,
    pub text: String,
}

impl Reply {
    pub fn done(text: impl Into<String>) -> Self {
        Self { kind: ReplyKind::Done, text: text.into() }
    }

    pub fn refused(text: impl Into<String>) -> Self {
        Self { kind: ReplyKind::Refused, text: text.into() }
    }
}

impl ViewState {
    /// Shows why a request is refused.
    pub fn refuse(&mut self, text: impl Into<String>) {
        self.reply = Some(Reply::refused(text));
    }

    /// Notes that `command` was sent: an event may be its reply.
    pub fn await_reply(&mut self, command: &Command) {
        match command {
            Command::SetKeys(_) | Command::Note(_) => self.awaited_reply = AwaitedReply::Change,
            Command::Save => {
                self.awaited_reply = AwaitedReply::Refusal;
                self.reply = Some(Reply::done("a checkpoint is written after this step"));
            }
            _ => self.awaited_reply = AwaitedReply::Refusal,
        }
    }

    /// Shows `event` as a reply, if one is awaited and it is one.
    pub fn observe_event(&mut self, event: &Event) {
        let reply = match (event, self.awaited_reply) {
            (_, AwaitedReply::None) => None,
            (Event::Alert(Alert { topic: AlertTopic::DashboardEdit, text: Some(text), .. }), _) => {
                Some(Reply::refused(text.clone()))
            }
            (Event::ConfigChanged(update), AwaitedReply::Change) => change_reply(update),
            // Of a watched run it says that the request is done; the change itself is read from the record.
            (Event::Alert(Alert { topic: AlertTopic::DashboardEdit, text: None, .. }), AwaitedReply::Change)
                if !self.watching =>
            {
                Some(Reply::done("unchanged: it has that value already"))
            }
            _ => None,
        };
        if reply.is_some() {
            (self.reply, self.awaited_reply) = (reply, AwaitedReply::None);
        }
    }
}

/// Returns the reply that a change is: its keys with their values, or why it was refused.
fn change_reply(update: &ConfigUpdate) -> Option<Reply> {
    let first = update.rows.first()?;
    let step = text::with_separators(first.step);
    Some(match first.outcome {
        ChangeOutcome::Refused => Reply::refused(first.reason.clone().unwrap_or_default()),
        ChangeOutcome::Noted => Reply::done(format!("noted at step {step}")),
        ChangeOutcome::Applied => {
            let changes: Vec<String> = update.rows.iter().map(changes::change_text).collect();
            Reply::done(format!("{} from step {step} on; u undoes it", changes.join(", ")))
        }
    })
}
