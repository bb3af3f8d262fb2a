//! Owns: what a run has done so far, as its checkpoints keep it.
//! Must not know: how a step is made, when a checkpoint is due.
//! Invariant: time, losses and the best checkpoint of a parent run do not count.

use super::run_plan::{Origin, RunPlan};
use crate::record::run_folder::RunFolder;
use crate::schema::metrics::LossSummary;
use crate::schema::protocol::BestCheckpoint;

/// What is done of a run, and kept in its checkpoints.
#[derive(Default)]
pub(in crate::train) struct RunProgress {
    pub tokens: u64,
    /// Floating-point operations of all updates; none if an older version began the run.
    pub flop: Option<f64>,
    /// Validations after step 0.
    pub validations: usize,
    pub pause_updates_at_validation: u64,
    /// Seconds that the run took before it was resumed.
    pub earlier_wall_s: f64,
    pub losses: LossSummary,
    pub best: Option<BestCheckpoint>,
}

impl RunProgress {
    /// Forgets the best checkpoint if `folder` lacks it: it was after the step that a run is rewound to, or removed when a
    /// better one was written that is damaged.
    pub fn with_best_in(mut self, folder: &RunFolder) -> Self {
        if let Some(best) = self.best.take_if(|best| !folder.checkpoint_steps().contains(&best.step)) {
            tracing::warn!(
                "the best checkpoint so far, of step {}, is gone: the best one is looked for anew",
                best.step
            );
        }
        self
    }

    /// Returns what the plan's checkpoint has done. Time and losses of a parent do not count.
    pub fn from_plan(plan: &RunPlan) -> Self {
        let Some(found) = plan.checkpoint.as_ref().filter(|_| !plan.reset.step) else {
            return Self { flop: Some(0.0), ..Self::default() };
        };
        let state = &found.state;
        let (earlier_wall_s, losses, best) = match plan.origin {
            Origin::Resume => (state.wall_s, state.losses.clone(), state.best.clone()),
            _ => (0.0, LossSummary::default(), None),
        };
        let (tokens, flop, validations) = (state.tokens, state.flop, state.validations);
        let pause_updates_at_validation = state.pause_updates.1;
        Self { tokens, flop, validations, pause_updates_at_validation, earlier_wall_s, losses, best }
    }
}
