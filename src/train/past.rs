//! Owns: the steps of a run before this process, for a screen that has just opened.
//! Must not know: who looks.
//! Invariant: bounded, however long the run was.

use crate::record::folder::RunFolder;
use crate::record::parts;
use crate::record::registry::StepRow;
use crate::record::rows::{self, Row};

/// Most steps that are shown: they wait in memory until the screen takes them.
const MOST: usize = 100_000;

/// The steps in finished parts, in order, a part at a time; what cannot be read is left out.
pub(super) fn steps(folder: &RunFolder) -> Vec<Vec<StepRow>> {
    let dir = folder.path().join(StepRow::TABLE);
    let (mut past, mut count) = (Vec::new(), 0);
    for number in parts::numbers(&dir, "parquet").into_iter().rev() {
        if count >= MOST {
            break;
        }
        let batches = parts::read(&parts::part(&dir, number)).unwrap_or_default();
        let steps: Vec<StepRow> = batches.iter().flat_map(rows::steps).collect();
        count += steps.len();
        past.push(steps);
    }
    past.reverse();
    past
}
