//! Compares the implementation with the independent golden numbers in `tests/fixtures/` (made by `shared/oracle`).

use arrow::array::{ArrayRef, ListArray, RecordBatch};
use arrow::datatypes::Int32Type;
use burn::tensor::{Device, Int, Tensor, TensorData};
use coconut_lab::config::Dtype;
use coconut_lab::data::{Dataset, Split};
use coconut_lab::generate::{Generation, GenerationRequest, InputKind};
use coconut_lab::model::{KvCache, Transformer, hf};
use coconut_lab::train::eval::perplexity::{ScoringOptions, score_split};
use coconut_lab::verify::{CheckResult, verify};
use parquet::arrow::ArrowWriter;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn fixture(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(kind)
}

fn assert_matches_oracle(kind: &str, dtype: Dtype, activation_checkpointing: bool) {
    let dir = fixture(kind);
    let verdicts = verify(&dir, &Device::flex(), dtype, activation_checkpointing).unwrap();
    for verdict in &verdicts {
        println!("{:32} {:?}", verdict.entry, verdict.result);
        assert!(!verdict.failed(), "{} {:?}", verdict.entry, verdict.result);
        // A gradient into keys and values requires that they are kept.
        let sparse = ["grad.isolated.through.", "grad.joint.through."];
        let refused = activation_checkpointing && sparse.iter().any(|part| verdict.entry.starts_with(part));
        assert_eq!(verdict.result == CheckResult::NotComputed, refused, "{}", verdict.entry);
    }
    assert_eq!(verdicts.len(), 36);
    // The errors show whether products were computed in 16 or 32 bits.
    let has_bf16_errors =
        verdicts.iter().any(|verdict| matches!(verdict.result, CheckResult::Compared { error, .. } if error > 1e-3));
    assert_eq!(has_bf16_errors, dtype == Dtype::Bf16);
}

#[test]
fn gpt2_matches_the_oracle() {
    assert_matches_oracle("gpt2", Dtype::F32, false);
}

#[test]
fn llama_matches_the_oracle() {
    assert_matches_oracle("llama", Dtype::F32, false);
}

#[test]
fn activation_checkpointing_matches_the_oracle() {
    assert_matches_oracle("gpt2", Dtype::F32, true);
    assert_matches_oracle("llama", Dtype::F32, true);
}

#[test]
fn bf16_products_match_the_oracle_within_rounding() {
    assert_matches_oracle("gpt2", Dtype::Bf16, false);
    assert_matches_oracle("llama", Dtype::Bf16, false);
}

/// One row of the sequential recurrence, as the golden file has it.
struct Recurrence {
    tokens: Vec<u32>,
    recycled: Vec<usize>,
    /// Logits of all positions, `[T, V]`.
    logits: Vec<f32>,
}

fn recurrences(kind: &str) -> Vec<Recurrence> {
    let file = std::fs::read(fixture(kind).join("golden.safetensors")).unwrap();
    let golden = SafeTensors::deserialize(&file).unwrap();
    let int_tensor = |name: &str| -> (usize, Vec<i64>) {
        let view = golden.tensor(name).unwrap();
        let (numbers, _) = view.data().as_chunks();
        (view.shape()[1], numbers.iter().map(|number| i64::from_le_bytes(*number)).collect())
    };
    let ((with_target, tokens), (count, recycled)) = (int_tensor("tokens"), int_tensor("recycled"));
    let view = golden.tensor("sequential.logits").unwrap();
    let logits: Vec<f32> = view.data().as_chunks().0.iter().map(|number| f32::from_le_bytes(*number)).collect();
    let each = view.shape()[1] * view.shape()[2];
    let rows = tokens.chunks(with_target).zip(recycled.chunks(count)).zip(logits.chunks(each));
    rows.map(|((tokens, recycled), logits)| Recurrence {
        tokens: tokens.iter().map(|id| *id as u32).collect(),
        recycled: recycled.iter().map(|at| *at as usize).collect(),
        logits: logits.to_vec(),
    })
    .collect()
}

fn embed_token(model: &Transformer, id: u32) -> Tensor<3> {
    model.embed(Tensor::<2, Int>::from_data(TensorData::new(vec![id as i32], [1, 1]), &Device::flex()))
}

fn entropy(logits: &[f32]) -> f64 {
    let sum: f64 = logits.iter().map(|logit| f64::from(*logit).exp()).sum();
    logits.iter().map(|logit| -f64::from(*logit).exp() / sum * (f64::from(*logit) - sum.ln())).sum()
}

#[test]
fn cached_latents_match_the_sequential_recurrence() {
    for kind in ["gpt2", "llama"] {
        let model = hf::load_with_feedback(&fixture(kind), &Device::flex()).unwrap();
        for Recurrence { tokens, recycled, logits } in recurrences(kind) {
            let (mut cache, mut last) = (KvCache::new(1, 8), None::<Tensor<3>>);
            for (at, expected) in logits.chunks(model.shape().vocab_size).enumerate() {
                let input = match last {
                    Some(state) if recycled.contains(&at) => state,
                    _ => embed_token(&model, tokens[at]),
                };
                let hidden = model.forward_cached(input, &mut cache);
                let found: Vec<f32> = model.logits(hidden.clone()).try_into_vec_as().unwrap();
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-3, "{kind} at {at}: {found}, expected {expected}");
                }
                last = Some(hidden);
            }
        }
    }
}

#[test]
fn forced_latents_match_the_sequential_recurrence() {
    for kind in ["gpt2", "llama"] {
        let model = hf::load_with_feedback(&fixture(kind), &Device::flex()).unwrap();
        for Recurrence { tokens, recycled, logits } in recurrences(kind) {
            let first = recycled[0];
            // The number of adjacent recycled positions from the first on.
            let count = recycled.iter().enumerate().take_while(|(index, at)| **at == first + index).count();
            let policy = format!("fixed:count={count},at=0").parse().unwrap();
            let request = GenerationRequest::new(vec![tokens[..first].to_vec()], policy, 1);
            let mut generation = Generation::start(&model, request).unwrap();
            let mut latents = 0;
            while !generation.is_finished() {
                for step in generation.step().unwrap().into_iter().filter(|step| step.kind == InputKind::Latent) {
                    let v = model.shape().vocab_size;
                    let expected = entropy(&logits[(first + latents) * v..][..v]);
                    let found = step.entropy_after.unwrap();
                    assert!((found - expected).abs() < 1e-4, "{kind}: {found}, expected {expected}");
                    latents += 1;
                }
            }
            assert_eq!(latents, count);
        }
    }
}

/// Writes `documents` as the validation split of a dataset.
fn write_documents(dir: &Path, documents: &[Vec<i32>]) {
    let lists = documents.iter().map(|ids| Some(ids.iter().map(|id| Some(*id)).collect::<Vec<_>>()));
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    let batch = RecordBatch::try_from_iter([("input_ids", Arc::new(lists) as ArrayRef)]).unwrap();
    let file = std::fs::File::create(dir.join("valid-0.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn the_nll_of_all_targets_is_that_of_transformers_for_any_batch_size() {
    // Sums over rows of 12 targets, computed by transformers 5 in float64.
    for (kind, vocab, expected) in [("gpt2", 97, 537.852_791_987_237_4), ("llama", 101, 606.815_569_266_122_7)] {
        let dir = tempfile::tempdir().unwrap();
        let stream: Vec<i32> = (0..100).map(|i| (i * 7919 + 3) % 101 % vocab).collect();
        let documents: Vec<Vec<i32>> = stream.chunks(30).map(<[i32]>::to_vec).collect();
        write_documents(dir.path(), &documents);
        let dataset = Dataset::open(dir.path()).unwrap();
        let model = hf::load(&fixture(kind), &Device::flex()).unwrap();
        for batch in [1, 2, 3, 7, 32] {
            let options = ScoringOptions { split: Split::Valid, seq_len: 12, batch, max_rows: 500 };
            let scores = score_split(&model, &dataset, options).unwrap();
            let total: f64 = scores.rows.iter().map(|row| row.total_nll).sum();
            let targets: usize = scores.rows.iter().map(|row| row.targets.len()).sum();
            assert_eq!((scores.rows.len(), targets, scores.in_split.targets), (9, 99, 99));
            assert!((total - expected).abs() / 99.0 < 1e-5, "{kind}, batches of {batch}: {total} {expected}");
            // The first token of the first document is no target.
            let lengths: Vec<usize> = scores.documents.iter().map(|document| document.targets.len()).collect();
            assert_eq!(lengths, [29, 30, 30, 10]);
            let documents: f64 = scores.documents.iter().map(|document| document.total_nll).sum();
            assert!((documents - total).abs() < 1e-9);
        }
        // A document that is cut by the limit of rows is not counted.
        let options = ScoringOptions { split: Split::Valid, seq_len: 12, batch: 4, max_rows: 3 };
        let scores = score_split(&model, &dataset, options).unwrap();
        assert_eq!((scores.rows.len(), scores.in_split.rows, scores.documents.len()), (3, 9, 1));
    }
}

/// Generates 24 tokens after the first five of the stream, greedily.
fn greedy_tokens(model: &Transformer, prompt: Vec<u32>) -> Vec<u32> {
    let mut generation =
        Generation::start(model, GenerationRequest::new(vec![prompt], "never".parse().unwrap(), 24)).unwrap();
    let mut tokens = Vec::new();
    while !generation.is_finished() {
        tokens.extend(generation.step().unwrap().iter().filter_map(|step| step.token));
    }
    tokens
}

#[test]
fn families_and_rotary_variants_are_those_of_transformers() {
    // Sums of the nll over rows of 60 targets (far beyond the 16 positions of the scaled variants), and greedy tokens,
    // computed by transformers 5 in float64. `qwen2` is stored as bf16.
    let cases: [(&str, f64, [u32; 24]); 4] = [
        (
            "llama3",
            477.398_242_174_575_33,
            [23, 28, 6, 6, 6, 6, 28, 6, 13, 6, 6, 13, 6, 13, 6, 6, 6, 6, 6, 13, 6, 12, 13, 6],
        ),
        ("mistral", 460.514_323_215_047_7, [14; 24]),
        (
            "qwen2",
            439.083_765_517_137_7,
            [10, 21, 14, 27, 33, 26, 14, 3, 21, 21, 21, 21, 21, 21, 21, 21, 21, 21, 21, 5, 5, 13, 5, 5],
        ),
        ("qwen3", 474.465_753_939_619_1, [14; 24]),
    ];
    let stream: Vec<i32> = (0..100).map(|i| (i * 7919 + 3) % 101 % 41).collect();
    let dir = tempfile::tempdir().unwrap();
    write_documents(dir.path(), std::slice::from_ref(&stream));
    let dataset = Dataset::open(dir.path()).unwrap();
    for (family, expected, tokens) in cases {
        let model = hf::load(&fixture("families").join(family), &Device::flex()).unwrap();
        let options = ScoringOptions { split: Split::Valid, seq_len: 60, batch: 2, max_rows: 500 };
        let scores = score_split(&model, &dataset, options).unwrap();
        let total: f64 = scores.rows.iter().map(|row| row.total_nll).sum();
        assert!((total - expected).abs() < 2e-3, "{family}: {total} {expected}");
        let prompt = stream[..5].iter().map(|id| *id as u32).collect();
        assert_eq!(greedy_tokens(&model, prompt), tokens, "{family}");
        // What is written is the same model.
        let out = tempfile::tempdir().unwrap();
        hf::save(&model, &hf::Companions::read(&fixture("families").join(family)).unwrap(), out.path()).unwrap();
        let again = hf::load(out.path(), &Device::flex()).unwrap();
        assert_eq!(again.shape(), model.shape());
        assert_eq!(score_split(&again, &dataset, options).unwrap(), scores, "{family}");
    }
}
