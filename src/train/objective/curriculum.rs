//! Owns: the curriculum as an objective: rows of questions by stage, validation by loss and by answers.
//! Must not know: how rows and latents are computed, the training loop, run folders, screens.
//! Invariant: rows depend only on the questions, the config, the position and the number of updates done.

use super::question_set::{QuestionEncoding, QuestionSet};
use super::{Objective, Sample};
use crate::config::{Config, CurriculumMethod, GradientFlow, LatentOrder, Objective as Settings, OptimizerReset};
use crate::curriculum::passes::{self, LatentSettings};
use crate::curriculum::rows::{CurriculumRow, EncodedQuestion, MarkerTokens, RowSettings, RowStage};
use crate::curriculum::stages;
use crate::data::{Dataset, Split, StreamPosition, Tokenizer};
use crate::generate::{Intervention, LatentSource};
use crate::model::accumulator::{GradientAccumulator, Timing};
use crate::model::{LossTargets, Transformer, head, index_tensor};
use crate::policy::switch::{FixedPolicy, Policy, ThoughtStarts};
use crate::rng::RngKey;
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::token_rows::TokenRow;
use crate::train::TrainError;
use crate::train::eval::accuracy::{AnswerScore, EvalPrompt, answer_questions};
use crate::train::eval::judge::Judge;
use crate::train::step::readback::{Readback, mean};
use crate::train::step::update::{BatchGradients, UpdateBatches};
use burn::module::Module;
use std::collections::BTreeMap;

/// Number of tokens that follow the vocabulary of the data: begin, end and answer marker.
pub(in crate::train) const MARKER_COUNT: usize = 3;

/// Returns the marker tokens: the ids after the vocabulary of the data.
pub(in crate::train) fn marker_tokens(data_vocab: usize) -> MarkerTokens {
    let first = data_vocab as u32;
    MarkerTokens { begin: first, end: first + 1, latent: 0, pause: 0, answer: first + 2 }
}

pub(in crate::train) struct Curriculum {
    train: QuestionSet,
    valid: Option<QuestionSet>,
    tokenizer: Tokenizer,
    markers: MarkerTokens,
    end_tokens: Vec<u32>,
    /// Epoch, and in `document` the place in its order.
    position: StreamPosition,
    /// Updates done before the batches that were read last.
    updates_done: u64,
    /// Input tokens of the last batches, and their epoch.
    tokens_and_epoch: (u64, u64),
}

/// The batches of one update.
struct CurriculumBatches {
    rows: Vec<Vec<CurriculumRow>>,
    settings: LatentSettings,
    stage: usize,
    resets_optimizer: bool,
}

impl Curriculum {
    /// Reads the questions of the dataset's train and valid splits.
    pub fn open(config: &Config, dataset: &Dataset, position: StreamPosition) -> Result<Self, TrainError> {
        let missing = |what: &str| TrainError::InvalidSetting {
            key: "data.dir",
            value: config.data.dir.clone(),
            reason: format!("`objective.kind` = \"curriculum\" needs {what}"),
        };
        let tokenizer = dataset.tokenizer().ok_or_else(|| missing("a dataset with a tokenizer"))?;
        let vocab = dataset.vocab_size().ok_or_else(|| missing("a dataset that states its vocabulary size"))?;
        let markers = marker_tokens(vocab);
        let encoding = QuestionEncoding {
            tokenizer: &tokenizer,
            separator: &config.objective.separator,
            end_token: dataset.eos_id(),
        };
        let settings = row_settings(&config.objective, markers);
        let fits = |question: &EncodedQuestion| longest_row(&settings, question) <= config.data.seq_len;
        let train = QuestionSet::open(dataset, Split::Train, &encoding, fits)?;
        let valid = match dataset.has_split(Split::Valid) {
            true => Some(QuestionSet::open(dataset, Split::Valid, &encoding, fits)?),
            false => None,
        };
        if config.objective.method == CurriculumMethod::Frontier {
            check_frontiers(config, train.questions.iter().chain(valid.iter().flat_map(|valid| &valid.questions)))?;
        }
        tracing::info!("markers: begin {}, end {}, answer {}", markers.begin, markers.end, markers.answer);
        let end_tokens = dataset.eos_id().into_iter().collect();
        Ok(Self { train, valid, tokenizer, markers, end_tokens, position, updates_done: 0, tokens_and_epoch: (0, 0) })
    }

    /// Moves to the next question and returns its index, with the epoch it belongs to.
    fn take_question(&mut self, config: &Config) -> usize {
        let place = self.position.document as usize;
        let index = self.train.question_at(config.run.seed, self.position.epoch, place, config.data.shuffle);
        self.position.document += 1;
        if self.position.document as usize >= self.train.len() {
            self.position = StreamPosition { epoch: self.position.epoch + 1, ..StreamPosition::default() };
        }
        index
    }

    /// Whether the update that begins at the current position is the first one of its epoch or stage.
    fn resets_optimizer(&self, config: &Config, updates_done: u64, stage: usize) -> bool {
        let per_update = (config.data.batch * config.optim.accumulate) as u64;
        let is_first_of_epoch = self.position.document < per_update;
        if updates_done == 0 {
            return false;
        }
        match config.objective.reset_optimizer {
            OptimizerReset::Never => false,
            OptimizerReset::Epoch => is_first_of_epoch,
            OptimizerReset::Stage => {
                // The update before this one began in the epoch before, if this is the first of its epoch.
                let epoch_before = self.position.epoch - u64::from(is_first_of_epoch && self.position.epoch > 0);
                stage != stages::stage_at(&config.objective, updates_done - 1, epoch_before)
            }
        }
    }

    /// Returns up to `count` validation questions with their indices.
    fn valid_questions(&self, config: &Config) -> Vec<usize> {
        let count = self.valid.as_ref().map_or(0, QuestionSet::len);
        (0..count.min(config.eval.batches * config.data.batch)).collect()
    }

    /// Returns the mean nll of the validation rows at `stage`, nats.
    fn valid_loss(&self, config: &Config, model: &Transformer, stage: usize) -> Result<Option<f64>, TrainError> {
        let Some(valid) = &self.valid else { return Ok(None) };
        let settings = row_settings(&config.objective, self.markers);
        let mut nll = Vec::new();
        for chunk in self.valid_questions(config).chunks(config.data.batch) {
            let row = |index: &usize| {
                settings.training_row(&valid.questions[*index], RowStage { stage, ..Default::default() })
            };
            let rows: Vec<CurriculumRow> = chunk.iter().map(row).collect();
            let states = passes::run_rows(model, &rows, &latent_settings(&config.objective));
            let (places, targets) = passes::labels(&rows);
            let targets: Vec<usize> = targets.into_iter().map(|id| id as usize).collect();
            let targets = LossTargets::new(index_tensor(&targets, &model.device().without_autodiff()), None);
            let mut readback = Readback::default();
            readback.add(&head::score_hidden(model, states.states_at(&places), targets.ids, None).nll);
            nll.extend(readback.read()?.remove(0));
        }
        Ok(mean(nll))
    }

    /// Answers validation questions greedily, and returns the scores with the number of steps of each question.
    fn answers(
        &self,
        config: &Config,
        model: &Transformer,
        stage: usize,
    ) -> Result<Vec<(usize, AnswerScore)>, TrainError> {
        let Some(valid) = &self.valid else { return Ok(Vec::new()) };
        let settings = row_settings(&config.objective, self.markers);
        // Questions with equally many latents are answered together.
        let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for index in self.valid_questions(config) {
            let steps = valid.questions[index].steps.len();
            groups.entry(settings.inference_latents(steps, stage)).or_default().push(index);
        }
        let mut scores = Vec::new();
        for (latents, indices) in groups {
            let prompt = |index: &usize| EvalPrompt {
                ids: prompt_ids(&settings, &valid.questions[*index], stage),
                answer: valid.answers[*index].clone(),
                judge: Judge::for_answer(&valid.answers[*index]),
            };
            let prompts: Vec<EvalPrompt> = indices.iter().map(prompt).collect();
            let longest = indices.iter().map(|index| longest_continuation(&valid.questions[*index])).max().unwrap_or(1);
            let request = crate::generate::GenerationRequest {
                end_tokens: self.end_tokens.clone(),
                intervention: intervention(config.objective.method),
                ..crate::generate::GenerationRequest::new(
                    Vec::new(),
                    answer_policy(&config.objective, self.markers, latents),
                    longest,
                )
            };
            let found = answer_questions(model, &self.tokenizer, &prompts, config.data.batch, &request)
                .map_err(|error| TrainError::DeviceFailed(error.to_string()))?;
            scores.extend(indices.iter().map(|index| valid.questions[*index].steps.len()).zip(found));
        }
        Ok(scores)
    }
}

/// Returns the policy under which a question with so many latents is answered.
fn answer_policy(objective: &Settings, markers: MarkerTokens, latents: usize) -> Policy {
    let method = objective.method;
    let marked = objective.markers && method != CurriculumMethod::Frontier;
    let eot = match method {
        CurriculumMethod::Frontier => Some(markers.answer),
        _ => marked.then_some(markers.end),
    };
    match latents > 0 && method.has_latents() {
        true => Policy::Fixed(FixedPolicy {
            count: latents,
            starts: ThoughtStarts::TokenCounts(vec![0]),
            bot: marked.then_some(markers.begin),
            eot,
        }),
        false => Policy::Never,
    }
}

/// Returns how a model that was trained by a curriculum answers in its last stage: the policy, and what it feeds at latents.
/// `vocab` is the model's vocabulary size, whose last tokens are the markers.
pub fn last_stage_policy(objective: &Settings, vocab: usize) -> (Policy, Intervention) {
    let latents = objective.max_latent_stage * objective.c_thought;
    let markers = marker_tokens(vocab.saturating_sub(MARKER_COUNT));
    (answer_policy(objective, markers, latents), intervention(objective.method))
}

/// Returns the ids that generation begins with: the question, if a policy inserts markers and latents, else the whole row.
fn prompt_ids(settings: &RowSettings, question: &EncodedQuestion, stage: usize) -> Vec<u32> {
    match settings.inference_latents(question.steps.len(), stage) {
        0 => settings.inference_row(question, stage).ids,
        _ => question.question.clone(),
    }
}

/// Fails if a question lacks what `frontier` learns: a list of nodes for each step, and an answer of one token.
fn check_frontiers<'a>(
    config: &Config,
    mut questions: impl Iterator<Item = &'a EncodedQuestion>,
) -> Result<(), TrainError> {
    let is_whole = |question: &EncodedQuestion| {
        question.target.is_some()
            && question.frontier.len() == question.steps.len()
            && question.frontier.iter().all(|nodes| !nodes.is_empty())
    };
    match questions.all(is_whole) {
        true => Ok(()),
        false => Err(TrainError::InvalidSetting {
            key: "objective.method",
            value: "frontier".to_owned(),
            reason: format!(
                "questions in {} lack the column `frontier` (the nodes at each distance), or an answer of one token; `data \
                 graph` makes such questions",
                config.data.dir
            ),
        }),
    }
}

/// What a method feeds at latents when it answers.
fn intervention(method: CurriculumMethod) -> Intervention {
    match method.feeds_pause() {
        true => Intervention { source: LatentSource::Pause, only: None },
        false => Intervention::default(),
    }
}

/// Returns how many tokens an answer may take, markers and steps included.
fn longest_continuation(question: &EncodedQuestion) -> usize {
    question.steps.iter().map(Vec::len).sum::<usize>() + question.answer.len() + 8
}

/// Returns the largest number of tokens of a question's row, over all stages.
fn longest_row(settings: &RowSettings, question: &EncodedQuestion) -> usize {
    let row = |stage| settings.training_row(question, RowStage { stage, ..Default::default() }).ids.len();
    (0..=settings.max_latent_stage + 1).map(row).max().unwrap_or(0)
}

fn row_settings(objective: &Settings, markers: MarkerTokens) -> RowSettings {
    RowSettings {
        method: objective.method,
        markers,
        use_markers: objective.markers,
        latents_per_step: objective.c_thought,
        max_latent_stage: objective.max_latent_stage,
        pad_latent_to_max: objective.pad_latent_to_max,
        remove_per_stage: objective.remove_per_stage,
    }
}

fn latent_settings(objective: &Settings) -> LatentSettings {
    let order = match objective.method {
        CurriculumMethod::Pause => LatentOrder::Parallel,
        CurriculumMethod::PauseMultipass => LatentOrder::Sequential,
        _ => objective.latents,
    };
    LatentSettings {
        order,
        passes: objective.latent_passes,
        through: objective.flow == GradientFlow::Through,
        pause: objective.method.feeds_pause(),
    }
}

impl Objective for Curriculum {
    fn next_batches<'a>(
        &'a mut self,
        config: &'a Config,
        updates_done: u64,
    ) -> Result<Box<dyn UpdateBatches + 'a>, TrainError> {
        let objective = &config.objective;
        let epoch = self.position.epoch;
        let stage = stages::stage_at(objective, updates_done, epoch);
        let resets_optimizer = self.resets_optimizer(config, updates_done, stage);
        let settings = row_settings(objective, self.markers);
        let key = RngKey { seed: config.run.seed, step: updates_done + 1, ..RngKey::default() };
        let mut rows = Vec::with_capacity(config.optim.accumulate);
        for batch in 0..config.optim.accumulate {
            let mut batch_rows = Vec::with_capacity(config.data.batch);
            for row in 0..config.data.batch {
                let index = self.take_question(config);
                let question = &self.train.questions[index];
                let number = batch * config.data.batch + row;
                let at = stages::row_stage(objective, stage, question.steps.len(), key, number);
                batch_rows.push(settings.training_row(question, at));
            }
            rows.push(batch_rows);
        }
        let tokens = rows.iter().flatten().map(|row| row.ids.len() as u64 - 1).sum();
        self.tokens_and_epoch = (tokens, epoch);
        self.updates_done = updates_done;
        Ok(Box::new(CurriculumBatches { rows, settings: latent_settings(objective), stage, resets_optimizer }))
    }

    fn position(&self) -> StreamPosition {
        self.position.clone()
    }

    fn tokens_and_epoch(&self) -> (u64, u64) {
        self.tokens_and_epoch
    }

    fn set_config(&mut self, _: &Config) -> Result<(), TrainError> {
        Ok(())
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
        let model = model.valid();
        let stage = stages::stage_at(&config.objective, row.step().saturating_sub(1), self.tokens_and_epoch.1);
        row.set_if_some(Metric::ValidQuestions, self.valid_loss(config, &model, stage)?);
        let scores = self.answers(config, &model, stage)?;
        let accuracy = |of: &dyn Fn(usize) -> bool| {
            mean(scores.iter().filter(|(steps, _)| of(*steps)).map(|(_, score)| f32::from(u8::from(score.correct))))
        };
        row.set_if_some(Metric::ValidAccuracy, accuracy(&|_| true));
        let mut lengths: Vec<usize> = scores.iter().map(|(steps, _)| *steps).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let figure = |steps: usize| Some((format!("valid_accuracy_{steps}_steps"), accuracy(&|of| of == steps)?));
        Ok(lengths.into_iter().filter_map(figure).collect())
    }

    fn measure_sequential_cost(&self, _: &Config, _: &Transformer, _: &mut StepRow) {}

    fn samples(&self, config: &Config, model: &Transformer, _: &[u32]) -> Result<Vec<Sample>, TrainError> {
        let Some(valid) = &self.valid else { return Ok(Vec::new()) };
        let model = model.valid();
        let settings = row_settings(&config.objective, self.markers);
        let stage = stages::stage_at(&config.objective, self.updates_done, self.tokens_and_epoch.1);
        let sample = |question: &EncodedQuestion| {
            let policy =
                answer_policy(&config.objective, self.markers, settings.inference_latents(question.steps.len(), stage));
            let request = crate::generate::GenerationRequest {
                end_tokens: self.end_tokens.clone(),
                intervention: intervention(config.objective.method),
                ..crate::generate::GenerationRequest::new(
                    vec![prompt_ids(&settings, question, stage)],
                    policy.clone(),
                    longest_continuation(question),
                )
            };
            let failed = |error: crate::generate::GenerateError| TrainError::DeviceFailed(error.to_string());
            let mut generation = crate::generate::Generation::start(&model, request).map_err(failed)?;
            let (mut ids, mut entropies) = (Vec::new(), Vec::new());
            while !generation.is_finished() {
                for step in generation.step().map_err(failed)? {
                    ids.extend(step.token.filter(|id| ![self.markers.begin, self.markers.end].contains(id)));
                    entropies.push(step.distribution.entropy as f32);
                }
            }
            Ok(Sample {
                decoding: policy.to_string(),
                prompt: question.question.clone(),
                ids,
                entropy: mean(entropies),
            })
        };
        valid.questions.iter().take(config.eval.samples).map(sample).collect()
    }

    fn probe_row(
        &self,
        _: &Config,
        _: &Transformer,
        _: Option<&Tokenizer>,
        _: u64,
    ) -> Result<Option<TokenRow>, TrainError> {
        Ok(None)
    }
}

impl CurriculumBatches {
    /// Returns the number of targets of a batch.
    fn targets(rows: &[CurriculumRow]) -> usize {
        rows.iter().map(|row| row.ids.len() - row.given).sum()
    }
}

impl UpdateBatches for CurriculumBatches {
    fn count(&self) -> usize {
        self.rows.len()
    }

    /// Each batch counts by its number of targets, so that several batches are learned from as one large one.
    fn gradients(&mut self, model: &Transformer, index: usize, timing: Timing) -> BatchGradients {
        let all: usize = self.rows.iter().map(|rows| Self::targets(rows)).sum();
        let weight = Self::targets(&self.rows[index]) as f64 / all as f64;
        let mut accumulator = GradientAccumulator::new(model, 1.0, timing);
        let output = passes::add_rows(&mut accumulator, &self.rows[index], &self.settings, weight);
        let (grads, costs) = accumulator.finish();
        BatchGradients { grads, costs, values: vec![output.nll, output.entropy] }
    }

    fn row(&mut self, step: u64, values: Vec<Vec<Vec<f32>>>) -> StepRow {
        let mut row = StepRow::new(step);
        let all = |index: usize| mean(values.iter().flat_map(|batch| batch[index].iter().copied()));
        row.set_if_some(Metric::LossQuestions, all(0));
        row.set_if_some(Metric::EntropyQuestions, all(1));
        row.set(Metric::Stage, self.stage as f64);
        row.set(Metric::Latents, self.rows.iter().flatten().map(|row| row.latents.len()).sum::<usize>() as f64);
        row
    }

    fn resets_optimizer(&self) -> bool {
        self.resets_optimizer
    }

    fn trains_pause(&self, _: &StepRow) -> bool {
        false
    }
}
