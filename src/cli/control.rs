//! Owns: `control`: one command to a run of another process, and its answer.
//! Must not know: how a request travels, what a command does.
//! Invariant: the exit code is 0 only if the run has done what was asked.

use super::{bail_usage, output, run_lookup};
use crate::record::requests::SentRequest;
use crate::record::run_folder::RunFolder;
use crate::record::status;
use crate::schema::protocol::{AnswerPart, Command, PlaygroundAnswer, PlaygroundRequest, SetKeys};
use crate::schema::requests::{RequestAnswer, RequestOutcome};
use crate::schema::status::RunState;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

const EXAMPLES: &str = "Examples:
  coconut-lab control last pause
  coconut-lab control quickstart set optim.lr=1e-4 recycle.fraction=0.2
  coconut-lab control last checkpoint --wait 600 --json
  coconut-lab control last ask 'Every wumpus is a' --policy never --max-tokens 20

The command is left in the run folder; the run carries it out at its next step, also while it is paused. Exit code 0: it
is done; 1: it was refused, not answered in time, or no trainer is running. What was not begun in time is taken back.
`coconut-lab watch RUN` does the same with keys.";

/// Time between two looks for the answer.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ControlArgs {
    /// Run: a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`.
    run: String,
    #[command(subcommand)]
    command: ControlCommand,
    /// Seconds to wait for the answer. 0: leave the command and do not wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, global = true)]
    wait: f64,
    /// Print a JSON object: run, command, outcome, step, text, answer.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum ControlCommand {
    /// Pause before the next step.
    Pause,
    /// Continue a paused run, whoever paused it.
    Go,
    /// Do one step of a paused run, and wait for its end.
    Step,
    /// Write a checkpoint now.
    Checkpoint,
    /// End the run with a checkpoint, from which `resume` continues it.
    Stop {
        /// Write no checkpoint. What was measured is kept.
        #[arg(long)]
        no_checkpoint: bool,
    },
    /// Write a note at the current step.
    Note {
        /// Text of the note.
        text: String,
    },
    /// Change config keys, all or none, from the next step on.
    Set {
        /// Config keys and their new values.
        #[arg(required = true, value_name = "SECTION.KEY=VALUE")]
        values: Vec<String>,
    },
    /// Let the model continue a text between two steps, and print that.
    Ask {
        /// Text to continue.
        prompt: String,
        /// When to think, as in `generate --policy`.
        #[arg(long, default_value_t = PlaygroundRequest::default().policy)]
        policy: String,
        /// Sampling temperature; 0 picks the likeliest token.
        #[arg(long, default_value_t = 0.0)]
        temperature: f64,
        /// Most tokens to write.
        #[arg(long, value_name = "N", default_value_t = PlaygroundRequest::default().max_tokens)]
        max_tokens: usize,
        /// Step of the checkpoint that answers; without it, the current weights.
        #[arg(long, value_name = "STEP")]
        weights: Option<u64>,
    },
}

/// What became of the command, as `--json` prints it.
#[derive(Serialize)]
struct ControlReport {
    run: String,
    command: &'static str,
    /// done, refused, unknown (the run ended meanwhile), unanswered, sent (`--wait 0`), or not_running.
    outcome: &'static str,
    step: Option<u64>,
    text: String,
    answer: Option<PlaygroundAnswer>,
}

pub(super) fn run(args: ControlArgs) -> anyhow::Result<ExitCode> {
    let folder = RunFolder::open(&run_lookup::run_folder(&args.run)?)?;
    let Ok(wait) = Duration::try_from_secs_f64(args.wait) else {
        bail_usage!("--wait {}: expected seconds, 0 or more", args.wait)
    };
    let command = protocol_command(args.command)?;
    let (outcome, answer) = match folder.is_locked() {
        true => ask_trainer(&folder, &command, wait)?,
        false => ("not_running", unsent(not_running_text(&folder)?)),
    };
    let RequestAnswer { step, text, answer, .. } = answer;
    let report = ControlReport { run: folder.id(), command: command.name(), outcome, step, text, answer };
    print_report(&report, args.json)?;
    Ok(if matches!(outcome, "done" | "sent") { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn protocol_command(command: ControlCommand) -> anyhow::Result<Command> {
    Ok(match command {
        ControlCommand::Pause => Command::SetPaused(true),
        ControlCommand::Go => Command::SetPaused(false),
        ControlCommand::Step => Command::StepOnce,
        ControlCommand::Checkpoint => Command::Save,
        ControlCommand::Stop { no_checkpoint: false } => Command::Stop,
        ControlCommand::Stop { no_checkpoint: true } => Command::StopWithoutCheckpoint,
        ControlCommand::Note { text } if text.trim().is_empty() => bail_usage!("the note is empty"),
        ControlCommand::Note { text } => Command::Note(text.trim().to_owned()),
        ControlCommand::Set { values } => {
            let mut pairs = Vec::new();
            for text in values {
                let Some((key, value)) = text.split_once('=') else {
                    bail_usage!("`{text}`: expected SECTION.KEY=VALUE");
                };
                pairs.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            Command::SetKeys(SetKeys { values: pairs, requested_at: SystemTime::now() })
        }
        ControlCommand::Ask { prompt, policy, temperature, max_tokens, weights } => {
            Command::Ask(Box::new(PlaygroundRequest { prompt, policy, temperature, max_tokens, checkpoint: weights }))
        }
    })
}

/// Leaves the command for the run's trainer, and waits for the answer. Returns the outcome in a word, too.
fn ask_trainer(folder: &RunFolder, command: &Command, wait: Duration) -> anyhow::Result<(&'static str, RequestAnswer)> {
    let sent = SentRequest::send(folder, command)?;
    if wait.is_zero() {
        return Ok(("sent", unsent("left in the run folder".into())));
    }
    let since = Instant::now();
    loop {
        // Read before the answer: an answer is written before the lock is released.
        let is_running = folder.is_locked();
        if let Some(answer) = sent.take_answer() {
            return Ok((outcome_word(answer.outcome), answer));
        }
        if !is_running {
            let began = !sent.withdraw();
            let text = if began { "the process ended while it carried this out" } else { "the run has ended" };
            return Ok((if began { "unknown" } else { "refused" }, unsent(text.into())));
        }
        if since.elapsed() >= wait {
            let seconds = wait.as_secs_f64();
            let text = match sent.withdraw() {
                true => format!("no step ended within {seconds} s; taken back. --wait waits longer"),
                false => format!("begun, but not done within {seconds} s; it goes on"),
            };
            return Ok(("unanswered", unsent(text)));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

fn unsent(text: String) -> RequestAnswer {
    RequestAnswer { outcome: RequestOutcome::Unknown, step: None, text, answer: None }
}

fn outcome_word(outcome: RequestOutcome) -> &'static str {
    match outcome {
        RequestOutcome::Done => "done",
        RequestOutcome::Refused => "refused",
        RequestOutcome::Unknown => "unknown",
    }
}

/// Says how a run without a trainer has ended, and what continues it.
fn not_running_text(folder: &RunFolder) -> anyhow::Result<String> {
    let run = folder.path().display();
    let Some(status) = status::read_status(folder)? else {
        return Ok(format!("no trainer is running; `coconut-lab resume {run}` starts one"));
    };
    let more = if status.state == RunState::Finished { " --steps N" } else { "" };
    let (state, step, steps) = (<&str>::from(status.state), status.step, status.steps);
    Ok(format!(
        "no trainer is running: the run is {state} at step {step} of {steps}; `coconut-lab resume {run}{more}` continues it"
    ))
}

/// Prints what was done to standard output, and what was not to standard error; JSON always to standard output.
fn print_report(report: &ControlReport, json: bool) -> anyhow::Result<()> {
    if json {
        writeln!(output::stdout(), "{}", serde_json::to_string_pretty(report)?)?;
        return Ok(());
    }
    let at = report.step.map_or(String::new(), |step| format!(" at step {step}"));
    if let Some(answer) = &report.answer {
        writeln!(output::stdout_for_text(), "{}{}", answer.prompt, answer_text(answer))?;
    }
    match report.outcome {
        "done" if report.answer.is_some() => {}
        "done" | "sent" => writeln!(output::stdout(), "{}{at}: {}", report.outcome, report.text)?,
        "not_running" => output::print_error_line(&report.text),
        outcome => output::print_error_line(format_args!("{outcome}{at}: {}", report.text)),
    }
    Ok(())
}

/// Returns the text of an answer; thoughts are lists of entropies in brackets.
fn answer_text(answer: &PlaygroundAnswer) -> String {
    let part = |part: &AnswerPart| match part {
        AnswerPart::Text(text) => text.clone(),
        AnswerPart::Thought(entropies) => {
            let entropies: Vec<String> = entropies.iter().map(|entropy| format!("{entropy:.2}")).collect();
            format!("⟨{}⟩", entropies.join("→"))
        }
    };
    answer.parts.iter().map(part).collect()
}
