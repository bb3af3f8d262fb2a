//! Owns: the comparison of the model and the passes with a folder of golden numbers.
//! Must not know: the training loop, terminals.
//! Invariant: every entry of the golden file gets a verdict, if only that it is not computed here.

mod curriculum;
mod grpo;
mod statistics;

pub use curriculum::verify_curriculum;
pub use grpo::{ROLLOUTS_FILE, verify_grpo};
pub use statistics::{STATISTICS_FILE, verify_statistics};

use crate::config::{Arch, Control, Dtype, GradientFlow, LossPositions, PassScope, PositionBudget, Run};
use crate::model::accumulator::{GradientAccumulator, Timing};
use crate::model::{Execution, HiddenStates, MatmulPrecision, ModelError, ModelShape, TokenBatch, Transformer, hf};
use crate::recycle::passes::{self, RecyclePlan, RecycledPass};
use crate::recycle::placement::{self, PlacementRows, RecycledPositions};
use crate::rng::RngKey;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::store::{ModuleStore, SafetensorsStore, bridge};
use burn::tensor::{Device, Tensor};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

/// Largest allowed absolute error of logits and per-token values, which are of order 1 to 10.
const VALUE_TOLERANCE: f64 = 1e-3;
/// Largest allowed absolute error of losses, in nats.
const LOSS_TOLERANCE: f64 = 1e-4;
/// Largest allowed error of a gradient, relative to its own largest entry.
const GRADIENT_TOLERANCE: f64 = 1e-3;

/// Largest allowed error with bf16 products, relative to the largest value. It grows over blocks and passes
/// of an untrained model: to 0.11 for logits after three passes, to 0.21 for gradients of queries.
const BF16_TOLERANCE: f64 = 0.3;
/// The same for losses. They are means, so it is smaller.
const BF16_LOSS_TOLERANCE: f64 = 0.02;

/// The file whose presence makes a folder one of cases: of a curriculum, or of rollouts.
pub const CASES_FILE: &str = "cases.json";

/// The verdict on one golden entry.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Verdict {
    /// Name of the entry in `golden.safetensors`.
    pub entry: String,
    pub result: CheckResult,
}

#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// The entry was computed here and compared.
    Compared {
        /// Largest absolute error. For gradients, and for bf16, it is relative to the largest golden value.
        error: f64,
        /// Largest error that passes.
        tolerance: f64,
    },
    /// The entry is an input that the others are computed from.
    Input,
    /// The entry is not computed here, or not with these options.
    NotComputed,
}

impl Verdict {
    /// Whether the error is above the tolerance, or NaN.
    pub fn failed(&self) -> bool {
        match self.result {
            CheckResult::Compared { error, tolerance: allowed } => error.is_nan() || error > allowed,
            CheckResult::Input | CheckResult::NotComputed => false,
        }
    }
}

/// Computes the entries of `golden.safetensors` with the checkpoint in `dir`, in their order.
pub fn verify(
    dir: &Path,
    device: &Device,
    dtype: Dtype,
    activation_checkpointing: bool,
) -> Result<Vec<Verdict>, ModelError> {
    let execution = Execution::from_config(&Run { dtype, activation_checkpointing, ..Default::default() });
    let golden = GoldenFile::load(&dir.join("golden.safetensors"))?;
    let model = hf::load(dir, &device.clone().autodiff())?;
    let subject = ModelUnderTest::new(&golden, model.with_execution(execution))?;
    golden
        .entries
        .keys()
        .map(|entry| Ok(Verdict { entry: entry.clone(), result: subject.check(&golden, entry)? }))
        .collect()
}

fn read_json<T: DeserializeOwned>(file: &Path) -> Result<T, ModelError> {
    let fail = |message: String| ModelError::File { file: file.display().to_string(), message };
    let text = crate::files::foreign::read_text(file, 1 << 30).map_err(|error| fail(error.cause.to_string()))?;
    serde_json::from_str(&text).map_err(|error| fail(error.to_string()))
}

struct GoldenFile {
    file: String,
    /// Shape and row-major values of each entry, by name.
    entries: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl GoldenFile {
    fn load(file: &Path) -> Result<Self, ModelError> {
        let name = file.display().to_string();
        let fail = |message: String| ModelError::File { file: name.clone(), message };
        if !file.is_file() {
            return Err(fail("file not found".into()));
        }
        let mut store = SafetensorsStore::from_file(file);
        let mut entries = BTreeMap::new();
        for (entry, tensor) in store.get_all_tensors().map_err(|error| fail(error.to_string()))? {
            let data = bridge::to_data(tensor).map_err(|error| fail(error.to_string()))?;
            let shape = data.shape().to_vec();
            let values = data.convert::<f64>().try_to_vec().map_err(|error| fail(format!("{error:?}")))?;
            entries.insert(entry.clone(), (shape, values));
        }
        Ok(Self { file: name, entries })
    }

    fn get(&self, entry: &str) -> Result<&(Vec<usize>, Vec<f64>), ModelError> {
        self.entries.get(entry).ok_or_else(|| ModelError::Missing { file: self.file.clone(), tensor: entry.to_owned() })
    }
}

/// The model under test, and the golden batch on its device.
struct ModelUnderTest {
    model: Transformer,
    tokens: TokenBatch,
    positions: RecycledPositions,
    /// Whether a document begins at each position, `[B·T]`.
    doc_start: Vec<bool>,
}

/// The inputs of the golden file, validated.
struct GoldenBatch {
    rows: usize,
    seq_len: usize,
    /// Token ids `[B, T+1]`, row-major.
    ids: Vec<i32>,
    /// Recycled positions of each row, ascending.
    positions: Vec<Vec<usize>>,
}

impl GoldenBatch {
    fn from_golden(golden: &GoldenFile, shape: &ModelShape) -> Result<Self, ModelError> {
        let fail = |message: String| ModelError::File { file: golden.file.clone(), message };
        let ((token_dims, tokens), (position_dims, recycled)) = (golden.get("tokens")?, golden.get("recycled")?);
        let (&[rows, with_target], &[position_rows, count]) = (&token_dims[..], &position_dims[..]) else {
            return Err(fail(format!(
                "`tokens` and `recycled` must be matrices, found {token_dims:?} and {position_dims:?}"
            )));
        };
        if rows != position_rows || count == 0 {
            return Err(fail(format!(
                "`recycled` {position_dims:?} must have the {rows} rows of `tokens` and at least one column"
            )));
        }
        if !(3..=shape.max_len + 1).contains(&with_target) {
            return Err(fail(format!(
                "`tokens` has rows of {with_target} ids; the model takes 2 to {} positions",
                shape.max_len
            )));
        }
        let seq_len = with_target - 1;
        if let Some(id) = tokens.iter().find(|id| !(0.0..shape.vocab_size as f64).contains(*id)) {
            return Err(fail(format!("`tokens` holds {id}; allowed: 0 to {}", shape.vocab_size - 1)));
        }
        if let Some(t) = recycled.iter().find(|t| !(1.0..seq_len as f64).contains(*t)) {
            return Err(fail(format!("`recycled` holds {t}; allowed: 1 to {}", seq_len - 1)));
        }
        if recycled.chunks(count).any(|row| row.windows(2).any(|pair| pair[0] >= pair[1])) {
            return Err(fail("the positions of a row of `recycled` must ascend".into()));
        }
        Ok(Self {
            rows,
            seq_len,
            ids: tokens.iter().map(|id| *id as i32).collect(),
            positions: recycled.chunks(count).map(|row| row.iter().map(|t| *t as usize).collect()).collect(),
        })
    }
}

impl ModelUnderTest {
    fn new(golden: &GoldenFile, model: Transformer) -> Result<Self, ModelError> {
        let GoldenBatch { rows, seq_len, ids, positions } = GoldenBatch::from_golden(golden, model.shape())?;
        Ok(Self {
            tokens: TokenBatch::upload(&ids, rows, seq_len, &model.device().without_autodiff()),
            positions: RecycledPositions { seq_len, rows: positions },
            doc_start: (0..rows * seq_len).map(|index| index % seq_len == 0).collect(),
            model,
        })
    }

    /// Computes one entry and compares it with the golden values.
    fn check(&self, golden: &GoldenFile, entry: &str) -> Result<CheckResult, ModelError> {
        let (_, expected) = golden.get(entry)?;
        let allowed = match entry.split('.').next() {
            Some("tokens" | "recycled") => return Ok(CheckResult::Input),
            // With bf16, rounding may swap the order of two nearly equal entropies.
            Some("place") if self.is_bf16() => f64::INFINITY,
            Some("place") => 0.0,
            Some("loss") if self.is_bf16() => BF16_LOSS_TOLERANCE,
            _ if self.is_bf16() => BF16_TOLERANCE,
            Some("loss") => LOSS_TOLERANCE,
            Some("grad") => GRADIENT_TOLERANCE,
            _ => VALUE_TOLERANCE,
        };
        let Some(found) = self.compute(entry) else {
            return Ok(CheckResult::NotComputed);
        };
        let scale = match entry.starts_with("grad.") || self.is_bf16() {
            true => expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs())),
            false => 1.0,
        };
        Ok(CheckResult::Compared { error: largest_error(&found, expected) / scale, tolerance: allowed })
    }

    /// Whether products are bf16. Their errors are then relative to the largest value, as those of gradients
    /// always are, because bf16 has 8 bits of precision at any magnitude.
    fn is_bf16(&self) -> bool {
        self.model.execution().matmul_precision == MatmulPrecision::Bf16
    }

    /// Returns the values of an entry, row-major; `None` if it is not computed here.
    fn compute(&self, entry: &str) -> Option<Vec<f64>> {
        let recycled_passes = self.positions.rows.first().map_or(0, Vec::len);
        Some(match entry {
            "plain.hidden" => read_values(self.hidden_after(0)),
            "plain.logits" => read_values(self.model.logits(self.hidden_after(0))),
            "plain.nll" => read_values(self.forward_backward(None).plain.nll),
            "plain.entropy" => read_values(self.forward_backward(None).plain.entropy),
            "place.at" => self.placed_positions(placement::entropy_at, recycled_passes),
            "place.next" => self.placed_positions(placement::entropy_next, recycled_passes),
            "dense.logits" => read_values(self.model.logits(self.hidden_after(1))),
            "dense3.logits" => read_values(self.model.logits(self.hidden_after(2))),
            "isolated.logits" => self.sparse_logits(PassScope::Isolated),
            "joint.logits" => self.sparse_logits(PassScope::Joint),
            "sequential.logits" => read_values(self.model.logits(self.hidden_after(recycled_passes))),
            "loss.plain" => vec![mean(read_values(self.forward_backward(None).plain.nll))],
            "loss.dense" => vec![self.recycled_loss(PassScope::Dense, LossPositions::Recycled)?],
            "loss.dense_all" => vec![self.recycled_loss(PassScope::Dense, LossPositions::All)?],
            "loss.isolated" => vec![self.recycled_loss(PassScope::Isolated, LossPositions::Recycled)?],
            "loss.joint" => vec![self.recycled_loss(PassScope::Joint, LossPositions::Recycled)?],
            _ => return self.gradient(entry),
        })
    }

    /// Returns the hidden states `[B, T, D]` after `passes` dense recycled passes, without autodiff.
    fn hidden_after(&self, passes: usize) -> Tensor<3> {
        let model = self.model.valid();
        let mut states = self.plain_states(&model);
        for _ in 0..passes {
            states = passes::recycled_pass(
                &model,
                &self.tokens,
                states,
                &self.positions,
                &unmodified_pass(PassScope::Dense),
            )
            .0;
        }
        states.hidden
    }

    fn plain_states(&self, model: &Transformer) -> HiddenStates {
        model.forward(model.embed(self.tokens.inputs.clone()))
    }

    /// Returns the logits of one sparse recycled pass at the recycled positions.
    fn sparse_logits(&self, reach: PassScope) -> Vec<f64> {
        let model = self.model.valid();
        let states = self.plain_states(&model);
        let (_, hidden) = passes::recycled_pass(&model, &self.tokens, states, &self.positions, &unmodified_pass(reach));
        read_values(model.logits(hidden.unsqueeze()))
    }

    /// Runs the passes of a training step; without a `plan`, the plain pass only.
    fn forward_backward(&self, plan: Option<RecyclePlan>) -> passes::BatchOutcome {
        let mut place = |_: &Tensor<1>| self.positions.clone();
        let place = plan.is_some().then_some::<passes::PlacementFn>(&mut place);
        let idle = single_pass_plan(PassScope::Dense, GradientFlow::Detached, LossPositions::All);
        passes::forward_backward(
            GradientAccumulator::new(&self.model, 1.0, Timing::Off),
            &self.tokens,
            &plan.unwrap_or(idle),
            place,
        )
    }

    /// Returns the positions that a placement by entropy chooses, `count` in each row.
    fn placed_positions(
        &self,
        place: impl Fn(PlacementRows<'_>, PositionBudget, &[f32]) -> RecycledPositions,
        count: usize,
    ) -> Vec<f64> {
        let entropy: Vec<f32> =
            read_values(self.forward_backward(None).plain.entropy).into_iter().map(|value| value as f32).collect();
        let (seq_len, rng_key) = (self.positions.seq_len, RngKey::default());
        let rows = PlacementRows { seq_len, doc_start: &self.doc_start, max_prefix_fraction: 0.0, rng_key };
        let placed = place(rows, PositionBudget::Count(count), &entropy);
        placed.rows.iter().flatten().map(|t| *t as f64).collect()
    }

    fn recycled_loss(&self, reach: PassScope, loss_on: LossPositions) -> Option<f64> {
        let plan = single_pass_plan(reach, GradientFlow::Detached, loss_on);
        self.forward_backward(Some(plan)).recycled.map(|(output, _)| mean(read_values(output.nll)))
    }

    fn gradient(&self, entry: &str) -> Option<Vec<f64>> {
        let [_, reach, flow, param] = entry.split('.').collect::<Vec<_>>()[..] else {
            return None;
        };
        let reach = match reach {
            "dense" => PassScope::Dense,
            "isolated" => PassScope::Isolated,
            "joint" => PassScope::Joint,
            _ => return None,
        };
        let flow = match flow {
            "detached" => GradientFlow::Detached,
            "through" => GradientFlow::Through,
            _ => return None,
        };
        if self.model.execution().checkpointing && flow == GradientFlow::Through && reach != PassScope::Dense {
            // The config rejects this combination: checkpointed keys and values get no gradient.
            return None;
        }
        let grads = self.forward_backward(Some(single_pass_plan(reach, flow, LossPositions::Recycled))).grads;
        match param {
            "embed" => grads.get::<2>(self.model.embed.weight.id).map(read_values),
            "norm" => grads.get::<1>(self.model.norm.weight.id).map(read_values),
            "attn" => attention_gradient(&self.model, &grads),
            _ => None,
        }
    }
}

/// Returns the gradient of the first block's query (llama) or fused (gpt2) weights, as a checkpoint has it.
fn attention_gradient(model: &Transformer, grads: &GradientsParams) -> Option<Vec<f64>> {
    let attention = &model.blocks.first()?.attention;
    let grad = |id| grads.get::<2>(id);
    match model.shape().arch {
        Arch::Llama => grad(attention.q.weight.id).map(|q| read_values(q.transpose())),
        Arch::Gpt2 => {
            let parts = [&attention.q, &attention.k, &attention.v];
            let parts: Option<Vec<_>> = parts.iter().map(|linear| grad(linear.weight.id)).collect();
            parts.map(|parts| read_values(Tensor::cat(parts, 1)))
        }
    }
}

fn single_pass_plan(reach: PassScope, flow: GradientFlow, loss_on: LossPositions) -> RecyclePlan {
    RecyclePlan { pass: unmodified_pass(reach), loss_weights: vec![1.0], flow, cut: 0, loss_on }
}

/// A recycled pass without control, scaling or jitter.
fn unmodified_pass(reach: PassScope) -> RecycledPass {
    RecycledPass { reach, control: Control::None, scale: 1.0, jitter: 0.0, rng_key: RngKey::default() }
}

/// Reads a tensor's values, row-major. A failed read gives NaN, so that the verdict is a failure.
fn read_values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.try_into_vec_as::<f64>().unwrap_or_else(|_| vec![f64::NAN])
}

fn mean(values: Vec<f64>) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Returns the largest absolute difference; NaN if the lengths differ or any value is NaN.
fn largest_error(found: &[f64], wanted: &[f64]) -> f64 {
    if found.len() != wanted.len() {
        return f64::NAN;
    }
    found
        .iter()
        .zip(wanted)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |largest: f64, error| if largest.is_nan() || error.is_nan() { f64::NAN } else { largest.max(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_at_any_index_fails_the_entry() {
        for at in 0..3 {
            let mut found = [1.0, 2.0, 3.0];
            found[at] = f64::NAN;
            let error = largest_error(&found, &[1.0, 2.0, 3.0]);
            let verdict = Verdict { entry: "x".into(), result: CheckResult::Compared { error, tolerance: 1.0 } };
            assert!(verdict.failed(), "{at}");
        }
        assert!(largest_error(&[1.0], &[1.0, 2.0]).is_nan());
        assert_eq!(largest_error(&[1.0, 2.5], &[1.0, 2.0]), 0.5);
    }

    #[test]
    fn an_invalid_golden_batch_is_refused_with_the_reason() {
        let shape = crate::model::ModelShape::from_config(&Default::default(), 10, 8);
        let golden = |tokens: (Vec<usize>, Vec<f64>), recycled: (Vec<usize>, Vec<f64>)| GoldenFile {
            file: "golden".into(),
            entries: BTreeMap::from([("tokens".into(), tokens), ("recycled".into(), recycled)]),
        };
        let tokens = (vec![1, 5], vec![0.0, 1.0, 2.0, 3.0, 4.0]);
        let batch = |tokens, recycled| GoldenBatch::from_golden(&golden(tokens, recycled), &shape).map(|_| ());
        assert!(batch(tokens.clone(), (vec![1, 2], vec![1.0, 3.0])).is_ok());
        for (tokens, recycled, wanted) in [
            (tokens.clone(), (vec![1, 2], vec![0.0, 3.0]), "`recycled` holds 0"),
            (tokens.clone(), (vec![1, 2], vec![1.0, 4.0]), "`recycled` holds 4"),
            (tokens.clone(), (vec![1, 2], vec![3.0, 1.0]), "must ascend"),
            (tokens.clone(), (vec![1, 0], vec![]), "at least one"),
            (tokens.clone(), (vec![2, 1], vec![1.0, 1.0]), "rows"),
            ((vec![1, 2], vec![0.0, 1.0]), (vec![1, 1], vec![1.0]), "positions"),
            ((vec![1, 5], vec![0.0, 1.0, 2.0, 3.0, 10.0]), (vec![1, 1], vec![1.0]), "`tokens` holds 10"),
            ((vec![1, 11], vec![0.0; 11]), (vec![1, 1], vec![1.0]), "positions"),
        ] {
            let found = batch(tokens, recycled).unwrap_err().to_string();
            assert!(found.contains(wanted), "{found:?} should contain {wanted:?}");
        }
    }
}
