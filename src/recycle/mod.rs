//! Owns: THE idea (Sebastian Müller, "COCONUT: Parallel pre-training", 2025, after Hao et al., arXiv 2412.06769):
//! when a step recycles, where, and the passes themselves.
//! Must not know: the training loop, the optimizer, files, terminals.
//! Invariant: read `schedule` (when), `placement` (where), `passes` (what), in this order, and you know it all.
//!
//! 1. Plain pass: hidden states, loss on all positions, gradients.
//! 2. Positions are chosen: at random, or where the output distribution is uncertain.
//! 3. Recycled pass: there the input embedding at `t` is the hidden state of `t-1` from the pass before; the target stays.
//!    Loss, gradients.
//! 4. One update from both.

pub mod passes;
pub mod placement;
pub mod schedule;
