//! Owns: the names of the commands of the command line, and what each does.
//! Must not know: how a command is parsed or carried out.
//! Invariant: completion, hints and the reference page come from this one list.

/// The commands, each with its help text. A help text with arguments has the form `NAME ARGS: text`.
pub const COMMANDS: [(&str, &str); 21] = [
    ("set", "set KEY VALUE: change a config key from the next step on"),
    ("lr", "lr VALUE: set the peak learning rate"),
    ("undo", "undo the last config change"),
    ("note", "note TEXT: write a note at this step"),
    ("ask", "ask TEXT: let the model continue TEXT in the playground"),
    ("policy", "policy NAME[:KEY=VALUE,…]: set when the playground thinks: never, fixed, entropy, trend"),
    ("temperature", "temperature VALUE: set the sampling temperature of the playground; 0 is greedy"),
    ("length", "length TOKENS: limit the length of a playground answer"),
    ("weights", "weights STEP|now: answer with the checkpoint of STEP, or with the current weights"),
    ("goto", "goto STEP: move the step cursor of the charts"),
    ("checkpoint", "write a checkpoint now"),
    ("pause", "pause before the next step"),
    ("go", "continue a paused run"),
    ("step", "run one step of a paused run"),
    ("stop", "stop [drop]: end the run with a checkpoint, and stay here; `drop`: without a checkpoint"),
    ("export", "export [TABLE] FILE: write a table as .parquet or .csv"),
    ("fork", "fork NAME [KEY=VALUE …]: stop this run and fork it from its newest checkpoint"),
    ("resume", "resume [STEPS]: resume a run that has ended, up to STEPS steps in total"),
    ("runs", "open the list of runs; the run goes on"),
    ("help", "show all keys"),
    ("quit", "leave the dashboard"),
];

/// Returns the rows of `COMMANDS`, each as what a user types and what it does, for the reference pages.
pub fn command_table() -> Vec<[&'static str; 2]> {
    COMMANDS.iter().map(|(name, help)| help.split_once(": ").map_or([*name, *help], <[_; 2]>::from)).collect()
}
