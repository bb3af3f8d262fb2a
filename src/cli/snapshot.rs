//! Owns: `snapshot`: it draws the dashboard of a run, one panel, or the dashboard of several runs to a file.
//! Must not know: what panels draw.
//! Invariant: it needs no terminal, and only reads the run.

use super::bail_usage;
use super::multi_run_reader::{self, RunSource};
use super::output;
use super::run_lookup;
use super::watch::several_runs;
use crate::record::reader;
use crate::record::run_folder::RunFolder;
use crate::schema::multi_run::MultiRunUpdate;
use crate::schema::protocol::{Alert, AlertTopic, Event};
use crate::schema::run_list::RunListUpdate;
use crate::tui::Panel;
use crate::tui::picture::snapshot::{Background, MAX_SIZE, PictureColors, PictureFormat, SnapshotOptions};
use crate::tui::picture::{several_runs as runs_picture, snapshot};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab snapshot last --out dashboard.svg
  coconut-lab snapshot last --panel entropy --size 120x40 --out entropy.svg
  coconut-lab snapshot last --panel loss --keys yz --out loss.txt        log losses, the last half

  coconut-lab snapshot first second third --keys 'o valid_loss_plain<Enter>' --out runs.svg
  coconut-lab snapshot --dir checkpoints --size 200x60 --out all.svg

--keys takes characters and names such as <Left>, <PageUp> or <Enter>. Press `?` in the dashboard for a list
of its keys. Keys that do more than change the picture are refused.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SnapshotArgs {
    /// Run: a run folder, its name in checkpoints/, a run's name (the newest of that name), or `last`. Several runs are
    /// drawn on one chart.
    #[arg(required_unless_present = "dir", value_name = "RUN")]
    runs: Vec<String>,
    /// Draw all runs in this folder on one chart.
    #[arg(long, value_name = "DIR", conflicts_with = "runs")]
    dir: Option<PathBuf>,
    /// Panel to draw [default: the whole dashboard]
    ///
    /// One of: run, loss, schedule, entropy, thoughts, cost, changes, log, samples, playground, layers, rollouts.
    #[arg(long, value_parser = parse_panel)]
    panel: Option<Panel>,
    /// Size of the picture in terminal columns and lines, at most 500x200.
    #[arg(long, default_value = "120x40", value_name = "COLUMNSxLINES", value_parser = parse_size)]
    size: (u16, u16),
    /// Keys of the dashboard to press before the picture is drawn.
    #[arg(long, default_value = "", value_name = "KEYS")]
    keys: String,
    /// Draw with ASCII characters only.
    #[arg(long)]
    ascii: bool,
    /// Background that the colours are for.
    #[arg(long, default_value = "dark", value_name = "BACKGROUND")]
    theme: SnapshotTheme,
    /// Colours of the picture: all, or the 16 that every terminal has.
    #[arg(long, default_value = "all", value_name = "COLORS")]
    colors: SnapshotColors,
    /// File to write; its name must end in .svg or .txt.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SnapshotTheme {
    Dark,
    Light,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SnapshotColors {
    All,
    #[value(name = "16")]
    Sixteen,
}

fn parse_panel(name: &str) -> Result<Panel, String> {
    let names = || Panel::ALL.map(Panel::name).join(", ");
    Panel::from_name(name).ok_or_else(|| format!("allowed: {}", names()))
}

fn parse_size(text: &str) -> Result<(u16, u16), String> {
    let parts = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    let fits = |(width, height): &(u16, u16)| (1..=MAX_SIZE.0).contains(width) && (1..=MAX_SIZE.1).contains(height);
    parts.filter(fits).ok_or_else(|| format!("expected COLUMNSxLINES, at most {}x{}", MAX_SIZE.0, MAX_SIZE.1))
}

/// Draws the picture, writes it, and prints the name of the file.
pub(super) fn run(args: SnapshotArgs) -> anyhow::Result<ExitCode> {
    let format = match args.out.extension().and_then(|end| end.to_str()) {
        Some("svg") => PictureFormat::Svg,
        Some("txt") => PictureFormat::Text,
        _ => bail_usage!("--out {}: expected a file name that ends in .svg or .txt", args.out.display()),
    };
    let source = several_runs(&args.runs, args.dir.clone())?;
    if let (Some(_), Some(panel)) = (&source, args.panel) {
        bail_usage!("--panel {}: only the dashboard of a single run has panels", panel.name());
    }
    let run = args.runs.first().cloned();
    let out = args.out.clone();
    let options = picture_options(args, format);
    let (picture, damage) = match (source, run) {
        (Some(source), _) => draw_several(source, &options)?,
        (None, run) => draw_single(&run.unwrap_or_default(), &options)?,
    };
    std::fs::write(&out, picture).with_context(|| format!("cannot write {}", out.display()))?;
    writeln!(output::stdout(), "{}", out.display())?;
    damage.iter().for_each(|found| output::print_error_line(format_args!("warning: the picture lacks rows: {found}")));
    Ok(if damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn picture_options(args: SnapshotArgs, format: PictureFormat) -> SnapshotOptions {
    SnapshotOptions {
        panel: args.panel,
        size: args.size,
        keys: args.keys,
        ascii: args.ascii,
        background: match args.theme {
            SnapshotTheme::Dark => Background::Dark,
            SnapshotTheme::Light => Background::Light,
        },
        colors: match args.colors {
            SnapshotColors::All => PictureColors::All,
            SnapshotColors::Sixteen => PictureColors::Sixteen,
        },
        format,
    }
}

/// Draws the dashboard of a run. Returns the picture, and what of the run could not be read.
fn draw_single(run: &str, options: &SnapshotOptions) -> anyhow::Result<(String, Vec<String>)> {
    let folder = RunFolder::open(&run_lookup::run_folder(run)?)?;
    let title = match options.panel {
        Some(panel) => format!("{}: {}", folder.id(), panel.name()),
        None => folder.id(),
    };
    let mut damage = Vec::new();
    let events = reader::current_events(folder).inspect(|event| {
        if let Event::Alert(Alert { topic: AlertTopic::DamagedFile(found), .. }) = event {
            damage.push(found.clone());
        }
    });
    let picture =
        snapshot::draw(events, options, &title).map_err(|error| anyhow::anyhow!("--keys {}: {error}", options.keys))?;
    Ok((picture, damage))
}

/// Draws the dashboard of several runs. Returns the picture, and what of the runs could not be read.
fn draw_several(source: RunSource, options: &SnapshotOptions) -> anyhow::Result<(String, Vec<String>)> {
    let dir = source.place();
    let updates = multi_run_reader::read_once(source);
    let problems = updates.iter().flat_map(|update| match update {
        MultiRunUpdate::List(RunListUpdate::Row(row)) => row.problems.as_slice(),
        _ => &[],
    });
    let mut damage: Vec<String> = problems.cloned().collect();
    damage.sort();
    damage.dedup();
    let picture = runs_picture::draw(&dir, updates, options)
        .map_err(|error| anyhow::anyhow!("--keys {}: {error}", options.keys))?;
    Ok((picture, damage))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::picture::snapshot::tests::replay;

    #[test]
    fn memory_stays_bounded_when_a_run_is_replayed_through_the_dashboard() {
        let folder = RunFolder::open("tests/fixtures/session".as_ref()).unwrap();
        let session: Vec<Event> = reader::current_events(folder).collect();
        let steps = session.iter().filter(|event| matches!(event, Event::Step(_))).count();
        assert_eq!(steps, 2001, "with the validation before the first");
        let weights = replay(&session, 2000, 24);
        // Full histories are halved, so the weight goes up and down; rare measurements fill theirs slowly.
        // Of 2000 steps with fifty numbers each, no more than this may stay:
        let (early, late) = (weights[..12].iter().max().unwrap(), weights[12..].iter().max().unwrap());
        assert!(late - early.min(late) < 12 * 600, "{weights:?}");
        assert!(*late < 100_000 + 2 * 65_536, "{weights:?}");
    }
}
