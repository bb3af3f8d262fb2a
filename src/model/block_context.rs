//! Owns: what a block is given besides its input.
//! Must not know: what a block does with it.
//! Invariant: it is the same for all positions of a forward pass.

use super::activation_tap::ActivationTap;
use super::dropout::BlockDropout;
use super::execution::MatmulPrecision;
use super::keys_values::KeysValues;
use super::layers::ResidualMasks;
use super::rotary::RotaryAngles;
use crate::ops::AttentionMask;
use burn::tensor::Tensor;

/// What a block needs besides its input.
#[derive(Clone, Debug)]
pub(super) struct BlockContext {
    pub angles: Option<RotaryAngles>,
    pub mask: AttentionMask,
    /// Keys and values of the preceding positions. Constant if the block is checkpointed.
    pub prefix: Option<KeysValues>,
    pub precision: MatmulPrecision,
    pub dropout: BlockDropout,
    /// Factors `[B, D]` of what attention and MLP add in each row, if masks are held.
    pub held: [Option<Tensor<2>>; 2],
    /// Measures the residual stream after attention and after the MLP.
    pub tap: Option<ActivationTap>,
}

impl BlockContext {
    pub fn masks_after_attention(&self) -> ResidualMasks {
        ResidualMasks { drawn: self.dropout.after_attention, held: self.held[0].clone() }
    }

    pub fn masks_after_mlp(&self) -> ResidualMasks {
        ResidualMasks { drawn: self.dropout.after_mlp, held: self.held[1].clone() }
    }
}
