//! Owns: the device that a run uses: which one, its measured peak, its compiled kernels on disk.
//! Must not know: models, runs.
//! Invariant: a device is constructed only after its driver has been probed.

#[cfg(feature = "gpu")]
mod kernel_cache;
mod selection;

pub use selection::*;

/// Why a device cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("`run.device` = \"{requested}\": {reason}")]
    Unavailable { requested: String, reason: String },
    #[error("`{key}` = {dtype}: {reason}")]
    Dtype { key: &'static str, dtype: &'static str, reason: String },
}
