//! Owns: what a checkpoint holds of reinforcement learning: an iteration that is not used up, and the reference model.
//! Must not know: when a checkpoint is written, the loss.
//! Invariant: numbers are read as they were written, to the last bit.

use crate::files::foreign::read_text;
use crate::model::{Transformer, hf};
use crate::record::RecordError;
use crate::train::TrainError;
use crate::train::step::rl_iteration::RlIteration;
use std::path::Path;

const ITERATION: &str = "rollouts.json";
const REFERENCE: &str = "reference.safetensors";
/// Bytes of the largest file of rollouts that is read.
const MAX_BYTES: u64 = 4 << 30;

pub(super) fn save_iteration(dir: &Path, iteration: &RlIteration) -> Result<(), TrainError> {
    let file = dir.join(ITERATION);
    let text = serde_json::to_string(iteration).map_err(|error| RecordError::table(&file, &error))?;
    Ok(std::fs::write(&file, text).map_err(RecordError::io("write", &file))?)
}

/// Returns the iteration that a checkpoint in `dir` was written within, if there is one.
pub(super) fn load_iteration(dir: &Path) -> Result<Option<RlIteration>, TrainError> {
    let file = dir.join(ITERATION);
    if !file.is_file() {
        return Ok(None);
    }
    let text = read_text(&file, MAX_BYTES).map_err(|error| RecordError::table(&file, &error.cause))?;
    Ok(Some(serde_json::from_str(&text).map_err(|error| RecordError::table(&file, &error))?))
}

pub(super) fn save_reference(dir: &Path, model: &Transformer) -> Result<(), TrainError> {
    Ok(hf::save_tensors(model, &dir.join(REFERENCE))?)
}

/// Returns the reference model of a checkpoint in `dir`, with the shape of `model`, if there is one.
pub(super) fn load_reference(dir: &Path, model: &Transformer) -> Result<Option<Transformer>, TrainError> {
    use burn::module::Module;
    let file = dir.join(REFERENCE);
    match file.is_file() {
        true => Ok(Some(hf::load_tensors(&file, model.valid())?)),
        false => Ok(None),
    }
}
