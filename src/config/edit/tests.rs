//! Tests what happens to a config's text when values are written to it.

use super::*;
use crate::config::from_text;
use proptest::prelude::*;

const TEXT: &str = "# The recipe.\n[run]\nname = \"a\" # mine\n\n[recycle]   # the idea\n# every n-th\nevery  =  4\n\
                    fraction = 1e-1 # of a row\n\n[optim]\nlr = 1\n# the end\n";

fn key(path: &str) -> &'static ConfigKey {
    Config::find_key(path).unwrap()
}

fn value(text: &str) -> Value {
    toml::from_str::<toml::Table>(&format!("v = {text}")).unwrap().remove("v").unwrap()
}

fn try_set_value(text: &str, path: &str, new: &str) -> Result<String, String> {
    set(text, &[(key(path), &value(new))])
}

fn set_value(text: &str, path: &str, new: &str) -> String {
    try_set_value(text, path, new).unwrap()
}

#[test]
fn only_the_value_changes() {
    let curve = "[[0, 0.0], [500, 0.3]]";
    for (path, new, from, to) in [
        ("recycle.every", "2", "every  =  4", "every  =  2"),
        ("recycle.fraction", curve, "1e-1 # of", "[[0, 0.0], [500, 0.3]] # of"),
        ("run.name", "\"b # c\"", "\"a\" # mine", "\"b # c\" # mine"),
        ("optim.lr", "0.00005", "lr = 1\n", "lr = 5e-5\n"),
    ] {
        assert_eq!(set_value(TEXT, path, new), TEXT.replace(from, to));
        let windows = TEXT.replace('\n', "\r\n");
        assert_eq!(set_value(&windows, path, new), TEXT.replace(from, to).replace('\n', "\r\n"));
    }
}

#[test]
fn the_majority_line_ending_and_a_byte_order_mark_are_kept() {
    let text = "\u{feff}[recycle]\r\nevery = 4\r\n# x\r\nspan = 2 # y\r\n[run]";
    let set = set_value(text, "recycle.every", "5");
    assert_eq!(set, text.replace("every = 4", "every = 5"));
    assert_eq!(set_value(&set, "recycle.cut", "1"), set.replace("# y\r\n", "# y\r\ncut = 1\r\n"));
    assert_eq!(set_value(text, "run.seed", "1"), format!("{text}\r\nseed = 1"));
    let mixed = "[recycle]\r\nevery = 4\n# x\r\n";
    assert_eq!(set_value(mixed, "recycle.every", "5"), "[recycle]\r\nevery = 5\r\n# x\r\n");
    assert_eq!(set_value(mixed, "recycle.every", "4"), mixed, "a text without a change stays as it is");
    assert_eq!(set_value("\u{feff}recycle.every = [#a\n1]", "recycle.every", "5"), "\u{feff}#a\nrecycle.every = 5");
}

#[test]
fn an_equal_value_keeps_its_spelling() {
    let same = [("recycle.fraction", "0.1"), ("optim.lr", "1.0"), ("recycle.every", "4"), ("run.name", "\"a\"")];
    for (path, new) in same {
        assert_eq!(set_value(TEXT, path, new), TEXT);
    }
    let text = "[recycle]\nfraction = [ [0, 0],  [ 5, 3e-1 ], ]\n";
    assert_eq!(set_value(text, "recycle.fraction", "[[0, 0.0], [5, 0.3]]"), text);
    // A float instead of an integer is invalid, so the value is written.
    assert_eq!(set_value("recycle.every = 4.0", "recycle.every", "4"), "recycle.every = 4");
    // These two seeds are equal as floats.
    let text = "run.seed = 9007199254740993";
    assert_eq!(set_value(text, "run.seed", "9007199254740992"), "run.seed = 9007199254740992");
}

#[test]
fn a_missing_key_is_added_to_its_section() {
    for (text, path, added) in [
        (TEXT, "recycle.span", TEXT.replace("# of a row\n", "# of a row\nspan = 9\n")),
        (TEXT, "eval.every", format!("{TEXT}\n[eval]\nevery = 9\n")),
        ("", "eval.every", "[eval]\nevery = 9\n".into()),
        ("# x", "eval.every", "# x\n\n[eval]\nevery = 9\n".into()),
        ("[eval] # x\n\n[run]\n", "eval.every", "[eval] # x\nevery = 9\n\n[run]\n".into()),
        ("[eval]\n  batches = 1", "eval.every", "[eval]\n  batches = 1\n  every = 9".into()),
        ("[eval.x]\n[eval]\n", "eval.every", "[eval.x]\n[eval]\nevery = 9\n".into()),
        ("[eval.x]\n", "eval.every", "[eval]\nevery = 9\n[eval.x]\n".into()),
        (
            "[recycle]\npasses = [\n  1,\n] # x\n\n",
            "recycle.span",
            "[recycle]\npasses = [\n  1,\n] # x\nspan = 9\n\n".into(),
        ),
    ] {
        assert_eq!(set_value(text, path, "9"), added);
    }
}

#[test]
fn a_section_may_be_written_in_any_way() {
    for (text, changed, added) in [
        (
            "  recycle . every = 3 # x\nrun.seed = 1\n",
            "  recycle . every = 5 # x\nrun.seed = 1\n",
            "  recycle . every = 5 # x\n  recycle .span = 9\nrun.seed = 1\n",
        ),
        ("recycle = { every = 3 } # x\n", "recycle = { every = 5 } # x\n", "recycle = { every = 5, span = 9 } # x\n"),
        (
            "recycle = { # a\n  every = 3, # b\n} # x\n",
            "recycle = { # a\n  every = 5, # b\n} # x\n",
            "recycle = { # a\n  every = 5, span = 9, # b\n} # x\n",
        ),
        ("\"recycle\".'every'=3", "\"recycle\".'every'=5", "\"recycle\".'every'=5\n\"recycle\".span = 9"),
    ] {
        let set = set_value(text, "recycle.every", "5");
        assert_eq!(set, changed);
        let set = set_value(&set, "recycle.span", "9");
        assert_eq!(set, added);
        let config = from_text(&set, "x", &[]).unwrap();
        assert_eq!((config.recycle.every, config.recycle.span), (5, 9));
    }
    assert_eq!(set_value("run = {}", "run.seed", "1"), "run = { seed = 1 }");
    assert_eq!(set_value("run = { # x\n}", "run.seed", "1"), "run = { seed = 1 # x\n}");
}

#[test]
fn comments_inside_a_value_move_above_it() {
    let list = "[ # ramp\r\n  [0, 0.0], # '\r\n  [5, 0.3] # \"end\r\n]";
    let text = format!("[recycle]\r\n  fraction = {list} # x\r\nevery = 2\r\n");
    let kept = "[recycle]\r\n  # ramp\r\n  # '\r\n  # \"end\r\n  fraction = 0.5 # x\r\nevery = 2\r\n";
    assert_eq!(set_value(&text, "recycle.fraction", "0.5"), kept);
    let text = "# a\nrecycle = { every = 1, fraction = [#b\n[0, 1]] }";
    assert_eq!(set_value(text, "recycle.fraction", "0.5"), "# a\n#b\nrecycle = { every = 1, fraction = 0.5 }");
    let text = "data.dir = [\"# no\\\"#\", '#no\\', \"\"\"\"#\"#\"\"\"\", '''#''', # yes\n]";
    assert_eq!(set_value(text, "data.dir", "''"), "# yes\ndata.dir = \"\"");
}

#[test]
fn any_text_is_written_on_one_line() {
    for text in ["a\nb", "a\r\nb\t\u{7f}\\\"'", "\u{1}'''\"\"\"", "C:\\x", "", "ä # \"'"] {
        let expected = Value::String(text.into());
        let set = set("[data]\r\ndir = 1\r\n", &[(key("data.dir"), &expected)]).unwrap();
        assert_eq!(set.lines().count(), 2, "{set:?}");
        assert_eq!(from_text(&set, "x", &[]).unwrap().data.dir, text);
    }
}

#[test]
fn an_invalid_config_is_reported_with_its_line() {
    assert!(set("[recycle\nevery", &[]).unwrap_err().contains("line 1: "));
    for (text, expected) in [
        ("\n[recycle\nevery", "line 2: "),
        ("# x\nrecycle = 5", "line 2: `recycle` is not a section"),
        ("# x\n[[recycle]]", "line 2: `recycle` is not a section"),
        ("# x\n[recycle.every]\n", "line 2: `recycle.every` is a section, not a value"),
        ("# x\nrecycle = { every.x = 1 }\n", "line 2: `recycle.every` is a section, not a value"),
        ("[recycle]\nevery = 1\nevery = 2\n", "line 3: "),
    ] {
        let error = try_set_value(text, "recycle.every", "2").unwrap_err();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        // The line stays right even if lines are added above it.
        let values = [(key("run.seed"), &value("1")), (key("recycle.every"), &value("2"))];
        assert_eq!(set(&format!("{text}\n"), &values).unwrap_err(), error);
    }
}

#[test]
fn a_completed_text_contains_the_whole_config() {
    let given = ["recycle.every=3".into(), "recycle.fraction=[[0, 0.0], [9, 0.5]]".into()];
    let windows = TEXT.replace('\n', "\r\n");
    for text in [&windows, "", "recycle.every = 2 # x\n", "recycle = { every = 2 } # x\n", "[eval]\n\n[run]"] {
        let config = from_text(text, "x", &given).unwrap();
        let whole = complete(text, &config).unwrap();
        assert_eq!(from_text(&whole, "x", &[]).unwrap(), config);
        let table: toml::Table = toml::from_str(&whole).unwrap();
        assert!(Config::keys().all(|key| table[key.section].get(key.name).is_some()));
        assert_eq!(complete(&whole, &config).unwrap(), whole);
        assert_eq!(comments(&whole), comments(text));
        assert_eq!(whole.matches('\n').count() - whole.matches("\r\n").count() > 0, !text.contains('\r'));
    }
}

/// Returns the comments of `text`, in order. The texts of these tests have no quoted `#`.
fn comments(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.find('#').map(|at| line[at..].trim_end().to_owned())).collect()
}

/// Blank lines and comments.
fn lines() -> impl Strategy<Value = Vec<String>> {
    let blank = prop_oneof![Just("".to_owned()), "# [a-z\"'=]{0,6}", "  # [a-z]{1,4}"];
    prop::collection::vec(blank, 0..3)
}

/// Texts of sections and comments, in several layouts.
fn texts() -> impl Strategy<Value = String> {
    let pieces = (lines(), lines(), lines(), 0..4_usize, any::<bool>(), any::<bool>(), any::<bool>());
    pieces.prop_map(|(first, second, last, layout, windows, ends, both)| {
        let recycle = match layout {
            0 => vec!["[recycle] # r".to_owned(), "\tevery=4  # e".into(), "fraction = [ [0, 0], [9, 1e-1]]".into()],
            1 => vec!["recycle.every = 4 # e".into(), "recycle.fraction=3e-1#f".into()],
            2 => vec!["recycle = { every = 4,fraction = 0.5 } # r".into()],
            _ => vec!["recycle = { # r".into(), " every = 4, # e".into(), " fraction = 1, # f".into(), "}".into()],
        };
        let other = if both { vec!["[optim] # o".to_owned(), "lr = 1 # l".into()] } else { Vec::new() };
        let text = [first, recycle, second, other, last].concat().join("\n");
        let text = if ends { text + "\n" } else { text };
        if windows { text.replace('\n', "\r\n") } else { text }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn set_values_are_read_back_and_everything_else_is_kept(
        text in texts(), every in 0_u64..9, lr in 1e-9_f64..1.0, span in 1_i64..9,
        knots in prop::collection::vec(0.0_f64..1.0, 1..4), dir in "\\PC{0,8}",
    ) {
        let knot = |(at, value): (usize, &f64)| {
            Value::Array(vec![Value::Integer(at as i64 * 7), Value::Float(*value)])
        };
        let fraction = Value::Array(knots.iter().enumerate().map(knot).collect());
        let lr = lr + 1e-4;
        let values = [
            ("recycle.every", Value::Integer(every as i64)), ("recycle.fraction", fraction), ("optim.lr", Value::Float(lr)),
            ("recycle.span", Value::Integer(span)), ("data.dir", Value::String(dir.clone())),
        ];
        let edits: Vec<(&ConfigKey, &Value)> = values.iter().map(|(path, value)| (key(path), value)).collect();
        let set = super::set(&text, &edits).unwrap();
        let config = from_text(&set, "x", &[]).unwrap();
        prop_assert_eq!((config.recycle.every, config.optim.lr, &config.data.dir), (every, lr, &dir));
        prop_assert_eq!(config.recycle.span as i64, span);
        for (at, value) in knots.iter().enumerate() {
            prop_assert_eq!(config.recycle.fraction.value_at(at as u64 * 7), *value);
        }
        prop_assert_eq!(super::set(&set, &edits).unwrap(), set.clone());
        // The folder is the only value here that may contain `#`.
        let plain = super::set(&set, &[(key("data.dir"), &Value::String("x".into()))]).unwrap();
        prop_assert_eq!(comments(&plain), comments(&text));
        prop_assert!(other_lines_are_kept(&text, &set), "{:?} became {:?}", text, set);
    }
}

/// Whether `new` contains every line of `old` without a set key, byte for byte and in order.
fn other_lines_are_kept(old: &str, new: &str) -> bool {
    let mut new = new.split_inclusive('\n').map(|line| line.trim_end_matches(['\r', '\n']));
    let ended = |line: &str| line.trim_end_matches(['\r', '\n']).to_owned();
    let is_other = |line: &String| !["every", "fraction", "lr"].iter().any(|key| line.contains(key));
    old.split_inclusive('\n').map(ended).filter(is_other).all(|line| new.any(|other| other == line))
}
