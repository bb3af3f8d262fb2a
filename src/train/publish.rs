//! Owns: the way from the trainer to a screen.
//! Must not know: which screen, if any.
//! Invariant: the trainer never waits for it. Frames are dropped and counted; facts are kept until there is room.

use crate::message::{Event, LogLine};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// How long the last facts may wait for a slow screen when the run is over.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Sends events without ever waiting.
pub(super) struct Publisher {
    events: SyncSender<Event>,
    dropped: Arc<AtomicU64>,
    lines: Receiver<LogLine>,
    waiting: VecDeque<Event>,
}

impl Publisher {
    /// Log `lines` are facts, sent on in their place among the other events.
    pub fn new(events: SyncSender<Event>, dropped: Arc<AtomicU64>, lines: Receiver<LogLine>) -> Self {
        Self { events, dropped, lines, waiting: VecDeque::new() }
    }

    /// Something to look at: dropped and counted where the screen is slow.
    pub fn frame(&mut self, event: Event) {
        self.push_waiting();
        let full =
            !self.waiting.is_empty() || matches!(self.events.try_send(event), Err(TrySendError::Full(_)));
        if full {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Something to know: kept until the screen takes it.
    pub fn fact(&mut self, event: Event) {
        self.take_lines();
        self.waiting.push_back(event);
        self.push_waiting();
    }

    fn take_lines(&mut self) {
        self.waiting.extend(self.lines.try_iter().map(Event::Log));
    }

    fn push_waiting(&mut self) {
        if self.waiting.is_empty() {
            self.take_lines();
        }
        while let Some(event) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
                self.waiting.push_front(event);
                return;
            }
        }
    }

    /// Gives the last facts a moment to be taken.
    pub fn close(mut self) {
        let until = Instant::now() + LAST_WAIT;
        self.push_waiting();
        while !self.waiting.is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
            self.push_waiting();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Phase;
    use std::sync::mpsc::{channel, sync_channel};

    #[test]
    fn a_full_channel_drops_frames_and_keeps_facts() {
        let (sender, receiver) = sync_channel(1);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut publisher = Publisher::new(sender, dropped.clone(), channel().1);
        publisher.frame(Event::Phase(Phase::Train));
        publisher.fact(Event::Failed("a".into()));
        publisher.frame(Event::Phase(Phase::Eval));
        publisher.fact(Event::Failed("b".into()));
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        let reader = std::thread::spawn(move || receiver.iter().count());
        publisher.close();
        assert_eq!(reader.join().unwrap(), 3);
    }
}
