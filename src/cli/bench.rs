//! Owns: `bench`: its arguments, and one line of JSON for each kind of step.
//! Must not know: how a training step is computed.
//! Invariant: standard output holds only these lines; each is written as soon as its kind is measured.

use super::bail_usage;
use super::output;
use crate::bench::steps::{BenchSizes, StepKind, StepTimes, time_steps};
use crate::config::{Config, Dtype, Limit};
use crate::device;
use crate::device::SelectedDevice;
use anyhow::Context;
use clap::Args;
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab bench
  coconut-lab bench --vocab 512 --time 128 --width 128 --layers 4 --batch 16 --recycled 16 --kinds plain,isolated
  coconut-lab bench --device cuda | jq '[.kind, .median_ms, .peak_mib]'

Kinds:
  plain          one pass, with the loss at all positions
  dense          a plain pass, then a recycled pass over all positions, with its loss at the recycled ones;
                 one update from both
  dense_through  like dense, with the gradient flowing through both passes
  isolated       a plain pass, then a recycled pass that computes only the recycled positions
  joint          like isolated, but recycled positions attend to each other
  sequential     the same states computed one after another, with the gradient through the whole chain
                 (Hao et al., arXiv 2412.06769)
  curriculum_sequential  a step of a curriculum: rows with --recycled latents in their middle, one after another,
                 and the loss on the tokens after them
  curriculum_parallel    the same by passes over whole rows, one more than there are latents

A step is forward, backward, clipping to norm 1 and AdamW, on new random tokens. The model is Llama-style.

Output: one line of JSON for each kind. `median_ms`, `min_ms` and `max_ms` are milliseconds per step,
`tokens_per_s` follows from the median, `peak_mib` is the peak memory in MiB and `params` counts parameters.
benches/against_torch.sh compares these numbers with PyTorch.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(flatten)]
    sizes: SizeArgs,
    /// Number of timed steps for each kind.
    #[arg(long, default_value = "7", value_name = "N", value_parser = |text: &str| parse_within(text, STEPS_LIMIT))]
    steps: usize,
    /// Number of untimed steps before the timed ones.
    #[arg(long, default_value = "2", value_name = "N", value_parser = |text: &str| parse_within(text, WARMUP_LIMIT))]
    warmup: usize,
    /// Number of CPU threads.
    #[arg(long, default_value = "2", value_name = "N", value_parser = |text: &str| parse_within(text, THREADS_LIMIT))]
    threads: usize,
    /// Kinds of steps to time, in this order, separated by commas; see Kinds below.
    #[arg(long, default_value = "plain,dense,dense_through,isolated,joint,sequential", value_name = "KINDS")]
    #[arg(value_delimiter = ',', value_parser = parse_name::<StepKind>)]
    kinds: Vec<StepKind>,
    /// Device: auto, cpu, cuda, cuda:N (the GPU of index N) or wgpu.
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// Sizes of the model and of the batch, and how the model is computed; shared by `bench` and `profile`.
#[derive(Args)]
pub(super) struct SizeArgs {
    /// Vocabulary size, in tokens.
    #[arg(long, default_value = "8192", value_name = "N", value_parser = |text: &str| parse_size(text, "model.vocab_size"))]
    vocab: usize,
    /// Sequence length: positions per row.
    #[arg(long, default_value = "256", value_name = "N", value_parser = |text: &str| parse_size(text, "data.seq_len"))]
    time: usize,
    /// Model width; the MLP is 8/3 as wide, rounded up to a multiple of 32.
    #[arg(long, default_value = "256", value_name = "N", value_parser = |text: &str| parse_size(text, "model.width"))]
    width: usize,
    /// Number of attention heads.
    #[arg(long, default_value = "4", value_name = "N", value_parser = |text: &str| parse_size(text, "model.heads"))]
    heads: usize,
    /// Number of transformer blocks.
    #[arg(long, default_value = "6", value_name = "N", value_parser = |text: &str| parse_size(text, "model.layers"))]
    layers: usize,
    /// Batch size: rows per step.
    #[arg(long, default_value = "4", value_name = "N", value_parser = |text: &str| parse_size(text, "data.batch"))]
    batch: usize,
    /// Recycled positions per row; at most `--time` - 1, since the first position cannot be recycled.
    #[arg(long, default_value = "32", value_name = "N", value_parser = |text: &str| parse_size(text, "data.seq_len"))]
    recycled: usize,
    /// Rate of dropout of embeddings, attention and residual branches.
    #[arg(long, default_value = "0", value_name = "RATE", value_parser = parse_dropout)]
    dropout: f64,
    /// Number type of matrix products: f32 or bf16 (bf16 needs a GPU).
    #[arg(long, default_value = "f32", value_parser = parse_name::<Dtype>)]
    dtype: Dtype,
    /// Recompute blocks in the backward pass to save memory, as `run.activation_checkpointing` does.
    #[arg(long)]
    activation_checkpointing: bool,
}

const STEPS_LIMIT: Limit = Limit::Within(1.0, 1e6);
pub(super) const WARMUP_LIMIT: Limit = Limit::Within(0.0, 1e6);
pub(super) const THREADS_LIMIT: Limit = Limit::Within(1.0, 1024.0);

/// Parses a whole number that is at least 1 and within the limit of the config key `path`.
fn parse_size(text: &str, path: &str) -> Result<usize, String> {
    let limit = Config::find_key(path).map(|key| key.limit);
    parse_within(
        text,
        match limit {
            Some(Limit::Within(low, high)) => Limit::Within(low.max(1.0), high),
            _ => Limit::AtLeast(1.0),
        },
    )
}

fn parse_dropout(text: &str) -> Result<f64, String> {
    let limit = Config::find_key("dropout.residual").map_or(Limit::Any, |key| key.limit);
    text.parse().ok().filter(|rate| limit.allows(*rate)).ok_or_else(|| format!("expected a number {limit}"))
}

pub(super) fn parse_within(text: &str, limit: Limit) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number: &usize| limit.allows(*number as f64));
    number.ok_or_else(|| format!("expected a whole number {limit}"))
}

/// Parses one of the names of an enum.
pub(super) fn parse_name<T: std::str::FromStr + strum::VariantNames>(name: &str) -> Result<T, String> {
    name.parse().map_err(|_| format!("allowed: {}", T::VARIANTS.join(", ")))
}

/// Times the kinds one after another, and prints a line for each.
pub(super) fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let sizes = args.sizes.with_steps(args.steps, args.warmup);
    check_sizes(&sizes)?;
    start_threads(args.threads)?;
    let chosen = device::choose_device(&args.device).context("`--device`")?;
    chosen.check_dtype(sizes.dtype, "--dtype")?;
    for kind in args.kinds {
        let line = BenchLine::new(&sizes, kind, &chosen, &time_steps(&sizes, kind, &chosen)?);
        let mut out = output::stdout();
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the pool of `threads` threads (0: one per CPU), this one included. Call it before any operation.
pub(super) fn start_threads(threads: usize) -> anyhow::Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
    pool.build_global().with_context(|| format!("`--threads` = {threads}"))
}

impl SizeArgs {
    /// Returns the sizes together with the number of timed and warm-up steps.
    pub(super) fn with_steps(&self, steps: usize, warmup: usize) -> BenchSizes {
        BenchSizes {
            vocab_size: self.vocab,
            seq_len: self.time,
            width: self.width,
            heads: self.heads,
            layers: self.layers,
            batch: self.batch,
            recycled: self.recycled,
            dropout: self.dropout,
            steps,
            warmup,
            dtype: self.dtype,
            activation_checkpointing: self.activation_checkpointing,
        }
    }
}

/// Checks the rules between sizes; an error names the arguments, their values and the limit.
pub(super) fn check_sizes(sizes: &BenchSizes) -> anyhow::Result<()> {
    let BenchSizes { seq_len: time, width, heads, recycled, .. } = *sizes;
    if recycled >= time {
        bail_usage!("`--recycled` = {recycled}: at most `--time` - 1 = {} positions per row can be recycled", time - 1);
    }
    if !width.is_multiple_of(heads) {
        bail_usage!("`--width` = {width}: it must be a multiple of `--heads` = {heads}");
    }
    if !(width / heads).is_multiple_of(2) {
        bail_usage!(
            "`--width` = {width}: rotary positions need an even head width, but `--width` / `--heads` = {}",
            width / heads
        );
    }
    Ok(())
}

/// The output line of one kind of step. The field names are those of the PyTorch peer in benches/.
#[derive(Serialize)]
struct BenchLine {
    peer: String,
    kind: &'static str,
    device: &'static str,
    dtype: Dtype,
    params: usize,
    median_ms: f64,
    min_ms: f64,
    max_ms: f64,
    peak_mib: Option<u64>,
    tokens_per_s: u64,
}

impl BenchLine {
    fn new(sizes: &BenchSizes, kind: StepKind, chosen: &SelectedDevice, measured: &StepTimes) -> Self {
        let (ms, median) = (&measured.ms, measured.median_ms());
        let rounded = |ms: f64| (ms * 1e3).round() / 1e3;
        Self {
            peer: format!("coconut-lab {}", env!("CARGO_PKG_VERSION")),
            kind: kind.name(),
            device: chosen.kind.name(),
            dtype: sizes.dtype,
            params: measured.params,
            median_ms: rounded(median),
            min_ms: rounded(ms.first().copied().unwrap_or(f64::NAN)),
            max_ms: rounded(ms.last().copied().unwrap_or(f64::NAN)),
            peak_mib: measured.peak_bytes.map(|bytes| (bytes as f64 / f64::from(1 << 20)).round() as u64),
            tokens_per_s: ((sizes.batch * sizes.seq_len) as f64 * 1e3 / median).round() as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    fn parsed(args: &[&str]) -> Result<BenchSizes, String> {
        let given = ["coconut-lab", "bench"].iter().chain(args);
        let cli = Cli::try_parse_from(given).map_err(|error| error.to_string())?;
        let Some(Verb::Bench(args)) = cli.verb else { panic!("it is bench") };
        let sizes = args.sizes.with_steps(args.steps, args.warmup);
        check_sizes(&sizes).map_err(|error| error.to_string()).map(|()| sizes)
    }

    #[test]
    fn the_defaults_are_the_sizes_of_the_pytorch_peer() {
        let sizes = parsed(&[]).unwrap();
        let [v, t, d, h] = [sizes.vocab_size, sizes.seq_len, sizes.width, sizes.heads];
        assert_eq!([v, t, d, h, sizes.layers, sizes.batch], [8192, 256, 256, 4, 6, 4]);
        assert_eq!([sizes.recycled, sizes.steps, sizes.warmup], [32, 7, 2]);
    }

    #[test]
    fn errors_name_the_argument_the_value_and_the_limit() {
        for (given, wanted) in [
            (["--vocab", "0"], &["'0'", "--vocab", "from 1 to 16777216"][..]),
            (["--time", "1"], &["'1'", "--time", "from 2 to"]),
            (["--width", "1000000"], &["'1000000'", "--width", "to 65536"]),
            (["--width", "x"], &["'x'", "--width", "whole number"]),
            (["--heads", "0"], &["'0'", "--heads", "from 1 to 1024"]),
            (["--layers", "0"], &["'0'", "--layers", "from 1"]),
            (["--batch", "0"], &["'0'", "--batch", "from 1"]),
            (["--recycled", "0"], &["'0'", "--recycled"]),
            (["--steps", "0"], &["'0'", "--steps", "from 1"]),
            (["--threads", "0"], &["'0'", "--threads", "from 1 to 1024"]),
            (["--kinds", "plain,sparse"], &["'sparse'", "--kinds", "plain, dense, dense_through, isolated"]),
            (["--dropout", "1"], &["'1'", "--dropout", "from 0 to 0.99"]),
            (["--dtype", "f16"], &["'f16'", "--dtype", "f32, bf16"]),
            (["--recycled", "256"], &["`--recycled` = 256", "`--time` - 1 = 255"]),
            (["--heads", "3"], &["`--width` = 256", "multiple of `--heads` = 3"]),
            (["--width", "12"], &["`--width` = 12", "even head width", "= 3"]),
        ] {
            let found = parsed(&given).unwrap_err();
            assert!(wanted.iter().all(|part| found.contains(part)), "{given:?}: {found}");
        }
    }
}
