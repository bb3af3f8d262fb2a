//! Owns: one update: the passes over its batches, one readback, the checks, the optimizer; and its metrics row.
//! Must not know: the loop around it, screens, files.
//! Invariant: nothing is updated by a step whose loss or gradient is not finite.

use super::read::{Readback, mean, values};
use super::{TrainError, optim, price};
use crate::config::{Config, Control, LossOn, Optim, Placement, Recycle, Wanted};
use crate::data::Batch;
use crate::model::cost::{Costs, Part};
use crate::model::ledger::{Ledger, Stopwatch, accumulate};
use crate::model::{Shape, Tokens, Transformer};
use crate::ops::threads;
use crate::record::registry::{Metric, StepRow};
use crate::recycle::passes::{self, Pass, Plan};
use crate::recycle::placement::{self, Positions, Rows};
use crate::recycle::schedule::{self, InForce};
use crate::rng::Draw;
use burn::module::{Module, ModuleMapper, Param};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};

/// What is trained.
pub struct Learner {
    /// With autodiff.
    pub model: Transformer,
    optimizer: ModuleOptimizer,
    factor: optim::Factor,
    /// The model without its numbers, which stands in its place while they are updated: nobody else has them then.
    hollow: Transformer,
    /// Updates done.
    pub step: u64,
    /// Updates that taught the pause vector.
    pub lessons: u64,
}

/// What a batch's passes said, on the host.
struct Reading {
    plain_nll: Vec<f32>,
    plain_entropy: Vec<f32>,
    recycled: Option<RecycledReading>,
}

struct RecycledReading {
    /// Where the loss counts.
    nll: Vec<f32>,
    positions: Positions,
    /// Whether `nll` is of all positions, or of the recycled ones.
    all: bool,
}

impl Learner {
    /// `model`, of which nothing is updated yet.
    pub fn new(model: Transformer, optim: &Optim) -> Self {
        let (optimizer, factor) = optim::adamw(optim, &model);
        let hollow = model.clone().map(&mut Hollow);
        Self { optimizer, factor, hollow, model, step: 0, lessons: 0 }
    }

    /// This one, `step` updates having been done, `lessons` of which taught the pause vector.
    pub(super) fn at(self, optimizer: ModuleOptimizer, step: u64, lessons: u64) -> Self {
        Self { optimizer, step, lessons, ..self }
    }

    /// What the optimizer remembers.
    pub(super) fn optimizer(&self) -> &ModuleOptimizer {
        &self.optimizer
    }

    /// One update over `batches`, which are averaged. Its row has all metrics but time and place.
    ///
    /// A step whose loss or gradient is not finite updates nothing: its row comes back with the error.
    pub fn update(
        &mut self,
        config: &Config,
        batches: &[Batch],
    ) -> Result<(StepRow, Option<TrainError>), TrainError> {
        let _awake = threads::awake();
        let step = self.step + 1;
        let vocab_size = self.model.shape().vocab_size;
        let in_force = schedule::at(&config.recycle, vocab_size, config.run.seed, step);
        let timed = config.probe.cost > 0 && step.is_multiple_of(config.probe.cost);
        let mut watch = Stopwatch::new(self.model.device().without_autodiff(), timed);
        let (mut grads, mut costs) = (GradientsParams::new(), Costs::default());
        let mut outcomes = Vec::with_capacity(batches.len());
        for (index, batch) in batches.iter().enumerate() {
            let draw = Draw { seed: config.run.seed, step, batch: index as u64, pass: 0 };
            let mut outcome = self.passes(config, &in_force, batch, draw, batches.len(), timed);
            watch.lap("passes");
            accumulate(&self.model, &mut grads, std::mem::take(&mut outcome.grads));
            costs.add(Part::Update, 0.0, watch.lap(Part::Update.name()));
            costs.add_all(&outcome.costs);
            outcomes.push(outcome);
        }
        let lr = config.optim.lr_at(step, config.run.steps);
        let all_positions = config.recycle.loss_on == LossOn::All;
        let (readings, grad_norm) = read(&self.model, outcomes, &grads, all_positions)?;
        let lesson = in_force.control == Control::Pause && config.recycle.control != Control::Pause;
        let mut row = row(step, &readings, &in_force, lesson);
        row.set(Metric::Lr, lr);
        row.set(Metric::GradNorm, grad_norm);
        if let Err(error) = check(&row, lr) {
            return Ok((row, Some(error)));
        }
        self.apply(&config.optim, lr, grads, grad_norm);
        let taught = in_force.control == Control::Pause && row.get(Metric::Recycled).is_some();
        self.lessons += u64::from(taught);
        let flop = Shape::update_flop(self.model.num_params());
        costs.add(Part::Update, flop, watch.lap(Part::Update.name()));
        price::of_step(&costs, timed, row.get(Metric::Recycled).map(|count| count as usize), &mut row);
        Ok((row, None))
    }

    fn passes(
        &self,
        config: &Config,
        in_force: &InForce,
        batch: &Batch,
        draw: Draw,
        of: usize,
        timed: bool,
    ) -> passes::Outcome {
        let device = self.model.device().without_autodiff();
        let tokens = upload(batch, &device);
        let plan = plan(&config.recycle, in_force, draw);
        let mut place = placer(batch, &config.recycle, in_force.wanted, draw);
        let place = in_force.recycles.then_some::<passes::Place>(&mut place);
        passes::train(Ledger::new(&self.model, 1.0 / of as f64, timed), &tokens, &plan, place)
    }

    /// Clips `grads`, whose global norm is `norm`, and updates by them.
    pub(super) fn apply(&mut self, optim: &Optim, lr: f64, grads: GradientsParams, norm: f64) {
        let limit = optim.clip;
        self.factor.set(if limit > 0.0 && norm > limit { limit / norm } else { 1.0 });
        let model = std::mem::replace(&mut self.model, self.hollow.clone());
        self.model = self.optimizer.step(lr, model, grads);
        self.step += 1;
    }
}

/// Takes the numbers out of a model.
struct Hollow;

impl ModuleMapper for Hollow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (id, value, _) = param.consume();
        Param::initialized(id, Tensor::zeros([1; D], &value.device()))
    }
}

/// Uploads a batch.
pub(super) fn upload(batch: &Batch, device: &Device) -> Tokens {
    Tokens::upload(&batch.tokens, batch.batch, batch.seq_len, device)
}

fn plan(recycle: &Recycle, in_force: &InForce, draw: Draw) -> Plan {
    let weight = |pass: usize| match recycle.pass_weights.last() {
        None if pass < in_force.passes => 0.0,
        None => in_force.weight,
        Some(last) => in_force.weight * recycle.pass_weights.get(pass - 1).unwrap_or(last),
    };
    // A lesson has one pass, whatever the weights of others.
    let lesson = in_force.control != recycle.control;
    let pass = Pass {
        reach: recycle.reach,
        control: in_force.control,
        scale: in_force.scale,
        jitter: recycle.jitter,
        draw,
    };
    Plan {
        pass,
        weights: if lesson { vec![in_force.weight] } else { (1..=in_force.passes).map(weight).collect() },
        flow: recycle.flow,
        cut: recycle.cut,
        loss_on: recycle.loss_on,
    }
}

/// Chooses the positions of `batch` as the config says, given the plain entropy `[B·T]` on the device.
pub(super) fn placer<'a>(
    batch: &'a Batch,
    recycle: &'a Recycle,
    wanted: Wanted,
    draw: Draw,
) -> impl FnMut(&Tensor<1>) -> Positions + 'a {
    let starts: Vec<bool> =
        batch.doc_start.chunks(batch.seq_len + 1).flat_map(|row| row[..batch.seq_len].to_vec()).collect();
    move |entropy| {
        let rows = Rows { seq_len: batch.seq_len, doc_start: &starts, prefix: recycle.prefix, draw };
        match recycle.placement {
            Placement::Random => placement::random(rows, wanted),
            Placement::Span => placement::span(rows, wanted, recycle.span),
            // READBACK: which positions are uncertain is decided on the host.
            Placement::EntropyAt | Placement::EntropyNext => match values(entropy) {
                Some(entropy) if recycle.placement == Placement::EntropyAt => {
                    placement::entropy_at(rows, wanted, &entropy)
                }
                Some(entropy) => placement::entropy_next(rows, wanted, &entropy),
                None => Positions { seq_len: batch.seq_len, rows: vec![Vec::new(); batch.batch] },
            },
        }
    }
}

/// READBACK: the step's only one (but for entropy placement): what all batches said, and the gradient norm.
fn read(
    model: &Transformer,
    outcomes: Vec<passes::Outcome>,
    grads: &GradientsParams,
    all: bool,
) -> Result<(Vec<Reading>, f64), TrainError> {
    let mut readback = Readback::default();
    for outcome in &outcomes {
        readback.add(&outcome.plain.nll);
        readback.add(&outcome.plain.entropy);
        if let Some((said, _)) = &outcome.recycled {
            readback.add(&said.nll);
        }
    }
    if let Some(square) = optim::square_norm(model, grads) {
        readback.add(&square);
    }
    let mut read = readback.now()?.into_iter();
    let mut next = || read.next().unwrap_or_default();
    let readings = outcomes
        .into_iter()
        .map(|outcome| Reading {
            plain_nll: next(),
            plain_entropy: next(),
            recycled: outcome.recycled.map(|(_, positions)| RecycledReading { nll: next(), positions, all }),
        })
        .collect();
    let square = next().first().copied().unwrap_or(0.0);
    Ok((readings, (square as f64).sqrt()))
}

/// `lesson`: the step feeds the pause vector so that it is learned, and says nothing of the states.
fn row(step: u64, readings: &[Reading], in_force: &InForce, lesson: bool) -> StepRow {
    let mut row = StepRow::new(step);
    row.set(Metric::RecycleProbability, in_force.probability);
    match in_force.wanted {
        Wanted::Fraction(fraction) => row.set(Metric::RecycleFraction, fraction),
        Wanted::Count(count) => row.set(Metric::RecycleCount, count as f64),
        Wanted::Above(nats) => row.set(Metric::RecycleThreshold, nats),
    }
    row.set(Metric::RecycleWeight, in_force.weight);
    row.set(Metric::RecycleScale, in_force.scale);
    row.set_if(
        Metric::LossPlain,
        mean(readings.iter().flat_map(|reading| reading.plain_nll.iter().copied())),
    );
    row.set_if(
        Metric::EntropyPlain,
        mean(readings.iter().flat_map(|reading| reading.plain_entropy.iter().copied())),
    );
    let recycled: Vec<(&Reading, &RecycledReading)> = readings
        .iter()
        .filter_map(|reading| reading.recycled.as_ref().map(|recycled| (reading, recycled)))
        .collect();
    if recycled.is_empty() {
        return row;
    }
    let count: usize = recycled.iter().map(|(_, recycled)| recycled.positions.count()).sum();
    row.set(Metric::Recycled, count as f64);
    row.set(Metric::RecycledPasses, in_force.passes as f64);
    let at_recycled = mean(recycled.iter().flat_map(|(_, r)| r.at_recycled()));
    if lesson {
        row.set_if(Metric::LossPause, at_recycled);
        return row;
    }
    row.set_if(Metric::LossRecycled, mean(recycled.iter().flat_map(|(_, r)| r.nll.iter().copied())));
    row.set_if(Metric::LossRecycledAtRecycled, at_recycled);
    let plain_at = |of: fn(&Reading) -> &Vec<f32>| {
        mean(
            recycled.iter().flat_map(|(reading, r)| r.positions.flat().into_iter().map(|at| of(reading)[at])),
        )
    };
    row.set_if(Metric::LossPlainAtRecycled, plain_at(|reading| &reading.plain_nll));
    row.set_if(Metric::EntropyPlainAtRecycled, plain_at(|reading| &reading.plain_entropy));
    row
}

impl RecycledReading {
    /// nll at the recycled positions alone.
    fn at_recycled(&self) -> Vec<f32> {
        match self.all {
            true => self.positions.flat().into_iter().map(|at| self.nll[at]).collect(),
            false => self.nll.clone(),
        }
    }
}

/// Refuses what is not finite.
pub(super) fn check(row: &StepRow, lr: f64) -> Result<(), TrainError> {
    for (metric, what) in [
        (Metric::LossPlain, "the plain loss"),
        (Metric::LossRecycled, "the recycled loss"),
        (Metric::LossPause, "the loss with a pause"),
        (Metric::GradNorm, "the gradient norm"),
    ] {
        if let Some(value) = row.get(metric).filter(|value| !value.is_finite()) {
            return Err(TrainError::NotFinite { step: row.step(), what, value, lr });
        }
    }
    Ok(())
}
