//! Owns: the statistics of experiments: paired differences of arms over seeds, intervals, corrections, learning curves, power.
//! Must not know: runs, files, what a number stands for.
//! Invariant: equal numbers and seeds give equal results. A number that does not exist is `None`, never a guess.
//!
//! Every interval has level 95 %, unless it says another, and two sides.

pub mod bootstrap;
pub mod curves;
mod distributions;
pub mod estimate;
pub mod holm;
pub mod improvement;
pub mod iqm;
pub mod mcnemar;
pub mod paired;
pub mod power;
mod resample;
mod sign_flip;
pub mod t_interval;

pub use bootstrap::{BootstrapMean, bootstrap_mean};
pub use curves::{LossCurve, ReachRatio, equal_flop_difference, flop_to_reach, loss_at};
pub use estimate::Estimate;
pub use holm::holm;
pub use improvement::{improvement_interval, probability_of_improvement};
pub use iqm::{iqm, iqm_interval};
pub use mcnemar::PairedAnswers;
pub use paired::PairedDifference;
pub use power::{detectable_effect, power, seeds_needed};
pub use t_interval::{t_interval, t_interval_at};
