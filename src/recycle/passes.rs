//! Owns: the plain pass, the recycled passes, and the gradients of both.
//! Must not know: when to recycle, the optimizer, files, terminals.
//! Invariant: the state fed at `t` is that of `t-1`, same row, same batch; the target at `t` is unchanged.

use super::placement::Positions;
use crate::config::{Control, Flow, LossOn, Reach};
use crate::model::cost::{Costs, Part};
use crate::model::ledger::{Ledger, Said};
use crate::model::{Places, States, Tokens, Transformer, index, rms, rows};
use crate::rng::{Draw, Purpose};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData};

/// What one recycled pass is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pass {
    /// What it computes.
    pub reach: Reach,
    /// What stands in the place of the states.
    pub control: Control,
    /// Multiplies what is fed of a state.
    pub scale: f64,
    /// Uniform noise on it, in shares of its root mean square.
    pub jitter: f64,
    /// What its random choices depend on.
    pub draw: Draw,
}

/// What the recycled passes of a step are to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Each of them.
    pub pass: Pass,
    /// Weight of each one's loss beside the plain loss; pass k is fed by pass k-1. 0: no loss, no graph of its own.
    pub weights: Vec<f64>,
    /// Whether gradient crosses between passes.
    pub flow: Flow,
    /// Borders between passes that gradient crosses in `through` flow, counted from the last; 0: all.
    pub cut: usize,
    /// Where the losses count.
    pub loss_on: LossOn,
}

impl Plan {
    /// Whether gradient crosses from the pass before into recycled pass `pass` (1 is the first).
    fn crosses(&self, pass: usize) -> bool {
        let last = self.weights.len();
        self.flow == Flow::Through && pass <= last && (self.cut == 0 || last - pass < self.cut)
    }
}

/// Chooses the recycled positions, given the plain entropy `[B·T]` on the device.
pub type Place<'a> = &'a mut dyn FnMut(&Tensor<1>) -> Positions;

/// One batch's passes.
pub struct Outcome {
    /// Gradients of `plain loss + Σ weight · recycled loss`.
    pub grads: GradientsParams,
    /// What they cost.
    pub costs: Costs,
    /// The plain pass at all positions, `[B·T]`.
    pub plain: Said,
    /// The last recycled pass that has a loss, where that counts, and the recycled positions.
    pub recycled: Option<(Said, Positions)>,
}

/// The article's step for one batch, up to the gradients. `place` chooses the recycled positions; without it, or where it
/// finds none, the step is a plain one.
pub fn train(mut ledger: Ledger<'_>, tokens: &Tokens, plan: &Plan, place: Option<Place<'_>>) -> Outcome {
    let model = ledger.model();
    // 1. Plain pass: hidden states, loss on all positions.
    let states = model.row(model.embed(tokens.inputs.clone()));
    ledger.ran(Part::Plain, &states, true);
    let plain = ledger.score(Part::PlainHead, rows(&states.hidden), tokens.flat_targets(), 1.0);
    // 2. Which inputs are replaced.
    let positions = place.map(|place| place(&plain.entropy)).filter(|found| found.count() > 0);
    ledger.spent(Part::Recycled);
    // 3. Recycled passes, and their losses.
    let recycled = positions.and_then(|positions| {
        let said = passes(&mut ledger, tokens, states, &positions, plan);
        said.map(|said| (said, positions))
    });
    // 4. The gradients of all, for one update.
    let (grads, costs) = ledger.finish();
    Outcome { grads, costs, plain, recycled }
}

/// Each pass is fed by the one before. Says what the last one that has a loss said.
fn passes(
    ledger: &mut Ledger<'_>,
    tokens: &Tokens,
    mut states: States,
    positions: &Positions,
    plan: &Plan,
) -> Option<Said> {
    let model = ledger.model();
    let mut said = None;
    for (pass, weight) in (1..).zip(&plan.weights) {
        // Where no gradient crosses, all gradients so far are taken now, which frees the graph of the pass before.
        if !plan.crosses(pass) {
            states = states.detached();
            ledger.take();
        }
        let graph = *weight > 0.0 || plan.crosses(pass + 1);
        let valid = (!graph).then(|| model.valid());
        let this = Pass { draw: Draw { pass: pass as u64, ..plan.pass.draw }, ..plan.pass };
        let (after, own) = recycled(valid.as_ref().unwrap_or(model), tokens, states, positions, &this);
        states = after;
        ledger.ran(Part::Recycled, &states, graph);
        if *weight > 0.0 {
            let (hidden, targets) = match plan.loss_on {
                LossOn::All => (rows(&states.hidden), tokens.flat_targets()),
                LossOn::Recycled => (own, tokens.targets_at(&positions.flat())),
            };
            said = Some(ledger.score(Part::RecycledHead, hidden, targets, *weight));
        }
    }
    said
}

/// One recycled pass, of one position at least: the states after it, and its own hidden states at the recycled positions,
/// `[N, D]`. A sparse pass leaves the other states, and all keys and values, as they were.
pub fn recycled(
    model: &Transformer,
    tokens: &Tokens,
    before: States,
    positions: &Positions,
    pass: &Pass,
) -> (States, Tensor<2>) {
    let places = Places::new(&positions.rows, positions.seq_len, &model.device().without_autodiff());
    let state = fed(model, &before.hidden, positions, pass) * pass.scale;
    let inputs = model.feedback.input(state, || places.take(&model.embed(tokens.inputs.clone())));
    let (mut states, own) = match pass.reach {
        Reach::Dense => {
            drop(before);
            let states = model.row(places.put(&model.embed(tokens.inputs.clone()), inputs));
            let own = places.take(&states.hidden);
            (states, own)
        }
        Reach::Isolated | Reach::Joint => {
            let joint = pass.reach == Reach::Joint;
            let (own, grid) = model.sparse(inputs, &places, &before.context, joint);
            let hidden = places.put(&before.hidden, own.clone());
            (States { hidden, context: before.context, ..grid }, own)
        }
    };
    let fed = matches!(pass.control, Control::None | Control::Shuffled);
    states.count(model.feedback.flop(positions.count(), fed));
    (states, own)
}

/// What stands for the states among the inputs at the recycled positions, `[N, D]`. Position information enters later, in
/// the model: that of `t`.
fn fed(model: &Transformer, before: &Tensor<3>, positions: &Positions, pass: &Pass) -> Tensor<2> {
    let device = before.device().without_autodiff();
    let source = match pass.control {
        Control::Shuffled => shuffled(positions, pass.draw),
        _ => sources(positions),
    };
    let (dims, embeddings) = ([source.len(), before.dims()[2]], model.embed.weight.val());
    let state = match pass.control {
        Control::None | Control::Shuffled => {
            model.feedback.state(rows(before).select(0, index(&source, &device)), embeddings)
        }
        Control::Pause => model.feedback.pause.val().unsqueeze::<2>().expand(dims),
        Control::Masked => embeddings.inner().mean_dim(0).expand(dims),
    };
    if pass.jitter == 0.0 {
        return state;
    }
    let noise = pass.draw.noise(positions.rows.iter().map(|own| own.len() * dims[1]));
    let noise = Tensor::<2>::from_data(TensorData::new(noise, dims), &device);
    state.clone() + rms(state, 1) * noise * pass.jitter
}

/// THE alignment: what is fed at `t` is the state of `t-1`. Indices into `[B·T]`; a recycled `t` is at least 1, so the row
/// is the same.
pub fn sources(positions: &Positions) -> Vec<usize> {
    positions.flat().into_iter().map(|t| t - 1).collect()
}

/// Another state in the place of each: that of another row's recycled position; of any position of another row, where none
/// of these is recycled; an earlier one in a batch of one row, whose first state stays. A later state of the same row would
/// tell the target.
fn shuffled(positions: &Positions, draw: Draw) -> Vec<usize> {
    let (source, t) = (sources(positions), positions.seq_len);
    let beside = |at: usize, from: usize, own: usize| if at < from { at } else { at + own };
    let other = |(n, own): (usize, &usize)| {
        let (row, mut stream) = (own / t, draw.stream(Purpose::Shuffle, n));
        let from = source.partition_point(|at| at / t < row);
        let mine = source.partition_point(|at| at / t <= row) - from;
        match (source.len() - mine, positions.rows.len()) {
            (0, 1) if own % t == 0 => *own,
            (0, 1) => stream.below(own % t),
            (0, rows) => beside(stream.below((rows - 1) * t), row * t, t),
            (elsewhere, _) => source[beside(stream.below(elsewhere), from, mine)],
        }
    };
    source.iter().enumerate().map(other).collect()
}
