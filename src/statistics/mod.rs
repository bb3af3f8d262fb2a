//! Owns: the statistics of experiments, as plain numbers: paired differences, intervals, tests, curves over operations, power.
//! Must not know: runs, files, what a number stands for.
//! Invariant: equal numbers and seeds give equal results. Every interval has two sides, and level 0.95 unless it says another.

mod bootstrap;
mod curves;
mod distributions;
mod estimate;
mod paired;
mod paired_answers;
mod power;
mod scores;

pub use bootstrap::{BootstrapIntervals, bootstrap_mean};
pub use curves::{LossCurve, ReachRatio, flop_to_reach, loss_at};
pub use estimate::Estimate;
pub use paired::{PairedDifference, holm, t_interval, t_interval_at};
pub use paired_answers::PairedAnswers;
pub use power::{detectable_effect, power, seeds_needed};
pub use scores::{improvement_interval, iqm, iqm_interval, probability_of_improvement};
