//! Owns: the series of the loss panel: its validation marks with their glyphs and names, its curves' dashes.
//! Must not know: how series are drawn or named in a legend.
//! Invariant: every mark has a glyph and a name of its own; charts, legends and the help page use this one table.

use super::RenderContext;
use super::legend::LegendNames;
use crate::schema::metrics::Metric;
use crate::tui::model::metrics::Series;
use crate::tui::plot::raster::Dash;
use crate::tui::theme::Role;

/// The difference in training: recycled loss minus plain loss at the same positions of the same step.
pub(super) const TRAINED_DIFFERENCE: Series =
    Series::Difference(Metric::LossRecycledAtRecycled, Metric::LossPlainAtRecycled);

/// A loss that validations measure: how the charts mark it and how the legends name it.
#[derive(Debug, PartialEq)]
pub(super) struct ValidationMark {
    pub metric: Metric,
    pub glyph: &'static str,
    pub role: Role,
    pub names: LegendNames,
    /// What it is, for the help page.
    pub meaning: &'static str,
    /// Whether it is a control. Axes do not cover controls, which may be far from the other losses.
    pub is_control: bool,
}

const fn mark(
    metric: Metric,
    (glyph, role): (&'static str, Role),
    names: LegendNames,
    meaning: &'static str,
    is_control: bool,
) -> ValidationMark {
    ValidationMark { metric, glyph, role, names, meaning, is_control }
}

/// The names of the plain loss at the recycled positions.
pub(super) const AT_RECYCLED: LegendNames = ["plain at recycled", "plain there", "there"];

/// The marks of validations: the charts draw them and the legends name them from this one table.
#[rustfmt::skip] // one line a mark
pub(super) static MARKS: [ValidationMark; 6] = [
    mark(Metric::ValidPlain, ("◆", Role::Plain), ["plain"; 3], "plain pass, all positions", false),
    mark(Metric::ValidRecycled, ("▲", Role::Recycled), ["recycled"; 3], "recycled pass, its positions", false),
    mark(Metric::ValidPlainAtRecycled, ("◇", Role::PlainAtRecycled), AT_RECYCLED, "plain pass, the same positions", true),
    mark(Metric::ValidPause, ("○", Role::Pause), ["pause vector", "pause", "pause"], "one learned vector for states", true),
    mark(Metric::ValidMasked, ("□", Role::Masked), ["mean embedding", "mean", "mean"], "mean embedding for states", true),
    mark(Metric::ValidShuffled, ("×", Role::Shuffled), ["shuffled state", "shuffled", "shuffled"], "states of other positions", true),
];

/// The mark of a run that learns questions, which has none of the others.
pub(super) static QUESTIONS_MARK: ValidationMark =
    mark(Metric::ValidQuestions, ("●", Role::Plain), ["questions"; 3], "steps and answers, this stage", false);

/// The mark of a run that learns from rewards.
pub(super) static ACCURACY_MARK: ValidationMark =
    mark(Metric::ValidAccuracy, ("★", Role::Recycled), ["accuracy"; 3], "share answered rightly (rl)", false);

/// Returns the marks of validations and what each is, for the help page.
pub fn mark_meanings() -> impl Iterator<Item = (String, &'static str)> {
    MARKS
        .iter()
        .chain([&QUESTIONS_MARK, &ACCURACY_MARK])
        .map(|mark| (format!("{} {}", mark.glyph, mark.names[1]), mark.meaning))
}

/// The marks of losses, before those of controls alone.
pub(super) const LOSS_MARKS: usize = 3;

/// Dashes of the curves, with colours and without.
pub(super) const PLAIN_DASH: (Dash, Dash) = (Dash::Solid, Dash::Solid);
pub(super) const RECYCLED_DASH: (Dash, Dash) = (Dash::Solid, Dash::Dashed);
pub(super) const PLAIN_AT_RECYCLED_DASH: (Dash, Dash) = (Dash::Dashed, Dash::Dotted);
pub(super) const PAUSE_DASH: (Dash, Dash) = (Dash::Dotted, Dash::Dotted);

/// Returns the recycled loss at the recycled positions; its own metric if the loss counts everywhere.
pub(super) fn recycled_metric(ctx: RenderContext) -> Metric {
    let at_recycled = Metric::LossRecycledAtRecycled;
    if ctx.state.history(Series::Metric(at_recycled)).is_empty() { Metric::LossRecycled } else { at_recycled }
}

/// Returns the series of the recycled loss minus this control, in validations.
pub(super) fn validated_difference(mark: &ValidationMark) -> Series {
    Series::Difference(Metric::ValidRecycled, mark.metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mark_has_a_glyph_and_a_name_of_its_own() {
        let all: Vec<&ValidationMark> = MARKS.iter().chain([&QUESTIONS_MARK, &ACCURACY_MARK]).collect();
        for (index, one) in all.iter().enumerate() {
            for other in &all[index + 1..] {
                assert!(one.glyph != other.glyph && one.names[0] != other.names[0], "{one:?} {other:?}");
            }
        }
    }
}
