//! Owns: how a model is computed: precision and checkpointing, which change no result beyond rounding; dropout; and what is
//! measured on the way.
//! Must not know: what is computed.
//! Invariant: parameters, norms, softmax, losses and residual stream are f32, whatever the precision.

use super::activation_tap::ActivationTap;
use super::dropout::ModelDropout;
use super::held_dropout::HeldDropout;
use crate::config::{self, Dtype};
use burn::optim::GradientsParams;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use crate::ops::MatmulPrecision;

/// How a model is computed, as opposed to what it computes.
#[derive(Clone, Debug, Default)]
pub struct Execution {
    pub matmul_precision: MatmulPrecision,
    /// Activation checkpointing (Chen et al., arXiv 1604.06174): blocks run again during the backward pass.
    pub checkpointing: bool,
    /// What forward passes drop; `None`: nothing.
    pub dropout: Option<ModelDropout>,
    /// What every row drops from its first position to its last; `None`: nothing.
    pub held_dropout: Option<HeldDropout>,
    /// Measures the residual stream of the next forward pass.
    pub activation_tap: Option<ActivationTap>,
    pub(super) block_gradients: BlockGradients,
}

impl Execution {
    pub fn new(precision: MatmulPrecision, checkpointing: bool) -> Self {
        Self { matmul_precision: precision, checkpointing, ..Self::default() }
    }

    /// Reads the options from the `[run]` section.
    pub fn from_config(run: &config::Run) -> Self {
        let precision = match run.dtype {
            Dtype::F32 => MatmulPrecision::F32,
            Dtype::Bf16 => MatmulPrecision::Bf16,
        };
        Self::new(precision, run.activation_checkpointing)
    }

    /// Returns the gradients that checkpointed blocks computed since the last call.
    pub(super) fn take_block_gradients(&self) -> GradientsParams {
        std::mem::take(&mut *self.block_gradients.lock())
    }
}

/// Gradients of checkpointed blocks, which bypass the graph: it knows only the inputs of these blocks.
#[derive(Clone, Default)]
pub(super) struct BlockGradients(Arc<Mutex<GradientsParams>>);

impl BlockGradients {
    pub fn lock(&self) -> MutexGuard<'_, GradientsParams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for BlockGradients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlockGradients")
    }
}
