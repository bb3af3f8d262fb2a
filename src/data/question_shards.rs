//! Owns: the creation of a dataset from files of questions, so that a curriculum can be trained on them.
//! Must not know: the terminal, models, how an answer is judged.
//! Invariant: a question is in the split that its file was given for, whole, with its steps.

use super::error::Result;
use super::manifest::{DatasetManifest, DatasetSummary};
use super::prosqa::document_text;
use super::questions::{Question, read_questions};
use super::staging::StagedDataset;
use super::tokenizer::split_words;
use super::writer::{DocumentRow, SolvedQuestion, SplitWriters};
use super::{OnProgress, Progress, Split, Tokenizer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Questions that are encoded together, on all cores.
const CHUNK_QUESTIONS: usize = 512;

#[derive(Clone, Debug, PartialEq)]
pub struct QuestionShardsOptions {
    pub out: PathBuf,
    /// Files of each split.
    pub files: BTreeMap<Split, Vec<PathBuf>>,
    /// Name or file of a tokenizer; `words` has one id for each word of the questions.
    pub tokenizer: String,
    /// Whether to replace an existing dataset.
    pub force: bool,
}

/// Makes a dataset of questions. Fails if `out` exists or cannot be written, or a file or the tokenizer cannot be read.
pub fn make_question_shards(options: &QuestionShardsOptions, on_progress: OnProgress<'_>) -> Result<DatasetSummary> {
    let staging = StagedDataset::create(&options.out, options.force)?;
    let (mut splits, mut incomplete): (BTreeMap<Split, Vec<Question>>, u64) = (BTreeMap::new(), 0);
    for (split, files) in &options.files {
        for file in files {
            let read = read_questions(file, usize::MAX)?;
            incomplete += read.incomplete as u64;
            let questions = read.questions.into_iter().map(Question::with_rationale_as_steps);
            splits.entry(*split).or_default().extend(questions);
        }
    }
    let text = |question: &Question| document_text(&question.question, &question.steps, &question.answer);
    let tokenizer = match options.tokenizer.as_str() {
        "words" => words_of(splits.values().flatten().map(text))?,
        name => Tokenizer::from_name_or_file(name)?,
    };
    let mut writers = SplitWriters::new(staging.dir(), "questions", &tokenizer, true);
    let (mut done, total) = (0, splits.values().map(|questions| questions.len() as u64).sum());
    for (split, questions) in splits {
        for chunk in questions.chunks(CHUNK_QUESTIONS) {
            let texts: Vec<String> = chunk.iter().map(text).collect();
            for (ids, question) in tokenizer.encode_documents(&texts)?.into_iter().zip(chunk) {
                let Question { question, steps, answer, frontier } = question.clone();
                let question = Some(SolvedQuestion { question, steps, answer, frontier });
                writers.push(split, DocumentRow { ids, question })?;
            }
            done += chunk.len() as u64;
            on_progress(Progress { label: "questions", done, total });
        }
    }
    let splits = writers.finish()?;
    let settings = BTreeMap::from([("tokenizer".to_owned(), options.tokenizer.clone())]);
    let manifest = DatasetManifest::new("questions", settings, 0, splits.clone(), &tokenizer);
    staging.commit_dataset(&tokenizer, manifest)?;
    let (out, vocab_size) = (options.out.clone(), tokenizer.vocab_size());
    let end_token = tokenizer.eos_id().and_then(|id| tokenizer.token(id));
    Ok(DatasetSummary {
        out,
        splits,
        vocab_size,
        end_token,
        empty: incomplete,
        nulls: 0,
        graphs: None,
        published: None,
    })
}

fn words_of(texts: impl Iterator<Item = String>) -> Result<Tokenizer> {
    let mut words = BTreeSet::new();
    for text in texts {
        words.extend(split_words(&text).map(str::to_owned));
    }
    Tokenizer::from_words(words.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    #[test]
    fn questions_of_several_forms_become_shards_with_steps() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let train = vec![
            write("a.txt", "How many?||<<4-2=2>> <<2*150=300>> #### 300\n"),
            write(
                "b.jsonl",
                "{\"problem\": \"1+1\", \"cot\": \"add\\ncarry\", \"final_answer\": 2}\n{\"question\": \"Q\", \"answer\": \"a b\\nc #### 7\"}",
            ),
            write(
                "c.json",
                "[{\"messages\": [{\"role\": \"user\", \"content\": \"Hi?\"}, {\"role\": \"assistant\", \"content\": \"Ho.\"}]}]",
            ),
        ];
        let valid = vec![write(
            "v.jsonl",
            "{\"question\": \"V\", \"answer\": \"w\", \"steps\": [\"x\"]}\n{\"question\": \"V\", \"answer\": null}",
        )];
        let options = QuestionShardsOptions {
            out: dir.path().join("set"),
            files: BTreeMap::from([(Split::Train, train), (Split::Valid, valid)]),
            tokenizer: "byte".to_owned(),
            force: false,
        };
        let summary = make_question_shards(&options, &mut |_| ()).unwrap();
        assert_eq!(summary.empty, 1);
        let dataset = Dataset::open(&options.out).unwrap();
        let read = read_questions(&dataset.shard_paths(Split::Train)[0], usize::MAX).unwrap().questions;
        let found: Vec<_> = read
            .iter()
            .map(|question| (question.question.as_str(), question.steps.join("|"), question.answer.as_str()))
            .collect();
        let wanted = [
            ("How many?", "<<4-2=2>>|<<2*150=300>>", "300"),
            ("1+1", "add|carry", "2"),
            ("Q", "a b|c", "7"),
            ("Hi?", "", "Ho."),
        ];
        assert_eq!(found, wanted.map(|(question, steps, answer)| (question, steps.to_owned(), answer)));
        let bad = write("bad.jsonl", "{\"question\": \"Q\", \"answer\": \"A\"}\n{\"question\": \"Q\"}");
        let options = QuestionShardsOptions {
            out: dir.path().join("other"),
            files: BTreeMap::from([(Split::Train, vec![bad])]),
            ..options
        };
        let error = make_question_shards(&options, &mut |_| ()).unwrap_err().to_string();
        assert!(
            error.contains("bad.jsonl") && error.contains("line 2") && error.contains("no field `answer`"),
            "{error}"
        );
    }
}
