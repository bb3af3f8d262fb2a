//! Owns: random text, and random expressions against a reference.
//! Must not know: how a filter is evaluated.
//! Invariant: the reference goes row by row over plain values and shares no code with the filter.

use super::*;
use proptest::prelude::*;

/// A row: a number that may be not-a-number, a whole number, a text, a truth value.
type Row = (Option<f64>, Option<i64>, Option<String>, Option<bool>);

#[derive(Clone, Debug)]
enum Num {
    X,
    N,
    Literal(i8),
    Null,
    Minus(Box<Num>),
    Compute(char, Box<Num>, Box<Num>),
}

#[derive(Clone, Debug)]
enum Str {
    S,
    Literal(String),
}

#[derive(Clone, Debug)]
enum Cond {
    B,
    Literal(Option<bool>),
    Compare(&'static str, Num, Num),
    CompareText(&'static str, Str, Str),
    IsNull(bool, Box<Cond>),
    NumIsNull(bool, Num),
    Between(bool, Num, Num, Num),
    In(bool, Num, Vec<Num>),
    Like(bool, Str, String),
    Not(Box<Cond>),
    And(Box<Cond>, Box<Cond>),
    Or(Box<Cond>, Box<Cond>),
}

impl Num {
    fn sql(&self) -> String {
        match self {
            Num::X => "x".into(),
            Num::N => "\"n\"".into(),
            Num::Literal(value) => value.to_string(),
            Num::Null => "null".into(),
            Num::Minus(of) => format!("- ({})", of.sql()),
            Num::Compute(op, left, right) => format!("({} {op} {})", left.sql(), right.sql()),
        }
    }

    fn of(&self, row: &Row) -> Option<f64> {
        match self {
            Num::X => row.0,
            Num::N => row.1.map(|value| value as f64),
            Num::Literal(value) => Some(f64::from(*value)),
            Num::Null => None,
            Num::Minus(of) => Some(-of.of(row)?),
            Num::Compute(op, left, right) => match (op, left.of(row)?, right.of(row)?) {
                ('+', left, right) => Some(left + right),
                ('-', left, right) => Some(left - right),
                ('*', left, right) => Some(left * right),
                (_, _, 0.0) => None,
                ('/', left, right) => Some(left / right),
                (_, left, right) => Some(left % right),
            },
        }
    }
}

impl Str {
    fn sql(&self) -> String {
        match self {
            Str::S => "s".into(),
            Str::Literal(text) => format!("'{text}'"),
        }
    }

    fn of(&self, row: &Row) -> Option<String> {
        match self {
            Str::S => row.2.clone(),
            Str::Literal(text) => Some(text.clone()),
        }
    }
}

fn holds<T: PartialOrd>(op: &str, left: T, right: T) -> bool {
    match op {
        "=" | "==" => left == right,
        "<>" | "!=" => left != right,
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        _ => left >= right,
    }
}

fn and(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn or(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    and(left.map(|value| !value), right.map(|value| !value)).map(|value| !value)
}

/// LIKE by its definition, in exponential time.
fn like(text: &[u8], pattern: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'%', rest)) => (0..=text.len()).any(|skip| like(&text[skip..], rest)),
        Some((b'_', rest)) => !text.is_empty() && like(&text[1..], rest),
        Some((wanted, rest)) => text.first() == Some(wanted) && like(&text[1..], rest),
    }
}

impl Cond {
    fn sql(&self) -> String {
        let not = |negated: &bool| if *negated { "NOT " } else { "" };
        match self {
            Cond::B => "B".into(),
            Cond::Literal(value) => value.map_or("NULL".into(), |value| value.to_string()),
            Cond::Compare(op, left, right) => format!("{} {op} {}", left.sql(), right.sql()),
            Cond::CompareText(op, left, right) => format!("{} {op} {}", left.sql(), right.sql()),
            Cond::IsNull(negated, of) => format!("({}) IS {}NULL", of.sql(), not(negated)),
            Cond::NumIsNull(negated, of) => format!("{} IS {}NULL", of.sql(), not(negated)),
            Cond::Between(negated, of, low, high) => {
                format!("{} {}BETWEEN {} AND {}", of.sql(), not(negated), low.sql(), high.sql())
            }
            Cond::In(negated, of, list) => {
                let list: Vec<_> = list.iter().map(Num::sql).collect();
                format!("{} {}IN ({})", of.sql(), not(negated), list.join(", "))
            }
            Cond::Like(negated, of, pattern) => format!("{} {}LIKE '{pattern}'", of.sql(), not(negated)),
            Cond::Not(of) => format!("NOT ({})", of.sql()),
            Cond::And(left, right) => format!("({}) AND ({})", left.sql(), right.sql()),
            Cond::Or(left, right) => format!("({}) OR ({})", left.sql(), right.sql()),
        }
    }

    fn of(&self, row: &Row) -> Option<bool> {
        let compare = |op: &str, left: &Num, right: &Num| Some(holds(op, left.of(row)?, right.of(row)?));
        match self {
            Cond::B => row.3,
            Cond::Literal(value) => *value,
            Cond::Compare(op, left, right) => compare(op, left, right),
            Cond::CompareText(op, left, right) => Some(holds(op, left.of(row)?, right.of(row)?)),
            Cond::IsNull(negated, of) => Some(of.of(row).is_none() != *negated),
            Cond::NumIsNull(negated, of) => Some(of.of(row).is_none() != *negated),
            Cond::Between(negated, of, low, high) => {
                and(compare(">=", of, low), compare("<=", of, high)).map(|value| value != *negated)
            }
            Cond::In(negated, of, list) => {
                let equal = list.iter().map(|value| compare("=", of, value));
                equal.fold(Some(false), or).map(|value| value != *negated)
            }
            Cond::Like(negated, of, pattern) => {
                Some(like(of.of(row)?.as_bytes(), pattern.as_bytes()) != *negated)
            }
            Cond::Not(of) => of.of(row).map(|value| !value),
            Cond::And(left, right) => and(left.of(row), right.of(row)),
            Cond::Or(left, right) => or(left.of(row), right.of(row)),
        }
    }
}

fn num() -> impl Strategy<Value = Num> {
    let leaf = prop_oneof![Just(Num::X), Just(Num::N), (-3i8..=3).prop_map(Num::Literal), Just(Num::Null),];
    leaf.prop_recursive(2, 6, 2, |inner| {
        let op = prop::sample::select(vec!['+', '-', '*', '/', '%']);
        let pair = (op, inner.clone(), inner.clone());
        prop_oneof![
            inner.prop_map(|of| Num::Minus(of.into())),
            pair.prop_map(|(op, left, right)| Num::Compute(op, left.into(), right.into())),
        ]
    })
}

fn cond() -> impl Strategy<Value = Cond> {
    let op = || prop::sample::select(vec!["=", "==", "<>", "!=", "<", "<=", ">", ">="]);
    let text = || prop_oneof![Just(Str::S), "[ab]{0,3}".prop_map(Str::Literal)];
    let leaf = prop_oneof![
        Just(Cond::B),
        any::<Option<bool>>().prop_map(Cond::Literal),
        (op(), num(), num()).prop_map(|(op, left, right)| Cond::Compare(op, left, right)),
        (op(), text(), text()).prop_map(|(op, left, right)| Cond::CompareText(op, left, right)),
        (any::<bool>(), num()).prop_map(|(negated, of)| Cond::NumIsNull(negated, of)),
        (any::<bool>(), num(), num(), num())
            .prop_map(|(not, of, low, high)| Cond::Between(not, of, low, high)),
        (any::<bool>(), num(), prop::collection::vec(num(), 1..4))
            .prop_map(|(not, of, list)| Cond::In(not, of, list)),
        (any::<bool>(), text(), "[ab%_]{0,4}").prop_map(|(not, of, pattern)| Cond::Like(not, of, pattern)),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|of| Cond::Not(of.into())),
            (any::<bool>(), inner.clone()).prop_map(|(negated, of)| Cond::IsNull(negated, of.into())),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| Cond::And(left.into(), right.into())),
            (inner.clone(), inner).prop_map(|(left, right)| Cond::Or(left.into(), right.into())),
        ]
    })
}

fn row() -> impl Strategy<Value = Row> {
    let number = prop_oneof![Just(f64::NAN), Just(-0.0), Just(0.5), (-3i8..=3).prop_map(f64::from)];
    (
        prop::option::of(number),
        prop::option::of(-3i64..=3),
        prop::option::of("[ab]{0,3}"),
        any::<Option<bool>>(),
    )
}

fn table(rows: &[Row]) -> RecordBatch {
    let columns: [(&str, ArrayRef); 4] = [
        ("x", Arc::new(rows.iter().map(|row| row.0).collect::<Float64Array>())),
        ("n", Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>())),
        ("s", Arc::new(rows.iter().map(|row| row.2.clone()).collect::<StringArray>())),
        ("b", Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>())),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_never_panics(text in any::<String>()) {
        let _ = Filter::parse(&text).and_then(|filter| filter.mask(&batch()));
    }

    #[test]
    fn random_words_never_panic(words in prop::collection::vec(prop::sample::select(vec![
        "n", "s", "b", "\"two words\"", "list", "1", "-1e3", "'a%'", "NULL", "TRUE", "AND", "OR", "NOT", "(", ")", ",",
        "=", "==", "<", "!=", "IS", "IN", "LIKE", "BETWEEN", "ESCAPE", "+", "-", "*", "/", "%", "CASE", "WHEN", "END",
        "abs(", "SELECT", "INTERVAL", "CAST", "AS", "int", "::", "[", "]", ".", "||", "EXISTS", "ANY", "\n", "--", "é",
    ]), 0..30)) {
        let _ = Filter::parse(&words.join(" ")).and_then(|filter| filter.mask(&batch()));
    }

    #[test]
    fn random_expressions_agree_with_the_reference(cond in cond(), rows in prop::collection::vec(row(), 0..8)) {
        let text = cond.sql();
        let filter = Filter::parse(&text);
        prop_assert!(filter.is_ok(), "{}: {:?}", text, filter);
        let mask = filter.unwrap().mask(&table(&rows));
        prop_assert!(mask.is_ok(), "{}: {:?}", text, mask);
        let kept: Vec<bool> = mask.unwrap().iter().map(|value| value == Some(true)).collect();
        let expected: Vec<bool> = rows.iter().map(|row| cond.of(row) == Some(true)).collect();
        prop_assert_eq!(kept, expected, "{} on {:?}", text, rows);
    }
}
