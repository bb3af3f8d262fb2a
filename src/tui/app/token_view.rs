//! Owns: `TokenView`: which token row and which of its values the user looks at.
//! Must not know: how tokens are laid out or coloured.
//! Invariant: if no row is chosen, the newest is shown.

use super::actions::Direction;
use crate::schema::token_rows::TokenRow;
use crate::tui::model::state::RunModel;
use crate::tui::plot::token_grid::TokenValue;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntropyDisplay {
    /// One token row as text.
    #[default]
    Row,
    /// A heatmap of step by entropy over the whole run.
    #[serde(rename = "course")]
    Heatmap,
}

impl EntropyDisplay {
    pub fn toggled(self) -> Self {
        if self == EntropyDisplay::Row { EntropyDisplay::Heatmap } else { EntropyDisplay::Row }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct TokenView {
    /// The selected position in the row.
    pub selected: usize,
    /// The step of the row; none for the newest.
    pub row_step: Option<u64>,
    pub value: TokenValue,
    pub display: EntropyDisplay,
}

impl TokenView {
    /// Returns the row to display.
    pub fn row<'a>(&self, state: &'a RunModel) -> Option<&'a TokenRow> {
        let held = self.row_step.and_then(|step| state.token_rows.iter().find(|row| row.step >= step));
        held.or(state.token_rows.back()).map(|row| &**row)
    }

    /// Selects the next older or newer row.
    pub fn select_row(&mut self, direction: Direction, state: &RunModel) {
        let shown = self.row(state).map(|row| row.step);
        let mut steps = state.token_rows.iter().map(|row| row.step);
        let newest = steps.clone().next_back();
        let to = match direction {
            Direction::Backward => steps.rfind(|step| Some(*step) < shown).or(shown),
            Direction::Forward => steps.find(|step| Some(*step) > shown),
        };
        self.row_step = to.filter(|to| Some(*to) != newest);
    }
}
