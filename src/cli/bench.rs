//! Owns: `bench`: what is to be measured, and a line of JSON a kind of step.
//! Must not know: how a step is made.
//! Invariant: standard output has these lines alone, each written as soon as its kind is measured.

use crate::config::{Config, Dtype, Limit};
use crate::train::bench::{Kind, Measured, Sizes, measure};
use crate::train::device::{self, Chosen};
use anyhow::{Context, ensure};
use clap::Args;
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab bench
  coconut-lab bench --vocab 512 --time 128 --width 128 --layers 4 --batch 16 --recycled 16 --kinds plain,isolated
  coconut-lab bench --device cuda | jq '[.kind, .median_ms, .peak_mib]'

Kinds:
  plain          one pass, loss at all positions
  dense          the plain pass, then a recycled pass over all positions; loss at the recycled ones; one update
  dense_through  the same, gradient flowing through both passes
  isolated       the recycled pass computes the recycled positions alone
  joint          the same, they see each other
  sequential     the same states one after another, gradient through the whole chain, as Hao et al. (arXiv 2412.06769)

A step is forward, backward, clipping to norm 1 and AdamW, on fresh random tokens. benches/against_torch.sh sets the
numbers beside those of PyTorch.";

/// What `bench` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(flatten)]
    sizes: SizeArgs,
    /// Steps that are timed.
    #[arg(long, default_value = "7", value_name = "N", value_parser = |text: &str| within(text, MANY))]
    steps: usize,
    /// Steps before them.
    #[arg(long, default_value = "2", value_name = "N", value_parser = |text: &str| within(text, SOME))]
    warmup: usize,
    /// Threads of the CPU's products.
    #[arg(long, default_value = "2", value_name = "N", value_parser = |text: &str| within(text, THREADS))]
    threads: usize,
    /// Kinds of steps, in this order.
    #[arg(long, default_value = "plain,dense,dense_through,isolated,joint,sequential", value_name = "KINDS")]
    #[arg(value_delimiter = ',', value_parser = kind)]
    kinds: Vec<Kind>,
    /// auto, cpu, cuda, cuda:N or wgpu.
    #[arg(long, default_value = "cpu")]
    device: String,
}

/// The sizes of model and batch, and how the model is computed.
#[derive(Args)]
pub(super) struct SizeArgs {
    /// Vocabulary.
    #[arg(long, default_value = "8192", value_name = "N", value_parser = |text: &str| size(text, "model.vocab_size"))]
    vocab: usize,
    /// Positions a row.
    #[arg(long, default_value = "256", value_name = "N", value_parser = |text: &str| size(text, "data.seq_len"))]
    time: usize,
    /// Width of the model; its MLP has 8/3 of it, rounded up to a multiple of 32.
    #[arg(long, default_value = "256", value_name = "N", value_parser = |text: &str| size(text, "model.width"))]
    width: usize,
    /// Attention heads.
    #[arg(long, default_value = "4", value_name = "N", value_parser = |text: &str| size(text, "model.heads"))]
    heads: usize,
    /// Blocks.
    #[arg(long, default_value = "6", value_name = "N", value_parser = |text: &str| size(text, "model.layers"))]
    layers: usize,
    /// Rows a batch.
    #[arg(long, default_value = "4", value_name = "N", value_parser = |text: &str| size(text, "data.batch"))]
    batch: usize,
    /// Recycled positions a row, at most all but the first.
    #[arg(long, default_value = "32", value_name = "N", value_parser = |text: &str| size(text, "data.seq_len"))]
    recycled: usize,
    /// f32 or bf16.
    #[arg(long, default_value = "f32", value_parser = dtype)]
    dtype: Dtype,
    /// Blocks keep their inputs alone, as with `run.activation_checkpointing`.
    #[arg(long)]
    activation_checkpointing: bool,
}

const MANY: Limit = Limit::Within(1.0, 1e6);
pub(super) const SOME: Limit = Limit::Within(0.0, 1e6);
pub(super) const THREADS: Limit = Limit::Within(1.0, 1024.0);

/// At least 1, and within what the config key of this path allows.
fn size(text: &str, path: &str) -> Result<usize, String> {
    let limit = Config::keys().find(|key| key.path() == path).map(|key| key.limit);
    within(
        text,
        match limit {
            Some(Limit::Within(low, high)) => Limit::Within(low.max(1.0), high),
            _ => Limit::AtLeast(1.0),
        },
    )
}

pub(super) fn within(text: &str, limit: Limit) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number: &usize| limit.allows(*number as f64));
    number.ok_or_else(|| format!("a whole number is expected, {limit}"))
}

pub(super) fn kind(name: &str) -> Result<Kind, String> {
    let found = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| format!("there are: {}", Kind::ALL.map(Kind::name).join(", ")))
}

/// A type of products, by its name.
pub(super) fn dtype(name: &str) -> Result<Dtype, String> {
    match name {
        "f32" => Ok(Dtype::F32),
        "bf16" => Ok(Dtype::Bf16),
        _ => Err("there are: f32, bf16".into()),
    }
}

/// Measures kind after kind, and says of each what it took.
pub(super) fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let sizes = args.sizes.sizes(args.steps, args.warmup);
    check(&sizes)?;
    share_work(args.threads)?;
    let chosen = device::choose(&args.device).context("`--device`")?;
    chosen.multiplies(sizes.dtype, "--dtype")?;
    for kind in args.kinds {
        let line = Line::of(&sizes, kind, &chosen, &measure(&sizes, kind, &chosen)?);
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&line)?)?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the threads that operations run on (0: as many as the machine has), this one among them; before anything else
/// starts them.
pub(super) fn share_work(threads: usize) -> anyhow::Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).use_current_thread();
    pool.build_global().with_context(|| format!("`--threads` = {threads}"))
}

impl SizeArgs {
    /// With the number of steps.
    pub(super) fn sizes(&self, steps: usize, warmup: usize) -> Sizes {
        Sizes {
            vocab: self.vocab,
            time: self.time,
            width: self.width,
            heads: self.heads,
            layers: self.layers,
            batch: self.batch,
            recycled: self.recycled,
            steps,
            warmup,
            dtype: self.dtype,
            activation_checkpointing: self.activation_checkpointing,
        }
    }
}

/// The rules between sizes.
pub(super) fn check(sizes: &Sizes) -> anyhow::Result<()> {
    let Sizes { time, width, heads, recycled, .. } = *sizes;
    ensure!(
        recycled < time,
        "`--recycled` = {recycled}: at most `--time` - 1 = {} positions a row can be recycled",
        time - 1
    );
    ensure!(width.is_multiple_of(heads), "`--width` = {width}: it must be a multiple of `--heads` = {heads}");
    ensure!(
        (width / heads).is_multiple_of(2),
        "`--width` = {width}: rotary positions need an even head width, but `--width` / `--heads` = {}",
        width / heads
    );
    Ok(())
}

/// What is said of a kind; the keys are those of the peer in PyTorch.
#[derive(Serialize)]
struct Line {
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

impl Line {
    fn of(sizes: &Sizes, kind: Kind, chosen: &Chosen, measured: &Measured) -> Self {
        let (ms, median) = (&measured.ms, median(&measured.ms));
        let shown = |ms: f64| (ms * 1e3).round() / 1e3;
        Self {
            peer: format!("coconut-lab {}", env!("CARGO_PKG_VERSION")),
            kind: kind.name(),
            device: chosen.kind.name(),
            dtype: sizes.dtype,
            params: measured.params,
            median_ms: shown(median),
            min_ms: shown(ms.first().copied().unwrap_or(f64::NAN)),
            max_ms: shown(ms.last().copied().unwrap_or(f64::NAN)),
            peak_mib: measured.peak_bytes.map(|bytes| (bytes as f64 / f64::from(1 << 20)).round() as u64),
            tokens_per_s: ((sizes.batch * sizes.time) as f64 * 1e3 / median).round() as u64,
        }
    }
}

/// The middle of ascending numbers, or the mean of the two.
fn median(sorted: &[f64]) -> f64 {
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { at(middle) } else { (at(middle.saturating_sub(1)) + at(middle)) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Verb};
    use super::*;
    use clap::Parser;

    fn parsed(args: &[&str]) -> Result<Sizes, String> {
        let given = ["coconut-lab", "bench"].iter().chain(args);
        let cli = Cli::try_parse_from(given).map_err(|error| error.to_string())?;
        let Some(Verb::Bench(args)) = cli.verb else { panic!("it is bench") };
        let sizes = args.sizes.sizes(args.steps, args.warmup);
        check(&sizes).map_err(|error| error.to_string()).map(|()| sizes)
    }

    #[test]
    fn without_arguments_it_measures_what_the_peer_does() {
        let sizes = parsed(&[]).unwrap();
        let [v, t, d, h] = [sizes.vocab, sizes.time, sizes.width, sizes.heads];
        assert_eq!([v, t, d, h, sizes.layers, sizes.batch], [8192, 256, 256, 4, 6, 4]);
        assert_eq!([sizes.recycled, sizes.steps, sizes.warmup], [32, 7, 2]);
    }

    #[test]
    fn what_cannot_be_measured_is_refused_by_argument_value_and_limit() {
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
            (["--dtype", "f16"], &["'f16'", "--dtype", "f32, bf16"]),
            (["--recycled", "256"], &["`--recycled` = 256", "`--time` - 1 = 255"]),
            (["--heads", "3"], &["`--width` = 256", "multiple of `--heads` = 3"]),
            (["--width", "12"], &["`--width` = 12", "even head width", "= 3"]),
        ] {
            let found = parsed(&given).unwrap_err();
            assert!(wanted.iter().all(|part| found.contains(part)), "{given:?}: {found}");
        }
    }

    #[test]
    fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }
}
