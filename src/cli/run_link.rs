//! Owns: the thread that follows a run folder for a dashboard.
//! Must not know: what the files of a run hold, who trains the run.
//! Invariant: the thread ends when the dashboard drops its end of the channels.

use crate::record::reader;
use crate::record::run_folder::RunFolder;
use crate::tui::TrainerLink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::sync_channel;

/// Starts to follow the run in folder `run`.
///
/// # Errors
/// The folder is not a run, or the thread cannot start.
pub(super) fn follow_run(run: &Path) -> anyhow::Result<TrainerLink> {
    let folder = RunFolder::open(run)?;
    let (events_in, events) = sync_channel(4096);
    let (commands, command_receiver) = sync_channel(64);
    std::thread::Builder::new()
        .name("follow".into())
        .spawn(move || reader::follow_run(folder, events_in, &command_receiver))
        .map_err(|error| anyhow::anyhow!("cannot start the thread that follows the run: {error}"))?;
    Ok(TrainerLink { events, commands, dropped_frames: Arc::new(AtomicU64::new(0)) })
}
