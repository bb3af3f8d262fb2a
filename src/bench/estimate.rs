//! Owns: what a run is expected to cost, from a few of its steps that are made without recording anything.
//! Must not know: experiments, command-line arguments.
//! Invariant: steps with and without recycled passes are measured apart and weighted by how many of each the run has.

use crate::config::{Config, ObjectiveKind, WorkDone};
use crate::device::SelectedDevice;
use crate::recycle::schedule::step_settings;
use crate::train::objective::ObjectiveStart;
use crate::train::run::publisher::Publisher;
use crate::train::run::setup;
use crate::train::{Learner, TrainError};
use std::sync::mpsc::{channel, sync_channel};
use std::time::Instant;

/// What a run is expected to cost. Validations and checkpoints are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunEstimate {
    /// Number of updates.
    pub steps: u64,
    /// Input tokens.
    pub tokens: f64,
    /// Floating-point operations.
    pub flop: f64,
    pub seconds: f64,
}

/// Mean cost of a step.
#[derive(Clone, Copy, Debug, Default)]
struct StepCost {
    tokens: f64,
    flop: f64,
    seconds: f64,
}

/// Steps of each kind that are measured.
const MEASURED: usize = 3;
/// Most steps whose settings are looked at to find out how many recycle.
const MAX_LOOKED_AT: u64 = 20_000;

/// Estimates the run that `config` describes by a few of its steps. A run of a curriculum or of reinforcement learning is
/// estimated by its first steps, whose rows are those of the first stage.
pub fn estimate_run(config: &Config, selected: &SelectedDevice) -> Result<RunEstimate, TrainError> {
    let mut publisher = Publisher::new(sync_channel(1).0, Default::default(), channel().1);
    let dataset = setup::open_dataset(config, &mut publisher)?;
    let model = setup::build_model(config, &dataset, selected, None, &mut publisher)?;
    let vocab_size = model.shape().vocab_size;
    let mut objective = setup::open_objective(config, &dataset, vocab_size, ObjectiveStart::default(), &mut publisher)?;
    let mut learner = Learner::new(model, &config.optim);
    let mut measure = |step: u64| -> Result<StepCost, TrainError> {
        learner.step = step - 1;
        let began = Instant::now();
        let mut batches = objective.next_batches(config, &learner.model, learner.step)?;
        let (row, error) = learner.update_on(config, &WorkDone::default(), &mut *batches)?;
        drop(batches);
        let (tokens, _) = objective.count_update();
        error.map_or(Ok(()), Err)?;
        Ok(StepCost { tokens: tokens as f64, flop: row.flop(), seconds: began.elapsed().as_secs_f64() })
    };
    let recycles = |step: u64| {
        config.objective.kind == ObjectiveKind::Pretraining
            && step_settings(&config.recycle, vocab_size, config.run.seed, step).recycles
    };
    // The first step also starts threads and compiles kernels.
    measure(1)?;
    let horizon = config.run.steps.min(MAX_LOOKED_AT);
    let mut cost_of = |kind: bool| -> Result<Option<StepCost>, TrainError> {
        let steps: Vec<u64> = (1..=horizon).filter(|step| recycles(*step) == kind).collect();
        let spread = steps.len().min(MEASURED);
        let chosen = (0..spread).map(|index| steps[index * (steps.len() - 1) / (spread - 1).max(1)]);
        let costs: Vec<StepCost> = chosen.map(&mut measure).collect::<Result<_, _>>()?;
        Ok(mean_cost(&costs))
    };
    let (plain, recycled) = (cost_of(false)?, cost_of(true)?);
    let counts = |steps: u64| {
        let looked_at = steps.clamp(1, MAX_LOOKED_AT);
        let recycled = (1..=looked_at).filter(|step| recycles(*step)).count() as f64 / looked_at as f64;
        (1.0 - recycled, recycled)
    };
    let mean_step = |steps: u64| {
        let (plain_share, recycled_share) = counts(steps);
        let (plain, recycled) = (plain.or(recycled).unwrap_or_default(), recycled.or(plain).unwrap_or_default());
        let mix = |a: f64, b: f64| plain_share * a + recycled_share * b;
        StepCost {
            tokens: mix(plain.tokens, recycled.tokens),
            flop: mix(plain.flop, recycled.flop),
            seconds: mix(plain.seconds, recycled.seconds),
        }
    };
    // How many steps recycle depends on their number, and that on the cost of a step.
    let mut steps = horizon;
    for _ in 0..3 {
        let step = mean_step(steps);
        let done = WorkDone { step: 1, tokens: step.tokens.round() as u64, flop: Some(step.flop) };
        steps = config.run.expected_steps(&done);
    }
    let (step, count) = (mean_step(steps), steps as f64);
    Ok(RunEstimate { steps, tokens: step.tokens * count, flop: step.flop * count, seconds: step.seconds * count })
}

fn mean_cost(costs: &[StepCost]) -> Option<StepCost> {
    let count = costs.len() as f64;
    let mean = |value: fn(&StepCost) -> f64| costs.iter().map(value).sum::<f64>() / count;
    (!costs.is_empty()).then(|| StepCost {
        tokens: mean(|cost| cost.tokens),
        flop: mean(|cost| cost.flop),
        seconds: mean(|cost| cost.seconds),
    })
}
