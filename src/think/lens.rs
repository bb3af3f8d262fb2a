//! Owns: looking into thoughts: what each latent says, and whether it is what plain continuations would come to.
//! Must not know: files, what tokens mean.
//! Invariant: a latent is told by the state that is fed, which is the output of the position before it.

use super::generate::{Generation, Kind, Request};
use super::{ThinkError, beam};
use crate::model::Transformer;

/// One latent of a thought.
#[derive(Clone, Debug, PartialEq)]
pub struct Latent {
    /// Row of the request.
    pub row: usize,
    /// Which thought of the row, from 0.
    pub thought: usize,
    /// Which latent of the thought, from 0.
    pub index: usize,
    /// The position that it stands at.
    pub position: usize,
    /// Of the state that is fed, nats.
    pub entropy: f64,
    /// After it, nats.
    pub after: f64,
    /// What the state decodes to, the likeliest first.
    pub top: Vec<(u32, f64)>,
    /// Share of the tokens that a beam of plain continuations reaches at this position, that are among `top`; of a row's first
    /// thought alone, for before a later one there is no plain text.
    pub overlap: Option<f64>,
}

impl Latent {
    /// How many tokens as likely as each other would have this entropy.
    pub fn candidates(&self) -> f64 {
        self.entropy.exp()
    }
}

/// Every latent that `request` leads to, with a beam of `width`.
///
/// # Errors
/// As [`Generation::begin`]; and where the device fails.
pub fn look(model: &Transformer, request: Request, width: usize) -> Result<Vec<Latent>, ThinkError> {
    let mut rows: Vec<Row> = request.prompts.iter().map(|prompt| Row::new(prompt)).collect();
    let mut generation = Generation::begin(model, Request { top: request.top.max(width), ..request })?;
    while !generation.over() {
        for step in generation.step()? {
            let row = &mut rows[step.row];
            match (step.kind, step.after) {
                (Kind::Token, _) => row.token(step.token),
                (Kind::Latent, Some(after)) => row.latent(step.row, step.said.entropy, after, step.said.top),
                // The row ended before it was computed.
                (Kind::Latent, None) => {}
            }
        }
    }
    for row in &mut rows {
        row.compare(model, width)?;
    }
    Ok(rows.into_iter().flat_map(|row| row.latents).collect())
}

/// What a row has come to.
struct Row {
    /// Plain text before the first thought.
    prefix: Vec<u32>,
    position: usize,
    thoughts: usize,
    thinking: usize,
    latents: Vec<Latent>,
}

impl Row {
    fn new(prompt: &[u32]) -> Self {
        let position = prompt.len();
        Self { prefix: prompt.to_vec(), position, thoughts: 0, thinking: 0, latents: Vec::new() }
    }

    fn token(&mut self, id: Option<u32>) {
        if self.latents.is_empty() {
            self.prefix.extend(id);
        }
        self.thoughts += usize::from(self.thinking > 0);
        (self.thinking, self.position) = (0, self.position + 1);
    }

    fn latent(&mut self, row: usize, entropy: f64, after: f64, top: Vec<(u32, f64)>) {
        let (thought, index, position) = (self.thoughts, self.thinking, self.position);
        self.latents.push(Latent { row, thought, index, position, entropy, after, top, overlap: None });
        (self.thinking, self.position) = (index + 1, position + 1);
    }

    fn compare(&mut self, model: &Transformer, width: usize) -> Result<(), ThinkError> {
        let first = self.latents.iter().take_while(|latent| latent.thought == 0).count();
        if first == 0 || width == 0 {
            return Ok(());
        }
        let reached = beam::reached(model, &self.prefix, width, first)?;
        for (latent, reached) in self.latents.iter_mut().zip(reached) {
            let among = |id: &u32| latent.top.iter().take(width).any(|(own, _)| own == id);
            let shared = reached.iter().filter(|id| among(id)).count();
            latent.overlap = Some(shared as f64 / reached.len() as f64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::model::Shape;
    use crate::think::Choice;
    use burn::tensor::Device;

    fn look(policy: &str, shuffled: bool) -> Vec<Latent> {
        let config = config::Model { width: 32, layers: 2, heads: 4, ..Default::default() };
        let model = Transformer::new(Shape::from_config(&config, 19, 40), 3, 0.4, &Device::flex());
        let request = Request {
            prompts: vec![vec![3, 1, 4], vec![1, 5]],
            policy: policy.parse().unwrap(),
            choice: Choice::GREEDY,
            most: 4,
            end: None,
            seed: 0,
            top: 3,
            streams: Vec::new(),
            shuffled,
        };
        super::look(&model, request, 4).unwrap()
    }

    #[test]
    fn each_latent_is_told_once_with_its_place() {
        let found = look("fixed:count=2,at=0+2", false);
        let places: Vec<_> = found.iter().map(|l| (l.row, l.thought, l.index, l.position)).collect();
        let row = |row, from| {
            [(row, 0, 0, from), (row, 0, 1, from + 1), (row, 1, 0, from + 4), (row, 1, 1, from + 5)]
        };
        assert_eq!(places, [row(0, 3), row(1, 2)].concat());
        for pair in found.windows(2).filter(|pair| pair[1].index == 1) {
            assert_eq!(pair[0].after, pair[1].entropy);
        }
        assert!(found.iter().all(|latent| latent.top.len() == 4 && latent.candidates() >= 1.0));
        // The first state is that of plain text: its likeliest tokens are the beam's first.
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
        let (own, shuffled) = (look("fixed:count=2", false), look("fixed:count=2", true));
        assert_eq!(own[0].entropy, shuffled[0].entropy, "the prompt is the same");
        assert!((own[0].after - shuffled[0].after).abs() > 1e-3);
    }
}
