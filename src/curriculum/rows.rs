//! Owns: the row of tokens that a question becomes, by method and stage.
//! Must not know: tensors, when a stage begins.
//! Invariant: a row is what is given, with its latents in one piece, followed by what is learned. Every learned token is a
//! target, no given one is.
//!
//! The rows are those of Hao et al. (arXiv 2412.06769, `dataset.py`), of "Reasoning by superposition" (arXiv 2505.12514) for
//! `frontier`, and of Deng et al. (arXiv 2405.14838) for `icot`.

use crate::config::CurriculumMethod;

/// A question with its steps and its answer, as token ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EncodedQuestion {
    pub question: Vec<u32>,
    /// The ids of each step.
    pub steps: Vec<Vec<u32>>,
    /// The answer, with the end token if there is one.
    pub answer: Vec<u32>,
    /// The nodes at distance 1, 2, …, each an id; for `frontier` alone.
    pub frontier: Vec<Vec<u32>>,
    /// The node asked for, if the answer is one token; for `frontier` alone.
    pub target: Option<u32>,
}

/// Ids of the tokens that are not text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkerTokens {
    /// Before the latents.
    pub begin: u32,
    /// After the latents.
    pub end: u32,
    /// In the place of a latent. Its embedding is never fed.
    pub latent: u32,
    /// In the place of a pause. Its embedding is never fed.
    pub pause: u32,
    /// Asks for the answer, in rows without other markers.
    pub answer: u32,
}

impl MarkerTokens {
    /// Whether `id` is that of a marker which stands in a row.
    pub fn contains(&self, id: u32) -> bool {
        [self.begin, self.end, self.answer].contains(&id)
    }
}

/// What decides the row of a question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowSettings {
    pub method: CurriculumMethod,
    pub markers: MarkerTokens,
    /// Whether latents stand between a begin and an end marker.
    pub use_markers: bool,
    /// Latents for each dropped step, `c_thought`.
    pub latents_per_step: usize,
    /// The last stage that keeps text, `max_latent_stage`.
    pub max_latent_stage: usize,
    /// Whether the last stage has latents for `max_latent_stage` steps even if a question has fewer.
    pub pad_latent_to_max: bool,
    /// Step tokens that each stage of `icot` removes.
    pub remove_per_stage: usize,
}

/// The stage of one row, and what is drawn for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowStage {
    /// From 0 (all text) to `max_latent_stage + 1` (no text).
    pub stage: usize,
    /// Further step tokens that `icot` removes.
    pub extra: usize,
    /// Which node of the frontier is the target, as an index modulo its size; for `frontier` alone.
    pub choice: usize,
}

/// A row of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurriculumRow {
    pub ids: Vec<u32>,
    /// Positions where a state or the pause vector is fed instead of the token, ascending; none is 0.
    pub latents: Vec<usize>,
    /// Number of given tokens. The tokens from here on are the targets.
    pub given: usize,
}

impl RowSettings {
    /// Returns the number of steps that are dropped, and the number of latents in a training row.
    fn dropped_and_latents(&self, steps: usize, stage: usize) -> (usize, usize) {
        let (dropped, of_steps) = match stage > self.max_latent_stage {
            true => (steps, self.most_latent_steps(steps)),
            false => (stage.min(steps), stage),
        };
        (dropped, of_steps * self.latents_per_step)
    }

    /// Returns for how many steps there are latents at most.
    fn most_latent_steps(&self, steps: usize) -> usize {
        if self.pad_latent_to_max { self.max_latent_stage } else { self.max_latent_stage.min(steps) }
    }

    /// Returns the number of latents that generation begins with. Unlike training, it never has more than the question has
    /// steps, unless latents are padded (`get_question_latent_dataset` of the published code).
    pub fn inference_latents(&self, steps: usize, stage: usize) -> usize {
        match self.method {
            CurriculumMethod::Frontier => steps * self.latents_per_step,
            CurriculumMethod::NoCurriculum => self.most_latent_steps(steps) * self.latents_per_step,
            method if method.has_latents() => stage.min(self.most_latent_steps(steps)) * self.latents_per_step,
            _ => 0,
        }
    }

    /// Returns the row that `question` is trained on.
    pub fn training_row(&self, question: &EncodedQuestion, at: RowStage) -> CurriculumRow {
        let stage = match self.method {
            CurriculumMethod::NoCurriculum => self.max_latent_stage + 1,
            _ => at.stage,
        };
        let (dropped, latents) = self.dropped_and_latents(question.steps.len(), stage);
        let learned = |steps: &[Vec<u32>]| [steps.concat(), question.answer.clone()].concat();
        match self.method {
            CurriculumMethod::Coconut
            | CurriculumMethod::Pause
            | CurriculumMethod::PauseMultipass
            | CurriculumMethod::NoCurriculum => {
                self.row(&question.question, latents, learned(&question.steps[dropped..]))
            }
            CurriculumMethod::NoThought => {
                self.row_without_latents(&question.question, learned(&question.steps[dropped..]))
            }
            CurriculumMethod::Cot => self.row_without_latents(&question.question, learned(&question.steps)),
            CurriculumMethod::NoCot => self.row_without_latents(&question.question, question.answer.clone()),
            CurriculumMethod::Icot => {
                let steps = question.steps.concat();
                let removed = (at.stage * self.remove_per_stage + at.extra).min(steps.len());
                self.row_without_latents(&question.question, [&steps[removed..], &question.answer].concat())
            }
            CurriculumMethod::Frontier => self.frontier_row(question, at),
        }
    }

    /// Returns the row that generation begins with: nothing is learned in it.
    pub fn inference_row(&self, question: &EncodedQuestion, stage: usize) -> CurriculumRow {
        let latents = self.inference_latents(question.steps.len(), stage);
        match self.method {
            CurriculumMethod::Frontier => self.latents_and_answer_marker(&question.question, latents, Vec::new()),
            method if method.has_latents() => self.row(&question.question, latents, Vec::new()),
            _ => self.row_without_latents(&question.question, Vec::new()),
        }
    }

    fn row_without_latents(&self, question: &[u32], learned: Vec<u32>) -> CurriculumRow {
        let given = question.len();
        CurriculumRow { ids: [question, &learned].concat(), latents: Vec::new(), given }
    }

    /// Returns question, latents and what is learned, with or without markers around the latents.
    fn row(&self, question: &[u32], latents: usize, learned: Vec<u32>) -> CurriculumRow {
        if !self.use_markers {
            return self.latents_and_answer_marker(question, latents, learned);
        }
        let mut ids = question.to_vec();
        ids.push(self.markers.begin);
        let latents = self.push_latents(&mut ids, latents);
        ids.push(self.markers.end);
        let given = ids.len();
        ids.extend(learned);
        CurriculumRow { ids, latents, given }
    }

    /// Returns a row without markers around its latents. `learned` follows the latents; without it, the answer marker does.
    fn latents_and_answer_marker(&self, question: &[u32], latents: usize, learned: Vec<u32>) -> CurriculumRow {
        let mut ids = question.to_vec();
        let latents = self.push_latents(&mut ids, latents);
        if learned.is_empty() && self.method == CurriculumMethod::Frontier {
            ids.push(self.markers.answer);
        }
        let given = ids.len();
        ids.extend(learned);
        CurriculumRow { ids, latents, given }
    }

    fn frontier_row(&self, question: &EncodedQuestion, at: RowStage) -> CurriculumRow {
        let steps = question.steps.len();
        // The last stage asks for the target, however many steps there are.
        let distance = if at.stage > self.max_latent_stage { steps + 1 } else { at.stage.min(steps) + 1 };
        let nodes = question.frontier.get(distance - 1).filter(|nodes| !nodes.is_empty() && distance <= steps);
        match nodes {
            Some(nodes) => {
                let latents = (distance - 1) * self.latents_per_step;
                self.latents_and_answer_marker(&question.question, latents, vec![nodes[at.choice % nodes.len()]])
            }
            None => {
                let latents = steps * self.latents_per_step;
                let mut row = self.latents_and_answer_marker(&question.question, latents, Vec::new());
                row.ids.extend(question.target);
                row
            }
        }
    }

    /// Appends latents to `ids` and returns their positions.
    fn push_latents(&self, ids: &mut Vec<u32>, count: usize) -> Vec<usize> {
        let id = if self.method.feeds_pause() { self.markers.pause } else { self.markers.latent };
        let start = ids.len();
        ids.resize(start + count, id);
        (start..ids.len()).collect()
    }
}
