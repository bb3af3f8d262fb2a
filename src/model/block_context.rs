//! Owns: what a block is given besides its input.
//! Must not know: what a block does with it.
//! Invariant: it is the same for all positions of a forward pass.

use super::activation_tap::ActivationTap;
use super::dropout::BlockDropout;
use super::execution::MatmulPrecision;
use super::keys_values::KeysValues;
use super::rotary::RotaryAngles;
use crate::ops::AttentionMask;

/// What a block needs besides its input.
#[derive(Clone, Debug)]
pub(super) struct BlockContext {
    pub angles: Option<RotaryAngles>,
    pub mask: AttentionMask,
    /// Keys and values of the preceding positions. Constant if the block is checkpointed.
    pub prefix: Option<KeysValues>,
    pub precision: MatmulPrecision,
    pub dropout: BlockDropout,
    /// Measures the residual stream after attention and after the MLP.
    pub tap: Option<ActivationTap>,
}
