//! Owns: `data`: its arguments, progress bar and summaries.
//! Must not know: how data is made or read.
//! Invariant: results go to standard output; progress goes to standard error, and only to a terminal.

use super::bail_usage;
use super::output;
use super::progress::with_progress_bar;
use crate::data::inspect::pluralize;
use crate::data::manifest::DatasetSummary;
use crate::data::prosqa::default_split_sizes;
use crate::data::text::{DEFAULT_DOC_BYTES, DEFAULT_VALID_SHARE};
use crate::data::{
    GraphTaskOptions, HopRange, ProsqaOptions, QuestionShardsOptions, Split, TextOptions, describe, make_graph_task,
    make_prosqa, make_question_shards, make_text,
};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::PathBuf;

/// Default numbers of generated records: train, valid, test. The last two are those of the published dataset.
const DEFAULT_PROSQA_COUNTS: (usize, usize, usize) = (20_000, 300, 500);

const EXAMPLES: &str = "Examples:
  coconut-lab data prosqa --out datasets/prosqa
  coconut-lab data text --in my-text.txt --tokenizer gpt2 --out datasets/my-text
  coconut-lab data inspect datasets/shakespeare";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DataArgs {
    #[command(subcommand)]
    verb: DataVerb,
}

#[derive(Debug, Subcommand)]
enum DataVerb {
    /// Make a ProsQA dataset: questions about a random graph that need several reasoning steps.
    #[command(after_help = PROSQA_EXAMPLES)]
    Prosqa(ProsqaArgs),
    /// Make a dataset of reachability questions on small random graphs, whose nodes are single tokens.
    #[command(after_help = GRAPH_EXAMPLES)]
    Graph(GraphArgs),
    /// Make a dataset from files of questions with steps and answers, for a curriculum.
    #[command(after_help = QUESTIONS_EXAMPLES)]
    Questions(QuestionsArgs),
    /// Make a dataset from .txt, .jsonl, .json (key `text`) and .parquet (column `text`) files.
    #[command(after_help = TEXT_EXAMPLES)]
    Text(TextArgs),
    /// Read and check whole datasets or single shards, and describe what they hold.
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
}

const PROSQA_EXAMPLES: &str = "Examples:
  coconut-lab data prosqa --out datasets/prosqa
  coconut-lab data prosqa --out datasets/prosqa-small --train 2000 --valid 200 --test 200 --seed 7
  coconut-lab data prosqa --out datasets/prosqa-published --from prosqa_train.json prosqa_valid.json prosqa_test.json";

const GRAPH_EXAMPLES: &str = "Examples:
  coconut-lab data graph --out datasets/graph
  coconut-lab data graph --out datasets/graph-4 --hops 4 --nodes 12 --train 1 --valid 1000

A question lists the edges of a graph, the candidates and a root: which candidate can be reached? Its steps are the nodes of
a shortest path. Datasets with equal --names have equal vocabularies, so that a model of one can be evaluated on another.";

const QUESTIONS_EXAMPLES: &str = "Examples:
  coconut-lab data questions --train train.jsonl --valid valid.jsonl --test test.jsonl --tokenizer gpt2 --out datasets/gsm
  coconut-lab data questions --train gsm_train.txt --valid gsm_valid.txt --tokenizer gpt2/tokenizer.json --out datasets/gsm

Files: .json, .jsonl or .parquet with `question` (or problem, query, prompt), `answer` (final_answer, target) and `steps` (cot,
rationale, reasoning, solution), or a chat under `messages`; .txt of lines `question||<<4-2=2>> … #### 2`. What precedes the last
#### of an answer becomes its steps, a line each.";

const TEXT_EXAMPLES: &str = "Examples:
  coconut-lab data text --in my-text.txt --tokenizer gpt2 --out datasets/my-text
  coconut-lab data text --in a.jsonl b.parquet --tokenizer byte --out datasets/mixed --valid-share 0.05
  coconut-lab data text --in corpus.txt --tokenizer llama/tokenizer.json --out datasets/corpus";

const INSPECT_EXAMPLES: &str = "Examples:
  coconut-lab data inspect datasets/prosqa
  coconut-lab data inspect --vocab 50257 some-shard.parquet another.parquet
  coconut-lab data inspect --json datasets/prosqa | jq .splits[0].tokens";

#[derive(Debug, Args)]
struct ProsqaArgs {
    /// Folder to create.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Random seed: the same seed and options give the same records.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of training records [default: 20000; with --from FILE, all that remain]
    #[arg(long, value_name = "N")]
    train: Option<usize>,
    /// Number of validation records [default: 300; with --from FILE, a tenth]
    #[arg(long, value_name = "N")]
    valid: Option<usize>,
    /// Number of test records [default: 500; with --from FILE, a tenth]
    #[arg(long, value_name = "N")]
    test: Option<usize>,
    /// Use published records instead of generating new ones.
    ///
    /// A single file is shuffled by the seed and divided into the three splits. Of several files, each is a
    /// whole split, named by its file name: prosqa_train.json, prosqa_valid.json, prosqa_test.json.
    #[arg(long, value_name = "FILE.json", num_args = 1..)]
    from: Vec<PathBuf>,
    /// Tokenizer: words (one id per word), byte, gpt2, or a Hugging Face tokenizer.json file.
    #[arg(long, value_name = "NAME|FILE", default_value = "words")]
    tokenizer: String,
    /// Replace an existing dataset in the output folder.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct GraphArgs {
    /// Folder to create.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Random seed: the same seed and options give the same questions.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of training questions.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    train: usize,
    /// Number of validation questions.
    #[arg(long, value_name = "N", default_value_t = 500)]
    valid: usize,
    /// Number of test questions.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    test: usize,
    /// Nodes of each graph, both roots included.
    #[arg(long, value_name = "N", default_value_t = 10)]
    nodes: usize,
    /// Names that nodes are drawn from.
    #[arg(long, value_name = "N", default_value_t = 16)]
    names: usize,
    /// Steps from the root to the right candidate, as a number or a range such as 2-4.
    #[arg(long, value_name = "N", default_value = "3")]
    hops: HopRange,
    /// Candidates, of which one can be reached.
    #[arg(long, value_name = "N", default_value_t = 2)]
    candidates: usize,
    /// Probability that a node has a second parent.
    #[arg(long, value_name = "SHARE", default_value_t = 0.3)]
    extra_edges: f64,
    /// Replace an existing dataset in the output folder.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct QuestionsArgs {
    /// Files of training questions.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    train: Vec<PathBuf>,
    /// Files of validation questions.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    valid: Vec<PathBuf>,
    /// Files of test questions.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    test: Vec<PathBuf>,
    /// Tokenizer: words (one id per word of the files), byte, gpt2, or a Hugging Face tokenizer.json file.
    #[arg(long, value_name = "NAME|FILE")]
    tokenizer: String,
    /// Folder to create.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace an existing dataset in the output folder.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct TextArgs {
    /// Input files, read in this order: .txt, .jsonl or .json (key `text`), plain or .gz or .zst, or .parquet (column
    /// `text`).
    #[arg(long = "in", value_name = "FILE", required = true, num_args = 1..)]
    inputs: Vec<PathBuf>,
    /// Tokenizer: byte, gpt2, or a Hugging Face tokenizer.json file.
    #[arg(long, value_name = "NAME|FILE")]
    tokenizer: String,
    /// Token that ends documents, by its text or id [default: what tokenizer_config.json, generation_config.json or
    /// config.json beside the tokenizer say, else a known one]
    #[arg(long = "eos", value_name = "TOKEN|ID")]
    end_token: Option<String>,
    /// Folder to create.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Share of the documents held out for validation, from 0 to below 1.
    #[arg(long, value_name = "SHARE", default_value_t = DEFAULT_VALID_SHARE)]
    valid_share: f64,
    /// Longest document cut from a .txt file, in bytes (at least 64).
    ///
    /// A document is cut at the end of a paragraph if there is one.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_DOC_BYTES)]
    doc_bytes: usize,
    /// Random seed that decides which documents are held out.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Replace an existing dataset in the output folder.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// Dataset folders or single .parquet files.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Check that all token ids are below this number, the vocabulary size of a model.
    ///
    /// A smaller vocabulary size that the data itself names is checked instead.
    #[arg(long, value_name = "N")]
    vocab: Option<usize>,
    /// Print a JSON array with one object for each path.
    #[arg(long)]
    json: bool,
}

/// Runs the verb. An error names the file, and the row or line in it.
pub fn run(args: DataArgs) -> anyhow::Result<()> {
    match args.verb {
        DataVerb::Prosqa(args) => run_prosqa(args),
        DataVerb::Graph(args) => run_graph(args),
        DataVerb::Questions(args) => run_questions(args),
        DataVerb::Text(args) => run_text(args),
        DataVerb::Inspect(args) => run_inspect(&args),
    }
}

fn run_prosqa(args: ProsqaArgs) -> anyhow::Result<()> {
    let (train, valid, test) = match &args.from[..] {
        [one] => default_split_sizes(one).map(|(_, valid, test)| (usize::MAX, valid, test))?,
        _ => DEFAULT_PROSQA_COUNTS,
    };
    if args.from.len() > 1 && args.train.or(args.valid).or(args.test).is_some() {
        bail_usage!("--train, --valid and --test divide a single --from file; of several, each is a whole split");
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
    let made = with_progress_bar(|on_progress| make_prosqa(&options, on_progress))
        .context("cannot make the ProsQA dataset")?;
    print_summary(&made)
}

fn run_graph(args: GraphArgs) -> anyhow::Result<()> {
    let GraphArgs { out, seed, train, valid, test, nodes, names, hops, candidates, extra_edges, force } = args;
    let options =
        GraphTaskOptions { out, seed, train, valid, test, nodes, names, hops, candidates, extra_edges, force };
    let made = with_progress_bar(|on_progress| make_graph_task(&options, on_progress))
        .context("cannot make the dataset of graph questions")?;
    print_summary(&made)
}

fn run_questions(args: QuestionsArgs) -> anyhow::Result<()> {
    let QuestionsArgs { train, valid, test, tokenizer, out, force } = args;
    let files = [(Split::Train, train), (Split::Valid, valid), (Split::Test, test)];
    let files = files.into_iter().filter(|(_, files)| !files.is_empty()).collect();
    let options = QuestionShardsOptions { out, files, tokenizer, force };
    let made = with_progress_bar(|on_progress| make_question_shards(&options, on_progress))
        .context("cannot make the dataset of questions")?;
    print_summary(&made)
}

fn run_text(args: TextArgs) -> anyhow::Result<()> {
    let options = TextOptions {
        inputs: args.inputs,
        tokenizer: args.tokenizer,
        end_token: args.end_token,
        out: args.out,
        valid_share: args.valid_share,
        doc_bytes: args.doc_bytes,
        seed: args.seed,
        force: args.force,
    };
    let made = with_progress_bar(|on_progress| make_text(&options, on_progress)).context("cannot make the dataset")?;
    if made.end_token.is_none() {
        output::print_error_line(
            "warning: the tokenizer has no end token: documents run into each other; name one with --eos",
        );
    }
    print_summary(&made)
}

/// Describes every path, and reports unusable ones on standard error. One unusable path fails the command.
fn run_inspect(args: &InspectArgs) -> anyhow::Result<()> {
    let mut sound = Vec::new();
    let mut broken = 0;
    for path in &args.paths {
        match with_progress_bar(|on_progress| describe(path, args.vocab, on_progress)) {
            Ok(description) if args.json => sound.push(description),
            Ok(description) => print_text(&format!("{description}\n"))?,
            Err(error) if args.paths.len() == 1 => return Err(error.into()),
            Err(error) => {
                output::print_error_line(format_args!("error: {error}\n"));
                broken += 1;
            }
        }
    }
    if args.json {
        print_text(&format!("{}\n", serde_json::to_string_pretty(&sound)?))?;
    }
    match broken {
        0 => Ok(()),
        _ => bail!("{broken} of {} paths are unusable", args.paths.len()),
    }
}

fn print_summary(made: &DatasetSummary) -> anyhow::Result<()> {
    let mut text = format!("{}\n", made.out.display());
    for (split, counts) in &made.splits {
        let documents = pluralize(counts.documents, "document");
        let (tokens, shards) = (pluralize(counts.tokens, "token"), pluralize(counts.shards as u64, "shard"));
        let line = format!("  {:<6} {documents}, {tokens}, {shards}\n", split.name());
        text.push_str(&line);
    }
    if !made.splits.contains_key(&Split::Valid) {
        text.push_str("  valid  none: a run on this dataset has no validation\n");
    }
    text.push_str(&format!("  vocabulary: {} tokens\n", made.vocab_size));
    if let Some(token) = &made.end_token {
        text.push_str(&format!("  end token: {token}\n"));
    }
    if made.empty > 0 {
        text.push_str(&format!("  {} skipped\n", pluralize(made.empty, "empty document")));
    }
    if made.nulls > 0 {
        text.push_str(&format!("  {} skipped\n", pluralize(made.nulls, "null text")));
    }
    if let Some(means) = made.graphs {
        let paper = |text: String| if made.published.is_some() { format!(" {text:>6}") } else { String::new() };
        text.push_str(&format!("  {:<14} {:>6}{}\n", "mean", "here", paper("paper".to_owned())));
        let published = made.published.unwrap_or_default();
        for (name, here, there) in [
            ("nodes", means.nodes, published.nodes),
            ("edges", means.edges, published.edges),
            ("shortest path", means.shortest_path, published.shortest_path),
        ] {
            text.push_str(&format!("  {name:<14} {here:>6.1}{}\n", paper(format!("{there:.1}"))));
        }
    }
    print_text(&text)
}

/// Prints to standard output. A closed pipe (`| head`) is not an error.
fn print_text(text: &str) -> anyhow::Result<()> {
    match output::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("cannot write to stdout"),
    }
}
