//! Owns: the trainer's thread: its start, its channels, and what becomes of a panic in it.
//! Must not know: what a run does.
//! Invariant: the last event of a run is `Finished` or `Failed`, whatever happened.

use super::Begin;
use super::publish::Publisher;
use super::run::Run;
use crate::message::{Command, Event};
use crate::ops::threads;
use crate::record::log::RunLog;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use tracing_subscriber::layer::SubscriberExt;

/// Events that may wait for a screen before frames are dropped.
const EVENTS: usize = 1024;
/// Commands that may wait for the next step boundary.
const COMMANDS: usize = 64;

/// What the one who spawns a trainer wants to see beyond metrics.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// All that a screen shows: rows of tokens (looking at one costs the forward passes of `probe.passes` and a few more, of
    /// one row), what the machine does, and, where a run is gone on with, what was before.
    pub screen: bool,
}

/// A trainer at work, from outside.
pub struct Trainer {
    /// What it says.
    pub events: Receiver<Event>,
    /// What it is asked.
    pub commands: SyncSender<Command>,
    /// Frames dropped because nobody took them in time.
    pub dropped: Arc<AtomicU64>,
    /// Its thread, which ends with the last event.
    pub thread: JoinHandle<Event>,
}

/// Starts a run on a thread of its own.
pub fn spawn(begin: Begin, wants: Wants) -> std::io::Result<Trainer> {
    let (events_in, events) = sync_channel(EVENTS);
    let (commands, commands_out) = sync_channel(COMMANDS);
    let dropped = Arc::new(AtomicU64::new(0));
    let counter = dropped.clone();
    let thread = std::thread::Builder::new().name("trainer".into()).spawn(move || {
        let (line_in, lines) = channel();
        let mut out = Publisher::new(events_in, counter, lines);
        // A line without a listener is still in the file.
        let log = RunLog::new(move |line| drop(line_in.send(line)));
        let subscriber = tracing_subscriber::registry().with(log.clone());
        let last = tracing::subscriber::with_default(subscriber, || {
            work(begin, wants, &log, &commands_out, &mut out)
        });
        out.fact(last.clone());
        out.close();
        last
    })?;
    Ok(Trainer { events, commands, dropped, thread })
}

fn work(
    begin: Begin,
    wants: Wants,
    log: &RunLog,
    commands: &Receiver<Command>,
    out: &mut Publisher,
) -> Event {
    threads::join(0);
    let run = catch_unwind(AssertUnwindSafe(|| Run::prepare(begin, wants, log, commands, out)?.train()));
    match run {
        Ok(Ok(summary)) => Event::Finished(Box::new(summary)),
        Ok(Err(error)) => {
            tracing::error!("{error}");
            Event::Failed(error.to_string())
        }
        Err(panic) => {
            let text = format!("the trainer panicked: {}", words(&*panic));
            tracing::error!("{text}");
            Event::Failed(text)
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "without a message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panics_words_are_told() {
        for (told, wanted) in [
            (std::panic::catch_unwind(|| panic!("of {} parts", 2)), "of 2 parts"),
            (std::panic::catch_unwind(|| panic!("plain")), "plain"),
            (std::panic::catch_unwind(|| std::panic::panic_any(7)), "without a message"),
        ] {
            assert_eq!(words(&*told.unwrap_err()), wanted);
        }
    }
}
