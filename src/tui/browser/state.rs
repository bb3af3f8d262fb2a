//! Owns: what the browser of runs knows and shows: rows, order, selection, marks.
//! Must not know: keys, drawing, files.
//! Invariant: selection and marks belong to runs, not to lines, so that they survive sorting, filtering and new rows.

use crate::run_list::column::Column;
use crate::run_list::filter::RunFilter;
use crate::run_list::sort::SortOrder;
use crate::schema::protocol::LogLevel;
use crate::schema::run_list::{RunComparison, RunListRow, RunListUpdate};
use crate::tui::app::command::CommandPrompt;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Most runs that are kept.
const MAX_ROWS: usize = 20_000;

/// How the list is opened, and what a person has chosen since.
#[derive(Clone, Debug, Default)]
pub struct BrowserSettings {
    /// Folder of the runs, as it is shown.
    pub dir: PathBuf,
    pub order: SortOrder,
    /// The filter as it was typed.
    pub filter: String,
    /// Columns in addition to the usual ones.
    pub columns: Vec<Column>,
}

/// What is under the list.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum BelowList {
    /// Nothing: closing the list ends the program.
    #[default]
    Nothing,
    /// The dashboard, on the run in this folder once it is known.
    Dashboard(Option<PathBuf>),
}

/// What the browser shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrowserView {
    #[default]
    List,
    /// The keys, scrolled down by this many lines.
    Help(u16),
    Prompt(PromptKind),
    /// The dialog that asks whether to delete runs.
    DeleteDialog,
    /// The comparison of two runs, scrolled down by this many lines.
    Comparison(u16),
}

/// What is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptKind {
    Filter,
    Sort,
    Columns,
    Tags,
    Rename,
}

/// The browser of runs, without a terminal.
#[derive(Debug, Default)]
pub struct RunBrowser {
    rows: Vec<RunListRow>,
    /// Index of the row of each folder.
    places: HashMap<PathBuf, usize>,
    /// The visible rows in their order, as indices.
    order: Vec<usize>,
    selected: Option<PathBuf>,
    pub(super) marks: BTreeSet<PathBuf>,
    pub settings: BrowserSettings,
    filter: RunFilter,
    /// How many of how many runs were read.
    pub progress: (usize, usize),
    /// The outcome of the last request, or a hint about the last key.
    pub message: Option<(LogLevel, String)>,
    pub view: BrowserView,
    pub prompt: CommandPrompt,
    /// The runs that a dialog or a prompt is about.
    pub(super) targets: Vec<PathBuf>,
    pub(super) comparison: Option<Box<RunComparison>>,
    pub below: BelowList,
}

impl RunBrowser {
    /// Creates an empty list. A filter that cannot be parsed is dropped.
    pub fn new(settings: BrowserSettings) -> Self {
        let filter = RunFilter::parse(&settings.filter).unwrap_or_default();
        Self { settings, filter, ..Self::default() }
    }

    /// Applies what the reader reports. [`sort_rows`](Self::sort_rows) must follow before the next key or frame.
    pub fn apply(&mut self, update: RunListUpdate) {
        match update {
            RunListUpdate::Progress { done, total } => self.progress = (done, total),
            RunListUpdate::Row(row) => self.set_row(*row),
            RunListUpdate::Removed(folder) => self.remove_row(&folder),
            RunListUpdate::Renamed(old, new) => {
                if self.selected.as_ref() == Some(&old) {
                    self.selected = Some(new.clone());
                }
                if self.marks.remove(&old) {
                    self.marks.insert(new);
                }
                self.remove_row(&old);
            }
            RunListUpdate::Comparison(comparison) => {
                self.comparison = Some(comparison);
                self.message = None;
                self.view = BrowserView::Comparison(0);
            }
            RunListUpdate::Message(level, text) => self.message = Some((level, text)),
        }
    }

    fn set_row(&mut self, row: RunListRow) {
        match self.places.get(&row.folder) {
            Some(place) => self.rows[*place] = row,
            None if self.rows.len() < MAX_ROWS => {
                self.places.insert(row.folder.clone(), self.rows.len());
                self.rows.push(row);
            }
            None => self.message = Some((LogLevel::Warn, format!("only {MAX_ROWS} runs are listed"))),
        }
    }

    fn remove_row(&mut self, folder: &Path) {
        self.marks.remove(folder);
        let Some(place) = self.places.remove(folder) else { return };
        // The selection stays at its line.
        if self.selected.as_deref() == Some(folder) {
            let line = self.order.iter().position(|index| *index == place);
            let next = line.and_then(|line| self.order.get(line + 1).or_else(|| self.order.get(line.checked_sub(1)?)));
            self.selected = next.map(|index| self.rows[*index].folder.clone());
        }
        self.rows.remove(place);
        self.places.values_mut().filter(|other| **other > place).for_each(|other| *other -= 1);
        self.order.retain(|index| *index != place);
        self.order.iter_mut().filter(|index| **index > place).for_each(|index| *index -= 1);
    }

    /// Sorts and filters the rows.
    pub fn sort_rows(&mut self) {
        let mut order = self.settings.order.order(&self.rows);
        order.retain(|index| self.filter.matches(&self.rows[*index]));
        self.order = order;
    }

    /// Sets the filter.
    ///
    /// # Errors
    /// Returns why the text cannot be parsed; the filter stays as it is.
    pub fn set_filter(&mut self, text: &str) -> Result<(), String> {
        self.filter = RunFilter::parse(text)?;
        self.settings.filter = text.trim().to_owned();
        self.sort_rows();
        Ok(())
    }

    pub fn set_order(&mut self, order: SortOrder) {
        self.settings.order = order;
        self.sort_rows();
    }

    /// Iterates over the visible rows, in their order.
    pub fn visible_rows(&self) -> impl ExactSizeIterator<Item = &RunListRow> {
        self.order.iter().map(|index| &self.rows[*index])
    }

    /// Returns the number of all rows, visible or not.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// Returns the row of the run in `folder`.
    pub fn row(&self, folder: &Path) -> Option<&RunListRow> {
        self.places.get(folder).map(|place| &self.rows[*place])
    }

    /// Returns the line of the selected run: the first if the selected one is not visible.
    pub fn selected_line(&self) -> usize {
        let selected = self.selected.as_ref().and_then(|folder| self.places.get(folder));
        selected.and_then(|place| self.order.iter().position(|index| index == place)).unwrap_or(0)
    }

    pub fn selected_row(&self) -> Option<&RunListRow> {
        self.order.get(self.selected_line()).map(|index| &self.rows[*index])
    }

    /// Selects the run at a line, or at the last one.
    pub fn select_line(&mut self, line: usize) {
        let last = self.order.len().saturating_sub(1);
        self.selected = self.order.get(line.min(last)).map(|index| self.rows[*index].folder.clone());
    }

    /// Returns the runs that a request is about: the marked ones in their order, else the selected one.
    pub(super) fn requested_runs(&self) -> Vec<PathBuf> {
        let selected = || self.selected_row().map(|row| row.folder.clone()).into_iter().collect();
        if self.marks.is_empty() { selected() } else { self.marked_runs() }
    }

    /// Returns the marked runs: visible ones in their order, then those that the filter hides.
    pub(super) fn marked_runs(&self) -> Vec<PathBuf> {
        let visible = self.visible_rows().map(|row| &row.folder).filter(|folder| self.marks.contains(*folder));
        let mut marked: Vec<PathBuf> = visible.cloned().collect();
        let hidden = self.marks.iter().filter(|folder| !marked.contains(folder)).cloned();
        let hidden: Vec<PathBuf> = hidden.collect();
        marked.extend(hidden);
        marked
    }

    /// Returns how many runs started from a run in `folders` and are not among them.
    pub(super) fn children_of(&self, folders: &[PathBuf]) -> usize {
        let parents: Vec<&RunListRow> = folders.iter().filter_map(|folder| self.row(folder)).collect();
        let others = self.rows.iter().filter(|row| !folders.contains(&row.folder));
        others.filter(|row| parents.iter().any(|parent| row.starts_from(&parent.run))).count()
    }

    /// Whether the list is read for the first time.
    pub fn is_reading(&self) -> bool {
        self.progress.0 < self.progress.1
    }
}
