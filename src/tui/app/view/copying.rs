//! Owns: what the key for copying takes from each panel.
//! Must not know: the clipboard, how panels are drawn.
//! Invariant: what is copied is what the panel shows, in full: at the step cursor, the selected setting, the newest entry in
//! sight.

use super::{Panel, ViewState};
use crate::schema::metrics::Metric;
use crate::tui::model::layers::{LayerHistory, LayerNumber};
use crate::tui::model::metrics::Series;
use crate::tui::model::state::RunModel;
use crate::tui::panels::{changes, log, playground, samples};
use std::fmt::Write;

impl ViewState {
    /// Returns the text to copy from the focused panel; none if it has nothing.
    pub fn text_to_copy(&self, state: &RunModel) -> Option<String> {
        let back = self.list(self.panels.focus).offset;
        match self.panels.focus {
            Panel::Run => state.run.as_ref().map(|run| run.folder.display().to_string()),
            Panel::Loss | Panel::Cost => Some(self.metrics_table(state)).filter(|table| !table.is_empty()),
            Panel::Schedule => {
                let command = self.set_command_text(state)?;
                let (key, value) = command.strip_prefix("set ")?.split_once(' ')?;
                Some(format!("--set '{key}={value}'"))
            }
            Panel::Entropy | Panel::Thoughts => {
                let row = self.tokens.row(state)?;
                Some(row.cells.iter().map(|cell| cell.text.as_str()).collect())
            }
            Panel::Layers => Some(self.layers_table(state)).filter(|table| !table.is_empty()),
            Panel::Rollouts => {
                let selected = self.rollouts.selected(state)?;
                let row = selected.rollout();
                Some(format!("{}\n{}\nright answer: {}", row.prompt, row.text, row.right_answer))
            }
            Panel::Changes => changes::entries(state, self).nth(back).map(changes::row_text),
            Panel::Log => log::entries(state, self).nth(back).map(|entry| entry.text.clone()),
            Panel::Samples => samples::entries(state, self).nth(back).map(|sample| sample.text.clone()),
            Panel::Playground => playground::entries(state, self).nth(back).map(playground::whole_text),
        }
    }

    /// Returns a line for each layer: its name and its numbers at the step cursor, with tabs between.
    fn layers_table(&self, state: &RunModel) -> String {
        let value = |layer: &LayerHistory, number| layer.value_at(number, self.charts.cursor);
        let line = |layer: &LayerHistory| {
            let numbers = LayerNumber::ALL.map(|number| value(layer, number).map_or(String::new(), |v| v.to_string()));
            format!("{}\t{}\n", layer.last.layer, numbers.join("\t"))
        };
        state.layers.all().iter().map(line).collect()
    }

    /// Returns the metrics at the step cursor, or the newest ones: a line for each, name and value with a tab between.
    fn metrics_table(&self, state: &RunModel) -> String {
        let step = self.charts.cursor.unwrap_or(u64::MAX);
        let mut table = String::new();
        for metric in Metric::ALL {
            if let Some(bucket) = state.history(Series::Metric(*metric)).bucket_at(step) {
                // Writing into a string cannot fail.
                let _ = writeln!(table, "{}\t{}", metric.spec().name, bucket.mean);
            }
        }
        table
    }
}
