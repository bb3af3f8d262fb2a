//! Owns: what is decided during generation, as pure functions: when to think (switch policies), their text form,
//! entropy thresholds, and how a token is sampled.
//! Must not know: tensors, models, screens.
//! Invariant: a policy's text form and its value convert into each other without loss.

pub mod grammar;
pub mod sampling;
pub mod switch;
pub mod threshold;
