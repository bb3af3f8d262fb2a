//! Owns: the Hugging Face layout of a checkpoint folder (`config.json`, `model.safetensors`) and how its tensors
//! map to ours, both ways. Our own checkpoints are written in it, so that others can open them.
//! Must not know: training.
//! Invariant: what is saved and loaded again is the same bits.

use super::{ModelError, Shape, Transformer};
use crate::config::Arch;
use burn::store::{ModuleSnapshot, ModuleStore, SafetensorsStore, bridge};
use burn::tensor::{Device, TensorData};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
/// Beside the checkpoint: what others do not know, under our own names.
const FEEDBACK: &str = "feedback.safetensors";
/// How those names begin in the model.
const FEEDBACK_PREFIX: &str = "feedback.";

/// How our matrix or vector stands in a checkpoint's tensor.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// As it is.
    Same,
    /// A `Linear`'s weight, which others store as `[out, in]`.
    Transposed,
    /// The n-th third of the last axis, of three (GPT-2's fused query, key, value).
    Third(usize),
}

/// One of our tensors and where it stands.
struct Entry {
    ours: String,
    theirs: String,
    layout: Layout,
}

/// Loads the model in `dir` onto `device`, with the plain feedback.
pub fn load(dir: &Path, device: &Device) -> Result<Transformer, ModelError> {
    let shape = Shape::from_hf(&dir.join(CONFIG))?;
    let file = dir.join(WEIGHTS);
    let name = file.display().to_string();
    let fail = |message: String| ModelError::File { file: name.clone(), message };
    if !file.is_file() {
        return Err(fail("not there".into()));
    }
    let mut model = Transformer::new(shape.clone(), 0, 0.0, device);
    let mut store = SafetensorsStore::from_file(&file);
    let present = store.get_all_tensors().map_err(|error| fail(error.to_string()))?;
    let entries = entries(&shape, prefix(&shape, |tensor| present.contains_key(tensor)));
    let mut tensors = Vec::with_capacity(entries.len());
    let wanted: BTreeMap<String, Vec<usize>> =
        model.collect(None, None, true).into_iter().map(|t| (t.name.clone(), t.shape.to_vec())).collect();
    for entry in &entries {
        let theirs = present
            .get(&entry.theirs)
            .ok_or_else(|| ModelError::Missing { file: name.clone(), tensor: entry.theirs.clone() })?;
        let data = bridge::to_data(theirs).map_err(|error| fail(error.to_string()))?;
        let data = Matrix::of(data).map_err(fail)?;
        let own = data.ours(entry.layout);
        if own.as_ref().map(|own| &own.dims) != wanted.get(&entry.ours) {
            return Err(ModelError::TensorShape {
                file: name.clone(),
                tensor: entry.theirs.clone(),
                found: data.dims,
                wanted: wanted
                    .get(&entry.ours)
                    .map(|dims| theirs_dims(dims, entry.layout))
                    .unwrap_or_default(),
            });
        }
        if let Some(own) = own {
            tensors.push(bridge::from_data(own.into_data(), entry.ours.clone(), None));
        }
    }
    let result = model.apply(tensors, None, None, true);
    let missing = result.missing.iter().find(|(name, _)| !name.starts_with(FEEDBACK_PREFIX));
    match (result.errors.first(), missing) {
        (Some(error), _) => Err(fail(error.to_string())),
        (None, Some(missing)) => Err(fail(format!("nothing fills our tensor {missing:?}"))),
        (None, None) => Ok(model),
    }
}

/// Fills the feedback of `model` with what lies beside the checkpoint in `dir`. Where nothing lies there, or that of
/// another form, it stays as it is; the result says what was found.
pub fn load_feedback(dir: &Path, model: &mut Transformer) -> Result<Found, ModelError> {
    let file = dir.join(FEEDBACK);
    if !file.is_file() {
        return Ok(Found::Nothing);
    }
    let fail = |message: String| ModelError::File { file: file.display().to_string(), message };
    let mut store = SafetensorsStore::from_file(&file);
    let mut present = BTreeMap::new();
    for (name, tensor) in store.get_all_tensors().map_err(|error| fail(error.to_string()))? {
        let data = bridge::to_data(tensor).map_err(|error| fail(error.to_string()))?;
        present.insert(format!("{FEEDBACK_PREFIX}{name}"), Matrix::of(data).map_err(fail)?);
    }
    let wanted = feedback_shapes(model);
    let found: BTreeMap<String, Vec<usize>> =
        present.iter().map(|(name, matrix)| (name.clone(), matrix.dims.clone())).collect();
    // Two forms may have the same tensors.
    let config = std::fs::read_to_string(dir.join(CONFIG)).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap_or_default();
    if found != wanted || config["coconut_lab"] != form_note(model) {
        return Ok(Found::Other);
    }
    let tensors =
        present.into_iter().map(|(name, matrix)| bridge::from_data(matrix.into_data(), name, None)).collect();
    match model.apply(tensors, None, None, true).errors.first() {
        Some(error) => Err(fail(error.to_string())),
        None => Ok(Found::Filled),
    }
}

/// What lay beside a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No learned feedback.
    Nothing,
    /// One of another form or width.
    Other,
    /// One that fits, and is loaded.
    Filled,
}

/// What `config.json` says of the feedback.
fn form_note(model: &Transformer) -> serde_json::Value {
    let form = model.feedback.form();
    json!({ "feedback": form.feedback, "state": form.state, "learned": FEEDBACK })
}

fn feedback_shapes(model: &Transformer) -> BTreeMap<String, Vec<usize>> {
    let all = model.collect(None, None, true).into_iter();
    let own = all.filter(|tensor| tensor.name.starts_with(FEEDBACK_PREFIX));
    own.map(|tensor| (tensor.name.clone(), tensor.shape.to_vec())).collect()
}

/// Writes `model` into `dir`, which must exist, in the layout that `transformers` loads, and its feedback beside
/// that. `eos` is the id of the token that ends a document, where there is one.
pub fn save(model: &Transformer, eos: Option<u32>, dir: &Path) -> Result<(), ModelError> {
    let shape = model.shape();
    let write = |name: &str, bytes: &[u8]| {
        let file = dir.join(name);
        std::fs::write(&file, bytes)
            .map_err(|cause| ModelError::Write { file: file.display().to_string(), cause })
    };
    let fail = |message: String| ModelError::File { file: dir.join(WEIGHTS).display().to_string(), message };
    let mut ours = BTreeMap::new();
    for tensor in model.collect(None, None, true) {
        let name = tensor.name.clone();
        let data = bridge::into_data(tensor).map_err(|error| fail(error.to_string()))?;
        ours.insert(name, Matrix::of(data).map_err(fail)?);
    }
    let mut theirs: BTreeMap<String, Matrix> = BTreeMap::new();
    for entry in entries(shape, default_prefix(shape)) {
        let Some(own) = ours.remove(&entry.ours) else {
            return Err(fail(format!("our tensor `{}` is missing", entry.ours)));
        };
        let own = if entry.layout == Layout::Transposed { own.transposed() } else { own };
        match theirs.remove(&entry.theirs) {
            Some(left) => theirs.insert(entry.theirs, left.beside(&own)),
            None => theirs.insert(entry.theirs, own),
        };
    }
    let bytes = serialize(&theirs).map_err(fail)?;
    let feedback = ours.into_iter().filter_map(|(name, matrix)| {
        name.strip_prefix(FEEDBACK_PREFIX).map(|name| (name.to_owned(), matrix.clone()))
    });
    write(FEEDBACK, &serialize(&feedback.collect()).map_err(fail)?)?;
    let mut config = shape.to_hf();
    config["eos_token_id"] = eos.into();
    config["bos_token_id"] = eos.into();
    // For people and for us: other readers pass over keys that they do not know.
    config["coconut_lab"] = form_note(model);
    write(CONFIG, format!("{config:#}\n").as_bytes())?;
    write(WEIGHTS, &bytes)
}

fn serialize(tensors: &BTreeMap<String, Matrix>) -> Result<Vec<u8>, String> {
    let bytes: Vec<Vec<u8>> = tensors
        .values()
        .map(|matrix| matrix.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, matrix), bytes) in tensors.iter().zip(&bytes) {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, matrix.dims.clone(), bytes);
        views.push((name, view.map_err(|error| error.to_string())?));
    }
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

fn default_prefix(shape: &Shape) -> &'static str {
    match shape.arch {
        Arch::Gpt2 => "transformer.",
        Arch::Llama => "model.",
    }
}

/// Checkpoints of a bare base model leave the prefix out.
fn prefix(shape: &Shape, has: impl Fn(&str) -> bool) -> &'static str {
    let first = match shape.arch {
        Arch::Gpt2 => "wte.weight",
        Arch::Llama => "embed_tokens.weight",
    };
    if has(first) { "" } else { default_prefix(shape) }
}

/// The whole mapping, in the order of the model.
fn entries(shape: &Shape, prefix: &str) -> Vec<Entry> {
    use Layout::{Same, Third, Transposed};
    let mut list = Vec::new();
    let mut add = |ours: String, theirs: String, layout| list.push(Entry { ours, theirs, layout });
    match shape.arch {
        Arch::Gpt2 => {
            add("embed.weight".into(), format!("{prefix}wte.weight"), Same);
            add("positions.weight".into(), format!("{prefix}wpe.weight"), Same);
            for layer in 0..shape.layers {
                for part in ["weight", "bias"] {
                    let mut block = |ours: &str, theirs: &str, layout| {
                        add(
                            format!("blocks.{layer}.{ours}.{part}"),
                            format!("{prefix}h.{layer}.{theirs}.{part}"),
                            layout,
                        )
                    };
                    block("norm1", "ln_1", Same);
                    block("attention.q", "attn.c_attn", Third(0));
                    block("attention.k", "attn.c_attn", Third(1));
                    block("attention.v", "attn.c_attn", Third(2));
                    block("attention.out", "attn.c_proj", Same);
                    block("norm2", "ln_2", Same);
                    block("mlp.up", "mlp.c_fc", Same);
                    block("mlp.down", "mlp.c_proj", Same);
                }
            }
            add("norm.weight".into(), format!("{prefix}ln_f.weight"), Same);
            add("norm.bias".into(), format!("{prefix}ln_f.bias"), Same);
        }
        Arch::Llama => {
            add("embed.weight".into(), format!("{prefix}embed_tokens.weight"), Same);
            for layer in 0..shape.layers {
                let mut block = |ours: &str, theirs: &str, layout| {
                    add(
                        format!("blocks.{layer}.{ours}.weight"),
                        format!("{prefix}layers.{layer}.{theirs}.weight"),
                        layout,
                    )
                };
                block("norm1", "input_layernorm", Same);
                block("attention.q", "self_attn.q_proj", Transposed);
                block("attention.k", "self_attn.k_proj", Transposed);
                block("attention.v", "self_attn.v_proj", Transposed);
                block("attention.out", "self_attn.o_proj", Transposed);
                block("norm2", "post_attention_layernorm", Same);
                block("mlp.gate", "mlp.gate_proj", Transposed);
                block("mlp.up", "mlp.up_proj", Transposed);
                block("mlp.down", "mlp.down_proj", Transposed);
            }
            add("norm.weight".into(), format!("{prefix}norm.weight"), Same);
            if !shape.tied {
                add("head.weight".into(), "lm_head.weight".into(), Transposed);
            }
        }
    }
    list
}

fn theirs_dims(ours: &[usize], layout: Layout) -> Vec<usize> {
    let mut dims = ours.to_vec();
    match layout {
        Layout::Same => {}
        Layout::Transposed => dims.reverse(),
        Layout::Third(_) => {
            if let Some(last) = dims.last_mut() {
                *last *= 3;
            }
        }
    }
    dims
}

/// A matrix or vector on the host, row-major.
#[derive(Clone)]
struct Matrix {
    dims: Vec<usize>,
    values: Vec<f32>,
}

impl Matrix {
    fn of(data: TensorData) -> Result<Self, String> {
        let dims = data.shape().to_vec();
        let values = data.convert::<f32>().try_to_vec::<f32>().map_err(|error| format!("{error:?}"))?;
        Ok(Self { dims, values })
    }

    fn into_data(self) -> TensorData {
        TensorData::new(self.values, self.dims)
    }

    /// Rows and columns; a vector is one row.
    fn sides(&self) -> (usize, usize) {
        let columns = self.dims.last().copied().unwrap_or(1);
        (self.values.len() / columns.max(1), columns)
    }

    /// Our tensor, out of theirs.
    fn ours(&self, layout: Layout) -> Option<Self> {
        match layout {
            Layout::Same => Some(self.clone()),
            Layout::Transposed => (self.dims.len() == 2).then(|| self.transposed()),
            Layout::Third(n) => self.third(n),
        }
    }

    fn transposed(&self) -> Self {
        let (rows, columns) = self.sides();
        let values = (0..columns)
            .flat_map(|column| (0..rows).map(move |row| self.values[row * columns + column]))
            .collect();
        Self { dims: vec![columns, rows], values }
    }

    fn third(&self, n: usize) -> Option<Self> {
        let (_, columns) = self.sides();
        if !columns.is_multiple_of(3) || columns == 0 {
            return None;
        }
        let own = columns / 3;
        let values =
            self.values.chunks(columns).flat_map(|row| row[n * own..(n + 1) * own].to_vec()).collect();
        let mut dims = self.dims.clone();
        *dims.last_mut()? = own;
        Some(Self { dims, values })
    }

    /// `self` with `right`'s columns after its own; both have as many rows.
    fn beside(&self, right: &Self) -> Self {
        let ((rows, a), (_, b)) = (self.sides(), right.sides());
        let values = (0..rows)
            .flat_map(|row| {
                [&self.values[row * a..(row + 1) * a], &right.values[row * b..(row + 1) * b]].concat()
            })
            .collect();
        let mut dims = self.dims.clone();
        if let Some(last) = dims.last_mut() {
            *last = a + b;
        }
        Self { dims, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn fixture(kind: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(kind)
    }

    /// Every tensor of a checkpoint, by name.
    fn tensors(dir: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
        tensors_of(&dir.join(WEIGHTS))
    }

    fn tensors_of(file: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
        let bytes = std::fs::read(file).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        file.tensors()
            .into_iter()
            .map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())))
            .collect()
    }

    #[test]
    fn what_is_loaded_and_saved_again_is_the_same_bits() {
        for kind in ["gpt2", "llama"] {
            let out = tempfile::tempdir().unwrap();
            save(&load(&fixture(kind), &Device::flex()).unwrap(), Some(7), out.path()).unwrap();
            let config = std::fs::read_to_string(out.path().join(CONFIG)).unwrap();
            assert!(config.contains("\"eos_token_id\": 7"), "{config}");
            assert_eq!(tensors(&fixture(kind)), tensors(out.path()), "{kind}");
            assert_eq!(
                Shape::from_hf(&fixture(kind).join(CONFIG)).unwrap(),
                Shape::from_hf(&out.path().join(CONFIG)).unwrap()
            );
        }
    }

    #[test]
    fn feedback_is_kept_beside_the_checkpoint_and_taken_where_it_fits() {
        use crate::config::{Feedback, State};
        let out = tempfile::tempdir().unwrap();
        let load = || load(&fixture("llama"), &Device::flex()).unwrap();
        let form = |feedback, state| super::super::Form { feedback, state, add_scale: 0.25 };
        for (feedback, state, tensors_beside) in [
            (Feedback::Gated, State::Rescaled, 3),
            (Feedback::Add, State::Projected, 3),
            (Feedback::Replace, State::Raw, 1),
        ] {
            let form = form(feedback, state);
            let model = load().with_feedback(form, 5);
            save(&model, None, out.path()).unwrap();
            assert_eq!(tensors_of(&out.path().join(FEEDBACK)).len(), tensors_beside);
            // Another seed: what comes out the same was loaded.
            let mut again = load().with_feedback(form, 6);
            assert_eq!(load_feedback(out.path(), &mut again).unwrap(), Found::Filled);
            let pause = |model: &Transformer| model.feedback.pause.val().try_into_vec_as::<f32>().unwrap();
            assert_eq!(pause(&model), pause(&again));
            assert_ne!(pause(&model), pause(&load().with_feedback(form, 6)));
            let state = if state == State::Rescaled { State::Raw } else { State::Rescaled };
            let mut other = load().with_feedback(super::super::Form { state, ..form }, 6);
            assert_eq!(load_feedback(out.path(), &mut other).unwrap(), Found::Other);
        }
        assert_eq!(load_feedback(&fixture("llama"), &mut load()).unwrap(), Found::Nothing);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let config = std::fs::read_to_string(fixture("llama").join(CONFIG)).unwrap();
        std::fs::copy(fixture("llama").join(WEIGHTS), dir.path().join(WEIGHTS)).unwrap();
        for (from, to, wanted) in [
            (
                "\"intermediate_size\": 112",
                "\"intermediate_size\": 96",
                "mlp.gate_proj.weight` has shape [112, 48], but the config asks for [96, 48]",
            ),
            (
                "\"num_hidden_layers\": 2",
                "\"num_hidden_layers\": 3",
                "tensor `model.layers.2.input_layernorm.weight` is missing",
            ),
            (
                "\"num_key_value_heads\": 2",
                "\"num_key_value_heads\": 3",
                "self_attn.k_proj.weight` has shape [16, 48], but the config asks for [24, 48]",
            ),
        ] {
            std::fs::write(dir.path().join(CONFIG), config.replace(from, to)).unwrap();
            let found = load(dir.path(), &Device::flex()).unwrap_err().to_string();
            assert!(found.contains(wanted), "{found:?} should contain {wanted:?}");
        }
        std::fs::write(dir.path().join(CONFIG), config).unwrap();
        std::fs::write(dir.path().join(WEIGHTS), b"no safetensors").unwrap();
        assert!(load(dir.path(), &Device::flex()).unwrap_err().to_string().contains(WEIGHTS));
    }
}
