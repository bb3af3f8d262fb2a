//! Owns: which tokens a beam of plain continuations reaches, depth by depth.
//! Must not know: latents, what tokens mean.
//! Invariant: the likeliest continuations of those that the likeliest ones before them have.

use super::ThinkError;
use super::generate::said;
use crate::model::{Cache, Transformer};
use burn::tensor::{Int, Tensor, TensorData};

/// The tokens of the `width` likeliest continuations of `prefix` at each of `depth` positions behind it, ascending. Where the
/// model takes no more positions it ends early.
///
/// # Errors
/// Where the device fails.
pub(super) fn reached(
    model: &Transformer,
    prefix: &[u32],
    width: usize,
    depth: usize,
) -> Result<Vec<Vec<u32>>, ThinkError> {
    let mut cache = Cache::new(1, prefix.len() + depth);
    let mut state = last(model, &mut cache, &[prefix.to_vec()]);
    let (mut scores, mut found) = (vec![0.0_f64], Vec::with_capacity(depth));
    while found.len() < depth {
        let (rows, _) = said(model, state.clone(), width)?;
        let mut next: Vec<(f64, usize, u32)> = Vec::new();
        for (row, (said, score)) in rows.iter().zip(&scores).enumerate() {
            next.extend(said.top.iter().map(|(id, p)| (score + p.ln(), row, *id)));
        }
        next.sort_by(|a, b| b.0.total_cmp(&a.0));
        next.truncate(width);
        let mut ids: Vec<u32> = next.iter().map(|(_, _, id)| *id).collect();
        let inputs: Vec<Vec<u32>> = ids.iter().map(|id| vec![*id]).collect();
        ids.sort_unstable();
        ids.dedup();
        found.push(ids);
        if found.len() == depth || cache.next(0) >= model.shape().max_len {
            break;
        }
        cache.choose(&next.iter().map(|(_, row, _)| *row).collect::<Vec<_>>());
        scores = next.iter().map(|(score, _, _)| *score).collect();
        state = last(model, &mut cache, &inputs);
    }
    Ok(found)
}

/// The state of the last of `rows`' tokens, `[B, D]`.
fn last(model: &Transformer, cache: &mut Cache, rows: &[Vec<u32>]) -> Tensor<2> {
    let dims = [rows.len(), rows[0].len()];
    let ids: Vec<i32> = rows.iter().flatten().map(|id| *id as i32).collect();
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, dims), &model.device().without_autodiff());
    let hidden = model.advance(model.embed(ids), cache);
    hidden.narrow(1, dims[1] - 1, 1).squeeze_dim(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::Shape;
    use burn::tensor::Device;

    const VOCAB: usize = 5;

    fn model() -> Transformer {
        let config = config::Model { width: 16, layers: 1, heads: 2, ..Default::default() };
        Transformer::new(Shape::from_config(&config, VOCAB, 8), 3, 0.6, &Device::flex())
    }

    /// ln p of each token after `row`, nothing kept.
    fn logs(model: &Transformer, row: &[u32]) -> Vec<f64> {
        let state = last(model, &mut Cache::new(1, 8), &[row.to_vec()]);
        let mut top = said(model, state, VOCAB).unwrap().0.remove(0).top;
        top.sort_by_key(|(id, _)| *id);
        top.into_iter().map(|(_, p)| p.ln()).collect()
    }

    #[test]
    fn a_beam_as_wide_as_all_continuations_is_exhaustive() {
        let (model, prefix) = (model(), [1, 2]);
        // Every pair of tokens behind the prefix, the likeliest first.
        let mut all = Vec::new();
        for (a, first) in (0..).zip(logs(&model, &prefix)) {
            let second = logs(&model, &[1, 2, a]);
            all.extend((0..).zip(second).map(|(b, second): (u32, f64)| (first + second, b)));
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        for width in [VOCAB, 3 * VOCAB] {
            let found = reached(&model, &prefix, width, 2).unwrap();
            assert_eq!(found[0], [0, 1, 2, 3, 4]);
            let mut wanted: Vec<u32> = all.iter().take(width).map(|(_, id)| *id).collect();
            wanted.sort_unstable();
            wanted.dedup();
            assert_eq!(found[1], wanted, "{width}");
        }
        assert_eq!(reached(&model, &[1; 7], 2, 9).unwrap().len(), 2, "no further than the model goes");
    }
}
