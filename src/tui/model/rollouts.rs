//! Owns: the rollouts of a run's newest iterations, in groups.
//! Must not know: colours, how they are drawn, what is selected.
//! Invariant: the size is bounded for a run of any length and iterations of any size. A group is never torn, and the
//! newest iteration is always there.

use crate::schema::rollout_rows::{MAX_KEPT_ROLLOUTS, RolloutRow};
use std::collections::VecDeque;
use std::sync::Arc;

/// Most positions, and most bytes of each text, that are kept of a rollout: more than a user scrolls through.
const MAX_POSITIONS: usize = 16_384;
/// Most positions and bytes of texts in all kept rollouts together.
const MAX_SIZE: usize = 16 << 20;

/// The rollouts that were made at a step, by group.
#[derive(Clone, Debug)]
pub struct RolloutIteration {
    pub step: u64,
    rows: Vec<RolloutRow>,
}

impl RolloutIteration {
    /// Returns the groups in their order, each with its rollouts in the order they were made.
    pub fn groups(&self) -> Vec<&[RolloutRow]> {
        self.rows.chunk_by(|a, b| a.group == b.group).collect()
    }

    /// Adds rollouts. One that was there already is replaced.
    fn extend(&mut self, rows: Vec<RolloutRow>) {
        let place = |row: &RolloutRow| (row.group, row.rollout);
        for row in rows {
            let row = shortened(row);
            match self.rows.binary_search_by_key(&place(&row), place) {
                Ok(at) => self.rows[at] = row,
                Err(at) => self.rows.insert(at, row),
            }
        }
        while self.rows.len() > MAX_KEPT_ROLLOUTS || self.size() > MAX_SIZE {
            let last = self.rows.last().map(|row| row.group);
            if self.rows.first().map(|row| row.group) == last {
                return self.rows.truncate(MAX_KEPT_ROLLOUTS.min(MAX_SIZE / (4 * MAX_POSITIONS)));
            }
            self.rows.retain(|row| Some(row.group) != last);
        }
    }

    fn size(&self) -> usize {
        self.rows.iter().map(row_size).sum()
    }
}

fn row_size(row: &RolloutRow) -> usize {
    row.text.len() + row.prompt.len() + row.right_answer.len() + row.token_ids.len()
}

/// Cuts what is longer than the limit. Positions and text are cut apart, since a token may have any length.
fn shortened(mut row: RolloutRow) -> RolloutRow {
    for text in [&mut row.text, &mut row.prompt, &mut row.right_answer] {
        if text.len() > MAX_POSITIONS {
            text.truncate((0..=MAX_POSITIONS).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
            text.push('…');
        }
    }
    row.token_ids.truncate(MAX_POSITIONS);
    row.entropies.truncate(MAX_POSITIONS);
    row.log_probs.truncate(MAX_POSITIONS);
    row
}

/// The newest iterations of a run, oldest first. A copy shares them.
#[derive(Clone, Debug, Default)]
pub struct RolloutHistory {
    iterations: VecDeque<Arc<RolloutIteration>>,
    size: usize,
    count: usize,
}

impl RolloutHistory {
    /// Adds rollouts of one iteration: a new one, or more of the newest.
    pub fn add(&mut self, rows: Vec<RolloutRow>) {
        let Some(step) = rows.first().map(|row| row.step) else { return };
        let newest = self.iterations.pop_back_if(|newest| newest.step == step);
        self.count -= newest.as_ref().map_or(0, |newest| newest.rows.len());
        self.size -= newest.as_ref().map_or(0, |newest| newest.size());
        let mut iteration = newest.unwrap_or_else(|| Arc::new(RolloutIteration { step, rows: Vec::new() }));
        Arc::make_mut(&mut iteration).extend(rows);
        self.count += iteration.rows.len();
        self.size += iteration.size();
        self.iterations.push_back(iteration);
        while self.iterations.len() > 1 && (self.count > MAX_KEPT_ROLLOUTS || self.size > MAX_SIZE) {
            let oldest = self.iterations.pop_front();
            self.count -= oldest.as_ref().map_or(0, |oldest| oldest.rows.len());
            self.size -= oldest.as_ref().map_or(0, |oldest| oldest.size());
        }
    }

    /// Returns the iterations, oldest first.
    pub fn iterations(&self) -> impl DoubleEndedIterator<Item = &RolloutIteration> + ExactSizeIterator {
        self.iterations.iter().map(|iteration| &**iteration)
    }

    /// Returns the number of retained rollouts.
    #[cfg(test)]
    pub fn retained_rollouts(&self) -> usize {
        self.count
    }
}

/// Returns the mean reward of a group.
pub fn mean_reward(group: &[RolloutRow]) -> f64 {
    group.iter().map(|row| row.reward).sum::<f64>() / group.len().max(1) as f64
}

/// Returns how many of a group have the right answer.
pub fn right_count(group: &[RolloutRow]) -> usize {
    group.iter().filter(|row| row.exact > 0.5).count()
}

/// Whether all rewards of a group are equal, so that it teaches nothing.
pub fn has_equal_rewards(group: &[RolloutRow]) -> bool {
    group.windows(2).all(|pair| pair[0].reward == pair[1].reward)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(step: u64, group: usize, rollout: usize, text: &str) -> RolloutRow {
        RolloutRow { step, group, rollout, text: text.into(), ..RolloutRow::default() }
    }

    #[test]
    fn rollouts_of_one_step_are_one_iteration_in_order() {
        let mut history = RolloutHistory::default();
        history.add(vec![row(5, 0, 0, "a"), row(5, 0, 1, "b")]);
        history.add(vec![row(5, 1, 1, "d"), row(5, 1, 0, "c"), row(5, 0, 1, "again")]);
        history.add(vec![row(9, 0, 0, "e")]);
        history.add(Vec::new());
        let steps: Vec<u64> = history.iterations().map(|iteration| iteration.step).collect();
        assert_eq!(steps, [5, 9]);
        let first = history.iterations().next().unwrap();
        let texts: Vec<Vec<&str>> =
            first.groups().iter().map(|group| group.iter().map(|row| row.text.as_str()).collect()).collect();
        assert_eq!(texts, [["a", "again"], ["c", "d"]]);
        assert_eq!(history.retained_rollouts(), 5);
    }

    #[test]
    fn the_newest_iterations_are_kept_up_to_a_bound() {
        let mut history = RolloutHistory::default();
        for step in 0..500 {
            history.add((0..64).map(|index| row(step, index / 8, index % 8, "x")).collect());
        }
        assert_eq!(history.retained_rollouts(), MAX_KEPT_ROLLOUTS);
        assert_eq!(history.iterations().next_back().map(|newest| newest.step), Some(499));
        let long = "é".repeat(MAX_POSITIONS);
        for step in 500..2000 {
            history.add(vec![row(step, 0, 0, &long)]);
        }
        assert!(history.size <= MAX_SIZE && history.iterations().len() > 100, "{}", history.size);
        let newest = history.iterations().next_back().unwrap();
        assert!(newest.rows[0].text.len() <= MAX_POSITIONS + 3 && newest.rows[0].text.ends_with("é…"));
    }

    #[test]
    fn a_huge_iteration_loses_whole_groups_and_a_huge_group_its_last_rollouts() {
        let mut history = RolloutHistory::default();
        history.add((0..20_000).map(|index| row(1, index / 3000, index % 3000, "x")).collect());
        assert_eq!(history.retained_rollouts(), 6000);
        history.add((0..20_000).map(|index| row(2, 0, index, "x")).collect());
        assert!((1..=MAX_KEPT_ROLLOUTS).contains(&history.retained_rollouts()));
    }

    #[test]
    fn a_group_is_summed_up() {
        let of = |rewards: [f64; 2]| rewards.map(|reward| RolloutRow { reward, exact: reward, ..row(1, 0, 0, "") });
        assert_eq!((mean_reward(&of([1.0, 0.0])), right_count(&of([1.0, 0.0]))), (0.5, 1));
        assert!(has_equal_rewards(&of([1.0, 1.0])) && !has_equal_rewards(&of([1.0, 0.0])));
    }
}
