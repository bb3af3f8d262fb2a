//! Measures the cost of a generated token by its position and by the number of rows generated in parallel.
//! The model has 10 million random parameters (V 8192, D 256, 4 heads, 7 layers); decoding is greedy.
//!
//! `cargo bench --bench decoding` prints two ratios, each as the median over the rounds with its range. The
//! first is the time per token near position 512 divided by that near position 16. The second is the
//! throughput of eight rows divided by that of one row, from position 16 to 272. `-- --rounds 20` measures
//! longer. The cases alternate, so that a slowdown of the machine affects all of them.

use burn::tensor::Device;
use coconut_lab::config::Model;
use coconut_lab::generate::{Generation, GenerationRequest};
use coconut_lab::model::{ModelShape, Transformer};
use coconut_lab::ops::threads;
use coconut_lab::policy::switch::Policy;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const VOCAB: usize = 8192;

/// Number of consecutive positions that are timed together.
const TIMED_STEPS: usize = 16;

/// Starts a generation with `rows` prompts of `prompt` tokens.
fn start_generation(model: &Transformer, rows: usize, prompt: usize) -> Generation {
    let prompts = (0..rows).map(|row| (0..prompt).map(|index| ((index * 31 + row * 7) % VOCAB) as u32).collect());
    let policy = "never".parse::<Policy>().expect("a policy");
    let request = GenerationRequest::new(prompts.collect(), policy, 1 << 20);
    let request = GenerationRequest { top_count: 5, ..request };
    Generation::start(model, request).expect("prompts of the model's ids")
}

/// Returns the seconds taken by `steps` positions after a prompt of `prompt` tokens.
fn generation_seconds(model: &Transformer, rows: usize, prompt: usize, steps: usize) -> f64 {
    let mut generation = start_generation(model, rows, prompt);
    let start = Instant::now();
    for _ in 0..steps {
        generation.step().expect("there is room for them");
    }
    start.elapsed().as_secs_f64()
}

/// Returns minimum, median and maximum.
fn min_median_max(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

fn print_line(label: &str, values: Vec<f64>) {
    let [min, median, max] = min_median_max(values);
    println!("{label:56} {median:>8.2} ({min:.2} to {max:.2})");
}

fn main() {
    // Like the program, keep freed memory instead of returning it to the system.
    // SAFETY: this sets a number in mimalloc's option table, which is allowed at any time.
    unsafe { libmimalloc_sys::mi_option_set(15, -1) }
    threads::enter_pool(0);
    let rounds = std::env::args().skip_while(|argument| argument != "--rounds").nth(1);
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(12);
    let config = Model { width: 256, heads: 4, layers: 7, ..Default::default() };
    let model = Transformer::new(ModelShape::from_config(&config, VOCAB, 1024), 1, 0.02, &Device::flex());
    let [mut early, mut late, mut one, mut eight] = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        early.push(generation_seconds(&model, 1, 16, TIMED_STEPS) / TIMED_STEPS as f64 * 1e3);
        late.push(generation_seconds(&model, 1, 512, TIMED_STEPS) / TIMED_STEPS as f64 * 1e3);
        one.push(256.0 / generation_seconds(&model, 1, 16, 256));
        eight.push(8.0 * 256.0 / generation_seconds(&model, 8, 16, 256));
    }
    let ratio = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a / b).collect();
    let (growth, gain) = (ratio(&late, &early), ratio(&eight, &one));
    print_line("ms per token near position 16", early);
    print_line("ms per token near position 512", late);
    print_line("  ratio", growth);
    print_line("tokens/s, one row", one);
    print_line("tokens/s, eight rows", eight);
    print_line("  ratio", gain);
}
