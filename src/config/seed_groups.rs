//! Owns: which configs differ in nothing but the seed, and the keys in which such groups differ.
//! Must not know: files, runs, what a key does.
//! Invariant: every config is in one group; groups and members are in the order of the configs.

use super::{Config, ConfigKey};

/// Configs that are equal apart from seed, name, folder, device, pause and what is recorded and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedGroup {
    /// Indices of the configs.
    pub members: Vec<usize>,
    /// The keys in which the groups differ, with their values, such as `recycle.every = 4`; `all runs` for a single group.
    pub label: String,
}

/// The keys of `run` that do not tell groups apart.
const IGNORED: [&str; 5] = ["seed", "name", "dir", "device", "paused"];
/// Sections that do not change what is learned.
const IGNORED_SECTIONS: [&str; 4] = ["dashboard", "record", "checkpoint", "probe"];

/// Groups `configs` by everything but the seed.
pub fn group_by_all_but_seed(configs: &[Config]) -> Vec<SeedGroup> {
    let is_compared = |key: &&ConfigKey| match key.section {
        "run" => !IGNORED.contains(&key.name),
        section => !IGNORED_SECTIONS.contains(&section),
    };
    let keys: Vec<&ConfigKey> = Config::keys().filter(is_compared).collect();
    let mut groups: Vec<(Vec<usize>, Vec<toml::Value>)> = Vec::new();
    for (index, config) in configs.iter().enumerate() {
        let table = config.to_table();
        let value = |key: &&ConfigKey| table.get(key.section).and_then(|section| section.get(key.name)).cloned();
        let values: Vec<toml::Value> =
            keys.iter().map(|key| value(key).unwrap_or(toml::Value::Boolean(false))).collect();
        match groups.iter_mut().find(|(_, known)| *known == values) {
            Some((members, _)) => members.push(index),
            None => groups.push((vec![index], values)),
        }
    }
    let differs = |at: usize| groups.iter().any(|(_, values)| values[at] != groups[0].1[at]);
    let differing: Vec<usize> = (0..keys.len()).filter(|at| !groups.is_empty() && differs(*at)).collect();
    let label = |values: &[toml::Value]| match differing.is_empty() {
        true => "all runs".to_owned(),
        false => {
            let parts = differing.iter().map(|at| format!("{} = {}", keys[*at].path(), values[*at]));
            parts.collect::<Vec<_>>().join(", ")
        }
    };
    groups.iter().map(|(members, values)| SeedGroup { members: members.clone(), label: label(values) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_grouped_by_what_they_learn() {
        let config = |seed, every, fps, tensorboard| {
            let mut config = Config::default();
            (config.run.seed, config.run.name) = (seed, format!("run {seed}"));
            (config.recycle.every, config.dashboard.fps, config.record.tensorboard) = (every, fps, tensorboard);
            config
        };
        let configs =
            [config(1, 4, 20, false), config(1, 2, 20, false), config(2, 4, 10, true), config(2, 2, 20, false)];
        let groups = group_by_all_but_seed(&configs);
        let found: Vec<_> = groups.iter().map(|group| (group.members.as_slice(), group.label.as_str())).collect();
        assert_eq!(found, [(&[0, 2][..], "recycle.every = 4"), (&[1, 3][..], "recycle.every = 2")]);
        assert_eq!(group_by_all_but_seed(&configs[..1])[0].label, "all runs");
        assert!(group_by_all_but_seed(&[]).is_empty());
    }
}
