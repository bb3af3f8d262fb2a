//! Owns: which stage an update has, and which stage each of its rows takes.
//! Must not know: rows of tokens, tensors.
//! Invariant: a stage depends only on the settings and the number of updates or epochs done; what is drawn for a row depends
//! only on the seed, the update and the row.

use super::rows::RowStage;
use crate::config::{CurriculumMethod, Objective};
use crate::rng::{RngKey, RngPurpose};

/// Returns the stage of the update after `updates_done`, which begins in `epoch`: at most `max_latent_stage + 1`. Methods
/// without stages have the one that their rows are those of: all text, or none.
pub fn stage_at(objective: &Objective, updates_done: u64, epoch: u64) -> usize {
    match objective.method {
        CurriculumMethod::Cot => return 0,
        CurriculumMethod::NoCot | CurriculumMethod::NoCurriculum => return objective.max_latent_stage + 1,
        _ => {}
    }
    let passed = match objective.steps_per_stage {
        0 => epoch / objective.epochs_per_stage.max(1),
        steps => updates_done / steps,
    };
    let last = objective.max_latent_stage + 1;
    objective.first_stage.saturating_add(usize::try_from(passed).unwrap_or(usize::MAX)).min(last)
}

/// Draws the stage of a row whose question has `steps` steps. `row` counts over all batches of the update.
pub fn row_stage(objective: &Objective, stage: usize, steps: usize, key: RngKey, row: usize) -> RowStage {
    let mut stream = key.stream(RngPurpose::RowStage, row);
    let mixed = objective.uniform_prob > 0.0 && stream.uniform() < objective.uniform_prob;
    let stage = if mixed { stream.uniform_below(steps + 1) } else { stage };
    let choice = match objective.method {
        CurriculumMethod::Frontier => stream.uniform_below(usize::MAX),
        _ => 0,
    };
    RowStage { stage, extra: 0, choice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_updates_or_epochs_up_to_the_last() {
        let by_steps = Objective { steps_per_stage: 10, max_latent_stage: 2, ..Default::default() };
        let stages = [0, 9, 10, 25, 30, 1000].map(|done| stage_at(&by_steps, done, 0));
        assert_eq!(stages, [0, 0, 1, 2, 3, 3]);
        let by_epochs = Objective { epochs_per_stage: 5, max_latent_stage: 6, first_stage: 1, ..Default::default() };
        let stages = [0, 4, 5, 29, 30, u64::MAX].map(|epoch| stage_at(&by_epochs, 0, epoch));
        assert_eq!(stages, [1, 1, 2, 6, 7, 7]);
    }

    #[test]
    fn a_share_of_the_rows_takes_any_stage_of_their_question() {
        let objective = Objective { uniform_prob: 0.5, ..Default::default() };
        let key = RngKey { seed: 1, step: 2, ..RngKey::default() };
        let drawn: Vec<usize> = (0..4000).map(|row| row_stage(&objective, 7, 3, key, row).stage).collect();
        let share = |stage| drawn.iter().filter(|drawn| **drawn == stage).count() as f64 / 4000.0;
        assert!((share(7) - 0.5).abs() < 0.03);
        assert!((0..=3).all(|stage| (share(stage) - 0.125).abs() < 0.02));
        let never = Objective::default();
        assert!((0..100).all(|row| row_stage(&never, 4, 3, key, row).stage == 4));
    }
}
