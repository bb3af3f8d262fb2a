//! The idea held to its properties: schedule, placement, passes, feedback and controls, the learner that runs them.

mod feedback;
mod learner;
mod passes;
mod placement;
mod schedule;
mod subject;
