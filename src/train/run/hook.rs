//! Owns: the command that a run starts at alerts and at its end (`record.hook`).
//! Must not know: what an alert means, who reads the facts.
//! Invariant: the trainer never waits for the command, and its failure changes nothing.

use crate::schema::protocol::{Alert, AlertTopic, Event};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Child, Command, Stdio};

/// Most bytes of a text that the command gets: less than a pipe holds, so that writing never waits.
const MAX_TEXT_BYTES: usize = 4096;

/// A command that is told of alerts and of the end of a run.
#[derive(Clone, Debug)]
pub(super) struct Hook {
    command: String,
    /// The run folder.
    run: String,
}

impl Hook {
    /// Creates a hook; `None` without a command.
    pub fn new(command: &str, run: String) -> Option<Self> {
        (!command.trim().is_empty()).then(|| Self { command: command.to_owned(), run })
    }

    /// Starts the command if `event` is an alert or the end of the run, with the facts as a line of JSON on its standard
    /// input.
    pub fn call(&self, event: &Event) {
        let Some(mut facts) = facts(event) else { return };
        facts["run"] = json!(self.run);
        match self.start(&facts) {
            // A thread collects the exit status, so that no zombie is left.
            Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
            Err(error) => tracing::warn!("`record.hook` cannot be started: {error}"),
        }
    }

    fn start(&self, facts: &Value) -> std::io::Result<Child> {
        let (shell, option) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut command = Command::new(shell);
        command.args([option, &self.command]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read is fine.
            let _ = writeln!(stdin, "{facts}");
        }
        Ok(child)
    }
}

/// Returns what the command is told of an event; `None` if it is not told.
fn facts(event: &Event) -> Option<Value> {
    let short = |text: &str| text.chars().take(MAX_TEXT_BYTES / 4).collect::<String>();
    match event {
        Event::Alert(Alert { topic, text, .. }) => Some(json!({
            "event": if text.is_some() { "alert" } else { "alert_over" },
            // The table of events has a shorter word.
            "topic": if *topic == AlertTopic::DiskFull { "disk_full" } else { topic.name() },
            "text": text.as_deref().map(short),
        })),
        Event::Finished(summary) => Some(json!({
            "event": if summary.stopped_early { "stopped" } else { "finished" },
            "step": summary.steps,
            "seconds": summary.duration.as_secs_f64(),
            "checkpoint": summary.checkpoint,
        })),
        Event::Failed(text) => Some(json!({ "event": "failed", "text": short(text) })),
        _ => None,
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn the_command_gets_the_facts_of_alerts_and_of_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("facts");
        let hook = Hook::new(&format!("cat >> {}", file.display()), "checkpoints/r".into()).unwrap();
        hook.call(&Event::Failed("no".into()));
        let read = || std::fs::read_to_string(&file).unwrap_or_default();
        let since = Instant::now();
        while !read().ends_with('\n') && since.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let found: Value = serde_json::from_str(&read()).unwrap();
        assert_eq!(found, json!({ "event": "failed", "text": "no", "run": "checkpoints/r" }));
        assert!(Hook::new("  ", String::new()).is_none());
        let alert = |text: Option<&str>| {
            let text = text.map(str::to_owned);
            facts(&Event::Alert(Alert::now(AlertTopic::Divergence, text))).unwrap()
        };
        assert_eq!(alert(Some("x"))["event"], "alert");
        assert_eq!(alert(None)["event"], "alert_over");
        let topics = [AlertTopic::DiskFull, AlertTopic::NotFinite, AlertTopic::Stalled].map(|topic| {
            let event = Event::Alert(Alert::now(topic, Some("x".into())));
            facts(&event).unwrap()["topic"].as_str().unwrap().to_owned()
        });
        assert_eq!(topics, ["disk_full", "not_finite", "stalled"]);
        let long = alert(Some(&"ä".repeat(100_000)));
        assert!(long.to_string().len() < 2 * MAX_TEXT_BYTES);
    }
}
