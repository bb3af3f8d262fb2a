//! Owns: batched generation: each step feeds every row one token or latent, as the row's own policy decides.
//! Must not know: what tokens mean, where prompts come from, what is done with the steps.
//! Invariant: the state fed at `t` is that of `t-1`; a latent takes the position that a token would have had.

use super::GenerateError;
use super::intervention::{Intervention, ReplacedRows};
use crate::model::{KvCache, LatentNoise, Transformer};
use crate::ops::threads;
use crate::policy::sampling::{SamplingParams, TokenDistribution};
use crate::policy::switch::{Policy, PolicyAction, PolicyState, SwitchNoise, ThresholdDecision};
use crate::rng::{RngKey, RngPurpose, RngStream};
use burn::tensor::{Int, Tensor, TensorData};
use rayon::prelude::*;

/// Prompts and settings of a generation.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    pub prompts: Vec<Vec<u32>>,
    pub policy: Policy,
    pub sampling: SamplingParams,
    /// Maximum number of generated tokens of a row. Latents do not count.
    pub max_tokens: usize,
    /// The tokens that end a row.
    pub end_tokens: Vec<u32>,
    /// Seed of the sampling. Each row has its own random stream.
    pub seed: u64,
    /// Number of each row's random stream; if empty, the row's index.
    pub stream_ids: Vec<usize>,
    /// Number of most likely tokens to report with each step.
    pub top_count: usize,
    /// What is fed at latents instead of the states.
    pub intervention: Intervention,
    /// What is added to entropies before the policy compares them.
    pub switch_noise: SwitchNoise,
    /// Noise on the fed states.
    pub latent_noise: Option<LatentNoise>,
}

impl GenerationRequest {
    /// Returns the number of the random stream of row `row`.
    fn stream_id(&self, row: usize) -> usize {
        self.stream_ids.get(row).copied().unwrap_or(row)
    }

    /// Requests greedy continuations of up to `max_tokens` tokens, without an end token.
    pub fn new(prompts: Vec<Vec<u32>>, policy: Policy, max_tokens: usize) -> Self {
        Self {
            prompts,
            policy,
            sampling: SamplingParams::GREEDY,
            max_tokens,
            end_tokens: Vec::new(),
            seed: 0,
            stream_ids: Vec::new(),
            top_count: 1,
            intervention: Intervention::default(),
            switch_noise: SwitchNoise::None,
            latent_noise: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    Token,
    /// A recycled hidden state.
    Latent,
}

#[derive(Clone, Debug, PartialEq)]
pub struct GenerationStep {
    /// Index of the row in the request.
    pub row: usize,
    pub kind: InputKind,
    /// The token that was fed, or that a latent's feedback is combined with, if any (`gated`, `add`).
    pub token: Option<u32>,
    /// Output of the previous position: what a token is sampled from, or what a latent decodes to.
    pub distribution: TokenDistribution,
    /// Entropy of the output at this position, in nats; `None` if the row ended with it.
    pub entropy_after: Option<f64>,
    /// What the policy decided by a threshold before it, if it compared the entropy with one.
    pub decision: Option<ThresholdDecision>,
    /// Log-probability (nats) that its token was sampled with; `None` if it was not sampled, but inserted or a latent.
    pub log_prob: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It generated its end token.
    EosToken,
    /// It reached its maximum number of tokens.
    MaxTokens,
    /// It reached the model's last position.
    ModelLength,
}

struct RowState {
    policy_state: PolicyState,
    stream: RngStream,
    switch_stream: RngStream,
    /// Noise of the last decision, nats.
    switch_noise: Option<f64>,
    tokens: usize,
    last_token: Option<u32>,
    /// The last step, not returned yet: the entropy after it is unknown, and a latent may replace its token.
    pending: Option<GenerationStep>,
    end_reason: Option<EndReason>,
}

impl RowState {
    /// Returns why the row ends with its last input; `otherwise` if it is neither its end token nor its last one.
    fn find_end(&self, request: &GenerationRequest, otherwise: Option<EndReason>) -> Option<EndReason> {
        match self.last_token {
            Some(id) if request.end_tokens.contains(&id) => Some(EndReason::EosToken),
            Some(_) if self.tokens >= request.max_tokens => Some(EndReason::MaxTokens),
            _ => otherwise,
        }
    }
}

/// Largest number of positions after the prompts that the cache is created with. It grows if more are needed.
const MAX_RESERVED_POSITIONS: usize = 512;

enum NextInput {
    Token(u32),
    /// The state of the last position. The feedback may combine it with this token.
    LastState(u32),
    /// The state of the position before the last, in place of this token.
    ReplacingState(u32),
    Ended,
}

/// A running generation. It holds a copy of the model as of its start.
pub struct Generation {
    model: Transformer,
    request: GenerationRequest,
    cache: KvCache,
    rows: Vec<RowState>,
    /// Hidden states of the last position of each row, and of the one before it, each `[B, D]`.
    states: [Tensor<2>; 2],
}

impl Generation {
    /// Runs `model`, which must be without autodiff, on the prompts. Fails if there is no prompt, one is empty or
    /// too long, or prompts or policy have a token that is not in the vocabulary.
    pub fn start(model: &Transformer, request: GenerationRequest) -> Result<Self, GenerateError> {
        check_request(model, &request)?;
        let b = request.prompts.len();
        let longest = request.prompts.iter().map(Vec::len).max().unwrap_or(0);
        let mut cache = KvCache::new(b, longest + request.max_tokens.min(MAX_RESERVED_POSITIONS));
        let ids: Vec<i32> = (request.prompts.iter())
            .flat_map(|prompt| (0..longest).map(|index| prompt.get(index).copied().unwrap_or(0) as i32))
            .collect();
        let device = model.device().without_autodiff();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [b, longest]), &device);
        let hidden = model.forward_cached(model.embed(ids), &mut cache);
        let vocab = model.shape().vocab_size;
        let mut rows = Vec::with_capacity(b);
        for (row, prompt) in request.prompts.iter().enumerate() {
            cache.drop_last(row, longest - prompt.len());
            let (key, stream_id) = (RngKey { seed: request.seed, ..RngKey::default() }, request.stream_id(row));
            let stream = key.stream(RngPurpose::TokenSampling, stream_id);
            let switch_stream = key.stream(RngPurpose::SwitchDecision, stream_id);
            let policy_state = PolicyState::new(request.policy.clone(), vocab);
            let last_token = prompt.last().copied();
            rows.push(RowState {
                policy_state,
                stream,
                switch_stream,
                switch_noise: None,
                tokens: 0,
                last_token,
                pending: None,
                end_reason: None,
            });
        }
        if request.policy.uses_prompt_entropies() {
            for (row, state) in rows.iter_mut().enumerate() {
                let count = request.prompts[row].len() - 1;
                if count > 0 {
                    let states = hidden.clone().slice([row..row + 1, 0..count]);
                    for distribution in output_distributions(model, states.squeeze_dim(0), 0)?.0 {
                        state.policy_state.observe_prompt(distribution.entropy);
                    }
                }
            }
        }
        let prompts = request.prompts.iter().enumerate();
        let last = prompts.map(|(row, prompt)| hidden.clone().slice([row..row + 1, prompt.len() - 1..prompt.len()]));
        let last = Tensor::cat(last.collect(), 0).squeeze_dim::<2>(1);
        let model = model.clone();
        Ok(Self { model, request, cache, rows, states: [last.clone(), last] })
    }

    pub fn is_finished(&self) -> bool {
        self.rows.iter().all(|row| row.end_reason.is_some())
    }

    /// Returns why row `row` ended; `None` if it has not.
    pub fn end_reason(&self, row: usize) -> Option<EndReason> {
        self.rows[row].end_reason
    }

    /// Generates one more position of every row that has not ended. Returns, row by row, the steps that are final
    /// now, because the entropy after them is known. Fails if the device fails, or an output is not finite.
    pub fn step(&mut self) -> Result<Vec<GenerationStep>, GenerateError> {
        let _awake = threads::keep_workers_spinning();
        let (distributions, logits) =
            output_distributions(&self.model, self.states[0].clone(), self.request.top_count)?;
        let vocab = self.model.shape().vocab_size;
        let (mut finished, mut inputs) = (Vec::new(), Vec::with_capacity(self.rows.len()));
        for (row, distribution) in distributions.into_iter().enumerate() {
            if self.rows[row].end_reason.is_some() {
                inputs.push(NextInput::Ended);
                continue;
            }
            let logits = &logits[row * vocab..(row + 1) * vocab];
            inputs.push(self.decide_input(row, distribution, logits, &mut finished));
        }
        if !self.is_finished() {
            self.feed(&inputs);
        }
        Ok(finished)
    }

    /// Decides the next input of a row after an output, and adds its steps that are final now to `finished`.
    fn decide_input(
        &mut self,
        row: usize,
        distribution: TokenDistribution,
        logits: &[f32],
        finished: &mut Vec<GenerationStep>,
    ) -> NextInput {
        let state = &mut self.rows[row];
        let noise = self.request.switch_noise.draw(state.switch_noise, &mut state.switch_stream);
        state.switch_noise = Some(noise);
        state.policy_state.set_noise(noise);
        let action = state.policy_state.next_action(distribution.entropy, state.last_token);
        let previous =
            state.pending.take().map(|step| GenerationStep { entropy_after: Some(distribution.entropy), ..step });
        let top_token = distribution.top.first().map_or(0, |top| top.0);
        let uses_token = self.model.feedback.uses_token();
        let mut log_prob = None;
        let (kind, token, distribution, input) = match action {
            PolicyAction::Token => {
                let (id, sampled) = self.request.sampling.sample(logits, &mut state.stream);
                log_prob = Some(sampled);
                (InputKind::Token, Some(id), distribution, NextInput::Token(id))
            }
            PolicyAction::Marker(id) => (InputKind::Token, Some(id), distribution, NextInput::Token(id)),
            PolicyAction::Latent => {
                let token = uses_token.then_some(top_token);
                (InputKind::Latent, token, distribution, NextInput::LastState(top_token))
            }
            PolicyAction::ReplaceToken => {
                // The state that is fed is the one that the replaced token was sampled from.
                let (id, distribution) = previous.as_ref().map_or((top_token, distribution), |step| {
                    (step.token.unwrap_or(top_token), step.distribution.clone())
                });
                state.tokens -= 1;
                (InputKind::Latent, uses_token.then_some(id), distribution, NextInput::ReplacingState(id))
            }
        };
        finished.extend(previous.filter(|_| action != PolicyAction::ReplaceToken));
        state.last_token = token.filter(|_| kind == InputKind::Token);
        state.tokens += usize::from(kind == InputKind::Token);
        let decision = state.policy_state.decision();
        let step = GenerationStep { row, kind, token, distribution, entropy_after: None, decision, log_prob };
        let replaced = usize::from(action == PolicyAction::ReplaceToken);
        let is_full = self.cache.next_position(row) - replaced >= self.model.shape().max_len;
        state.end_reason = state.find_end(&self.request, is_full.then_some(EndReason::ModelLength));
        match state.end_reason {
            // A latent without a position has no effect and is not reported.
            Some(EndReason::ModelLength) if kind == InputKind::Latent => {}
            // The last step of a row: no output follows it.
            Some(_) => finished.push(step),
            None => {
                state.pending = Some(step);
                return input;
            }
        }
        NextInput::Ended
    }

    /// Runs the model on the next inputs, one for each row, and keeps the new states.
    fn feed(&mut self, inputs: &[NextInput]) {
        for (row, input) in inputs.iter().enumerate() {
            // A row that ended at the model's last position gets a dummy input there again and again.
            let at_end =
                matches!(input, NextInput::Ended) && self.cache.next_position(row) >= self.model.shape().max_len;
            if at_end || matches!(input, NextInput::ReplacingState(_)) {
                self.cache.drop_last(row, 1);
            }
        }
        let embeddings = self.input_embeddings(inputs).unsqueeze_dim(1);
        let hidden = self.model.forward_cached(embeddings, &mut self.cache).squeeze_dim(1);
        let [last, before_last] = &mut self.states;
        let old_last = std::mem::replace(last, hidden);
        // If a token was replaced, the state before it stays.
        if inputs.iter().any(|input| matches!(input, NextInput::ReplacingState(_))) {
            let replaces = |input: &NextInput| matches!(input, NextInput::ReplacingState(_));
            *before_last = select_by_row(inputs, replaces, before_last.clone(), old_last);
        } else {
            *before_last = old_last;
        }
    }

    /// Returns what the request's intervention feeds instead of `states` `[B, D]`.
    fn intervene(&self, states: Tensor<2>) -> Tensor<2> {
        let ended: Vec<bool> = self.rows.iter().map(|row| row.end_reason.is_some()).collect();
        // The latent that is fed now counts already.
        let latents: Vec<usize> = self.rows.iter().map(|row| row.policy_state.latents().saturating_sub(1)).collect();
        let states = match &self.request.latent_noise {
            Some(noise) => noise.add_to(states, &latents),
            None => states,
        };
        let rows = ReplacedRows {
            latents: &latents,
            ended: &ended,
            seed: self.request.seed,
            stream_ids: &self.request.stream_ids,
        };
        self.request.intervention.apply(states, &rows, &self.model.feedback)
    }

    /// Returns the input vectors `[B, D]`.
    fn input_embeddings(&self, inputs: &[NextInput]) -> Tensor<2> {
        let ids = inputs.iter().map(|input| match input {
            NextInput::Token(id) | NextInput::LastState(id) | NextInput::ReplacingState(id) => *id as i32,
            NextInput::Ended => 0,
        });
        let device = self.model.device().without_autodiff();
        let ids = TensorData::new(ids.collect::<Vec<_>>(), [inputs.len(), 1]);
        let tokens = self.model.embed(Tensor::from_data(ids, &device)).squeeze_dim::<2>(1);
        if !inputs.iter().any(|input| matches!(input, NextInput::LastState(_) | NextInput::ReplacingState(_))) {
            return tokens;
        }
        let [last, before_last] = self.states.clone();
        let states = select_by_row(inputs, |input| matches!(input, NextInput::ReplacingState(_)), before_last, last);
        let states = self.model.feedback.transform_state(states, self.model.embed.weight.val());
        let states = self.intervene(states);
        let states = self.model.feedback.combine_input(states, || tokens.clone());
        select_by_row(
            inputs,
            |input| matches!(input, NextInput::LastState(_) | NextInput::ReplacingState(_)),
            states,
            tokens,
        )
    }
}

/// Selects row by row: `yes` `[B, D]` if `condition` holds for the row's input, else `no` `[B, D]`.
fn select_by_row(
    inputs: &[NextInput],
    condition: impl Fn(&NextInput) -> bool,
    yes: Tensor<2>,
    no: Tensor<2>,
) -> Tensor<2> {
    let [b, d] = yes.dims();
    let chosen: Vec<i32> = inputs.iter().map(|input| i32::from(condition(input))).collect();
    let mask = Tensor::<2, Int>::from_data(TensorData::new(chosen, [b, 1]), &yes.device()).equal_elem(1);
    no.mask_where(mask.expand([b, d]), yes)
}

/// Returns the distributions at states `[N, D]`, with at least one likely token, and the logits `[N, V]`.
pub(in crate::generate) fn output_distributions(
    model: &Transformer,
    states: Tensor<2>,
    top: usize,
) -> Result<(Vec<TokenDistribution>, Vec<f32>), GenerateError> {
    let logits = model.logits(states.unsqueeze());
    // READBACK: the next input depends on it.
    let data = logits.try_into_data().map_err(|error| GenerateError::Device(format!("{error:?}")))?;
    let logits = data.convert::<f32>().try_to_vec::<f32>();
    let logits = logits.map_err(|error| GenerateError::Device(format!("{error:?}")))?;
    let vocab = model.shape().vocab_size;
    if let Some(index) = logits.iter().position(|logit| !logit.is_finite()) {
        return Err(GenerateError::NonFiniteOutput { row: index / vocab });
    }
    let rows = logits.par_chunks_exact(vocab);
    let distributions = rows.map(|logits| TokenDistribution::from_logits(logits, top.max(1))).collect();
    Ok((distributions, logits))
}

/// Checks the lengths of the prompts, and that all tokens are in the vocabulary.
fn check_request(
    model: &Transformer,
    GenerationRequest { prompts, policy, .. }: &GenerationRequest,
) -> Result<(), GenerateError> {
    let (vocab, positions) = (model.shape().vocab_size, model.shape().max_len);
    for prompt in prompts {
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if prompt.len() >= positions {
            return Err(GenerateError::PromptTooLong { tokens: prompt.len(), positions });
        }
        if let Some(id) = prompt.iter().find(|id| **id as usize >= vocab) {
            return Err(GenerateError::UnknownPromptToken { id: *id, last: vocab - 1 });
        }
    }
    if let Some((key, id)) = policy.named_tokens().into_iter().find(|(_, id)| *id as usize >= vocab) {
        return Err(GenerateError::UnknownPolicyToken { key, id, last: vocab - 1 });
    }
    match prompts.is_empty() {
        true => Err(GenerateError::EmptyPrompt),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
