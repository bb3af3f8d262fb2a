//! Owns: the trainer's thread: its start, its channels, and the handling of a panic in it.
//! Must not know: what a run does.
//! Invariant: the last event of a run is `Finished` or `Failed`, whatever happened.

use super::publisher::Publisher;
use super::training_loop::TrainingRun;
use crate::ops::threads;
use crate::record::log::RunLog;
use crate::schema::protocol::{Command, Event};
use crate::train::{StartMode, TrainerOptions};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use tracing_subscriber::layer::SubscriberExt;

/// Capacity of the event channel. When it is full, frames are dropped.
const EVENT_CAPACITY: usize = 1024;
/// Capacity of the command channel, which is read at step boundaries.
const COMMAND_CAPACITY: usize = 64;

pub struct Trainer {
    pub events: Receiver<Event>,
    pub commands: SyncSender<Command>,
    /// Number of frames dropped because the receiver was slow.
    pub dropped_frames: Arc<AtomicU64>,
    /// Whether the run has no folder yet: nothing is lost if the process ends.
    pub preparing: Arc<AtomicBool>,
    /// The trainer's thread, which returns the last event.
    pub thread: JoinHandle<Event>,
}

/// Makes the current step end early and uncounted. The process is to end soon: there is no way back.
pub fn cancel_step() {
    threads::cancel_operations();
}

/// Starts a run on its own thread.
pub fn spawn(mode: StartMode, options: TrainerOptions) -> std::io::Result<Trainer> {
    let (events_in, events) = sync_channel(EVENT_CAPACITY);
    let (commands, commands_out) = sync_channel(COMMAND_CAPACITY);
    let dropped = Arc::new(AtomicU64::new(0));
    let (counter, preparing) = (dropped.clone(), options.preparing.clone());
    let thread = std::thread::Builder::new().name("trainer".into()).spawn(move || {
        let (line_in, lines) = channel();
        let mut publisher = Publisher::new(events_in, counter, lines);
        // A line that cannot be sent is still in the log file.
        let log = RunLog::new(move |line| drop(line_in.send(line)));
        let subscriber = tracing_subscriber::registry().with(log.clone());
        let last = tracing::subscriber::with_default(subscriber, || {
            run_trainer(mode, options, &log, &commands_out, &mut publisher)
        });
        publisher.send_fact(last.clone());
        publisher.close();
        last
    })?;
    Ok(Trainer { events, commands, dropped_frames: dropped, preparing, thread })
}

/// Sets up a run and trains it. Returns the run's last event; a panic becomes `Failed`.
fn run_trainer(
    mode: StartMode,
    options: TrainerOptions,
    log: &RunLog,
    commands: &Receiver<Command>,
    publisher: &mut Publisher,
) -> Event {
    threads::enter_pool(0);
    let run = catch_unwind(AssertUnwindSafe(|| TrainingRun::set_up(mode, options, log, commands, publisher)?.train()));
    match run {
        Ok(Ok(summary)) => Event::Finished(Box::new(summary)),
        Ok(Err(error)) => {
            tracing::error!("{error}");
            Event::Failed(error.to_string())
        }
        Err(panic) => {
            let text = format!("the trainer panicked: {}", panic_message(&*panic));
            tracing::error!("{text}");
            Event::Failed(text)
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
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
    fn a_panic_keeps_its_message() {
        for (result, expected) in [
            (std::panic::catch_unwind(|| panic!("of {} parts", 2)), "of 2 parts"),
            (std::panic::catch_unwind(|| panic!("plain")), "plain"),
            (std::panic::catch_unwind(|| std::panic::panic_any(7)), "without a message"),
        ] {
            assert_eq!(panic_message(&*result.unwrap_err()), expected);
        }
    }
}
