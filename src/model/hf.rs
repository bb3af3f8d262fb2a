//! Owns: the Hugging Face layout of a checkpoint folder (`config.json`, `model.safetensors` and their companions), both
//! ways. Our own checkpoints use it, so that other programs can open them.
//! Must not know: training.
//! Invariant: saving and loading a model preserves all bits. No memory is asked for that the weights do not fill.

mod companions;
mod config_json;
mod json_keys;
mod matrix;
mod names;
mod rope_json;
mod safetensors_header;
mod weights;

use super::{FeedbackSpec, ModelError, ModelShape, Transformer};
use crate::config;
use burn::store::{ModuleSnapshot, bridge};
use burn::tensor::Device;
pub use companions::{COMPANION_FILES, Companions};
use config_json::read_json;
use matrix::HostMatrix;
use names::{
    HEAD_NAME, TensorLayout, TensorMapping, block_prefix, default_prefix, detect_prefix, embedding_name,
    tensor_mappings,
};
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use weights::{CheckpointTensors, WEIGHTS_FILE, read_matrices};

const CONFIG_FILE: &str = "config.json";
/// File with the feedback weights, which other programs do not know.
const FEEDBACK_FILE: &str = "feedback.safetensors";
/// Prefix of these names in the model.
const FEEDBACK_PREFIX: &str = "feedback.";

/// Name suffixes of block tensors that are not weights and are ignored: masks and rotary frequencies.
const IGNORED_SUFFIXES: [&str; 3] = [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"];

/// Loads the model in `dir`, with the plain feedback. All tensors must be there, of the right shape and finite.
///
/// The config is held against the weights' headers before anything is built.
pub fn load(dir: &Path, device: &Device) -> Result<Transformer, ModelError> {
    let mut shape = ModelShape::from_hf(&dir.join(CONFIG_FILE))?;
    let weights = CheckpointTensors::open(dir)?;
    let prefix = detect_prefix(&shape, |tensor| weights.contains(tensor));
    if shape.tied && has_own_head(&shape, prefix, &weights)? {
        let (file, head) = (dir.join(CONFIG_FILE), HEAD_NAME);
        tracing::warn!(
            "{}: tie_word_embeddings is true, but `{head}` differs from the embeddings: using this head, untied",
            file.display()
        );
        shape.tied = false;
    }
    let entries = check_headers(dir, &shape, prefix, &weights)?;
    let mut model = Transformer::new(shape, 0, 0.0, device);
    let mut tensors = Vec::with_capacity(entries.len());
    for entry in &entries {
        let (matrix, file) = weights.read_tensor(&entry.hf_name)?;
        check_finite(&entry.hf_name, &matrix, &file)?;
        let native = matrix.to_native(entry.layout).ok_or_else(|| ModelError::TensorShape {
            file,
            tensor: entry.hf_name.clone(),
            found: matrix.dims.clone(),
            wanted: entry.hf_dims.clone(),
        })?;
        tensors.push(bridge::from_data(native.into_data(), entry.native_name.clone(), None));
    }
    let fail = |message: String| ModelError::File { file: dir.display().to_string(), message };
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

/// Whether the file has a head of its own that differs from the token embeddings.
fn has_own_head(shape: &ModelShape, prefix: &str, weights: &CheckpointTensors) -> Result<bool, ModelError> {
    let embedding = embedding_name(shape, prefix);
    if !weights.contains(HEAD_NAME) || !weights.contains(&embedding) {
        return Ok(false);
    }
    let (head, embedding) = (weights.read_tensor(HEAD_NAME)?.0, weights.read_tensor(&embedding)?.0);
    Ok(head.dims != embedding.dims || head.values != embedding.values)
}

/// Checks names and shapes in the headers of the weights against `shape`, and returns the mapping of all tensors.
fn check_headers(
    dir: &Path,
    shape: &ModelShape,
    prefix: &str,
    weights: &CheckpointTensors,
) -> Result<Vec<TensorMapping>, ModelError> {
    if shape.layers > weights.count() {
        let message = format!("{} layers, but the weights have only {} tensors", shape.layers, weights.count());
        return Err(ModelError::File { file: dir.join(CONFIG_FILE).display().to_string(), message });
    }
    let entries = tensor_mappings(shape, prefix);
    for entry in &entries {
        let (found, file) = weights.dims(&entry.hf_name)?;
        if found != entry.hf_dims {
            let (tensor, wanted) = (entry.hf_name.clone(), entry.hf_dims.clone());
            return Err(ModelError::TensorShape { file, tensor, found, wanted });
        }
    }
    let ignored = |name: &str| IGNORED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix));
    let expected: BTreeSet<&str> = entries.iter().map(|entry| entry.hf_name.as_str()).collect();
    let layers = block_prefix(shape, prefix);
    match weights.first_unexpected(&layers, |name| ignored(name) || expected.contains(name)) {
        Some((tensor, file)) => {
            let message = format!("unexpected tensor `{tensor}`: the model in {CONFIG_FILE} has no such tensor");
            Err(ModelError::File { file, message })
        }
        None => Ok(entries),
    }
}

/// Fails if a number of a tensor is not finite: such a model computes nothing but NaN.
fn check_finite(tensor: &str, matrix: &HostMatrix, file: &str) -> Result<(), ModelError> {
    let Some(first) = matrix.values.iter().position(|value| !value.is_finite()) else { return Ok(()) };
    let count = matrix.values.iter().filter(|value| !value.is_finite()).count();
    Err(ModelError::NotFinite {
        file: file.to_owned(),
        tensor: tensor.to_owned(),
        count,
        total: matrix.values.len(),
        first,
        value: matrix.values[first],
    })
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

/// Description of the feedback in `config.json`, under `coconut_lab`.
#[derive(Deserialize)]
struct FeedbackNote {
    feedback: config::Feedback,
    state: config::StateTransform,
}

/// Reads the `coconut_lab` entry of the `config.json` in `dir`; null if there is none.
fn read_note(dir: &Path) -> serde_json::Value {
    read_json(&dir.join(CONFIG_FILE)).ok().and_then(|config| config.get("coconut_lab").cloned()).unwrap_or_default()
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
    for (name, matrix) in &present {
        check_finite(name, matrix, &file.display().to_string())?;
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

/// Writes `model` and its companions into the folder `dir`, as `transformers` loads it, with the feedback in a file of its
/// own.
pub fn save(model: &Transformer, companions: &Companions, dir: &Path) -> Result<(), ModelError> {
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
    companions.special_ids().iter().for_each(|(key, value)| config[key] = value.clone());
    // For people and for `load_feedback`: other programs ignore keys that they do not know.
    config["coconut_lab"] = feedback_note(model);
    write(CONFIG_FILE, format!("{config:#}\n").as_bytes())?;
    companions.files().try_for_each(|(name, bytes)| write(name, bytes))?;
    write(WEIGHTS_FILE, &bytes)
}

/// Writes all tensors of a model to `file`, by their own names.
pub fn save_tensors(model: &Transformer, file: &Path) -> Result<(), ModelError> {
    let fail = |message: String| ModelError::File { file: file.display().to_string(), message };
    let mut tensors = BTreeMap::new();
    for tensor in model.collect(None, None, true) {
        let name = tensor.name.clone();
        let data = bridge::into_data(tensor).map_err(|error| fail(error.to_string()))?;
        tensors.insert(name, HostMatrix::from_data(data).map_err(fail)?);
    }
    let bytes = serialize(&tensors).map_err(fail)?;
    std::fs::write(file, bytes).map_err(|cause| ModelError::Write { file: file.display().to_string(), cause })
}

/// Returns `model` with the tensors of a file that [`save_tensors`] wrote.
pub fn load_tensors(file: &Path, mut model: Transformer) -> Result<Transformer, ModelError> {
    let fail = |message: String| ModelError::File { file: file.display().to_string(), message };
    let tensors = read_matrices(file)?.into_iter();
    let tensors = tensors.map(|(name, matrix)| bridge::from_data(matrix.into_data(), name, None)).collect();
    let applied = model.apply(tensors, None, None, true);
    match (applied.errors.first(), applied.missing.first()) {
        (Some(error), _) => Err(fail(error.to_string())),
        (None, Some((name, _))) => Err(fail(format!("the tensor `{name}` is missing"))),
        (None, None) => Ok(model),
    }
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
