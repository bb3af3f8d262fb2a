//! Owns: measuring a model: validation, controls, probes, perplexity, accuracy.
//! Must not know: the loop, run folders, screens.
//! Invariant: measuring changes no parameter except the pause vector that a validation fits.

pub mod accuracy;
pub mod evaluator;
pub mod forward_probe;
pub mod judge;
pub mod latent_statistics;
pub mod pause_fit;
pub mod perplexity;
pub mod probe;
pub mod report;
pub mod state_geometry;
pub mod thought_tests;
pub mod validation_metrics;
pub mod validation_samples;
