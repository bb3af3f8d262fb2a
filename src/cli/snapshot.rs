//! Owns: `snapshot`: a picture of a run's dashboard, or of one panel, as a file.
//! Must not know: what panels draw.
//! Invariant: it needs no terminal, and only reads the run.

use super::{find, follow};
use crate::record::folder::RunFolder;
use crate::tui::Panel;
use crate::tui::snapshot::{self, Format, MOST, Wish};
use anyhow::Context;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab snapshot last --out dashboard.svg
  coconut-lab snapshot last --panel entropy --size 120x40 --out entropy.svg
  coconut-lab snapshot last --panel loss --keys yz --out loss.txt        log losses, the last half

--keys are keys of the dashboard, pressed before the picture is taken: characters, and names such as <Left>. `?` in the
dashboard shows what they do.";

/// What `snapshot` is told.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SnapshotArgs {
    /// A run folder, its name in checkpoints/, the name of a run (the newest of it), or `last`.
    run: String,
    /// The panel that fills the picture; without it, the whole dashboard.
    #[arg(long, value_parser = panel)]
    panel: Option<Panel>,
    /// Columns and lines.
    #[arg(long, default_value = "120x40", value_name = "COLUMNSxLINES", value_parser = size)]
    size: (u16, u16),
    /// Keys that are pressed before it is taken.
    #[arg(long, default_value = "", value_name = "KEYS")]
    keys: String,
    /// Draw with ASCII characters alone.
    #[arg(long)]
    ascii: bool,
    /// The file to write; it ends in .svg or .txt.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

fn panel(name: &str) -> Result<Panel, String> {
    let names = || Panel::ALL.map(Panel::name).join(", ");
    Panel::named(name).ok_or_else(|| format!("there are: {}", names()))
}

fn size(text: &str) -> Result<(u16, u16), String> {
    let parts = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    let fits = |(width, height): &(u16, u16)| (1..=MOST.0).contains(width) && (1..=MOST.1).contains(height);
    parts.filter(fits).ok_or_else(|| format!("COLUMNSxLINES is expected, at most {}x{}", MOST.0, MOST.1))
}

/// Draws, and says where.
pub(super) fn run(args: SnapshotArgs) -> anyhow::Result<ExitCode> {
    let format = match args.out.extension().and_then(|end| end.to_str()) {
        Some("svg") => Format::Svg,
        Some("txt") => Format::Text,
        _ => anyhow::bail!("{}: a file that ends in .svg or .txt is expected", args.out.display()),
    };
    let folder = RunFolder::open(&find::run(&args.run)?)?;
    let title = match args.panel {
        Some(panel) => format!("{}: {}", folder.id(), panel.name()),
        None => folder.id(),
    };
    let wish = Wish { panel: args.panel, size: args.size, keys: args.keys, ascii: args.ascii, format };
    let picture = snapshot::draw(follow::told(folder), &wish, &title)
        .map_err(|error| anyhow::anyhow!("--keys {}: {error}", wish.keys))?;
    std::fs::write(&args.out, picture).with_context(|| format!("cannot write {}", args.out.display()))?;
    writeln!(std::io::stdout(), "{}", args.out.display())?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Event;
    use crate::tui::snapshot::tests::play;

    #[test]
    fn a_recorded_run_plays_through_the_dashboard_without_growing_it() {
        let folder = RunFolder::open("tests/fixtures/session".as_ref()).unwrap();
        let session: Vec<Event> = follow::told(folder).collect();
        let steps = session.iter().filter(|event| matches!(event, Event::Step(_))).count();
        assert_eq!(steps, 2001, "with the validation before the first");
        let weights = play(&session, 2000, 24);
        // Histories that are full are halved, so that the weight goes up and down; what is measured once in a while takes long
        // to fill. Of 2000 steps with fifty numbers each not more than so much may stay:
        let (early, late) = (weights[..12].iter().max().unwrap(), weights[12..].iter().max().unwrap());
        assert!(late - early.min(late) < 12 * 600, "{weights:?}");
        assert!(*late < 100_000 + 2 * 65_536, "{weights:?}");
    }
}
