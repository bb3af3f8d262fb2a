//! Owns: one update (passes over its batches, one readback, checks, optimizer step) and its metrics row.
//! Must not know: the training loop, screens, files.
//! Invariant: a step whose loss or gradient is not finite updates nothing.

use super::metrics_row::{self, BatchReadback, RecycledReadback, UpdateKind};
use super::optim;
use super::readback::{Readback, read_values};
use crate::config::{Config, Control, LossPositions, Optim, Placement, PositionBudget, Recycle};
use crate::data::Batch;
use crate::model::accumulator::{GradientAccumulator, Stopwatch, Timing};
use crate::model::cost::{PartCosts, StepPart};
use crate::model::gradients::accumulate_gradients;
use crate::model::{ModelShape, TokenBatch, Transformer};
use crate::ops::threads;
use crate::recycle::passes::{self, RecyclePlan, RecycledPass};
use crate::recycle::placement::{self, PlacementRows, RecycledPositions};
use crate::recycle::schedule::{self, StepSettings};
use crate::rng::RngKey;
use crate::schema::metrics::{Metric, StepRow};
use crate::train::TrainError;
use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};

/// The model, its optimizer and the number of updates done.
pub struct Learner {
    /// The model on its device, with autodiff.
    pub model: Transformer,
    optimizer: ModuleOptimizer,
    grad_scale: optim::GradScale,
    /// A copy of the model without data, in its place during the optimizer step: so parameters are updated in place.
    placeholder: Transformer,
    pub step: u64,
    /// Number of updates that trained the pause vector.
    pub pause_updates: u64,
}

impl Learner {
    /// Creates a learner for `model` that has done no update yet.
    pub fn new(model: Transformer, optim: &Optim) -> Self {
        let (optimizer, grad_scale) = optim::adamw(optim, &model);
        let placeholder = model.clone().map(&mut PlaceholderMapper);
        Self { optimizer, grad_scale, placeholder, model, step: 0, pause_updates: 0 }
    }

    /// Returns this learner with a restored optimizer, after so many updates and pause-vector updates.
    pub(in crate::train) fn with_state(self, optimizer: ModuleOptimizer, step: u64, pause_updates: u64) -> Self {
        Self { optimizer, step, pause_updates, ..self }
    }

    pub(in crate::train) fn optimizer(&self) -> &ModuleOptimizer {
        &self.optimizer
    }

    /// Does one update with the mean gradient over `batches`, and returns the step's row.
    ///
    /// A loss or gradient that is not finite is returned as an error with the row, and updates nothing.
    pub fn update(&mut self, config: &Config, batches: &[Batch]) -> Result<(StepRow, Option<TrainError>), TrainError> {
        let _awake = threads::keep_workers_spinning();
        let step = self.step + 1;
        let vocab_size = self.model.shape().vocab_size;
        let settings = schedule::step_settings(&config.recycle, vocab_size, config.run.seed, step);
        let timing = Timing::for_step(&config.probe, step);
        let mut watch = Stopwatch::new(self.model.device().without_autodiff(), timing);
        let (mut grads, mut costs) = (GradientsParams::new(), PartCosts::default());
        let mut outcomes = Vec::with_capacity(batches.len());
        for (index, batch) in batches.iter().enumerate() {
            let key = RngKey { seed: config.run.seed, step, batch: index as u64, pass: 0 };
            let mut outcome = self.run_passes(config, &settings, batch, key, batches.len(), timing);
            watch.lap("passes");
            accumulate_gradients(&self.model, &mut grads, std::mem::take(&mut outcome.grads));
            costs.add(StepPart::Update, 0.0, watch.lap(StepPart::Update.name()));
            costs.add_all(&outcome.costs);
            outcomes.push(outcome);
        }
        let lr = config.optim.lr_at(step, config.run.steps);
        let (readings, grad_norm) = read_outcomes(&self.model, batches, outcomes, &grads, config.recycle.loss_on)?;
        if threads::is_cancelled() {
            return Err(TrainError::Cancelled);
        }
        let update = UpdateKind::new(&settings, &config.recycle);
        let mut row = metrics_row::loss_row(step, &readings, &settings, update);
        row.set(Metric::Lr, lr);
        row.set(Metric::GradNorm, grad_norm);
        if let Err(error) = metrics_row::check_finite(&row, lr) {
            return Ok((row, Some(error)));
        }
        self.apply_gradients(&config.optim, lr, grads, grad_norm);
        let trained_pause = settings.control == Control::Pause && row.get(Metric::Recycled).is_some();
        self.pause_updates += u64::from(trained_pause);
        let flop = ModelShape::update_flop(self.model.num_params());
        costs.add(StepPart::Update, flop, watch.lap(StepPart::Update.name()));
        let recycled = row.get(Metric::Recycled).map(|count| count as usize);
        metrics_row::set_step_costs(&costs, timing, recycled, &mut row);
        Ok((row, None))
    }

    /// Runs the passes over one of `num_batches` batches and collects their gradients.
    fn run_passes(
        &self,
        config: &Config,
        settings: &StepSettings,
        batch: &Batch,
        key: RngKey,
        num_batches: usize,
        timing: Timing,
    ) -> passes::BatchOutcome {
        let device = self.model.device().without_autodiff();
        let tokens = upload_batch(batch, &device);
        let plan = pass_plan(&config.recycle, settings, key);
        let mut place = placement_fn(batch, &config.recycle, settings.budget, key);
        let place = settings.recycles.then_some::<passes::PlacementFn>(&mut place);
        passes::forward_backward(
            GradientAccumulator::new(&self.model, 1.0 / num_batches as f64, timing),
            &tokens,
            &plan,
            place,
        )
    }

    /// Clips `grads`, whose global norm is `norm`, and applies them to the model.
    pub fn apply_gradients(&mut self, optim: &Optim, lr: f64, grads: GradientsParams, norm: f64) {
        let limit = optim.clip;
        self.grad_scale.set(if limit > 0.0 && norm > limit { limit / norm } else { 1.0 });
        let model = std::mem::replace(&mut self.model, self.placeholder.clone());
        self.model = self.optimizer.step(lr, model, grads);
        self.step += 1;
    }
}

/// Replaces every parameter of a model by a tensor of one element.
struct PlaceholderMapper;

impl ModuleMapper for PlaceholderMapper {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, _) = param.consume();
        Param::initialized(id, Tensor::zeros([1; D], &value.device()))
    }
}

pub fn upload_batch(batch: &Batch, device: &Device) -> TokenBatch {
    let tokens = TokenBatch::upload(&batch.tokens, batch.batch_size, batch.seq_len, device);
    tokens.with_counted(batch.counted_targets())
}

/// Returns the recycled passes that a step makes: their weights, scope, control and gradient flow.
fn pass_plan(recycle: &Recycle, settings: &StepSettings, key: RngKey) -> RecyclePlan {
    let weight = |pass: usize| match recycle.pass_weights.last() {
        None if pass < settings.passes => 0.0,
        None => settings.weight,
        Some(last) => settings.weight * recycle.pass_weights.get(pass - 1).unwrap_or(last),
    };
    let pass = RecycledPass {
        reach: recycle.reach,
        control: settings.control,
        scale: settings.scale,
        jitter: recycle.jitter,
        rng_key: key,
    };
    RecyclePlan {
        pass,
        loss_weights: match UpdateKind::new(settings, recycle) {
            // One pass, whatever `recycle.pass_weights` says.
            UpdateKind::PauseVector => vec![settings.weight],
            UpdateKind::Model => (1..=settings.passes).map(weight).collect(),
        },
        flow: recycle.flow,
        cut: recycle.cut,
        loss_on: recycle.loss_on,
    }
}

/// Returns a function that chooses the recycled positions of `batch` from the plain entropy `[B·T]`.
pub(in crate::train) fn placement_fn<'a>(
    batch: &'a Batch,
    recycle: &'a Recycle,
    budget: PositionBudget,
    key: RngKey,
) -> impl FnMut(&Tensor<1>) -> RecycledPositions + 'a {
    let starts: Vec<bool> =
        batch.doc_start.chunks(batch.seq_len + 1).flat_map(|row| row[..batch.seq_len].to_vec()).collect();
    move |entropy| {
        let rows = PlacementRows {
            seq_len: batch.seq_len,
            doc_start: &starts,
            max_prefix_fraction: recycle.prefix,
            rng_key: key,
        };
        match recycle.placement {
            Placement::Random => placement::random(rows, budget),
            Placement::Span => placement::span(rows, budget, recycle.span),
            // READBACK: the host decides which positions are uncertain.
            Placement::EntropyAt | Placement::EntropyNext => match read_values(entropy) {
                Some(entropy) if recycle.placement == Placement::EntropyAt => {
                    placement::entropy_at(rows, budget, &entropy)
                }
                Some(entropy) => placement::entropy_next(rows, budget, &entropy),
                None => RecycledPositions { seq_len: batch.seq_len, rows: vec![Vec::new(); batch.batch_size] },
            },
        }
    }
}

/// READBACK: the only one of most steps. Returns all batches' losses and entropies, and the global gradient norm.
fn read_outcomes(
    model: &Transformer,
    batches: &[Batch],
    outcomes: Vec<passes::BatchOutcome>,
    grads: &GradientsParams,
    covers: LossPositions,
) -> Result<(Vec<BatchReadback>, f64), TrainError> {
    let mut readback = Readback::default();
    for outcome in &outcomes {
        readback.add(&outcome.plain.nll);
        readback.add(&outcome.plain.entropy);
        if let Some((recycled, _)) = &outcome.recycled {
            readback.add(&recycled.nll);
        }
    }
    if let Some(square) = optim::grad_square_norm(model, grads) {
        readback.add(&square);
    }
    let mut read = readback.read()?.into_iter();
    let mut next = || read.next().unwrap_or_default();
    let readings = batches
        .iter()
        .zip(outcomes)
        .map(|(batch, outcome)| BatchReadback {
            counted: batch.counted_targets(),
            plain_nll: next(),
            plain_entropy: next(),
            recycled: outcome.recycled.map(|(_, positions)| RecycledReadback { nll: next(), positions, covers }),
        })
        .collect();
    let square = next().first().copied().unwrap_or(0.0);
    Ok((readings, (square as f64).sqrt()))
}
