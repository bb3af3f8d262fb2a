//! Owns: what is remembered of a dashboard from one time to the next: panels, charts, modes; in one small file.
//! Must not know: runs, configs of runs.
//! Invariant: a file that is missing, damaged, or of another version is as good as none; nothing is lost but choices.

use super::charts::Parts;
use super::heat::Mode;
use super::layout::{self, SLOTS};
use super::view::{Panel, Picture, View};
use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Choices {
    focus: Panel,
    shown: [Panel; SLOTS],
    expanded: bool,
    mode: Mode,
    picture: Picture,
    charts: Parts,
    log_steps: bool,
    log_losses: bool,
    smoothing: Option<f64>,
    mouse: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Self::of(&View::default())
    }
}

impl Choices {
    fn of(view: &View) -> Self {
        let charts = &view.charts;
        Self {
            focus: view.focus,
            shown: view.shown,
            expanded: view.expanded,
            mode: view.mode,
            picture: view.picture,
            charts: charts.parts,
            log_steps: charts.log_x,
            log_losses: charts.log_y,
            smoothing: charts.smoothing,
            mouse: view.mouse,
        }
    }

    fn lay(&self, view: &mut View) {
        for (slot, panel) in self.shown.iter().enumerate() {
            if layout::slot(*panel) == Some(slot) {
                view.shown[slot] = *panel;
            }
        }
        view.look_at(self.focus);
        (view.expanded, view.mode, view.picture, view.mouse) =
            (self.expanded, self.mode, self.picture, self.mouse);
        let charts = &mut view.charts;
        (charts.parts, charts.log_x, charts.log_y) = (self.charts, self.log_steps, self.log_losses);
        charts.smoothing = self.smoothing.filter(|smoothing| (0.0..1.0).contains(smoothing));
    }
}

/// The file, and what it holds.
pub struct Memory {
    file: Option<PathBuf>,
    kept: Choices,
}

impl Memory {
    /// The one of this user: `dashboard.toml` in the folder for state (`$XDG_STATE_HOME/coconut-lab`).
    pub fn of_user() -> Self {
        let base = etcetera::choose_base_strategy().ok();
        let folder = base.map(|base| base.state_dir().unwrap_or_else(|| base.data_dir()).join("coconut-lab"));
        Self::at(folder.map(|folder| folder.join("dashboard.toml")))
    }

    fn at(file: Option<PathBuf>) -> Self {
        Self { file, kept: Choices::default() }
    }

    /// Looks as it did last time.
    pub fn recall(&mut self, view: &mut View) {
        let text = self.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        if let Some(choices) = text.and_then(|text| toml::from_str::<Choices>(&text).ok()) {
            choices.lay(view);
        }
        self.kept = Choices::of(view);
    }

    /// Keeps what was chosen, if it is not kept. That it cannot be kept is no reason to disturb anybody.
    pub fn keep(&mut self, view: &View) {
        let now = Choices::of(view);
        if now != self.kept {
            let _ = self.file.as_ref().map(|file| write(file, &now));
            self.kept = now;
        }
    }
}

/// Writes aside and renames: two dashboards may be left at once.
fn write(file: &Path, choices: &Choices) -> io::Result<()> {
    let text = toml::to_string(choices).map_err(io::Error::other)?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let aside = file.with_extension(format!("{}.tmp", std::process::id()));
    std::fs::write(&aside, text)?;
    std::fs::rename(&aside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_come_back_and_nonsense_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state/dashboard.toml");
        let memory = || Memory::at(Some(file.clone()));
        let mut view = View::default();
        memory().recall(&mut view);
        assert_eq!(view.focus, Panel::Loss);
        view.look_at(Panel::Cost);
        (view.mode, view.charts.log_y, view.mouse) = (Mode::Nll, true, false);
        memory().keep(&view);
        let mut again = View::default();
        memory().recall(&mut again);
        assert_eq!(Choices::of(&again), Choices::of(&view));
        assert_eq!(again.shown[0], Panel::Cost);
        for text in
            ["", "focus = \"nowhere\"", "\u{0}", "smoothing = 5.0", "shown = [\"log\", \"log\", \"log\"]"]
        {
            std::fs::write(&file, text).unwrap();
            let mut view = View::default();
            memory().recall(&mut view);
            assert_eq!((view.charts.smoothing, view.shown[0]), (None, Panel::Schedule), "{text:?}");
        }
    }

    #[test]
    fn nowhere_to_keep_it_is_no_error() {
        let mut memory = Memory::at(Some("/proc/none/dashboard.toml".into()));
        let mut view = View::default();
        memory.recall(&mut view);
        view.look_at(Panel::Log);
        memory.keep(&view);
    }
}
