//! Owns: judging a generated text by the right answer: as a number, as a choice letter, or as text.
//! Must not know: models, tokens, where answers come from.
//! Invariant: an answer that merely ends like the right one (`-5` for `5`, `not a wug` for `a wug`) is wrong.
//!
//! The stated answer is what follows a marker: `#### n`, `\boxed{n}`, "the answer is n" or "answer: n"; the last marker
//! counts. A text that goes on with another question ("Question:", "Q:", "Problem:" at the start of a line) ends there.
//! Without a marker, the last number, the last choice letter, or the end of the text is the answer.

mod number;

use number::Number;

/// How an answer is compared.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, strum::Display, strum::EnumString, strum::VariantNames,
)]
#[strum(serialize_all = "lowercase")]
pub enum Judge {
    /// As numbers: `1,234.0`, `$1234` and `1234.` are equal.
    Number,
    /// As a letter from A to J: `B`, `(b)` and `B.` are equal.
    Choice,
    /// Word by word, without regard to case, white space and a full stop at the end.
    Text,
}

impl Judge {
    /// Returns the judge that fits a right answer.
    pub fn for_answer(answer: &str) -> Self {
        match (Number::parse(answer), choice_letter(answer.trim())) {
            (Some(_), _) => Self::Number,
            (_, Some(_)) => Self::Choice,
            _ => Self::Text,
        }
    }

    /// Whether the generated `text` gives the right `answer`.
    pub fn is_right(self, text: &str, answer: &str) -> bool {
        let text = before_next_question(text);
        match self {
            Self::Number => Number::parse(answer).is_some_and(|answer| stated_number(text) == Some(answer)),
            Self::Choice => choice_letter(answer.trim()).is_some_and(|answer| stated_choice(text) == Some(answer)),
            Self::Text => states_text(text, answer),
        }
    }
}

impl Judge {
    /// Whether the generated `text` states any answer of this kind, right or wrong.
    pub fn states_an_answer(self, text: &str) -> bool {
        let text = before_next_question(text);
        match self {
            Self::Number => stated_number(text).is_some(),
            Self::Choice => stated_choice(text).is_some(),
            Self::Text => text.chars().any(char::is_alphanumeric),
        }
    }
}

/// A right answer as a file has it, reduced to what is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RightAnswer {
    pub text: String,
    /// Whether the file's answer was a rationale that states the answer after a marker.
    pub from_rationale: bool,
    /// Whether it looks like a rationale without a marker, so that nothing will match it.
    pub looks_like_rationale: bool,
}

impl RightAnswer {
    /// Most words of an answer that does not look like a rationale.
    const MAX_WORDS: usize = 25;

    pub fn from_file(answer: &str) -> Self {
        if let Some(stated) = hash_mark(answer).or_else(|| boxed(answer)) {
            let text = stated.trim().to_owned();
            return Self { from_rationale: text != answer.trim(), looks_like_rationale: false, text };
        }
        let text = answer.trim().to_owned();
        let sentences = text.matches(". ").count() + text.matches('\n').count();
        let looks_like_rationale = sentences > 1 || text.split_whitespace().count() > Self::MAX_WORDS;
        Self { text, from_rationale: false, looks_like_rationale }
    }
}

/// Cuts off what follows the first line that begins another question.
fn before_next_question(text: &str) -> &str {
    let begins_question = |line: &str| {
        let line = line.trim_start().to_ascii_lowercase();
        ["question:", "q:", "problem:"].iter().any(|mark| line.starts_with(mark))
    };
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if at > 0 && begins_question(line) {
            return &text[..at];
        }
        at += line.len();
    }
    text
}

/// Returns what the text states as its answer after the last marker, up to the end of the text.
fn after_marker(text: &str) -> Option<&str> {
    hash_mark(text).or_else(|| boxed(text)).or_else(|| after_answer_phrase(text))
}

/// Returns what follows the last run of three or more `#`, on the same line.
fn hash_mark(text: &str) -> Option<&str> {
    let rest = text[text.rfind("###")? + 3..].trim_start();
    Some(rest.lines().next().unwrap_or_default())
}

/// Returns the content of the last `\boxed{…}`, up to its own closing brace.
fn boxed(text: &str) -> Option<&str> {
    const OPENING: &str = "\\boxed{";
    let content = &text[text.rfind(OPENING)? + OPENING.len()..];
    let mut depth = 1;
    let end = content.char_indices().find(|(_, letter)| {
        depth += match letter {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth == 0
    });
    Some(end.map_or(content, |(at, _)| &content[..at]))
}

/// Returns what follows the last "answer is" or "answer:", without regard to case.
fn after_answer_phrase(text: &str) -> Option<&str> {
    // Lowercase ASCII keeps all offsets.
    let lower = text.to_ascii_lowercase();
    let ends = ["answer is", "answer:"].iter().filter_map(|phrase| Some(lower.rfind(phrase)? + phrase.len()));
    Some(text[ends.max()?..].trim_start_matches([':', ' ']))
}

/// Returns the number that the text states: the first after a marker, else the last of the text.
fn stated_number(text: &str) -> Option<Number> {
    match after_marker(text) {
        Some(stated) => number::numbers(stated).next(),
        None => number::numbers(text).last(),
    }
}

/// Returns the letter of a choice such as `B`, `(b)`, `B.` or `b)`.
fn choice_letter(text: &str) -> Option<char> {
    let inner = text.trim_matches(|letter: char| !letter.is_alphanumeric());
    let mut letters = inner.chars();
    let (letter, rest) = (letters.next()?.to_ascii_uppercase(), letters.next());
    let marked = text.len() > inner.len();
    let is_choice = ('A'..='J').contains(&letter) && rest.is_none();
    (is_choice && (marked || inner.starts_with(letter))).then_some(letter)
}

/// Returns the choice that the text states: the first after a marker, else the last that is marked (`(B)`, `B)`), else the
/// last word, if it is a letter.
fn stated_choice(text: &str) -> Option<char> {
    let is_marked = |word: &&str| word.ends_with([')', ']', ':']) || word.starts_with(['(', '[']);
    match after_marker(text) {
        Some(stated) => stated.split_whitespace().find_map(choice_letter),
        None => {
            let marked = text.split_whitespace().filter(is_marked).filter_map(choice_letter).next_back();
            marked.or_else(|| choice_letter(text.split_whitespace().last()?))
        }
    }
}

/// Whether the text states `answer`: after a marker, or at its end. At the end, an answer of three or more words must be a
/// sentence or a line by itself, and a shorter one must not be negated.
fn states_text(text: &str, answer: &str) -> bool {
    let answer = words(answer);
    if answer.is_empty() {
        return false;
    }
    if let Some(stated) = after_marker(text) {
        return words(stated) == answer || words(stated.lines().next().unwrap_or_default()) == answer;
    }
    let marked: Vec<String> = text.lines().flat_map(|line| words(line).into_iter().chain(["\n".to_owned()])).collect();
    let end = marked.iter().rposition(|word| !ends_sentence(word)).map_or(0, |last| last + 1);
    let all = &marked[..end];
    let answer: Vec<&String> = answer.iter().filter(|word| !ends_sentence(word)).collect();
    if answer.is_empty() || all.len() < answer.len() {
        return false;
    }
    let before = &all[..all.len() - answer.len()];
    let same = all[before.len()..].iter().eq(answer.iter().copied());
    let starts_sentence = before.last().is_none_or(|word| ends_sentence(word) || word == ":" || word == "#");
    let negated =
        before.iter().rev().take(3).any(|word| ["not", "no", "never", "t", "isn", "cannot"].contains(&word.as_str()));
    same && (starts_sentence || (answer.len() < 3 && !negated))
}

fn ends_sentence(word: &str) -> bool {
    ["\n", ".", "!", "?", ";"].contains(&word)
}

/// Splits into lower-case runs of letters and digits; every other character except white space is a word by itself. A full
/// stop at the end is left out.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for part in text.split_whitespace() {
        let mut from = 0;
        for (at, letter) in part.char_indices().filter(|(_, letter)| !letter.is_alphanumeric()) {
            words.extend([part[from..at].to_lowercase(), letter.to_string()]);
            from = at + letter.len_utf8();
        }
        words.push(part[from..].to_lowercase());
    }
    words.retain(|word| !word.is_empty());
    if words.last().is_some_and(|word| word == ".") {
        words.pop();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(cases: &[(&str, &str, bool)], judge: Judge) {
        for (text, answer, wanted) in cases {
            assert_eq!(Judge::for_answer(answer), judge, "the judge of {answer:?}");
            assert_eq!(judge.is_right(text, answer), *wanted, "{text:?} for {answer:?}");
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        judged(
            &[
                ("-5", "5", false),
                ("\u{2212}5", "-5", true),
                ("3.5", "5", false),
                ("1/2", "2", false),
                ("1/2", "0.5", true),
                ("2^7", "7", false),
                ("3 - 5", "5", true),
                ("x=5", "5", true),
                ("1,234", "1234", true),
                ("1234", "1,234", true),
                ("6.", "6", true),
                ("6.0", "6", true),
                ("$1,234.50", "1234.5", true),
                ("it costs 18 dollars.", "$18", true),
                ("50%", "50", true),
                ("The answer is 142", "42", false),
                ("The answer is #42", "42", true),
                ("In all these are\n42", "42", true),
                ("<<4-2=2>> <<2*3=6>> #### 6", "6", true),
                ("#### 6\nQuestion: another? #### 7", "6", true),
                ("so \\boxed{42}.", "42", true),
                ("so \\boxed{\\text{42} apples}, not 7", "42", true),
                ("The answer is 5. I checked it 3 times.", "5", true),
                ("the answer is unclear", "5", false),
                ("no number", "5", false),
                ("", "42", false),
                ("123456789012345678901234567890", "123456789012345678901234567891", false),
                ("5kg", "5", true),
                ("**5**", "5", true),
                ("1,2", "12", false),
            ],
            Judge::Number,
        );
    }

    #[test]
    fn texts_are_compared_word_by_word_and_never_by_a_mere_end() {
        judged(
            &[
                ("Every lempus is a wumpus . Tom is a lempus .", "Tom is a lempus.", true),
                ("Every lempus is a wumpus.\nTom is a lempus", "Tom is a lempus.", true),
                ("Every lempus is a wumpus.\n### Tom is a lempus.", "Tom is a lempus.", true),
                ("Tom is a lempus. Or is he?", "Tom is a lempus.", false),
                ("Bob or Tom is a lempus.", "Tom is a lempus.", false),
                ("Tom is a wumpus.", "Tom is a lempus.", false),
                ("tom is a LEMPUS", "Tom is a lempus.", true),
                ("not Paris", "Paris", false),
                ("It is not in Paris", "Paris", false),
                ("It is Paris.", "Paris", true),
                ("Comparis", "paris", false),
                ("The answer is: yes.", "Yes", true),
                ("anything", "", false),
                ("a", "?!", false),
            ],
            Judge::Text,
        );
    }

    #[test]
    fn choices_are_letters_in_any_dress() {
        judged(
            &[
                ("(B)", "B", true),
                ("The answer is b).", "(B)", true),
                ("I think it is B", "B", true),
                ("(A) is wrong, so (C)", "C", true),
                ("A cat", "A", false),
                ("B or not", "B", false),
            ],
            Judge::Choice,
        );
    }

    #[test]
    fn a_rationale_is_cut_to_its_answer_or_pointed_out() {
        let cut = RightAnswer::from_file("He buys 2. <<2*3=6>> So 6.\n#### 6");
        assert_eq!((cut.text.as_str(), cut.from_rationale), ("6", true));
        let long = RightAnswer::from_file("He buys two. Then he eats one. One is left.");
        assert!(long.looks_like_rationale && !long.from_rationale);
        let plain = RightAnswer::from_file(" Tom is a lempus. ");
        assert!(!plain.looks_like_rationale && !plain.from_rationale);
        assert_eq!(plain.text, "Tom is a lempus.");
    }
}
