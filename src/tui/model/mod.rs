//! Owns: what the dashboard knows of a run: a fold of the trainer's events.
//! Must not know: keys, drawing, the terminal.
//! Invariant: memory is bounded, however long the run.

pub mod bounded_list;
pub mod config_history;
pub mod cost;
pub mod histograms;
pub mod history;
pub mod layers;
pub mod metrics;
pub mod pace;
pub mod rollouts;
pub mod state;
