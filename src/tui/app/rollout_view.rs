//! Owns: `RolloutView`: which iteration, group and rollout the user looks at, and in which order.
//! Must not know: how rollouts are laid out or coloured.
//! Invariant: if no iteration is chosen, the newest is shown; a selection that no longer exists is the last that does.

use super::actions::{Direction, Motion};
use crate::schema::rollout_rows::RolloutRow;
use crate::tui::model::rollouts::RolloutIteration;
use crate::tui::model::state::RunModel;

/// The order of the rollouts of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RolloutOrder {
    /// The highest reward first.
    #[default]
    Reward,
    /// As they were made.
    Made,
}

impl RolloutOrder {
    pub fn toggled(self) -> Self {
        if self == RolloutOrder::Reward { RolloutOrder::Made } else { RolloutOrder::Reward }
    }

    /// Returns the rollouts of a group in this order. Rollouts with equal rewards stay as they were made.
    pub fn sort(self, group: &[RolloutRow]) -> Vec<&RolloutRow> {
        let mut rows: Vec<&RolloutRow> = group.iter().collect();
        if self == RolloutOrder::Reward {
            rows.sort_by(|a, b| b.reward.total_cmp(&a.reward));
        }
        rows
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct RolloutView {
    /// The step of the iteration; none for the newest.
    pub step: Option<u64>,
    /// The selected group, counted from 0.
    pub group: usize,
    /// The selected rollout: its place in the order.
    pub rollout: usize,
    /// Lines of the selected rollout's text that are scrolled past.
    pub text_offset: usize,
    pub order: RolloutOrder,
}

/// The selected group, and the selected rollout within it.
pub struct SelectedGroup<'a> {
    pub group_index: usize,
    pub groups: Vec<&'a [RolloutRow]>,
    /// Its rollouts in the order.
    pub rollouts: Vec<&'a RolloutRow>,
    pub rollout_index: usize,
}

impl SelectedGroup<'_> {
    pub fn rollout(&self) -> &RolloutRow {
        self.rollouts[self.rollout_index]
    }
}

impl RolloutView {
    /// Returns the iteration to display.
    pub fn iteration<'a>(&self, state: &'a RunModel) -> Option<&'a RolloutIteration> {
        let mut iterations = state.rollouts.iterations();
        let newest = iterations.next_back();
        let held = self.step.and_then(|step| state.rollouts.iterations().find(|iteration| iteration.step >= step));
        held.or(newest)
    }

    /// Returns the selected group of the iteration; none if there are no rollouts.
    pub fn selected<'a>(&self, state: &'a RunModel) -> Option<SelectedGroup<'a>> {
        let groups = self.iteration(state)?.groups();
        let group_index = self.group.min(groups.len().checked_sub(1)?);
        let rollouts = self.order.sort(groups[group_index]);
        let rollout_index = self.rollout.min(rollouts.len().checked_sub(1)?);
        Some(SelectedGroup { group_index, groups, rollouts, rollout_index })
    }

    /// Selects the next older or newer iteration.
    pub fn select_iteration(&mut self, direction: Direction, state: &RunModel) {
        let shown = self.iteration(state).map(|iteration| iteration.step);
        let mut steps = state.rollouts.iterations().map(|iteration| iteration.step);
        let newest = state.rollouts.iterations().next_back().map(|iteration| iteration.step);
        let to = match direction {
            Direction::Backward => steps.rfind(|step| Some(*step) < shown).or(shown),
            Direction::Forward => steps.find(|step| Some(*step) > shown),
        };
        self.step = to.filter(|to| Some(*to) != newest);
        self.text_offset = 0;
    }

    /// Selects the iteration that is nearest to `step`.
    pub fn show_step(&mut self, step: u64, state: &RunModel) {
        let steps = state.rollouts.iterations().map(|iteration| iteration.step);
        self.step = steps.min_by_key(|found| found.abs_diff(step));
        self.text_offset = 0;
    }

    /// Changes the order. The same rollout stays selected.
    pub fn toggle_order(&mut self, state: &RunModel) {
        let place = self.selected(state).map(|selected| selected.rollout().rollout);
        self.order = self.order.toggled();
        let Some(selected) = self.selected(state) else { return };
        let found = selected.rollouts.iter().position(|row| Some(row.rollout) == place);
        self.rollout = found.unwrap_or(self.rollout);
    }

    /// Moves to another rollout, over the ends of the group too, or to another group; or scrolls the text by `page`
    /// lines, up to `last`.
    pub fn apply_motion(&mut self, motion: Motion, state: &RunModel, page: usize, last: usize) {
        let Some(selected) = self.selected(state) else { return };
        let (group, rollout) = (selected.group_index, selected.rollout_index);
        let last_group = selected.groups.len() - 1;
        let last_of = |group: usize| selected.groups[group].len() - 1;
        let text_offset = match motion {
            Motion::PageUp => self.text_offset.saturating_sub(page.max(1)),
            Motion::PageDown => (self.text_offset + page.max(1)).min(last),
            _ => 0,
        };
        (self.group, self.rollout) = match motion {
            Motion::Up if rollout > 0 => (group, rollout - 1),
            Motion::Up if group > 0 => (group - 1, last_of(group - 1)),
            Motion::Down if rollout < last_of(group) => (group, rollout + 1),
            Motion::Down if group < last_group => (group + 1, 0),
            Motion::Left => (group.saturating_sub(1), 0),
            Motion::Right => ((group + 1).min(last_group), 0),
            Motion::Home => (0, 0),
            Motion::End => (last_group, last_of(last_group)),
            Motion::Up | Motion::Down | Motion::PageUp | Motion::PageDown => (group, rollout),
        };
        self.text_offset = text_offset;
    }
}
