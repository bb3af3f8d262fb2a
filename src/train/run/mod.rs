//! Owns: a run from its plan to its last checkpoint: start, loop, commands, checkpoints, resume.
//! Must not know: how a step is computed, screens.
//! Invariant: nothing in a run folder is changed before everything that could be refused has been checked.

pub mod checkpoint;
pub mod checkpointing;
pub mod commands;
pub mod history_backfill;
pub mod hold;
mod hook;
mod memory;
pub mod notes;
pub mod plan;
pub mod playground;
pub mod progress;
pub mod publisher;
pub mod recording;
mod request_desk;
mod requests;
pub mod resume;
pub mod resume_journal;
pub mod run_plan;
pub mod setup;
pub mod thread;
pub mod training_loop;
mod watchdog;
