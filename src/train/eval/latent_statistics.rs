//! Owns: the latents of thoughts over many prompts, next to the shuffled control, and statistics of them.
//! Must not know: how a latent is computed, how results are shown.
//! Invariant: thoughts and control are of the same prompts. With `fixed` policies they are also at the same
//! positions; other policies decide by the entropies of each run, so positions may differ.

use crate::generate::{GenerateError, GenerationRequest, Intervention, Latent, LatentSource, inspect_latents};
use crate::model::Transformer;
use crate::statistics::Estimate;

/// Means over the latents with one index in their thought.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct LatentSummary {
    pub count: usize,
    /// Entropy of the fed state, in nats.
    pub entropy: f64,
    pub candidates: f64,
    /// Known if a latent was compared with a beam.
    pub overlap: Option<f64>,
    /// Entropy of the output after the latent, in nats.
    pub entropy_after: f64,
    /// The same in the control, if that has such latents.
    pub control_entropy_after: Option<f64>,
}

/// How entropy changes from the state that a thought begins with to the output after its last latent.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct EntropyChange {
    pub thoughts: usize,
    /// Share of the thoughts along which entropy falls.
    pub falling: Estimate,
    pub nats: Estimate,
}

/// Returns the latents of all prompts under the settings of `request`, and those of the shuffled control,
/// with `batch` (at least 2) prompts at a time. The beam is `request.top_count` wide.
pub fn collect_latents(
    model: &Transformer,
    prompts: &[Vec<u32>],
    batch: usize,
    request: &GenerationRequest,
) -> Result<[Vec<Latent>; 2], GenerateError> {
    let mut found = [Vec::new(), Vec::new()];
    // A last chunk of one row would have no other row to take states from.
    let chunk_len = prompts.len().div_ceil((prompts.len() / batch.min(prompts.len()).max(1)).max(1)).max(1);
    for (shuffled, found) in [false, true].into_iter().zip(&mut found) {
        let chunks = prompts.chunks(chunk_len).enumerate().filter(|(_, prompts)| prompts.len() > 1);
        for (chunk, prompts) in chunks {
            let source = if shuffled { LatentSource::Transplant } else { LatentSource::State };
            let intervention = Intervention { source, only: None };
            let request = GenerationRequest { prompts: prompts.to_vec(), intervention, ..request.clone() };
            let beam = if shuffled { 0 } else { request.top_count };
            let latents = inspect_latents(model, request, beam)?;
            let numbered = |latent: Latent| Latent { row: chunk * chunk_len + latent.row, ..latent };
            found.extend(latents.into_iter().map(numbered));
        }
    }
    Ok(found)
}

/// Returns one summary for each index of a latent in its thought.
pub fn summarize_latents(thoughts: &[Latent], control: &[Latent]) -> Vec<LatentSummary> {
    let count = thoughts.iter().map(|latent| latent.index + 1).max().unwrap_or(0);
    (0..count)
        .map(|index| {
            let values = |latents: &[Latent], value: fn(&Latent) -> Option<f64>| {
                let with_index = latents.iter().filter(|latent| latent.index == index);
                mean(&with_index.filter_map(value).collect::<Vec<_>>())
            };
            let of_thoughts = |value| values(thoughts, value).unwrap_or(f64::NAN);
            LatentSummary {
                count: thoughts.iter().filter(|latent| latent.index == index).count(),
                entropy: of_thoughts(|latent| Some(latent.entropy)),
                candidates: of_thoughts(|latent| Some(latent.candidates())),
                overlap: values(thoughts, |latent| latent.overlap),
                entropy_after: of_thoughts(|latent| Some(latent.entropy_after)),
                control_entropy_after: values(control, |latent| Some(latent.entropy_after)),
            }
        })
        .collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl EntropyChange {
    /// Measures the change along all thoughts. `latents` are in order, thought by thought.
    pub fn from_latents(latents: &[Latent]) -> Self {
        let is_last = |index: &usize| latents.get(index + 1).is_none_or(|next| next.index == 0);
        let change = |last: usize| latents[last].entropy_after - latents[last - latents[last].index].entropy;
        let changes: Vec<f64> = (0..latents.len()).filter(is_last).map(change).collect();
        Self {
            thoughts: changes.len(),
            falling: Estimate::from_values(changes.iter().map(|change| f64::from(*change < 0.0)), 0),
            nats: Estimate::from_values(changes, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::ModelShape;
    use burn::tensor::Device;

    fn latent(index: usize, entropy: f64, entropy_after: f64, overlap: Option<f64>) -> Latent {
        Latent { row: 0, thought: 0, index, position: 0, entropy, entropy_after, top: Vec::new(), overlap }
    }

    #[test]
    fn latents_are_averaged_by_their_index_in_a_thought() {
        let thoughts = [latent(0, 1.0, 2.0, Some(1.0)), latent(1, 2.0, 0.5, Some(0.25)), latent(0, 3.0, 4.0, None)];
        let control = [latent(0, 1.0, 5.0, None), latent(0, 1.0, 7.0, None)];
        let found = summarize_latents(&thoughts, &control);
        let first = LatentSummary {
            count: 2,
            entropy: 2.0,
            candidates: (1f64.exp() + 3f64.exp()) / 2.0,
            overlap: Some(1.0),
            entropy_after: 3.0,
            control_entropy_after: Some(6.0),
        };
        assert_eq!((found.len(), &found[0]), (2, &first));
        assert_eq!((found[1].count, found[1].overlap, found[1].control_entropy_after), (1, Some(0.25), None));
        assert!(summarize_latents(&[], &control).is_empty());
    }

    #[test]
    fn a_change_is_from_the_first_state_to_the_output_after_the_last_latent() {
        // Changes: 0.5 - 1.0, and 4.0 - 3.0.
        let found = EntropyChange::from_latents(&[
            latent(0, 1.0, 2.0, None),
            latent(1, 2.0, 0.5, None),
            latent(0, 3.0, 4.0, None),
        ]);
        assert_eq!((found.thoughts, found.falling.mean, found.nats.mean), (2, 0.5, 0.25));
        assert_eq!(EntropyChange::from_latents(&[]).thoughts, 0);
    }

    #[test]
    fn thoughts_and_control_are_of_the_same_prompts() {
        let config = config::Model { width: 16, layers: 1, heads: 2, ..Default::default() };
        let model = Transformer::new(ModelShape::from_config(&config, 9, 16), 3, 0.6, &Device::flex());
        let prompts: Vec<Vec<u32>> = (1..6).map(|id| vec![id, id + 1, id]).collect();
        let request = GenerationRequest::new(Vec::new(), "fixed:count=2,at=0".parse().unwrap(), 1);
        let [thoughts, control] = collect_latents(&model, &prompts, 2, &request).unwrap();
        let places = |latents: &[Latent]| -> Vec<_> {
            latents.iter().map(|latent| (latent.row, latent.index, latent.position)).collect()
        };
        let wanted: Vec<_> = (0..5).flat_map(|row| [(row, 0, 3), (row, 1, 4)]).collect();
        assert_eq!((places(&thoughts), places(&control)), (wanted.clone(), wanted));
        assert!(thoughts.iter().all(|latent| latent.overlap.is_some()));
        assert!(control.iter().all(|latent| latent.overlap.is_none()));
    }
}
