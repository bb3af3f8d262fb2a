//! Owns: the metrics of validation answers: accuracy, by number of steps, and under controls of the latents.
//! Must not know: any objective, how an answer is generated.
//! Invariant: a control answers the same questions under the same policy; only what is fed at latents differs.

use crate::generate::{GenerateError, GenerationRequest, Intervention, LatentSource};
use crate::schema::metrics::{Metric, StepRow};
use crate::schema::protocol::accuracy_by_steps_name;
use crate::train::eval::accuracy::AnswerScore;
use crate::train::step::readback::mean;

/// Sets the accuracy of answers to questions with so many `steps`, and returns the accuracy by number of steps as further figures with their names.
pub(super) fn answer_validation(scores: &[AnswerScore], steps: &[usize], row: &mut StepRow) -> Vec<(String, f64)> {
    row.set_if_some(Metric::ValidAccuracy, share_correct(scores.iter()));
    let mut lengths = steps.to_vec();
    lengths.sort_unstable();
    lengths.dedup();
    let figure = |length: usize| {
        let of_length = scores.iter().zip(steps).filter(|(_, steps)| **steps == length).map(|(score, _)| score);
        Some((accuracy_by_steps_name(length), share_correct(of_length)?))
    };
    lengths.into_iter().filter_map(figure).collect()
}

fn share_correct<'a>(scores: impl Iterator<Item = &'a AnswerScore>) -> Option<f64> {
    mean(scores.map(|score| f32::from(u8::from(score.correct))))
}

/// Answers validation questions again with other states at the latents.
pub(super) fn measure_controls(
    request: &GenerationRequest,
    answer: impl Fn(&GenerationRequest) -> Result<Vec<AnswerScore>, GenerateError>,
    row: &mut StepRow,
) -> Result<(), GenerateError> {
    for (source, metric) in [
        (LatentSource::Zero, Metric::ValidAccuracyZeroed),
        (LatentSource::Transplant, Metric::ValidAccuracyTransplanted),
    ] {
        let request = GenerationRequest { intervention: Intervention { source, only: None }, ..request.clone() };
        row.set_if_some(metric, share_correct(answer(&request)?.iter()));
    }
    Ok(())
}
