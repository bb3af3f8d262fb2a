//! README's analyses, run as they stand there, where DuckDB and Polars are present.

mod common;

use common::{TINY, place, train};
use std::path::PathBuf;
use std::process::Command;

/// The blocks of `language` in README.
fn blocks(language: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let fence = format!("```{language}\n");
    readme.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// A Python that has `module`.
fn python(module: &str) -> Option<PathBuf> {
    let named = std::env::var_os("COCONUT_LAB_PYTHON").map(PathBuf::from);
    let has = |python: &PathBuf| {
        let asked = Command::new(python).args(["-c", &format!("import {module}")]).output();
        asked.is_ok_and(|output| output.status.success())
    };
    named.into_iter().chain(["python3".into(), "python".into()]).find(has)
}

fn run(module: &str, scripts: Vec<String>) {
    assert!(!scripts.is_empty(), "README has no analysis for {module}");
    let Some(python) = python(module) else {
        eprintln!("skipped: no Python with {module} here");
        return;
    };
    let dir = place(TINY);
    assert!(train(dir.path(), &["record.token_every=2"]).status.success());
    for script in scripts {
        let output = Command::new(&python).args(["-c", &script]).current_dir(dir.path()).output().unwrap();
        let (said, error) = (common::stdout(&output), common::stderr(&output));
        assert!(output.status.success() && !said.trim().is_empty(), "{script}\n{said}\n{error}");
    }
}

#[test]
fn duckdb_runs_the_queries() {
    let script = |query: String| {
        format!("import duckdb\nrows = duckdb.sql({query:?}).fetchall()\nassert rows\nprint(rows)")
    };
    run("duckdb", blocks("sql").into_iter().map(script).collect());
}

#[test]
fn polars_runs_the_scripts() {
    run("polars", blocks("python"));
}
