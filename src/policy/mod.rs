//! Owns: decisions of generation as pure functions: when to think, in which text form, which token to sample.
//! Must not know: tensors, models, screens.
//! Invariant: a policy's text form and its value convert into each other without loss.

pub mod grammar;
pub mod sampling;
pub mod switch;
pub mod threshold;
