//! Owns: whether what was generated ends with the answer, and how sure a mean over questions is.
//! Must not know: models, tokens.
//! Invariant: the same numbers and seed give the same interval.

use crate::rng::{Draw, Purpose};

/// Samples of a bootstrap.
const SAMPLES: usize = 2000;

/// Whether `text` ends with `answer`, word for word, whatever space stands between the words.
pub fn ends_with(text: &str, answer: &str) -> bool {
    let (text, answer) = (words(text), words(answer));
    !answer.is_empty() && text.ends_with(&answer)
}

/// Runs of letters and digits, and every other character but space by itself.
fn words(text: &str) -> Vec<&str> {
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

/// `Σ value / Σ weight`, and between what 95 of 100 samples of as many pairs, drawn with repetition, lie (percentile
/// bootstrap: Efron 1979).
pub fn ratio(pairs: &[[f64; 2]], seed: u64) -> (f64, [f64; 2]) {
    let of = |sums: [f64; 2]| if sums[1] > 0.0 { sums[0] / sums[1] } else { f64::NAN };
    let add = |sums: [f64; 2], pair: &[f64; 2]| [sums[0] + pair[0], sums[1] + pair[1]];
    let found = of(pairs.iter().fold([0.0; 2], add));
    if pairs.len() < 2 {
        return (found, [found; 2]);
    }
    let mut stream = Draw { seed, ..Draw::default() }.stream(Purpose::Bootstrap, 0);
    let mut sample =
        || (0..pairs.len()).fold([0.0; 2], |sums, _| add(sums, &pairs[stream.below(pairs.len())]));
    let mut samples: Vec<f64> = (0..SAMPLES).map(|_| of(sample())).collect();
    samples.sort_unstable_by(f64::total_cmp);
    (found, [0.025, 0.975].map(|share| samples[(share * (SAMPLES - 1) as f64).round() as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_stands_at_the_end() {
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
            assert_eq!(ends_with(text, answer), wanted, "{text:?} {answer:?}");
        }
    }

    #[test]
    fn an_interval_holds_the_mean_and_narrows_with_more() {
        let pairs = |count: usize| (0..count).map(|at| [f64::from(at % 4 == 0), 1.0]).collect::<Vec<_>>();
        let (few, many) = (ratio(&pairs(40), 1), ratio(&pairs(4000), 1));
        assert_eq!((few.0, many.0), (0.25, 0.25));
        for (mean, [low, high]) in [few, many] {
            assert!(low < mean && mean < high);
        }
        // Two standard errors each way: √(0.25·0.75/n).
        assert!((few.1[1] - few.1[0] - 0.27).abs() < 0.05, "{few:?}");
        assert!((many.1[1] - many.1[0] - 0.027).abs() < 0.005, "{many:?}");
        assert_eq!(ratio(&pairs(40), 1), few);
        assert_eq!(ratio(&[[3.0, 2.0]], 1), (1.5, [1.5, 1.5]));
    }
}
