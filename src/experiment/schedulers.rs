//! Owns: the text that hands an experiment's runs to a scheduler: an array script for Slurm, or a line for each run.
//! Must not know: which runs exist, how a run is made.
//! Invariant: a job makes one run and can be started any number of times; each time it goes on where the run is.

use super::plan::Experiment;
use std::path::Path;

/// What a Slurm script asks for.
#[derive(Clone, Debug)]
pub struct SlurmOptions {
    /// Most jobs at the same time; 0: no limit.
    pub at_once: usize,
    /// Further `#SBATCH` options, such as `--time=02:00:00` or `--gres=gpu:1`.
    pub options: Vec<String>,
    /// Seconds before the end of a job's time at which it is told to stop.
    pub grace_seconds: u64,
}

/// Returns a line for each run: a command that makes it, for GNU parallel or xargs.
pub fn command_lines(experiment: &Experiment, program: &Path) -> String {
    let (program, file) = (shell_word(&program.to_string_lossy()), shell_word(&experiment.file.to_string_lossy()));
    let lines =
        experiment.runs.iter().map(|run| format!("{program} experiment run {file} --only {} --headless\n", run.name));
    lines.collect()
}

/// Returns an array script: one task for each run, started again by Slurm until its run has ended.
pub fn slurm_script(experiment: &Experiment, program: &Path, options: &SlurmOptions) -> String {
    let spec = &experiment.spec;
    let last = experiment.runs.len() - 1;
    let limit = if options.at_once > 0 { format!("%{}", options.at_once) } else { String::new() };
    let more: String = options.options.iter().map(|option| format!("#SBATCH {option}\n")).collect();
    let names: String = experiment.runs.iter().map(|run| format!("  {}\n", run.name)).collect();
    let logs = shell_word(&spec.dir.join("slurm").to_string_lossy());
    let (program, file) = (shell_word(&program.to_string_lossy()), shell_word(&experiment.file.to_string_lossy()));
    format!(
        r#"#!/bin/bash
# Experiment {name}: {count} runs. Written by `coconut-lab experiment plan`. Submit it with sbatch from the working directory
# that the experiment's paths are relative to. Afterwards: coconut-lab experiment report {file}
#SBATCH --job-name={name}
#SBATCH --array=0-{last}{limit}
#SBATCH --output={logs}/%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:USR1@{grace}
{more}
runs=(
{names})
run="${{runs[$SLURM_ARRAY_TASK_ID]}}"

# Signals of Slurm come to this shell. The run answers each by a checkpoint and a stop.
forward() {{ kill -USR1 "$child" 2>/dev/null; }}
trap forward USR1 TERM

{program} experiment run {file} --only "$run" --headless &
child=$!
# A signal ends `wait` before the run ends.
while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done
wait "$child" 2>/dev/null; again=$?
[ "$again" -ne 127 ] && code=$again

# 75: stopped early, go on with me. 138 and 143: a signal came before the program could listen.
case "$code" in
  75|138|143) scontrol requeue "$SLURM_JOB_ID" ;;
esac
exit "$code"
"#,
        name = spec.name,
        count = experiment.runs.len(),
        grace = options.grace_seconds,
    )
}

/// Returns `text` as one word of a shell command.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::experiment;
    use super::*;

    #[test]
    fn every_run_is_one_line_and_one_task() {
        let dir = tempfile::tempdir().unwrap();
        let planned = experiment(dir.path(), str::to_owned).unwrap();
        let lines = command_lines(&planned, Path::new("/opt/my lab/coconut-lab"));
        assert_eq!(lines.lines().count(), 4);
        assert!(lines.starts_with("'/opt/my lab/coconut-lab' experiment run "), "{lines}");
        assert!(lines.lines().nth(3).unwrap().ends_with("often.toml --only every-2-s1 --headless"), "{lines}");
        let options = SlurmOptions { at_once: 2, options: vec!["--time=00:10:00".into()], grace_seconds: 120 };
        let script = slurm_script(&planned, Path::new("coconut-lab"), &options);
        for wanted in [
            "#SBATCH --array=0-3%2\n",
            "/%A_%a.log\n",
            "#SBATCH --requeue\n",
            "#SBATCH --signal=B:USR1@120\n",
            "#SBATCH --open-mode=append\n",
            "#SBATCH --time=00:10:00\n",
            "  every-2-s1\n",
        ] {
            assert!(script.contains(wanted), "{wanted}: {script}");
        }
    }
}
