//! Owns: THE idea (Sebastian Müller, "COCONUT: Parallel pre-training", 2025, after Hao et al., arXiv 2412.06769):
//! when a step recycles, where, and the passes themselves.
//! Must not know: the training loop, the optimizer, files, terminals.
//! Invariant: read `schedule` (when), `placement` (where), `passes` (what), `grid` (the sparse passes' geometry), in this
//! order, and you know it all.
//!
//! 1. Plain pass: hidden states, loss on all positions, gradients.
//! 2. Recycled pass: at the chosen positions `t` the input embedding is the hidden state of position `t-1` from the
//!    pass before; the target stays. Loss, gradients.
//! 3. One update from both.

mod grid;
pub mod passes;
pub mod placement;
mod rng;
pub mod schedule;
