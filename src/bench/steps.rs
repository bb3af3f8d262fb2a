//! Owns: timing whole training steps of every kind on random tokens, for comparison with other programs.
//! Must not know: command-line arguments, how results are shown.
//! Invariant: a timed step is a run's, from the batch on the host to its loss there and an idle device.

use crate::config::{
    self, Arch, Config, Curve, Data, Dtype, GradientFlow, LatentOrder, LrDecay, Model, Optim, PassScope,
    PositionBudget, Probe, Recycle, SelectionRule, WorkDone,
};
use crate::curriculum::passes::LatentSettings;
use crate::curriculum::rows::CurriculumRow;
use crate::data::Batch;
use crate::device;
use crate::device::SelectedDevice;
use crate::model::accumulator::{GradientAccumulator, Stopwatch, Timing};
use crate::model::cost::StepPart;
use crate::model::{Execution, FeedbackSpec, ModelShape, Transformer, flatten_rows};
use crate::ops::threads;
use crate::record::system;
use crate::recycle::placement::{self, PlacementRows};
use crate::recycle::sequential::run_sequential;
use crate::rng::{RngKey, seeded_rng};
use crate::schema::metrics::{Metric, StepRow};
use crate::train::step::curriculum::CurriculumBatches;
use crate::train::step::readback::{Readback, mean};
use crate::train::step::{metrics_row, pretraining};
use crate::train::{Learner, TrainError};
use burn::module::Module;
use burn::tensor::Device;
use rand::RngExt;
use std::time::Instant;

/// The sizes of a Llama-style model with an untied head and of its batches, and the number of steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BenchSizes {
    pub vocab_size: usize,
    pub seq_len: usize,
    pub width: usize,
    pub heads: usize,
    pub layers: usize,
    pub batch: usize,
    /// Fewer than positions in a row.
    pub recycled: usize,
    /// Rate of all three kinds of dropout.
    pub dropout: f64,
    pub steps: usize,
    pub warmup: usize,
    /// Element type of the operands of matrix products.
    pub dtype: Dtype,
    /// Whether blocks store only their inputs and recompute the rest in the backward pass.
    pub activation_checkpointing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum StepKind {
    Plain,
    /// A plain and a dense recycled pass, without gradient between them.
    Dense,
    /// A plain and a dense recycled pass, with gradient through both.
    DenseThrough,
    /// A plain pass, then only the recycled positions against its keys and values.
    Isolated,
    /// Like `Isolated`, but the recycled positions also attend to each other.
    Joint,
    /// One latent after another, with gradient through the whole chain (arXiv 2412.06769).
    Sequential,
    /// A step of a curriculum: questions with latents in one piece, computed one after another.
    CurriculumSequential,
    /// The same rows by passes over whole rows, as many as there are latents.
    CurriculumParallel,
}

impl StepKind {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The time and memory of one kind of step.
#[derive(Clone, Debug)]
pub struct StepTimes {
    /// Number of parameters of the transformer, without the feedback.
    pub params: usize,
    /// Wall time of every timed step in milliseconds, shortest first.
    pub ms: Vec<f64>,
    /// Peak of the process's resident memory on the CPU, or of the allocator's reserve on a GPU.
    pub peak_bytes: Option<u64>,
}

impl StepTimes {
    /// Returns the median of the wall times: the middle one, or the mean of the middle two.
    pub fn median_ms(&self) -> f64 {
        let at = |index: usize| self.ms.get(index).copied().unwrap_or(f64::NAN);
        let middle = self.ms.len() / 2;
        if self.ms.len() % 2 == 1 { at(middle) } else { (at(middle.saturating_sub(1)) + at(middle)) / 2.0 }
    }
}

/// Trains a new model with steps of one kind, and times them.
pub fn time_steps(sizes: &BenchSizes, kind: StepKind, selected: &SelectedDevice) -> Result<StepTimes, TrainError> {
    // Release the memory that the previous kind has left in a GPU's allocator.
    selected.device.memory_cleanup();
    let mut subject = BenchSubject::new(sizes, kind, &selected.device, 0);
    let (mut ms, mut peak_bytes) = (Vec::new(), None);
    for round in 0..sizes.warmup + sizes.steps {
        let batch = sizes.random_batch(round);
        synchronize(&selected.device)?;
        let began = Instant::now();
        subject.step(&batch)?;
        synchronize(&selected.device)?;
        if round >= sizes.warmup {
            ms.push(began.elapsed().as_secs_f64() * 1e3);
        }
        peak_bytes = peak_bytes.max(peak_memory_bytes(selected));
    }
    ms.sort_by(f64::total_cmp);
    Ok(StepTimes { params: subject.params(), ms, peak_bytes })
}

/// A learner that does steps of one kind.
pub(in crate::bench) struct BenchSubject {
    kind: StepKind,
    config: Config,
    learner: Learner,
}

impl BenchSubject {
    /// Creates a learner with a new model. Every `cost_every`-th step is timed by part (0: none).
    pub fn new(sizes: &BenchSizes, kind: StepKind, device: &Device, cost_every: u64) -> Self {
        let mut config = sizes.run_config(kind);
        config.probe.cost = cost_every;
        let learner = Learner::new(sizes.build_model(&config, device), &config.optim);
        Self { kind, config, learner }
    }

    pub fn params(&self) -> usize {
        params_without_feedback(&self.learner.model)
    }

    /// Does one step. Its row has the costs of its parts.
    pub fn step(&mut self, batch: &Batch) -> Result<StepRow, TrainError> {
        match self.kind {
            StepKind::Sequential => sequential_update(&mut self.learner, &self.config, batch),
            StepKind::CurriculumSequential => self.curriculum_step(batch, LatentOrder::Sequential),
            StepKind::CurriculumParallel => self.curriculum_step(batch, LatentOrder::Parallel),
            _ => update_or_fail(&mut self.learner, &self.config, std::slice::from_ref(batch)),
        }
    }
}

impl BenchSubject {
    /// Does a step on rows whose latents stand in their middle.
    fn curriculum_step(&mut self, batch: &Batch, order: LatentOrder) -> Result<StepRow, TrainError> {
        let latents = self.config.recycle.count.value_at(1) as usize;
        let row = |tokens: &[i32]| question_row(tokens.iter().map(|id| *id as u32).collect(), latents);
        let mut batches = CurriculumBatches {
            rows: vec![batch.tokens.chunks(batch.seq_len + 1).map(row).collect()],
            settings: LatentSettings { order, passes: 0, through: true, pause: false, noise: None },
            stage: 0,
            resets_optimizer: false,
        };
        match self.learner.update_on(&self.config, &WorkDone::default(), &mut batches)? {
            (row, None) => Ok(row),
            (_, Some(error)) => Err(error),
        }
    }
}

/// Returns a row with latents in its middle; the tokens after them are targets.
fn question_row(ids: Vec<u32>, latents: usize) -> CurriculumRow {
    let start = ((ids.len() - 1 - latents) / 2).max(1);
    let end = start + latents;
    CurriculumRow { ids, latents: (start..end).collect(), given: end }
}

impl BenchSizes {
    /// Returns the config of a run whose steps are all of this kind, with PyTorch's AdamW defaults.
    fn run_config(&self, kind: StepKind) -> Config {
        let Self { vocab_size, seq_len, width, heads, layers, batch, dropout, .. } = *self;
        let (reach, flow) = match kind {
            StepKind::Isolated => (PassScope::Isolated, GradientFlow::Detached),
            StepKind::Joint => (PassScope::Joint, GradientFlow::Detached),
            StepKind::DenseThrough => (PassScope::Dense, GradientFlow::Through),
            _ => (PassScope::Dense, GradientFlow::Detached),
        };
        Config {
            data: Data { batch, seq_len, ..Default::default() },
            model: Model { arch: Arch::Llama, vocab_size, width, heads, layers, tied: false, ..Default::default() },
            optim: Optim {
                lr: 1e-3,
                min_lr: 1e-3,
                warmup: 0,
                decay: LrDecay::Constant,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.01,
                clip: 1.0,
                accumulate: 1,
            },
            dropout: config::Dropout { embedding: dropout, attention: dropout, residual: dropout },
            recycle: Recycle {
                every: u64::from(kind != StepKind::Plain),
                share: SelectionRule::Count,
                count: Curve::constant(self.recycled as f64),
                reach,
                flow,
                ..Default::default()
            },
            run: config::Run {
                dtype: self.dtype,
                activation_checkpointing: self.activation_checkpointing,
                ..Default::default()
            },
            probe: Probe { cost: 0, ..Default::default() },
            ..Default::default()
        }
    }

    fn build_model(&self, config: &Config, device: &Device) -> Transformer {
        let shape = ModelShape::from_config(&config.model, self.vocab_size, self.seq_len);
        let (seed, device) = (config.run.seed, device.clone().autodiff());
        Transformer::new(shape, seed, config.model.init_std, &device)
            .with_feedback(FeedbackSpec::from_config(&config.recycle), seed)
            .with_execution(Execution::from_config(&config.run))
    }

    /// Returns random tokens that depend on `round`. Each row is one document.
    pub(in crate::bench) fn random_batch(&self, round: usize) -> Batch {
        let (mut rng, row) = (seeded_rng(round as u64), self.seq_len + 1);
        let tokens = (0..self.batch * row).map(|_| rng.random_range(0..self.vocab_size) as i32).collect();
        let doc_start = (0..self.batch * row).map(|at| at % row == 0).collect();
        Batch { batch_size: self.batch, seq_len: self.seq_len, tokens, doc_start, ..Batch::default() }
    }
}

fn params_without_feedback(model: &Transformer) -> usize {
    model.num_params() - model.feedback.num_params()
}

/// Does one update as a run does, and returns an error if a loss is not finite.
pub(in crate::bench) fn update_or_fail(
    learner: &mut Learner,
    config: &Config,
    batches: &[Batch],
) -> Result<StepRow, TrainError> {
    match learner.update(config, batches)? {
        (row, None) => Ok(row),
        (_, Some(error)) => Err(error),
    }
}

/// Does one update from a sequential pass over the latents.
fn sequential_update(learner: &mut Learner, config: &Config, batch: &Batch) -> Result<StepRow, TrainError> {
    let _awake = threads::keep_workers_spinning();
    let model = &learner.model;
    let tokens = pretraining::upload_batch(batch, &model.device().without_autodiff());
    let number = learner.step + 1;
    let columns = recycled_columns(config, batch.seq_len, number);
    let timing = Timing::for_step(&config.probe, number);
    let mut accumulator = GradientAccumulator::new(model, 1.0, timing);
    let states = run_sequential(model, &tokens, &columns, 1.0);
    accumulator.record_forward(StepPart::Recycled, &states);
    let output = accumulator.add_loss(StepPart::RecycledHead, flatten_rows(&states.hidden), tokens.loss_targets(), 1.0);
    drop(states);
    let (grads, mut costs) = accumulator.finish();
    let mut watch = Stopwatch::new(model.device().without_autodiff(), timing);
    // READBACK: the step's only one.
    let mut readback = Readback::default();
    readback.add(&output.nll);
    if let Some(square) = crate::train::step::optim::grad_square_norm(model, &grads) {
        readback.add(&square);
    }
    let mut read = readback.read()?.into_iter();
    let (nll, square) = (read.next().unwrap_or_default(), read.next().unwrap_or_default());
    let norm = f64::from(square.first().copied().unwrap_or(0.0)).sqrt();
    let lr = config.optim.lr_at(number, config.run.steps);
    let mut row = StepRow::new(number);
    row.set_if_some(Metric::LossPlain, mean(nll));
    row.set(Metric::GradNorm, norm);
    metrics_row::check_finite(&row, lr)?;
    learner.apply_gradients(&config.optim, lr, grads, norm);
    let flop = ModelShape::update_flop(learner.model.num_params());
    costs.add(StepPart::Update, flop, watch.lap(StepPart::Update.name()));
    let recycled = batch.batch_size * columns.len();
    row.set(Metric::Recycled, recycled as f64);
    metrics_row::set_step_costs(&costs, timing, Some(recycled), &mut row);
    Ok(row)
}

/// Returns the recycled columns, the same for all rows, drawn as a run draws those of its first row.
fn recycled_columns(config: &Config, seq_len: usize, step: u64) -> Vec<usize> {
    let key = RngKey { seed: config.run.seed, step, ..RngKey::default() };
    let rows = PlacementRows { seq_len, doc_start: &vec![false; seq_len], max_prefix_fraction: 0.0, rng_key: key };
    let budget = PositionBudget::Count(config.recycle.count.value_at(step) as usize);
    placement::random(rows, budget).rows.pop().unwrap_or_default()
}

/// Waits until the device has finished all queued work.
pub(in crate::bench) fn synchronize(device: &Device) -> Result<(), TrainError> {
    device.sync().map_err(|error| TrainError::DeviceFailed(format!("{error:?}")))
}

/// Returns the peak memory in bytes: of the process on the CPU, of the allocator on a GPU.
fn peak_memory_bytes(selected: &SelectedDevice) -> Option<u64> {
    match selected.kind {
        device::DeviceKind::Cpu => system::peak_resident_bytes(),
        _ => selected.device.memory_pool_usage().map(|usage| usage.bytes_reserved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        let median = |ms: &[f64]| StepTimes { params: 0, ms: ms.to_vec(), peak_bytes: None }.median_ms();
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }

    const TINY: BenchSizes = BenchSizes {
        vocab_size: 31,
        seq_len: 12,
        width: 16,
        heads: 2,
        layers: 2,
        batch: 3,
        recycled: 4,
        dropout: 0.0,
        steps: 1,
        warmup: 0,
        dtype: Dtype::F32,
        activation_checkpointing: false,
    };

    fn count(sizes: BenchSizes) -> usize {
        params_without_feedback(&sizes.build_model(&sizes.run_config(StepKind::Plain), &Device::flex()))
    }

    #[test]
    fn a_model_has_as_many_parameters_as_the_peers() {
        let small = BenchSizes { vocab_size: 512, seq_len: 128, width: 128, heads: 4, layers: 4, ..TINY };
        assert_eq!(count(small), 935_040);
        let middle = BenchSizes { vocab_size: 8192, seq_len: 256, width: 256, heads: 4, layers: 6, ..TINY };
        assert_eq!(count(middle), 9_014_528);
    }

    #[test]
    fn every_kind_recycles_the_requested_number_of_positions() {
        for kind in [StepKind::Dense, StepKind::DenseThrough, StepKind::Isolated, StepKind::Joint, StepKind::Plain] {
            let config = TINY.run_config(kind);
            let mut learner = Learner::new(TINY.build_model(&config, &Device::flex()), &config.optim);
            let (row, error) = learner.update(&config, &[TINY.random_batch(0)]).unwrap();
            assert!(error.is_none());
            let expected = (kind != StepKind::Plain).then_some(12.0);
            assert_eq!(row.get(Metric::Recycled), expected, "{kind:?}");
            assert_eq!(row.get(Metric::Lr), Some(1e-3));
        }
    }

    #[test]
    fn columns_are_distinct_and_never_the_first() {
        let all_but_one = BenchSizes { recycled: 11, ..TINY };
        assert_eq!(recycled_columns(&all_but_one.run_config(StepKind::Sequential), 12, 1), (1..12).collect::<Vec<_>>());
        let config = TINY.run_config(StepKind::Sequential);
        assert_eq!(recycled_columns(&config, 12, 1).len(), 4);
        assert_ne!(recycled_columns(&config, 12, 1), recycled_columns(&config, 12, 2));
    }

    #[test]
    fn both_orders_of_a_curriculum_step_give_the_same_loss() {
        let losses = [StepKind::CurriculumSequential, StepKind::CurriculumParallel].map(|kind| {
            let mut subject = BenchSubject::new(&TINY, kind, &Device::flex(), 0);
            let row = subject.step(&TINY.random_batch(0)).unwrap();
            assert_eq!(row.get(Metric::Latents), Some(12.0));
            row.get(Metric::LossQuestions).unwrap()
        });
        assert!((losses[0] - losses[1]).abs() < 1e-5, "{losses:?}");
        // The longest piece of latents leaves a question of one token and one target.
        let row = question_row((0..13).collect(), 11);
        assert_eq!((row.latents, row.given), ((1..12).collect(), 12));
    }

    #[test]
    fn a_sequential_step_learns() {
        let config = TINY.run_config(StepKind::Sequential);
        let mut learner = Learner::new(TINY.build_model(&config, &Device::flex()), &config.optim);
        let loss = |learner: &Learner| {
            let tokens = pretraining::upload_batch(&TINY.random_batch(0), &Device::flex());
            let states = run_sequential(&learner.model, &tokens, &recycled_columns(&config, 12, 1), 1.0);
            let mut accumulator = GradientAccumulator::new(&learner.model, 1.0, Timing::Off);
            let output =
                accumulator.add_loss(StepPart::Plain, flatten_rows(&states.hidden), tokens.loss_targets(), 1.0);
            mean(crate::train::step::readback::read_values(&output.nll).unwrap()).unwrap()
        };
        let before = loss(&learner);
        for _ in 0..5 {
            sequential_update(&mut learner, &config, &TINY.random_batch(0)).unwrap();
        }
        assert_eq!(learner.step, 5);
        assert!(loss(&learner) < before - 0.01, "{before}");
    }
}
