//! Tests the properties of recycling: schedule, placement, passes, feedback, controls, and the learner that runs them.

mod feedback;
mod fixtures;
mod learner;
mod passes;
mod placement;
mod schedule;
