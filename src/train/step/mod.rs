//! Owns: one update: passes over the batches, gradients, optimizer, the row of metrics.
//! Must not know: the loop, files, screens.
//! Invariant: a step that is not finite changes no parameter.

pub mod curriculum;
pub mod divergence;
pub mod finite;
pub mod latent_cost;
mod layer_probe;
pub mod learner;
pub mod metrics_row;
pub mod optim;
pub mod optimizer_state;
pub mod pretraining;
pub mod readback;
pub mod rl;
pub mod rl_iteration;
pub mod rl_row;
pub mod rollout_watch;
pub mod update;
