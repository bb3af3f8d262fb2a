//! Checks the code against ARCHITECTURE.md: which room may use which, no cycles, where tensors and terminals may be.
//! Also checks that the pages are short and their links work.

#[path = "common/source_tree.rs"]
#[allow(dead_code)] // each test uses a part of it
mod source_tree;

use source_tree::{SourceFile, crate_paths, re_exports, source_files};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Rooms or files where tensors may appear.
const BURN: &[&str] = &[
    "bench",
    "device",
    "generate",
    "model",
    "ops",
    "recycle/passes.rs",
    "recycle/sequential.rs",
    "train",
    "curriculum",
    "verify",
];
/// Rooms or files without tensors, terminals and files, and the rooms that each may use.
const PURE: &[(&str, &[&str])] = &[
    ("figure", &["statistics"]),
    ("policy", &["rng"]),
    ("recycle/placement.rs", &["config", "rng"]),
    ("recycle/schedule.rs", &["config", "rng"]),
    ("rng.rs", &[]),
    ("run_list", &["config", "schema"]),
    ("schema", &["config"]),
];

fn root() -> PathBuf {
    std::env::var_os("ARCH_ROOT").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns the rows of the table in ARCHITECTURE.md whose header cells are `header`, cell by cell.
fn table(header: &[&str]) -> Vec<Vec<String>> {
    let text = page("ARCHITECTURE.md");
    let cells = |line: &str| -> Vec<String> {
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let mut lines = text.lines().skip_while(|line| cells(line) != header);
    assert!(lines.next().is_some(), "ARCHITECTURE.md has no table {header:?}");
    lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// Returns the words in backticks.
fn code_words(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The table "room | may use" as a map. A room with many others has several rows.
fn rules() -> BTreeMap<String, BTreeSet<String>> {
    let mut rules = BTreeMap::<String, BTreeSet<String>>::new();
    for row in table(&["room", "may use"]) {
        for room in code_words(&row[0]) {
            rules.entry(room).or_default().extend(code_words(&row[1]));
        }
    }
    rules
}

/// Returns the top-level modules that `file` uses, its own excepted.
fn rooms_used<'a>(file: &SourceFile, rooms: &BTreeSet<&'a str>) -> BTreeSet<&'a str> {
    let heads: BTreeSet<String> = crate_paths(file).into_iter().filter_map(|path| path.first().cloned()).collect();
    rooms.iter().filter(|room| heads.contains(**room) && **room != file.room()).copied().collect()
}

/// Whether `file` is `place`, or lies in the room `place`.
fn is_in(file: &SourceFile, place: &str) -> bool {
    file.name == place || file.room() == place.trim_end_matches(".rs") && !place.contains('/')
}

#[test]
fn rooms_use_only_what_the_table_allows() {
    let (files, rules) = (source_files(&root()), rules());
    let rooms: BTreeSet<&str> =
        files.iter().map(SourceFile::room).filter(|room| !["lib", "main"].contains(room)).collect();
    assert_eq!(rooms, rules.keys().map(String::as_str).collect(), "rooms in src/ and in ARCHITECTURE.md");
    let (mut wrong, mut used) = (Vec::new(), BTreeMap::<&str, BTreeSet<&str>>::new());
    for file in files.iter().filter(|file| rules.contains_key(file.room())) {
        for target in rooms_used(file, &rooms) {
            if !rules[file.room()].contains(target) {
                wrong.push(format!("{} uses {target}", file.name));
            }
            used.entry(file.room()).or_default().insert(target);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (room, allowed) in &rules {
        let used = used.remove(room.as_str()).unwrap_or_default();
        let unused: Vec<_> = allowed.iter().filter(|target| !used.contains(target.as_str())).collect();
        assert!(unused.is_empty(), "ARCHITECTURE.md lets {room} use {unused:?}, which it does not");
    }
}

/// Follows re-exports, so that a name leads to the file that defines it.
fn defining_path(
    mut path: Vec<String>,
    modules: &BTreeMap<&[String], usize>,
    re_exports: &BTreeMap<&[String], Vec<(String, Vec<String>)>>,
) -> Vec<String> {
    for _ in 0..8 {
        let Some(len) = (1..path.len()).rev().find(|len| modules.contains_key(&path[..*len])) else { break };
        let exports = &re_exports[&path[..len]];
        let named = exports.iter().find(|(name, _)| *name == path[len]).map(|(_, target)| target.clone());
        let by_glob = || {
            let (_, target) = exports.iter().find(|(name, _)| name == "*")?;
            Some([&target[..], &path[len..=len]].concat())
        };
        if modules.contains_key(&path[..=len]) {
            break;
        }
        let Some(target) = named.or_else(by_glob) else { break };
        path = [&target[..], &path[len + 1..]].concat();
    }
    path
}

/// Returns which file each file uses: the one whose module is the longest prefix of the path. A parent may name its
/// children, so those arrows are left out.
fn arrows(files: &[SourceFile]) -> BTreeMap<usize, BTreeSet<usize>> {
    let modules: BTreeMap<&[String], usize> = files
        .iter()
        .enumerate()
        .filter(|(_, file)| file.name != "main.rs")
        .map(|(at, file)| (&file.module[..], at))
        .collect();
    let re_exports: BTreeMap<&[String], Vec<(String, Vec<String>)>> =
        files.iter().map(|file| (&file.module[..], re_exports(file))).collect();
    let mut arrows = BTreeMap::<usize, BTreeSet<usize>>::new();
    for (from, file) in files.iter().enumerate() {
        for path in crate_paths(file) {
            let path = defining_path(path, &modules, &re_exports);
            let target = (1..=path.len()).rev().find_map(|len| modules.get(&path[..len]).copied());
            if let Some(to) = target.filter(|to| *to != from && !files[*to].module.starts_with(&file.module)) {
                arrows.entry(from).or_default().insert(to);
            }
        }
    }
    arrows
}

/// Returns the nodes of a cycle, if there is one.
fn circle<T: Copy + Ord>(arrows: &BTreeMap<T, BTreeSet<T>>) -> Option<Vec<T>> {
    fn visit<T: Copy + Ord>(
        node: T,
        arrows: &BTreeMap<T, BTreeSet<T>>,
        path: &mut Vec<T>,
        done: &mut BTreeSet<T>,
    ) -> Option<Vec<T>> {
        if let Some(start) = path.iter().position(|known| *known == node) {
            return Some(path[start..].to_vec());
        }
        if !done.insert(node) {
            return None;
        }
        path.push(node);
        let found = arrows.get(&node).into_iter().flatten().find_map(|next| visit(*next, arrows, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|node| visit(*node, arrows, &mut Vec::new(), &mut done))
}

#[test]
fn no_circle_between_rooms_or_between_files() {
    let files = source_files(&root());
    let arrows = arrows(&files);
    let mut rooms = BTreeMap::<&str, BTreeSet<&str>>::new();
    for (from, targets) in &arrows {
        for to in targets.iter().filter(|to| files[**to].room() != files[*from].room()) {
            rooms.entry(files[*from].room()).or_default().insert(files[*to].room());
        }
    }
    assert_eq!(circle(&rooms), None, "a circle between rooms");
    let found =
        circle(&arrows).map(|nodes| nodes.into_iter().map(|node| files[node].name.as_str()).collect::<Vec<_>>());
    assert_eq!(found, None, "a circle between files");
}

#[test]
fn a_circle_is_found() {
    let arrows = |pairs: &[(u8, u8)]| {
        pairs.iter().fold(BTreeMap::<u8, BTreeSet<u8>>::new(), |mut arrows, (from, to)| {
            arrows.entry(*from).or_default().insert(*to);
            arrows
        })
    };
    assert_eq!(circle(&arrows(&[(1, 2), (2, 3), (1, 3)])), None);
    assert_eq!(circle(&arrows(&[(0, 1), (1, 2), (2, 3), (3, 1)])), Some(vec![1, 2, 3]));
}

#[test]
fn tensors_and_terminals_stay_where_they_belong() {
    let files = source_files(&root());
    let rooms: BTreeSet<&str> = files.iter().map(SourceFile::room).collect();
    for file in &files {
        // The text without comments, because a doc comment may name a library.
        let code: String = file.text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let tensors = BURN.iter().any(|place| is_in(file, place));
        assert!(tensors || !code.contains("burn::"), "{} names burn", file.name);
        let draws = ["ratatui", "crossterm"].iter().any(|library| code.contains(&format!("{library}::")));
        assert!(!draws || file.room() == "tui", "{} draws", file.name);
        for (_, allowed) in PURE.iter().filter(|(place, _)| is_in(file, place)) {
            let wrong: Vec<_> = rooms_used(file, &rooms).into_iter().filter(|room| !allowed.contains(room)).collect();
            assert!(wrong.is_empty(), "{} is pure but uses {wrong:?}", file.name);
            assert!(!code.contains("std::fs") && !tensors, "{} is pure", file.name);
        }
    }
    for place in BURN.iter().chain(PURE.iter().map(|(place, _)| place)) {
        assert!(files.iter().any(|file| is_in(file, place)), "{place} is not in src/");
    }
}

/// Files that write to standard output or standard error themselves.
const WRITERS: [&str; 3] = ["cli/output.rs", "tui/terminal/mod.rs", "tui/terminal/stdio_capture.rs"];

#[test]
fn everything_is_printed_by_one_guarded_way_out() {
    for file in source_files(&root()).iter().filter(|file| !WRITERS.contains(&file.name.as_str())) {
        let code: String = file.text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let code = code.replace("std::io::stdout().is_terminal()", "").replace("eprint_", "");
        for way in ["println!", "eprint", "print!(", "io::stdout()", "io::stderr()"] {
            assert!(!code.contains(way), "{} prints with `{way}`; use cli::output", file.name);
        }
    }
}

#[test]
fn every_file_says_what_it_owns() {
    for file in source_files(&root()) {
        let header = file.text.lines().next().unwrap_or_default().strip_prefix("//!").map(str::trim);
        assert!(
            header.is_some_and(|header| !header.is_empty() && !header.contains("TODO")),
            "{} has no //!",
            file.name
        );
    }
}

#[test]
fn readme_and_architecture_are_short() {
    for (name, max_lines) in [("README.md", 120), ("ARCHITECTURE.md", 150)] {
        let text = page(name);
        assert!(text.lines().count() <= max_lines, "{name} has more than {max_lines} lines");
        let long: Vec<&str> = text.lines().filter(|line| line.chars().count() > 120).collect();
        assert!(long.is_empty(), "{name} has lines over 120 characters: {long:#?}");
    }
}

/// Returns the Markdown files below `folder`, as paths from the root.
fn markdown_files(folder: &str) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            names.extend(markdown_files(&name));
        } else if name.ends_with(".md") {
            names.push(name);
        }
    }
    names
}

/// Returns the targets of `[text](target)` outside of code blocks, without their anchors.
fn links(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let targets = prose.flat_map(|prose| prose.split("](").skip(1));
    targets.filter_map(|rest| rest.split(')').next()).map(|target| target.split('#').next().unwrap()).collect()
}

#[test]
fn every_relative_link_points_to_a_file() {
    let pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(str::to_owned);
    let mut linked = BTreeSet::new();
    let docs = markdown_files("docs");
    for name in pages.iter().chain(&docs) {
        for target in links(&page(name)).into_iter().filter(|target| !target.is_empty() && !target.contains("://")) {
            let path = root().join(name).parent().unwrap().join(target);
            assert!(path.exists(), "{name} links to {target}, which does not exist");
            if name == "docs/SUMMARY.md" {
                linked.insert(path.canonicalize().unwrap());
            }
        }
    }
    for name in docs.iter().filter(|name| *name != "docs/SUMMARY.md") {
        let path = Path::canonicalize(&root().join(name)).unwrap();
        assert!(linked.contains(&path), "docs/SUMMARY.md does not list {name}");
    }
}

/// Whether `path`, such as `recycle::passes::source_indices`, names a module or a word of a module's file.
fn exists(path: &str, files: &[SourceFile]) -> bool {
    let segments: Vec<&str> = path.split("::").collect();
    let file = |module: &[&str]| files.iter().find(|file| file.module.iter().eq(module));
    let (name, module) = segments.split_last().unwrap();
    file(&segments).is_some() || file(module).is_some_and(|file| file.text.contains(name))
}

#[test]
fn every_place_in_the_code_that_a_page_names_exists() {
    let files = source_files(&root());
    let rooms: BTreeSet<&str> = files.iter().map(SourceFile::room).collect();
    let mut wrong = Vec::new();
    for name in
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(str::to_owned).into_iter().chain(markdown_files("docs"))
    {
        let text = page(&name);
        let prose: String = text.split("```").step_by(2).collect();
        for word in code_words(&prose) {
            let is_path = word.contains("::") && rooms.contains(word.split("::").next().unwrap());
            let is_file = word.ends_with(".rs") && word.contains('/');
            let missing =
                is_path && word.chars().all(|c| c.is_alphanumeric() || ":_".contains(c)) && !exists(&word, &files)
                    || is_file && !root().join("src").join(&word).exists() && !root().join(&word).exists();
            if missing {
                wrong.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(wrong.is_empty(), "pages name what is not in the code: {wrong:#?}");
}
