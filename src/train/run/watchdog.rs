//! Owns: noticing that a step does not end, while the trainer cannot say so itself.
//! Must not know: what a step does, what a screen shows.
//! Invariant: only training steps are timed, not pauses, validations and checkpoints; each stall is told once.

use super::hook::Hook;
use crate::schema::pace::StepDurations;
use crate::schema::protocol::{Alert, AlertTopic, Event};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two looks at the trainer.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Watches the steps of a trainer on a thread of its own, which ends when this is dropped.
pub(in crate::train) struct Watchdog {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<WatchdogState>,
    ended: Condvar,
}

#[derive(Default)]
struct WatchdogState {
    durations: StepDurations,
    /// The step in progress, and when it began.
    current: Option<(u64, Instant)>,
    /// Whether the step in progress was reported.
    reported: bool,
    hook: Option<Hook>,
    ended: bool,
}

impl WatchdogState {
    /// Returns what to report of the step in progress at `now`, if it has stalled and that was not reported yet.
    fn next_report(&mut self, now: Instant) -> Option<String> {
        let (step, began) = self.current.filter(|_| !self.reported)?;
        let text = self.durations.stall_text(now.saturating_duration_since(began), step)?;
        self.reported = true;
        Some(text)
    }
}

impl Watchdog {
    /// Starts to watch. A stall is told to the screen behind `events` and to the hook.
    pub fn start(events: SyncSender<Event>) -> Self {
        let shared = Arc::new(Shared::default());
        let watched = shared.clone();
        let thread = std::thread::Builder::new().name("watchdog".into());
        if let Err(error) = thread.spawn(move || watched.run(&events)) {
            tracing::warn!("steps that do not end are not noticed: {error}");
        }
        Self { shared }
    }

    pub fn set_hook(&self, hook: Option<Hook>) {
        self.shared.lock().hook = hook;
    }

    pub fn begin_step(&self, step: u64) {
        let mut state = self.shared.lock();
        (state.current, state.reported) = (Some((step, Instant::now())), false);
    }

    /// Notes that the step in progress has ended. Returns how long it took if it was reported.
    pub fn end_step(&self) -> Option<Duration> {
        let mut state = self.shared.lock();
        let took = state.current.take()?.1.elapsed();
        state.durations.push(took);
        std::mem::take(&mut state.reported).then_some(took)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.ended.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, WatchdogState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, events: &SyncSender<Event>) {
        let mut state = self.lock();
        while !state.ended {
            state = match self.ended.wait_timeout(state, LOOK_INTERVAL) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
            let Some(text) = state.next_report(Instant::now()) else { continue };
            let event = Event::Alert(Alert::now(AlertTopic::Stalled, Some(text)));
            if let Some(hook) = &state.hook {
                hook.call(&event);
            }
            // A screen that is this slow shows it by itself.
            let _ = events.try_send(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_does_not_end_is_reported_once() {
        let mut state = WatchdogState::default();
        (0..5).for_each(|_| state.durations.push(Duration::from_secs(1)));
        let began = Instant::now();
        state.current = Some((8, began));
        assert_eq!(state.next_report(began + Duration::from_secs(59)), None);
        let text = state.next_report(began + Duration::from_secs(61)).unwrap();
        assert!(text.contains("step 8 does not end"), "{text}");
        assert_eq!(state.next_report(began + Duration::from_secs(99)), None);
        let watchdog = Watchdog { shared: Arc::new(Shared { state: Mutex::new(state), ended: Condvar::new() }) };
        assert!(watchdog.end_step().is_some());
        watchdog.begin_step(9);
        assert_eq!((watchdog.end_step(), watchdog.end_step()), (None, None));
        // Between steps nothing is timed.
        assert_eq!(watchdog.shared.lock().next_report(began + Duration::from_secs(9999)), None);
    }
}
