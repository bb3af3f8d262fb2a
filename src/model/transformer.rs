//! Owns: the decoder: embeddings, blocks, last norm, head matrix.
//! Must not know: recycling, losses, training.
//! Invariant: `hidden` takes embeddings, not tokens, so that whoever calls it decides what stands at a position.

use super::Shape;
use super::attention::{Attention, KeysValues};
use super::cost::BACKWARD;
use super::execution::{Around, Execution, checkpointed};
use super::feedback::{Feedback, Form, rms};
use super::init::Init;
use super::layers::{Mlp, Norm};
use super::places::Places;
use super::rotary::{Angles, Rotary};
use crate::config::Arch;
use crate::ops::Sight;
use crate::ops::score::{Head, logits};
use burn::module::{Module, Param};
use burn::nn::{Embedding, Linear};
use burn::tensor::{Device, Int, Tensor};

/// One pre-norm block: attention, then MLP, each added to the residual stream.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: Norm,
    /// Looks back along the row.
    pub attention: Attention,
    /// Before the MLP.
    pub norm2: Norm,
    /// Acts on each position.
    pub mlp: Mlp,
}

impl Block {
    /// `x` `[N, D]`, as the result; and its own keys and values.
    pub(super) fn forward(&self, x: Tensor<2>, around: &Around) -> (Tensor<2>, KeysValues) {
        let Around { angles, sight, before, products } = around;
        let normed = self.norm1.forward(x.clone());
        let (x, own) = self.attention.forward(normed, x, angles.as_ref(), sight, before.as_ref(), *products);
        (self.mlp.forward(self.norm2.forward(x.clone()), x, *products), own)
    }
}

/// What a pass leaves behind.
#[derive(Clone)]
pub struct States {
    /// Final hidden states `[B, T, D]`, after the last norm.
    pub hidden: Tensor<3>,
    /// Each block's keys and values.
    pub context: Vec<KeysValues>,
    /// Operations of the forward pass.
    pub flop: f64,
    /// Operations of its backward pass.
    pub backward_flop: f64,
}

impl States {
    /// The same as constants: no gradient crosses from whatever comes after.
    pub fn detached(self) -> Self {
        let context = self.context.into_iter().map(KeysValues::inner).collect();
        Self { hidden: self.hidden.inner(), context, ..self }
    }

    /// Counts `flop` more forward operations.
    pub fn count(&mut self, flop: f64) {
        self.flop += flop;
        self.backward_flop += BACKWARD * flop;
    }
}

/// The decoder-only transformer.
#[derive(Module, Debug)]
pub struct Transformer {
    /// Token embeddings `[V, D]`.
    pub embed: Embedding,
    /// Learned positions `[max_len, D]` (gpt2).
    pub positions: Option<Embedding>,
    /// The blocks in order.
    pub blocks: Vec<Block>,
    /// The last norm; hidden states are taken after it.
    pub norm: Norm,
    /// `[D, V]`; absent where the head shares `embed`.
    pub head: Option<Linear>,
    /// How a state becomes an input.
    pub feedback: Feedback,
    rotary: Option<Rotary>,
    #[module(skip)]
    shape: Shape,
    #[module(skip)]
    execution: Execution,
}

impl Transformer {
    /// A fresh model on `device`, its weights drawn from `seed` with standard deviation `init_std`; its feedback is the
    /// plain one.
    pub fn new(shape: Shape, seed: u64, init_std: f64, device: &Device) -> Self {
        let mut init = Init::new(seed, init_std, 2 * shape.layers, device);
        let block = |init: &mut Init| Block {
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
            feedback: Feedback::new(Form::PLAIN, shape.width, init_std, seed, device),
            rotary: llama.then(|| Rotary::new(shape.max_len, shape.head_width, shape.rope_theta, device)),
            shape,
            execution: Execution::default(),
        }
    }

    /// The same, computed this way.
    pub fn executed(self, execution: Execution) -> Self {
        Self { execution, ..self }
    }

    /// How it is computed.
    pub fn execution(&self) -> &Execution {
        &self.execution
    }

    /// The same with a fresh feedback of this form.
    pub fn with_feedback(mut self, form: Form, seed: u64) -> Self {
        // READBACK: once, before training.
        let embeddings = self.embed.weight.val().inner().reshape([1, -1]);
        let measured = rms(embeddings, 1).try_into_scalar::<f32>().unwrap_or(0.0);
        self.feedback = Feedback::new(form, self.shape.width, f64::from(measured), seed, &self.device());
        self
    }

    /// The model's shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The device its parameters are on, with autodiff where they are trained.
    pub fn device(&self) -> Device {
        self.embed.weight.val().device()
    }

    /// Token embeddings: `tokens` `[B, T]` to `[B, T, D]`, without positions.
    pub fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.embed.forward(tokens)
    }

    /// Whole rows, position `t` of the input being position `t` of the row.
    pub fn row(&self, embeddings: Tensor<3>) -> States {
        self.whole(embeddings, self.execution.checkpointing)
    }

    fn whole(&self, embeddings: Tensor<3>, again: bool) -> States {
        let [_, t, d] = embeddings.dims();
        let learned =
            self.positions.as_ref().map(|table| table.weight.val().narrow(0, 0, t).reshape([1, t, d]));
        let angles = self.rotary.as_ref().map(|rotary| rotary.row(t));
        let sight = Sight::causal(embeddings.dims()[0], t, 0);
        self.blocks(embeddings, learned, angles, &sight, None, again)
    }

    /// A few positions of each row: inputs `[N, D]` at `places`, seeing `before` (each block's keys and values of the whole
    /// rows) and, `joint`, each other. Their hidden states `[N, D]`, and the states as a grid `[B, R, D]`.
    pub fn sparse(
        &self,
        inputs: Tensor<2>,
        places: &Places,
        before: &[KeysValues],
        joint: bool,
    ) -> (Tensor<2>, States) {
        let states = self.at(places.fill(inputs), &places.at, &places.sight(joint), before);
        (places.real(&states.hidden), states)
    }

    /// The next positions of each row, `from` and on: inputs `[B, S, D]`, seeing `before` (each block's keys and values of
    /// the positions `0..from`) and the earlier ones of themselves.
    pub fn next(&self, inputs: Tensor<3>, from: usize, before: &[KeysValues]) -> States {
        if from == 0 {
            // Whoever goes on sends gradient into what is kept.
            return self.whole(inputs, false);
        }
        let ([b, s, _], device) = (inputs.dims(), self.device().without_autodiff());
        let columns = Tensor::<1, Int>::arange(from as i64..(from + s) as i64, &device);
        let sight = Sight::causal(b, s, from);
        self.at(inputs, &columns.unsqueeze::<2>().expand([b, s]), &sight, before)
    }

    /// Inputs `[B, S, D]` at `positions` `[B, S]`, seeing `before` (C positions) and each other as `sight` says.
    pub(super) fn at(
        &self,
        inputs: Tensor<3>,
        positions: &Tensor<2, Int>,
        sight: &Sight,
        before: &[KeysValues],
    ) -> States {
        let learned = self.positions.as_ref().map(|table| table.forward(positions.clone()));
        let angles = self.rotary.as_ref().map(|rotary| rotary.at(positions));
        // What others are to learn by cannot be a constant.
        let again = self.execution.checkpointing && before.iter().all(KeysValues::constant);
        self.blocks(inputs, learned, angles, sight, Some(before), again)
    }

    fn blocks(
        &self,
        embeddings: Tensor<3>,
        learned: Option<Tensor<3>>,
        angles: Option<Angles>,
        sight: &Sight,
        before: Option<&[KeysValues]>,
        again: bool,
    ) -> States {
        let ([b, s, d], keys) = (embeddings.dims(), sight.before() + sight.own());
        let x = match learned {
            Some(positions) => embeddings + positions,
            None => embeddings,
        };
        // As one matrix: a product for each row would take up the weights anew every time.
        let mut x = x.reshape([b * s, d]);
        let mut context = Vec::with_capacity(self.blocks.len());
        let constant = before.filter(|before| before.iter().all(KeysValues::constant));
        let again = again && self.device().is_autodiff();
        for (layer, block) in self.blocks.iter().enumerate() {
            let before = before.map(|before| before[layer].clone());
            let around = Around {
                angles: angles.clone(),
                sight: sight.clone(),
                before,
                products: self.execution.products,
            };
            let (out, own) = match again {
                true => checkpointed(block, x, around, &self.execution),
                false => block.forward(x, &around),
            };
            context.push(own);
            x = out;
        }
        let flop = self.shape.blocks_flop(b * s, keys);
        let spared = constant.map_or(0.0, |_| self.shape.attention_flop(b * s, keys - s));
        let hidden = self.norm.forward(x).reshape([b, s, d]);
        let repeated = if again { flop } else { 0.0 };
        States { hidden, context, flop, backward_flop: BACKWARD * flop - spared + repeated }
    }

    /// The head's parameter: `[V, D]` (the token embeddings) where it is tied, `[D, V]` otherwise.
    pub fn head_param(&self) -> &Param<Tensor<2>> {
        match &self.head {
            Some(head) => &head.weight,
            None => &self.embed.weight,
        }
    }

    /// The head's weights, without autodiff.
    pub fn head_weights(&self) -> Head {
        let weight = self.head_param().val().inner();
        if self.head.is_some() { Head::Own(weight) } else { Head::Tied(weight) }
    }

    /// Logits `[B, T, V]` of hidden states `[B, T, D]`, whole and without autodiff: for looking, not for training
    /// (`head::score` never holds them whole).
    pub fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [b, t, d] = hidden.dims();
        let logits = logits(hidden.inner().reshape([b * t, d]), &self.head_weights());
        let [_, v] = logits.dims();
        logits.reshape([b, t, v])
    }
}
