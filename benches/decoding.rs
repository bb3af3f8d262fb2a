//! What a generated token costs, by where it stands and by how many rows are generated side by side: a model of 10 million
//! parameters (V 8192, D 256, 4 heads, 7 layers), random weights, greedy.
//!
//! `cargo bench --bench decoding` prints two ratios, medians over the rounds with their range: the time of a position about
//! 512 by that of one about 16, and tokens a second of eight rows by those of one, from position 16 to 272. `-- --rounds 20`
//! measures longer. One row and eight take turns, so that a slow moment of the machine hits both.

use burn::tensor::Device;
use coconut_lab::config::Model;
use coconut_lab::model::{Shape, Transformer};
use coconut_lab::ops::threads;
use coconut_lab::think::{Choice, Generation, Policy, Request};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const VOCAB: usize = 8192;

/// Positions at the same place that are timed together.
const NEAR: usize = 16;

fn generation(model: &Transformer, rows: usize, prompt: usize) -> Generation {
    let prompts = (0..rows).map(|row| (0..prompt).map(|at| ((at * 31 + row * 7) % VOCAB) as u32).collect());
    let request = Request {
        prompts: prompts.collect(),
        policy: "never".parse::<Policy>().expect("a policy"),
        choice: Choice::GREEDY,
        most: 1 << 20,
        end: None,
        seed: 0,
        top: 5,
        streams: Vec::new(),
        shuffled: false,
    };
    Generation::begin(model, request).expect("prompts of the model's ids")
}

/// Seconds of `steps` positions after a prompt of `prompt`.
fn seconds(model: &Transformer, rows: usize, prompt: usize, steps: usize) -> f64 {
    let mut generation = generation(model, rows, prompt);
    let began = Instant::now();
    for _ in 0..steps {
        generation.step().expect("there is room for them");
    }
    began.elapsed().as_secs_f64()
}

/// Least, median and most.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

fn print(what: &str, values: Vec<f64>) {
    let [least, median, most] = spread(values);
    println!("{what:56} {median:>8.2} ({least:.2} to {most:.2})");
}

fn main() {
    // As the program does: nothing is given back to the system.
    // SAFETY: sets one number in mimalloc's option table, which it allows at any time.
    unsafe { libmimalloc_sys::mi_option_set(15, -1) }
    threads::join(0);
    let rounds = std::env::args().skip_while(|argument| argument != "--rounds").nth(1);
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(12);
    let config = Model { width: 256, heads: 4, layers: 7, ..Default::default() };
    let model = Transformer::new(Shape::from_config(&config, VOCAB, 1024), 1, 0.02, &Device::flex());
    let [mut early, mut late, mut one, mut eight] = [const { Vec::new() }; 4];
    for _ in 0..rounds {
        early.push(seconds(&model, 1, 16, NEAR) / NEAR as f64 * 1e3);
        late.push(seconds(&model, 1, 512, NEAR) / NEAR as f64 * 1e3);
        one.push(256.0 / seconds(&model, 1, 16, 256));
        eight.push(8.0 * 256.0 / seconds(&model, 8, 16, 256));
    }
    let ratio = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a / b).collect();
    let (growth, gain) = (ratio(&late, &early), ratio(&eight, &one));
    print("ms a token about position 16", early);
    print("ms a token about position 512", late);
    print("  ratio", growth);
    print("tokens/s of one row", one);
    print("tokens/s of eight rows", eight);
    print("  ratio", gain);
}
