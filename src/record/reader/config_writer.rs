//! Owns: changing a run of another process: by writing its config file, which that process watches.
//! Must not know: how the run is followed.
//! Invariant: nothing is written that the run would refuse.

use super::run_reader::RunReader;
use crate::config::change::{self, KeyChange};
use crate::config::{self, ConfigError, edit};
use crate::files::atomic::replace_file;
use crate::schema::protocol::{Alert, AlertTopic, Command, Event, SetKeys};

impl RunReader {
    /// Carries out a command by writing the run's config file, and sends an alert that tells how that went.
    pub fn handle_command(&mut self, command: Command) {
        let text = match command {
            Command::SetKeys(set) => self.set_keys(&set),
            Command::SetPaused(false) if self.pause_recorded && !self.config.run.paused => {
                Some("paused by a key in the run's own dashboard; continue it there".into())
            }
            Command::SetPaused(hold) => self.set_keys(&SetKeys::single("run.paused", hold.to_string())),
            Command::Ask(_) => {
                Some("only the run's own dashboard can ask its model; try `coconut-lab generate`".into())
            }
            Command::StepOnce | Command::Note(_) | Command::Save | Command::Stop | Command::StopWithoutCheckpoint => {
                Some("only the run's own dashboard can do this; here you can change keys and pause".into())
            }
        };
        // If it was written, the change that the run makes of it is the reply.
        if text.is_some() {
            self.emit(Event::Alert(Alert::now(AlertTopic::DashboardEdit, text)));
        }
    }

    /// Writes the keys. Returns why that failed, or that the run is not running.
    fn set_keys(&self, set: &SetKeys) -> Option<String> {
        let error = self.write_keys(set).err();
        let keys = || set.values.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join("`, `");
        let not_running = || format!("the run is not running: `{}` applies when it is resumed", keys());
        error.or_else(|| self.end_sent.then(not_running))
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
        reader.handle_command(Command::SetPaused(true));
        let text = std::fs::read_to_string(folder.config_file()).unwrap();
        assert!(text.starts_with("# mine\n[optim]\nlr = 0.2 # peak\n") && text.contains("paused = true"), "{text}");
        assert!(reader.write_keys(&set("data.batch", "2")).unwrap_err().contains("cannot change"));
        assert!(reader.write_keys(&set("optim.lr", "99")).unwrap_err().contains("from 0 to 10"));
    }
}
