//! Owns: the conditions by which a list of runs is filtered: `optim.lr=1e-3`, `recycle.every>0`, `state=finished`,
//! `tag=x`, `name~text`, or a bare word.
//! Must not know: how values are read.
//! Invariant: a condition that cannot be right (an unknown column, a state that does not exist, a metric against a
//! word) is refused, not a filter that nothing passes.

use super::column::{CellValue, Column};
use crate::schema::run_list::{DAMAGED, RunListRow, UNKNOWN};
use std::cmp::Ordering;

/// Conditions that a run must all meet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunFilter {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    /// The run's id, state or a tag contains this text, in lower case.
    Contains(String),
    Compares(Column, Comparison, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Like,
    NotLike,
}

/// The signs of comparisons. One that begins like another comes first.
const SIGNS: [(&str, Comparison); 8] = [
    ("!=", Comparison::NotEqual),
    ("!~", Comparison::NotLike),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("=", Comparison::Equal),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
    ("~", Comparison::Like),
];

const STATES: [&str; 7] = ["running", "finished", "stopped", "failed", "interrupted", DAMAGED, UNKNOWN];

impl RunFilter {
    /// Parses conditions, separated by spaces; double quotes hold a text with spaces together.
    ///
    /// # Errors
    /// Returns which condition is wrong, and what is allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let conditions: Result<_, _> = split_words(text)?.iter().map(|word| parse_condition(word)).collect();
        Ok(Self { conditions: conditions? })
    }

    /// Adds the conditions of another filter.
    pub fn extend(&mut self, other: Self) {
        self.conditions.extend(other.conditions);
    }

    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }

    /// Whether a condition needs the last value of a metric.
    pub fn needs_last_values(&self) -> bool {
        let needs =
            |condition: &Condition| matches!(condition, Condition::Compares(column, ..) if column.needs_last_value());
        self.conditions.iter().any(needs)
    }

    pub fn matches(&self, row: &RunListRow) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Contains(text) => {
                let words = [row.run.as_str(), row.state_word()].into_iter().chain(row.tags.iter().map(String::as_str));
                words.into_iter().any(|word| word.to_lowercase().contains(text))
            }
            Condition::Compares(column, comparison, operand) => meets(&column.value(row), *comparison, operand),
        })
    }
}

/// Splits at spaces outside of double quotes, which are dropped.
fn split_words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            '"' => (quoted, begun) = (!quoted, true),
            c if c.is_whitespace() && !quoted => {
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => {
                word.push(c);
                begun = true;
            }
        }
    }
    if quoted {
        return Err(format!("`{text}`: a quote is not closed"));
    }
    words.extend(begun.then_some(word));
    Ok(words)
}

fn parse_condition(word: &str) -> Result<Condition, String> {
    let Some(at) = word.find(['!', '<', '>', '=', '~']) else {
        return Ok(Condition::Contains(word.to_lowercase()));
    };
    let (name, rest) = word.split_at(at);
    let sign = SIGNS.iter().find(|(sign, _)| rest.starts_with(sign));
    let Some((sign, comparison)) = sign.filter(|_| !name.is_empty()) else {
        return Err(format!("`{word}`: expected KEY=VALUE, with one of = != < <= > >= ~ !~, or a word"));
    };
    let column = if name == "tag" { Column::Tags } else { Column::parse(name)? };
    let operand = rest[sign.len()..].to_owned();
    check_operand(word, column, *comparison, &operand)?;
    Ok(Condition::Compares(column, *comparison, operand))
}

fn check_operand(word: &str, column: Column, comparison: Comparison, operand: &str) -> Result<(), String> {
    let is_text = matches!(comparison, Comparison::Like | Comparison::NotLike);
    if operand.is_empty() {
        return Err(format!("`{word}`: a value is missing"));
    }
    if column.is_numeric() && is_text {
        return Err(format!("`{word}`: `{}` is a number; allowed are = != < <= > >=", column.name()));
    }
    if column.is_numeric() && parse_number(operand).is_none() {
        return Err(format!("`{word}`: `{operand}` is not a number"));
    }
    if column == Column::State && !is_text && !STATES.contains(&operand) {
        return Err(format!("`{word}`: allowed states are {}", STATES.join(", ")));
    }
    Ok(())
}

/// Parses a number, which may end in a unit of bytes: `1e-3`, `2_000`, `1.5GB`.
fn parse_number(text: &str) -> Option<f64> {
    let text = text.replace(['_', ','], "");
    let units = [("kB", 1e3), ("KB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)];
    let with_unit = units.into_iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)));
    let (number, factor) = with_unit.unwrap_or((&text, 1.0));
    let number: f64 = number.trim().parse().ok()?;
    (!number.is_nan()).then_some(number * factor)
}

fn meets(value: &CellValue, comparison: Comparison, operand: &str) -> bool {
    match (value, comparison) {
        // An unknown value is not equal to, less or greater than any.
        (value, _) if value.is_unknown() => matches!(comparison, Comparison::NotEqual | Comparison::NotLike),
        (CellValue::Words(words), _) => meets_words(words, comparison, operand),
        (value, Comparison::Like) => text_of(value).to_lowercase().contains(&operand.to_lowercase()),
        (value, Comparison::NotLike) => !text_of(value).to_lowercase().contains(&operand.to_lowercase()),
        (CellValue::Number(number), _) => match parse_number(operand) {
            Some(wanted) => is_met(number.total_cmp(&wanted), comparison),
            None => comparison == Comparison::NotEqual,
        },
        (value, _) => is_met(text_of(value).to_lowercase().cmp(&operand.to_lowercase()), comparison),
    }
}

/// Compares a set of words: equal and like mean that one of them is.
fn meets_words(words: &[String], comparison: Comparison, operand: &str) -> bool {
    let any = |test: &dyn Fn(&str) -> bool| words.iter().any(|word| test(&word.to_lowercase()));
    let operand = operand.to_lowercase();
    match comparison {
        Comparison::Equal => any(&|word| word == operand),
        Comparison::NotEqual => !any(&|word| word == operand),
        Comparison::Like => any(&|word| word.contains(&operand)),
        Comparison::NotLike => !any(&|word| word.contains(&operand)),
        ordered => any(&|word| is_met(word.cmp(operand.as_str()), ordered)),
    }
}

fn is_met(order: Ordering, comparison: Comparison) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Like | Comparison::NotLike => false,
    }
}

fn text_of(value: &CellValue) -> String {
    match value {
        CellValue::Missing => String::new(),
        CellValue::Number(number) => number.to_string(),
        CellValue::Text(text) => text.clone(),
        CellValue::Words(words) => words.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::schema::metrics::Metric;
    use crate::schema::run_list::MetricRange;
    use crate::schema::status::RunState;

    fn row() -> RunListRow {
        let mut metrics = vec![MetricRange::default(); Metric::ALL.len()];
        metrics[Metric::LossPlain as usize].last = Some(0.5);
        metrics[Metric::GradNorm as usize].last = Some(f64::NAN);
        RunListRow {
            run: "20261124-101500-Full-Width".into(),
            state: Some(RunState::Finished),
            step: 300,
            steps: 300,
            bytes: 2_000_000,
            began: chrono::DateTime::from_timestamp(1_795_000_000, 0),
            tags: vec!["base".into(), "lr/high".into()],
            settings: toml::Table::try_from(Config::default()).unwrap(),
            metrics,
            ..RunListRow::default()
        }
    }

    #[test]
    fn conditions_on_facts_metrics_and_config_keys() {
        for (text, wanted) in [
            ("", true),
            ("full-w", true),
            ("BASE", true),
            ("finish", true),
            ("absent", false),
            ("state=finished", true),
            ("state!=finished", false),
            ("state~run", false),
            ("tag=base", true),
            ("tag=bas", false),
            ("tag~bas", true),
            ("tags!=base", false),
            ("tag!~x", true),
            ("name=full-width", true),
            ("name~\"ull-w\"", true),
            ("size>1.5MB", true),
            ("size>2MB", false),
            ("size>=2MB", true),
            ("step>=300", true),
            ("step<300", false),
            ("steps=3_00", true),
            ("began>2020-01-01", true),
            ("began<2020", false),
            ("loss_plain_nats<=0.5", true),
            ("loss_plain>0.5", false),
            ("rewards/exact/mean>0.5", false),
            ("optim.lr=1e-3", true),
            ("optim.lr=0.001", true),
            ("optim.lr>1e-3", false),
            ("recycle.every>0", true),
            ("data.shuffle=true", true),
            ("model.arch!=gpt2", true),
            ("from~x", false),
            ("from!=x", true),
            ("state=finished tag=base optim.lr<1", true),
            ("state=finished tag=other", false),
        ] {
            assert_eq!(RunFilter::parse(text).unwrap().matches(&row()), wanted, "{text}");
        }
    }

    #[test]
    fn unknown_values_are_neither_less_nor_greater() {
        for metric in ["valid_accuracy", "grad_norm"] {
            for (sign, wanted) in [("<", false), (">", false), ("=", false), ("<=", false), (">=", false), ("!=", true)]
            {
                let filter = RunFilter::parse(&format!("{metric}{sign}1")).unwrap();
                assert_eq!(filter.matches(&row()), wanted, "{metric}{sign}1");
            }
        }
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_what_is_allowed() {
        for (text, wanted) in [
            ("optim.lrr=1", "the nearest known one is `optim.lr`"),
            ("state=done", "allowed states are running, finished"),
            ("loss_plain=low", "`low` is not a number"),
            ("loss_plain~1", "is a number; allowed are"),
            ("=1", "expected KEY=VALUE"),
            ("name!x", "expected KEY=VALUE"),
            ("name=", "a value is missing"),
            ("name~\"a b", "a quote is not closed"),
        ] {
            let error = RunFilter::parse(text).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
        assert!(RunFilter::parse("loss_plain<1").unwrap().needs_last_values());
        assert!(!RunFilter::parse("best<1 optim.lr=1 word").unwrap().needs_last_values());
    }
}
