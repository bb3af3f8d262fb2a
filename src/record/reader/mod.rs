//! Owns: reading a run folder as the events that its trainer emitted, also while the run continues.
//! Must not know: screens, trainers.
//! Invariant: reading never changes the folder; a command leaves a request or, if no trainer is there, writes the run's
//! config file.

mod config_writer;
mod event_fold;
mod open_request;
mod requester;
mod run_reader;
mod step_follower;
mod tail;

pub use run_reader::{current_events, follow_run};
pub use step_follower::{FollowedSteps, StepFollower};
