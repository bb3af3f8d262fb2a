//! Owns: `MultiRunState`, what is known of several runs: a fold of the reports of their reader.
//! Must not know: keys, files, how anything is drawn.
//! Invariant: bounded: at most [`MAX_RUNS`] runs have series. A run that cannot be read any more keeps its curves and its
//! group, and its row has the problem.

use super::run_groups::RunGroups;
use super::run_series::RunSeries;
use crate::config::Config;
use crate::run_list::column::Column;
use crate::run_list::sort::{SortDirection, SortOrder};
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::multi_run::{MultiRunUpdate, WorkUpdate};
use crate::schema::protocol::LogLevel;
use crate::schema::run_list::{RunListRow, RunListUpdate};
use crate::tui::browser::state::{BrowserSettings, RunBrowser};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Most runs that are charted.
pub const MAX_RUNS: usize = 400;

/// A run of the screen.
#[derive(Clone, Debug, Default)]
pub struct ChartedRun {
    pub series: RunSeries,
    /// The config, once it could be read.
    config: Option<Config>,
    /// The row as it was read, before the values of later steps.
    row: RunListRow,
}

/// How the work goes that the runs belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WorkState {
    /// There is none: the runs were chosen by a person.
    #[default]
    None,
    Running(String),
    Ended(String),
}

impl WorkState {
    /// Returns how many lines of the screen it takes.
    pub fn lines(&self) -> u16 {
        u16::from(*self != WorkState::None)
    }
}

#[derive(Debug)]
pub struct MultiRunState {
    /// The table of runs: rows, order, filter, selection.
    pub list: RunBrowser,
    pub groups: RunGroups,
    pub work: WorkState,
    runs: BTreeMap<PathBuf, ChartedRun>,
    /// The runs in the order in which they were read for the first time.
    arrivals: Vec<PathBuf>,
    /// Runs whose row in the table is older than what is known.
    changed: BTreeSet<PathBuf>,
    groups_changed: bool,
}

impl MultiRunState {
    /// Creates an empty screen. `dir` is named as the place of the runs.
    pub fn new(dir: PathBuf) -> Self {
        let order = SortOrder { column: Column::Began, direction: SortDirection::Ascending };
        let list = RunBrowser::new(BrowserSettings { dir, order, ..BrowserSettings::default() });
        Self {
            list,
            groups: RunGroups::default(),
            work: WorkState::None,
            runs: BTreeMap::new(),
            arrivals: Vec::new(),
            changed: BTreeSet::new(),
            groups_changed: false,
        }
    }

    /// Applies a report. [`update_table`](Self::update_table) must follow before the next key or frame.
    pub fn apply(&mut self, update: MultiRunUpdate) {
        match update {
            MultiRunUpdate::List(RunListUpdate::Row(row)) => self.set_row(*row),
            MultiRunUpdate::List(RunListUpdate::Removed(folder)) => self.remove_run(&folder),
            MultiRunUpdate::List(other) => self.list.apply(other),
            MultiRunUpdate::Steps(folder, rows) => self.add_steps(folder, &rows),
            MultiRunUpdate::Restarted(folder) => {
                if let Some(run) = self.runs.get_mut(&folder) {
                    run.series = RunSeries::default();
                }
            }
        }
    }

    pub fn apply_work(&mut self, update: WorkUpdate) {
        self.work = match update {
            WorkUpdate::Status(text) => WorkState::Running(text),
            WorkUpdate::Ended(text) => WorkState::Ended(text),
        };
    }

    fn set_row(&mut self, mut row: RunListRow) {
        let folder = row.folder.clone();
        if !self.runs.contains_key(&folder) {
            if self.runs.len() >= MAX_RUNS {
                let text = format!("only {MAX_RUNS} runs are shown; {} is not", row.run);
                self.list.message = Some((LogLevel::Warn, text));
                return;
            }
            self.arrivals.push(folder.clone());
        }
        let run = self.runs.entry(folder.clone()).or_default();
        if row.settings.is_empty() {
            // It cannot be read any more: what was known stays.
            row.settings = std::mem::take(&mut run.row.settings);
            row.began = row.began.or(run.row.began);
            (row.step, row.steps) = (row.step.max(run.row.step), row.steps.max(run.row.steps));
        }
        if row.settings != run.row.settings || run.config.is_none() {
            let config = row.settings.clone().try_into::<Config>().ok().filter(|_| !row.settings.is_empty());
            self.groups_changed |= config != run.config;
            let known = run.config.take();
            run.config = config.or(known);
        }
        run.row = row;
        self.changed.insert(folder);
    }

    fn remove_run(&mut self, folder: &Path) {
        self.runs.remove(folder);
        self.arrivals.retain(|other| other != folder);
        self.changed.remove(folder);
        self.groups_changed = true;
        self.list.apply(RunListUpdate::Removed(folder.to_owned()));
    }

    /// Adds steps of a run whose row was read.
    fn add_steps(&mut self, folder: PathBuf, rows: &[StepRow]) {
        if let Some(run) = self.runs.get_mut(&folder) {
            rows.iter().for_each(|row| run.series.add(row));
            self.changed.insert(folder);
        }
    }

    /// Brings groups, rows and their order up to date.
    pub fn update_table(&mut self) {
        if std::mem::take(&mut self.groups_changed) {
            let known = self.arrivals.iter().filter_map(|folder| {
                let config = self.runs.get(folder)?.config.as_ref()?;
                Some((folder, config))
            });
            self.groups.regroup(&known.collect::<Vec<_>>());
        }
        for folder in std::mem::take(&mut self.changed) {
            let Some(run) = self.runs.get(&folder) else { continue };
            let mut row = run.row.clone();
            if let Some(step) = run.series.last_step() {
                row.step = step;
                row.metrics = run.series.metric_ranges();
            }
            self.list.apply(RunListUpdate::Row(Box::new(row)));
        }
        self.list.sort_rows();
    }

    pub fn series(&self, folder: &Path) -> Option<&RunSeries> {
        self.runs.get(folder).map(|run| &run.series)
    }

    /// Returns the folders of all runs, in the order in which they were read first.
    pub fn folders(&self) -> &[PathBuf] {
        &self.arrivals
    }

    /// Returns the metrics of which a run has a value, in the order of the table.
    pub fn metrics(&self) -> Vec<Metric> {
        let known: BTreeSet<Metric> = self.runs.values().flat_map(|run| run.series.metrics()).collect();
        known.into_iter().collect()
    }
}
