//! Owns: reading a run folder as the events that its trainer emitted, also while the run continues.
//! Must not know: screens, trainers.
//! Invariant: reading never changes the folder; a command writes only the run's config file.

mod config_writer;
mod run_reader;
mod tail;

pub use run_reader::{current_events, follow_run};
