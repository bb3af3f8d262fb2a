//! Owns: the Hugging Face layout of a checkpoint folder (`config.json`, `model.safetensors`), both ways. Our
//! own checkpoints use it, so that other programs can open them.
//! Must not know: training.
//! Invariant: saving and loading a model preserves all bits.

mod matrix;
mod names;
mod weights;

use super::{FeedbackSpec, ModelError, ModelShape, Transformer};
use crate::config;
use burn::store::{ModuleSnapshot, bridge};
use burn::tensor::Device;
use matrix::HostMatrix;
use names::{TensorLayout, block_prefix, default_prefix, detect_prefix, hf_dims, tensor_mappings};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use weights::{CheckpointTensors, WEIGHTS_FILE, read_matrices};

const CONFIG_FILE: &str = "config.json";
/// File with the feedback weights, which other programs do not know.
const FEEDBACK_FILE: &str = "feedback.safetensors";
/// Prefix of these names in the model.
const FEEDBACK_PREFIX: &str = "feedback.";

/// Name suffixes of block tensors that are not weights and are ignored: masks and rotary frequencies.
const IGNORED_SUFFIXES: [&str; 3] = [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"];

/// Loads the model in `dir`, with the plain feedback. All tensors must be there and of the right shape.
pub fn load(dir: &Path, device: &Device) -> Result<Transformer, ModelError> {
    let shape = ModelShape::from_hf(&dir.join(CONFIG_FILE))?;
    let weights = CheckpointTensors::open(dir)?;
    let fail = |message: String| ModelError::File { file: dir.display().to_string(), message };
    let mut model = Transformer::new(shape.clone(), 0, 0.0, device);
    let prefix = detect_prefix(&shape, |tensor| weights.contains(tensor));
    let entries = tensor_mappings(&shape, prefix);
    let mut tensors = Vec::with_capacity(entries.len());
    let expected: BTreeMap<String, Vec<usize>> =
        model.collect(None, None, true).into_iter().map(|t| (t.name.clone(), t.shape.to_vec())).collect();
    for entry in &entries {
        let (matrix, file) = weights.read_tensor(&entry.hf_name)?;
        let native = matrix.to_native(entry.layout);
        let dims = expected.get(&entry.native_name);
        if native.as_ref().map(|native| &native.dims) != dims {
            let wanted = dims.map(|dims| hf_dims(dims, entry.layout)).unwrap_or_default();
            let tensor = entry.hf_name.clone();
            return Err(ModelError::TensorShape { file, tensor, found: matrix.dims, wanted });
        }
        if let Some(native) = native {
            tensors.push(bridge::from_data(native.into_data(), entry.native_name.clone(), None));
        }
    }
    let ignored = |name: &str| IGNORED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    let layers = block_prefix(&shape, prefix);
    if let Some((tensor, file)) =
        weights.first_unexpected(&layers, |name| ignored(name) || entries.iter().any(|entry| entry.hf_name == name))
    {
        let message = format!("unexpected tensor `{tensor}`: the model in {CONFIG_FILE} has no such tensor");
        return Err(ModelError::File { file, message });
    }
    let result = model.apply(tensors, None, None, true);
    let missing = result.missing.iter().find(|(name, _)| !name.starts_with(FEEDBACK_PREFIX));
    match (result.errors.first(), missing) {
        (Some(error), _) => Err(fail(error.to_string())),
        (None, Some(missing)) => {
            Err(fail(format!("no tensor of the checkpoint provides the model's tensor {missing:?}")))
        }
        (None, None) => Ok(model),
    }
}

/// Loads the model in `dir` with its learned feedback, if this program saved one.
pub fn load_with_feedback(dir: &Path, device: &Device) -> Result<Transformer, ModelError> {
    let model = load(dir, device)?;
    let Ok(note) = serde_json::from_value::<FeedbackNote>(read_note(dir)) else { return Ok(model) };
    let spec = FeedbackSpec { mode: note.feedback, state: note.state, add_scale: 0.0 };
    let mut model = model.with_feedback(spec, 0);
    load_feedback(dir, &mut model)?;
    Ok(model)
}

/// Reads the end-of-sequence token id from the `config.json` in `dir`; the first id if there are several.
pub fn eos_token(dir: &Path) -> Option<u32> {
    let config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(dir.join(CONFIG_FILE)).ok()?).ok()?;
    let eos = &config["eos_token_id"];
    eos.as_u64().or_else(|| eos[0].as_u64()).and_then(|id| u32::try_from(id).ok())
}

/// Description of the feedback in `config.json`, under `coconut_lab`.
#[derive(Deserialize)]
struct FeedbackNote {
    feedback: config::Feedback,
    state: config::StateTransform,
}

/// Reads the `coconut_lab` entry of the `config.json` in `dir`; null if there is none.
fn read_note(dir: &Path) -> serde_json::Value {
    let config = std::fs::read_to_string(dir.join(CONFIG_FILE)).unwrap_or_default();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap_or_default();
    config["coconut_lab"].take()
}

/// Loads the feedback weights in `dir` into `model`, which is unchanged if there are none or of another kind.
pub fn load_feedback(dir: &Path, model: &mut Transformer) -> Result<FeedbackLoad, ModelError> {
    let file = dir.join(FEEDBACK_FILE);
    if !file.is_file() {
        return Ok(FeedbackLoad::Absent);
    }
    let fail = |message: String| ModelError::File { file: file.display().to_string(), message };
    let prefixed = |(name, matrix)| (format!("{FEEDBACK_PREFIX}{name}"), matrix);
    let present: BTreeMap<String, HostMatrix> = read_matrices(&file)?.into_iter().map(prefixed).collect();
    let expected = feedback_shapes(model);
    let found: BTreeMap<String, Vec<usize>> =
        present.iter().map(|(name, matrix)| (name.clone(), matrix.dims.clone())).collect();
    // Two kinds of feedback may have the same tensors.
    if found != expected || read_note(dir) != feedback_note(model) {
        return Ok(FeedbackLoad::Mismatch);
    }
    let tensors = present.into_iter().map(|(name, matrix)| bridge::from_data(matrix.into_data(), name, None)).collect();
    match model.apply(tensors, None, None, true).errors.first() {
        Some(error) => Err(fail(error.to_string())),
        None => Ok(FeedbackLoad::Loaded),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedbackLoad {
    /// The checkpoint has no learned feedback.
    Absent,
    /// The checkpoint's feedback is of another kind or width.
    Mismatch,
    /// The checkpoint's feedback fits and was loaded.
    Loaded,
}

/// Describes the feedback of `model` for `config.json`.
fn feedback_note(model: &Transformer) -> serde_json::Value {
    let spec = model.feedback.spec();
    json!({ "feedback": spec.mode, "state": spec.state, "learned": FEEDBACK_FILE })
}

fn feedback_shapes(model: &Transformer) -> BTreeMap<String, Vec<usize>> {
    let tensors = model.collect(None, None, true).into_iter();
    let feedback = tensors.filter(|tensor| tensor.name.starts_with(FEEDBACK_PREFIX));
    feedback.map(|tensor| (tensor.name.clone(), tensor.shape.to_vec())).collect()
}

/// Writes `model` into the folder `dir`, as `transformers` loads it, with the feedback in a file of its own.
pub fn save(model: &Transformer, eos: Option<u32>, dir: &Path) -> Result<(), ModelError> {
    let shape = model.shape();
    let write = |name: &str, bytes: &[u8]| {
        let file = dir.join(name);
        std::fs::write(&file, bytes).map_err(|cause| ModelError::Write { file: file.display().to_string(), cause })
    };
    let fail = |message: String| ModelError::File { file: dir.join(WEIGHTS_FILE).display().to_string(), message };
    let mut native = BTreeMap::new();
    for tensor in model.collect(None, None, true) {
        let name = tensor.name.clone();
        let data = bridge::into_data(tensor).map_err(|error| fail(error.to_string()))?;
        native.insert(name, HostMatrix::from_data(data).map_err(fail)?);
    }
    let mut exported: BTreeMap<String, HostMatrix> = BTreeMap::new();
    for entry in tensor_mappings(shape, default_prefix(shape)) {
        let Some(matrix) = native.remove(&entry.native_name) else {
            return Err(fail(format!("the model's tensor `{}` is missing", entry.native_name)));
        };
        let matrix = if entry.layout == TensorLayout::Transposed { matrix.transposed() } else { matrix };
        match exported.remove(&entry.hf_name) {
            Some(left) => exported.insert(entry.hf_name, left.concat_columns(&matrix)),
            None => exported.insert(entry.hf_name, matrix),
        };
    }
    let bytes = serialize(&exported).map_err(fail)?;
    let feedback = native
        .into_iter()
        .filter_map(|(name, matrix)| name.strip_prefix(FEEDBACK_PREFIX).map(|name| (name.to_owned(), matrix.clone())));
    write(FEEDBACK_FILE, &serialize(&feedback.collect()).map_err(fail)?)?;
    let mut config = shape.to_hf();
    config["eos_token_id"] = eos.into();
    config["bos_token_id"] = eos.into();
    // For people and for `load_feedback`: other programs ignore keys that they do not know.
    config["coconut_lab"] = feedback_note(model);
    write(CONFIG_FILE, format!("{config:#}\n").as_bytes())?;
    write(WEIGHTS_FILE, &bytes)
}

/// Serializes matrices as f32 safetensors.
fn serialize(tensors: &BTreeMap<String, HostMatrix>) -> Result<Vec<u8>, String> {
    let bytes: Vec<Vec<u8>> =
        tensors.values().map(|matrix| matrix.values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, matrix), bytes) in tensors.iter().zip(&bytes) {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, matrix.dims.clone(), bytes);
        views.push((name, view.map_err(|error| error.to_string())?));
    }
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
