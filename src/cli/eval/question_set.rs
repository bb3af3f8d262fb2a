//! Owns: the questions of a file as prompts, and what a reader must know of them.
//! Must not know: how questions are answered.
//! Invariant: a question that is not asked is counted.

use crate::cli::model_source::LoadedModel;
use crate::data::Questions;
use crate::train::eval::accuracy::EvalPrompt;
use crate::train::eval::judge::{Judge, RightAnswer};
use anyhow::bail;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What was asked, and how the answers are judged.
#[derive(Default)]
pub(super) struct QuestionSet {
    pub file: PathBuf,
    /// Questions that were skipped because they are longer than the model takes.
    pub skipped: usize,
    /// Records of the file without question or answer.
    incomplete: usize,
    /// Number of answers by judge.
    judges: BTreeMap<Judge, usize>,
    /// Answers that were rationales, and are judged by what follows their marker.
    from_rationales: usize,
    /// Answers that look like rationales without a marker.
    like_rationales: usize,
}

impl QuestionSet {
    /// Encodes the questions that fit into the model, and reduces the answers to what is judged. `separator` follows each
    /// question. Answers are judged by `judge`, or by what fits each.
    pub fn encode(
        loaded: &LoadedModel,
        file: PathBuf,
        read: Questions,
        separator: &str,
        judge: Option<Judge>,
    ) -> anyhow::Result<(Vec<EvalPrompt>, Self)> {
        let mut set = Self { file, incomplete: read.incomplete, ..Default::default() };
        let mut prompts = Vec::new();
        let max_len = loaded.model.shape().max_len;
        for question in read.questions {
            let ids = loaded.encode(&format!("{}{separator}", question.question))?;
            if ids.len() >= max_len {
                set.skipped += 1;
                continue;
            }
            let answer = RightAnswer::from_file(&question.answer);
            set.from_rationales += usize::from(answer.from_rationale);
            set.like_rationales += usize::from(answer.looks_like_rationale);
            let judge = judge.unwrap_or_else(|| Judge::for_answer(&answer.text));
            *set.judges.entry(judge).or_default() += 1;
            prompts.push(EvalPrompt { ids, answer: answer.text, judge, steps: question.steps.len() });
        }
        if prompts.is_empty() {
            bail!("{}: every question is longer than the model's {max_len} positions", set.file.display());
        }
        Ok((prompts, set))
    }

    pub fn count(&self) -> usize {
        self.judges.values().sum()
    }

    /// Names the judges, with their counts if there are several: `number`, or `number (80), text (2)`.
    pub fn judges_text(&self) -> String {
        match self.judges.len() {
            1 => self.judges.keys().map(Judge::to_string).collect(),
            _ => {
                let texts: Vec<_> = self.judges.iter().map(|(judge, count)| format!("{judge} ({count})")).collect();
                texts.join(", ")
            }
        }
    }

    /// Returns what a reader must know of the set beside its numbers.
    pub fn remarks(&self) -> Vec<String> {
        let remark = |count: usize, text: &str| (count > 0).then(|| format!("{count} {text}"));
        [
            remark(self.skipped, "questions are longer than the model takes, and were skipped"),
            remark(self.incomplete, "records have no question or no answer, and were left out"),
            remark(self.from_rationales, "answers are rationales; what follows `####` or \\boxed is judged"),
            remark(
                self.like_rationales,
                "answers look like rationales without a marker; hardly any text will be judged right: keep only the answer",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
