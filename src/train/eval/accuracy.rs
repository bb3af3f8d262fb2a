//! Owns: exact match of generated text with an answer, and bootstrap confidence intervals of means over
//! questions.
//! Must not know: models, tokens.
//! Invariant: equal numbers and seeds give equal intervals.

use crate::rng::{RngKey, RngPurpose};

/// Number of bootstrap resamples.
const RESAMPLES: usize = 2000;

/// Whether `text` ends with `answer`, compared word by word. White space between words is ignored.
pub fn ends_with_answer(text: &str, answer: &str) -> bool {
    let (text, answer) = (split_words(text), split_words(answer));
    !answer.is_empty() && text.ends_with(&answer)
}

/// Splits `text` into runs of letters and digits; every other character except white space is a word by
/// itself.
fn split_words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for part in text.split_whitespace() {
        let mut from = 0;
        for (at, c) in part.char_indices().filter(|(_, c)| !c.is_alphanumeric()) {
            words.extend([&part[from..at], &part[at..at + c.len_utf8()]]);
            from = at + c.len_utf8();
        }
        words.push(&part[from..]);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Returns `Σ value / Σ weight` over `[value, weight]` pairs, and its 95 % confidence interval by percentile
/// bootstrap (Efron 1979). NaN if the weights sum to 0.
pub fn bootstrap_ratio(pairs: &[[f64; 2]], seed: u64) -> (f64, [f64; 2]) {
    let quotient = |sums: [f64; 2]| if sums[1] > 0.0 { sums[0] / sums[1] } else { f64::NAN };
    let add = |sums: [f64; 2], pair: &[f64; 2]| [sums[0] + pair[0], sums[1] + pair[1]];
    let ratio = quotient(pairs.iter().fold([0.0; 2], add));
    if pairs.len() < 2 {
        return (ratio, [ratio; 2]);
    }
    let mut stream = RngKey { seed, ..RngKey::default() }.stream(RngPurpose::Bootstrap, 0);
    let mut sample =
        || (0..pairs.len()).fold([0.0; 2], |sums, _| add(sums, &pairs[stream.uniform_below(pairs.len())]));
    let mut samples: Vec<f64> = (0..RESAMPLES).map(|_| quotient(sample())).collect();
    samples.sort_unstable_by(f64::total_cmp);
    (ratio, [0.025, 0.975].map(|quantile| samples[(quantile * (RESAMPLES - 1) as f64).round() as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_must_be_at_the_end() {
        for (text, answer, wanted) in [
            ("Every lempus is a wumpus . Tom is a lempus .", "Tom is a lempus.", true),
            ("Every lempus is a wumpus.\nTom is a lempus.", "Tom is a lempus.", true),
            ("Tom is a lempus. Or is he?", "Tom is a lempus.", false),
            ("Tom is a wumpus.", "Tom is a lempus.", false),
            ("The answer is 142", "42", false),
            ("In all these are\n42", "42", true),
            ("The answer is #42", "42", true),
            ("", "42", false),
            ("anything", "", false),
        ] {
            assert_eq!(ends_with_answer(text, answer), wanted, "{text:?} {answer:?}");
        }
    }

    #[test]
    fn an_interval_contains_the_mean_and_narrows_with_more_pairs() {
        let pairs = |count: usize| (0..count).map(|at| [f64::from(at % 4 == 0), 1.0]).collect::<Vec<_>>();
        let (few, many) = (bootstrap_ratio(&pairs(40), 1), bootstrap_ratio(&pairs(4000), 1));
        assert_eq!((few.0, many.0), (0.25, 0.25));
        for (mean, [low, high]) in [few, many] {
            assert!(low < mean && mean < high);
        }
        // Two standard errors in each direction: √(0.25·0.75/n).
        assert!((few.1[1] - few.1[0] - 0.27).abs() < 0.05, "{few:?}");
        assert!((many.1[1] - many.1[0] - 0.027).abs() < 0.005, "{many:?}");
        assert_eq!(bootstrap_ratio(&pairs(40), 1), few);
        assert_eq!(bootstrap_ratio(&[[3.0, 2.0]], 1), (1.5, [1.5, 1.5]));
    }
}
