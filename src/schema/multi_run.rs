//! Owns: what the dashboard of several runs learns: runs, their steps, and how the work around them goes.
//! Must not know: files, who reads the runs, how anything is drawn.
//! Invariant: the steps of a run ascend until `Restarted`; a run that cannot be read is a row with problems.

use super::metrics::StepRow;
use super::run_list::RunListUpdate;
use std::path::PathBuf;

/// What the reader of several runs reports.
#[derive(Clone, Debug, PartialEq)]
pub enum MultiRunUpdate {
    /// A run was read, for the first time or again; or how far the reading is.
    List(RunListUpdate),
    /// New rows of the metrics of the run in this folder.
    Steps(PathBuf, Vec<StepRow>),
    /// The metrics of the run in this folder were cut, as a resume does: all rows come again.
    Restarted(PathBuf),
}

/// How the work goes that the runs belong to, such as an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkUpdate {
    /// What is done now, in one line.
    Status(String),
    /// The work has ended, with its outcome in one line.
    Ended(String),
}
