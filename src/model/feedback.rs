//! Owns: how a hidden state becomes an input: raw, rescaled or projected; replacing the token embedding,
//! added to it or gated by it; and the learned vector that replaces the state when the control is `pause`.
//! Must not know: which state is fed at which position.
//! Invariant: newly initialized `projected` and `gated` feed exactly what `raw` and `replace` would, so that
//! the loss does not jump when they start; initial weights depend only on (seed, shapes, embeddings).

use super::init::WeightInit;
use crate::config;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, activation};

/// The learned part of the feedback. The `[D, D]` matrices have no bias.
#[derive(Module, Debug)]
pub struct Feedback {
    /// Vector `[D]` that is fed instead of the state when the control is `pause`.
    pub pause: Param<Tensor<1>>,
    /// For `projected`: maps a state to an input, `[D, D]`. Initially the identity.
    pub projection: Option<Linear>,
    /// For `gated`: `W_u`, maps a state to an input, `[D, D]`. Initially twice the identity.
    pub up: Option<Linear>,
    /// For `gated`: `W_g`, maps a token embedding to gate logits, `[D, D]`. Initially 0: the gate is 0.5.
    pub gate: Option<Linear>,
    /// For `add`: the factor of the state, `[1]`.
    pub scale: Option<Param<Tensor<1>>>,
    rescaled: bool,
}

/// Which kind of feedback a model has, in the config's terms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeedbackSpec {
    /// How the state is combined with the token embedding: `replace`, `add` or `gated`.
    pub mode: config::Feedback,
    /// How the state is transformed first: `raw`, `rescaled` or `projected`.
    pub state: config::StateTransform,
    /// Initial value of the learned scale of `add`.
    pub add_scale: f64,
}

impl FeedbackSpec {
    /// Reads the kind of feedback from the `[recycle]` section.
    pub fn from_config(recycle: &config::Recycle) -> Self {
        Self { mode: recycle.feedback, state: recycle.state, add_scale: recycle.add_scale }
    }

    /// `replace` with `raw` states, which has no learned weights but the pause vector.
    pub const PLAIN: Self =
        Self { mode: config::Feedback::Replace, state: config::StateTransform::Raw, add_scale: 0.0 };
}

impl Feedback {
    /// Initializes the feedback of a model of width `width` (D) whose embeddings have root mean square `rms`.
    pub(super) fn new(spec: FeedbackSpec, width: usize, rms: f64, seed: u64, device: &Device) -> Self {
        // Salted, because the plain seed would draw the first token's embedding again.
        let mut init = WeightInit::new(seed ^ 0x0070_6175_7365, rms, 1, device);
        let gated = spec.mode == config::Feedback::Gated;
        let diagonal = |init: &WeightInit, value| init.diagonal_linear(width, value);
        Self {
            pause: init.normal_vector(width),
            projection: (spec.state == config::StateTransform::Projected).then(|| diagonal(&init, 1.0)),
            up: gated.then(|| diagonal(&init, 2.0)),
            gate: gated.then(|| diagonal(&init, 0.0)),
            scale: (spec.mode == config::Feedback::Add).then(|| init.constant(1, spec.add_scale as f32)),
            rescaled: spec.state == config::StateTransform::Rescaled,
        }
    }

    /// Transforms hidden states `[N, D]` into input space; `rescaled` takes the size of the `embeddings`.
    pub fn transform_state(&self, state: Tensor<2>, embeddings: Tensor<2>) -> Tensor<2> {
        let state = match self.rescaled {
            true => {
                let state_rms = rms(state.clone(), 1);
                state / state_rms * rms(embeddings.inner().reshape([1, -1]), 1)
            }
            false => state,
        };
        match &self.projection {
            Some(projection) => projection.forward(state),
            None => state,
        }
    }

    /// Returns the inputs to feed, `[N, D]`. `state` is a transformed state or a control's replacement.
    /// `tokens` computes the token embeddings `[N, D]`; it is called only if they are needed.
    pub fn combine_input(&self, state: Tensor<2>, tokens: impl FnOnce() -> Tensor<2>) -> Tensor<2> {
        match (&self.up, &self.gate, &self.scale) {
            (Some(up), Some(gate), _) => up.forward(state) * activation::sigmoid(gate.forward(tokens())),
            (_, _, Some(scale)) => tokens() + state * scale.val().unsqueeze(),
            _ => state,
        }
    }

    /// Whether the input also depends on the token at the recycled position (`gated`, `add`).
    pub fn uses_token(&self) -> bool {
        self.gate.is_some() || self.scale.is_some()
    }

    /// Returns the operations of its matrix products, forward. A control's replacement is not projected.
    pub fn flop(&self, positions: usize, control: config::Control) -> f64 {
        let feeds_states = matches!(control, config::Control::None | config::Control::Shuffled);
        let projection = self.projection.as_ref().filter(|_| feeds_states);
        let products = [projection, self.up.as_ref(), self.gate.as_ref()].into_iter().flatten().count();
        let width = self.pause.val().dims()[0];
        2.0 * (products * positions * width * width) as f64
    }

    /// Returns the kind of this feedback. The initial `add_scale` is not stored, so the result has 0.
    pub fn spec(&self) -> FeedbackSpec {
        use config::{Feedback as How, StateTransform};
        let feedback = match (&self.gate, &self.scale) {
            (Some(_), _) => How::Gated,
            (None, Some(_)) => How::Add,
            (None, None) => How::Replace,
        };
        let state = match (&self.projection, self.rescaled) {
            (Some(_), _) => StateTransform::Projected,
            (None, true) => StateTransform::Rescaled,
            (None, false) => StateTransform::Raw,
        };
        FeedbackSpec { mode: feedback, state, add_scale: 0.0 }
    }
}

/// Returns the root mean square along axis `dim`, which is kept with length 1. Never 0.
pub fn rms(values: Tensor<2>, dim: usize) -> Tensor<2> {
    (values.square().mean_dim(dim) + 1e-12).sqrt()
}
