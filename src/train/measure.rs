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
