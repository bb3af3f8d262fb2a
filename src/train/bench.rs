//! Owns: timing whole training steps of every kind on random tokens, so that they can be set beside another program's.
//! Must not know: how it is asked, where the answer goes.
//! Invariant: what is timed is what a run does: from the batch on the host to the loss read and the device at rest.

use super::device::{self, Chosen};
use super::read::{Readback, mean};
use super::sequential::sequential;
use super::{Learner, TrainError, price, step};
use crate::config::{
    self, Arch, Config, Curve, Data, Decay, Dtype, Flow, Model, Optim, Probe, Reach, Recycle, Share, Wanted,
};
use crate::data::{Batch, Position};
use crate::model::cost::Part;
use crate::model::ledger::{Ledger, Stopwatch};
use crate::model::{Execution, Form, Shape, Transformer, rows};
use crate::ops::threads;
use crate::record::registry::{Metric, StepRow};
use crate::record::system;
use crate::recycle::placement::{self, Rows};
use crate::rng::Draw;
use burn::module::Module;
use burn::tensor::Device;
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::time::Instant;

/// What is measured: a Llama-style model with its own head, its batches, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Vocabulary (V).
    pub vocab: usize,
    /// Positions a row (T).
    pub time: usize,
    /// Width (D).
    pub width: usize,
    /// Attention heads (H).
    pub heads: usize,
    /// Blocks.
    pub layers: usize,
    /// Rows a batch (B).
    pub batch: usize,
    /// Recycled positions a row (R), below `time`.
    pub recycled: usize,
    /// Steps that are timed.
    pub steps: usize,
    /// Steps before them.
    pub warmup: usize,
    /// What products are made of.
    pub dtype: Dtype,
    /// Whether blocks keep their inputs alone.
    pub activation_checkpointing: bool,
}

/// A kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One pass.
    Plain,
    /// A plain and a dense recycled pass, gradient apart.
    Dense,
    /// The same, gradient flowing through both.
    DenseThrough,
    /// The recycled positions alone, against the plain pass's keys and values.
    Isolated,
    /// The same, the recycled ones seeing each other.
    Joint,
    /// One state after another, gradient through the whole chain, loss at all positions: arXiv 2412.06769.
    Sequential,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Plain, Self::Dense, Self::DenseThrough, Self::Isolated, Self::Joint, Self::Sequential];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Dense => "dense",
            Self::DenseThrough => "dense_through",
            Self::Isolated => "isolated",
            Self::Joint => "joint",
            Self::Sequential => "sequential",
        }
    }
}

/// What one kind of step took.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Parameters of the transformer, without those of the feedback.
    pub params: usize,
    /// Wall time of every timed step, in milliseconds, the shortest first.
    pub ms: Vec<f64>,
    /// Memory: on the CPU the most that the process has had resident so far; on a GPU the most that its allocator held.
    pub peak_bytes: Option<u64>,
}

/// Trains a fresh model by steps of this kind, and times them.
pub fn measure(sizes: &Sizes, kind: Kind, chosen: &Chosen) -> Result<Measured, TrainError> {
    // What the kind before has left in a GPU's allocator is not this one's.
    chosen.device.memory_cleanup();
    let mut subject = Subject::new(sizes, kind, &chosen.device, 0);
    let (mut ms, mut peak_bytes) = (Vec::new(), None);
    for round in 0..sizes.warmup + sizes.steps {
        let batch = sizes.tokens(round);
        rest(&chosen.device)?;
        let began = Instant::now();
        subject.step(&batch)?;
        rest(&chosen.device)?;
        if round >= sizes.warmup {
            ms.push(began.elapsed().as_secs_f64() * 1e3);
        }
        peak_bytes = peak_bytes.max(held(chosen));
    }
    ms.sort_by(f64::total_cmp);
    Ok(Measured { params: subject.params(), ms, peak_bytes })
}

/// A learner that makes steps of a kind.
pub(super) struct Subject {
    kind: Kind,
    config: Config,
    learner: Learner,
}

impl Subject {
    /// A fresh model; every `cost`-th step is timed by part (0: none).
    pub fn new(sizes: &Sizes, kind: Kind, device: &Device, cost: u64) -> Self {
        let mut config = sizes.config(kind);
        config.probe.cost = cost;
        let learner = Learner::new(sizes.model(&config, device), &config.optim);
        Self { kind, config, learner }
    }

    /// Parameters, without those of the feedback.
    pub fn params(&self) -> usize {
        params(&self.learner.model)
    }

    /// One step; its row has what its parts cost.
    pub fn step(&mut self, batch: &Batch) -> Result<StepRow, TrainError> {
        match self.kind {
            Kind::Sequential => one_after_another(&mut self.learner, &self.config, batch),
            _ => update(&mut self.learner, &self.config, std::slice::from_ref(batch)),
        }
    }
}

impl Sizes {
    /// The run that makes such steps: every one recycles, and none is timed by part. AdamW as PyTorch's defaults have it.
    fn config(&self, kind: Kind) -> Config {
        let Self { vocab: vocab_size, time: seq_len, width, heads, layers, batch, .. } = *self;
        let (reach, flow) = match kind {
            Kind::Isolated => (Reach::Isolated, Flow::Detached),
            Kind::Joint => (Reach::Joint, Flow::Detached),
            Kind::DenseThrough => (Reach::Dense, Flow::Through),
            Kind::Plain | Kind::Dense | Kind::Sequential => (Reach::Dense, Flow::Detached),
        };
        Config {
            data: Data { batch, seq_len, ..Default::default() },
            model: Model {
                arch: Arch::Llama,
                vocab_size,
                width,
                heads,
                layers,
                tied: false,
                ..Default::default()
            },
            optim: Optim {
                lr: 1e-3,
                min_lr: 1e-3,
                warmup: 0,
                decay: Decay::Constant,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.01,
                clip: 1.0,
                accumulate: 1,
            },
            recycle: Recycle {
                every: u64::from(kind != Kind::Plain),
                share: Share::Count,
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

    fn model(&self, config: &Config, device: &Device) -> Transformer {
        let shape = Shape::from_config(&config.model, self.vocab, self.time);
        let (seed, device) = (config.run.seed, device.clone().autodiff());
        Transformer::new(shape, seed, config.model.init_std, &device)
            .with_feedback(Form::of(&config.recycle), seed)
            .executed(Execution::of(&config.run))
    }

    /// Random tokens, others each round; a row is a document.
    pub(super) fn tokens(&self, round: usize) -> Batch {
        let (mut rng, row) = (Xoshiro256PlusPlus::seed_from_u64(round as u64), self.time + 1);
        let tokens = (0..self.batch * row).map(|_| rng.random_range(0..self.vocab) as i32).collect();
        let doc_start = (0..self.batch * row).map(|at| at % row == 0).collect();
        Batch {
            batch: self.batch,
            seq_len: self.time,
            tokens,
            doc_start,
            after: Position::default(),
            epoch: 0,
        }
    }
}

/// Parameters of a model that has no feedback of its own.
fn params(model: &Transformer) -> usize {
    model.num_params() - model.feedback.num_params()
}

/// As a run does.
pub(super) fn update(
    learner: &mut Learner,
    config: &Config,
    batches: &[Batch],
) -> Result<StepRow, TrainError> {
    match learner.update(config, batches)? {
        (row, None) => Ok(row),
        (_, Some(error)) => Err(error),
    }
}

/// The same from one pass, one state after another.
fn one_after_another(learner: &mut Learner, config: &Config, batch: &Batch) -> Result<StepRow, TrainError> {
    let _awake = threads::awake();
    let model = &learner.model;
    let tokens = step::upload(batch, &model.device().without_autodiff());
    let number = learner.step + 1;
    let columns = columns(config, batch.seq_len, number);
    let timed = config.probe.cost > 0 && number.is_multiple_of(config.probe.cost);
    let mut ledger = Ledger::new(model, 1.0, timed);
    let states = sequential(model, &tokens, &columns, 1.0);
    ledger.ran(Part::Recycled, &states, true);
    let said = ledger.score(Part::RecycledHead, rows(&states.hidden), tokens.flat_targets(), 1.0);
    drop(states);
    let (grads, mut costs) = ledger.finish();
    let mut watch = Stopwatch::new(model.device().without_autodiff(), timed);
    // READBACK: the step's only one.
    let mut readback = Readback::default();
    readback.add(&said.nll);
    if let Some(square) = super::optim::square_norm(model, &grads) {
        readback.add(&square);
    }
    let mut read = readback.now()?.into_iter();
    let (nll, square) = (read.next().unwrap_or_default(), read.next().unwrap_or_default());
    let norm = f64::from(square.first().copied().unwrap_or(0.0)).sqrt();
    let lr = config.optim.lr_at(number, config.run.steps);
    let mut row = StepRow::new(number);
    row.set_if(Metric::LossPlain, mean(nll));
    row.set(Metric::GradNorm, norm);
    step::check(&row, lr)?;
    learner.apply(&config.optim, lr, grads, norm);
    let flop = Shape::update_flop(learner.model.num_params());
    costs.add(Part::Update, flop, watch.lap(Part::Update.name()));
    let recycled = batch.batch * columns.len();
    row.set(Metric::Recycled, recycled as f64);
    price::of_step(&costs, timed, Some(recycled), &mut row);
    Ok(row)
}

/// Columns that are recycled, the same for all rows, drawn as a run draws those of its first row.
fn columns(config: &Config, seq_len: usize, step: u64) -> Vec<usize> {
    let draw = Draw { seed: config.run.seed, step, ..Draw::default() };
    let rows = Rows { seq_len, doc_start: &vec![false; seq_len], prefix: 0.0, draw };
    let wanted = Wanted::Count(config.recycle.count.at(step) as usize);
    placement::random(rows, wanted).rows.pop().unwrap_or_default()
}

/// Waits until the device has done all of its work.
pub(super) fn rest(device: &Device) -> Result<(), TrainError> {
    device.sync().map_err(|error| TrainError::DeviceFailed(format!("{error:?}")))
}

fn held(chosen: &Chosen) -> Option<u64> {
    match chosen.kind {
        device::Kind::Cpu => system::peak_bytes(),
        _ => chosen.device.memory_pool_usage().map(|usage| usage.bytes_reserved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: Sizes = Sizes {
        vocab: 31,
        time: 12,
        width: 16,
        heads: 2,
        layers: 2,
        batch: 3,
        recycled: 4,
        steps: 1,
        warmup: 0,
        dtype: Dtype::F32,
        activation_checkpointing: false,
    };

    fn count(sizes: Sizes) -> usize {
        params(&sizes.model(&sizes.config(Kind::Plain), &Device::flex()))
    }

    #[test]
    fn a_model_has_as_many_parameters_as_the_peers() {
        let small = Sizes { vocab: 512, time: 128, width: 128, heads: 4, layers: 4, ..TINY };
        assert_eq!(count(small), 935_040);
        let middle = Sizes { vocab: 8192, time: 256, width: 256, heads: 4, layers: 6, ..TINY };
        assert_eq!(count(middle), 9_014_528);
    }

    #[test]
    fn every_kind_recycles_as_many_positions_as_it_is_told() {
        for kind in [Kind::Dense, Kind::DenseThrough, Kind::Isolated, Kind::Joint, Kind::Plain] {
            let config = TINY.config(kind);
            let mut learner = Learner::new(TINY.model(&config, &Device::flex()), &config.optim);
            let (row, error) = learner.update(&config, &[TINY.tokens(0)]).unwrap();
            assert!(error.is_none());
            let wanted = (kind != Kind::Plain).then_some(12.0);
            assert_eq!(row.get(Metric::Recycled), wanted, "{kind:?}");
            assert_eq!(row.get(Metric::Lr), Some(1e-3));
        }
    }

    #[test]
    fn columns_are_distinct_and_never_the_first() {
        let most = Sizes { recycled: 11, ..TINY };
        assert_eq!(columns(&most.config(Kind::Sequential), 12, 1), (1..12).collect::<Vec<_>>());
        let config = TINY.config(Kind::Sequential);
        assert_eq!(columns(&config, 12, 1).len(), 4);
        assert_ne!(columns(&config, 12, 1), columns(&config, 12, 2));
    }

    #[test]
    fn a_sequential_step_learns() {
        let config = TINY.config(Kind::Sequential);
        let mut learner = Learner::new(TINY.model(&config, &Device::flex()), &config.optim);
        let loss = |learner: &Learner| {
            let tokens = step::upload(&TINY.tokens(0), &Device::flex());
            let states = sequential(&learner.model, &tokens, &columns(&config, 12, 1), 1.0);
            let mut ledger = Ledger::new(&learner.model, 1.0, false);
            let said = ledger.score(Part::Plain, rows(&states.hidden), tokens.flat_targets(), 1.0);
            mean(super::super::read::values(&said.nll).unwrap()).unwrap()
        };
        let before = loss(&learner);
        for _ in 0..5 {
            one_after_another(&mut learner, &config, &TINY.tokens(0)).unwrap();
        }
        assert_eq!(learner.step, 5);
        assert!(loss(&learner) < before - 0.01, "{before}");
    }
}
