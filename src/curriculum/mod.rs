//! Owns: the multi-stage training of COCONUT (Hao et al., arXiv 2412.06769) and its baselines: which stage a step has, which
//! row of tokens and latents a question becomes, and the loss and gradients of such rows.
//! Must not know: the training loop, the optimizer, files, terminals.
//! Invariant: `stages` (when), `rows` (what), `passes` (how), in this order, are the whole method.

pub mod passes;
pub mod rows;
pub mod stages;
