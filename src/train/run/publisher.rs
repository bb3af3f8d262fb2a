//! Owns: sending events from the trainer to a screen.
//! Must not know: which screen, if any.
//! Invariant: the trainer never waits for a screen. Dropped frames are counted; facts are queued until they fit.

use super::hook::Hook;
use super::watchdog::Watchdog;
use crate::schema::protocol::{Event, LogLine};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// How long the last facts wait for a slow screen at the end of the run.
const LAST_WAIT: Duration = Duration::from_secs(5);

pub struct Publisher {
    events: SyncSender<Event>,
    dropped: Arc<AtomicU64>,
    log_lines: Receiver<LogLine>,
    waiting: VecDeque<Event>,
    hook: Option<Hook>,
    /// Tells of a step that does not end: then the trainer cannot.
    pub(super) watchdog: Watchdog,
}

impl Publisher {
    /// Creates a publisher. Log `lines` are facts and keep their order among the other events.
    pub fn new(events: SyncSender<Event>, dropped: Arc<AtomicU64>, log_lines: Receiver<LogLine>) -> Self {
        let watchdog = Watchdog::start(events.clone());
        Self { events, dropped, log_lines, waiting: VecDeque::new(), hook: None, watchdog }
    }

    /// Sets the command that is told of alerts and of the end; an empty one: none.
    pub fn set_hook(&mut self, command: &str, run: &Path) {
        self.hook = Hook::new(command, run.display().to_string());
        self.watchdog.set_hook(self.hook.clone());
    }

    /// Sends an event that only refreshes a view. If the channel is full, it is dropped and counted.
    pub fn send_frame(&mut self, event: Event) {
        self.send_waiting();
        let full = !self.waiting.is_empty() || matches!(self.events.try_send(event), Err(TrySendError::Full(_)));
        if full {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends an event that must not be lost. It is queued until the channel has space.
    pub fn send_fact(&mut self, event: Event) {
        self.queue_log_lines();
        if let Some(hook) = &self.hook {
            hook.call(&event);
        }
        self.waiting.push_back(event);
        self.send_waiting();
    }

    fn queue_log_lines(&mut self) {
        self.waiting.extend(self.log_lines.try_iter().map(Event::Log));
    }

    fn send_waiting(&mut self) {
        if self.waiting.is_empty() {
            self.queue_log_lines();
        }
        while let Some(event) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                self.waiting.push_front(event);
                return;
            }
        }
    }

    pub fn close(mut self) {
        let deadline = Instant::now() + LAST_WAIT;
        self.send_waiting();
        while !self.waiting.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            self.send_waiting();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::protocol::RunPhase;
    use std::sync::mpsc::{channel, sync_channel};

    #[test]
    fn a_full_channel_drops_frames_and_keeps_facts() {
        let (sender, receiver) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut publisher = Publisher::new(sender, dropped.clone(), channel().1);
        publisher.send_frame(Event::Phase(RunPhase::Train));
        publisher.send_fact(Event::Failed("a".into()));
        publisher.send_frame(Event::Phase(RunPhase::Eval));
        publisher.send_fact(Event::Failed("b".into()));
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        let reader = std::thread::spawn(move || receiver.iter().count());
        publisher.close();
        assert_eq!(reader.join().unwrap(), 3);
    }
}
