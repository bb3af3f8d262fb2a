//! Owns: the mathematics of group-relative policy optimization over rollouts of tokens, latents and decisions: which events
//! count, advantages, loss and its gradient, metrics.
//! Must not know: tensors, models, files, how a rollout is made.
//! Invariant: all numbers are f64 and equal those of the oracle (`verify` on a folder with `rollouts.safetensors`).

pub mod advantages;
pub mod events;
pub mod loss;
pub mod metrics;
pub mod trajectory;
