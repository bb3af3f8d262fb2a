//! Owns: generating: rows of different length side by side, each with its own policy at work, token or latent, one position
//! a step.
//! Must not know: what tokens mean, where prompts come from, what is done with the steps.
//! Invariant: the state that is fed at `t` is that of `t-1`; a latent takes the place that a token would have had.

use super::ThinkError;
use super::choose::{Choice, Said};
use super::policy::{Machine, Move, Policy};
use crate::model::{Cache, Transformer, index};
use crate::ops::threads;
use crate::rng::{Draw, Purpose, Stream};
use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

/// What is to be generated.
#[derive(Clone, Debug)]
pub struct Request {
    /// Of each row.
    pub prompts: Vec<Vec<u32>>,
    /// When to think.
    pub policy: Policy,
    /// How tokens are chosen.
    pub choice: Choice,
    /// Most tokens of a row.
    pub most: usize,
    /// The token that ends a row.
    pub end: Option<u32>,
    /// Of the choices; each row has its own stream.
    pub seed: u64,
    /// The number of each row's stream; where none are given, the rows' own.
    pub streams: Vec<usize>,
    /// Likeliest tokens that are told at each step.
    pub top: usize,
    /// The control: the state that is fed is that of the next row that goes on, as it is at the same time.
    pub shuffled: bool,
}

/// Token or latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The input is a token.
    Token,
    /// The input is a state.
    Latent,
}

/// One position of one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Which row.
    pub row: usize,
    /// What was fed.
    pub kind: Kind,
    /// The token; of a latent, the one that its feedback looks at (`gated`, `add`).
    pub token: Option<u32>,
    /// What the output said before: the distribution that a token is of, and how a latent decodes.
    pub said: Said,
    /// The entropy after it, nats; none where the row ended with it.
    pub after: Option<f64>,
}

/// Why a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The token that ends it.
    Token,
    /// As many tokens as it may have.
    Most,
    /// The model takes no more positions.
    Length,
}

struct Row {
    machine: Machine,
    stream: Stream,
    tokens: usize,
    /// The last input, if it was a token.
    last: Option<u32>,
    /// Not told yet: what comes after it is not known, or it may be taken back.
    pending: Option<Step>,
    ended: Option<End>,
}

/// Positions after the prompts that there is room for at once; more is made when they come.
const ROOM: usize = 512;

/// What a row is fed next.
enum Fed {
    Token(u32),
    /// The state of its last position.
    State(u32),
    /// The state of the position before, in place of this token.
    Instead(u32),
    /// It is over.
    Nothing,
}

/// A generation under way. It keeps the model as it was when it began.
pub struct Generation {
    model: Transformer,
    request: Request,
    cache: Cache,
    rows: Vec<Row>,
    /// Of the last position of each row, and of the one before, `[B, D]`.
    states: [Tensor<2>; 2],
}

impl Generation {
    /// Reads the prompts. `model` is without autodiff.
    ///
    /// # Errors
    /// Where a prompt is empty, too long, or not of the model's vocabulary.
    pub fn begin(model: &Transformer, request: Request) -> Result<Self, ThinkError> {
        check(model, &request)?;
        let b = request.prompts.len();
        let longest = request.prompts.iter().map(Vec::len).max().unwrap_or(0);
        let mut cache = Cache::new(b, longest + request.most.min(ROOM));
        let ids: Vec<i32> = (request.prompts.iter())
            .flat_map(|prompt| (0..longest).map(|at| prompt.get(at).copied().unwrap_or(0) as i32))
            .collect();
        let device = model.device().without_autodiff();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [b, longest]), &device);
        let hidden = model.advance(model.embed(ids), &mut cache);
        let vocab = model.shape().vocab_size;
        let mut rows = Vec::with_capacity(b);
        for (row, prompt) in request.prompts.iter().enumerate() {
            cache.forget(row, longest - prompt.len());
            let stream = Draw { seed: request.seed, ..Draw::default() }
                .stream(Purpose::Choice, request.streams.get(row).copied().unwrap_or(row));
            let machine = Machine::new(request.policy.clone(), vocab);
            let last = prompt.last().copied();
            rows.push(Row { machine, stream, tokens: 0, last, pending: None, ended: None });
        }
        if request.policy.watches() {
            for (row, own) in rows.iter_mut().enumerate() {
                let before = request.prompts[row].len() - 1;
                if before > 0 {
                    let states = hidden.clone().slice([row..row + 1, 0..before]);
                    for said in said(model, states.squeeze_dim(0), 0)?.0 {
                        own.machine.saw(said.entropy);
                    }
                }
            }
        }
        let ends = request.prompts.iter().enumerate();
        let last =
            ends.map(|(row, prompt)| hidden.clone().slice([row..row + 1, prompt.len() - 1..prompt.len()]));
        let last = Tensor::cat(last.collect(), 0).squeeze_dim::<2>(1);
        let model = model.clone();
        Ok(Self { model, request, cache, rows, states: [last.clone(), last] })
    }

    /// Whether every row is over.
    pub fn over(&self) -> bool {
        self.rows.iter().all(|row| row.ended.is_some())
    }

    /// Why row `row` ended.
    pub fn ended(&self, row: usize) -> Option<End> {
        self.rows[row].ended
    }

    /// One more position of every row that is not over. What is settled by it, row by row: a step is told as soon as it is
    /// known what came after it.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn step(&mut self) -> Result<Vec<Step>, ThinkError> {
        let _awake = threads::awake();
        let (said, logits) = said(&self.model, self.states[0].clone(), self.request.top)?;
        let vocab = self.model.shape().vocab_size;
        let (mut settled, mut fed) = (Vec::new(), Vec::with_capacity(self.rows.len()));
        for (row, said) in said.into_iter().enumerate() {
            let own = &mut self.rows[row];
            if own.ended.is_some() {
                fed.push(Fed::Nothing);
                continue;
            }
            let logits = &logits[row * vocab..(row + 1) * vocab];
            fed.push(self.decide(row, said, logits, &mut settled));
        }
        if !self.over() {
            self.advance(&fed);
        }
        Ok(settled)
    }

    /// What row `row` is fed after its output has said `said`.
    fn decide(&mut self, row: usize, said: Said, logits: &[f32], settled: &mut Vec<Step>) -> Fed {
        let own = &mut self.rows[row];
        let found = own.machine.next(said.entropy, own.last);
        let before = own.pending.take().map(|step| Step { after: Some(said.entropy), ..step });
        let likely = said.top.first().map_or(0, |top| top.0);
        let looks = self.model.feedback.looks();
        let (kind, token, said, fed) = match found {
            Move::Token => {
                let id = self.request.choice.pick(logits, &mut own.stream);
                (Kind::Token, Some(id), said, Fed::Token(id))
            }
            Move::Mark(id) => (Kind::Token, Some(id), said, Fed::Token(id)),
            Move::Latent => (Kind::Latent, looks.then_some(likely), said, Fed::State(likely)),
            Move::Back => {
                // The state that is fed is the one that the token was chosen by.
                let (id, said) = before
                    .as_ref()
                    .map_or((likely, said), |step| (step.token.unwrap_or(likely), step.said.clone()));
                own.tokens -= 1;
                (Kind::Latent, looks.then_some(id), said, Fed::Instead(id))
            }
        };
        settled.extend(before.filter(|_| found != Move::Back));
        own.last = token.filter(|_| kind == Kind::Token);
        own.tokens += usize::from(kind == Kind::Token);
        let step = Step { row, kind, token, said, after: None };
        let back = usize::from(found == Move::Back);
        own.ended = match () {
            () if own.last.is_some() && own.last == self.request.end => Some(End::Token),
            () if own.tokens >= self.request.most && kind == Kind::Token => Some(End::Most),
            () if self.cache.next(row) - back >= self.model.shape().max_len => Some(End::Length),
            () => None,
        };
        match own.ended {
            // Nothing comes after it; a latent that has no place is none.
            Some(End::Length) if kind == Kind::Latent => {}
            Some(_) => settled.push(step),
            None => {
                own.pending = Some(step);
                return fed;
            }
        }
        Fed::Nothing
    }

    fn advance(&mut self, fed: &[Fed]) {
        for (row, fed) in fed.iter().enumerate() {
            // What is over stays where it is.
            let over = matches!(fed, Fed::Nothing) && self.cache.next(row) >= self.model.shape().max_len;
            if over || matches!(fed, Fed::Instead(_)) {
                self.cache.forget(row, 1);
            }
        }
        let inputs = self.inputs(fed).unsqueeze_dim(1);
        let hidden = self.model.advance(inputs, &mut self.cache).squeeze_dim(1);
        let [last, before] = &mut self.states;
        let kept = std::mem::replace(last, hidden);
        // Where a token was taken back, the one before stays the same.
        if fed.iter().any(|fed| matches!(fed, Fed::Instead(_))) {
            let instead = |fed: &Fed| matches!(fed, Fed::Instead(_));
            *before = mixed(fed, instead, before.clone(), kept);
        } else {
            *before = kept;
        }
    }

    /// Each row's state is that of another that goes on.
    fn exchanged(&self, states: Tensor<2>) -> Tensor<2> {
        let over: Vec<bool> = self.rows.iter().map(|row| row.ended.is_some()).collect();
        let device = states.device();
        states.select(0, index(&others(&over), &device))
    }

    /// `[B, D]`.
    fn inputs(&self, fed: &[Fed]) -> Tensor<2> {
        let ids = fed.iter().map(|fed| match fed {
            Fed::Token(id) | Fed::State(id) | Fed::Instead(id) => *id as i32,
            Fed::Nothing => 0,
        });
        let device = self.model.device().without_autodiff();
        let ids = TensorData::new(ids.collect::<Vec<_>>(), [fed.len(), 1]);
        let tokens = self.model.embed(Tensor::from_data(ids, &device)).squeeze_dim::<2>(1);
        if !fed.iter().any(|fed| matches!(fed, Fed::State(_) | Fed::Instead(_))) {
            return tokens;
        }
        let [last, before] = self.states.clone();
        let states = mixed(fed, |fed| matches!(fed, Fed::Instead(_)), before, last);
        let states = if self.request.shuffled { self.exchanged(states) } else { states };
        let states = self.model.feedback.state(states, self.model.embed.weight.val());
        let states = self.model.feedback.input(states, || tokens.clone());
        mixed(fed, |fed| matches!(fed, Fed::State(_) | Fed::Instead(_)), states, tokens)
    }
}

/// For each row the next one, round, that is not over; itself where there is no other.
fn others(over: &[bool]) -> Vec<usize> {
    let count = over.len();
    (0..count)
        .map(|row| (1..count).map(|by| (row + by) % count).find(|other| !over[*other]).unwrap_or(row))
        .collect()
}

/// `yes` `[B, D]` in the rows of which `which` holds, `no` in the others.
fn mixed(fed: &[Fed], which: impl Fn(&Fed) -> bool, yes: Tensor<2>, no: Tensor<2>) -> Tensor<2> {
    let [b, d] = yes.dims();
    let chosen: Vec<i32> = fed.iter().map(|fed| i32::from(which(fed))).collect();
    let mask = Tensor::<2, Int>::from_data(TensorData::new(chosen, [b, 1]), &yes.device()).equal_elem(1);
    no.mask_where(mask.expand([b, d]), yes)
}

/// What the head says of states `[N, D]`, and its logits, row after row.
pub(super) fn said(
    model: &Transformer,
    states: Tensor<2>,
    top: usize,
) -> Result<(Vec<Said>, Vec<f32>), ThinkError> {
    let logits = model.logits(states.unsqueeze());
    // READBACK: the next input depends on it.
    let data = logits.try_into_data().map_err(|error| ThinkError::Device(format!("{error:?}")))?;
    let logits = data.convert::<f32>().try_to_vec::<f32>();
    let logits = logits.map_err(|error| ThinkError::Device(format!("{error:?}")))?;
    let vocab = model.shape().vocab_size;
    if let Some(at) = logits.iter().position(|logit| !logit.is_finite()) {
        return Err(ThinkError::NotFinite { row: at / vocab });
    }
    let rows = logits.par_chunks_exact(vocab);
    let said = rows.map(|logits| Said::of(logits, top.max(1))).collect();
    Ok((said, logits))
}

fn check(model: &Transformer, Request { prompts, policy, .. }: &Request) -> Result<(), ThinkError> {
    let (vocab, most) = (model.shape().vocab_size, model.shape().max_len);
    for prompt in prompts {
        if prompt.is_empty() {
            return Err(ThinkError::Empty);
        }
        if prompt.len() >= most {
            return Err(ThinkError::TooLong { found: prompt.len(), most });
        }
        if let Some(id) = prompt.iter().find(|id| **id as usize >= vocab) {
            return Err(ThinkError::Unknown { id: *id, last: vocab - 1 });
        }
    }
    if let Some((key, id)) = policy.tokens().into_iter().find(|(_, id)| *id as usize >= vocab) {
        return Err(ThinkError::Token { key, id, last: vocab - 1 });
    }
    match prompts.is_empty() {
        true => Err(ThinkError::Empty),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
