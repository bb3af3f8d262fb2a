//! Owns: experiments: arms by seeds as a file, their runs, who makes which, and what they show.
//! Must not know: how a run is trained or drawn. Runs are known by their folders alone.
//! Invariant: what is compared was declared in the file; a run counts only if its config is that of its arm.

pub mod analysis;
pub mod claim;
pub mod collect;
pub mod declaration;
pub mod plan;
pub mod progress;
pub mod report;
pub mod results;
pub mod schedulers;
pub mod spec;

use crate::config::ConfigError;
use crate::files::FileError;
use crate::record::RecordError;

/// Why an experiment cannot be read, planned or judged.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    #[error("{file}: {message}")]
    Spec { file: String, message: String },
    #[error("{place}: {cause}")]
    Arm { place: String, cause: ConfigError },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Record(#[from] RecordError),
}
