//! Owns: `lens`: the latents of thoughts over a dataset, next to the shuffled control, as a table and a file.
//! Must not know: how a latent is computed, how latents are averaged.
//! Invariant: the arguments are checked before the work begins.

use super::bail_usage;
use super::model_source::{ModelArgs, PolicyArg, policy_help, questions_file};
use super::output;
use super::progress::Spinner;
use crate::data::{Question, Split, read_questions};
use crate::generate::{GenerationRequest, Latent};
use crate::policy::switch::Policy;
use crate::record::export::write_table;
use crate::record::rows::{LensRow, TableRow};
use crate::schema::token_rows::TokenProb;
use crate::train::eval::latent_statistics::{EntropyChange, LatentSummary, collect_latents, summarize_latents};
use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab lens                                             six latents after each validation question
  coconut-lab lens --policy entropy:start=1,stop=0.5 --questions prosqa_test.json --most 300 --out lens.parquet

The table has one line for each latent of a thought, counted from 0, averaged over all thoughts:
  count          number of latents
  entropy        entropy of the fed state when decoded by the output head, in nats
  candidates     e to the power of the entropy: the number of equally likely tokens with this entropy
  beam           share of the tokens that a beam of plain continuations reaches at the same position that are
                 among the latent's likeliest; only for a prompt's first thought, and always 1.00 for latent 0
  after          entropy of the output after the latent, in nats
  after control  the same if another prompt's state is fed at the same place (the shuffled control)

If thinking narrows down candidates, as a breadth-first search does, entropy falls along a thought, and more
than in the control. Only `fixed` policies can show this: with `entropy` and `trend`, thoughts begin where
entropy is high and end where it is low, so that it falls by construction.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct LensArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// File of questions: .json, .jsonl or .parquet [default: the run's validation questions]
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,
    /// Policy that decides when to think.
    #[arg(long, default_value = "fixed:count=6", value_name = "POLICY", long_help = policy_help())]
    policy: PolicyArg,
    /// Text between a question and the generated text [default: a newline]
    #[arg(long = "between", value_name = "BETWEEN", default_value = "\n", hide_default_value = true)]
    separator: String,
    /// Most tokens to generate for each question, between and after thoughts; latents do not count.
    #[arg(long, default_value_t = 8, value_name = "N")]
    max_new: usize,
    /// Most questions to use, at least 2.
    #[arg(long = "most", default_value_t = 200, value_name = "N")]
    max_questions: usize,
    /// Width of the beam of plain continuations, and number of likeliest tokens kept for each latent.
    #[arg(long, default_value_t = 5, value_name = "K")]
    beam: usize,
    /// Rows computed at once, at least 2: the control feeds each row the states of another one.
    #[arg(long, default_value_t = 32, value_name = "B", value_parser = clap::value_parser!(u16).range(2..))]
    batch: u16,
    /// Write every latent, of thoughts and control, as a row of this .parquet file.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

/// What is printed, as JSON.
#[derive(Serialize)]
struct LensReport<'a> {
    model: &'a Path,
    questions: &'a Path,
    prompts: usize,
    policy: String,
    /// A summary for each latent of a thought, from the first.
    latents: Vec<LatentSummary>,
    thoughts: EntropyChange,
    /// The same with the states of other prompts fed.
    shuffled: EntropyChange,
}

/// Collects the latents, prints the table and writes the file.
pub(super) fn run(args: LensArgs) -> anyhow::Result<ExitCode> {
    if args.max_questions < 2 || args.max_new == 0 || args.beam == 0 {
        bail_usage!("--most must be at least 2, --max-new and --beam at least 1");
    }
    if let Some(path) = &args.out {
        check_out_path(path)?;
    }
    let loaded = args.model.load()?;
    let file = match (&args.questions, loaded.dataset()) {
        (Some(file), _) => Some(file.clone()),
        (None, dataset) => dataset?.and_then(|dataset| questions_file(&dataset, Split::Valid)),
    };
    let file = file.context("no questions: give --questions FILE")?;
    let (policy, max_len) = (loaded.resolve_policy(&args.policy)?, loaded.model.shape().max_len);
    let text = |question: &Question| format!("{}{}", question.question, args.separator);
    let prompts: Vec<Vec<u32>> = read_questions(&file, args.max_questions)?
        .questions
        .iter()
        .map(|question| loaded.encode(&text(question)))
        .collect::<Result<_, _>>()?;
    let total = prompts.len();
    // There must be room for a thought after the prompt.
    let prompts: Vec<Vec<u32>> = prompts.into_iter().filter(|prompt| prompt.len() + 1 < max_len).collect();
    if prompts.len() < 2 {
        bail!("{}: at least two questions must be shorter than the model's {max_len} positions", file.display());
    }
    let request = GenerationRequest {
        end_tokens: loaded.end_tokens.clone(),
        top_count: args.beam,
        ..GenerationRequest::new(Vec::new(), policy.clone(), args.max_new)
    };
    let spinner = Spinner::start(format!("collecting latents of {} prompts", prompts.len()));
    let found = collect_latents(&loaded.model, &prompts, args.batch.into(), &request)?;
    drop(spinner);
    let [thoughts, control] = &found;
    if let Some(path) = &args.out {
        write_latents(path, &loaded.dir, (thoughts, control), &policy)?;
    }
    let mut out = output::stdout();
    if args.json {
        let report = LensReport {
            model: &loaded.dir,
            questions: &file,
            prompts: prompts.len(),
            policy: policy.to_string(),
            latents: summarize_latents(thoughts, control),
            thoughts: EntropyChange::from_latents(thoughts),
            shuffled: EntropyChange::from_latents(control),
        };
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(out, "{}\n{}: {} of {total} prompts, {}", loaded.dir.display(), file.display(), prompts.len(), policy)?;
    if thoughts.is_empty() {
        writeln!(out, "the policy started no thought")?;
        return Ok(ExitCode::SUCCESS);
    }
    print_latent_table(&summarize_latents(thoughts, control), &mut out)?;
    print_entropy_change("entropy falls along a thought", thoughts, &mut out)?;
    print_entropy_change("in the shuffled control", control, &mut out)?;
    if let Some(path) = &args.out {
        writeln!(out, "rows: {}, written to {}", thoughts.len() + control.len(), path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes each latent of thoughts and of the control as a row.
fn write_latents(
    path: &Path,
    model: &Path,
    (thoughts, control): (&[Latent], &[Latent]),
    policy: &Policy,
) -> anyhow::Result<()> {
    let rows: Vec<LensRow> = [(false, thoughts), (true, control)]
        .into_iter()
        .flat_map(|(shuffled, latents)| latents.iter().map(move |latent| (shuffled, latent)))
        .map(|(shuffled, latent)| lens_row(latent, shuffled, policy))
        .collect();
    let notes = [("coconut_lab.model".to_owned(), model.display().to_string())];
    Ok(write_table(path, &[LensRow::batch(&rows)?], &notes)?)
}

/// Checks `--out` before the work begins: a .parquet file (rows hold lists) in an existing folder.
fn check_out_path(path: &Path) -> anyhow::Result<()> {
    if path.extension().is_none_or(|suffix| suffix != "parquet") {
        bail_usage!("--out {}: expected a file name that ends in .parquet", path.display());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => bail_usage!("--out {}: the folder {} does not exist", path.display(), folder.display()),
        None => Ok(()),
    }
}

fn lens_row(latent: &Latent, shuffled: bool, policy: &Policy) -> LensRow {
    let choice = |(id, prob): &(u32, f64)| TokenProb { id: *id, prob: *prob as f32 };
    LensRow {
        prompt: latent.row as u64,
        policy: policy.to_string(),
        shuffled,
        thought: latent.thought as u64,
        index: latent.index as u64,
        position: latent.position as u64,
        state_entropy: latent.entropy,
        output_entropy: latent.entropy_after,
        top: latent.top.iter().map(choice).collect(),
        beam_overlap: latent.overlap,
    }
}

/// Prints one line for each index in a thought, averaged over thoughts.
fn print_latent_table(summaries: &[LatentSummary], out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "\n{:>6}  {:>6}  {:>7}  {:>10}  {:>6}  {:>6}  {:>13}",
        "latent", "count", "entropy", "candidates", "beam", "after", "after control"
    )?;
    for (index, summary) in summaries.iter().enumerate() {
        let LatentSummary { count, entropy, candidates, entropy_after: after, .. } = summary;
        let overlap = summary.overlap.map_or("–".into(), |share| format!("{share:.2}"));
        let control = summary.control_entropy_after.map_or("–".into(), |nats| format!("{nats:.3}"));
        writeln!(
            out,
            "{index:>6}  {count:>6}  {entropy:>7.3}  {candidates:>10.2}  {overlap:>6}  {after:>6.3}  {control:>13}",
        )?;
    }
    writeln!(out)
}

/// Prints in how many thoughts entropy falls, and by how much on average.
fn print_entropy_change(label: &str, latents: &[Latent], out: &mut impl Write) -> std::io::Result<()> {
    let EntropyChange { thoughts, falling, nats } = EntropyChange::from_latents(latents);
    let share = falling.map(|share| 100.0 * share);
    let (share_interval, change_interval) = (share.interval_text(1), nats.interval_text(3));
    writeln!(
        out,
        "{label:<30} {:>5.1} % of {thoughts} thoughts ({share_interval}), by {:+.3} nats on average ({change_interval})",
        share.mean, nats.mean
    )
}
