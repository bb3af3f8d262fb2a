//! Owns: steering a run of another process: by its config file, which that process takes up.
//! Must not know: how the run is followed.
//! Invariant: nothing is written that the run would not take up.

use super::Follower;
use crate::config::change::{self, Edit};
use crate::config::{self, ConfigError, edit};
use crate::message::{About, Alert, Command, Event, Set};
use crate::record::folder::replace;

impl Follower {
    /// The run's config file is the way to a run of another process.
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Set(set) => self.set(&set),
            Command::Pause(false) if self.held && !self.config.run.paused => {
                let text = "a key in the run's own dashboard holds it: it goes on there";
                self.say(Event::Alert(Alert { about: About::Keys, text: Some(text.into()) }));
            }
            Command::Pause(hold) => {
                self.set(&Set::one("run.paused", hold.to_string()));
            }
            Command::Ask(_) => {
                let text = "only the run's own dashboard can ask its trainer; `coconut-lab generate` asks its checkpoints";
                self.say(Event::Alert(Alert { about: About::Keys, text: Some(text.into()) }));
            }
            Command::Step | Command::Note(_) | Command::Save | Command::Stop | Command::Drop => {
                let text = "only the run's own dashboard can do this; here a run is steered by its settings";
                self.say(Event::Alert(Alert { about: About::Keys, text: Some(text.into()) }));
            }
        }
    }

    fn set(&mut self, set: &Set) {
        let mut text = self.write(set).err();
        if text.is_none() && self.over {
            let keys: Vec<&str> = set.values.iter().map(|(key, _)| key.as_str()).collect();
            text = Some(format!("the run is not running: `{}` holds when it is resumed", keys.join("`, `")));
        }
        self.say(Event::Alert(Alert { about: About::Keys, text }));
    }

    fn write(&self, set: &Set) -> Result<(), String> {
        let file = self.folder.config();
        let edits: Result<Vec<Edit>, ConfigError> =
            set.values.iter().map(|(key, value)| change::parse(&self.config, key, value)).collect();
        let edits = edits.map_err(|error| error.to_string())?;
        if let Some(frozen) = edits.iter().find(|edit| edit.is_frozen()) {
            return Err(format!("`{}` cannot change during a run", frozen.key.path()));
        }
        let laid: Vec<_> = edits.iter().map(|edit| (edit.key, &edit.new)).collect();
        let text = config::read(&file).map_err(|error| error.to_string())?;
        let text = edit::set(&text, &laid).map_err(|error| format!("{}: {error}", file.display()))?;
        replace(&file, text.as_bytes()).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::folder::RunFolder;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn a_setting_is_written_into_the_config_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
        std::fs::write(folder.config(), "# mine\n[optim]\nlr = 0.1 # peak\n").unwrap();
        let (events, _kept) = sync_channel(9);
        let mut follower = Follower::new(folder.clone(), events);
        let set = |key: &str, value: &str| Set::one(key, value);
        follower.write(&set("optim.lr", "0.2")).unwrap();
        follower.obey(Command::Pause(true));
        let text = std::fs::read_to_string(folder.config()).unwrap();
        assert!(
            text.starts_with("# mine\n[optim]\nlr = 0.2 # peak\n") && text.contains("paused = true"),
            "{text}"
        );
        assert!(follower.write(&set("data.batch", "2")).unwrap_err().contains("cannot change"));
        assert!(follower.write(&set("optim.lr", "99")).unwrap_err().contains("from 0 to 10"));
    }
}
