//! Owns: the updates from the rollouts of an iteration: their log-probabilities under the model now, gradients, and the row.
//! Must not know: how rollouts are made, how a loss is defined (`rl`), the optimizer, files.
//! Invariant: the update computes latents again at the places where the rollout had them, with the rollout's own noise and
//! masks, so that the ratio of the first update is 1 up to rounding.

use super::readback::Readback;
use super::rl_iteration::{RlIteration, RolloutSettings, ScoredEvents};
use super::update::{BatchGradients, BatchValues, UpdateBatches};
use crate::config::{self, EqualGroups, LatentOrder, SwitchDecision};
use crate::curriculum::passes::{self, LatentSettings, RowStates};
use crate::curriculum::rows::CurriculumRow;
use crate::model::accumulator::{GradientAccumulator, Timing};
use crate::model::cost::{PartCosts, StepPart};
use crate::model::{Transformer, head, index_tensor};
use crate::policy::switch::SwitchNoise;
use crate::rl::events::{CountingRule, SwitchCounting, TruncatedCounting};
use crate::rl::loss::{EventScores, LossPlan, LossSettings, PartLoss};
use crate::rl::trajectory::{EventAction, Trajectory};
use crate::schema::metrics::{Metric, StepRow};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};
use std::ops::Range;

/// The events of some rollouts that have a log-probability, with the rows that they are computed from.
struct EventPlaces {
    rows: Vec<CurriculumRow>,
    /// Rollout, event, and output position of each token, and its id.
    tokens: Vec<(usize, usize, usize, u32)>,
    /// Rollout, event, output position of each decision that is learned, and whether it is for a latent, by which threshold.
    decisions: Vec<(usize, usize, usize, bool, f64)>,
    events: Vec<usize>,
}

impl EventPlaces {
    fn new(trajectories: &[Trajectory], switch: SwitchDecision) -> Self {
        let (mut tokens, mut decisions) = (Vec::new(), Vec::new());
        for (rollout, trajectory) in trajectories.iter().enumerate() {
            for (index, event) in trajectory.events.iter().enumerate() {
                match event.action {
                    EventAction::Token(id) => tokens.push((rollout, index, event.output, id)),
                    EventAction::Decision { thinks, threshold } if switch == SwitchDecision::Learned => {
                        decisions.push((rollout, index, event.output, thinks, threshold));
                    }
                    _ => {}
                }
            }
        }
        let row = |trajectory: &Trajectory| CurriculumRow {
            ids: trajectory.ids(0),
            latents: trajectory.latent_positions(),
            given: trajectory.prompt.len(),
        };
        let events = trajectories.iter().map(|trajectory| trajectory.events.len()).collect();
        Self { rows: trajectories.iter().map(row).collect(), tokens, decisions, events }
    }

    fn token_states(&self, states: &RowStates, temperature: f64) -> Tensor<2> {
        let places: Vec<_> = self.tokens.iter().map(|(rollout, _, output, _)| (*rollout, *output)).collect();
        states.states_at(&places).div_scalar(temperature)
    }

    fn decision_states(&self, states: &RowStates) -> Tensor<2> {
        let places: Vec<_> = self.decisions.iter().map(|(rollout, _, output, ..)| (*rollout, *output)).collect();
        states.states_at(&places)
    }

    fn targets(&self) -> Vec<usize> {
        self.tokens.iter().map(|token| token.3 as usize).collect()
    }

    /// READBACK: returns log-probabilities and entropies of the events; `None` if the device failed.
    fn score(&self, model: &Transformer, states: &RowStates, settings: &RolloutSettings) -> Option<ScoredEvents> {
        let device = model.device().without_autodiff();
        let mut readback = Readback::default();
        let targets = index_tensor(&self.targets(), &device);
        let tokens = head::score_hidden(model, self.token_states(states, settings.temperature), targets, None);
        readback.add(&tokens.nll);
        readback.add(&tokens.entropy);
        if !self.decisions.is_empty() {
            let targets = index_tensor(&vec![0; self.decisions.len()], &device);
            readback.add(&head::score_hidden(model, self.decision_states(states), targets, None).entropy);
        }
        let read = readback.read().ok()?;
        let mut scored = ScoredEvents {
            log_probs: self.events.iter().map(|count| vec![0.0; *count]).collect(),
            entropies: self.events.iter().map(|count| vec![0.0; *count]).collect(),
        };
        for ((rollout, event, ..), (nll, entropy)) in self.tokens.iter().zip(read[0].iter().zip(&read[1])) {
            scored.log_probs[*rollout][*event] = -f64::from(*nll);
            scored.entropies[*rollout][*event] = f64::from(*entropy);
        }
        for ((rollout, event, _, thinks, threshold), entropy) in
            self.decisions.iter().zip(read.get(2).into_iter().flatten())
        {
            let entropy = f64::from(*entropy);
            scored.log_probs[*rollout][*event] =
                SwitchNoise::log_prob(settings.switch_temperature, *thinks, entropy, *threshold).0;
            scored.entropies[*rollout][*event] = entropy;
        }
        Some(scored)
    }

    /// Adds the loss of the events to the accumulator.
    fn add_loss(
        &self,
        accumulator: &mut GradientAccumulator<'_>,
        states: &RowStates,
        loss: &PartLoss,
        scored: &ScoredEvents,
        settings: &RolloutSettings,
    ) {
        let device = accumulator.model().device().without_autodiff();
        let upload = |values: Vec<f32>| {
            let count = values.len();
            Tensor::<1>::from_data(TensorData::new(values, [count]), &device)
        };
        let weights = self.tokens.iter().map(|(rollout, event, ..)| loss.grads[*rollout][*event] as f32).collect();
        let targets = index_tensor(&self.targets(), &device);
        let hidden = self.token_states(states, settings.temperature);
        accumulator.add_log_probs(StepPart::PlainHead, hidden, targets, upload(weights));
        if self.decisions.is_empty() {
            return;
        }
        let weight = |(rollout, event, _, thinks, threshold): &(usize, usize, usize, bool, f64)| {
            let entropy = scored.entropies[*rollout][*event];
            let (_, slope) = SwitchNoise::log_prob(settings.switch_temperature, *thinks, entropy, *threshold);
            (loss.grads[*rollout][*event] * slope) as f32
        };
        let weights = self.decisions.iter().map(weight).collect();
        accumulator.add_entropies(StepPart::PlainHead, self.decision_states(states), upload(weights));
    }
}

/// Returns the log-probabilities of all events of `rollouts` under a model without autodiff; `None` if the device failed.
pub fn score_rollouts(
    model: &Transformer,
    iteration: &RlIteration,
    rollouts: Range<usize>,
    switch: SwitchDecision,
) -> Option<ScoredEvents> {
    let places = EventPlaces::new(&iteration.trajectories[rollouts.clone()], switch);
    let model = iteration.settings.masked_model(model, rollouts.clone());
    let settings = latent_settings(&iteration.settings, rollouts, true);
    let states = passes::run_rows(&model, &places.rows, &settings);
    places.score(&model, &states, &iteration.settings)
}

fn latent_settings(settings: &RolloutSettings, rollouts: Range<usize>, through: bool) -> LatentSettings {
    let noise = settings.noise(rollouts);
    LatentSettings { order: LatentOrder::Sequential, passes: 0, through, pause: false, noise }
}

/// The update from the rollouts of an iteration, `data.batch` rollouts at a time.
pub struct RlBatches<'a> {
    iteration: &'a mut RlIteration,
    config: &'a config::Rl,
    parts: Vec<Range<usize>>,
    plan: LossPlan,
    /// Of the entropies below which the policy's loss is left out; found before the first part.
    entropy_threshold: Option<f64>,
    scored: ScoredEvents,
    found: PartLoss,
}

impl<'a> RlBatches<'a> {
    /// Prepares an update that runs `batch` rollouts at a time.
    pub fn new(iteration: &'a mut RlIteration, config: &'a config::Rl, batch: usize) -> Self {
        let count = iteration.trajectories.len();
        let parts: Vec<_> = (0..count).step_by(batch).map(|start| start..count.min(start + batch)).collect();
        let rule = CountingRule {
            switches: match config.switch {
                SwitchDecision::Learned => SwitchCounting::Counted,
                _ => SwitchCounting::Ignored,
            },
            truncated: match config.mask_truncated_completions {
                true => TruncatedCounting::Masked,
                false => TruncatedCounting::Kept,
            },
        };
        let counted: Vec<Vec<bool>> =
            iteration.trajectories.iter().map(|trajectory| trajectory.to_events().counted(rule)).collect();
        let included: Vec<bool> =
            iteration.is_equal.iter().map(|equal| config.equal_groups == EqualGroups::Keep || !equal).collect();
        let settings = LossSettings {
            loss_type: config.loss_type,
            level: config.importance_sampling_level,
            epsilon: config.epsilon,
            epsilon_high: if config.epsilon_high == 0.0 { config.epsilon } else { config.epsilon_high },
            beta: config.beta,
            top_entropy: config.top_entropy_quantile,
            max_completion_length: config.max_completion_length,
        };
        let plan = LossPlan::new(settings, counted, iteration.advantages.clone(), &included, &parts);
        Self {
            iteration,
            config,
            parts,
            plan,
            entropy_threshold: None,
            scored: ScoredEvents::default(),
            found: PartLoss { loss: 0.0, grads: Vec::new(), ratios: Vec::new(), kl: Vec::new() },
        }
    }

    /// Returns the entropy below which the policy's loss is left out, if there is one. It is that of all rollouts: if they are
    /// run in several parts, all are run once more.
    fn find_threshold(&self, model: &Transformer, first: &ScoredEvents) -> Option<f64> {
        if self.config.top_entropy_quantile >= 1.0 {
            return None;
        }
        if self.parts.len() == 1 {
            return self.plan.entropy_threshold(&first.entropies);
        }
        let (model, switch) = (model.valid(), self.config.switch);
        let mut entropies = Vec::new();
        for part in &self.parts {
            entropies.extend(score_rollouts(&model, self.iteration, part.clone(), switch)?.entropies);
        }
        self.plan.entropy_threshold(&entropies)
    }

    /// Returns the loss of a part, and adds it to what was found so far.
    fn part_loss(&mut self, part: &Range<usize>, scored: &ScoredEvents) -> PartLoss {
        if self.iteration.updates_done == 0 {
            // The policy of the rollouts is the policy now.
            self.iteration.old.truncate(part.start);
            self.iteration.old.extend(scored.log_probs.iter().cloned());
        }
        let reference = self.iteration.reference.as_ref().map(|reference| &reference[part.clone()]);
        let scores = EventScores {
            new: &scored.log_probs,
            old: &self.iteration.old[part.clone()],
            reference,
            entropies: &scored.entropies,
        };
        let loss = self.plan.part_loss(part.clone(), &scores, self.entropy_threshold);
        self.found.loss += loss.loss;
        self.found.ratios.extend(loss.ratios.iter().cloned());
        self.found.kl.extend(loss.kl.iter().cloned());
        self.scored.log_probs.extend(scored.log_probs.iter().cloned());
        self.scored.entropies.extend(scored.entropies.iter().cloned());
        loss
    }
}

impl UpdateBatches for RlBatches<'_> {
    fn count(&self) -> usize {
        self.parts.len()
    }

    /// Two readbacks a part: the loss is a function of log-probabilities on the host, before the backward pass.
    fn gradients(&mut self, model: &Transformer, index: usize, timing: Timing) -> BatchGradients {
        let part = self.parts[index].clone();
        let places = EventPlaces::new(&self.iteration.trajectories[part.clone()], self.config.switch);
        let settings = self.iteration.settings.clone();
        let model = settings.masked_model(model, part.clone());
        let mut accumulator = GradientAccumulator::new(&model, 1.0, timing);
        let states =
            passes::run_rows(&model, &places.rows, &latent_settings(&settings, part.clone(), self.config.through));
        accumulator.record_operations(StepPart::Plain, states.flop, states.backward_flop);
        let Some(scored) = places.score(&model, &states, &settings) else {
            // The step's own readback reports the failure.
            return BatchGradients { grads: GradientsParams::new(), costs: PartCosts::default(), values: Vec::new() };
        };
        if index == 0 {
            self.entropy_threshold = self.find_threshold(&model, &scored);
        }
        let loss = self.part_loss(&part, &scored);
        if loss.grads.iter().flatten().any(|grad| *grad != 0.0) {
            places.add_loss(&mut accumulator, &states, &loss, &scored, &settings);
        }
        let (grads, costs) = accumulator.finish();
        BatchGradients { grads, costs, values: Vec::new() }
    }

    fn row(&mut self, step: u64, _: BatchValues) -> StepRow {
        let mut row = StepRow::new(step);
        super::rl_row::set_metrics(
            &mut row,
            self.iteration,
            self.plan.counted(),
            &self.scored,
            &self.found,
            self.config,
        );
        let latents: usize = self.iteration.trajectories.iter().map(Trajectory::latents).sum();
        row.set(Metric::Latents, latents as f64);
        row
    }

    fn skips_update(&self) -> bool {
        self.iteration.teaches_nothing()
    }

    fn trains_pause(&self, _: &StepRow) -> bool {
        false
    }
}
