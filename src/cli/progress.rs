//! Owns: signs of work in progress on a terminal: bars with a total, and spinners for work without one.
//! Must not know: what is done.
//! Invariant: nothing is drawn if standard error is no terminal, and nothing is left of it afterwards.

use super::terminal;
use crate::data::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(120);

/// Runs `work` with a progress bar that it updates through its argument, and clears the bar afterwards.
pub(super) fn with_progress_bar<T, E>(work: impl FnOnce(&mut dyn FnMut(Progress<'_>)) -> Result<T, E>) -> Result<T, E> {
    let bar = if terminal::moves_cursor() { ProgressBar::new(0) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}") {
        bar.set_style(style);
    }
    let result = work(&mut |progress: Progress<'_>| {
        bar.set_length(progress.total);
        bar.set_message(progress.label.to_owned());
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    result
}

/// A spinner with the time since it began. It is cleared when it is dropped.
pub(super) struct Spinner(ProgressBar);

impl Spinner {
    /// Starts a spinner that says what is being done, such as `answering 500 questions`.
    pub fn start(label: impl Into<String>) -> Self {
        let bar = if terminal::moves_cursor() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(label.into());
        bar.enable_steady_tick(TICK);
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
