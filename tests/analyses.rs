//! Runs the analyses of README.md and docs/guides/analysis.md as they are printed there, if DuckDB and Polars are
//! installed.

mod common;

use common::{TINY, temp_dir_with_recipe, train};
use std::path::PathBuf;
use std::process::Command;

/// The pages whose code blocks are run.
const PAGES: &[&str] = &["README.md", "docs/guides/analysis.md"];

/// Returns the code blocks of `language` in the pages.
fn blocks(language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let blocks = |page: &&str| -> Vec<String> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = std::fs::read_to_string(path).unwrap();
        text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
    };
    PAGES.iter().flat_map(blocks).collect()
}

/// Returns a Python that has `module`.
fn python(module: &str) -> Option<PathBuf> {
    let named = std::env::var_os("COCONUT_LAB_PYTHON").map(PathBuf::from);
    let has = |python: &PathBuf| {
        let output = Command::new(python).args(["-c", &format!("import {module}")]).output();
        output.is_ok_and(|output| output.status.success())
    };
    named.into_iter().chain(["python3".into(), "python".into()]).find(has)
}

/// Whether a missing module fails the tests instead of skipping them.
fn analyses_are_required() -> bool {
    std::env::var_os("CI").is_some()
        && std::env::var_os("COCONUT_LAB_ANALYSES").is_some_and(|value| value == "required")
}

fn run_scripts(module: &str, scripts: &[String]) {
    assert!(!scripts.is_empty(), "no page has an analysis for {module}");
    let Some(python) = python(module) else {
        let message = format!(
            "no Python with {module}: {} analyses of {} were not run. Install it with `pip install {module}`, or name \
             a Python that has it in COCONUT_LAB_PYTHON",
            scripts.len(),
            PAGES.join(" and ")
        );
        assert!(!analyses_are_required(), "{message}");
        // Straight to standard error, because the test harness hides what a passing test prints.
        use std::io::Write;
        std::io::stderr().write_all(format!("SKIPPED: {message}\n").as_bytes()).unwrap();
        return;
    };
    let dir = temp_dir_with_recipe(TINY);
    assert!(train(dir.path(), &["record.token_every=2"]).status.success());
    for script in scripts {
        let output = Command::new(&python).args(["-c", script]).current_dir(dir.path()).output().unwrap();
        let (result, error) = (common::stdout(&output), common::stderr(&output));
        assert!(output.status.success() && !result.trim().is_empty(), "{script}\n{result}\n{error}");
    }
}

#[test]
fn duckdb_runs_the_queries() {
    let script =
        |query: String| format!("import duckdb\nrows = duckdb.sql({query:?}).fetchall()\nassert rows\nprint(rows)");
    run_scripts("duckdb", &blocks("sql").into_iter().map(script).collect::<Vec<_>>());
}

#[test]
fn polars_runs_the_scripts() {
    run_scripts("polars", &blocks("python"));
}
