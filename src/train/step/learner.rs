//! Owns: one update (passes over its batches, one readback, checks, optimizer step), its metrics row, and the rows of the
//! layers if they are measured.
//! Must not know: the training loop, screens, files.
//! Invariant: a step whose loss or gradient is not finite updates nothing.

use super::layer_probe::LayerProbe;
use super::pretraining::PretrainingBatches;
use super::readback::Readback;
use super::update::{BatchValues, UpdateBatches};
use super::{metrics_row, optim};
use crate::config::{Config, Optim, WorkDone};
use crate::data::Batch;
use crate::model::accumulator::{Stopwatch, Timing};
use crate::model::cost::{PartCosts, StepPart};
use crate::model::gradients::accumulate_gradients;
use crate::model::{ModelDropout, ModelShape, Transformer};
use crate::ops::threads;
use crate::rng::RngKey;
use crate::schema::layer_rows::LayerRow;
use crate::schema::metrics::{Metric, StepRow};
use crate::train::TrainError;
use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;

/// Name of the layer probe in the trace of a step's parts.
const LAYER_PROBE: &str = "layer probe";

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
    /// What was measured of the layers at the last update, if anything.
    layer_rows: Vec<LayerRow>,
}

impl Learner {
    /// Creates a learner for `model` that has done no update yet.
    pub fn new(model: Transformer, optim: &Optim) -> Self {
        let (optimizer, grad_scale) = optim::adamw(optim, &model);
        let placeholder = model.clone().map(&mut PlaceholderMapper);
        Self { optimizer, grad_scale, placeholder, model, step: 0, pause_updates: 0, layer_rows: Vec::new() }
    }

    /// Returns this learner with a restored optimizer, after so many updates and pause-vector updates.
    pub(in crate::train) fn with_state(self, optimizer: ModuleOptimizer, step: u64, pause_updates: u64) -> Self {
        Self { optimizer, step, pause_updates, ..self }
    }

    pub(in crate::train) fn optimizer(&self) -> &ModuleOptimizer {
        &self.optimizer
    }

    /// Does one pre-training update with the mean gradient over `batches`, and returns the step's row.
    pub fn update(&mut self, config: &Config, batches: &[Batch]) -> Result<(StepRow, Option<TrainError>), TrainError> {
        let vocab_size = self.model.shape().vocab_size;
        let done = WorkDone { step: self.step, ..WorkDone::default() };
        self.update_on(config, &done, &mut PretrainingBatches::new(config, batches, vocab_size, self.step + 1))
    }

    /// Does one update with the gradients of `batches`, and returns the step's row. `done` is the work of the run so far.
    ///
    /// A loss or gradient that is not finite is returned as an error with the row, and updates nothing.
    pub fn update_on(
        &mut self,
        config: &Config,
        done: &WorkDone,
        batches: &mut dyn UpdateBatches,
    ) -> Result<(StepRow, Option<TrainError>), TrainError> {
        let _awake = threads::keep_workers_spinning();
        let step = self.step + 1;
        let timing = Timing::for_step(&config.probe, step);
        let mut watch = Stopwatch::new(self.model.device().without_autodiff(), timing);
        let layer_probe = LayerProbe::for_step(&config.probe, step);
        let (grads, mut costs, values) = self.run_passes(config, batches, layer_probe.as_ref(), &mut watch);
        let lr = config.lr_after(done, step);
        let (values, grad_norm) = read_values_and_norm(&self.model, values, &grads)?;
        if threads::is_cancelled() {
            return Err(TrainError::Cancelled);
        }
        let mut row = batches.row(step, values);
        row.set(Metric::Lr, lr);
        row.set(Metric::GradNorm, grad_norm);
        if let Err(error) = metrics_row::check_finite(&row, lr) {
            return Ok((row, Some(error)));
        }
        if batches.resets_optimizer() {
            (self.optimizer, self.grad_scale) = optim::adamw(&config.optim, &self.model);
        }
        let update_probe = layer_probe.map(|probe| {
            costs.add(StepPart::Update, 0.0, watch.lap(StepPart::Update.name()));
            let update_probe = probe.measure_before(&self.model, &grads);
            watch.lap(LAYER_PROBE);
            update_probe
        });
        match batches.skips_update() {
            true => self.step += 1,
            false => self.apply_gradients(&config.optim, lr, grads, grad_norm),
        }
        self.pause_updates += u64::from(batches.trains_pause(&row));
        let flop = ModelShape::update_flop(self.model.num_params());
        costs.add(StepPart::Update, flop, watch.lap(StepPart::Update.name()));
        if let Some(probe) = update_probe {
            self.layer_rows = probe.measure_after(&self.model, self.step)?;
            watch.lap(LAYER_PROBE);
        }
        let recycled = row.get(Metric::Recycled).map(|count| count as usize);
        metrics_row::set_step_costs(&costs, timing, recycled, &mut row);
        Ok((row, None))
    }

    /// Runs the passes over all batches. Returns the mean gradients, the costs, and what each batch measured.
    fn run_passes(
        &self,
        config: &Config,
        batches: &mut dyn UpdateBatches,
        probe: Option<&LayerProbe>,
        watch: &mut Stopwatch,
    ) -> (GradientsParams, PartCosts, Vec<Vec<Tensor<1>>>) {
        let step = self.step + 1;
        let timing = Timing::for_step(&config.probe, step);
        let (mut grads, mut costs) = (GradientsParams::new(), PartCosts::default());
        let mut values = Vec::with_capacity(batches.count());
        for index in 0..batches.count() {
            let key = RngKey { seed: config.run.seed, step, batch: index as u64, pass: 0 };
            let prepared = self.model_for_passes(ModelDropout::new(&config.dropout, key), probe);
            let batch = batches.gradients(prepared.as_ref().unwrap_or(&self.model), index, timing);
            watch.lap("passes");
            accumulate_gradients(&self.model, &mut grads, batch.grads);
            costs.add(StepPart::Update, 0.0, watch.lap(StepPart::Update.name()));
            costs.add_all(&batch.costs);
            values.push(batch.values);
        }
        (grads, costs, values)
    }

    /// Returns a copy of the model with dropout or with measured activations, if a batch needs one.
    fn model_for_passes(&self, dropout: Option<ModelDropout>, probe: Option<&LayerProbe>) -> Option<Transformer> {
        let is_needed = dropout.is_some() || probe.is_some();
        let tap = probe.map(|probe| probe.tap.clone());
        is_needed.then(|| self.model.clone().with_dropout(dropout).with_activation_tap(tap))
    }

    /// Returns the rows of the layers if the last update was measured (`probe.layers_every`); none when called again.
    pub fn take_layer_rows(&mut self) -> Vec<LayerRow> {
        std::mem::take(&mut self.layer_rows)
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

/// READBACK: the only one of most steps. Returns the values of each batch, and the global gradient norm.
fn read_values_and_norm(
    model: &Transformer,
    values: Vec<Vec<Tensor<1>>>,
    grads: &GradientsParams,
) -> Result<(BatchValues, f64), TrainError> {
    let mut readback = Readback::default();
    values.iter().flatten().for_each(|tensor| readback.add(tensor));
    if let Some(square) = optim::grad_square_norm(model, grads) {
        readback.add(&square);
    }
    let mut read = readback.read()?.into_iter();
    let values = values.iter().map(|batch| read.by_ref().take(batch.len()).collect()).collect();
    let square = read.next().and_then(|square| square.first().copied()).unwrap_or(0.0);
    Ok((values, (square as f64).sqrt()))
}
