//! Owns: the nll of a split's tokens under a model's plain pass: by row, by document, and perplexity.
//! Must not know: how results are shown.
//! Invariant: every target counts once, whatever the batch size; a mean is over exactly the targets that are counted.

use crate::data::{Batch, DataError, Dataset, RowCounts, RowReader, Split, Tokenizer};
use crate::model::{Transformer, flatten_rows, head};
use crate::statistics::Estimate;
use crate::train::TrainError;
use crate::train::step::pretraining::upload_batch;
use crate::train::step::readback::Readback;

/// Which rows to score, and in which batches.
#[derive(Clone, Copy, Debug)]
pub struct ScoringOptions {
    pub split: Split,
    pub seq_len: usize,
    pub batch: usize,
    pub max_rows: usize,
}

/// The nll of a row or of a document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SequenceNll {
    /// Sum of the nll over all targets, nats.
    pub total_nll: f64,
    pub targets: Vec<u32>,
}

impl SequenceNll {
    fn add_target(&mut self, target: u32, nll: f32) {
        self.total_nll += f64::from(nll);
        self.targets.push(target);
    }
}

/// The scores of the first rows of a split.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SplitScores {
    pub rows: Vec<SequenceNll>,
    /// The documents of these rows that were scored to their end. The first one lacks its first token, which nothing
    /// precedes.
    pub documents: Vec<SequenceNll>,
    /// All rows and targets of the split, scored or not.
    pub in_split: RowCounts,
}

/// How well a model predicts the tokens of some rows.
#[derive(Clone, Debug)]
pub struct PerplexitySummary {
    /// Number of targets that were scored, end tokens included.
    pub tokens: usize,
    pub rows: usize,
    pub documents: usize,
    pub in_split: RowCounts,
    pub perplexity: Estimate,
    /// The interval is over rows.
    pub nats_per_token: Estimate,
    /// Mean nll of a whole document; the interval is over documents. `None` if no document ends in the rows.
    pub nats_per_document: Option<Estimate>,
    /// Bytes of text that the targets spell; special tokens spell none.
    pub bytes: Option<usize>,
    /// The nll of all targets, in bits, by the bytes of their text; the interval is over rows. Known if there is a
    /// tokenizer and the targets spell at least one byte.
    pub bits_per_byte: Option<Estimate>,
}

impl PerplexitySummary {
    /// Summarizes scores; the bootstrap resamples whole rows and whole documents.
    pub fn from_scores(scores: &SplitScores, tokenizer: Option<&Tokenizer>, seed: u64) -> Self {
        let SplitScores { rows, documents, in_split } = scores;
        let pairs: Vec<_> = rows.iter().map(|row| [row.total_nll, row.targets.len() as f64]).collect();
        let nats_per_token = Estimate::from_ratio(&pairs, seed);
        let row_bytes: Option<Vec<usize>> =
            tokenizer.map(|tokenizer| rows.iter().map(|row| tokenizer.text_bytes(&row.targets)).collect());
        let bytes = row_bytes.as_ref().map(|bytes| bytes.iter().sum::<usize>());
        let bits_per_byte = |bytes: Vec<usize>| {
            let bits = |row: &SequenceNll| row.total_nll / std::f64::consts::LN_2;
            let pairs: Vec<_> = rows.iter().zip(bytes).map(|(row, bytes)| [bits(row), bytes as f64]).collect();
            Estimate::from_ratio(&pairs, seed)
        };
        Self {
            tokens: rows.iter().map(|row| row.targets.len()).sum(),
            rows: rows.len(),
            documents: documents.len(),
            in_split: *in_split,
            perplexity: nats_per_token.map(f64::exp),
            nats_per_token,
            nats_per_document: (!documents.is_empty())
                .then(|| Estimate::from_values(documents.iter().map(|document| document.total_nll), seed)),
            bytes,
            bits_per_byte: row_bytes.filter(|_| bytes > Some(0)).map(bits_per_byte),
        }
    }
}

/// Scores the rows of a split with `model`, which is without autodiff. The whole split is read once before, so that a
/// damaged page or a bad id is found first.
pub fn score_split(model: &Transformer, dataset: &Dataset, options: ScoringOptions) -> Result<SplitScores, TrainError> {
    let ScoringOptions { split, seq_len, batch, max_rows } = options;
    let open = || RowReader::open(dataset, split, batch, seq_len, model.shape().vocab_size);
    let mut scores = SplitScores { in_split: open()?.count()?, ..Default::default() };
    let (mut reader, mut document) = (open()?, SequenceNll::default());
    while scores.rows.len() < max_rows
        && let Some(batch) = reader.next_batch()?
    {
        let nll = batch_nll(model, &batch)?;
        for row in 0..batch.batch_size.min(max_rows - scores.rows.len()) {
            let window = row * (batch.seq_len + 1) + 1..(row + 1) * (batch.seq_len + 1);
            let targets = batch.tokens[window.clone()].iter().map(|id| *id as u32);
            let nll = &nll[row * batch.seq_len..(row + 1) * batch.seq_len];
            let mut scored = SequenceNll::default();
            let marks = batch.doc_start[window.clone()].iter().zip(&batch.ignored[window]);
            for ((target, nll), (starts, ignored)) in targets.zip(nll).zip(marks) {
                if *starts && !document.targets.is_empty() {
                    scores.documents.push(std::mem::take(&mut document));
                }
                if !ignored {
                    scored.add_target(target, *nll);
                    document.add_target(target, *nll);
                }
            }
            scores.rows.push(scored);
        }
    }
    // The last document is whole if the rows are all there are; else nobody knows here.
    if scores.rows.len() == scores.in_split.rows {
        scores.documents.extend(Some(document).filter(|document| !document.targets.is_empty()));
    }
    if scores.rows.iter().all(|row| row.targets.is_empty()) {
        return Err(DataError::Empty {
            file: dataset.path().to_path_buf(),
            found: format!("no target in {} rows of the {split} split", scores.rows.len()),
            allowed: "at least one token whose label is not -100",
        }
        .into());
    }
    Ok(scores)
}

/// Returns the nll of every target of a batch, row by row.
fn batch_nll(model: &Transformer, batch: &Batch) -> Result<Vec<f32>, TrainError> {
    let tokens = upload_batch(batch, &model.device().without_autodiff());
    let hidden = model.forward(model.embed(tokens.inputs.clone())).hidden;
    let scores = head::score_hidden(model, flatten_rows(&hidden), tokens.flat_targets(), None);
    let mut readback = Readback::default();
    readback.add(&scores.nll);
    // READBACK: one for each batch.
    Ok(readback.read()?.remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(nll: f64, text: &[u8]) -> SequenceNll {
        SequenceNll { total_nll: nll, targets: text.iter().map(|byte| u32::from(*byte)).collect() }
    }

    #[test]
    fn perplexity_is_of_all_tokens_and_bits_are_of_the_bytes_of_their_text() {
        let mut end = scored(2.0, b"d");
        // The end token of the byte tokenizer is a target, but no text.
        end.targets.push(256);
        let scores = SplitScores {
            rows: vec![scored(6.0, b"abc"), end],
            documents: vec![scored(3.0, b"ab"), scored(5.0, b"cd")],
            in_split: RowCounts { rows: 2, targets: 5 },
        };
        let found = PerplexitySummary::from_scores(&scores, Some(&Tokenizer::byte().unwrap()), 0);
        assert_eq!((found.rows, found.tokens, found.nats_per_token.mean), (2, 5, 1.6));
        assert_eq!(found.perplexity.mean, 1.6f64.exp());
        assert_eq!((found.bytes, found.documents), (Some(4), 2));
        assert_eq!(found.nats_per_document.unwrap().mean, 4.0);
        assert!((found.bits_per_byte.unwrap().mean - 2.0 / 2f64.ln()).abs() < 1e-12);
        assert!(PerplexitySummary::from_scores(&scores, None, 0).bits_per_byte.is_none());
    }
}
