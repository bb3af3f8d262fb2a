//! Owns: the comparison of curriculum rows, their losses, latents, gradients and continuations with golden numbers.
//! Must not know: the training loop, terminals.
//! Invariant: every entry of the golden file gets a verdict, and every row of `cases.json` is compared.

use super::{CASES_FILE, attention_gradient, largest_error, read_json, read_values};
use super::{CheckResult, GRADIENT_TOLERANCE, GoldenFile, LOSS_TOLERANCE, VALUE_TOLERANCE, Verdict};
use crate::config::{CurriculumMethod, LatentOrder};
use crate::curriculum::passes::{self, LatentSettings};
use crate::curriculum::rows::{CurriculumRow, EncodedQuestion, MarkerTokens, RowSettings, RowStage};
use crate::model::accumulator::{GradientAccumulator, Timing};
use crate::model::{ModelError, Transformer, hf};
use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const RECORDS_FILE: &str = "records.json";
/// The checkpoints of such a folder.
const MODELS: [&str; 2] = ["gpt2", "llama"];

/// The sum of the nll of a row has the tolerance of a loss for each target, at least this.
const NLL_SUM_TOLERANCE: f64 = 1e-3;

#[derive(Deserialize)]
struct Records {
    special: SpecialTokens,
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct SpecialTokens {
    bot: u32,
    eot: u32,
    latent: u32,
    pause: u32,
    ans: u32,
}

#[derive(Deserialize)]
struct Record {
    question: Vec<u32>,
    steps: Vec<Vec<u32>>,
    answer: Vec<u32>,
    frontier: Vec<Vec<u32>>,
    target: u32,
}

#[derive(Deserialize)]
struct Cases {
    max_stage: usize,
    generate: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    method: CurriculumMethod,
    stage: Option<usize>,
    stages: Option<Vec<usize>>,
    c_thought: usize,
    pad_latent_to_max: bool,
    #[serde(default)]
    remove_per_stage: usize,
    #[serde(default)]
    extra: Vec<usize>,
    #[serde(default)]
    chosen: Vec<u32>,
    rows: Vec<GoldenRow>,
}

#[derive(Deserialize)]
struct GoldenRow {
    ids: Vec<u32>,
    labels: Vec<i64>,
    eval_ids: Vec<u32>,
}

/// Computes the entries of the checkpoints below `dir`, and compares all rows.
pub fn verify_curriculum(dir: &Path, device: &Device) -> Result<Vec<Verdict>, ModelError> {
    let records: Records = read_json(&dir.join(RECORDS_FILE))?;
    let cases: Cases = read_json(&dir.join(CASES_FILE))?;
    let mut verdicts: Vec<Verdict> = cases.cases.iter().map(|case| check_rows(&records, &cases, case)).collect();
    for name in MODELS.into_iter().filter(|name| dir.join(name).is_dir()) {
        let folder = dir.join(name);
        let golden = GoldenFile::load(&folder.join("golden.safetensors"))?;
        let subject = Subject::new(&records, hf::load(&folder, &device.clone().autodiff())?);
        for entry in golden.entries.keys() {
            let (case, what) = split_entry(entry);
            let case = cases.cases.iter().find(|known| known.name == case);
            let result = match case {
                Some(case) => subject.check(&records, &cases, case, what, &golden.entries[entry].1),
                None => CheckResult::NotComputed,
            };
            verdicts.push(Verdict { entry: format!("{name}/{entry}"), result });
        }
    }
    Ok(verdicts)
}

/// Splits `CASE.WHAT`; the name of a case has no dot.
fn split_entry(entry: &str) -> (&str, &str) {
    entry.split_once('.').unwrap_or((entry, ""))
}

fn settings(records: &Records, cases: &Cases, case: &Case) -> RowSettings {
    let SpecialTokens { bot, eot, latent, pause, ans } = records.special;
    RowSettings {
        method: case.method,
        markers: MarkerTokens { begin: bot, end: eot, latent, pause, answer: ans },
        use_markers: case.method != CurriculumMethod::Frontier,
        latents_per_step: case.c_thought,
        max_latent_stage: cases.max_stage,
        pad_latent_to_max: case.pad_latent_to_max,
        remove_per_stage: case.remove_per_stage,
    }
}

impl Record {
    fn encoded(&self) -> EncodedQuestion {
        let Self { question, steps, answer, frontier, target } = self;
        EncodedQuestion {
            question: question.clone(),
            steps: steps.clone(),
            answer: answer.clone(),
            frontier: frontier.clone(),
            target: Some(*target),
        }
    }
}

impl Case {
    fn stage_of(&self, record: usize) -> usize {
        self.stages.as_ref().and_then(|stages| stages.get(record)).copied().or(self.stage).unwrap_or(0)
    }

    fn row_stage(&self, index: usize, record: &Record) -> RowStage {
        let stage = self.stage_of(index);
        let nodes = record.frontier.get(stage.min(record.steps.len())).map_or(&[][..], Vec::as_slice);
        let chosen = self.chosen.get(index);
        let choice = nodes.iter().position(|node| Some(node) == chosen).unwrap_or(0);
        RowStage { stage, extra: self.extra.get(index).copied().unwrap_or(0), choice }
    }

    fn training_rows(&self, records: &Records, cases: &Cases) -> Vec<CurriculumRow> {
        let settings = settings(records, cases, self);
        let rows = records.records.iter().enumerate();
        rows.map(|(index, record)| settings.training_row(&record.encoded(), self.row_stage(index, record))).collect()
    }

    fn inference_rows(&self, records: &Records, cases: &Cases) -> Vec<CurriculumRow> {
        let settings = settings(records, cases, self);
        let rows = records.records.iter().enumerate();
        rows.map(|(index, record)| settings.inference_row(&record.encoded(), self.stage_of(index))).collect()
    }
}

/// Compares the rows of a case. The error is the number of rows that differ.
fn check_rows(records: &Records, cases: &Cases, case: &Case) -> Verdict {
    let (training, inference) = (case.training_rows(records, cases), case.inference_rows(records, cases));
    let is_equal = |index: usize, golden: &GoldenRow| {
        let row = &training[index];
        let labels = (0..row.ids.len()).map(|at| if at < row.given { -100 } else { i64::from(row.ids[at]) });
        row.ids == golden.ids && labels.eq(golden.labels.iter().copied()) && inference[index].ids == golden.eval_ids
    };
    let differing = case.rows.iter().enumerate().filter(|(index, golden)| !is_equal(*index, golden)).count();
    let missing = case.rows.len().abs_diff(training.len());
    let error = (differing + missing) as f64;
    Verdict { entry: format!("{}.rows", case.name), result: CheckResult::Compared { error, tolerance: 0.0 } }
}

struct Subject {
    model: Transformer,
}

impl Subject {
    /// The pause vector has the value of the pause token's embedding.
    fn new(records: &Records, mut model: Transformer) -> Self {
        let row = model.embed.weight.val().inner().narrow(0, records.special.pause as usize, 1).squeeze_dim::<1>(0);
        model.feedback.pause = Param::initialized(model.feedback.pause.id, Tensor::from_inner(row).require_grad());
        Self { model }
    }

    fn check(&self, records: &Records, cases: &Cases, case: &Case, what: &str, golden: &[f64]) -> CheckResult {
        let rows = case.training_rows(records, cases);
        let orders: &[LatentOrder] = match case.method.has_latents() && !what.starts_with("generated") {
            true => &[LatentOrder::Sequential, LatentOrder::Parallel],
            false => &[LatentOrder::Sequential],
        };
        let compared = orders.iter().map(|order| {
            let pause = case.method.feeds_pause();
            let settings = |through| LatentSettings { order: *order, passes: 0, through, pause, noise: None };
            Some(match what {
                "labels" => (rows.iter().map(|row| (row.ids.len() - row.given) as f64).collect(), 0.0),
                "loss" => (vec![self.losses(&rows, &settings(true)).0], LOSS_TOLERANCE),
                "nll_sum" => (self.losses(&rows, &settings(true)).1, NLL_SUM_TOLERANCE),
                "latents" => (self.latents(&rows, &settings(true)), VALUE_TOLERANCE),
                "generated" => (self.continuations(records, cases, case, &settings(true)), 0.0),
                _ => {
                    let (flow, param) = what.strip_prefix("grad.")?.split_once('.')?;
                    let found = self.gradient(&rows, &settings(flow == "through"), param)?;
                    let largest = golden.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
                    (found.into_iter().map(|value| value / largest).collect(), GRADIENT_TOLERANCE)
                }
            })
        });
        let compared: Option<Vec<(Vec<f64>, f64)>> = compared.collect();
        let Some(compared) = compared else { return CheckResult::NotComputed };
        let scale = match what.starts_with("grad.") {
            true => golden.iter().fold(0.0_f64, |largest, value| largest.max(value.abs())),
            false => 1.0,
        };
        let golden: Vec<f64> = golden.iter().map(|value| value / scale).collect();
        let tolerance = compared[0].1;
        let errors = compared.iter().map(|(found, _)| largest_error(found, &golden));
        // A NaN stays: `f64::max` would drop it.
        let error = errors.fold(0.0, |largest: f64, error| if error.is_nan() { error } else { largest.max(error) });
        CheckResult::Compared { error, tolerance }
    }

    /// Returns the mean nll of all targets, and the sum of each row.
    fn losses(&self, rows: &[CurriculumRow], settings: &LatentSettings) -> (f64, Vec<f64>) {
        let (nll, _) = self.forward_backward(rows, settings);
        let mean = nll.iter().sum::<f64>() / nll.len() as f64;
        let mut nll = nll.into_iter();
        let sums = rows.iter().map(|row| nll.by_ref().take(row.ids.len() - row.given).sum()).collect();
        (mean, sums)
    }

    fn forward_backward(&self, rows: &[CurriculumRow], settings: &LatentSettings) -> (Vec<f64>, GradientsParams) {
        let mut accumulator = GradientAccumulator::new(&self.model, 1.0, Timing::Off);
        let output = passes::add_rows(&mut accumulator, rows, settings, 1.0);
        (read_values(output.nll), accumulator.finish().0)
    }

    /// Returns the fed states `[B, K, D]`, with zeros where a row has fewer latents.
    fn latents(&self, rows: &[CurriculumRow], settings: &LatentSettings) -> Vec<f64> {
        let states = passes::run_rows(&self.model.valid(), rows, settings);
        let most = rows.iter().map(|row| row.latents.len()).max().unwrap_or(0);
        let width = self.model.shape().width;
        let of_row = |(index, row): (usize, &CurriculumRow)| {
            let fed: Vec<(usize, usize)> = row.latents.iter().map(|at| (index, at - 1)).collect();
            let mut values = if fed.is_empty() { Vec::new() } else { read_values(states.states_at(&fed)) };
            values.resize(most * width, 0.0);
            values
        };
        rows.iter().enumerate().flat_map(of_row).collect()
    }

    fn gradient(&self, rows: &[CurriculumRow], settings: &LatentSettings, param: &str) -> Option<Vec<f64>> {
        let (_, grads) = self.forward_backward(rows, settings);
        match param {
            "embed" => grads.get::<2>(self.model.embed.weight.id).map(read_values),
            "norm" => grads.get::<1>(self.model.norm.weight.id).map(read_values),
            "pause" => grads.get::<1>(self.model.feedback.pause.id).map(read_values),
            "attn" => attention_gradient(&self.model, &grads),
            _ => None,
        }
    }

    /// Continues every prompt greedily, `[B, N]`.
    fn continuations(&self, records: &Records, cases: &Cases, case: &Case, settings: &LatentSettings) -> Vec<f64> {
        let model = self.model.valid();
        let mut rows = case.inference_rows(records, cases);
        let mut found: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
        for _ in 0..cases.generate {
            // The last token is no input of a row; its state is that of the token before it.
            rows.iter_mut().for_each(|row| row.ids.push(0));
            let last: Vec<(usize, usize)> = rows.iter().enumerate().map(|(row, at)| (row, at.ids.len() - 2)).collect();
            let logits = model.logits(passes::run_rows(&model, &rows, settings).states_at(&last).unsqueeze_dim(0));
            let chosen = read_values(logits.squeeze_dim::<2>(0).argmax(1).float());
            for (index, (row, id)) in rows.iter_mut().zip(chosen).enumerate() {
                if let Some(last) = row.ids.last_mut() {
                    *last = id as u32;
                }
                found.entry(index).or_default().push(id);
            }
        }
        found.into_values().flatten().collect()
    }
}
