//! Owns: holding the model and the passes to a folder of golden numbers, as `shared/oracle`'s script writes them.
//! Must not know: the training loop, terminals.
//! Invariant: every entry of the folder gets a verdict; one that nothing here computes is listed as such.

use crate::config::{Arch, Control, Dtype, Flow, LossOn, Reach, Run, Wanted};
use crate::model::ledger::Ledger;
use crate::model::{Execution, ModelError, Products, Shape, States, Tokens, Transformer, hf};
use crate::recycle::passes::{self, Pass, Plan};
use crate::recycle::placement::{self, Positions, Rows};
use crate::rng::Draw;
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::store::{ModuleStore, SafetensorsStore, bridge};
use burn::tensor::{Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// Largest absolute error of logits and per-token values (of order 1 to 10).
const VALUES: f64 = 1e-3;
/// Largest absolute error of losses.
const LOSSES: f64 = 1e-4;
/// Largest error of a gradient, as a share of its own largest entry.
const GRADIENTS: f64 = 1e-3;

/// Largest error with products of bf16, as a share of the entry's largest number. Their rounding is 1/256 a product; blocks
/// and passes of an untrained model make more of it: up to 0.11 of logits, after three passes, and 0.21 of a query's gradient.
const BF16: f64 = 0.3;
/// The same of losses, which are means.
const BF16_LOSSES: f64 = 0.02;

/// What one golden entry came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The entry's name in `golden.safetensors`.
    pub entry: String,
    /// How it went.
    pub result: Held,
}

/// How an entry was held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Held {
    /// Computed here: the largest error and what is allowed.
    Error {
        /// Largest absolute error; for gradients, relative to the largest golden entry.
        error: f64,
        /// The tolerance.
        allowed: f64,
    },
    /// What the entries are computed from.
    Given,
    /// Nothing here computes it, or not in this way.
    NotComputed,
}

impl Verdict {
    /// Whether the entry speaks against the implementation. Not-a-number does.
    pub fn failed(&self) -> bool {
        match self.result {
            Held::Error { error, allowed } => error.is_nan() || error > allowed,
            Held::Given | Held::NotComputed => false,
        }
    }
}

/// Holds the checkpoint in `dir` to its `golden.safetensors`, on `device`, computed in this way. Verdicts are in the entries'
/// order.
pub fn verify(
    dir: &Path,
    device: &Device,
    dtype: Dtype,
    activation_checkpointing: bool,
) -> Result<Vec<Verdict>, ModelError> {
    let execution = Execution::of(&Run { dtype, activation_checkpointing, ..Default::default() });
    let golden = Golden::load(&dir.join("golden.safetensors"))?;
    let model = hf::load(dir, &device.clone().autodiff())?;
    let subject = Subject::new(&golden, model.executed(execution))?;
    golden
        .entries
        .keys()
        .map(|entry| Ok(Verdict { entry: entry.clone(), result: subject.hold(&golden, entry)? }))
        .collect()
}

/// The golden file: name to shape and values.
struct Golden {
    file: String,
    entries: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl Golden {
    fn load(file: &Path) -> Result<Self, ModelError> {
        let name = file.display().to_string();
        let fail = |message: String| ModelError::File { file: name.clone(), message };
        if !file.is_file() {
            return Err(fail("not there".into()));
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
        self.entries
            .get(entry)
            .ok_or_else(|| ModelError::Missing { file: self.file.clone(), tensor: entry.to_owned() })
    }
}

/// The model under test with the golden batch.
struct Subject {
    model: Transformer,
    tokens: Tokens,
    positions: Positions,
    doc_start: Vec<bool>,
}

/// The golden batch, checked.
struct Batch {
    rows: usize,
    seq_len: usize,
    ids: Vec<i32>,
    positions: Vec<Vec<usize>>,
}

impl Batch {
    fn of(golden: &Golden, shape: &Shape) -> Result<Self, ModelError> {
        let fail = |message: String| ModelError::File { file: golden.file.clone(), message };
        let ((token_dims, tokens), (place_dims, recycled)) = (golden.get("tokens")?, golden.get("recycled")?);
        let (&[rows, with_target], &[place_rows, count]) = (&token_dims[..], &place_dims[..]) else {
            return Err(fail(format!(
                "`tokens` and `recycled` must be matrices, found {token_dims:?} and {place_dims:?}"
            )));
        };
        if rows != place_rows || count == 0 {
            return Err(fail(format!(
                "`recycled` {place_dims:?} must have the {rows} rows of `tokens` and at least one column"
            )));
        }
        if !(3..=shape.max_len + 1).contains(&with_target) {
            return Err(fail(format!(
                "rows of {with_target} ids: the model takes 2 to {} positions",
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

impl Subject {
    fn new(golden: &Golden, model: Transformer) -> Result<Self, ModelError> {
        let Batch { rows, seq_len, ids, positions } = Batch::of(golden, model.shape())?;
        Ok(Self {
            tokens: Tokens::upload(&ids, rows, seq_len, &model.device().without_autodiff()),
            positions: Positions { seq_len, rows: positions },
            doc_start: (0..rows * seq_len).map(|index| index % seq_len == 0).collect(),
            model,
        })
    }

    fn hold(&self, golden: &Golden, entry: &str) -> Result<Held, ModelError> {
        let (_, wanted) = golden.get(entry)?;
        let allowed = match entry.split('.').next() {
            Some("tokens" | "recycled") => return Ok(Held::Given),
            // Which of two nearly equal entropies is the larger is beyond their rounding.
            Some("place") if self.rounded() => f64::INFINITY,
            Some("place") => 0.0,
            Some("loss") if self.rounded() => BF16_LOSSES,
            _ if self.rounded() => BF16,
            Some("loss") => LOSSES,
            Some("grad") => GRADIENTS,
            _ => VALUES,
        };
        let Some(found) = self.compute(entry) else {
            return Ok(Held::NotComputed);
        };
        let scale = match entry.starts_with("grad.") || self.rounded() {
            true => wanted.iter().fold(0.0_f64, |largest, value| largest.max(value.abs())),
            false => 1.0,
        };
        Ok(Held::Error { error: largest_error(&found, wanted) / scale, allowed })
    }

    /// Errors of bf16 products are shares of what is computed, as gradients' errors always are: it has 8 bits at any size.
    fn rounded(&self) -> bool {
        self.model.execution().products == Products::Bf16
    }

    /// The entry's values, row-major; `None` where nothing computes it.
    fn compute(&self, entry: &str) -> Option<Vec<f64>> {
        let recycled_passes = self.positions.rows.first().map_or(0, Vec::len);
        Some(match entry {
            "plain.hidden" => values(self.after(0)),
            "plain.logits" => values(self.model.logits(self.after(0))),
            "plain.nll" => values(self.step(None).plain.nll),
            "plain.entropy" => values(self.step(None).plain.entropy),
            "place.at" => self.placed(placement::entropy_at, recycled_passes),
            "place.next" => self.placed(placement::entropy_next, recycled_passes),
            "dense.logits" => values(self.model.logits(self.after(1))),
            "dense3.logits" => values(self.model.logits(self.after(2))),
            "isolated.logits" => self.sparse_logits(Reach::Isolated),
            "joint.logits" => self.sparse_logits(Reach::Joint),
            "sequential.logits" => values(self.model.logits(self.after(recycled_passes))),
            "loss.plain" => vec![mean(values(self.step(None).plain.nll))],
            "loss.dense" => vec![self.recycled_loss(Reach::Dense, LossOn::Recycled)?],
            "loss.dense_all" => vec![self.recycled_loss(Reach::Dense, LossOn::All)?],
            "loss.isolated" => vec![self.recycled_loss(Reach::Isolated, LossOn::Recycled)?],
            "loss.joint" => vec![self.recycled_loss(Reach::Joint, LossOn::Recycled)?],
            _ => return self.gradient(entry),
        })
    }

    /// Hidden states after `passes` recycled dense passes, without autodiff.
    fn after(&self, passes: usize) -> Tensor<3> {
        let model = self.model.valid();
        let mut states = self.plain(&model);
        for _ in 0..passes {
            states =
                passes::recycled(&model, &self.tokens, states, &self.positions, &pass_of(Reach::Dense)).0;
        }
        states.hidden
    }

    fn plain(&self, model: &Transformer) -> States {
        model.row(model.embed(self.tokens.inputs.clone()))
    }

    /// Logits of one sparse recycled pass at the recycled positions.
    fn sparse_logits(&self, reach: Reach) -> Vec<f64> {
        let model = self.model.valid();
        let states = self.plain(&model);
        let (_, own) = passes::recycled(&model, &self.tokens, states, &self.positions, &pass_of(reach));
        values(model.logits(own.unsqueeze()))
    }

    fn step(&self, plan: Option<Plan>) -> passes::Outcome {
        let mut place = |_: &Tensor<1>| self.positions.clone();
        let place = plan.is_some().then_some::<passes::Place>(&mut place);
        let idle = plan_of(Reach::Dense, Flow::Detached, LossOn::All);
        passes::train(Ledger::new(&self.model, 1.0, false), &self.tokens, &plan.unwrap_or(idle), place)
    }

    fn placed(&self, place: impl Fn(Rows<'_>, Wanted, &[f32]) -> Positions, count: usize) -> Vec<f64> {
        let entropy: Vec<f32> =
            values(self.step(None).plain.entropy).into_iter().map(|value| value as f32).collect();
        let (seq_len, draw) = (self.positions.seq_len, Draw::default());
        let rows = Rows { seq_len, doc_start: &self.doc_start, prefix: 0.0, draw };
        let placed = place(rows, Wanted::Count(count), &entropy);
        placed.rows.iter().flatten().map(|t| *t as f64).collect()
    }

    fn recycled_loss(&self, reach: Reach, loss_on: LossOn) -> Option<f64> {
        let plan = plan_of(reach, Flow::Detached, loss_on);
        self.step(Some(plan)).recycled.map(|(said, _)| mean(values(said.nll)))
    }

    fn gradient(&self, entry: &str) -> Option<Vec<f64>> {
        let [_, reach, flow, param] = entry.split('.').collect::<Vec<_>>()[..] else {
            return None;
        };
        let reach = match reach {
            "dense" => Reach::Dense,
            "isolated" => Reach::Isolated,
            "joint" => Reach::Joint,
            _ => return None,
        };
        let flow = match flow {
            "detached" => Flow::Detached,
            "through" => Flow::Through,
            _ => return None,
        };
        if self.model.execution().checkpointing && flow == Flow::Through && reach != Reach::Dense {
            // The config refuses it: keys and values that are not kept learn nothing.
            return None;
        }
        let grads = self.step(Some(plan_of(reach, flow, LossOn::Recycled))).grads;
        match param {
            "embed" => grads.get::<2>(self.model.embed.weight.id).map(values),
            "norm" => grads.get::<1>(self.model.norm.weight.id).map(values),
            "attn" => self.attention_gradient(&grads),
            _ => None,
        }
    }

    /// The first block's query (llama) or fused query, key, value (gpt2), in the checkpoint's layout.
    fn attention_gradient(&self, grads: &GradientsParams) -> Option<Vec<f64>> {
        let attention = &self.model.blocks.first()?.attention;
        let grad = |id| grads.get::<2>(id);
        match self.model.shape().arch {
            Arch::Llama => grad(attention.q.weight.id).map(|q| values(q.transpose())),
            Arch::Gpt2 => {
                let parts = [&attention.q, &attention.k, &attention.v];
                let parts: Option<Vec<_>> = parts.iter().map(|linear| grad(linear.weight.id)).collect();
                parts.map(|parts| values(Tensor::cat(parts, 1)))
            }
        }
    }
}

/// One recycled pass of full weight.
fn plan_of(reach: Reach, flow: Flow, loss_on: LossOn) -> Plan {
    Plan { pass: pass_of(reach), weights: vec![1.0], flow, cut: 0, loss_on }
}

/// The states themselves, as they are.
fn pass_of(reach: Reach) -> Pass {
    Pass { reach, control: Control::None, scale: 1.0, jitter: 0.0, draw: Draw::default() }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    // A reading that fails counts as not-a-number: the verdict is then a failure, not a crash.
    tensor.try_into_vec_as::<f64>().unwrap_or_else(|_| vec![f64::NAN])
}

fn mean(values: Vec<f64>) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The largest absolute difference; not-a-number where the lengths differ or any value is not a number.
fn largest_error(found: &[f64], wanted: &[f64]) -> f64 {
    if found.len() != wanted.len() {
        return f64::NAN;
    }
    found.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, |largest: f64, error| {
        if largest.is_nan() || error.is_nan() { f64::NAN } else { largest.max(error) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_that_is_no_number_fails_the_entry_wherever_it_stands() {
        for at in 0..3 {
            let mut found = [1.0, 2.0, 3.0];
            found[at] = f64::NAN;
            let error = largest_error(&found, &[1.0, 2.0, 3.0]);
            let verdict = Verdict { entry: "x".into(), result: Held::Error { error, allowed: 1.0 } };
            assert!(verdict.failed(), "{at}");
        }
        assert!(largest_error(&[1.0], &[1.0, 2.0]).is_nan());
        assert_eq!(largest_error(&[1.0, 2.5], &[1.0, 2.0]), 0.5);
    }

    #[test]
    fn a_golden_batch_that_is_none_is_refused_with_the_reason() {
        let shape = crate::model::Shape::from_config(&Default::default(), 10, 8);
        let golden = |tokens: (Vec<usize>, Vec<f64>), recycled: (Vec<usize>, Vec<f64>)| Golden {
            file: "golden".into(),
            entries: BTreeMap::from([("tokens".into(), tokens), ("recycled".into(), recycled)]),
        };
        let tokens = (vec![1, 5], vec![0.0, 1.0, 2.0, 3.0, 4.0]);
        let batch = |tokens, recycled| Batch::of(&golden(tokens, recycled), &shape).map(|_| ());
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
