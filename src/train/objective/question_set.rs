//! Owns: the questions of a split as token ids, in an order of each epoch.
//! Must not know: rows, stages, tensors.
//! Invariant: a question is whole or left out and counted; the order depends only on the seed and the epoch.

use crate::curriculum::rows::EncodedQuestion;
use crate::data::{Dataset, Question, Split, Tokenizer, read_questions};
use crate::rng::item_rng;
use crate::train::TrainError;
use rand::seq::SliceRandom;

/// How texts become ids.
#[derive(Clone, Copy)]
pub(in crate::train) struct QuestionEncoding<'a> {
    pub tokenizer: &'a Tokenizer,
    /// Text after the question and after each step.
    pub separator: &'a str,
    /// The token that ends an answer.
    pub end_token: Option<u32>,
}

impl QuestionEncoding<'_> {
    /// Encodes a question with its steps and its answer, each as a text of its own.
    pub fn encode(&self, question: &Question) -> Result<EncodedQuestion, TrainError> {
        let with_separator = |text: &str| self.tokenizer.encode(&format!("{text}{}", self.separator));
        let mut answer = self.tokenizer.encode(&question.answer)?;
        answer.extend(self.end_token);
        let question_ids = with_separator(&question.question)?;
        let nodes = |nodes: &String| self.tokenizer.encode(nodes);
        let frontier: Vec<Vec<u32>> = question.frontier.iter().map(nodes).collect::<Result<_, _>>()?;
        let target = match self.tokenizer.encode(&question.answer)?[..] {
            [node] => Some(node),
            _ => None,
        };
        Ok(EncodedQuestion {
            question: question_ids,
            steps: question.steps.iter().map(|step| with_separator(step)).collect::<Result<_, _>>()?,
            answer,
            frontier,
            target,
        })
    }
}

/// The questions of a split.
#[derive(Default)]
pub(in crate::train) struct QuestionSet {
    pub questions: Vec<EncodedQuestion>,
    /// The answers as texts, for a judge.
    pub answers: Vec<String>,
    /// Epoch and order of the questions that were asked for last.
    order: Option<(u64, Vec<usize>)>,
}

impl QuestionSet {
    /// Reads the questions of a split from its shards. Leaves out those for which `fits` is false, and says how many.
    pub fn open(
        dataset: &Dataset,
        split: Split,
        encoding: &QuestionEncoding<'_>,
        fits: impl Fn(&EncodedQuestion) -> bool,
    ) -> Result<Self, TrainError> {
        let (mut set, mut incomplete, mut too_long) = (Self::default(), 0, 0);
        for path in dataset.shard_paths(split) {
            let read = read_questions(path, usize::MAX)?;
            incomplete += read.incomplete;
            for question in &read.questions {
                let encoded = encoding.encode(question)?;
                if encoded.question.is_empty() || encoded.answer.is_empty() {
                    incomplete += 1;
                } else if fits(&encoded) {
                    set.questions.push(encoded);
                    set.answers.push(question.answer.clone());
                } else {
                    too_long += 1;
                }
            }
        }
        let count = set.questions.len();
        tracing::info!("data: {split}: {count} questions");
        if incomplete > 0 {
            tracing::warn!("data: {split}: {incomplete} records without question or answer were left out");
        }
        if too_long > 0 {
            tracing::warn!(
                "data: {split}: {too_long} questions are longer than `data.seq_len` in some stage, and were left out"
            );
        }
        match count {
            0 => Err(TrainError::InvalidSetting {
                key: "data.dir",
                value: dataset.path().display().to_string(),
                reason: format!("no question of the {split} split fits into `data.seq_len` positions"),
            }),
            _ => Ok(set),
        }
    }

    pub fn len(&self) -> usize {
        self.questions.len()
    }

    /// Returns the index of the question at `place` of an epoch's order.
    pub fn question_at(&mut self, seed: u64, epoch: u64, place: usize, shuffle: bool) -> usize {
        if !shuffle {
            return place;
        }
        let count = self.len();
        match &self.order {
            Some((known, order)) if *known == epoch => order[place],
            _ => {
                let mut order: Vec<usize> = (0..count).collect();
                order.shuffle(&mut item_rng([seed, epoch, u64::MAX]));
                let index = order[place];
                self.order = Some((epoch, order));
                index
            }
        }
    }
}
