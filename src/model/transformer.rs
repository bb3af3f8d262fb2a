//! Owns: the decoder: embeddings, blocks, last norm, head matrix.
//! Must not know: recycling, losses, training.
//! Invariant: forward passes take embeddings, so that the caller decides what is fed at a position.

use super::ModelShape;
use super::activation_tap::ActivationTap;
use super::attention::Attention;
use super::block::{TransformerBlock, forward_checkpointed};
use super::block_context::BlockContext;
use super::cost::BACKWARD_FACTOR;
use super::dropout::{ModelDropout, PassDropout};
use super::execution::Execution;
use super::feedback::{Feedback, FeedbackSpec, rms};
use super::gather_index::{GatherIndex, Visibility};
use super::held_dropout::HeldDropout;
use super::init::WeightInit;
use super::keys_values::KeysValues;
use super::layers::{Mlp, Norm};
use super::rotary::{Rotary, RotaryAngles};
use crate::config::Arch;
use crate::ops::score::{Head, logits};
use crate::ops::{self, AttentionMask};
use burn::module::{Module, Param};
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, Int, Tensor};

/// Result of a forward pass through all blocks.
#[derive(Clone)]
pub struct HiddenStates {
    /// Final hidden states `[B, T, D]`, after the last norm.
    pub hidden: Tensor<3>,
    pub keys_values: Vec<KeysValues>,
    /// Floating-point operations of the forward pass.
    pub flop: f64,
    /// Floating-point operations of its backward pass.
    pub backward_flop: f64,
}

impl HiddenStates {
    /// Returns the states as constants: no gradient flows back into them.
    pub fn detached(self) -> Self {
        let context = self.keys_values.into_iter().map(KeysValues::inner).collect();
        Self { hidden: self.hidden.inner(), keys_values: context, ..self }
    }

    /// Adds `flop` forward operations, and the matching backward operations.
    pub fn add_flop(&mut self, flop: f64) {
        self.flop += flop;
        self.backward_flop += BACKWARD_FACTOR * flop;
    }
}

/// The decoder-only transformer.
#[derive(Module, Debug)]
pub struct Transformer {
    /// Token embeddings `[V, D]`.
    pub embed: Embedding,
    /// Learned position embeddings `[max_len, D]` (gpt2).
    pub positions: Option<Embedding>,
    pub blocks: Vec<TransformerBlock>,
    /// The last norm. Hidden states are its output.
    pub norm: Norm,
    /// Head `[D, V]`; absent if the head shares the token embeddings.
    pub head: Option<Linear>,
    /// Turns a hidden state into an input.
    pub feedback: Feedback,
    rotary: Option<Rotary>,
    #[module(skip)]
    shape: ModelShape,
    #[module(skip)]
    execution: Execution,
}

impl Transformer {
    /// Creates a model with weights drawn from `seed` with standard deviation `init_std`, and plain feedback.
    pub fn new(shape: ModelShape, seed: u64, init_std: f64, device: &Device) -> Self {
        let mut init = WeightInit::new(seed, init_std, 2 * shape.layers, device);
        let block = |init: &mut WeightInit| TransformerBlock {
            norm1: Norm::new(&shape, init),
            attention: Attention::new(&shape, init),
            norm2: Norm::new(&shape, init),
            mlp: Mlp::new(&shape, init),
        };
        let llama = shape.arch == Arch::Llama;
        Self {
            embed: init.embedding(shape.vocab_size, shape.width),
            positions: (!llama).then(|| init.embedding(shape.max_len, shape.width)),
            blocks: (0..shape.layers).map(|_| block(&mut init)).collect(),
            norm: Norm::new(&shape, &mut init),
            head: (!shape.tied).then(|| init.linear(shape.width, shape.vocab_size, false)),
            feedback: Feedback::new(FeedbackSpec::PLAIN, shape.width, init_std, seed, device),
            rotary: llama.then(|| Rotary::new(&shape)),
            shape,
            execution: Execution::default(),
        }
    }

    pub fn with_execution(self, execution: Execution) -> Self {
        Self { execution, ..self }
    }

    /// Returns the model with this dropout in all its forward passes.
    pub fn with_dropout(self, dropout: Option<ModelDropout>) -> Self {
        let execution = Execution { dropout, ..self.execution.clone() };
        self.with_execution(execution)
    }

    /// Returns the model with these held masks in all its forward passes, which must be over the same rows.
    pub fn with_held_dropout(self, held_dropout: Option<HeldDropout>) -> Self {
        let execution = Execution { held_dropout, ..self.execution.clone() };
        self.with_execution(execution)
    }

    /// Returns the model with its next forward pass measured by `tap`, if there is one.
    pub fn with_activation_tap(self, activation_tap: Option<ActivationTap>) -> Self {
        let execution = Execution { activation_tap, ..self.execution.clone() };
        self.with_execution(execution)
    }

    pub fn execution(&self) -> &Execution {
        &self.execution
    }

    /// Replaces the feedback by a newly initialized one of this kind.
    pub fn with_feedback(mut self, spec: FeedbackSpec, seed: u64) -> Self {
        // READBACK: once, before training.
        let embeddings = self.embed.weight.val().inner().reshape([1, -1]);
        let measured = rms(embeddings, 1).try_into_scalar::<f32>().unwrap_or(0.0);
        self.feedback = Feedback::new(spec, self.shape.width, f64::from(measured), seed, &self.device());
        self
    }

    /// Returns the model with `count` more tokens at the end of its vocabulary. Their embeddings, and their columns of the
    /// head, are the mean of the others, so that no token is more likely than before but by its share.
    pub fn with_more_tokens(mut self, count: usize) -> Self {
        let grown = |weight: Tensor<2>, dim: usize| {
            let mean = weight.clone().mean_dim(dim);
            let [rows, columns] = mean.dims();
            let more = if dim == 0 { mean.expand([count, columns]) } else { mean.expand([rows, count]) };
            Tensor::cat(vec![weight, more], dim)
        };
        let tracked = |weight: Tensor<2>, like: &Tensor<2>| match like.is_autodiff() {
            true => Tensor::from_inner(weight).require_grad(),
            false => weight,
        };
        let embed = self.embed.weight.val();
        let more = tracked(grown(embed.clone().inner(), 0), &embed);
        self.embed.weight = Param::initialized(self.embed.weight.id, more);
        if let Some(head) = &mut self.head {
            let weight = head.weight.val();
            let more = tracked(grown(weight.clone().inner(), 1), &weight);
            head.weight = Param::initialized(head.weight.id, more);
        }
        self.shape.vocab_size += count;
        self
    }

    pub fn shape(&self) -> &ModelShape {
        &self.shape
    }

    /// Returns the device of the parameters, with autodiff if they are trained.
    pub fn device(&self) -> Device {
        self.embed.weight.val().device()
    }

    /// Returns the embeddings `[B, T, D]` of `tokens` `[B, T]`, without position embeddings.
    pub fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.embed.forward(tokens)
    }

    /// Runs whole rows of inputs `[B, T, D]`, from position 0 on.
    pub fn forward(&self, embeddings: Tensor<3>) -> HiddenStates {
        self.forward_whole(embeddings, self.execution.checkpointing)
    }

    /// Like [`Self::forward`]; `checkpoint`: keep only the inputs of blocks in the graph.
    fn forward_whole(&self, embeddings: Tensor<3>, checkpoint: bool) -> HiddenStates {
        let [_, t, d] = embeddings.dims();
        let learned = self.positions.as_ref().map(|table| table.weight.val().narrow(0, 0, t).reshape([1, t, d]));
        let angles = self.rotary.as_ref().map(|rotary| rotary.first_angles(t, &self.device()));
        let mask = AttentionMask::causal(embeddings.dims()[0], t, 0);
        self.forward_blocks(embeddings, learned, angles, &mask, None, checkpoint)
    }

    /// Runs a few positions of each row: inputs `[N, D]`, which attend to the whole rows of `plain`. Returns
    /// their hidden states `[N, D]`, and the states as a grid `[B, R, D]`.
    pub fn forward_sparse(
        &self,
        inputs: Tensor<2>,
        index: &GatherIndex,
        plain: &[KeysValues],
        visibility: Visibility,
    ) -> (Tensor<2>, HiddenStates) {
        let mask = index.attention_mask(visibility);
        let states = self.forward_at(index.to_grid(inputs), &index.positions, &mask, plain);
        (index.without_padding(&states.hidden), states)
    }

    /// Runs the positions `from..from+S` of each row: inputs `[B, S, D]`. They attend to `prefix` (the keys
    /// and values of each block for the positions `0..from`) and causally to each other.
    pub fn forward_from(&self, inputs: Tensor<3>, from: usize, prefix: &[KeysValues]) -> HiddenStates {
        if from == 0 {
            // Later positions send gradient into these keys and values, so they must be in the graph.
            return self.forward_whole(inputs, false);
        }
        let ([b, s, _], device) = (inputs.dims(), self.device().without_autodiff());
        let columns = Tensor::<1, Int>::arange(from as i64..(from + s) as i64, &device);
        let mask = AttentionMask::causal(b, s, from);
        self.forward_at(inputs, &columns.unsqueeze::<2>().expand([b, s]), &mask, prefix)
    }

    /// Runs inputs `[B, S, D]` at `positions` `[B, S]`, which attend to `prefix` and each other by `mask`.
    pub(super) fn forward_at(
        &self,
        inputs: Tensor<3>,
        positions: &Tensor<2, Int>,
        mask: &AttentionMask,
        prefix: &[KeysValues],
    ) -> HiddenStates {
        let learned = self.positions.as_ref().map(|table| table.forward(positions.clone()));
        // A position is at most the number of positions before it, seen or hidden.
        let end = mask.prefix_positions() + mask.query_positions();
        let angles = self.rotary.as_ref().map(|rotary| rotary.angles_at(positions, end, &self.device()));
        // Checkpointed blocks treat keys and values as constants, so these must not need a gradient.
        let checkpoint = self.execution.checkpointing && prefix.iter().all(KeysValues::is_constant);
        self.forward_blocks(inputs, learned, angles, mask, Some(prefix), checkpoint)
    }

    fn forward_blocks(
        &self,
        embeddings: Tensor<3>,
        learned: Option<Tensor<3>>,
        angles: Option<RotaryAngles>,
        mask: &AttentionMask,
        prefix: Option<&[KeysValues]>,
        checkpoint: bool,
    ) -> HiddenStates {
        let ([b, s, d], keys) = (embeddings.dims(), mask.prefix_positions() + mask.query_positions());
        let x = match learned {
            Some(positions) => embeddings + positions,
            None => embeddings,
        };
        // As one matrix: a separate product for each row would read all weights again.
        let mut x = x.reshape([b * s, d]);
        let dropout = self.execution.dropout.as_ref().map(ModelDropout::next_pass);
        if let Some(mask) = dropout.as_ref().and_then(PassDropout::of_embeddings) {
            x = ops::dropout(x, None, mask);
        }
        let tap = self.execution.activation_tap.as_ref().filter(|tap| tap.begin_pass());
        tap.iter().for_each(|tap| tap.measure(&x));
        let mut keys_values = Vec::with_capacity(self.blocks.len());
        let constant_prefix = prefix.filter(|prefix| prefix.iter().all(KeysValues::is_constant));
        let checkpoint = checkpoint && self.device().is_autodiff();
        for (layer, block) in self.blocks.iter().enumerate() {
            let held = |place| {
                let device = self.device().without_autodiff();
                self.execution.held_dropout.as_ref().map(|held| held.factors(layer, place, d, &device))
            };
            let context = BlockContext {
                angles: angles.clone(),
                mask: mask.clone(),
                prefix: prefix.map(|prefix| prefix[layer].clone()),
                precision: self.execution.matmul_precision,
                dropout: dropout.as_ref().map(|dropout| dropout.of_block(layer)).unwrap_or_default(),
                held: [held(0), held(1)],
                tap: tap.cloned(),
            };
            let (out, block_keys_values) = match checkpoint {
                true => forward_checkpointed(block, x, context, &self.execution),
                false => block.forward(x, &context),
            };
            keys_values.push(block_keys_values);
            x = out;
        }
        let flop = self.shape.blocks_flop(b * s, keys);
        // Constant keys and values need no gradient.
        let saved = constant_prefix.map_or(0.0, |_| self.shape.attention_flop(b * s, keys - s));
        let hidden = self.norm.forward(x);
        tap.iter().for_each(|tap| tap.measure(&hidden));
        let hidden = hidden.reshape([b, s, d]);
        let repeated = if checkpoint { flop } else { 0.0 };
        HiddenStates { hidden, keys_values, flop, backward_flop: BACKWARD_FACTOR * flop - saved + repeated }
    }

    /// Returns the head's parameter: `[V, D]` (the token embeddings) if it is tied, else `[D, V]`.
    pub fn head_param(&self) -> &Param<Tensor<2>> {
        match &self.head {
            Some(head) => &head.weight,
            None => &self.embed.weight,
        }
    }

    /// Returns the head's weights, without autodiff.
    pub fn head_weights(&self) -> Head {
        let weight = self.head_param().val().inner();
        if self.head.is_some() { Head::Untied(weight) } else { Head::Tied(weight) }
    }

    /// Returns the logits `[B, T, V]` of hidden states `[B, T, D]`, all at once and without autodiff. For
    /// inference only: training uses `head::score_hidden`, which never holds them all.
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [b, t, d] = hidden.dims();
        let logits = logits(hidden.inner().reshape([b * t, d]), &self.head_weights());
        let [_, v] = logits.dims();
        logits.reshape([b, t, v])
    }
}
