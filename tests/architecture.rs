//! Holds the dependency rule of ARCHITECTURE.md: who may use whom, and where burn and ratatui may appear.

use std::path::{Path, PathBuf};

/// Room, and the rooms it may use. A room that is not here may use nothing.
const MAY_USE: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("message", &["config", "record"]),
    ("record", &["message"]),
    ("data", &[]),
    ("model", &["config", "ops"]),
    ("ops", &[]),
    ("rng", &[]),
    ("recycle", &["config", "model", "rng"]),
    ("think", &["config", "model", "ops", "rng"]),
    ("verify", &["config", "model", "recycle", "rng"]),
    ("train", &["config", "data", "message", "model", "ops", "record", "recycle", "rng", "think"]),
    ("tui", &["config", "message", "record"]),
    ("cli", &["config", "data", "message", "model", "ops", "record", "think", "train", "tui", "verify"]),
    ("main", &["cli"]),
    ("allocator", &[]),
    ("lib", &[]),
];
/// Files or rooms where tensors may appear.
const BURN: &[&str] = &["model", "ops", "recycle/passes.rs", "think", "train", "verify"];
/// Pure: no tensor, no other room but config.
const PURE: &[(&str, &[&str])] = &[
    ("recycle/schedule.rs", &["config", "rng"]),
    ("recycle/placement.rs", &["config", "rng"]),
    ("record/registry.rs", &[]),
    ("think/policy.rs", &[]),
    ("think/threshold.rs", &[]),
    ("think/spec.rs", &[]),
    ("think/choose.rs", &["rng"]),
    ("think/answer.rs", &["rng"]),
];

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Every source file: its path below `src/`, its room, its text without comments.
fn sources() -> Vec<(String, String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    files(&src, &mut paths);
    let source = |path: &PathBuf| {
        let name = path.strip_prefix(&src).unwrap().to_string_lossy().replace('\\', "/");
        let room = name.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(path).unwrap();
        let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        (name, room, code.join("\n"))
    };
    paths.iter().map(source).collect()
}

/// The rooms that code names as `crate::room` or `coconut_lab::room`.
fn used(code: &str) -> Vec<String> {
    ["crate::", "coconut_lab::"]
        .iter()
        .flat_map(|prefix| code.match_indices(prefix).map(move |(at, found)| &code[at + found.len()..]))
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .filter(|room: &String| MAY_USE.iter().any(|(known, _)| known == room))
        .collect()
}

#[test]
fn rooms_use_only_what_they_may() {
    for (name, room, code) in sources() {
        let allowed = MAY_USE
            .iter()
            .find(|(known, _)| *known == room)
            .unwrap_or_else(|| panic!("{name}: no such room"));
        for target in used(&code) {
            assert!(target == room || allowed.1.contains(&target.as_str()), "{name} uses crate::{target}");
        }
        if let Some((_, allowed)) = PURE.iter().find(|(pure, _)| *pure == name) {
            for target in used(&code) {
                assert!(allowed.contains(&target.as_str()), "{name} is pure but uses crate::{target}");
            }
        }
    }
}

#[test]
fn burn_and_ratatui_stay_where_they_belong() {
    for (name, room, code) in sources() {
        let tensors = BURN.iter().any(|place| *place == room || *place == name);
        assert!(tensors || !code.contains("burn::"), "{name} names burn");
        assert!(room == "tui" || !(code.contains("ratatui") || code.contains("crossterm")), "{name} draws");
    }
}

#[test]
fn every_file_says_what_it_owns() {
    for (name, _, _) in sources() {
        let text =
            std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&name)).unwrap();
        assert!(text.starts_with("//!"), "{name} must open with //!");
    }
}

#[test]
fn the_readme_names_every_key_and_verb() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for key in coconut_lab::config::Config::keys() {
        let row = format!("| `[{}]` |", key.section);
        let line = readme.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no {row}"));
        assert!(line.contains(&format!("`{}`", key.name)), "README does not name {}", key.path());
    }
    for verb in ["run", "resume", "watch", "runs", "export", "data", "verify", "bench", "profile"] {
        assert!(
            readme.contains(&format!("coconut-lab {verb} "))
                || readme.contains(&format!("coconut-lab {verb}`"))
        );
    }
}
