//! Owns: the curriculum as an objective: rows of questions by stage, validation by loss and by answers.
//! Must not know: how rows and latents are computed, the training loop, run folders, screens.
//! Invariant: rows depend only on the questions, the config, the position and the number of updates done.

use super::answers::{AnswerPlan, answer_by_plan, longest_row, marker_tokens, row_settings};
use super::question_set::{QuestionEncoding, QuestionSet};
use super::validation_answers::answer_validation;
use super::{Objective, ObjectiveStart, Sample, SamplePiece};
use crate::config::{Config, CurriculumMethod, GradientFlow, LatentOrder, Objective as Settings, OptimizerReset};
use crate::curriculum::passes::{self, LatentSettings};
use crate::curriculum::rows::{CurriculumRow, EncodedQuestion, MarkerTokens, RowStage};
use crate::curriculum::stages;
use crate::data::{Batch, DataError, Dataset, Split, StreamPosition, Tokenizer};
use crate::generate::{GenerateError, Generation, GenerationRequest, GenerationStep, InputKind};
use crate::model::{Transformer, head};
use crate::policy::switch::Policy;
use crate::rng::RngKey;
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::token_rows::TokenRow;
use crate::train::TrainError;
use crate::train::eval::accuracy::{AnswerScore, EvalPrompt};
use crate::train::eval::judge::Judge;
use crate::train::eval::probe;
use crate::train::step::curriculum::CurriculumBatches;
use crate::train::step::readback::{Readback, mean};
use crate::train::step::update::UpdateBatches;
use burn::module::Module;

/// Most tokens that a latent of a sample is decoded to, and the least probability of each.
const MAX_DECODED: usize = 4;
const MIN_DECODED_PROB: f64 = 0.1;

pub(in crate::train) struct Curriculum {
    train: QuestionSet,
    valid: Option<QuestionSet>,
    tokenizer: Tokenizer,
    markers: MarkerTokens,
    end_tokens: Vec<u32>,
    /// Where the next question is read: its epoch, and in `document` the place in its order.
    next: StreamPosition,
    /// The same after the last update that is done.
    position: StreamPosition,
    /// Updates done before the batches that were read last.
    updates_done: u64,
    /// Stage of the batches that were read last.
    next_stage: usize,
    /// Stage of the last update that is done.
    stage: Option<usize>,
    /// Input tokens of the last batches, and the epoch in which they begin.
    tokens_and_epoch: (u64, u64),
}

impl Curriculum {
    /// Reads the questions of the dataset's train and valid splits.
    pub fn open(config: &Config, dataset: &Dataset, start: ObjectiveStart) -> Result<Self, TrainError> {
        let ObjectiveStart { position, level, .. } = start;
        let missing = |what: &str| TrainError::InvalidSetting {
            key: "data.dir",
            value: config.data.dir.clone(),
            reason: format!("`objective.kind` = \"curriculum\" needs {what}"),
        };
        let tokenizer = dataset.tokenizer().ok_or_else(|| missing("a dataset with a tokenizer"))?;
        let tokenizer = tokenizer.with_markers()?;
        let markers = marker_tokens(&tokenizer);
        let encoding = QuestionEncoding {
            tokenizer: &tokenizer,
            separator: &config.objective.separator,
            end_token: dataset.eos_id(),
        };
        let settings = row_settings(&config.objective, markers);
        let fits = |question: &EncodedQuestion| longest_row(&settings, question) <= config.data.seq_len;
        if encoding.end_token.is_none() {
            tracing::warn!("the tokenizer has no end token: answers are learned without an end");
        }
        let train = QuestionSet::open(dataset, Split::Train, &encoding, fits)?;
        if position.document as usize >= train.len() {
            let found = format!("place {} of an epoch", position.document);
            let allowed = format!("below {} (have the questions changed?)", train.len());
            return Err(DataError::InvalidPosition { file: dataset.path().to_path_buf(), found, allowed }.into());
        }
        let valid = match dataset.has_split(Split::Valid) {
            true => Some(QuestionSet::open(dataset, Split::Valid, &encoding, fits)?),
            false => None,
        };
        if config.objective.method == CurriculumMethod::Frontier {
            check_frontiers(config, train.questions.iter().chain(valid.iter().flat_map(|valid| &valid.questions)))?;
        }
        tracing::info!("markers: begin {}, end {}, answer {}", markers.begin, markers.end, markers.answer);
        let end_tokens = dataset.eos_id().into_iter().collect();
        Ok(Self {
            train,
            valid,
            tokenizer,
            markers,
            end_tokens,
            next: position.clone(),
            position,
            updates_done: 0,
            next_stage: 0,
            stage: level.map(|level| level as usize),
            tokens_and_epoch: (0, 0),
        })
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
            OptimizerReset::Stage => self.stage.is_some_and(|last| last != stage),
        }
    }

    /// Returns the indices of the validation questions that are measured.
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
            let (places, targets) = passes::labels(model, &rows);
            let mut readback = Readback::default();
            readback.add(&head::score_hidden(model, states.states_at(&places), targets, None).nll);
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
        let prompt = |index: usize| {
            let question = &valid.questions[index];
            let plan = AnswerPlan::new(&config.objective, self.markers, question, stage);
            let answer = valid.answers[index].clone();
            let judge = Judge::for_answer(&answer);
            (plan.clone(), EvalPrompt { ids: plan.prompt, answer, judge, steps: question.steps.len() })
        };
        let indices = self.valid_questions(config);
        let prompts: Vec<_> = indices.iter().map(|index| prompt(*index)).collect();
        let scores = answer_by_plan(model, &self.tokenizer, &prompts, config.data.batch, &self.request());
        let scores = scores.map_err(|error| TrainError::DeviceFailed(error.to_string()))?;
        Ok(indices.iter().map(|index| valid.questions[*index].steps.len()).zip(scores).collect())
    }

    /// Returns what a step of a sample shows: a token that is no marker, or the likeliest tokens of a latent.
    fn sample_piece(&self, step: &GenerationStep) -> Option<SamplePiece> {
        match step.kind {
            InputKind::Token => step.token.filter(|id| !self.markers.contains(*id)).map(SamplePiece::Token),
            InputKind::Latent => {
                let likely = step.distribution.top.iter().filter(|(_, prob)| *prob >= MIN_DECODED_PROB);
                Some(SamplePiece::Latent(likely.map(|(id, _)| *id).collect()))
            }
        }
    }

    /// Returns a greedy request; plans add prompt, policy and limit.
    fn request(&self) -> GenerationRequest {
        GenerationRequest {
            end_tokens: self.end_tokens.clone(),
            ..GenerationRequest::new(Vec::new(), Policy::Never, 1)
        }
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
        noise: None,
    }
}

impl Objective for Curriculum {
    fn next_batches<'a>(
        &'a mut self,
        config: &'a Config,
        _: &Transformer,
        updates_done: u64,
    ) -> Result<Box<dyn UpdateBatches + 'a>, TrainError> {
        let objective = &config.objective;
        self.next = self.position.clone();
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
        self.next_stage = stage;
        Ok(Box::new(CurriculumBatches { rows, settings: latent_settings(objective), stage, resets_optimizer }))
    }

    fn count_update(&mut self) -> (u64, u64) {
        self.position = self.next.clone();
        self.stage = Some(self.next_stage);
        self.tokens_and_epoch
    }

    fn position(&self) -> StreamPosition {
        self.position.clone()
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
        let (steps, scores): (Vec<usize>, Vec<AnswerScore>) = scores.into_iter().unzip();
        Ok(answer_validation(&scores, &steps, row))
    }

    fn level(&self) -> u64 {
        self.stage.unwrap_or(0) as u64
    }

    fn measure_sequential_cost(&self, _: &Config, _: &Transformer, _: &mut StepRow) {}

    fn samples(&self, config: &Config, model: &Transformer, _: &[u32]) -> Result<Vec<Sample>, TrainError> {
        let Some(valid) = &self.valid else { return Ok(Vec::new()) };
        let model = model.valid();
        let stage = stages::stage_at(&config.objective, self.updates_done, self.tokens_and_epoch.1);
        let sample = |question: &EncodedQuestion| {
            let plan = AnswerPlan::new(&config.objective, self.markers, question, stage);
            let (prompts, top_count) = (vec![plan.prompt.clone()], MAX_DECODED);
            let request = GenerationRequest { prompts, top_count, ..plan.request(&self.request()) };
            let failed = |error: GenerateError| TrainError::DeviceFailed(error.to_string());
            let mut generation = Generation::start(&model, request).map_err(failed)?;
            let (mut pieces, mut entropies) = (Vec::new(), Vec::new());
            while !generation.is_finished() {
                for step in generation.step().map_err(failed)? {
                    pieces.extend(self.sample_piece(&step));
                    entropies.push(step.distribution.entropy as f32);
                }
            }
            let (decoding, prompt) = (plan.policy.to_string(), question.question.clone());
            Ok(Sample { decoding, prompt, pieces, entropy: mean(entropies) })
        };
        valid.questions.iter().take(config.eval.samples).map(sample).collect()
    }

    /// Probes the first validation question in the row of the current stage.
    fn probe_row(
        &self,
        config: &Config,
        model: &Transformer,
        tokenizer: Option<&Tokenizer>,
        step: u64,
    ) -> Result<Option<TokenRow>, TrainError> {
        let Some(question) = self.valid.as_ref().and_then(|valid| valid.questions.first()) else { return Ok(None) };
        let stage = stages::stage_at(&config.objective, self.updates_done, self.tokens_and_epoch.1);
        let settings = row_settings(&config.objective, self.markers);
        let row = settings.training_row(question, RowStage { stage, ..Default::default() });
        let batch = Batch {
            batch_size: 1,
            seq_len: row.ids.len() - 1,
            tokens: row.ids.iter().map(|id| *id as i32).collect(),
            doc_start: (0..row.ids.len()).map(|at| at == 0).collect(),
            ..Batch::default()
        };
        let latents = row.latents;
        let pause = config.objective.method.feeds_pause();
        let mut probed = probe::probe_latents(model, tokenizer, &batch, &latents, pause, step)?;
        probed.number_latents();
        Ok(Some(probed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::data::{GraphTaskOptions, make_graph_task};
    use crate::model::ModelShape;

    /// A curriculum of 2 stages over 10 questions, 4 an update.
    fn open(dir: &std::path::Path) -> (Curriculum, Config, Dataset) {
        let options = GraphTaskOptions {
            out: dir.join("graph"),
            seed: 0,
            train: 10,
            valid: 2,
            test: 0,
            nodes: 8,
            names: 8,
            hops: "2".parse().unwrap(),
            candidates: 2,
            extra_edges: 0.0,
            force: true,
        };
        make_graph_task(&options, &mut |_| ()).unwrap();
        let dataset = Dataset::open(&options.out).unwrap();
        let mut config = Config::default();
        (config.data.batch, config.optim.accumulate, config.data.seq_len) = (2, 2, 64);
        (config.objective.max_latent_stage, config.objective.separator) = (2, " ".to_owned());
        (Curriculum::open(&config, &dataset, ObjectiveStart::default()).unwrap(), config, dataset)
    }

    /// Returns a model that no row needs.
    fn model() -> Transformer {
        let config = config::Model { width: 4, layers: 1, heads: 1, ..Default::default() };
        Transformer::new(ModelShape::from_config(&config, 5, 4), 0, 0.1, &burn::tensor::Device::flex())
    }

    #[test]
    fn a_position_moves_only_with_an_update_that_is_done() {
        let dir = tempfile::tempdir().unwrap();
        let (mut curriculum, config, dataset) = open(dir.path());
        let start = curriculum.position();
        // Twice: the update on the first batches was given up.
        let tokens = |curriculum: &mut Curriculum| {
            curriculum.next_batches(&config, &model(), 0).map(|batches| batches.count()).unwrap()
        };
        assert_eq!((tokens(&mut curriculum), tokens(&mut curriculum)), (2, 2));
        assert_eq!(curriculum.position(), start);
        curriculum.count_update();
        assert_eq!(curriculum.position().document, 4);
        for _ in 0..2 {
            tokens(&mut curriculum);
            curriculum.count_update();
        }
        assert_eq!((curriculum.position().epoch, curriculum.position().document), (1, 2));
        let position = StreamPosition { document: 10, ..StreamPosition::default() };
        let beyond = ObjectiveStart { position, ..ObjectiveStart::default() };
        let error = Curriculum::open(&config, &dataset, beyond).err().unwrap().to_string();
        assert!(error.contains("place 10 of an epoch"), "{error}");
    }
    #[test]
    fn the_optimizer_is_reset_where_a_stage_or_epoch_begins() {
        let dir = tempfile::tempdir().unwrap();
        for (reset, steps_per_stage, jump, wanted) in [
            (OptimizerReset::Never, 2, None, [false; 6]),
            (OptimizerReset::Stage, 2, None, [false, false, true, false, true, false]),
            // An epoch is two and a half updates; of two stages there is one boundary between the epochs.
            (OptimizerReset::Epoch, 0, None, [false, false, false, true, false, true]),
            // A changed config ends the stage early.
            (OptimizerReset::Stage, 100, Some(3), [false, false, false, true, false, false]),
        ] {
            let (mut curriculum, mut config, dataset) = open(dir.path());
            config.objective.steps_per_stage = steps_per_stage;
            config.objective.reset_optimizer = reset;
            let resets = [0, 1, 2, 3, 4, 5].map(|updates_done| {
                if jump == Some(updates_done) {
                    config.objective.steps_per_stage = 1;
                    config.objective.first_stage = 2;
                }
                // A resumed run goes on from what a checkpoint holds.
                let position = curriculum.position();
                let level = (updates_done > 0).then(|| curriculum.level());
                curriculum =
                    Curriculum::open(&config, &dataset, ObjectiveStart { position, level, state_dir: None }).unwrap();
                let batches = curriculum.next_batches(&config, &model(), updates_done);
                let resets = batches.map(|batches| batches.resets_optimizer());
                curriculum.count_update();
                resets.unwrap()
            });
            assert_eq!(resets, wanted, "{reset:?} {steps_per_stage}");
        }
    }
}
