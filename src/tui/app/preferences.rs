//! Owns: the user's dashboard preferences: panels, chart scales, modes. They are kept in one small file.
//! Must not know: runs, or configs of runs.
//! Invariant: a missing, damaged or incompatible file counts as no file.

use super::chart_settings::LossCharts;
use super::layout::{self, SLOTS};
use super::panel_id::Panel;
use super::token_view::EntropyDisplay;
use super::view::ViewState;
use crate::files::atomic::replace_file_unsynced;
use crate::tui::plot::axis::Scale;
use crate::tui::plot::token_grid::TokenValue;
use crate::tui::theme::BackgroundChoice;
use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// The saved part of the view. Field names are the keys of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct SavedView {
    focus: Panel,
    shown: [Panel; SLOTS],
    expanded: bool,
    mode: TokenValue,
    picture: EntropyDisplay,
    charts: LossCharts,
    log_steps: bool,
    log_losses: bool,
    smoothing: Option<f64>,
    mouse: bool,
    background: BackgroundChoice,
}

impl Default for SavedView {
    fn default() -> Self {
        Self::from_view(&ViewState::default())
    }
}

impl SavedView {
    fn from_view(view: &ViewState) -> Self {
        let charts = &view.charts;
        Self {
            focus: view.panels.focus,
            shown: view.panels.slots,
            expanded: view.panels.expanded,
            mode: view.tokens.value,
            picture: view.tokens.display,
            charts: charts.loss_charts,
            log_steps: charts.x_scale == Scale::Log,
            log_losses: charts.y_scale == Scale::Log,
            smoothing: charts.smoothing,
            mouse: !view.mouse_released,
            background: view.background,
        }
    }

    fn apply_to(&self, view: &mut ViewState) {
        for (slot, panel) in self.shown.iter().enumerate() {
            if layout::slot_of(*panel) == Some(slot) {
                view.panels.slots[slot] = *panel;
            }
        }
        view.panels.focus_on(self.focus);
        (view.panels.expanded, view.tokens.value, view.tokens.display, view.mouse_released) =
            (self.expanded, self.mode, self.picture, !self.mouse);
        view.background = self.background;
        let charts = &mut view.charts;
        let scale = |is_log| if is_log { Scale::Log } else { Scale::Linear };
        charts.loss_charts = self.charts;
        (charts.x_scale, charts.y_scale) = (scale(self.log_steps), scale(self.log_losses));
        charts.smoothing = self.smoothing.filter(|smoothing| (0.0..1.0).contains(smoothing));
    }
}

/// The preferences file and what it contains.
pub struct UiPreferences {
    file: Option<PathBuf>,
    saved: SavedView,
}

impl UiPreferences {
    /// Opens the user's file: `dashboard.toml` in the state folder (`$XDG_STATE_HOME/coconut-lab`).
    pub fn for_user() -> Self {
        let base = etcetera::choose_base_strategy().ok();
        let folder = base.map(|base| base.state_dir().unwrap_or_else(|| base.data_dir()).join("coconut-lab"));
        Self::with_file(folder.map(|folder| folder.join("dashboard.toml")))
    }

    fn with_file(file: Option<PathBuf>) -> Self {
        Self { file, saved: SavedView::default() }
    }

    pub fn restore(&mut self, view: &mut ViewState) {
        let text = self.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
        if let Some(saved) = text.and_then(|text| toml::from_str::<SavedView>(&text).ok()) {
            saved.apply_to(view);
        }
        self.saved = SavedView::from_view(view);
    }

    /// Saves changed preferences. A write error is ignored: it must not disturb the dashboard.
    pub fn save_if_changed(&mut self, view: &ViewState) {
        let now = SavedView::from_view(view);
        if now != self.saved {
            let _ = self.file.as_ref().map(|file| write_preferences(file, &now));
            self.saved = now;
        }
    }
}

/// Replaces the file atomically, because two dashboards may save at once, and without waiting for a busy disk.
fn write_preferences(file: &Path, saved: &SavedView) -> io::Result<()> {
    let text = toml::to_string(saved).map_err(io::Error::other)?;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    replace_file_unsynced(file, text.as_bytes()).map_err(|error| error.cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_come_back_and_invalid_files_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state/dashboard.toml");
        let preferences = || UiPreferences::with_file(Some(file.clone()));
        let mut view = ViewState::default();
        preferences().restore(&mut view);
        assert_eq!(view.panels.focus, Panel::Loss);
        view.panels.focus_on(Panel::Cost);
        (view.tokens.value, view.charts.y_scale, view.mouse_released) = (TokenValue::Nll, Scale::Log, true);
        view.background = BackgroundChoice::Light;
        preferences().save_if_changed(&view);
        let mut again = ViewState::default();
        preferences().restore(&mut again);
        assert_eq!(SavedView::from_view(&again), SavedView::from_view(&view));
        assert_eq!(again.panels.slots[0], Panel::Cost);
        for text in ["", "focus = \"nowhere\"", "\u{0}", "smoothing = 5.0", "shown = [\"log\", \"log\", \"log\"]"] {
            std::fs::write(&file, text).unwrap();
            let mut view = ViewState::default();
            preferences().restore(&mut view);
            assert_eq!((view.charts.smoothing, view.panels.slots[0]), (None, Panel::Schedule), "{text:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_no_error() {
        let mut preferences = UiPreferences::with_file(Some("/proc/none/dashboard.toml".into()));
        let mut view = ViewState::default();
        preferences.restore(&mut view);
        view.panels.focus_on(Panel::Log);
        preferences.save_if_changed(&view);
    }
}
