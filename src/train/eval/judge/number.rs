//! Owns: numbers as people and models write them, compared exactly.
//! Must not know: what a number answers.
//! Invariant: two spellings are equal if and only if their values are: no rounding. A word that is more than a number (`2^7`,
//! `12:30`) is none.

/// An exact value, reduced, with a positive denominator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    numerator: i128,
    denominator: i128,
}

/// Marks around a number that do not change it: brackets, quotes, emphasis, currencies, percent.
const WRAPPING: [char; 24] = [
    '(', ')', '[', ']', '{', '}', '<', '>', '"', '\'', '*', '_', '`', '$', '€', '£', '¥', '%', '#', '~', '\\', '“',
    '”', '≈',
];

impl Number {
    /// Parses a text that is one number, with wrapping and a unit such as `kg` behind it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches(['.', ',', ';', ':', '!', '?']);
        let inner = text.trim_matches(WRAPPING).trim();
        let unsigned = inner.trim_start_matches(['-', '\u{2212}', '\u{2013}', '+']);
        if inner[..inner.len() - unsigned.len()].chars().count() > 1 {
            return None;
        }
        let negative = unsigned.len() < inner.len() && !inner.starts_with('+');
        let unsigned = unsigned.trim_start_matches(WRAPPING);
        let unsigned = without_unit(unsigned).trim_end_matches(WRAPPING);
        let value = match unsigned.split_once('/') {
            Some((above, below)) => Self::decimal(above)?.divided_by(Self::decimal(below)?)?,
            None => Self::decimal(unsigned)?,
        };
        Some(if negative { Self { numerator: -value.numerator, ..value } } else { value })
    }

    /// Parses digits with thousands commas, a fraction and an exponent, such as `1,234.5` or `1e3`.
    fn decimal(text: &str) -> Option<Self> {
        let (text, exponent) = match text.split_once(['e', 'E']) {
            Some((text, exponent)) => (text, exponent.parse::<i32>().ok().filter(|power| power.abs() <= 30)?),
            None => (text, 0),
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let whole = without_thousands(whole)?;
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let power = exponent - i32::try_from(fraction.len()).ok()?;
        let scale = 10_i128.checked_pow(power.unsigned_abs())?;
        let digits: i128 = digits.parse().ok()?;
        match power < 0 {
            true => Some(Self::reduced(digits, scale)),
            false => Some(Self::reduced(digits.checked_mul(scale)?, 1)),
        }
    }

    fn divided_by(self, other: Self) -> Option<Self> {
        let numerator = self.numerator.checked_mul(other.denominator)?;
        let denominator = self.denominator.checked_mul(other.numerator)?;
        (denominator != 0).then(|| Self::reduced(numerator, denominator))
    }

    fn reduced(numerator: i128, denominator: i128) -> Self {
        let (mut a, mut b) = (numerator, denominator);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        let divisor = a.max(1);
        Self { numerator: numerator / divisor, denominator: denominator / divisor }
    }
}

/// Takes letters off the end, such as the unit of `5kg`. An exponent stays: it has a digit at its end.
fn without_unit(text: &str) -> &str {
    let number = text.trim_end_matches(|letter: char| letter.is_alphabetic() || letter == '²' || letter == '³');
    match number.ends_with(|letter: char| letter.is_ascii_digit() || letter == '.') {
        true => number.trim_end_matches('.'),
        false => text,
    }
}

/// Takes out commas that separate groups of three digits; `None` if they separate anything else.
fn without_thousands(text: &str) -> Option<String> {
    let mut groups = text.split(',');
    let first = groups.next().unwrap_or_default();
    let rest: Vec<&str> = groups.collect();
    let grouped =
        rest.is_empty() || (!first.is_empty() && first.len() <= 3 && rest.iter().all(|group| group.len() == 3));
    grouped.then(|| text.replace(',', ""))
}

/// Returns the numbers of a text in their order. Words end at white space, `=`, and before or after other brackets.
pub(super) fn numbers(text: &str) -> impl DoubleEndedIterator<Item = Number> + '_ {
    let ends_word = |letter: char| letter.is_whitespace() || matches!(letter, '=' | '<' | '>' | '{' | '}' | '|' | '"');
    text.split(ends_word).filter_map(Number::parse)
}
