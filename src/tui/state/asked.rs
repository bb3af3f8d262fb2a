//! Owns: what the screen asks of the state.
//! Must not know: events, how they change it.
//! Invariant: nothing is changed by being asked.

use super::{DIFFERENCES, End, Mark, Series, State};
use crate::config::Dashboard;
use crate::message::{About, Phase, TokenRow};
use crate::record::rows::Outcome;
use crate::tui::history::History;
use crate::tui::text;
use std::time::Duration;

impl State {
    /// The course of `series`; an empty one of a difference that is not kept.
    pub fn history(&self, series: Series) -> &History {
        static NONE: std::sync::OnceLock<History> = std::sync::OnceLock::new();
        match series {
            Series::Of(metric) => &self.histories[metric as usize],
            Series::Less(one, other) => {
                let at = DIFFERENCES.iter().position(|pair| *pair == (one, other));
                at.map_or_else(|| NONE.get_or_init(History::default), |at| &self.differences[at])
            }
        }
    }

    /// The steps that charts mark, in the order in which they were marked.
    pub fn marks(&self) -> impl Iterator<Item = (u64, Mark)> {
        self.changes.iter().filter_map(|row| match row.outcome {
            Outcome::Applied => Some((row.step, Mark::Change)),
            Outcome::Noted => Some((row.step, Mark::Note)),
            Outcome::Refused => None,
        })
    }

    /// Alerts that say what was, not what is: once they are read they are in the way.
    pub fn passing_alerts(&self) -> impl Iterator<Item = String> {
        let keys = self.alerts.get(&About::Keys).cloned();
        keys.into_iter().chain(self.not_finite_words())
    }

    /// What was not finite, in words.
    pub fn not_finite_words(&self) -> Option<String> {
        let (what, times) = self.not_finite.as_ref()?;
        Some(match times {
            1 => what.clone(),
            times => format!("{what}; {} values were not finite so far", text::count(*times)),
        })
    }

    /// The last row of tokens.
    pub fn row(&self) -> Option<&TokenRow> {
        self.rows.back().map(|row| &**row)
    }

    /// How much it remembers: of what can grow with the run, how many.
    #[cfg(test)]
    pub fn weight(&self) -> usize {
        let histories = self.histories.iter().chain(&self.differences).map(|history| history.buckets().len());
        let cells = self.rows.iter().map(|row| row.cells.len() + row.thoughts.len() + row.words.len());
        let others =
            [self.log.len(), self.changes.len(), self.samples.len(), self.answers.len(), self.undo.len()];
        histories.sum::<usize>()
            + cells.sum::<usize>()
            + others.iter().sum::<usize>()
            + self.spreads.columns().len()
    }

    /// How the screen is to be, as far as it is known.
    pub fn dashboard(&self) -> &Dashboard {
        &self.dashboard
    }

    /// Updates done.
    pub fn step_now(&self) -> u64 {
        self.latest.step()
    }

    /// First and last step that are known of.
    pub fn span(&self) -> (u64, u64) {
        (self.first.unwrap_or(0), self.step_now())
    }

    /// Updates asked for, once they are known.
    pub fn steps(&self) -> Option<u64> {
        self.run.as_ref().map(|run| run.config.run.steps)
    }

    /// Version of the config in force.
    pub fn version(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.version)
    }

    /// Whether the run has ended, well or not.
    pub fn is_over(&self) -> bool {
        self.end != End::Running
    }

    /// Whether the trainer holds.
    pub fn is_paused(&self) -> bool {
        self.phase == Some(Phase::Paused) && !self.is_over()
    }

    /// Whether there is nothing to chart yet: data, model and kernels are being made.
    pub fn is_preparing(&self) -> bool {
        !self.stepped && self.first.is_none() && self.rows.is_empty()
    }

    /// What is left of the run.
    pub fn eta(&self) -> Option<Duration> {
        self.clock.eta(self.steps()?, self.on_clock())
    }
}
