//! Owns: `completions` and `man`: what shells and man read, made from the definition of the command line.
//! Must not know: any verb.
//! Invariant: nothing is written but to standard output.

use super::output;
use clap::Args;
use clap_complete::Shell;
use std::io::Write;
use std::process::ExitCode;

const EXAMPLES: &str = "Examples:
  coconut-lab completions bash > ~/.local/share/bash-completion/completions/coconut-lab
  coconut-lab completions zsh > ~/.zfunc/_coconut-lab
  coconut-lab completions fish > ~/.config/fish/completions/coconut-lab.fish";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// Shell to complete in.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completions of a shell.
pub(super) fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "coconut-lab", &mut text);
    output::stdout_for_text().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the manual page in the format of man.
pub(super) fn print_manual() -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_mangen::Man::new(super::command()).render(&mut text)?;
    output::stdout_for_text().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}
