//! Owns: a batch's validation metrics: losses under every control, entropies, geometry of the states.
//! Must not know: the config, files.
//! Invariant: every value belongs to one position (or row); a metric is the mean of its values. Losses are over the targets
//! that count.

use super::forward_probe::ForwardProbe;
use super::state_geometry;
use crate::config::Control;
use crate::model::{GatherIndex, flatten_rows, index_tensor};
use crate::recycle::passes;
use crate::schema::metrics::Metric;
use burn::tensor::Tensor;

/// The controls that replace the states, each with the metric for its loss.
const CONTROLS: [(Control, Metric); 3] = [
    (Control::Pause, Metric::ValidPause),
    (Control::Masked, Metric::ValidMasked),
    (Control::Shuffled, Metric::ValidShuffled),
];

/// Returns the values of every validation metric, on the device; only the plain loss without positions.
pub(in crate::train) fn validation_values(probe: &ForwardProbe<'_>) -> Vec<(Metric, Tensor<1>)> {
    let device = probe.model.device();
    let all: Vec<usize> = (0..probe.plain.nll.dims()[0]).collect();
    let mut metrics = vec![(Metric::ValidPlain, counted(probe, &all, probe.plain.nll.clone()))];
    let (Some((positions, states)), Some((_, hidden))) = (&probe.recycled, probe.last_pass(Control::None)) else {
        return metrics;
    };
    let gather = GatherIndex::new(&positions.rows, positions.seq_len, &device);
    let at_recycled = |values: &Tensor<1>| values.clone().select(0, gather.flat_indices());
    let (recycled, entropy) = (probe.score(hidden.clone()), at_recycled(&probe.plain.entropy));
    let indices = positions.flat_indices();
    let mut push_loss = |metric, nll| metrics.push((metric, counted(probe, &indices, nll)));
    push_loss(Metric::ValidPlainAtRecycled, at_recycled(&probe.plain.nll));
    push_loss(Metric::ValidRecycled, recycled.nll);
    for (control, metric) in CONTROLS {
        if let Some((_, hidden)) = probe.last_pass(control) {
            push_loss(metric, probe.score(hidden).nll);
        }
    }
    metrics.push((Metric::ValidEntropyFalls, recycled.entropy.clone().lower(entropy.clone()).float()));
    metrics.push((Metric::ValidEntropyRecycled, recycled.entropy));
    metrics.push((Metric::ValidEntropyPlain, entropy));
    metrics.push((Metric::ValidPassChange, state_geometry::relative_change(gather.gather(&states.hidden), hidden)));
    let fed = flatten_rows(&states.hidden).select(0, index_tensor(&passes::source_indices(positions), &device));
    let tokens = gather.gather(&probe.model.embed(probe.tokens.inputs.clone()));
    metrics.push((
        Metric::ValidNormRatio,
        state_geometry::row_norms(fed.clone()) / (state_geometry::row_norms(tokens) + 1e-12),
    ));
    let counts: Vec<usize> = positions.rows.iter().map(Vec::len).collect();
    metrics.extend(state_geometry::mean_pair_cosines(fed, &counts).map(|cosines| (Metric::ValidLatentCosine, cosines)));
    metrics
}

/// Returns the nll of those targets, at indices into `[B·T]`, that count in a loss.
fn counted(probe: &ForwardProbe<'_>, indices: &[usize], nll: Tensor<1>) -> Tensor<1> {
    let kept: Vec<usize> = (0..indices.len()).filter(|index| probe.tokens.counts(indices[*index])).collect();
    match kept.len() == indices.len() {
        true => nll,
        false => nll.clone().select(0, index_tensor(&kept, &nll.device())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::head;
    use crate::recycle::passes::RecycledPass;
    use crate::recycle::placement::RecycledPositions;
    use crate::train::tests::{SEQ_LEN, batch, model, pass};
    use burn::module::Module;
    use std::collections::BTreeMap;

    fn values(tensor: Tensor<1>) -> Vec<f32> {
        tensor.try_into_vec_as().unwrap()
    }

    fn mean(values: &[f32]) -> f32 {
        values.iter().sum::<f32>() / values.len() as f32
    }

    #[test]
    fn every_metric_is_what_its_name_says() {
        let (model, tokens) = (model(4).valid(), batch(4));
        let positions = RecycledPositions { seq_len: SEQ_LEN, rows: vec![vec![2, 3, 6], vec![4, 7]] };
        let mut place = |_: &Tensor<1>| positions.clone();
        let probe = ForwardProbe::run(&model, &tokens, pass(), 2, Some(&mut place));
        let found: BTreeMap<Metric, f32> =
            validation_values(&probe).into_iter().map(|(metric, tensor)| (metric, mean(&values(tensor)))).collect();
        let is = |metric: Metric, expected: f32| {
            assert!((found[&metric] - expected).abs() < 1e-4, "{metric:?}: {} {expected}", found[&metric]);
        };
        // By hand: the plain pass, one recycled pass, and the second one under every control.
        let plain = model.forward(model.embed(tokens.inputs.clone()));
        let at = positions.flat_indices();
        let score = |hidden| head::score_hidden(&model, hidden, tokens.targets_at(&at), None);
        let there = flatten_rows(&plain.hidden).select(0, index_tensor(&at, &model.device()));
        let (before, first) = passes::recycled_pass(&model, &tokens, plain, &positions, &pass());
        let last = |control| {
            let pass = RecycledPass { control, ..pass() };
            passes::recycled_pass(&model, &tokens, before.clone(), &positions, &pass).1
        };
        let plain = score(there);
        let recycled = score(last(Control::None));
        is(Metric::ValidPlainAtRecycled, mean(&values(plain.nll)));
        is(Metric::ValidRecycled, mean(&values(recycled.nll)));
        is(Metric::ValidPause, mean(&values(score(last(Control::Pause)).nll)));
        is(Metric::ValidMasked, mean(&values(score(last(Control::Masked)).nll)));
        is(Metric::ValidShuffled, mean(&values(score(last(Control::Shuffled)).nll)));
        let (plain, recycled) = (values(plain.entropy), values(recycled.entropy));
        let falls = plain.iter().zip(&recycled).filter(|(plain, recycled)| recycled < plain).count();
        is(Metric::ValidEntropyFalls, falls as f32 / 5.0);
        is(Metric::ValidEntropyPlain, mean(&plain));
        is(Metric::ValidEntropyRecycled, mean(&recycled));
        is(Metric::ValidPassChange, mean(&values(state_geometry::relative_change(first, last(Control::None)))));
        let tokens_there =
            flatten_rows(&model.embed(tokens.inputs.clone())).select(0, index_tensor(&at, &model.device()));
        let earlier: Vec<usize> = at.iter().map(|t| t - 1).collect();
        let fed = flatten_rows(&before.hidden).select(0, index_tensor(&earlier, &model.device()));
        let ratio = state_geometry::row_norms(fed) / state_geometry::row_norms(tokens_there);
        is(Metric::ValidNormRatio, mean(&values(ratio)));
        assert!(found[&Metric::ValidLatentCosine].abs() <= 1.0 && found.len() == 12);
    }
}
