//! Owns: the list of runs as a table and as JSON.
//! Must not know: how runs are sorted and filtered, terminals.
//! Invariant: only what is asked for is read: last values of metrics take more time than all else.

use crate::cli::output;
use crate::cli::run_list_reader::read_rows;
use crate::cli::run_lookup::run_folders;
use crate::record::summary::LastValues;
use crate::run_list::column::{BEST_VALIDATION, CellValue, Column};
use crate::run_list::filter::RunFilter;
use crate::run_list::sort::SortOrder;
use crate::schema::metrics::Metric;
use crate::schema::run_list::{RunListRow, UNKNOWN};
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Which runs are printed, and how.
pub(super) struct ListedRuns {
    pub dir: PathBuf,
    /// None: in the order of their beginnings.
    pub order: Option<SortOrder>,
    pub filter: RunFilter,
    /// Columns besides the usual ones.
    pub columns: Vec<Column>,
}

#[derive(Serialize)]
struct RunListEntry {
    run: String,
    /// running, finished, stopped, failed, interrupted, or unknown.
    state: String,
    step: u64,
    steps: u64,
    best_validation_nats: Option<f64>,
    config: String,
    from: Option<String>,
    bytes: u64,
    began: Option<chrono::DateTime<chrono::Utc>>,
    tags: Vec<String>,
    /// The columns that were asked for.
    #[serde(skip_serializing_if = "Map::is_empty")]
    columns: Map<String, Value>,
    /// What of the run cannot be read, in words.
    problems: Vec<String>,
}

impl ListedRuns {
    /// Reads the runs that are listed, in their order.
    fn read(&self) -> Vec<RunListRow> {
        let sorted = self.order.iter().map(|order| order.column);
        let needs_last = self.columns.iter().copied().chain(sorted).any(Column::needs_last_value);
        let last_values =
            if needs_last || self.filter.needs_last_values() { LastValues::Read } else { LastValues::Skip };
        let mut rows = read_rows(&run_folders(&self.dir), last_values);
        rows.retain(|row| self.filter.matches(row));
        let Some(order) = self.order else { return rows };
        let places = order.order(&rows);
        let mut rows: Vec<Option<RunListRow>> = rows.into_iter().map(Some).collect();
        places.into_iter().filter_map(|place| rows[place].take()).collect()
    }

    pub(super) fn print_json(&self) -> anyhow::Result<ExitCode> {
        let entries: Vec<RunListEntry> = self.read().into_iter().map(|row| self.entry(row)).collect();
        writeln!(output::stdout(), "{}", serde_json::to_string_pretty(&entries)?)?;
        Ok(ExitCode::SUCCESS)
    }

    fn entry(&self, row: RunListRow) -> RunListEntry {
        let columns = self.columns.iter().map(|column| (column.name(), json_value(column.value(&row)))).collect();
        RunListEntry {
            state: row.state.map_or(UNKNOWN, <&str>::from).to_owned(),
            step: row.step,
            steps: row.steps,
            best_validation_nats: row.metric(Metric::ValidPlain).min,
            config: config_name(&row),
            from: row.lineage.as_ref().map(ToString::to_string),
            bytes: row.bytes,
            began: row.began,
            columns,
            run: row.run,
            tags: row.tags,
            problems: row.problems,
        }
    }

    pub(super) fn print_table(&self) -> anyhow::Result<ExitCode> {
        let rows = self.read();
        let mut out = output::stdout();
        if rows.is_empty() {
            let that = if self.filter.is_empty() { "" } else { " that meet the conditions" };
            writeln!(out, "no runs in {}{that}", self.dir.display())?;
            return Ok(ExitCode::SUCCESS);
        }
        let columns = self.table_columns(&rows);
        let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
        write_line(&mut out, &columns, &titles)?;
        for at in 0..rows.len() {
            let cells: Vec<&str> = columns.iter().map(|column| column.cells[at].as_str()).collect();
            write_line(&mut out, &columns, &cells)?;
        }
        drop(out);
        for (row, problem) in rows.iter().flat_map(|row| row.problems.iter().map(move |problem| (row, problem))) {
            output::print_error_line(format_args!("warning: {}: {problem}", row.run));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Returns the usual columns, those that were asked for, and the one that sorts; tags if a run has some.
    fn table_columns(&self, rows: &[RunListRow]) -> Vec<TableColumn> {
        let mut shown = vec![Column::Run, Column::State, Column::Step, BEST_VALIDATION];
        let more = self.columns.iter().copied().chain(self.order.map(|order| order.column));
        for column in more.filter(|column| *column != Column::Size && *column != Column::From) {
            if !shown.contains(&column) {
                shown.push(column);
            }
        }
        if rows.iter().any(|row| !row.tags.is_empty()) && !shown.contains(&Column::Tags) {
            shown.push(Column::Tags);
        }
        let column = |column: Column| {
            let cells = rows.iter().map(|row| column.text(row)).collect();
            TableColumn::new(column.title(), cells, column.is_numeric())
        };
        let mut columns: Vec<TableColumn> = shown.into_iter().map(column).collect();
        columns.push(TableColumn::new("config".into(), rows.iter().map(config_name).collect(), false));
        columns.push(column(Column::Size));
        let from = |row: &RunListRow| row.lineage.as_ref().map_or("-".into(), ToString::to_string);
        columns.push(TableColumn::new("from".into(), rows.iter().map(from).collect(), false));
        columns
    }
}

/// Returns the name of the config that the run was started with.
fn config_name(row: &RunListRow) -> String {
    let name = row.settings.get("run").and_then(|run| run.get("name"));
    name.and_then(toml::Value::as_str).unwrap_or("?").to_owned()
}

fn json_value(value: CellValue) -> Value {
    match value {
        CellValue::Missing => Value::Null,
        CellValue::Number(number) => number.into(),
        CellValue::Text(text) => text.into(),
        CellValue::Words(words) => words.into(),
    }
}

struct TableColumn {
    title: String,
    cells: Vec<String>,
    width: usize,
    is_right: bool,
}

impl TableColumn {
    fn new(title: String, cells: Vec<String>, is_right: bool) -> Self {
        let width = cells.iter().chain([&title]).map(|text| text.chars().count()).max().unwrap_or(0);
        Self { title, cells, width, is_right }
    }
}

fn write_line(out: &mut impl Write, columns: &[TableColumn], cells: &[&str]) -> std::io::Result<()> {
    let mut line = String::new();
    for (column, cell) in columns.iter().zip(cells) {
        let width = column.width;
        line += &if column.is_right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") };
    }
    writeln!(out, "{}", line.trim_end())
}
