//! Owns: the central idea (Sebastian Müller, "COCONUT: Parallel pre-training", 2025, after Hao et al., arXiv
//! 2412.06769): which steps recycle, at which positions, and the passes themselves.
//! Must not know: the training loop, the optimizer, files, terminals.
//! Invariant: `schedule` (when), `placement` (where), `passes` (what), in this order, are the whole idea.
//!
//! 1. Plain pass: compute hidden states, the loss on all positions, and gradients.
//! 2. Choose positions: at random, or where the output distribution is uncertain.
//! 3. Recycled pass: at a chosen position `t`, the input embedding is replaced by the hidden state of `t-1`
//!    from the previous pass. The target does not change. Compute the loss and gradients.
//! 4. Make one update from the gradients of both passes.

pub mod passes;
pub mod placement;
pub mod schedule;
pub mod sequential;
