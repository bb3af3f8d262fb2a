//! Owns: the read-only queries of the run's state.
//! Must not know: events, or how they change the state.
//! Invariant: no query changes the state.

use super::{ChartMark, EventCounts, RunModel, TrainerStatus};
use crate::config::{Config, Dashboard, ObjectiveKind};
use crate::schema::protocol::{AlertTopic, RunPhase};
use crate::schema::rows::ChangeOutcome;
use crate::schema::token_rows::TokenRow;
use crate::tui::model::history::SeriesHistory;
use crate::tui::model::metrics::Series;
use crate::tui::text;
use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::time::Duration;

/// Something that a person who looks elsewhere should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attention {
    /// What it is about; news of the same topic replace it.
    pub topic: &'static str,
    pub text: String,
}

impl RunModel {
    /// Returns the history of `series`; an empty one for a difference that is not kept.
    pub fn history(&self, series: Series) -> &SeriesHistory {
        self.metrics.history(series)
    }

    pub fn counts(&self) -> EventCounts {
        EventCounts {
            trainers: self.trainers_started,
            log_lines: self.log.total(),
            changes: self.changes.total(),
            samples: self.samples.total(),
            answers: self.answers.total(),
        }
    }

    /// Returns the steps that charts mark, in the order of their events.
    pub fn marks(&self) -> impl Iterator<Item = (u64, ChartMark)> {
        self.changes.iter().filter_map(|row| match row.outcome {
            ChangeOutcome::Applied => Some((row.step, ChartMark::Change)),
            ChangeOutcome::Noted => Some((row.step, ChartMark::Note)),
            ChangeOutcome::Refused => None,
        })
    }

    /// Returns the alerts about past events. The user can dismiss them after reading.
    pub fn dismissible_alerts(&self) -> impl Iterator<Item = String> {
        self.not_finite_text().into_iter()
    }

    /// Describes the last value that was not finite, and how many there were.
    pub fn not_finite_text(&self) -> Option<String> {
        let (what, times) = self.metrics.not_finite.as_ref()?;
        Some(match times {
            1 => what.clone(),
            times => format!("{what}; {} values were not finite so far", text::with_separators(*times)),
        })
    }

    /// Describes a run that trains, but whose step does not end; `None` if there is nothing unusual. A watched run does not
    /// tell when it validates: before a validation nothing is concluded.
    pub fn stall_text(&self) -> Option<String> {
        let config = &self.run.as_ref()?.config;
        let next = self.current_step() + 1;
        let validates =
            config.eval.every > 0 && next.is_multiple_of(config.eval.every) || next >= self.expected_steps();
        if self.is_over() || self.phase != Some(RunPhase::Train) || validates {
            return None;
        }
        self.step_durations.stall_text(self.now.saturating_sub(self.last_progress), next)
    }

    /// Returns what needs attention now: alerts about the run, and its end. Changes of a person's own making are not among
    /// them.
    pub fn attention(&self) -> BTreeSet<Attention> {
        let alerts = self.alerts.iter().map(|(topic, alert)| (topic.name(), alert.text.clone()));
        let not_finite = self.metrics.not_finite.as_ref().map(|(text, _)| (AlertTopic::NotFinite.name(), text.clone()));
        let stalled = self.stall_text().map(|text| (AlertTopic::Stalled.name(), text));
        let end = match &self.status {
            TrainerStatus::Running => None,
            TrainerStatus::Failed(error) => Some(("failed", format!("training failed: {error}"))),
            TrainerStatus::Finished(summary) => Some(("finished", format!("ended after {} steps", summary.steps))),
            TrainerStatus::Disconnected => Some(("finished", "stopped".to_owned())),
        };
        let all = alerts.chain(not_finite).chain(stalled).chain(end);
        all.map(|(topic, text)| Attention { topic, text }).collect()
    }

    /// Whether the run learns from the rewards of rollouts.
    pub fn is_rl(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.config.objective.kind == ObjectiveKind::Rl)
    }

    pub fn last_token_row(&self) -> Option<&TokenRow> {
        self.token_rows.back().map(|row| &**row)
    }

    /// Returns the number of retained items in everything that can grow with the run.
    #[cfg(test)]
    pub fn retained_items(&self) -> usize {
        let cells = self.token_rows.iter().map(|row| row.cells.len() + row.thoughts.len() + row.token_texts.len());
        let others =
            [self.log.len(), self.changes.len(), self.samples.len(), self.answers.len(), self.undo_stack.len()];
        self.metrics.retained_buckets()
            + cells.sum::<usize>()
            + others.iter().sum::<usize>()
            + self.histograms.columns().len()
            + self.layers.retained_buckets()
            + self.rollouts.retained_rollouts()
    }

    /// Returns the `[dashboard]` section of the config, or its defaults before the run has started.
    pub fn dashboard_config(&self) -> &Dashboard {
        static DEFAULTS: OnceLock<Dashboard> = OnceLock::new();
        match &self.run {
            Some(run) => &run.config.dashboard,
            None => DEFAULTS.get_or_init(|| Config::default().dashboard),
        }
    }

    /// Returns the number of optimizer steps done.
    pub fn current_step(&self) -> u64 {
        self.metrics.current_step()
    }

    /// Returns the first and the last step with known metrics.
    pub fn known_steps(&self) -> (u64, u64) {
        (self.metrics.first_step().unwrap_or(0), self.current_step())
    }

    /// Returns the number of optimizer steps that the whole run is expected to have, once its config is known.
    pub fn total_steps(&self) -> Option<u64> {
        let run = self.run.as_ref()?;
        Some(run.config.run.expected_steps(&self.metrics.work_done()))
    }

    /// Returns the same number; 0 while the config is not known.
    pub fn expected_steps(&self) -> u64 {
        self.total_steps().unwrap_or(0)
    }

    pub fn config_version(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.version)
    }

    pub fn is_over(&self) -> bool {
        self.status != TrainerStatus::Running
    }

    pub fn is_paused(&self) -> bool {
        self.phase == Some(RunPhase::Paused) && !self.is_over()
    }

    /// Returns whether there is nothing to chart yet: data, model and kernels are being prepared.
    pub fn is_preparing(&self) -> bool {
        !self.has_live_step && self.metrics.first_step().is_none() && self.token_rows.is_empty()
    }

    pub fn eta(&self) -> Option<Duration> {
        self.pace.eta(self.total_steps()?, self.now_on_run_clock())
    }
}
