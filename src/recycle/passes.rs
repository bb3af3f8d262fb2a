//! Owns: the plain pass, the recycled passes, and the gradients of both.
//! Must not know: when to recycle, the optimizer, files, terminals.
//! Invariant: the state fed at `t` is that of `t-1`, same row, same batch; the target at `t` is unchanged.

use super::grid::Grid;
use super::placement::Positions;
use crate::config::{Flow, LossOn, Reach};
use crate::model::{KeysValues, States, Transformer, head};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Bool, Device, IndexingUpdateOp, Int, Tensor, TensorData};

/// A batch on the device.
#[derive(Clone)]
pub struct Tokens {
    /// Inputs `[B, T]`.
    pub inputs: Tensor<2, Int>,
    /// The token after each, `[B, T]`.
    pub targets: Tensor<2, Int>,
}

impl Tokens {
    /// Uploads `tokens` `[B, T+1]`, row-major: inputs are all but each row's last, targets all but its first.
    pub fn upload(tokens: &[i32], batch: usize, seq_len: usize, device: &Device) -> Self {
        let data = TensorData::new(tokens.to_vec(), [batch, seq_len + 1]);
        let all = Tensor::<2, Int>::from_data(data, device);
        Self { inputs: all.clone().narrow(1, 0, seq_len), targets: all.narrow(1, 1, seq_len) }
    }
}

/// What the recycled passes of a step are to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What a recycled pass computes.
    pub reach: Reach,
    /// Weight of each recycled pass's loss beside the plain loss; pass k is fed by pass k-1. 0: no loss, no graph of
    /// its own.
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
        self.flow == Flow::Through && (self.cut == 0 || self.weights.len() - pass < self.cut)
    }
}

/// What a pass said, without autodiff, still on the device.
pub struct Said {
    /// nll at the positions where the loss counts, nats.
    pub nll: Tensor<1>,
    /// Entropy at the same positions, nats.
    pub entropy: Tensor<1>,
}

/// Chooses the recycled positions, given the plain entropy `[B·T]` on the device.
pub type Place<'a> = &'a mut dyn FnMut(&Tensor<1>) -> Positions;

/// One batch's passes.
pub struct Outcome {
    /// Gradients of `plain loss + weight · recycled loss`.
    pub grads: GradientsParams,
    /// The plain pass at all positions, `[B·T]`.
    pub plain: Said,
    /// The last recycled pass where its loss counts, and the recycled positions.
    pub recycled: Option<(Said, Positions)>,
}

/// The article's step for one batch, up to the gradients. `place` chooses the recycled positions, given the plain
/// entropy `[B·T]`; without it, or where it finds none, the step is a plain one. All losses and gradients are
/// multiplied by `share` (one over the batches of an update).
pub fn train(
    model: &Transformer,
    tokens: &Tokens,
    plan: &Plan,
    place: Option<Place<'_>>,
    share: f64,
) -> Outcome {
    // 1. Plain pass: hidden states, loss on all positions.
    let mut backward = Backward::new(model);
    let targets = tokens.targets.clone().flatten::<1>(0, 1);
    let mut states = model.row(model.embed(tokens.inputs.clone()));
    let plain = backward.score(flatten(states.hidden.clone()), targets.clone(), share);
    let positions = place.map(|place| place(&plain.entropy)).filter(|positions| positions.count() > 0);
    let Some(positions) = positions else {
        return Outcome { grads: backward.finish(), plain, recycled: None };
    };
    // 2. Recycled passes, each fed by the one before.
    let mut said = None;
    for (pass, weight) in (1..).zip(&plan.weights) {
        // Where no gradient crosses, all gradients so far are taken now, which frees the graph of the pass before.
        if !plan.crosses(pass) {
            backward.take();
            states = detached(states);
        }
        let silent = *weight == 0.0 && !plan.crosses(pass + 1);
        let valid = silent.then(|| model.valid());
        let (hidden, rows) =
            recycled(valid.as_ref().unwrap_or(model), tokens, &states, &positions, plan.reach);
        states.hidden = hidden;
        if *weight > 0.0 {
            let (rows, targets) = match plan.loss_on {
                LossOn::All => (flatten(states.hidden.clone()), targets.clone()),
                LossOn::Recycled => (rows, at_positions(targets.clone(), &positions)),
            };
            said = Some(backward.score(rows, targets, share * weight));
        }
    }
    // 3. One update from all is the caller's.
    Outcome { grads: backward.finish(), plain, recycled: said.map(|said| (said, positions)) }
}

/// One recycled pass from the states before it: the hidden states `[B, T, D]` after it, where it computed any, else
/// those before it; and its own at the recycled positions, `[N, D]`.
pub fn recycled(
    model: &Transformer,
    tokens: &Tokens,
    before: &States,
    positions: &Positions,
    reach: Reach,
) -> (Tensor<3>, Tensor<2>) {
    let at = indices(positions, &model.device().without_autodiff());
    match reach {
        Reach::Dense => {
            let hidden =
                model.hidden(feed(model.embed(tokens.inputs.clone()), before.hidden.clone(), positions));
            (hidden.clone(), flatten(hidden).select(0, at))
        }
        Reach::Isolated | Reach::Joint => {
            let grid = Grid::new(positions, &model.device().without_autodiff());
            let fed = grid.before(before.hidden.clone());
            let sight = grid.sight(positions, reach == Reach::Joint);
            let own = grid.real(model.at(fed, &grid.at, &before.context, sight));
            (overwrite(before.hidden.clone(), at, own.clone()), own)
        }
    }
}

/// THE alignment, for whole rows: at every recycled position `t` the input is the state of `t-1`; elsewhere the token's
/// embedding. All `[B, T, D]`. Positions enter later, in the model: that of `t` in both cases.
fn feed(embeddings: Tensor<3>, before: Tensor<3>, positions: &Positions) -> Tensor<3> {
    let [b, t, d] = embeddings.dims();
    let device = embeddings.device().without_autodiff();
    let nothing = Tensor::zeros([b, 1, d], &device);
    let shifted = Tensor::cat(vec![nothing, before.narrow(1, 0, t - 1)], 1);
    let mask = Tensor::<3, Bool>::from_data(TensorData::new(positions.mask(), [b, t, 1]), &device);
    embeddings.mask_where(mask.expand([b, t, d]), shifted)
}

/// `hidden` `[B, T, D]` with `own` `[N, D]` at the flat indices `at`.
fn overwrite(hidden: Tensor<3>, at: Tensor<1, Int>, own: Tensor<2>) -> Tensor<3> {
    let [b, t, d] = hidden.dims();
    let flat = flatten(hidden);
    let change = own - flat.clone().select(0, at.clone());
    flat.select_assign(0, at, change, IndexingUpdateOp::Add).reshape([b, t, d])
}

/// The same states as constants.
fn detached(states: States) -> States {
    States {
        hidden: states.hidden.inner(),
        context: states.context.into_iter().map(KeysValues::inner).collect(),
    }
}

/// The targets at the recycled positions, `[N]`.
fn at_positions(targets: Tensor<1, Int>, positions: &Positions) -> Tensor<1, Int> {
    let at = indices(positions, &targets.device());
    targets.select(0, at)
}

/// `[B, T, D]` to `[B·T, D]`.
fn flatten(hidden: Tensor<3>) -> Tensor<2> {
    hidden.flatten(0, 1)
}

/// The recycled positions as indices into `[B·T]`.
pub fn indices(positions: &Positions, device: &Device) -> Tensor<1, Int> {
    let flat: Vec<i32> = positions.flat().into_iter().map(|index| index as i32).collect();
    let count = flat.len();
    Tensor::from_data(TensorData::new(flat, [count]), device)
}

/// Collects losses, as surrogates with the same gradient, and takes their gradients once or pass by pass.
struct Backward<'a> {
    model: &'a Transformer,
    open: Option<Tensor<1>>,
    matrix: Option<Tensor<2>>,
    taken: GradientsAccumulator<Transformer>,
}

impl<'a> Backward<'a> {
    fn new(model: &'a Transformer) -> Self {
        Self { model, open: None, matrix: None, taken: GradientsAccumulator::new() }
    }

    /// Scores `hidden` `[N, D]` and opens the loss `scale · mean(nll)`.
    fn score(&mut self, hidden: Tensor<2>, targets: Tensor<1, Int>, scale: f64) -> Said {
        let [n, _] = hidden.dims();
        let weights = Tensor::full([n], scale / n as f64, &self.model.device().without_autodiff());
        let scores = head::score(self.model, hidden.clone(), targets, Some(weights));
        if let Some(surrogate) = scores.surrogate(hidden) {
            self.open = Some(match self.open.take() {
                Some(open) => open + surrogate,
                None => surrogate,
            });
        }
        if let Some(grads) = scores.grads {
            self.matrix = Some(match self.matrix.take() {
                Some(sum) => sum + grads.matrix,
                None => grads.matrix,
            });
        }
        Said { nll: scores.nll, entropy: scores.entropy }
    }

    /// Takes the gradients of what is open, and frees its graph.
    fn take(&mut self) {
        if let Some(open) = self.open.take() {
            let grads = GradientsParams::from_grads(open.backward(), self.model);
            self.taken.accumulate(self.model, grads);
        }
    }

    fn finish(mut self) -> GradientsParams {
        self.take();
        let mut grads = self.taken.grads();
        if let Some(matrix) = self.matrix {
            head::add_matrix_grad(self.model, &mut grads, matrix);
        }
        grads
    }
}

/// What a look at a batch sees: plain and recycled pass at all positions, without gradients.
pub struct Look {
    /// The plain pass, `[B·T]`.
    pub plain: Said,
    /// The last recycled pass, `[B·T]`, and the recycled positions; absent where `place` found none.
    pub recycled: Option<(Said, Positions)>,
}

/// Plain pass and `passes` recycled passes on `model` (without autodiff), scored at all positions that the last one
/// computed. Without `place` the plain pass alone.
pub fn look(
    model: &Transformer,
    tokens: &Tokens,
    reach: Reach,
    passes: usize,
    place: Option<Place<'_>>,
) -> Look {
    let targets = tokens.targets.clone().flatten::<1>(0, 1);
    let said = |hidden: Tensor<3>| {
        let scores = head::score(model, flatten(hidden), targets.clone(), None);
        Said { nll: scores.nll, entropy: scores.entropy }
    };
    let mut states = model.row(model.embed(tokens.inputs.clone()));
    let plain = said(states.hidden.clone());
    let positions = place.map(|place| place(&plain.entropy)).filter(|positions| positions.count() > 0);
    let Some(positions) = positions else {
        return Look { plain, recycled: None };
    };
    for _ in 0..passes {
        states.hidden = recycled(model, tokens, &states, &positions, reach).0;
    }
    Look { recycled: Some((said(states.hidden), positions)), plain }
}
