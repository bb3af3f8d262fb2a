//! Owns: the log lines of a validation.
//! Must not know: how a validation is computed.
//! Invariant: one line for each subject; metrics that were not measured are left out.

use crate::schema::metrics::{Metric, StepRow};

pub(in crate::train) fn log_validation(row: &StepRow) {
    validation_lines(row).iter().for_each(|line| tracing::info!("{line}"));
}

fn validation_lines(row: &StepRow) -> Vec<String> {
    let get = |metric| row.get(metric);
    let step = row.step();
    if let (Some(loss), Some(accuracy)) = (get(Metric::ValidQuestions), get(Metric::ValidAccuracy)) {
        return vec![format!(
            "validation at step {step}: questions {loss:.4} nats, {:.1} % answered rightly",
            accuracy * 100.0
        )];
    }
    if let Some(accuracy) = get(Metric::ValidAccuracy) {
        let mut line = format!("validation at step {step}: {:.1} % answered rightly", accuracy * 100.0);
        let controls = [("zeroed", Metric::ValidAccuracyZeroed), ("transplanted", Metric::ValidAccuracyTransplanted)];
        for (name, share) in controls.into_iter().filter_map(|(name, metric)| Some((name, get(metric)?))) {
            line += &format!(", {:.1} % with latents {name}", share * 100.0);
        }
        return vec![line];
    }
    let Some(plain) = get(Metric::ValidPlain) else { return Vec::new() };
    let mut lines = vec![format!("validation at step {step}: plain {plain:.4} nats")];
    if let (Some(recycled), Some(plain_there)) = (get(Metric::ValidRecycled), get(Metric::ValidPlainAtRecycled)) {
        lines[0] += &format!("; at recycled positions: recycled {recycled:.4}, plain {plain_there:.4}");
        let controls = [
            ("pause vector", Metric::ValidPause),
            ("mean embedding", Metric::ValidMasked),
            ("shuffled states", Metric::ValidShuffled),
        ];
        let controls: Vec<String> =
            controls.iter().filter_map(|(name, metric)| get(*metric).map(|loss| format!("{name} {loss:.4}"))).collect();
        lines.push(format!("controls instead of the states: {}", controls.join(", ")));
    }
    if let (Some(ms), Some(flop)) = (get(Metric::SequentialMs), get(Metric::SequentialFlop)) {
        lines.push(format!("sequential cost of a latent: {ms:.3} ms, {:.1} Mflop", flop / 1e6));
    }
    if let (Some(ms), Some(flop)) = (get(Metric::LatentMs), get(Metric::LatentFlop)) {
        lines.push(format!("cost of a latent: {ms:.3} ms, {:.1} Mflop", flop / 1e6));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_only_what_was_measured() {
        let mut row = StepRow::new(7);
        assert!(validation_lines(&row).is_empty());
        row.set(Metric::ValidQuestions, 0.5);
        row.set(Metric::ValidAccuracy, 0.25);
        assert_eq!(validation_lines(&row), ["validation at step 7: questions 0.5000 nats, 25.0 % answered rightly"]);
        let mut row = StepRow::new(7);
        row.set(Metric::ValidAccuracy, 0.5);
        row.set(Metric::ValidAccuracyZeroed, 0.25);
        let line = "validation at step 7: 50.0 % answered rightly, 25.0 % with latents zeroed";
        assert_eq!(validation_lines(&row), [line]);
        let mut row = StepRow::new(7);
        row.set(Metric::ValidPlain, 1.0);
        assert_eq!(validation_lines(&row), ["validation at step 7: plain 1.0000 nats"]);
        row.set(Metric::ValidRecycled, 1.5);
        row.set(Metric::ValidPlainAtRecycled, 1.25);
        row.set(Metric::ValidShuffled, 2.0);
        row.set(Metric::LatentMs, 0.5);
        row.set(Metric::LatentFlop, 2.5e6);
        assert_eq!(
            validation_lines(&row)[1..],
            ["controls instead of the states: shuffled states 2.0000", "cost of a latent: 0.500 ms, 2.5 Mflop"]
        );
    }
}
