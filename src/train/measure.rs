//! Owns: what a validation measures of a batch: losses under every control, entropies, and how the states lie.
//! Must not know: the config, files.
//! Invariant: every value of a metric is one position's (or row's); a metric is the mean of them.

use super::latents;
use super::look::Look;
use crate::config::Control;
use crate::model::{Places, index, rows};
use crate::record::registry::Metric;
use crate::recycle::passes;
use burn::tensor::Tensor;

/// What stands in the place of the states, and the metric that tells the loss.
const CONTROLS: [(Control, Metric); 3] = [
    (Control::Pause, Metric::ValidPause),
    (Control::Masked, Metric::ValidMasked),
    (Control::Shuffled, Metric::ValidShuffled),
];

/// The values of every metric, on the device.
pub(super) fn of(look: &Look<'_>) -> Vec<(Metric, Tensor<1>)> {
    let mut found = vec![(Metric::ValidPlain, look.plain.nll.clone())];
    let (Some((positions, before)), Some((_, own))) = (&look.recycled, look.last(Control::None)) else {
        return found;
    };
    let device = look.model.device();
    let places = Places::new(&positions.rows, positions.seq_len, &device);
    let there = |values: &Tensor<1>| values.clone().select(0, places.flat());
    let (recycled, entropy) = (look.said(own.clone()), there(&look.plain.entropy));
    found.push((Metric::ValidPlainAtRecycled, there(&look.plain.nll)));
    found.push((Metric::ValidRecycled, recycled.nll));
    for (control, metric) in CONTROLS {
        found.extend(look.last(control).map(|(_, own)| (metric, look.said(own).nll)));
    }
    found.push((Metric::ValidEntropyFalls, recycled.entropy.clone().lower(entropy.clone()).float()));
    found.push((Metric::ValidEntropyRecycled, recycled.entropy));
    found.push((Metric::ValidEntropyPlain, entropy));
    found.push((Metric::ValidPassChange, latents::change(places.take(&before.hidden), own)));
    let fed = rows(&before.hidden).select(0, index(&passes::sources(positions), &device));
    let tokens = places.take(&look.model.embed(look.tokens.inputs.clone()));
    found.push((Metric::ValidNormRatio, latents::norms(fed.clone()) / (latents::norms(tokens) + 1e-12)));
    let counts: Vec<usize> = positions.rows.iter().map(Vec::len).collect();
    found.extend(latents::cosines(fed, &counts).map(|cosines| (Metric::ValidLatentCosine, cosines)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::head;
    use crate::recycle::passes::Pass;
    use crate::recycle::placement::Positions;
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
        let positions = Positions { seq_len: SEQ_LEN, rows: vec![vec![2, 3, 6], vec![4, 7]] };
        let mut place = |_: &Tensor<1>| positions.clone();
        let look = Look::at(&model, &tokens, pass(), 2, Some(&mut place));
        let found: BTreeMap<Metric, f32> =
            of(&look).into_iter().map(|(metric, tensor)| (metric, mean(&values(tensor)))).collect();
        let is = |metric: Metric, wanted: f32| {
            assert!((found[&metric] - wanted).abs() < 1e-4, "{metric:?}: {} {wanted}", found[&metric]);
        };
        // By hand: the plain pass, one recycled pass, and the second one in every guise.
        let plain = model.row(model.embed(tokens.inputs.clone()));
        let at = positions.flat();
        let score = |hidden| head::score(&model, hidden, tokens.targets_at(&at), None);
        let there = rows(&plain.hidden).select(0, index(&at, &model.device()));
        let (before, first) = passes::recycled(&model, &tokens, plain, &positions, &pass());
        let last = |control| {
            let pass = Pass { control, ..pass() };
            passes::recycled(&model, &tokens, before.clone(), &positions, &pass).1
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
        is(Metric::ValidPassChange, mean(&values(latents::change(first, last(Control::None)))));
        let tokens_there = rows(&model.embed(tokens.inputs.clone())).select(0, index(&at, &model.device()));
        let earlier: Vec<usize> = at.iter().map(|t| t - 1).collect();
        let fed = rows(&before.hidden).select(0, index(&earlier, &model.device()));
        let ratio = latents::norms(fed) / latents::norms(tokens_there);
        is(Metric::ValidNormRatio, mean(&values(ratio)));
        assert!(found[&Metric::ValidLatentCosine].abs() <= 1.0 && found.len() == 12);
    }
}
