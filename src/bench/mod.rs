//! Owns: timing and profiling of training steps without a run.
//! Must not know: run folders, screens.
//! Invariant: a timed step is the step that a run makes.

pub mod estimate;
pub mod profile;
pub mod steps;
