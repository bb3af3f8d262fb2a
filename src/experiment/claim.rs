//! Owns: claims: which process makes which run of an experiment.
//! Must not know: what a run is, how it is made.
//! Invariant: a claim has one holder. It ends with its process, however that ends.

use super::ExperimentError;
use crate::files::FileError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

/// The claim of this process on a run, held until it is dropped.
#[derive(Debug)]
pub struct Claim {
    _file: File,
}

/// Whether a run could be claimed.
#[derive(Debug)]
pub enum ClaimOutcome {
    Held(Claim),
    /// Another process has it: its host, its number and since when.
    Taken(String),
}

/// Folder of the claims in an experiment's folder.
const CLAIMS: &str = ".claims";

/// Claims the run `name` in the experiment's folder `dir`. The claim is a lock on a file (`flock`), which file systems
/// shared between machines know, too.
pub fn claim_run(dir: &Path, name: &str) -> Result<ClaimOutcome, ExperimentError> {
    let claims = dir.join(CLAIMS);
    std::fs::create_dir_all(&claims).map_err(FileError::wrap("create", &claims))?;
    let path = claims.join(name);
    let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = open.map_err(FileError::wrap("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            return Ok(ClaimOutcome::Taken(owner.trim().to_owned()));
        }
        Err(TryLockError::Error(cause)) => return Err(FileError::wrap("lock", &path)(cause).into()),
    }
    let host = sysinfo::System::host_name().unwrap_or_default();
    let now = chrono::Local::now().format("%F %T");
    let owner = format!("process {} on {host} since {now}\n", std::process::id());
    file.set_len(0).and_then(|()| file.write_all(owner.as_bytes())).map_err(FileError::wrap("write", &path))?;
    Ok(ClaimOutcome::Held(Claim { _file: file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_has_one_holder_and_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let claim = |name| claim_run(dir.path(), name).unwrap();
        let held = claim("a-s0");
        let ClaimOutcome::Taken(owner) = claim("a-s0") else { panic!("claimed twice") };
        assert!(owner.contains(&format!("process {}", std::process::id())), "{owner}");
        assert!(matches!(claim("a-s1"), ClaimOutcome::Held(_)));
        drop(held);
        assert!(matches!(claim("a-s0"), ClaimOutcome::Held(_)));
    }
}
