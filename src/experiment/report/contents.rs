//! Owns: all that a report is made from.
//! Must not know: words, figures, files.
//! Invariant: runs are in the order of the analysis: by arm, then by seed.

use crate::experiment::analysis::Analysis;
use crate::experiment::declaration::DeclarationRecord;
use crate::experiment::results::{AbsentRun, RunResult};
use crate::experiment::spec::HeldEqual;

/// All that a report is made from.
#[derive(Clone, Debug)]
pub struct Report {
    pub name: String,
    /// The question, in words; may be empty.
    pub question: String,
    pub analysis: Analysis,
    /// By arm, then by seed.
    pub runs: Vec<Vec<Option<RunResult>>>,
    pub absent: Vec<AbsentRun>,
    /// The declarations that were recorded, the first one first; none if the comparisons were not declared.
    pub declarations: Vec<DeclarationRecord>,
    /// Hash of the declaration now.
    pub hash: Option<String>,
    /// What all arms have equal, and how much of it.
    pub held: Option<(HeldEqual, f64)>,
    /// The commands that made it.
    pub commands: Vec<String>,
    /// This machine.
    pub machine: String,
}
