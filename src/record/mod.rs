//! Owns: what a run leaves behind: its folder, the metric registry, the metrics writer, the log.
//! Must not know: tensors, terminals, how a metric is computed.
//! Invariant: what is recorded can be read by others while the run goes on.

pub mod folder;
pub mod log;
pub mod metrics;
pub mod registry;

/// Why something could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("cannot {action} {path}: {cause}")]
    Io { action: &'static str, path: String, cause: std::io::Error },
    #[error("cannot write metrics to {path}: {message}")]
    Metrics { path: String, message: String },
}

impl RecordError {
    pub(crate) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> RecordError + use<> {
        let path = path.display().to_string();
        move |cause| RecordError::Io { action, path, cause }
    }
}
