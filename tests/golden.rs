//! Holds the implementation to the independent golden numbers in `tests/fixtures/` (made by `shared/oracle`).

use burn::tensor::Device;
use coconut_lab::config::Dtype;
use coconut_lab::verify::{Held, verify};
use std::path::Path;

fn hold(kind: &str, dtype: Dtype, activation_checkpointing: bool) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(kind);
    let verdicts = verify(&dir, &Device::flex(), dtype, activation_checkpointing).unwrap();
    for verdict in &verdicts {
        println!("{:32} {:?}", verdict.entry, verdict.result);
        assert!(!verdict.failed(), "{} {:?}", verdict.entry, verdict.result);
        // Gradient into keys and values needs them kept.
        let sparse = ["grad.isolated.through.", "grad.joint.through."];
        let refused = activation_checkpointing && sparse.iter().any(|part| verdict.entry.starts_with(part));
        assert_eq!(verdict.result == Held::NotComputed, refused, "{}", verdict.entry);
    }
    assert_eq!(verdicts.len(), 36);
    // Products of 16 bits can be told from those of 32.
    let rough =
        verdicts.iter().any(|verdict| matches!(verdict.result, Held::Error { error, .. } if error > 1e-3));
    assert_eq!(rough, dtype == Dtype::Bf16);
}

#[test]
fn gpt2_holds_to_the_oracle() {
    hold("gpt2", Dtype::F32, false);
}

#[test]
fn llama_holds_to_the_oracle() {
    hold("llama", Dtype::F32, false);
}

#[test]
fn blocks_that_are_run_again_hold_to_it() {
    hold("gpt2", Dtype::F32, true);
    hold("llama", Dtype::F32, true);
}

#[test]
fn products_of_bf16_hold_to_it_within_their_rounding() {
    hold("gpt2", Dtype::Bf16, false);
    hold("llama", Dtype::Bf16, false);
}
