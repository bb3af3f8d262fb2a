//! Owns: writing a checkpoint folder: weights and config in the Hugging Face layout, the tokenizer, where it stands.
//! Must not know: when one is due.
//! Invariant: a folder named `step-…` is complete.

use super::TrainError;
use crate::data::{Codec, Position};
use crate::model::{Transformer, hf};
use crate::record::RecordError;
use crate::record::folder::{RunFolder, whole_folder};
use serde_json::json;
use std::path::PathBuf;

/// Writes the checkpoint of `step`; `next` is where the loader's next batch begins. Replaces none: where the folder
/// is there already, it is of the same step of the same run.
pub(super) fn write(
    folder: &RunFolder,
    model: &Transformer,
    codec: Option<&Codec>,
    step: u64,
    tokens: u64,
    next: &Position,
) -> Result<PathBuf, TrainError> {
    let path = folder.checkpoint(step);
    if path.is_dir() {
        return Ok(path);
    }
    whole_folder(&path, TrainError::Record, |dir| {
        hf::save(model, codec.and_then(Codec::eos_id), dir)?;
        if let Some(codec) = codec {
            codec.save(&dir.join("tokenizer.json"))?;
        }
        let state = json!({
            "run": folder.id(), "step": step, "tokens": tokens, "loader": next,
            "written": chrono::Local::now().to_rfc3339(), "program": env!("CARGO_PKG_VERSION"),
        });
        let file = dir.join("state.json");
        std::fs::write(&file, format!("{state:#}\n")).map_err(RecordError::io("write", &file))?;
        Ok(())
    })?;
    Ok(path)
}
