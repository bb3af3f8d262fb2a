//! Owns: reinforcement learning as an objective: prompts, iterations of rollouts with their advantages, validation by answers.
//! Must not know: the loss and its gradients (`step::rl`), the training loop, run folders, screens.
//! Invariant: rollouts depend only on the model, the questions, the config, the position and the number of updates done. Between
//! the updates of an iteration its rollouts are part of the state.

mod rewards;
mod rollouts;
mod state;

use super::question_set::{QuestionEncoding, QuestionSet};
use super::validation_answers::{answer_validation, measure_controls};
use super::{Objective, ObjectiveStart, Sample};
use crate::config::{Config, ObjectiveKind};
use crate::curriculum::rows::EncodedQuestion;
use crate::data::{Batch, DataError, Dataset, Split, StreamPosition, Tokenizer};
use crate::generate::{GenerateError, Generation, GenerationRequest};
use crate::model::Transformer;
use crate::policy::switch::{EntropyPolicy, LatentPosition, Policy, TrendPolicy};
use crate::rl::advantages::{GroupAdvantages, group_advantages, weighted_rewards};
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::rollout_rows::RolloutRow;
use crate::schema::token_rows::TokenRow;
use crate::train::TrainError;
use crate::train::eval::accuracy::{EvalPrompt, answer_questions};
use crate::train::eval::judge::Judge;
use crate::train::eval::probe;
use crate::train::step::readback::mean;
use crate::train::step::rl::{RlBatches, score_rollouts};
use crate::train::step::rl_iteration::{RlIteration, RolloutSettings, rollout_flop};
use crate::train::step::rl_row::REWARD_NAMES;
use crate::train::step::update::UpdateBatches;
use burn::module::Module;
use rewards::{reward_values, reward_weights};
use rollouts::{MadeRollout, RolloutRequest};
use std::path::{Path, PathBuf};
use std::time::Instant;

pub(in crate::train) struct RlObjective {
    train: QuestionSet,
    valid: Option<QuestionSet>,
    tokenizer: Tokenizer,
    end_tokens: Vec<u32>,
    /// Where the next prompt is read: its epoch, and in `document` the place in its order.
    next: StreamPosition,
    /// The same after the last update that is done.
    position: StreamPosition,
    /// The rollouts that are learned from now.
    iteration: Option<RlIteration>,
    /// The model that the run began with, if `rl.beta` is above 0.
    reference: Option<Transformer>,
    /// Rollouts that were made for the last update, until they are taken.
    rows: Vec<RolloutRow>,
    /// Input tokens of the last update, and its epoch.
    tokens_and_epoch: (u64, u64),
    /// Folder of the checkpoint that the run goes on from.
    start_dir: Option<PathBuf>,
}

impl RlObjective {
    /// Reads the questions of the dataset's train and valid splits.
    pub fn open(config: &Config, dataset: &Dataset, start: ObjectiveStart) -> Result<Self, TrainError> {
        let tokenizer = dataset.tokenizer().ok_or_else(|| TrainError::InvalidSetting {
            key: "data.dir",
            value: config.data.dir.clone(),
            reason: "`objective.kind` = \"rl\" needs a dataset with a tokenizer".into(),
        })?;
        let tokenizer = tokenizer.with_markers()?;
        parse_policy(config, &tokenizer)?;
        let end_token = dataset.eos_id();
        if end_token.is_none() {
            tracing::warn!("the tokenizer has no end token: every rollout will be cut off");
        }
        let encoding = QuestionEncoding { tokenizer: &tokenizer, separator: &config.objective.separator, end_token };
        let seq_len = config.data.seq_len;
        // A prompt, and at least one token.
        let fits = |question: &EncodedQuestion| question.question.len() < seq_len;
        let train = QuestionSet::open(dataset, Split::Train, &encoding, fits)?;
        if start.position.document as usize >= train.len() {
            let found = format!("place {} of an epoch", start.position.document);
            let allowed = format!("below {} (have the questions changed?)", train.len());
            return Err(DataError::InvalidPosition { file: dataset.path().to_path_buf(), found, allowed }.into());
        }
        let valid = match dataset.has_split(Split::Valid) {
            true => Some(QuestionSet::open(dataset, Split::Valid, &encoding, fits)?),
            false => None,
        };
        let iteration = start.state_dir.as_deref().map(state::load_iteration).transpose()?.flatten();
        Ok(Self {
            train,
            valid,
            tokenizer,
            end_tokens: end_token.into_iter().collect(),
            next: start.position.clone(),
            position: start.position,
            iteration,
            reference: None,
            rows: Vec::new(),
            tokens_and_epoch: (0, 0),
            start_dir: start.state_dir,
        })
    }

    /// Keeps the reference model, if `rl.beta` needs one: that of the checkpoint, or `model` before the first update.
    fn find_reference(&mut self, config: &Config, model: &Transformer) -> Result<(), TrainError> {
        if config.rl.beta == 0.0 || self.reference.is_some() {
            return Ok(());
        }
        let stored = self.start_dir.as_deref().map(|dir| state::load_reference(dir, model)).transpose()?.flatten();
        self.reference = Some(stored.unwrap_or_else(|| model.valid()));
        Ok(())
    }

    /// Moves to the next question and returns its index.
    fn take_question(&mut self, config: &Config) -> usize {
        let place = self.next.document as usize;
        let index = self.train.question_at(config.run.seed, self.next.epoch, place, config.data.shuffle);
        self.next.document += 1;
        if self.next.document as usize >= self.train.len() {
            self.next = StreamPosition { epoch: self.next.epoch + 1, ..StreamPosition::default() };
        }
        index
    }

    /// Makes the rollouts of the next prompts, and their advantages.
    fn make_iteration(
        &mut self,
        config: &Config,
        model: &Transformer,
        updates_done: u64,
    ) -> Result<RlIteration, TrainError> {
        let rl = &config.rl;
        let settings = RolloutSettings {
            seed: config.run.seed,
            step: updates_done + 1,
            temperature: rl.temperature,
            switch_temperature: rl.switch_temperature,
            latent_noise: rl.latent_noise,
            dropout: rl.dropout,
        };
        let questions: Vec<usize> = (0..rl.prompts).map(|_| self.take_question(config)).collect();
        let group =
            |index: &usize| std::iter::repeat_n(self.train.questions[*index].question.clone(), rl.num_generations);
        let prompts = questions.iter().flat_map(group).collect();
        let policy = parse_policy(config, &self.tokenizer)?;
        let request = RolloutRequest { rl, policy: &policy, settings: &settings, end_tokens: &self.end_tokens };
        let began = Instant::now();
        let (made, generation_seconds) = request.run(&model.valid(), prompts).map_err(device_failed)?;
        let seconds = began.elapsed().as_secs_f64();
        let texts: Vec<String> = made.iter().map(|rollout| self.answer_text(rollout, &policy)).collect();
        let answer = |index: usize| &self.train.answers[questions[index / rl.num_generations]];
        let values = made.iter().zip(&texts).enumerate();
        let values: Vec<_> =
            values.map(|(index, (rollout, text))| reward_values(&rollout.trajectory, text, answer(index))).collect();
        let rewards = weighted_rewards(&values, &REWARD_NAMES, &reward_weights(rl));
        let rewards = rewards.map_err(|error| TrainError::InvalidReward(error.to_string()))?;
        let GroupAdvantages { values: advantages, is_equal } =
            group_advantages(&rewards, rl.num_generations, rl.scale_rewards);
        self.rows = self.rollout_rows(updates_done, &made, &questions, &values, &rewards, &advantages);
        let trajectories: Vec<_> = made.into_iter().map(|rollout| rollout.trajectory).collect();
        let mut iteration = RlIteration {
            settings,
            flop: rollout_flop(model.shape(), &trajectories),
            trajectories,
            reward_values: values,
            rewards,
            advantages,
            is_equal,
            old: Vec::new(),
            reference: None,
            updates_done: 0,
            seconds,
            generation_seconds,
        };
        iteration.reference = self.score_by_reference(config, &iteration)?;
        Ok(iteration)
    }

    /// Returns the log-probabilities of all events under the reference model, if there is one.
    fn score_by_reference(
        &self,
        config: &Config,
        iteration: &RlIteration,
    ) -> Result<Option<Vec<Vec<f64>>>, TrainError> {
        let Some(reference) = &self.reference else { return Ok(None) };
        let count = iteration.trajectories.len();
        let mut log_probs = Vec::with_capacity(count);
        for start in (0..count).step_by(config.data.batch) {
            let part = start..count.min(start + config.data.batch);
            let scored = score_rollouts(reference, iteration, part, config.rl.switch)
                .ok_or_else(|| TrainError::DeviceFailed("the reference model could not be run".into()))?;
            log_probs.extend(scored.log_probs);
        }
        Ok(Some(log_probs))
    }

    /// Returns the text of a rollout that is judged: without latents, inserted markers and the end token.
    fn answer_text(&self, rollout: &MadeRollout, policy: &Policy) -> String {
        let markers = policy.named_tokens().into_iter().filter(|(key, _)| *key != "after").map(|(_, id)| id);
        let left_out: Vec<u32> = markers.chain(self.end_tokens.iter().copied()).collect();
        let ids = rollout.trajectory.inputs.iter().flatten().copied().filter(|id| !left_out.contains(id));
        self.tokenizer.decode(&ids.collect::<Vec<_>>())
    }

    fn rollout_rows(
        &self,
        step: u64,
        made: &[MadeRollout],
        questions: &[usize],
        values: &[Vec<Option<f64>>],
        rewards: &[Option<f64>],
        advantages: &[f64],
    ) -> Vec<RolloutRow> {
        let each = made.len() / questions.len();
        let row = |(index, rollout): (usize, &MadeRollout)| {
            let (trajectory, question) = (&rollout.trajectory, questions[index / each]);
            let positions = rollout.positions();
            RolloutRow {
                step,
                group: index / each,
                rollout: index % each,
                prompt: self.tokenizer.decode(&trajectory.prompt),
                right_answer: self.train.answers[question].clone(),
                text: Sample { pieces: rollout.pieces(), ..Sample::default() }.text(|ids| self.tokenizer.decode(ids)),
                reward: rewards[index].unwrap_or_default(),
                advantage: advantages[index],
                exact: values[index][0].unwrap_or_default(),
                format: values[index][1].unwrap_or_default(),
                is_truncated: trajectory.is_truncated,
                tokens: trajectory.tokens(),
                latents: trajectory.latents(),
                token_ids: trajectory.inputs.clone(),
                entropies: positions.iter().map(|event| event.entropy as f32).collect(),
                log_probs: positions.iter().map(|event| event.log_prob as f32).collect(),
            }
        };
        made.iter().enumerate().map(row).collect()
    }

    /// Returns the validation questions that are measured, as prompts.
    fn valid_prompts(&self, config: &Config) -> Vec<EvalPrompt> {
        let Some(valid) = &self.valid else { return Vec::new() };
        let count = valid.len().min(config.eval.batches * config.data.batch);
        let prompt = |index: usize| {
            let (question, answer) = (&valid.questions[index], valid.answers[index].clone());
            let judge = Judge::for_answer(&answer);
            EvalPrompt { ids: question.question.clone(), answer, judge, steps: question.steps.len() }
        };
        (0..count).map(prompt).collect()
    }

    /// Returns a greedy request by the policy of the rollouts.
    fn greedy_request(&self, config: &Config) -> Result<GenerationRequest, TrainError> {
        let policy = parse_policy(config, &self.tokenizer)?;
        let end_tokens = self.end_tokens.clone();
        Ok(GenerationRequest {
            end_tokens,
            ..GenerationRequest::new(Vec::new(), policy, config.rl.max_completion_length)
        })
    }
}

/// Checks `rl.policy` without a tokenizer: any text may be a token.
pub(in crate::train) fn check_policy(config: &Config) -> Result<(), TrainError> {
    match config.objective.kind {
        ObjectiveKind::Rl => parse_policy_with(config, &|_| Some(0)).map(|_| ()),
        _ => Ok(()),
    }
}

fn parse_policy(config: &Config, tokenizer: &Tokenizer) -> Result<Policy, TrainError> {
    parse_policy_with(config, &|text| tokenizer.token_id(text))
}

fn parse_policy_with(config: &Config, token_id: &dyn Fn(&str) -> Option<u32>) -> Result<Policy, TrainError> {
    let fail =
        |reason: String| TrainError::InvalidSetting { key: "rl.policy", value: config.rl.policy.clone(), reason };
    let policy = Policy::parse_with_tokens(&config.rl.policy, token_id).map_err(fail)?;
    match &policy {
        Policy::Entropy(EntropyPolicy { position: LatentPosition::InPlace, .. })
        | Policy::Trend(TrendPolicy { position: LatentPosition::InPlace, .. }) => {
            Err(fail("a token that a latent replaces has no place in a rollout; allowed: `at=next`".into()))
        }
        _ => Ok(policy),
    }
}

fn device_failed(error: GenerateError) -> TrainError {
    TrainError::DeviceFailed(error.to_string())
}

impl Objective for RlObjective {
    fn next_batches<'a>(
        &'a mut self,
        config: &'a Config,
        model: &Transformer,
        updates_done: u64,
    ) -> Result<Box<dyn UpdateBatches + 'a>, TrainError> {
        self.find_reference(config, model)?;
        let is_used_up = |iteration: &RlIteration| iteration.updates_done >= config.rl.num_iterations;
        self.next = self.position.clone();
        let epoch = self.position.epoch;
        if self.iteration.as_ref().is_none_or(is_used_up) {
            self.iteration = Some(self.make_iteration(config, model, updates_done)?);
        } else if self.iteration.as_ref().is_some_and(|iteration| iteration.updates_done == 0) {
            // An update that was given up has its rollouts still; their prompts count as read.
            (0..config.rl.prompts).for_each(|_| {
                self.take_question(config);
            });
        }
        let Some(iteration) = self.iteration.as_mut() else {
            return Err(TrainError::DeviceFailed("no rollouts were made".into()));
        };
        let positions =
            iteration.trajectories.iter().map(|rollout| (rollout.prompt.len() + rollout.inputs.len()) as u64);
        self.tokens_and_epoch = (positions.sum(), epoch);
        Ok(Box::new(RlBatches::new(iteration, &config.rl, config.data.batch)))
    }

    fn count_update(&mut self) -> (u64, u64) {
        self.position = self.next.clone();
        self.iteration.iter_mut().for_each(|iteration| iteration.updates_done += 1);
        self.tokens_and_epoch
    }

    fn position(&self) -> StreamPosition {
        self.position.clone()
    }

    fn save_state(&self, config: &Config, dir: &Path) -> Result<(), TrainError> {
        let is_begun = |iteration: &&RlIteration| (1..config.rl.num_iterations).contains(&iteration.updates_done);
        if let Some(iteration) = self.iteration.as_ref().filter(is_begun) {
            state::save_iteration(dir, iteration)?;
        }
        self.reference.as_ref().map_or(Ok(()), |reference| state::save_reference(dir, reference))
    }

    fn take_rollouts(&mut self) -> Vec<RolloutRow> {
        std::mem::take(&mut self.rows)
    }

    fn set_config(&mut self, config: &Config) -> Result<(), TrainError> {
        parse_policy(config, &self.tokenizer).map(|_| ())
    }

    fn can_validate(&self) -> bool {
        self.valid.is_some()
    }

    fn validate(
        &mut self,
        config: &Config,
        model: &mut Transformer,
        _: bool,
        row: &mut StepRow,
    ) -> Result<Vec<(String, f64)>, TrainError> {
        let (model, prompts) = (model.valid(), self.valid_prompts(config));
        let request = self.greedy_request(config)?;
        let answer = |request: &GenerationRequest| {
            answer_questions(&model, &self.tokenizer, &prompts, config.data.batch, request)
        };
        let scores = answer(&request).map_err(device_failed)?;
        let steps: Vec<usize> = prompts.iter().map(|prompt| prompt.steps).collect();
        let figures = answer_validation(&scores, &steps, row);
        row.set_if_some(Metric::ValidAnswerTokens, mean(scores.iter().map(|score| score.tokens as f32)));
        row.set_if_some(Metric::ValidAnswerLatents, mean(scores.iter().map(|score| score.latents as f32)));
        if scores.iter().any(|score| score.latents > 0) {
            measure_controls(&request, answer, row).map_err(device_failed)?;
        }
        Ok(figures)
    }

    fn measure_sequential_cost(&self, _: &Config, _: &Transformer, _: &mut StepRow) {}

    fn samples(&self, config: &Config, model: &Transformer, _: &[u32]) -> Result<Vec<Sample>, TrainError> {
        let Some(valid) = &self.valid else { return Ok(Vec::new()) };
        let (model, request) = (model.valid(), self.greedy_request(config)?);
        let sample = |question: &EncodedQuestion| {
            let (prompts, top_count) = (vec![question.question.clone()], rollouts::MAX_DECODED);
            let request = GenerationRequest { prompts, top_count, ..request.clone() };
            let mut generation = Generation::start(&model, request).map_err(device_failed)?;
            let (mut made, mut entropies) = (MadeRollout::new(&question.question), Vec::new());
            while !generation.is_finished() {
                for step in generation.step().map_err(device_failed)? {
                    made.push(&step, None);
                    entropies.push(step.distribution.entropy as f32);
                }
            }
            let (decoding, prompt) = (config.rl.policy.clone(), question.question.clone());
            Ok(Sample { decoding, prompt, pieces: made.pieces(), entropy: mean(entropies) })
        };
        valid.questions.iter().take(config.eval.samples).map(sample).collect()
    }

    /// Probes the first rollout of the iteration.
    fn probe_row(
        &self,
        _: &Config,
        model: &Transformer,
        tokenizer: Option<&Tokenizer>,
        step: u64,
    ) -> Result<Option<TokenRow>, TrainError> {
        let Some(rollout) = self.iteration.as_ref().and_then(|iteration| iteration.trajectories.first()) else {
            return Ok(None);
        };
        let ids = rollout.ids(0);
        let batch = Batch {
            batch_size: 1,
            seq_len: ids.len() - 1,
            tokens: ids.iter().map(|id| *id as i32).collect(),
            doc_start: (0..ids.len()).map(|at| at == 0).collect(),
            ..Batch::default()
        };
        let inputs = ids.len() - 1;
        let latents: Vec<usize> = rollout.latent_positions().into_iter().filter(|at| *at < inputs).collect();
        let mut probed = probe::probe_latents(model, tokenizer, &batch, &latents, false, step)?;
        probed.number_latents();
        Ok(Some(probed))
    }
}

#[cfg(test)]
mod tests;
