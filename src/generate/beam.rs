//! Owns: beam search over plain continuations: which tokens it reaches at each depth.
//! Must not know: latents, what tokens mean.
//! Invariant: each depth keeps the most likely continuations of those kept at the previous depth.

use super::GenerateError;
use super::generation::output_distributions;
use crate::model::{KvCache, Transformer};
use burn::tensor::{Int, Tensor, TensorData};

/// Returns the last tokens of the `width` most likely continuations of `prefix`, ascending and without
/// duplicates, for each of the `depth` positions after it. Ends early if the model has no more positions.
pub(in crate::generate) fn beam_tokens(
    model: &Transformer,
    prefix: &[u32],
    width: usize,
    depth: usize,
) -> Result<Vec<Vec<u32>>, GenerateError> {
    let mut cache = KvCache::new(1, prefix.len() + depth);
    let mut state = last_states(model, &mut cache, &[prefix.to_vec()]);
    let (mut scores, mut reached) = (vec![0.0_f64], Vec::with_capacity(depth));
    while reached.len() < depth {
        let (rows, _) = output_distributions(model, state.clone(), width)?;
        let mut next: Vec<(f64, usize, u32)> = Vec::new();
        for (row, (distribution, score)) in rows.iter().zip(&scores).enumerate() {
            next.extend(distribution.top.iter().map(|(id, p)| (score + p.ln(), row, *id)));
        }
        next.sort_by(|a, b| b.0.total_cmp(&a.0));
        next.truncate(width);
        let mut ids: Vec<u32> = next.iter().map(|(_, _, id)| *id).collect();
        let inputs: Vec<Vec<u32>> = ids.iter().map(|id| vec![*id]).collect();
        ids.sort_unstable();
        ids.dedup();
        reached.push(ids);
        if reached.len() == depth || cache.next_position(0) >= model.shape().max_len {
            break;
        }
        cache.select_rows(&next.iter().map(|(_, row, _)| *row).collect::<Vec<_>>());
        scores = next.iter().map(|(score, _, _)| *score).collect();
        state = last_states(model, &mut cache, &inputs);
    }
    Ok(reached)
}

/// Feeds `rows` of equally many tokens, and returns the hidden state of each row's last token, `[B, D]`.
fn last_states(model: &Transformer, cache: &mut KvCache, rows: &[Vec<u32>]) -> Tensor<2> {
    let dims = [rows.len(), rows[0].len()];
    let ids: Vec<i32> = rows.iter().flatten().map(|id| *id as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, dims), &model.device().without_autodiff());
    let hidden = model.forward_cached(model.embed(ids), cache);
    hidden.narrow(1, dims[1] - 1, 1).squeeze_dim(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::ModelShape;
    use burn::tensor::Device;

    const VOCAB: usize = 5;

    fn model() -> Transformer {
        let config = config::Model { width: 16, layers: 1, heads: 2, ..Default::default() };
        Transformer::new(ModelShape::from_config(&config, VOCAB, 8), 3, 0.6, &Device::flex())
    }

    /// Returns ln p of each token after `row`, computed without a kept cache.
    fn log_probs(model: &Transformer, row: &[u32]) -> Vec<f64> {
        let state = last_states(model, &mut KvCache::new(1, 8), &[row.to_vec()]);
        let mut top = output_distributions(model, state, VOCAB).unwrap().0.remove(0).top;
        top.sort_by_key(|(id, _)| *id);
        top.into_iter().map(|(_, p)| p.ln()).collect()
    }

    #[test]
    fn a_beam_as_wide_as_all_continuations_is_exhaustive() {
        let (model, prefix) = (model(), [1, 2]);
        // Every pair of tokens after the prefix, most likely first.
        let mut all = Vec::new();
        for (a, first) in (0..).zip(log_probs(&model, &prefix)) {
            let second = log_probs(&model, &[1, 2, a]);
            all.extend((0..).zip(second).map(|(b, second): (u32, f64)| (first + second, b)));
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        for width in [VOCAB, 3 * VOCAB] {
            let found = beam_tokens(&model, &prefix, width, 2).unwrap();
            assert_eq!(found[0], [0, 1, 2, 3, 4]);
            let mut wanted: Vec<u32> = all.iter().take(width).map(|(_, id)| *id).collect();
            wanted.sort_unstable();
            wanted.dedup();
            assert_eq!(found[1], wanted, "{width}");
        }
        assert_eq!(beam_tokens(&model, &[1; 7], 2, 9).unwrap().len(), 2, "ends at the model's last position");
    }
}
