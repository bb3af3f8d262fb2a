//! Owns: validation samples: prompts from validation rows and their greedy continuation.
//! Must not know: where samples are shown.
//! Invariant: samples use the plain pass and the most probable token, and no random stream.

use crate::data::Batch;
use crate::generate::{GenerateError, Generation, GenerationRequest};
use crate::model::Transformer;
use crate::policy::switch::Policy;
use crate::train::TrainError;

const MAX_PROMPT_TOKENS: usize = 32;

#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::train) struct GreedySample {
    pub ids: Vec<u32>,
    /// Entropy of the distribution of each token, nats.
    pub entropies: Vec<f32>,
}

/// Returns for each row the first half, at most 32 tokens, of its longest stretch from one document.
pub(in crate::train) fn prompts(batch: &Batch) -> impl Iterator<Item = Vec<u32>> + '_ {
    let width = batch.seq_len + 1;
    let rows = batch.tokens.chunks(width).zip(batch.doc_start.chunks(width));
    rows.map(|(tokens, starts)| row_prompt(&tokens[..batch.seq_len], &starts[..batch.seq_len]))
}

fn row_prompt(tokens: &[i32], starts: &[bool]) -> Vec<u32> {
    let boundaries = (1..tokens.len()).filter(|t| starts[*t]);
    let ends = boundaries.clone().chain([tokens.len()]);
    let stretches = std::iter::once(0).chain(boundaries).zip(ends);
    let longer = |a: (usize, usize), b: (usize, usize)| if b.1 - b.0 > a.1 - a.0 { b } else { a };
    let (from, to) = stretches.fold((0, 0), longer);
    let count = (to - from).div_ceil(2).min(MAX_PROMPT_TOKENS);
    tokens[from..from + count].iter().map(|id| *id as u32).collect()
}

/// Continues `prompt`; stops early if outputs are not finite. `model` is without autodiff.
pub(in crate::train) fn generate_greedy(
    model: &Transformer,
    prompt: &[u32],
    max_tokens: usize,
    end_tokens: &[u32],
) -> Result<GreedySample, TrainError> {
    let max_tokens = max_tokens.min(model.shape().max_len.saturating_sub(prompt.len()));
    let mut sample = GreedySample::default();
    if max_tokens == 0 || prompt.is_empty() {
        return Ok(sample);
    }
    let request = GenerationRequest::new(vec![prompt.to_vec()], Policy::Never, max_tokens);
    let request = GenerationRequest { end_tokens: end_tokens.to_vec(), ..request };
    let failed = |error: GenerateError| TrainError::DeviceFailed(error.to_string());
    let mut generation = Generation::start(model, request).map_err(failed)?;
    while !generation.is_finished() {
        let steps = match generation.step() {
            // The step's own check reports losses that are not finite.
            Err(GenerateError::NonFiniteOutput { .. }) => break,
            steps => steps.map_err(failed)?,
        };
        for step in steps {
            sample.ids.extend(step.token);
            sample.entropies.push(step.distribution.entropy as f32);
        }
    }
    Ok(sample)
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
    fn each_token_is_the_most_probable_one() {
        let model = model(11).valid();
        let written = generate_greedy(&model, &[3, 1], 99, &[]).unwrap();
        assert_eq!(written.ids.len(), SEQ_LEN - 2, "no further than the model goes");
        let mut all = vec![3, 1];
        for (id, entropy) in written.ids.iter().zip(&written.entropies) {
            // Compute the whole row again, without a cache.
            let hidden = model.forward(model.embed(ids(&all, &model))).hidden;
            let [_, s, _] = hidden.dims();
            let logits: Vec<f32> = model.logits(hidden.narrow(1, s - 1, 1)).try_into_vec_as().unwrap();
            let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            assert_eq!(*id, best as u32);
            let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
            let nats: f32 = logits.iter().map(|logit| -logit.exp() / sum * (logit - sum.ln())).sum();
            assert!((entropy - nats).abs() < 1e-4);
            all.push(*id);
        }
        let eos_token = written.ids[2];
        let first = written.ids.iter().position(|id| *id == eos_token).unwrap();
        let ended = generate_greedy(&model, &[3, 1], 99, &[eos_token]).unwrap();
        assert_eq!(ended.ids, written.ids[..=first]);
        assert_eq!(generate_greedy(&model, &[3, 1], 2, &[]).unwrap().ids, written.ids[..2]);
        assert!(generate_greedy(&model, &[1; SEQ_LEN], 5, &[]).unwrap().ids.is_empty());
    }

    #[test]
    fn a_prompt_is_of_one_document() {
        let tokens: Vec<i32> = (0..200).collect();
        let starts = |at: &[usize]| (0..200).map(|t| at.contains(&t)).collect::<Vec<_>>();
        assert_eq!(row_prompt(&tokens[..7], &starts(&[0])[..7]), [0, 1, 2, 3]);
        assert_eq!(row_prompt(&tokens[..7], &starts(&[2])[..7]), [2, 3, 4]);
        assert_eq!(row_prompt(&tokens[..8], &starts(&[0, 4])[..8]), [0, 1]);
        assert_eq!(row_prompt(&tokens, &starts(&[30])), (30..62).collect::<Vec<_>>());
        assert_eq!(row_prompt(&tokens[..1], &starts(&[])[..1]), [0]);
    }
}
