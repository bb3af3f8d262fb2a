//! Owns: the plain pass, the recycled passes, and the gradients of both.
//! Must not know: when to recycle, the optimizer, files, terminals.
//! Invariant: the state fed at `t` is that of `t-1` in the same row; the target at `t` is unchanged.

use super::placement::RecycledPositions;
use crate::config::{Control, GradientFlow, LossPositions, PassScope};
use crate::model::accumulator::{GradientAccumulator, PassOutput};
use crate::model::cost::{PartCosts, StepPart};
use crate::model::{GatherIndex, HiddenStates, TokenBatch, Transformer, Visibility, flatten_rows, index_tensor, rms};
use crate::rng::{RngKey, RngPurpose};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecycledPass {
    /// What it computes: whole rows (`dense`), or the recycled positions alone (`isolated`, `joint`).
    pub reach: PassScope,
    /// What is fed instead of the states, if anything.
    pub control: Control,
    /// Factor of the fed states.
    pub scale: f64,
    /// Amplitude of uniform noise on the fed states, relative to their root mean square.
    pub jitter: f64,
    pub rng_key: RngKey,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RecyclePlan {
    pub pass: RecycledPass,
    /// Weight of each pass's loss. A pass of weight 0 has a graph only if gradient flows through it.
    pub loss_weights: Vec<f64>,
    pub flow: GradientFlow,
    /// Truncation depth of `through` flow: how many of the last pass boundaries gradient crosses; 0: all.
    pub cut: usize,
    /// Which positions the recycled losses count: all, or the recycled ones.
    pub loss_on: LossPositions,
}

impl RecyclePlan {
    /// Whether gradient flows from recycled pass `pass` (counted from 1) back into the previous pass.
    fn gradient_crosses(&self, pass: usize) -> bool {
        let last = self.loss_weights.len();
        self.flow == GradientFlow::Through && pass <= last && (self.cut == 0 || last - pass < self.cut)
    }
}

/// Chooses the recycled positions from the plain entropy `[B·T]`, which is on the device.
pub type PlacementFn<'a> = &'a mut dyn FnMut(&Tensor<1>) -> RecycledPositions;

/// Results of all passes of one batch.
pub struct BatchOutcome {
    /// Gradients of `plain loss + Σ weight · recycled loss`, for all parameters.
    pub grads: GradientsParams,
    /// Operations and seconds of each part.
    pub costs: PartCosts,
    /// Output of the plain pass at all positions, `[B·T]`.
    pub plain: PassOutput,
    /// Output of the last recycled pass with a loss, and the recycled positions.
    pub recycled: Option<(PassOutput, RecycledPositions)>,
}

/// Runs the article's training step for one batch, up to the gradients. `place` chooses the recycled
/// positions. Without it, or if it returns no positions, only the plain pass runs.
pub fn forward_backward(
    mut accumulator: GradientAccumulator<'_>,
    tokens: &TokenBatch,
    plan: &RecyclePlan,
    place: Option<PlacementFn<'_>>,
) -> BatchOutcome {
    let model = accumulator.model();
    // 1. Plain pass: hidden states, and the loss on all positions.
    let states = model.forward(model.embed(tokens.inputs.clone()));
    accumulator.record_forward(StepPart::Plain, &states);
    let plain = accumulator.add_loss(StepPart::PlainHead, flatten_rows(&states.hidden), tokens.loss_targets(), 1.0);
    // 2. The positions whose inputs are replaced.
    let positions = place.map(|place| place(&plain.entropy)).filter(|positions| positions.count() > 0);
    accumulator.record_time(StepPart::Recycled);
    // 3. Recycled passes, and their losses.
    let recycled = positions.and_then(|positions| {
        let output = run_recycled_passes(&mut accumulator, tokens, states, &positions, plan);
        output.map(|output| (output, positions))
    });
    // 4. The gradients of all passes, for one update.
    let (grads, costs) = accumulator.finish();
    BatchOutcome { grads, costs, plain, recycled }
}

/// Runs all recycled passes. Returns the output of the last one that has a loss.
fn run_recycled_passes(
    accumulator: &mut GradientAccumulator<'_>,
    tokens: &TokenBatch,
    mut states: HiddenStates,
    positions: &RecycledPositions,
    plan: &RecyclePlan,
) -> Option<PassOutput> {
    let model = accumulator.model();
    let mut output = None;
    for (pass, weight) in (1..).zip(&plan.loss_weights) {
        // If no gradient crosses this boundary, the backward pass now frees the graph of the previous pass.
        if !plan.gradient_crosses(pass) {
            states = states.detached();
            accumulator.run_backward();
        }
        let graph = *weight > 0.0 || plan.gradient_crosses(pass + 1);
        let valid = (!graph).then(|| model.valid());
        let settings = RecycledPass { rng_key: RngKey { pass: pass as u64, ..plan.pass.rng_key }, ..plan.pass };
        let (next, recycled_hidden) =
            recycled_pass(valid.as_ref().unwrap_or(model), tokens, states, positions, &settings);
        states = next;
        match graph {
            true => accumulator.record_forward(StepPart::Recycled, &states),
            false => accumulator.record_inference(StepPart::Recycled, &states),
        }
        if *weight > 0.0 {
            let (hidden, targets) = match plan.loss_on {
                LossPositions::All => (flatten_rows(&states.hidden), tokens.loss_targets()),
                LossPositions::Recycled => (recycled_hidden, tokens.loss_targets_at(&positions.flat_indices())),
            };
            output = Some(accumulator.add_loss(StepPart::RecycledHead, hidden, targets, *weight));
        }
    }
    output
}

/// Runs one recycled pass over at least one position. `before`: the states of the previous pass. Returns the
/// states after it, and its hidden states at the recycled positions, `[N, D]`. A sparse pass (`isolated`,
/// `joint`) changes no other hidden states, and no keys and values.
pub fn recycled_pass(
    model: &Transformer,
    tokens: &TokenBatch,
    before: HiddenStates,
    positions: &RecycledPositions,
    pass: &RecycledPass,
) -> (HiddenStates, Tensor<2>) {
    let index = GatherIndex::new(&positions.rows, positions.seq_len, &model.device().without_autodiff());
    let state = feedback_inputs(model, &before.hidden, positions, pass) * pass.scale;
    let inputs = model.feedback.combine_input(state, || index.gather(&model.embed(tokens.inputs.clone())));
    let (mut states, recycled_hidden) = match pass.reach {
        PassScope::Dense => {
            drop(before);
            let states = model.forward(index.scatter(&model.embed(tokens.inputs.clone()), inputs));
            let recycled_hidden = index.gather(&states.hidden);
            (states, recycled_hidden)
        }
        PassScope::Isolated | PassScope::Joint => {
            let visibility = match pass.reach {
                PassScope::Joint => Visibility::Joint,
                _ => Visibility::Isolated,
            };
            let (recycled_hidden, grid) = model.forward_sparse(inputs, &index, &before.keys_values, visibility);
            let hidden = index.scatter(&before.hidden, recycled_hidden.clone());
            (HiddenStates { hidden, keys_values: before.keys_values, ..grid }, recycled_hidden)
        }
    };
    states.add_flop(model.feedback.flop(positions.count(), pass.control));
    (states, recycled_hidden)
}

/// Returns what is fed at the recycled positions, `[N, D]`, from the hidden states `[B, T, D]` of the
/// previous pass. The model adds the position information of `t` later.
fn feedback_inputs(
    model: &Transformer,
    hidden: &Tensor<3>,
    positions: &RecycledPositions,
    pass: &RecycledPass,
) -> Tensor<2> {
    let device = hidden.device().without_autodiff();
    let source = match pass.control {
        Control::Shuffled => shuffled_indices(positions, pass.rng_key),
        _ => source_indices(positions),
    };
    let (dims, embeddings) = ([source.len(), hidden.dims()[2]], model.embed.weight.val());
    let state = match pass.control {
        Control::None | Control::Shuffled => {
            model.feedback.transform_state(flatten_rows(hidden).select(0, index_tensor(&source, &device)), embeddings)
        }
        Control::Pause => model.feedback.pause.val().unsqueeze::<2>().expand(dims),
        Control::Masked => embeddings.inner().mean_dim(0).expand(dims),
    };
    if pass.jitter == 0.0 {
        return state;
    }
    let noise = pass.rng_key.uniform_noise(positions.rows.iter().map(|row| row.len() * dims[1]));
    let noise = Tensor::<2>::from_data(TensorData::new(noise, dims), &device);
    state.clone() + rms(state, 1) * noise * pass.jitter
}

/// Defines the alignment: position `t` is fed with the state of `t-1`. Returns the source of each recycled
/// position as an index into `[B·T]`. A recycled `t` is at least 1, so the source is in the same row.
pub fn source_indices(positions: &RecycledPositions) -> Vec<usize> {
    positions.flat_indices().into_iter().map(|t| t - 1).collect()
}

/// Returns wrong sources, for the shuffled control: of recycled positions of another row, else any position
/// of another row. A batch of one row takes earlier positions, because a later state would reveal the target.
fn shuffled_indices(positions: &RecycledPositions, key: RngKey) -> Vec<usize> {
    let (source, t) = (source_indices(positions), positions.seq_len);
    let skip = |at: usize, from: usize, count: usize| if at < from { at } else { at + count };
    let other = |(n, own): (usize, &usize)| {
        let (row, mut stream) = (own / t, key.stream(RngPurpose::Shuffle, n));
        let from = source.partition_point(|at| at / t < row);
        let in_row = source.partition_point(|at| at / t <= row) - from;
        match (source.len() - in_row, positions.rows.len()) {
            (0, 1) if own % t == 0 => *own,
            (0, 1) => stream.uniform_below(own % t),
            (0, rows) => skip(stream.uniform_below((rows - 1) * t), row * t, t),
            (elsewhere, _) => source[skip(stream.uniform_below(elsewhere), from, in_row)],
        }
    };
    source.iter().enumerate().map(other).collect()
}
