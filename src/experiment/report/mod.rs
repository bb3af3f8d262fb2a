//! Owns: the report of an experiment: what it says, as text for the terminal, Markdown, one HTML file, and tables.
//! Must not know: how differences are computed, how a figure is drawn.
//! Invariant: all forms say the same, because all are made from one [`ReportView`].

pub mod contents;
pub mod figures;
pub mod tables;
pub mod text;
pub mod view;

use super::ExperimentError;
use crate::files::FileError;
use crate::files::atomic::replace_file;
use contents::Report;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value};
use std::path::{Path, PathBuf};
use view::ReportView;

const MARKDOWN: &str = include_str!("report.md.jinja");
const HTML: &str = include_str!("report.html.jinja");

/// Writes the report as `report.md`, `report.html`, its figures as SVG and its tables as Parquet into `dir`. Returns the
/// files.
pub fn write(report: &Report, dir: &Path) -> Result<Vec<PathBuf>, ExperimentError> {
    std::fs::create_dir_all(dir).map_err(FileError::wrap("create", dir))?;
    let figures = figures::draw(report);
    let view = ReportView::new(report, &figures);
    let mut files = Vec::new();
    for figure in &figures {
        files.push((format!("{}.svg", figure.name), figure.svg.clone().into_bytes()));
    }
    files.push(("report.md".into(), render(MARKDOWN, "report.md", AutoEscape::None, &view)?.into_bytes()));
    files.push(("report.html".into(), render(HTML, "report.html", AutoEscape::Html, &view)?.into_bytes()));
    let mut written = Vec::new();
    for (name, bytes) in files {
        let path = dir.join(name);
        replace_file(&path, &bytes)?;
        written.push(path);
    }
    written.extend(tables::write(report, dir)?);
    Ok(written)
}

fn render(template: &str, name: &str, escape: AutoEscape, view: &ReportView) -> Result<String, ExperimentError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(move |_| escape.clone());
    let failed = |error: minijinja::Error| ExperimentError::Spec { file: name.to_owned(), message: error.to_string() };
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    environment.set_syntax(syntax.map_err(failed)?);
    environment.render_named_str(name, template, Value::from(Serde(view))).map_err(failed)
}
