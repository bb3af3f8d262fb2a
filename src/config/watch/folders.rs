//! Owns: which folders are watched for events, and passing on that something happened in them.
//! Must not know: what the watched files hold.
//! Invariant: reading a file gives no hint, or every hint would lead to the next; a folder that cannot be watched is no
//! error.

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::SystemTime;

/// Which folder stands under a name: it may be removed and made anew.
#[derive(PartialEq)]
struct Identity {
    number: u64,
    created: Option<SystemTime>,
}

/// The folders that are watched for events.
pub(super) struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Identity>,
}

impl Folders {
    /// Whatever happens in a folder is hinted at with `hint`. Where there can be no events, there are none.
    pub(super) fn watched(hint: SyncSender<()>) -> Self {
        let hear = move |event: notify::Result<Event>| {
            if event.as_ref().is_ok_and(|event| is_reading(event.kind)) {
                return;
            }
            // If there is a hint already, that one does.
            let _ = hint.try_send(());
        };
        Self { watcher: notify::recommended_watcher(hear).ok(), watched: BTreeMap::new() }
    }

    /// No events.
    pub(super) fn unwatched() -> Self {
        Self { watcher: None, watched: BTreeMap::new() }
    }

    /// Watches the folders of `paths`, and of the files which those lead to in the end, as they are now; no others.
    pub(super) fn follow(&mut self, paths: &[PathBuf]) {
        let Some(watcher) = &mut self.watcher else { return };
        // By their real names: one folder watched under two would be one watch, and the end of one the end of both.
        let linked = paths.iter().filter_map(|path| path.parent()?.canonicalize().ok());
        let real = paths.iter().filter_map(|path| Some(path.canonicalize().ok()?.parent()?.to_owned()));
        let mut wanted: BTreeMap<_, _> = linked
            .chain(real)
            .filter_map(|folder| identity(&folder).map(|identity| (folder, identity)))
            .collect();
        self.watched.retain(|folder, identity| {
            let stays = wanted.get(folder) == Some(identity);
            if stays {
                wanted.remove(folder);
            } else {
                // It may be gone, and its watch with it.
                let _ = watcher.unwatch(folder);
            }
            stays
        });
        for (folder, identity) in wanted {
            // What cannot be watched is tried again the next time.
            if watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert(folder, identity);
            }
        }
    }
}

/// Whether nothing was written: our own reading is among such events.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

fn identity(folder: &Path) -> Option<Identity> {
    let about = std::fs::metadata(folder).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&about);
    #[cfg(not(unix))]
    let number = 0;
    Some(Identity { number, created: about.created().ok() })
}
