//! Owns: how a state becomes an input: raw, rescaled or projected; replacing, added or gated; and the vector that stands
//! in its place when the control is a pause.
//! Must not know: which state is fed at which position.
//! Invariant: fresh `projected` and `gated` feed exactly what `raw` and `replace` would, so that nothing jumps where they
//! begin; weights depend on (seed, shapes, embeddings) alone.

use super::init::Init;
use crate::config;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::{Device, Tensor, activation};

/// What of the feedback is learned. All `[D, D]` matrices are without bias.
#[derive(Module, Debug)]
pub struct Feedback {
    /// Stands in the state's place where the control is `pause`, `[D]`.
    pub pause: Param<Tensor<1>>,
    /// `projected`: state to input. `[D, D]`, at first the identity.
    pub projection: Option<Linear>,
    /// `gated`: `W_u`, state to input. `[D, D]`, at first twice the identity.
    pub up: Option<Linear>,
    /// `gated`: `W_g`, token embedding to gate. `[D, D]`, at first nothing, so that the gate is half open.
    pub gate: Option<Linear>,
    /// `add`: the scale, `[1]`.
    pub scale: Option<Param<Tensor<1>>>,
    rescaled: bool,
}

/// Which feedback, as the config names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    /// How the state becomes an input.
    pub feedback: config::Feedback,
    /// What is taken of it.
    pub state: config::State,
    /// First value of the learned scale of `add`.
    pub add_scale: f64,
}

impl Form {
    /// The form that a config asks for.
    pub fn of(recycle: &config::Recycle) -> Self {
        Self { feedback: recycle.feedback, state: recycle.state, add_scale: recycle.add_scale }
    }

    /// `replace` and `raw`: nothing is learned.
    pub const PLAIN: Self =
        Self { feedback: config::Feedback::Replace, state: config::State::Raw, add_scale: 0.0 };
}

impl Feedback {
    /// Fresh, for a model of width `width` whose embeddings have the root mean square `rms`.
    pub(super) fn new(form: Form, width: usize, rms: f64, seed: u64, device: &Device) -> Self {
        // Salted: the same seed would draw the first token's embedding again.
        let mut init = Init::new(seed ^ 0x0070_6175_7365, rms, 1, device);
        let gated = form.feedback == config::Feedback::Gated;
        let diagonal = |init: &Init, value| init.diagonal(width, value);
        Self {
            pause: init.vector(width),
            projection: (form.state == config::State::Projected).then(|| diagonal(&init, 1.0)),
            up: gated.then(|| diagonal(&init, 2.0)),
            gate: gated.then(|| diagonal(&init, 0.0)),
            scale: (form.feedback == config::Feedback::Add).then(|| init.constant(1, form.add_scale as f32)),
            rescaled: form.state == config::State::Rescaled,
        }
    }

    /// States `[N, D]` to what stands for them among the inputs, `[N, D]`. `embeddings` `[V, D]` are measured where the
    /// state is rescaled.
    pub fn state(&self, state: Tensor<2>, embeddings: Tensor<2>) -> Tensor<2> {
        let state = match self.rescaled {
            true => {
                let own = rms(state.clone(), 1);
                state / own * rms(embeddings.inner().reshape([1, -1]), 1)
            }
            false => state,
        };
        match &self.projection {
            Some(projection) => projection.forward(state),
            None => state,
        }
    }

    /// What is fed, `[N, D]`: `state` as [`Self::state`] gave it, or what stands in its place; and the embeddings `[N, D]` of the tokens at the same
    /// positions, where the form looks at them.
    pub fn input(&self, state: Tensor<2>, tokens: impl FnOnce() -> Tensor<2>) -> Tensor<2> {
        match (&self.up, &self.gate, &self.scale) {
            (Some(up), Some(gate), _) => up.forward(state) * activation::sigmoid(gate.forward(tokens())),
            (_, _, Some(scale)) => tokens() + state * scale.val().unsqueeze(),
            _ => state,
        }
    }

    /// Whether the form looks at the token that would stand at the position.
    pub fn looks(&self) -> bool {
        self.gate.is_some() || self.scale.is_some()
    }

    /// Operations of its products for `positions` positions, forward; `states`: they are fed, and nothing in their place.
    pub fn flop(&self, positions: usize, states: bool) -> f64 {
        let projection = self.projection.as_ref().filter(|_| states);
        let products = [projection, self.up.as_ref(), self.gate.as_ref()].into_iter().flatten().count();
        let width = self.pause.val().dims()[0];
        2.0 * (products * positions * width * width) as f64
    }

    /// Which it is. `add_scale` is the present one's first value no more, and 0.
    pub fn form(&self) -> Form {
        use config::{Feedback as How, State};
        let feedback = match (&self.gate, &self.scale) {
            (Some(_), _) => How::Gated,
            (None, Some(_)) => How::Add,
            (None, None) => How::Replace,
        };
        let state = match (&self.projection, self.rescaled) {
            (Some(_), _) => State::Projected,
            (None, true) => State::Rescaled,
            (None, false) => State::Raw,
        };
        Form { feedback, state, add_scale: 0.0 }
    }
}

/// Root mean square along axis `dim`, kept as an axis of 1; never nothing.
pub fn rms(values: Tensor<2>, dim: usize) -> Tensor<2> {
    (values.square().mean_dim(dim) + 1e-12).sqrt()
}
