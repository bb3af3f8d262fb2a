//! Owns: how a validation reads in the log.
//! Must not know: how it is made.
//! Invariant: one line a subject; what was not measured is not said.

use crate::record::registry::{Metric, StepRow};

/// Says what the validation in `row` found.
pub(super) fn validation(row: &StepRow) {
    lines(row).iter().for_each(|line| tracing::info!("{line}"));
}

fn lines(row: &StepRow) -> Vec<String> {
    let get = |metric| row.get(metric);
    let step = row.step();
    let Some(plain) = get(Metric::ValidPlain) else { return Vec::new() };
    let mut lines = vec![format!("validation at step {step}: plain {plain:.4} nats")];
    if let (Some(recycled), Some(there)) = (get(Metric::ValidRecycled), get(Metric::ValidPlainAtRecycled)) {
        lines[0] += &format!("; at the same positions recycled {recycled:.4}, plain {there:.4}");
        let controls = [
            ("a pause", Metric::ValidPause),
            ("the mean embedding", Metric::ValidMasked),
            ("another's", Metric::ValidShuffled),
        ];
        let controls: Vec<String> = controls
            .iter()
            .filter_map(|(name, metric)| get(*metric).map(|loss| format!("{name} {loss:.4}")))
            .collect();
        lines.push(format!("in the latent's place: {}", controls.join(", ")));
    }
    if let (Some(ms), Some(flop)) = (get(Metric::SequentialMs), get(Metric::SequentialFlop)) {
        lines.push(format!("a latent one after another: {ms:.3} ms, {:.1} Mflop", flop / 1e6));
    }
    if let (Some(ms), Some(flop)) = (get(Metric::LatentMs), get(Metric::LatentFlop)) {
        lines.push(format!("a latent here: {ms:.3} ms, {:.1} Mflop", flop / 1e6));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_was_measured_and_nothing_else() {
        let mut row = StepRow::new(7);
        assert!(lines(&row).is_empty());
        row.set(Metric::ValidPlain, 1.0);
        assert_eq!(lines(&row), ["validation at step 7: plain 1.0000 nats"]);
        row.set(Metric::ValidRecycled, 1.5);
        row.set(Metric::ValidPlainAtRecycled, 1.25);
        row.set(Metric::ValidShuffled, 2.0);
        row.set(Metric::LatentMs, 0.5);
        row.set(Metric::LatentFlop, 2.5e6);
        assert_eq!(
            lines(&row)[1..],
            ["in the latent's place: another's 2.0000", "a latent here: 0.500 ms, 2.5 Mflop"]
        );
    }
}
