//! Owns: changing a run without a trainer: by writing its config file, which the next one reads.
//! Must not know: how the run is followed.
//! Invariant: nothing is written that the run would refuse.

use super::run_reader::RunReader;
use crate::config::change::{self, KeyChange};
use crate::config::{self, ConfigError, edit};
use crate::files::atomic::replace_file;
use crate::schema::protocol::SetKeys;

impl RunReader {
    /// Writes the keys. Returns why that failed, or that the run is not running.
    pub(super) fn set_keys(&self, set: &SetKeys) -> Option<String> {
        let error = self.write_keys(set).err();
        let keys = || set.values.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join("`, `");
        error.or_else(|| Some(format!("the run is not running: `{}` applies when it is resumed", keys())))
    }

    /// Writes new values of keys into the run's config file, all or none. Fails for frozen keys.
    fn write_keys(&self, set: &SetKeys) -> Result<(), String> {
        let file = self.folder.config_file();
        let edits: Result<Vec<KeyChange>, ConfigError> =
            set.values.iter().map(|(key, value)| change::parse(&self.config, key, value)).collect();
        let edits = edits.map_err(|error| error.to_string())?;
        if let Some(frozen) = edits.iter().find(|edit| edit.is_frozen()) {
            return Err(format!("`{}` cannot change during a run", frozen.key.path()));
        }
        let values: Vec<_> = edits.iter().map(|edit| (edit.key, &edit.new)).collect();
        let text = config::read_file(&file).map_err(|error| error.to_string())?;
        let text = edit::set(&text, &values).map_err(|error| format!("{}: {error}", file.display()))?;
        replace_file(&file, text.as_bytes()).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::run_folder::RunFolder;
    use crate::schema::protocol::Command;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_setting_is_written_into_the_config_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        std::fs::write(folder.config_file(), "# mine\n[optim]\nlr = 0.1 # peak\n").unwrap();
        let (events, _kept) = sync_channel(9);
        let mut reader = RunReader::new(folder.clone(), events);
        let set = |key: &str, value: &str| SetKeys::single(key, value);
        reader.write_keys(&set("optim.lr", "0.2")).unwrap();
        reader.handle_command(Command::SetKeys(set("run.paused", "true")));
        let text = std::fs::read_to_string(folder.config_file()).unwrap();
        assert!(text.starts_with("# mine\n[optim]\nlr = 0.2 # peak\n") && text.contains("paused = true"), "{text}");
        assert!(reader.write_keys(&set("data.batch", "2")).unwrap_err().contains("cannot change"));
        assert!(reader.write_keys(&set("optim.lr", "99")).unwrap_err().contains("from 0 to 10"));
    }
}
