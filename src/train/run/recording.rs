//! Owns: what the recorder is told of a config: its timing, and a hash that tells configs apart.
//! Must not know: tables, when a config changes.
//! Invariant: equal configs have equal hashes.

use crate::config::{self, Config};
use crate::record::recorder::RecordTiming;
use crate::record::tensorboard::EventFiles;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Returns how often the recorder syncs, closes segments and measures the system.
pub(in crate::train) fn recorder_timing(record: &config::Record) -> RecordTiming {
    RecordTiming {
        sync_time: Duration::from_secs_f64(record.sync_seconds),
        sync_rows: record.sync_rows,
        part_rows: record.part_rows,
        part_time: Duration::from_secs_f64(record.part_seconds),
        system_time: Duration::from_secs_f64(record.system_seconds),
    }
}

/// Returns whether the recorder writes event files.
pub(in crate::train) fn event_files(record: &config::Record) -> EventFiles {
    if record.tensorboard { EventFiles::Written } else { EventFiles::Omitted }
}

/// Returns the SHA-256 of a config as TOML, in hexadecimal.
pub(in crate::train) fn config_hash(config: &Config) -> String {
    let text = config.to_toml().unwrap_or_default();
    hex(&Sha256::digest(text.as_bytes()))
}

pub(in crate::train) fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
