//! Owns: `lens`: thoughts over a data set, latent by latent, beside the shuffled control, as a table and a file.
//! Must not know: how a latent is computed.
//! Invariant: what is compared is of the same prompts; of the same places in them with `fixed`, for other policies decide by
//! what each of the two has come to.

use super::source::{Loaded, ModelArgs, PolicyArg, questions};
use crate::data::{Question, Split, read_questions};
use crate::message;
use crate::record::export::write;
use crate::record::rows::{LensRow, Row};
use crate::think::{Choice, Latent, POLICIES, Policy, Request, look, ratio};
use anyhow::{Context, bail};
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab lens                                             six latents behind each validation question
  coconut-lab lens --policy entropy:start=1,stop=0.5 --questions prosqa_test.json --most 300 --out lens.parquet

A latent's entropy is of what the head makes of the state that is fed; candidates is e to that. Beam is the share of the
tokens that a beam of plain continuations reaches at the same position, that are among the latent's likeliest (of a
prompt's first thought; nothing but 1.00 for the first latent, which is that very distribution). The control feeds another
prompt's state in the same place. If thinking narrows down, as a breadth-first search would, entropy falls along a thought,
more than with the control. That says something with `fixed` alone: thoughts that begin where entropy is high and end where
it is low have it fall by that.";

/// What `lens` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct LensArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Questions: .json, .jsonl or .parquet; without it, those that the model was validated on.
    #[arg(long, value_name = "FILE")]
    questions: Option<PathBuf>,
    /// When to think.
    #[arg(long, default_value = "fixed:count=6", value_name = "POLICY", long_help = policy_help())]
    policy: PolicyArg,
    /// What stands between a question and what is generated.
    #[arg(long, default_value = "\n", hide_default_value = true)]
    between: String,
    /// Most tokens behind a question, between and after thoughts.
    #[arg(long, default_value_t = 8, value_name = "N")]
    max_new: usize,
    /// Most questions.
    #[arg(long, default_value_t = 200, value_name = "N")]
    most: usize,
    /// Continuations that are kept, and likeliest tokens that are told.
    #[arg(long, default_value_t = 5, value_name = "K")]
    beam: usize,
    /// Rows at once, two at least: the control feeds one the other's states.
    #[arg(long, default_value_t = 32, value_name = "B", value_parser = clap::value_parser!(u16).range(2..))]
    batch: u16,
    /// Every latent as a row of this .parquet file.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn policy_help() -> String {
    format!("When to think:\n{POLICIES}")
}

/// Looks, prints the table, writes the file.
pub(super) fn run(args: LensArgs) -> anyhow::Result<ExitCode> {
    if args.most < 2 || args.max_new == 0 || args.beam == 0 {
        bail!("--most must be at least 2, --max-new and --beam at least 1");
    }
    if let Some(path) = &args.out {
        writable(path)?;
    }
    let loaded = args.model.load()?;
    let file = match (&args.questions, loaded.dataset()) {
        (Some(file), _) => Some(file.clone()),
        (None, dataset) => dataset?.and_then(|dataset| questions(&dataset, Split::Valid)),
    };
    let file = file.context("nothing to look at: give --questions FILE")?;
    let (policy, most) = (loaded.policy(&args.policy)?, loaded.model.shape().max_len);
    let text = |question: &Question| format!("{}{}", question.question, args.between);
    let prompts: Vec<Vec<u32>> = read_questions(&file, args.most)?
        .iter()
        .map(|question| loaded.encode(&text(question)))
        .collect::<Result<_, _>>()?;
    let all = prompts.len();
    // A thought behind it must have room.
    let prompts: Vec<Vec<u32>> = prompts.into_iter().filter(|prompt| prompt.len() + 1 < most).collect();
    if prompts.len() < 2 {
        bail!("{}: two questions that the model has room for are needed", file.display());
    }
    let found = looked(&args, &loaded, &policy, &prompts)?;
    let [own, control] = &found;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{}\n{}: {} of {all} prompts, {}",
        loaded.dir.display(),
        file.display(),
        prompts.len(),
        policy
    )?;
    if own.is_empty() {
        writeln!(out, "no prompt led to a thought")?;
        return Ok(ExitCode::SUCCESS);
    }
    by_index(own, control, &mut out)?;
    fall("entropy falls along a thought", own, &mut out)?;
    fall("with the control", control, &mut out)?;
    if let Some(path) = &args.out {
        let rows: Vec<LensRow> = [(false, own), (true, control)]
            .into_iter()
            .flat_map(|(shuffled, latents)| latents.iter().map(move |latent| (shuffled, latent)))
            .map(|(shuffled, latent)| row(latent, shuffled, &policy))
            .collect();
        let notes = [("coconut_lab.model".to_owned(), loaded.dir.display().to_string())];
        write(path, &[LensRow::batch(&rows)?], &notes)?;
        writeln!(out, "rows: {}, written to {}", rows.len(), path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The latents of all prompts, and those of the control.
fn looked(
    args: &LensArgs,
    loaded: &Loaded,
    policy: &Policy,
    prompts: &[Vec<u32>],
) -> anyhow::Result<[Vec<Latent>; 2]> {
    let mut found = [Vec::new(), Vec::new()];
    for (control, found) in [false, true].into_iter().zip(&mut found) {
        // A last chunk of one row would have no other to feed it.
        let chunks = prompts.len() / usize::from(args.batch).min(prompts.len());
        let each = prompts.len().div_ceil(chunks);
        for (chunk, prompts) in prompts.chunks(each).enumerate().filter(|(_, prompts)| prompts.len() > 1) {
            let request = Request {
                prompts: prompts.to_vec(),
                policy: policy.clone(),
                choice: Choice::GREEDY,
                most: args.max_new,
                end: loaded.end,
                seed: 0,
                top: args.beam,
                streams: Vec::new(),
                shuffled: control,
            };
            let beam = if control { 0 } else { args.beam };
            let latents = look(&loaded.model, request, beam)?;
            found.extend(
                latents.into_iter().map(|latent| Latent { row: chunk * each + latent.row, ..latent }),
            );
        }
    }
    Ok(found)
}

/// Before all the work: lists are for .parquet alone, and a folder is not made.
fn writable(path: &Path) -> anyhow::Result<()> {
    if path.extension().is_none_or(|suffix| suffix != "parquet") {
        bail!("--out {}: a name that ends in .parquet is expected", path.display());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => bail!("--out {}: there is no folder {}", path.display(), folder.display()),
        None => Ok(()),
    }
}

fn row(latent: &Latent, shuffled: bool, policy: &Policy) -> LensRow {
    let choice = |(id, prob): &(u32, f64)| message::Choice { id: *id, prob: *prob as f32 };
    LensRow {
        prompt: latent.row as u64,
        policy: policy.to_string(),
        shuffled,
        thought: latent.thought as u64,
        index: latent.index as u64,
        position: latent.position as u64,
        entropy: latent.entropy,
        after: latent.after,
        top: latent.top.iter().map(choice).collect(),
        overlap: latent.overlap,
    }
}

/// A line for each place in a thought.
fn by_index(own: &[Latent], control: &[Latent], out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "\n{:>6}  {:>6}  {:>7}  {:>10}  {:>6}  {:>6}  {:>13}",
        "latent", "count", "entropy", "candidates", "beam", "after", "after control"
    )?;
    let longest = own.iter().map(|latent| latent.index).max().unwrap_or(0);
    for index in 0..=longest {
        let here =
            |all: &[Latent]| all.iter().filter(|latent| latent.index == index).cloned().collect::<Vec<_>>();
        let (own, control) = (here(own), here(control));
        let overlaps: Vec<f64> = own.iter().filter_map(|latent| latent.overlap).collect();
        writeln!(
            out,
            "{index:>6}  {:>6}  {:>7.3}  {:>10.2}  {:>6}  {:>6.3}  {:>13}",
            own.len(),
            mean(own.iter().map(|latent| latent.entropy)),
            mean(own.iter().map(Latent::candidates)),
            if overlaps.is_empty() { "–".into() } else { format!("{:.2}", mean(overlaps.into_iter())) },
            mean(own.iter().map(|latent| latent.after)),
            if control.is_empty() {
                "–".into()
            } else {
                format!("{:.3}", mean(control.iter().map(|l| l.after)))
            },
        )?;
    }
    writeln!(out)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

/// From the state that a thought begins with to the output after its last latent.
fn fall(what: &str, latents: &[Latent], out: &mut impl Write) -> std::io::Result<()> {
    let ends =
        latents.iter().enumerate().filter(|(at, _)| latents.get(at + 1).is_none_or(|next| next.index == 0));
    let changes: Vec<f64> = ends.map(|(at, end)| end.after - latents[at - end.index].entropy).collect();
    let falls: Vec<[f64; 2]> = changes.iter().map(|change| [f64::from(*change < 0.0), 1.0]).collect();
    let (often, [low, high]) = ratio(&falls, 0);
    let (much, [least, most]) = ratio(&changes.iter().map(|change| [*change, 1.0]).collect::<Vec<_>>(), 0);
    writeln!(
        out,
        "{what:<30} {:>5.1} % of {} thoughts ({:.1} to {:.1}), by {much:+.3} nats on average ({least:+.3} to {most:+.3})",
        100.0 * often,
        changes.len(),
        100.0 * low,
        100.0 * high,
    )
}
