//! Owns: the Hugging Face layout of a checkpoint folder (`config.json`, `model.safetensors`) and how its tensors
//! map to ours, both ways. Our own checkpoints are written in it, so that others can open them.
//! Must not know: training.
//! Invariant: what is saved and loaded again is the same bits.

mod matrix;
mod names;
mod weights;

use super::{Form, ModelError, Shape, Transformer};
use crate::config;
use burn::store::{ModuleSnapshot, bridge};
use burn::tensor::Device;
use matrix::Matrix;
use names::{Layout, default_prefix, entries, layers, prefix, theirs_dims};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use weights::{WEIGHTS, Weights, matrices};

const CONFIG: &str = "config.json";
/// Beside the checkpoint: what others do not know, under our own names.
const FEEDBACK: &str = "feedback.safetensors";
/// How those names begin in the model.
const FEEDBACK_PREFIX: &str = "feedback.";

/// Of a block, what checkpoints hold beside its weights: masks and angles.
const KEPT_BUT_UNUSED: [&str; 3] = [".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"];

/// Loads the model in `dir` onto `device`, with the plain feedback.
pub fn load(dir: &Path, device: &Device) -> Result<Transformer, ModelError> {
    let shape = Shape::from_hf(&dir.join(CONFIG))?;
    let weights = Weights::open(dir)?;
    let fail = |message: String| ModelError::File { file: dir.display().to_string(), message };
    let mut model = Transformer::new(shape.clone(), 0, 0.0, device);
    let prefix = prefix(&shape, |tensor| weights.has(tensor));
    let entries = entries(&shape, prefix);
    let mut tensors = Vec::with_capacity(entries.len());
    let wanted: BTreeMap<String, Vec<usize>> =
        model.collect(None, None, true).into_iter().map(|t| (t.name.clone(), t.shape.to_vec())).collect();
    for entry in &entries {
        let (matrix, file) = weights.take(&entry.theirs)?;
        let own = matrix.ours(entry.layout);
        let fits = wanted.get(&entry.ours);
        if own.as_ref().map(|own| &own.dims) != fits {
            let wanted = fits.map(|dims| theirs_dims(dims, entry.layout)).unwrap_or_default();
            let tensor = entry.theirs.clone();
            return Err(ModelError::TensorShape { file, tensor, found: matrix.dims, wanted });
        }
        if let Some(own) = own {
            tensors.push(bridge::from_data(own.into_data(), entry.ours.clone(), None));
        }
    }
    let known = |name: &str| KEPT_BUT_UNUSED.iter().any(|end| name.ends_with(end));
    let layers = layers(&shape, prefix);
    if let Some((tensor, file)) =
        weights.beyond(&layers, |name| known(name) || entries.iter().any(|entry| entry.theirs == name))
    {
        let message = format!("`{tensor}` is there, but {CONFIG} has no place for it");
        return Err(ModelError::File { file, message });
    }
    let result = model.apply(tensors, None, None, true);
    let missing = result.missing.iter().find(|(name, _)| !name.starts_with(FEEDBACK_PREFIX));
    match (result.errors.first(), missing) {
        (Some(error), _) => Err(fail(error.to_string())),
        (None, Some(missing)) => Err(fail(format!("nothing fills our tensor {missing:?}"))),
        (None, None) => Ok(model),
    }
}

/// The same with the feedback that lies beside it, where one does: that of our own checkpoints.
pub fn load_whole(dir: &Path, device: &Device) -> Result<Transformer, ModelError> {
    let model = load(dir, device)?;
    let Ok(note) = serde_json::from_value::<Note>(note(dir)) else { return Ok(model) };
    let form = Form { feedback: note.feedback, state: note.state, add_scale: 0.0 };
    let mut model = model.with_feedback(form, 0);
    load_feedback(dir, &mut model)?;
    Ok(model)
}

/// The token that ends a text, as the `config.json` of `dir` has it: the first, where there are several.
pub fn end_token(dir: &Path) -> Option<u32> {
    let config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join(CONFIG)).ok()?).ok()?;
    let end = &config["eos_token_id"];
    end.as_u64().or_else(|| end[0].as_u64()).and_then(|id| u32::try_from(id).ok())
}

/// What `config.json` says of the feedback.
#[derive(Deserialize)]
struct Note {
    feedback: config::Feedback,
    state: config::State,
}

/// What stands in the `config.json` of `dir` of us.
fn note(dir: &Path) -> serde_json::Value {
    let config = std::fs::read_to_string(dir.join(CONFIG)).unwrap_or_default();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap_or_default();
    config["coconut_lab"].take()
}

/// Fills the feedback of `model` with what lies beside the checkpoint in `dir`. Where nothing lies there, or that of
/// another form, it stays as it is; the result says what was found.
pub fn load_feedback(dir: &Path, model: &mut Transformer) -> Result<Found, ModelError> {
    let file = dir.join(FEEDBACK);
    if !file.is_file() {
        return Ok(Found::Nothing);
    }
    let fail = |message: String| ModelError::File { file: file.display().to_string(), message };
    let named = |(name, matrix)| (format!("{FEEDBACK_PREFIX}{name}"), matrix);
    let present: BTreeMap<String, Matrix> = matrices(&file)?.into_iter().map(named).collect();
    let wanted = feedback_shapes(model);
    let found: BTreeMap<String, Vec<usize>> =
        present.iter().map(|(name, matrix)| (name.clone(), matrix.dims.clone())).collect();
    // Two forms may have the same tensors.
    if found != wanted || note(dir) != form_note(model) {
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

#[cfg(test)]
mod tests;
