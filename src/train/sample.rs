//! Owns: what the model writes: prompts out of validation rows, and going on with them token by token.
//! Must not know: who reads it.
//! Invariant: it is the plain pass alone, the likeliest token each time: one model writes one text, and no random stream is
//! touched.

use super::TrainError;
use crate::data::Batch;
use crate::model::Transformer;
use crate::think::{Choice, Generation, Policy, Request, ThinkError};

/// Most tokens of a prompt.
const PROMPT: usize = 32;

/// What was written after a prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Written {
    pub ids: Vec<u32>,
    /// Entropy of each token's distribution, nats.
    pub entropies: Vec<f32>,
}

/// The prompts of the rows of `batch`: of the longest run of inputs that is of one document, the first half, or its first
/// 32 tokens.
pub(super) fn prompts(batch: &Batch) -> impl Iterator<Item = Vec<u32>> + '_ {
    let width = batch.seq_len + 1;
    let rows = batch.tokens.chunks(width).zip(batch.doc_start.chunks(width));
    rows.map(|(tokens, starts)| prompt(&tokens[..batch.seq_len], &starts[..batch.seq_len]))
}

fn prompt(tokens: &[i32], starts: &[bool]) -> Vec<u32> {
    let borders = (1..tokens.len()).filter(|t| starts[*t]);
    let ends = borders.clone().chain([tokens.len()]);
    let runs = std::iter::once(0).chain(borders).zip(ends);
    let longer = |a: (usize, usize), b: (usize, usize)| if b.1 - b.0 > a.1 - a.0 { b } else { a };
    let (from, to) = runs.fold((0, 0), longer);
    let count = (to - from).div_ceil(2).min(PROMPT);
    tokens[from..from + count].iter().map(|id| *id as u32).collect()
}

/// Goes on with `prompt` for `most` tokens, or to the end of the document (`end`) or of what the model takes. `model` is
/// without autodiff.
pub(super) fn greedy(
    model: &Transformer,
    prompt: &[u32],
    most: usize,
    end: Option<u32>,
) -> Result<Written, TrainError> {
    let most = most.min(model.shape().max_len.saturating_sub(prompt.len()));
    let mut written = Written::default();
    if most == 0 || prompt.is_empty() {
        return Ok(written);
    }
    let request = Request {
        prompts: vec![prompt.to_vec()],
        policy: Policy::Never,
        choice: Choice::GREEDY,
        most,
        end,
        seed: 0,
        top: 1,
        streams: Vec::new(),
        shuffled: false,
    };
    let failed = |error: ThinkError| TrainError::DeviceFailed(error.to_string());
    let mut generation = Generation::begin(model, request).map_err(failed)?;
    while !generation.over() {
        let steps = match generation.step() {
            // The losses say so, too, and what follows from it.
            Err(ThinkError::NotFinite { .. }) => break,
            steps => steps.map_err(failed)?,
        };
        for step in steps {
            written.ids.extend(step.token);
            written.entropies.push(step.said.entropy as f32);
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::{SEQ_LEN, model};
    use burn::module::Module;
    use burn::tensor::{Int, Tensor, TensorData};

    /// `[1, S]` on the model's device.
    fn ids(piece: &[u32], model: &Transformer) -> Tensor<2, Int> {
        let values: Vec<i32> = piece.iter().map(|id| *id as i32).collect();
        Tensor::from_data(TensorData::new(values, [1, piece.len()]), &model.device().without_autodiff())
    }

    #[test]
    fn each_token_is_the_likeliest_after_all_before_it() {
        let model = model(11).valid();
        let written = greedy(&model, &[3, 1], 99, None).unwrap();
        assert_eq!(written.ids.len(), SEQ_LEN - 2, "no further than the model goes");
        let mut all = vec![3, 1];
        for (id, entropy) in written.ids.iter().zip(&written.entropies) {
            // The whole row anew, nothing kept.
            let hidden = model.row(model.embed(ids(&all, &model))).hidden;
            let [_, s, _] = hidden.dims();
            let logits: Vec<f32> = model.logits(hidden.narrow(1, s - 1, 1)).try_into_vec_as().unwrap();
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            assert_eq!(*id, best as u32);
            let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
            let nats: f32 = logits.iter().map(|logit| -logit.exp() / sum * (logit - sum.ln())).sum();
            assert!((entropy - nats).abs() < 1e-4);
            all.push(*id);
        }
        let end = written.ids[2];
        let first = written.ids.iter().position(|id| *id == end).unwrap();
        let ended = greedy(&model, &[3, 1], 99, Some(end)).unwrap();
        assert_eq!(ended.ids, written.ids[..=first]);
        assert_eq!(greedy(&model, &[3, 1], 2, None).unwrap().ids, written.ids[..2]);
        assert!(greedy(&model, &[1; SEQ_LEN], 5, None).unwrap().ids.is_empty());
    }

    #[test]
    fn a_prompt_is_of_one_document() {
        let tokens: Vec<i32> = (0..200).collect();
        let starts = |at: &[usize]| (0..200).map(|t| at.contains(&t)).collect::<Vec<_>>();
        assert_eq!(prompt(&tokens[..7], &starts(&[0])[..7]), [0, 1, 2, 3]);
        assert_eq!(prompt(&tokens[..7], &starts(&[2])[..7]), [2, 3, 4]);
        assert_eq!(prompt(&tokens[..8], &starts(&[0, 4])[..8]), [0, 1]);
        assert_eq!(prompt(&tokens, &starts(&[30])), (30..62).collect::<Vec<_>>());
        assert_eq!(prompt(&tokens[..1], &starts(&[])[..1]), [0]);
    }
}
