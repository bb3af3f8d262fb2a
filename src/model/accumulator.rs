//! Owns: the accumulated gradients of several passes, and operations and seconds of each part of the work.
//! Must not know: what the passes compute, the optimizer.
//! Invariant: an autodiff graph lives only from the pass that builds it to its backward pass.

use super::cost::{BACKWARD_FACTOR, PartCosts, StepPart};
use super::gradients::accumulate_gradients;
use super::head::{RequestedGradients, ScoreGrads};
use super::{HiddenStates, LossTargets, Transformer, head};
use crate::config;
use crate::ops::trace;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use std::time::Instant;

/// Whether seconds are measured, which costs a synchronization of the device for each part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    Off,
    On,
}

impl Timing {
    pub fn for_step(probe: &config::Probe, step: u64) -> Self {
        match probe.cost > 0 && step.is_multiple_of(probe.cost) {
            true => Self::On,
            false => Self::Off,
        }
    }
}

/// Measures laps of wall-clock time, and synchronizes the device at the end of each.
pub struct Stopwatch {
    device: Device,
    since: Option<Instant>,
}

impl Stopwatch {
    /// Starts the stopwatch. With timing off, all laps are 0.
    pub fn new(device: Device, timing: Timing) -> Self {
        Self { device, since: (timing == Timing::On).then(Instant::now) }
    }

    /// Ends a lap, names it `part` in the trace, and returns its seconds; 0 if the stopwatch does not run.
    pub fn lap(&mut self, part: &'static str) -> f64 {
        let Some(since) = self.since else { return 0.0 };
        // A device failure is reported at the step's readback.
        let _ = self.device.sync();
        let now = Instant::now();
        self.since = Some(now);
        trace::record_phase(part, since, now);
        (now - since).as_secs_f64()
    }
}

/// Per-token results of a pass, without autodiff, still on the device.
pub struct PassOutput {
    /// Negative log-likelihood of the targets at the scored positions, `[N]`, in nats.
    pub nll: Tensor<1>,
    /// Entropy of the output distribution at the same positions, `[N]`, in nats.
    pub entropy: Tensor<1>,
}

/// Accumulates the gradients of the losses of several passes. Losses are collected as surrogates with the
/// same gradient; one backward pass runs over all of them, or one after each pass.
pub struct GradientAccumulator<'a> {
    model: &'a Transformer,
    loss_scale: f64,
    loss: Option<Tensor<1>>,
    /// Floating-point operations of the backward passes that have not run yet.
    pending_backward: Vec<(StepPart, f64)>,
    /// Gradient of the head's weights so far, shaped as they are.
    head_grad: Option<Tensor<2>>,
    grads: GradientsParams,
    stopwatch: Stopwatch,
    costs: PartCosts,
}

impl<'a> GradientAccumulator<'a> {
    /// Creates an empty accumulator. All losses are multiplied by `loss_scale`: 1 / (batches of an update).
    pub fn new(model: &'a Transformer, loss_scale: f64, timing: Timing) -> Self {
        Self {
            model,
            loss_scale,
            loss: None,
            pending_backward: Vec::new(),
            head_grad: None,
            grads: GradientsParams::new(),
            stopwatch: Stopwatch::new(model.device().without_autodiff(), timing),
            costs: PartCosts::default(),
        }
    }

    pub fn model(&self) -> &'a Transformer {
        self.model
    }

    /// Records the cost of a forward pass that has just run, and of its backward pass, which will follow.
    pub fn record_forward(&mut self, part: StepPart, states: &HiddenStates) {
        self.record_operations(part, states.flop, states.backward_flop);
    }

    /// Records the operations of forward passes that have just run, and of the backward passes that will follow.
    pub fn record_operations(&mut self, part: StepPart, flop: f64, backward_flop: f64) {
        self.costs.add(part, flop, self.stopwatch.lap(part.name()));
        self.pending_backward.push((part, backward_flop));
    }

    /// Records the cost of a forward pass that has just run and has no backward pass.
    pub fn record_inference(&mut self, part: StepPart, states: &HiddenStates) {
        self.costs.add(part, states.flop, self.stopwatch.lap(part.name()));
    }

    /// Records the time since the last recorded part as time of `part`.
    pub fn record_time(&mut self, part: StepPart) {
        self.costs.add(part, 0.0, self.stopwatch.lap(part.name()));
    }

    /// Scores hidden states `[N, D]` against `targets` `[N]`, and adds `weight` times the mean nll to the loss, as the
    /// targets weigh it.
    pub fn add_loss(&mut self, part: StepPart, hidden: Tensor<2>, targets: LossTargets, weight: f64) -> PassOutput {
        let [n, _] = hidden.dims();
        let weights = targets.weights * (self.loss_scale * weight);
        let wanted = RequestedGradients { loss_weights: weights, weight_grad_sum: self.head_grad.take() };
        let scores = head::score_hidden(self.model, hidden.clone(), targets.ids, Some(wanted));
        if let Some(grads) = scores.grads {
            self.add_surrogate(hidden, grads);
        }
        self.record_head(part, n);
        PassOutput { nll: scores.nll, entropy: scores.entropy }
    }

    /// Adds to the loss what makes its derivative by the log-probability of each target `weights` `[N]`.
    /// `hidden` `[N, D]`: the states, divided by the temperature that the log-probabilities are of.
    pub fn add_log_probs(&mut self, part: StepPart, hidden: Tensor<2>, targets: Tensor<1, Int>, weights: Tensor<1>) {
        // The nll is minus the log-probability.
        let targets = LossTargets { ids: targets, weights: weights.neg() };
        self.add_loss(part, hidden, targets, 1.0);
    }

    /// Adds to the loss what makes its derivative by the entropy of the output at each state `weights` `[N]`.
    pub fn add_entropies(&mut self, part: StepPart, hidden: Tensor<2>, weights: Tensor<1>) {
        let [n, _] = hidden.dims();
        let weights = weights * self.loss_scale;
        let grads = head::entropy_gradients(self.model, hidden.clone(), weights, self.head_grad.take());
        self.add_surrogate(hidden, grads);
        self.record_head(part, n);
    }

    /// Adds a loss with these gradients by the states `hidden` `[N, D]`, and keeps that of the head's weights.
    fn add_surrogate(&mut self, hidden: Tensor<2>, grads: ScoreGrads) {
        let surrogate = head::surrogate_loss(hidden, grads.hidden);
        self.loss = Some(match self.loss.take() {
            Some(open) => open + surrogate,
            None => surrogate,
        });
        self.head_grad = Some(grads.weight);
    }

    /// Records the cost of the head at `n` positions, with gradients.
    fn record_head(&mut self, part: StepPart, n: usize) {
        let flop = (1.0 + BACKWARD_FACTOR) * self.model.shape().head_flop(n);
        self.costs.add(part, flop, self.stopwatch.lap(part.name()));
    }

    /// Runs the backward pass of the losses added so far, accumulates their gradients and frees the graph. If
    /// it runs over several passes, its time is divided among them in proportion to their operations.
    pub fn run_backward(&mut self) {
        let pending = std::mem::take(&mut self.pending_backward);
        let Some(open) = self.loss.take() else { return };
        let grads = GradientsParams::from_grads(open.backward(), self.model);
        accumulate_gradients(self.model, &mut self.grads, grads);
        accumulate_gradients(self.model, &mut self.grads, self.model.execution().take_block_gradients());
        let name = match pending.as_slice() {
            [(part, _)] => part.name(),
            _ => "all passes",
        };
        let (seconds, total): (f64, f64) = (self.stopwatch.lap(name), pending.iter().map(|(_, flop)| flop).sum());
        for (part, flop) in pending {
            self.costs.add(part, flop, seconds * flop / total);
        }
    }

    /// Runs the remaining backward pass, and returns the gradients of all parameters and the costs.
    pub fn finish(mut self) -> (GradientsParams, PartCosts) {
        self.run_backward();
        let mut grads = self.grads;
        if let Some(head_grad) = self.head_grad {
            head::add_head_gradient(self.model, &mut grads, head_grad);
        }
        (grads, self.costs)
    }
}
