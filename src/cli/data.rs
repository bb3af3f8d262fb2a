//! Owns the verb `data`: its arguments, its progress bar, its summaries.
//!
//! Must not know: how data is made or read. Invariant: results go to stdout, progress to stderr and only to a terminal.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::data::inspect::counted;
use crate::data::manifest::Made;
use crate::data::prosqa::{PAPER_MEANS, tenths};
use crate::data::text::{DOC_BYTES, VALID_SHARE};
use crate::data::{Progress, ProsqaOptions, Split, TextOptions, describe, make_prosqa, make_text};

/// Records drawn where no counts are given: enough to train on, and as many held out as were published.
const PROSQA_COUNTS: (usize, usize, usize) = (20_000, 300, 500);

const EXAMPLES: &str = "Examples:
  coconut-lab data prosqa --out datasets/prosqa
  coconut-lab data text --in tinyshakespeare.txt --tokenizer gpt2 --out datasets/shakespeare
  coconut-lab data inspect datasets/shakespeare";

/// Make token shards, and look at them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DataArgs {
    #[command(subcommand)]
    verb: DataVerb,
}

#[derive(Debug, Subcommand)]
enum DataVerb {
    /// Make a ProsQA dataset: questions about a random graph that only a chain of steps can answer
    #[command(after_help = PROSQA_EXAMPLES)]
    Prosqa(ProsqaArgs),
    /// Make a dataset from .txt, .jsonl (key `text`) and .parquet (column `text`) files
    #[command(after_help = TEXT_EXAMPLES)]
    Text(TextArgs),
    /// Read datasets or single shards whole, and say what they hold
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
}

const PROSQA_EXAMPLES: &str = "Examples:
  coconut-lab data prosqa --out datasets/prosqa
  coconut-lab data prosqa --out datasets/prosqa-small --train 2000 --valid 200 --test 200 --seed 7
  coconut-lab data prosqa --out datasets/prosqa-published --from prosqa_train.json prosqa_valid.json prosqa_test.json";

const TEXT_EXAMPLES: &str = "Examples:
  coconut-lab data text --in tinyshakespeare.txt --tokenizer gpt2 --out datasets/shakespeare
  coconut-lab data text --in a.jsonl b.parquet --tokenizer byte --out datasets/mixed --valid-share 0.05
  coconut-lab data text --in corpus.txt --tokenizer llama/tokenizer.json --out datasets/corpus";

const INSPECT_EXAMPLES: &str = "Examples:
  coconut-lab data inspect datasets/prosqa
  coconut-lab data inspect --vocab 50257 some-shard.parquet another.parquet
  coconut-lab data inspect --json datasets/prosqa | jq .splits[0].tokens";

#[derive(Debug, Args)]
struct ProsqaArgs {
    /// The folder to create
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Everything random follows from it
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Records to train on [default: 20000; with --from, all that are left]
    #[arg(long, value_name = "N")]
    train: Option<usize>,
    /// Records held out for validation [default: 300; with --from, a tenth]
    #[arg(long, value_name = "N")]
    valid: Option<usize>,
    /// Records held out for the test [default: 500; with --from, a tenth]
    #[arg(long, value_name = "N")]
    test: Option<usize>,
    /// Take published records instead of drawing them. One file is divided by the counts; of several, each is the
    /// split that its name says
    #[arg(long, value_name = "FILE.json", num_args = 1..)]
    from: Vec<PathBuf>,
    /// `words` (one id a word), byte, gpt2, or a Hugging Face tokenizer.json
    #[arg(long, value_name = "NAME|FILE", default_value = "words")]
    tokenizer: String,
    /// Replace the dataset that is there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct TextArgs {
    /// Files to read, in this order
    #[arg(long = "in", value_name = "FILE", required = true, num_args = 1..)]
    inputs: Vec<PathBuf>,
    /// byte, gpt2, or a Hugging Face tokenizer.json
    #[arg(long, value_name = "NAME|FILE")]
    tokenizer: String,
    /// The folder to create
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Share of the documents held out for validation
    #[arg(long, value_name = "SHARE", default_value_t = VALID_SHARE)]
    valid_share: f64,
    /// A .txt file is cut into documents of at most this many bytes, at the end of a paragraph where there is one
    #[arg(long, value_name = "BYTES", default_value_t = DOC_BYTES)]
    doc_bytes: usize,
    /// Decides which documents are held out
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Replace the dataset that is there
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// Dataset folders or single .parquet files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Ids must be below this, a model's vocabulary, where the data itself says none or a larger one
    #[arg(long, value_name = "N")]
    vocab: Option<usize>,
    /// A JSON array with one object a path
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// What went wrong, with the file and the place in it.
pub fn run(args: DataArgs) -> anyhow::Result<()> {
    match args.verb {
        DataVerb::Prosqa(args) => prosqa(args),
        DataVerb::Text(args) => text(args),
        DataVerb::Inspect(args) => inspect(&args),
    }
}

fn prosqa(args: ProsqaArgs) -> anyhow::Result<()> {
    let (train, valid, test) = match &args.from[..] {
        [one] => tenths(one).map(|(_, valid, test)| (usize::MAX, valid, test))?,
        _ => PROSQA_COUNTS,
    };
    if args.from.len() > 1 && args.train.or(args.valid).or(args.test).is_some() {
        bail!("--train, --valid and --test divide one file; of several --from files, each is a split whole");
    }
    let options = ProsqaOptions {
        out: args.out,
        seed: args.seed,
        train: args.train.unwrap_or(train),
        valid: args.valid.unwrap_or(valid),
        test: args.test.unwrap_or(test),
        from: args.from,
        tokenizer: args.tokenizer,
        force: args.force,
    };
    let made = with_bar(|draw| make_prosqa(&options, draw)).context("no ProsQA dataset was made")?;
    summary(&made)
}

fn text(args: TextArgs) -> anyhow::Result<()> {
    let options = TextOptions {
        inputs: args.inputs,
        tokenizer: args.tokenizer,
        out: args.out,
        valid_share: args.valid_share,
        doc_bytes: args.doc_bytes,
        seed: args.seed,
        force: args.force,
    };
    let made = with_bar(|draw| make_text(&options, draw)).context("no dataset was made")?;
    summary(&made)
}

/// Every path gets its answer, the broken ones on stderr; one broken path fails the command.
fn inspect(args: &InspectArgs) -> anyhow::Result<()> {
    let mut sound = Vec::new();
    let mut broken = 0;
    for path in &args.paths {
        match with_bar(|draw| describe(path, args.vocab, draw)) {
            Ok(description) if args.json => sound.push(description),
            Ok(description) => say(&format!("{description}\n"))?,
            Err(error) if args.paths.len() == 1 => return Err(error.into()),
            Err(error) => {
                eprintln!("error: {error}\n");
                broken += 1;
            }
        }
    }
    if args.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&sound)?))?;
    }
    match broken {
        0 => Ok(()),
        _ => bail!("{broken} of {} paths cannot be used", args.paths.len()),
    }
}

fn summary(made: &Made) -> anyhow::Result<()> {
    let mut text = format!("{}\n", made.out.display());
    for (split, counts) in &made.splits {
        let documents = counted(counts.documents, "document");
        let (tokens, shards) = (counted(counts.tokens, "token"), counted(counts.shards as u64, "shard"));
        let line = format!("  {:<6} {documents}, {tokens}, {shards}\n", split.name());
        text.push_str(&line);
    }
    if !made.splits.contains_key(&Split::Valid) {
        text.push_str("  valid  none: nothing to evaluate on during training\n");
    }
    text.push_str(&format!("  vocabulary of {}\n", made.vocab_size));
    if made.empty > 0 {
        text.push_str(&format!("  {} left out\n", counted(made.empty, "empty document")));
    }
    if let Some(means) = made.graphs {
        let rows = [
            ("nodes", means.nodes, PAPER_MEANS.nodes),
            ("edges", means.edges, PAPER_MEANS.edges),
            ("shortest path", means.shortest_path, PAPER_MEANS.shortest_path),
        ];
        text.push_str(&format!("  {:<14} {:>6} {:>6}\n", "mean", "here", "paper"));
        for (name, here, paper) in rows {
            text.push_str(&format!("  {name:<14} {here:>6.1} {paper:>6.1}\n"));
        }
    }
    say(&text)
}

/// Prints; a reader that has gone away (`| head`) is no error.
fn say(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to stdout"),
    }
}

/// Gives `work` something to report progress to, and clears the bar when it is done.
fn with_bar<T, E>(work: impl FnOnce(&mut dyn FnMut(Progress<'_>)) -> Result<T, E>) -> Result<T, E> {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}") {
        bar.set_style(style);
    }
    let result = work(&mut |progress: Progress<'_>| {
        bar.set_length(progress.total);
        bar.set_message(progress.what.to_owned());
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    result
}
