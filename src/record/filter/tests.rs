//! Owns: the filter's behaviour: tables of cases, and random expressions against an evaluator that goes row by row.
//! Must not know: how a filter is evaluated.
//! Invariant: the cases and the reference say what SQL says, not what the code does.

use super::*;
use arrow::array::{
    ArrayRef, Float32Array, Float64Array, Int32Array, Int64Array, LargeStringArray, ListArray,
};
use arrow::array::{StringArray, UInt8Array};
use arrow::datatypes::Int64Type;
use std::sync::Arc;

mod random;

fn batch() -> RecordBatch {
    let lists = [None, Some(vec![Some(1)]), None, None];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(4)]))),
        ("x", Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN), None, Some(-2.0)]))),
        ("s", Arc::new(StringArray::from(vec![Some("ab"), Some("a%b"), None, Some("Ünï_it's")]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]))),
        ("two words", Arc::new(Int32Array::from(vec![0, 1, 2, 3]))),
        ("Case", Arc::new(UInt8Array::from(vec![0, 1, 2, 3]))),
        ("f", Arc::new(Float32Array::from(vec![0.0, 0.25, 0.5, 0.75]))),
        ("large", Arc::new(LargeStringArray::from(vec!["p", "q", "r", "s"]))),
        ("twin", Arc::new(Int32Array::from(vec![0, 0, 0, 0]))),
        ("TWIN", Arc::new(Int32Array::from(vec![1, 1, 1, 1]))),
        ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists))),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .unwrap()
}

/// The rows that `text` keeps, as a word of their numbers.
fn kept(text: &str) -> String {
    let mask = Filter::parse(text).and_then(|filter| filter.mask(&batch()));
    let mask = mask.unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!((mask.null_count(), mask.len()), (0, 4), "{text}");
    (0..4).filter(|row| mask.value(*row)).map(|row| row.to_string()).collect()
}

fn error(text: &str) -> String {
    let result = Filter::parse(text).and_then(|filter| filter.mask(&batch()));
    result.map(|mask| format!("no error: {mask:?}")).unwrap_or_else(|error| error.to_string())
}

fn check(cases: &[(&str, &str)]) {
    for (text, rows) in cases {
        assert_eq!(kept(text), *rows, "{text}");
    }
}

#[test]
fn compares_numbers_text_and_truth() {
    check(&[
        ("n = 2", "1"),
        ("n == 2", "1"),
        ("n <> 2", "03"),
        ("n != 2", "03"),
        ("n < 2", "0"),
        ("2 >= n", "01"),
        ("f > 2.5e-1", "23"),
        ("n > 1e-3", "013"),
        ("s = 'ab'", "0"),
        ("s > 'a'", "013"),
        ("s = 'Ünï_it''s'", "3"),
        ("large >= 'r'", "23"),
        ("b", "03"),
        ("b = FALSE", "1"),
        ("TRUE", "0123"),
        ("\"two words\" > 1", "23"),
        ("CASE_ > 1 OR N = 1".replace("CASE_", "\"Case\"").as_str(), "023"),
        ("N = 1", "0"),
        ("twin = 0", "0123"),
        ("\"TWIN\" = 1", "0123"),
    ]);
}

#[test]
fn null_is_neither_true_nor_false() {
    check(&[
        ("NULL", ""),
        ("n = NULL", ""),
        ("NOT (n = NULL)", ""),
        ("n IS NULL", "2"),
        ("n IS NOT NULL", "013"),
        ("NULL IS NULL", "0123"),
        ("(n = NULL) IS NULL", "0123"),
        ("NOT n = 2", "03"),
        ("NOT b", "1"),
        ("NOT NULL", ""),
        ("b OR TRUE", "0123"),
        ("b OR NULL", "03"),
        ("NOT (b AND FALSE)", "0123"),
        ("NOT (b AND NULL)", "1"),
        ("(b AND NULL) IS NULL", "023"),
        ("n + NULL IS NULL", "0123"),
        ("NULL LIKE 'a'", ""),
    ]);
}

#[test]
fn between_and_in_are_short_for_comparisons() {
    check(&[
        ("n BETWEEN 2 AND 4", "13"),
        ("n NOT BETWEEN 2 AND 4", "0"),
        ("n BETWEEN 4 AND 2", ""),
        ("n BETWEEN NULL AND 1", ""),
        // Beyond the known bound it is false whatever the other one is.
        ("n NOT BETWEEN NULL AND 1", "13"),
        ("s BETWEEN 'a' AND 'b'", "01"),
        ("n IN (1, 4, 9)", "03"),
        ("n NOT IN (1, 4, 9)", "1"),
        ("n IN (1, NULL)", "0"),
        // 2 may be the unknown value.
        ("n NOT IN (1, NULL)", ""),
        ("(n IN (1, NULL)) IS NULL", "123"),
        ("s IN ('ab', 'x')", "0"),
        ("n IN (\"two words\" + 1)", "013"),
        ("NULL IN (1)", ""),
    ]);
}

#[test]
fn like_describes_text() {
    check(&[
        ("s LIKE 'a%'", "01"),
        ("s NOT LIKE 'a%'", "3"),
        ("s LIKE 'a_'", "0"),
        ("s LIKE '%'", "013"),
        ("s LIKE ''", ""),
        ("s LIKE 'a\\%b'", "1"),
        ("s LIKE 'a!%b' ESCAPE '!'", "1"),
        ("s LIKE 'a\\%b' ESCAPE ''", ""),
        ("s LIKE '_n_\\_%'", "3"),
        ("s LIKE '%it''s'", "3"),
        ("s LIKE s", "013"),
        ("s LIKE 'A%'", ""),
        ("s LIKE NULL", ""),
        ("'aab' LIKE '%ab'", "0123"),
        ("'abcabd' LIKE '%ab_bd' OR 'abab' LIKE '%ab%b_'", ""),
        ("'abcabd' LIKE '%abd%' AND 'xayaz' LIKE 'x%a_'", "0123"),
        ("'a\\' LIKE 'a\\'", "0123"),
    ]);
}

#[test]
fn arithmetic_and_precedence() {
    check(&[
        ("n + 1 = 3", "1"),
        ("2 + 3 * 4 = 14", "0123"),
        ("(2 + 3) * 4 = 20", "0123"),
        ("8 - 2 - 1 = 5", "0123"),
        ("3 / 2 = 1.5", "0123"),
        ("7 % 4 = 3 AND -7 % 4 = -3", "0123"),
        ("-n < -1", "13"),
        ("- - n = 1", "0"),
        ("n / 0 IS NULL AND n % 0 IS NULL", "0123"),
        ("10 / \"two words\" > 5", "1"),
        ("n = 1 OR n = 2 AND FALSE", "0"),
        ("(n = 1 OR n = 2) AND FALSE", ""),
        ("NOT n = 1 AND n = 4", "3"),
        ("NOT n = 1 OR n = 1", "013"),
        ("NOT n IS NULL", "013"),
        ("n BETWEEN 1 AND 2 AND b", "0"),
        ("n % 2 = 0 AND n + 0 IN (4)", "3"),
        ("n = 1 -- and a comment", "0"),
    ]);
}

#[test]
fn not_a_number_is_equal_to_nothing() {
    check(&[
        ("x = x", "03"),
        ("x <> x", "1"),
        ("x < 0 OR x >= 0", "03"),
        ("NOT (x < 0)", "01"),
        ("x IS NULL", "2"),
        ("x IN (x)", "03"),
        ("x BETWEEN -9 AND 9", "03"),
    ]);
}

#[test]
fn errors_say_what_and_where() {
    let cases = [
        ("", "cannot read the filter: it is empty"),
        ("n >", "cannot read the filter: expected an expression, found the end"),
        ("n > & 1", "cannot read the filter at column 5: expected an expression, found &"),
        ("n = 1 n", "cannot read the filter at column 7: expected an operator or the end, found n"),
        ("n =\n 'x", "cannot read the filter at line 2, column 2: Unterminated string literal"),
        ("abs(n) > 1", "`abs(n)` at column 1 is not supported; supported: AND, OR"),
        ("n = 1 OR n || s = 2", "`n || s` at column 10 is not supported"),
        ("CASE WHEN b THEN n END = 1", "is not supported; supported:"),
        ("n IN (SELECT 1)", "`n IN (SELECT 1)` at column 1 is not supported"),
        ("s ILIKE 'a'", "`s ILIKE 'a'` at column 1 is not supported"),
        ("a.b = 1", "`a.b` at column 1 is not supported"),
        ("n = 1e999", "`1e999` at column 5 is not supported"),
        ("s LIKE 'a' ESCAPE 'xy'", "is not supported"),
        ("two_word = 1", "unknown column `two_word`; the nearest is `two words`"),
        ("s = \"ab\"", "unknown column `ab`; the nearest is `Case`; text stands in 'single quotes'"),
        ("\"N\" = 1", "unknown column `N`"),
        ("Twin = 1", "column `Twin` could be any of `twin`, `TWIN`; put the exact name in double quotes"),
        ("list IS NULL", "column `list` holds List(Int64)"),
        ("s = 1", "cannot compare `s` (text) with `1` (a number)"),
        ("n BETWEEN 1 AND 'a'", "cannot compare `n` (a number) with `'a'` (text)"),
        ("n IN (1, 'a')", "cannot compare `n` (a number) with `'a'` (text)"),
        ("1 < n < 3", "cannot compare `1 < n` (a truth value) with `3` (a number)"),
        ("n", "`n` is a number, but a condition is needed there"),
        ("n AND b", "`n` is a number, but a condition is needed there"),
        ("-s = 1", "`s` is text, but a number is needed there"),
        ("n LIKE 'a'", "`n` is a number, but text is needed there"),
    ];
    for (text, expected) in cases {
        assert!(error(text).contains(expected), "{text}: {}", error(text));
    }
}

#[test]
fn names_its_columns_once_in_order() {
    let filter =
        Filter::parse("x > 1 AND (\"two words\" IN (n, 1) OR NOT x BETWEEN s AND -q) AND b LIKE 'a'")
            .unwrap();
    assert_eq!(filter.columns(), ["x", "two words", "n", "s", "q", "b"]);
}

#[test]
fn most_words_of_sql_can_be_columns_all_the_same() {
    for name in
        ["step", "epoch", "lr", "run", "date", "time", "position", "value", "name", "index", "level", "año_2"]
    {
        let filter = Filter::parse(&format!("{name} > 1 AND 2 < {name}"));
        assert_eq!(filter.unwrap_or_else(|error| panic!("{name}: {error}")).columns(), [name]);
    }
}

#[test]
fn a_batch_without_rows_is_checked_all_the_same() {
    let none = batch().slice(0, 0);
    assert_eq!(Filter::parse("n = 1 OR NULL").unwrap().mask(&none).unwrap().len(), 0);
    assert!(Filter::parse("n = 'a'").unwrap().mask(&none).is_err());
}

#[test]
fn deep_and_long_texts_are_refused_not_a_crash() {
    let many = |piece: &str, count: usize| piece.repeat(count);
    let texts = [
        many("(", 100_000),
        many("NOT ", 395) + "b",
        many("- ", 395) + "n",
        many("CASE ", 395),
        many("n IN (", 130),
        format!("abs({}n) = 1", many("n+", 198)),
        format!("{}n", many("n=", 199)),
        format!("n{}", many("::int", 199)),
        format!("n{}", many(" ISNULL", 399)),
        format!("n{}", many(" IS NULL", 199)),
        format!("n{}", many("[1]", 133)),
        many("if(", 195),
        many("date ", 399),
        many("interval ", 399),
        many("n BETWEEN ", 199),
    ];
    for text in texts {
        let _ = Filter::parse(&text).and_then(|filter| filter.mask(&batch()));
    }
    assert!(error(&many("(n) = ", 150)).contains("at most 400"));
    assert!(error(&many("(", 100)).contains("too deep"));
    assert_eq!(kept(&format!("{}n = 4", many("n = 1 OR ", 98))), "03");
}
