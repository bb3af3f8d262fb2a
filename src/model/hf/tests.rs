//! Compares loaded checkpoints with the written ones, from this program and from Hugging Face.

use super::*;
use std::path::PathBuf;

fn fixture(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(kind)
}

/// Returns every tensor of a checkpoint by name, as shape and bytes.
fn tensors(dir: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    tensors_in_file(&dir.join(WEIGHTS_FILE))
}

fn tensors_in_file(file: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = std::fs::read(file).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensors().into_iter().map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec()))).collect()
}

#[test]
fn loading_and_saving_preserves_all_bits() {
    for kind in ["gpt2", "llama"] {
        let out = tempfile::tempdir().unwrap();
        save(&load(&fixture(kind), &Device::flex()).unwrap(), &Companions::for_end_token(Some(7)), out.path()).unwrap();
        let config = std::fs::read_to_string(out.path().join(CONFIG_FILE)).unwrap();
        assert!(config.contains("\"eos_token_id\": 7"), "{config}");
        assert_eq!(tensors(&fixture(kind)), tensors(out.path()), "{kind}");
        assert_eq!(
            ModelShape::from_hf(&fixture(kind).join(CONFIG_FILE)).unwrap(),
            ModelShape::from_hf(&out.path().join(CONFIG_FILE)).unwrap()
        );
    }
}

#[test]
fn feedback_is_saved_with_the_checkpoint_and_loaded_if_it_matches() {
    use crate::config::{Feedback, StateTransform};
    let out = tempfile::tempdir().unwrap();
    let load = || load(&fixture("llama"), &Device::flex()).unwrap();
    let spec = |feedback, state| FeedbackSpec { mode: feedback, state, add_scale: 0.25 };
    for (feedback, state, feedback_tensors) in [
        (Feedback::Gated, StateTransform::Rescaled, 3),
        (Feedback::Add, StateTransform::Projected, 3),
        (Feedback::Replace, StateTransform::Raw, 1),
    ] {
        let spec = spec(feedback, state);
        let model = load().with_feedback(spec, 5);
        save(&model, &Companions::default(), out.path()).unwrap();
        assert_eq!(tensors_in_file(&out.path().join(FEEDBACK_FILE)).len(), feedback_tensors);
        // Another seed: equal values must have been loaded.
        let mut again = load().with_feedback(spec, 6);
        assert_eq!(load_feedback(out.path(), &mut again).unwrap(), FeedbackLoad::Loaded);
        let pause = |model: &Transformer| model.feedback.pause.val().try_into_vec_as::<f32>().unwrap();
        assert_eq!(pause(&model), pause(&again));
        assert_ne!(pause(&model), pause(&load().with_feedback(spec, 6)));
        let state = if state == StateTransform::Rescaled { StateTransform::Raw } else { StateTransform::Rescaled };
        let mut other = load().with_feedback(FeedbackSpec { state, ..spec }, 6);
        assert_eq!(load_feedback(out.path(), &mut other).unwrap(), FeedbackLoad::Mismatch);
    }
    assert_eq!(load_feedback(&fixture("llama"), &mut load()).unwrap(), FeedbackLoad::Absent);
}

#[test]
fn mismatched_tensors_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let config = std::fs::read_to_string(fixture("llama").join(CONFIG_FILE)).unwrap();
    std::fs::copy(fixture("llama").join(WEIGHTS_FILE), dir.path().join(WEIGHTS_FILE)).unwrap();
    for (from, to, expected) in [
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
        std::fs::write(dir.path().join(CONFIG_FILE), config.replace(from, to)).unwrap();
        let found = load(dir.path(), &Device::flex()).unwrap_err().to_string();
        assert!(found.contains(expected), "{found:?} should contain {expected:?}");
    }
    std::fs::write(dir.path().join(CONFIG_FILE), config).unwrap();
    std::fs::write(dir.path().join(WEIGHTS_FILE), b"no safetensors").unwrap();
    assert!(load(dir.path(), &Device::flex()).unwrap_err().to_string().contains(WEIGHTS_FILE));
}

/// Writes the fixture's weights to two files with an index, converted to `dtype`.
fn sharded(kind: &str, dtype: safetensors::Dtype) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(fixture(kind).join(CONFIG_FILE), dir.path().join(CONFIG_FILE)).unwrap();
    let (mut files, mut map) = ([BTreeMap::new(), BTreeMap::new()], serde_json::Map::new());
    for (at, (name, (shape, bytes))) in tensors(&fixture(kind)).into_iter().enumerate() {
        let values = bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        // The upper half of an f32 is a bf16.
        let bytes: Vec<u8> = match dtype {
            safetensors::Dtype::BF16 => {
                values.flat_map(|value| ((value.to_bits() >> 16) as u16).to_le_bytes()).collect()
            }
            _ => values.flat_map(f32::to_le_bytes).collect(),
        };
        map.insert(name.clone(), format!("part-{}.safetensors", at % 2).into());
        files[at % 2].insert(name, (shape, bytes));
    }
    for (at, file) in files.iter().enumerate() {
        let views = file.iter().map(|(name, (shape, bytes))| {
            (name, safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes).unwrap())
        });
        let bytes = safetensors::serialize(views, None).unwrap();
        std::fs::write(dir.path().join(format!("part-{at}.safetensors")), bytes).unwrap();
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": map });
    std::fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    dir
}

#[test]
fn a_checkpoint_in_several_files_is_the_same_model() {
    for kind in ["gpt2", "llama"] {
        let dir = sharded(kind, safetensors::Dtype::F32);
        let out = tempfile::tempdir().unwrap();
        save(&load(dir.path(), &Device::flex()).unwrap(), &Companions::for_end_token(Some(7)), out.path()).unwrap();
        assert_eq!(tensors(&fixture(kind)), tensors(out.path()), "{kind}");
        let dir = sharded(kind, safetensors::Dtype::BF16);
        save(&load(dir.path(), &Device::flex()).unwrap(), &Companions::default(), out.path()).unwrap();
        for ((name, (_, exact)), (_, rounded)) in
            tensors(&fixture(kind)).into_iter().zip(tensors(out.path()).into_values())
        {
            // Compare the upper half of each number.
            let upper = |bytes: &[u8]| bytes.chunks(4).map(|b| [0, 0, b[2], b[3]]).collect::<Vec<_>>().concat();
            assert_eq!(upper(&exact), rounded, "{kind} {name}");
        }
    }
}

#[test]
fn a_missing_shard_is_reported() {
    let dir = sharded("llama", safetensors::Dtype::F32);
    std::fs::remove_file(dir.path().join("part-1.safetensors")).unwrap();
    let found = load(dir.path(), &Device::flex()).unwrap_err().to_string();
    assert!(
        found.contains("part-1.safetensors: file not found, but model.safetensors.index.json refers to it"),
        "{found}"
    );
    std::fs::copy(dir.path().join("part-0.safetensors"), dir.path().join("part-1.safetensors")).unwrap();
    let found = load(dir.path(), &Device::flex()).unwrap_err().to_string();
    assert!(found.contains("part-1.safetensors: tensor `") && found.contains("is missing"), "{found}");
    std::fs::write(dir.path().join("model.safetensors.index.json"), "{}").unwrap();
    let found = load(dir.path(), &Device::flex()).unwrap_err().to_string();
    assert!(found.contains("index.json: missing field `weight_map`"), "{found}");
}

/// Returns the sum of the squared hidden states of a row of tokens.
fn objective(model: &Transformer) -> burn::tensor::Tensor<1> {
    use burn::tensor::{Int, Tensor, TensorData};
    let ids: Vec<i32> = (0..24).map(|at| at * 7 % 41).collect();
    let device = model.device().without_autodiff();
    let tokens = Tensor::<2, Int>::from_data(TensorData::new(ids, [1, 24]), &device);
    let hidden = model.forward(model.embed(tokens)).hidden;
    let weights = Tensor::<1, Int>::arange(0..hidden.shape().num_elements() as i64, &device).float().sin();
    (hidden.clone() * Tensor::from_inner(weights.reshape(hidden.dims()))).sum()
}

#[test]
fn gradients_of_biases_and_head_norms_are_those_of_finite_differences() {
    use burn::tensor::Tensor;
    for (family, norms) in [("qwen3", true), ("qwen2", false), ("llama3", false)] {
        let dir = fixture("families").join(family);
        let model = load(&dir, &Device::flex().autodiff()).unwrap();
        let grads = objective(&model).backward();
        let param = |model: &Transformer| {
            let attention = &model.blocks[0].attention;
            match norms {
                true => attention.k_norm.as_ref().unwrap().weight.clone(),
                false => attention.q.bias.clone().unwrap(),
            }
        };
        let grad: Vec<f32> = param(&model).val().grad(&grads).unwrap().try_into_vec_as().unwrap();
        let value: Vec<f32> = param(&model).val().inner().try_into_vec_as().unwrap();
        let at = (0..grad.len()).max_by(|a, b| grad[*a].abs().total_cmp(&grad[*b].abs())).unwrap();
        let shifted = |by: f32| {
            let mut model = load(&dir, &Device::flex()).unwrap();
            let mut value = value.clone();
            value[at] += by;
            let changed = burn::module::Param::from_tensor(Tensor::from_floats(value.as_slice(), &Device::flex()));
            let attention = &mut model.blocks[0].attention;
            match norms {
                true => attention.k_norm.as_mut().unwrap().weight = changed,
                false => attention.q.bias = Some(changed),
            }
            objective(&model).into_scalar_f64()
        };
        let (step, grad) = (1e-2, f64::from(grad[at]));
        let slope = (shifted(step) - shifted(-step)) / (2.0 * f64::from(step));
        assert!((slope - grad).abs() < 0.02 * grad.abs().max(0.1), "{family}: {slope} {grad}");
    }
}

/// Reads the single number of a tensor.
trait IntoScalar {
    fn into_scalar_f64(self) -> f64;
}

impl IntoScalar for burn::tensor::Tensor<1> {
    fn into_scalar_f64(self) -> f64 {
        f64::from(self.try_into_vec_as::<f32>().unwrap()[0])
    }
}
