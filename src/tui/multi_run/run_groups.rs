//! Owns: which runs of the dashboard of several runs form a group, and the letter and colour that a group keeps.
//! Must not know: series, how a group is drawn.
//! Invariant: a group keeps its slot while one of its runs is known; no two groups share a slot.

use crate::config::Config;
use crate::config::seed_groups::group_by_all_but_seed;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Runs whose configs differ in nothing but the seed.
#[derive(Clone, Debug, PartialEq)]
pub struct RunGroup {
    /// Place in the order of letters and colours.
    pub slot: usize,
    /// The keys in which groups differ, with the group's values.
    pub label: String,
    pub runs: Vec<PathBuf>,
}

impl RunGroup {
    /// Returns the group's letter: A to Z, then A1, B1 and so on.
    pub fn letter(&self) -> String {
        let letter = char::from(b'A' + (self.slot % 26) as u8);
        if self.slot < 26 { letter.to_string() } else { format!("{letter}{}", self.slot / 26) }
    }
}

/// The groups of all runs with a config.
#[derive(Clone, Debug, Default)]
pub struct RunGroups {
    groups: Vec<RunGroup>,
    slots: HashMap<PathBuf, usize>,
}

impl RunGroups {
    /// Groups `runs` anew. A group gets the lowest slot that one of its runs had, else the next free one.
    pub fn regroup(&mut self, runs: &[(&PathBuf, &Config)]) {
        let configs: Vec<Config> = runs.iter().map(|(_, config)| (*config).clone()).collect();
        let found = group_by_all_but_seed(&configs);
        let mut taken: Vec<usize> = Vec::new();
        let known = |member: &usize| self.slots.get(runs[*member].0).copied();
        let kept: Vec<Option<usize>> = found
            .iter()
            .map(|group| {
                let slot = group.members.iter().filter_map(known).filter(|slot| !taken.contains(slot)).min();
                taken.extend(slot);
                slot
            })
            .collect();
        let mut free = (0..).filter(|slot| !taken.contains(slot));
        let groups = found.into_iter().zip(kept).filter_map(|(group, kept)| {
            let members = group.members.iter().map(|member| runs[*member].0.clone());
            Some(RunGroup { slot: kept.or_else(|| free.next())?, label: group.label, runs: members.collect() })
        });
        self.groups = groups.collect();
        self.groups.sort_by_key(|group| group.slot);
        let slots = self.groups.iter().flat_map(|group| group.runs.iter().map(|run| (run.clone(), group.slot)));
        self.slots = slots.collect();
    }

    /// Returns the groups in the order of their letters.
    pub fn all(&self) -> &[RunGroup] {
        &self.groups
    }

    /// Returns the group of the run in `folder`; none if its config cannot be read.
    pub fn group_of(&self, folder: &Path) -> Option<&RunGroup> {
        let slot = self.slots.get(folder)?;
        self.groups.iter().find(|group| group.slot == *slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(every: u64, seed: u64) -> Config {
        let mut config = Config::default();
        (config.recycle.every, config.run.seed) = (every, seed);
        config
    }

    #[test]
    fn a_group_keeps_its_letter_when_runs_come_and_go() {
        let runs: Vec<(PathBuf, Config)> = [("a", 4, 0), ("b", 2, 0), ("c", 4, 1), ("d", 9, 0)]
            .map(|(name, every, seed)| (name.into(), config(every, seed)))
            .into();
        let regroup = |groups: &mut RunGroups, shown: &[usize]| {
            groups.regroup(&shown.iter().map(|index| (&runs[*index].0, &runs[*index].1)).collect::<Vec<_>>());
        };
        let mut groups = RunGroups::default();
        regroup(&mut groups, &[1, 2]);
        let letters = |groups: &RunGroups| {
            groups
                .all()
                .iter()
                .map(|group| format!("{} {} ×{}", group.letter(), group.label, group.runs.len()))
                .collect::<Vec<_>>()
        };
        assert_eq!(letters(&groups), ["A recycle.every = 2 ×1", "B recycle.every = 4 ×1"]);
        regroup(&mut groups, &[0, 1, 2, 3]);
        assert_eq!(letters(&groups), ["A recycle.every = 2 ×1", "B recycle.every = 4 ×2", "C recycle.every = 9 ×1"]);
        regroup(&mut groups, &[0, 2, 3]);
        assert_eq!(letters(&groups), ["B recycle.every = 4 ×2", "C recycle.every = 9 ×1"]);
        assert_eq!(groups.group_of(Path::new("c")).map(|group| group.slot), Some(1));
        assert_eq!(groups.group_of(Path::new("b")), None);
        let many = RunGroup { slot: 28, label: String::new(), runs: Vec::new() };
        assert_eq!(many.letter(), "C1");
    }
}
