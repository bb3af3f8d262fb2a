//! Holds what is loaded to what was written, by us and by others.

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
    let form = |feedback, state| Form { feedback, state, add_scale: 0.25 };
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
        let mut other = load().with_feedback(Form { state, ..form }, 6);
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
