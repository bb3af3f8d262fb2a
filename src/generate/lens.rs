//! Owns: the latent lens: what each latent decodes to, compared with plain continuations.
//! Must not know: files, what tokens mean.
//! Invariant: a latent is described by the state that is fed, which is the output of the previous position.

use super::generation::{Generation, GenerationRequest, InputKind};
use super::{GenerateError, beam};
use crate::model::Transformer;

/// What one latent of a thought decodes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Latent {
    /// Index of the row in the request.
    pub row: usize,
    pub thought: usize,
    pub index: usize,
    pub position: usize,
    /// Entropy of the head's distribution at the fed state, in nats.
    pub entropy: f64,
    /// Entropy of the output after the latent, in nats.
    pub entropy_after: f64,
    /// The most likely tokens at the fed state as (id, probability), most likely first.
    pub top: Vec<(u32, f64)>,
    /// Share of the tokens that a plain beam reaches here which are in `top`; only for a row's first thought.
    pub overlap: Option<f64>,
}

impl Latent {
    /// Returns exp(entropy): the number of equally likely tokens with this entropy.
    pub fn candidates(&self) -> f64 {
        self.entropy.exp()
    }
}

/// Runs `request`, and describes every latent of it. Compares first thoughts with a beam of `width`, if not 0.
pub fn inspect_latents(
    model: &Transformer,
    request: GenerationRequest,
    width: usize,
) -> Result<Vec<Latent>, GenerateError> {
    let mut rows: Vec<LensTrace> = request.prompts.iter().map(|prompt| LensTrace::new(prompt)).collect();
    let mut generation =
        Generation::start(model, GenerationRequest { top_count: request.top_count.max(width), ..request })?;
    while !generation.is_finished() {
        for step in generation.step()? {
            let row = &mut rows[step.row];
            match (step.kind, step.entropy_after) {
                (InputKind::Token, _) => row.push_token(step.token),
                (InputKind::Latent, Some(after)) => {
                    row.push_latent(step.row, step.distribution.entropy, after, step.distribution.top)
                }
                // The row ended before the latent was computed.
                (InputKind::Latent, None) => {}
            }
        }
    }
    for row in &mut rows {
        row.compare_with_beam(model, width)?;
    }
    Ok(rows.into_iter().flat_map(|row| row.latents).collect())
}

struct LensTrace {
    /// Tokens before the first thought.
    prefix: Vec<u32>,
    /// Position of the next input.
    position: usize,
    finished_thoughts: usize,
    current_latents: usize,
    latents: Vec<Latent>,
}

impl LensTrace {
    fn new(prompt: &[u32]) -> Self {
        let position = prompt.len();
        Self { prefix: prompt.to_vec(), position, finished_thoughts: 0, current_latents: 0, latents: Vec::new() }
    }

    fn push_token(&mut self, id: Option<u32>) {
        if self.latents.is_empty() {
            self.prefix.extend(id);
        }
        self.finished_thoughts += usize::from(self.current_latents > 0);
        (self.current_latents, self.position) = (0, self.position + 1);
    }

    fn push_latent(&mut self, row: usize, entropy: f64, after: f64, top: Vec<(u32, f64)>) {
        let (thought, index, position) = (self.finished_thoughts, self.current_latents, self.position);
        self.latents.push(Latent { row, thought, index, position, entropy, entropy_after: after, top, overlap: None });
        (self.current_latents, self.position) = (index + 1, position + 1);
    }

    /// Sets the overlap of the first thought's latents with a beam of plain continuations.
    fn compare_with_beam(&mut self, model: &Transformer, width: usize) -> Result<(), GenerateError> {
        let first = self.latents.iter().take_while(|latent| latent.thought == 0).count();
        if first == 0 || width == 0 {
            return Ok(());
        }
        let reached = beam::beam_tokens(model, &self.prefix, width, first)?;
        for (latent, reached) in self.latents.iter_mut().zip(reached) {
            let in_top = |id: &u32| latent.top.iter().take(width).any(|(top, _)| top == id);
            let shared = reached.iter().filter(|id| in_top(id)).count();
            latent.overlap = Some(shared as f64 / reached.len() as f64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::generate::{Intervention, LatentSource};
    use crate::model::ModelShape;
    use burn::tensor::Device;

    fn inspect(policy: &str, shuffled: bool) -> Vec<Latent> {
        let config = config::Model { width: 32, layers: 2, heads: 4, ..Default::default() };
        let model = Transformer::new(ModelShape::from_config(&config, 19, 40), 3, 0.4, &Device::flex());
        let prompts = vec![vec![3, 1, 4], vec![1, 5]];
        let request = GenerationRequest::new(prompts, policy.parse().unwrap(), 4);
        let source = if shuffled { LatentSource::Transplant } else { LatentSource::State };
        let request = GenerationRequest { top_count: 3, intervention: Intervention { source, only: None }, ..request };
        super::inspect_latents(&model, request, 4).unwrap()
    }

    #[test]
    fn each_latent_is_returned_once_with_its_position() {
        let found = inspect("fixed:count=2,at=0+2", false);
        let places: Vec<_> = found.iter().map(|l| (l.row, l.thought, l.index, l.position)).collect();
        let row = |row, from| [(row, 0, 0, from), (row, 0, 1, from + 1), (row, 1, 0, from + 4), (row, 1, 1, from + 5)];
        assert_eq!(places, [row(0, 3), row(1, 2)].concat());
        for pair in found.windows(2).filter(|pair| pair[1].index == 1) {
            assert_eq!(pair[0].entropy_after, pair[1].entropy);
        }
        assert!(found.iter().all(|latent| latent.top.len() == 4 && latent.candidates() >= 1.0));
        // The first state is that of plain text: its most likely tokens are the beam's first.
        for latent in &found {
            match (latent.thought, latent.index) {
                (0, 0) => assert_eq!(latent.overlap, Some(1.0)),
                (0, _) => assert!(latent.overlap.is_some()),
                _ => assert_eq!(latent.overlap, None),
            }
        }
    }

    #[test]
    fn the_control_feeds_another_rows_state() {
        let (own, shuffled) = (inspect("fixed:count=2", false), inspect("fixed:count=2", true));
        assert_eq!(own[0].entropy, shuffled[0].entropy, "the prompt is the same");
        assert!((own[0].entropy_after - shuffled[0].entropy_after).abs() > 1e-3);
    }
}
