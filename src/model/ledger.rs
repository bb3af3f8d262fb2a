//! Owns: the gradients of several passes, and what each part of the work cost: operations and, where asked for, seconds.
//! Must not know: what the passes are of, the optimizer.
//! Invariant: a graph lives from the pass that built it to the [`Ledger::take`] that uses it up, and no longer.

use super::cost::{BACKWARD, Costs, Part};
use super::head::Wanted;
use super::{States, Transformer, head};
use crate::ops::{adamw, trace};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Int, Tensor};
use std::time::Instant;

/// Measures laps, waiting for the device at the end of each.
pub struct Stopwatch {
    device: Device,
    since: Option<Instant>,
}

impl Stopwatch {
    /// Starts now, or, not `running`, never.
    pub fn new(device: Device, running: bool) -> Self {
        Self { device, since: running.then(Instant::now) }
    }

    /// Seconds since the last lap, which went to this part; 0 where it does not run.
    pub fn lap(&mut self, part: &'static str) -> f64 {
        let Some(since) = self.since else { return 0.0 };
        // A device that failed says so at the step's readback.
        let _ = self.device.sync();
        let now = Instant::now();
        self.since = Some(now);
        trace::part(part, since, now);
        (now - since).as_secs_f64()
    }
}

/// What a pass said, without autodiff, still on the device.
pub struct Said {
    /// nll at the positions where the loss counts, nats.
    pub nll: Tensor<1>,
    /// Entropy at the same positions, nats.
    pub entropy: Tensor<1>,
}

/// Collects losses, as surrogates with the same gradient, and takes their gradients once or pass by pass.
pub struct Ledger<'a> {
    model: &'a Transformer,
    share: f64,
    open: Option<Tensor<1>>,
    /// Operations of the backward passes that are still to come.
    pending: Vec<(Part, f64)>,
    /// The gradient of the head's weights so far.
    head: Option<Tensor<2>>,
    taken: GradientsParams,
    watch: Stopwatch,
    costs: Costs,
}

impl<'a> Ledger<'a> {
    /// An empty one. All losses and gradients are multiplied by `share` (one over the batches of an update). `timed`:
    /// seconds are measured too, from now on.
    pub fn new(model: &'a Transformer, share: f64, timed: bool) -> Self {
        Self {
            model,
            share,
            open: None,
            pending: Vec::new(),
            head: None,
            taken: GradientsParams::new(),
            watch: Stopwatch::new(model.device().without_autodiff(), timed),
            costs: Costs::default(),
        }
    }

    /// Whose gradients are collected.
    pub fn model(&self) -> &'a Transformer {
        self.model
    }

    /// A forward pass has been made; `graph`: its backward will follow.
    pub fn ran(&mut self, part: Part, states: &States, graph: bool) {
        self.costs.add(part, states.flop, self.watch.lap(part.name()));
        if graph {
            self.pending.push((part, states.backward_flop));
        }
    }

    /// The time since the last part was of this one.
    pub fn spent(&mut self, part: Part) {
        self.costs.add(part, 0.0, self.watch.lap(part.name()));
    }

    /// Scores `hidden` `[N, D]` and opens the loss `weight · mean(nll)`.
    pub fn score(&mut self, part: Part, hidden: Tensor<2>, targets: Tensor<1, Int>, weight: f64) -> Said {
        let [n, _] = hidden.dims();
        let weights =
            Tensor::full([n], self.share * weight / n as f64, &self.model.device().without_autodiff());
        let wanted = Wanted { weights, sum: self.head.take() };
        let scores = head::score(self.model, hidden.clone(), targets, Some(wanted));
        if let Some(grads) = scores.grads {
            let surrogate = head::surrogate(hidden, grads.hidden);
            self.open = Some(match self.open.take() {
                Some(open) => open + surrogate,
                None => surrogate,
            });
            self.head = Some(grads.weight);
        }
        let flop = (1.0 + BACKWARD) * self.model.shape().head_flop(n);
        self.costs.add(part, flop, self.watch.lap(part.name()));
        Said { nll: scores.nll, entropy: scores.entropy }
    }

    /// Takes the gradients of what is open, and frees its graph. Where one backward runs over several passes, its time is
    /// shared out among them by their operations.
    pub fn take(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let Some(open) = self.open.take() else { return };
        let grads = GradientsParams::from_grads(open.backward(), self.model);
        accumulate(self.model, &mut self.taken, grads);
        accumulate(self.model, &mut self.taken, self.model.execution().take());
        let name = match pending.as_slice() {
            [(part, _)] => part.name(),
            _ => "all passes",
        };
        let (seconds, all): (f64, f64) = (self.watch.lap(name), pending.iter().map(|(_, flop)| flop).sum());
        for (part, flop) in pending {
            self.costs.add(part, flop, seconds * flop / all);
        }
    }

    /// All gradients, and what everything cost.
    pub fn finish(mut self) -> (GradientsParams, Costs) {
        self.take();
        let mut grads = self.taken;
        if let Some(own) = self.head {
            head::add_weight_grad(self.model, &mut grads, own);
        }
        (grads, self.costs)
    }
}

/// Adds `more`, gradients of the parameters of `module` alone, to those in `sum`, in place.
pub fn accumulate<M: Module>(module: &M, sum: &mut GradientsParams, more: GradientsParams) {
    match (sum.is_empty(), more.is_empty()) {
        (_, true) => {}
        (true, false) => *sum = more,
        (false, false) => module.visit(&mut Accumulate { sum, more }),
    }
}

struct Accumulate<'a> {
    sum: &'a mut GradientsParams,
    more: GradientsParams,
}

impl ModuleVisitor for Accumulate<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(more) = self.more.remove::<D>(param.id) else { return };
        let sum = match self.sum.remove::<D>(param.id) {
            Some(sum) => adamw::sum(sum, more),
            None => more,
        };
        self.sum.register(param.id, sum);
    }
}
