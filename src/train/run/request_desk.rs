//! Owns: which requests of the run folder are being carried out, and what each of them waits for.
//! Must not know: the run, what a command does, the files of a request.
//! Invariant: a request that was taken stays here until it is answered.

use crate::record::requests::{RequestInbox, RequestName, TakenRequest};
use crate::record::run_folder::RunFolder;
use crate::schema::protocol::Command;
use crate::schema::requests::RequestAnswer;

/// A command, and the request that brought it if it came through the run folder.
#[derive(Debug)]
pub(in crate::train) struct Incoming {
    pub command: Command,
    pub request: Option<RequestName>,
}

impl From<Command> for Incoming {
    fn from(command: Command) -> Self {
        Self { command, request: None }
    }
}

/// What a command has led to.
#[derive(Debug)]
pub(super) enum CommandReply {
    Done(String),
    Refused(String),
    /// The outcome is not known yet.
    When(AwaitedEvent),
}

/// What has to happen before a request can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AwaitedEvent {
    /// So many updates are done.
    Step(u64),
    /// The playground answer of this number ends.
    Answer(u64),
    /// Config edits are decided. The position of the edit among those of this boundary.
    Edit(usize),
    /// The run ends.
    End,
}

/// The requests of a run that are being carried out.
#[derive(Debug)]
pub(in crate::train) struct RequestDesk {
    inbox: RequestInbox,
    /// The request whose command is being handled.
    current: Option<RequestName>,
    open: Vec<(RequestName, AwaitedEvent)>,
}

impl RequestDesk {
    pub fn new(folder: &RunFolder) -> Self {
        Self { inbox: RequestInbox::new(folder), current: None, open: Vec::new() }
    }

    /// Sets whose command is handled from now on, until its reply. Returns the one before.
    pub(super) fn replace_current(&mut self, request: Option<RequestName>) -> Option<RequestName> {
        std::mem::replace(&mut self.current, request)
    }

    /// Takes the requests that wait, as [`RequestInbox::take_new`] does.
    pub(super) fn take_new(&mut self) -> Vec<TakenRequest> {
        self.inbox.take_new()
    }

    /// Keeps the request that is being handled until `awaited` has happened.
    pub(super) fn keep_current(&mut self, awaited: AwaitedEvent) {
        let current = self.current.take();
        self.open.extend(current.map(|name| (name, awaited)));
    }

    /// Whether a request waits for what `is_awaited` says.
    pub(super) fn awaits(&self, is_awaited: impl Fn(AwaitedEvent) -> bool) -> bool {
        self.open.iter().any(|(_, awaited)| is_awaited(*awaited))
    }

    /// Removes and returns all requests: the open ones, the current one, and those that wait in the folder.
    pub(super) fn take_rest(&mut self) -> Vec<RequestName> {
        let mut names = self.take_open(|_| true);
        names.extend(self.current.take());
        names.extend(self.inbox.take_all().into_iter().map(|taken| taken.name));
        names
    }

    /// Removes and returns the open requests that wait for what `is_awaited` says.
    pub(super) fn take_open(&mut self, is_awaited: impl Fn(AwaitedEvent) -> bool) -> Vec<RequestName> {
        let (taken, open) = std::mem::take(&mut self.open).into_iter().partition(|(_, awaited)| is_awaited(*awaited));
        self.open = open;
        let taken: Vec<(RequestName, AwaitedEvent)> = taken;
        taken.into_iter().map(|(name, _)| name).collect()
    }

    pub(super) fn answer(&self, names: Vec<RequestName>, answer: &RequestAnswer) {
        names.iter().for_each(|name| self.inbox.answer_or_warn(name, answer));
    }
}
