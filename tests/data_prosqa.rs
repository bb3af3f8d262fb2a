//! Tests ProsQA: the generator against the paper, the answers against the questions' text, and the files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use coconut_lab::data::prosqa::{PAPER_MEANS, document_text};
use coconut_lab::data::{Dataset, DatasetSummary, ProsqaOptions, Split, Tokenizer, make_prosqa};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

fn options(out: PathBuf) -> ProsqaOptions {
    ProsqaOptions {
        out,
        seed: 5,
        train: 1500,
        valid: 100,
        test: 100,
        from: Vec::new(),
        tokenizer: "words".to_owned(),
        force: false,
    }
}

fn make(options: &ProsqaOptions) -> DatasetSummary {
    make_prosqa(options, &mut |_| ()).unwrap()
}

fn published_file() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/prosqa/prosqa_valid.json");
    if !path.is_file() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// A row as the evaluation reads it.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    ids: Vec<u32>,
    question: String,
    steps: Vec<String>,
    answer: String,
}

fn rows(dataset: &Dataset, split: Split) -> Vec<Row> {
    let mut rows = Vec::new();
    for path in dataset.shard_paths(split) {
        let file = std::fs::File::open(path).unwrap();
        for batch in ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| batch.column_by_name(name).unwrap();
            for at in 0..batch.num_rows() {
                let ids = column("input_ids").as_list::<i32>().value(at);
                let steps = column("steps").as_list::<i32>().value(at);
                rows.push(Row {
                    ids: ids
                        .as_primitive::<arrow::datatypes::Int32Type>()
                        .values()
                        .iter()
                        .map(|id| *id as u32)
                        .collect(),
                    question: column("question").as_string::<i32>().value(at).to_owned(),
                    steps: steps.as_string::<i32>().iter().map(|step| step.unwrap().to_owned()).collect(),
                    answer: column("answer").as_string::<i32>().value(at).to_owned(),
                });
            }
        }
    }
    rows
}

/// Returns `(subject, object)` of "Every x is a y." or "Tom is a y."
fn parse(statement: &str) -> (String, String) {
    let words: Vec<&str> = statement.trim_end_matches('.').split_whitespace().collect();
    match words[..] {
        ["Every", x, "is", "a", y] | [x, "is", "a", y] => (x.to_owned(), y.to_owned()),
        _ => panic!("not a statement: {statement}"),
    }
}

fn distance(edges: &BTreeMap<String, Vec<String>>, from: &str, to: &str) -> Option<usize> {
    let mut queue = VecDeque::from([(from.to_owned(), 0)]);
    let mut seen = BTreeSet::from([from.to_owned()]);
    while let Some((here, steps)) = queue.pop_front() {
        if here == to {
            return Some(steps);
        }
        for next in edges.get(&here).into_iter().flatten() {
            if seen.insert(next.clone()) {
                queue.push_back((next.clone(), steps + 1));
            }
        }
    }
    None
}

/// Checks a question by its text: only one target is reachable, it is the answer, and the steps are a shortest proof.
fn check_row(row: &Row) {
    let (statements, asked) = row.question.split_at(row.question.rfind("Is ").unwrap());
    let mut edges: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for statement in statements.split_inclusive('.').filter(|part| !part.trim().is_empty()) {
        let (x, y) = parse(statement.trim());
        edges.entry(x).or_default().push(y);
    }
    let words: Vec<&str> = asked.trim_end_matches('?').split_whitespace().collect();
    let ["Is", root, "a", first, "or", second] = words[..] else { panic!("not a question: {asked}") };
    let reached: Vec<&str> = [first, second].into_iter().filter(|end| distance(&edges, root, end).is_some()).collect();
    assert_eq!(reached.len(), 1, "{}", row.question);
    assert_eq!(row.answer, format!("{root} is a {}.", reached[0]));
    assert_eq!(distance(&edges, root, reached[0]), Some(row.steps.len()));
    let mut node = root.to_owned();
    for step in &row.steps {
        let (x, y) = parse(step);
        assert!(x == node && edges[&x].contains(&y), "{step}");
        node = y;
    }
    assert_eq!(node, reached[0]);
}

#[test]
fn every_answer_follows_and_the_graphs_match_the_paper() {
    let dir = tempfile::tempdir().unwrap();
    let made = make(&options(dir.path().join("set")));
    let means = made.graphs.unwrap();
    assert!((means.nodes - PAPER_MEANS.nodes).abs() < 0.5, "{means:?}");
    assert!((means.edges - PAPER_MEANS.edges).abs() < 1.0, "{means:?}");
    assert!((means.shortest_path - PAPER_MEANS.shortest_path).abs() < 0.15, "{means:?}");
    assert!((95..110).contains(&made.vocab_size));
    let dataset = Dataset::open(&dir.path().join("set")).unwrap();
    assert_eq!(dataset.vocab_size(), Some(made.vocab_size));
    let tokenizer = dataset.tokenizer().unwrap();
    let mut questions = BTreeSet::new();
    let mut first_is_true = 0;
    for split in Split::ALL {
        let rows = rows(&dataset, split);
        assert_eq!(rows.len() as u64, dataset.rows(split));
        for row in rows {
            check_row(&row);
            let text = document_text(&row.question, &row.steps, &row.answer);
            assert_eq!(row.ids.last().copied(), dataset.eos_id());
            assert_eq!(tokenizer.decode(&row.ids[..row.ids.len() - 1]), text.replace('\n', " "));
            let target = row.answer.trim_end_matches('.').rsplit(' ').next().unwrap().to_owned();
            first_is_true += usize::from(row.question.contains(&format!("a {target} or ")));
            questions.insert(row.question);
        }
    }
    assert_eq!(questions.len(), 1700, "a question occurs twice");
    assert!((750..950).contains(&first_is_true), "{first_is_true} of 1700 true targets come first");
}

#[test]
fn rows_depend_on_the_seed_and_not_on_other_splits() {
    let dir = tempfile::tempdir().unwrap();
    let small = ProsqaOptions { train: 20, valid: 10, test: 10, ..options(dir.path().join("a")) };
    make(&small);
    make(&ProsqaOptions { out: dir.path().join("b"), ..small.clone() });
    make(&ProsqaOptions { out: dir.path().join("c"), train: 30, ..small.clone() });
    make(&ProsqaOptions { out: dir.path().join("d"), seed: 6, ..small.clone() });
    let open = |name: &str| Dataset::open(&dir.path().join(name)).unwrap();
    let (a, b, c, d) = (open("a"), open("b"), open("c"), open("d"));
    for split in Split::ALL {
        let bytes = |set: &Dataset| std::fs::read(&set.shard_paths(split)[0]).unwrap();
        assert!(bytes(&a) == bytes(&b), "{split}");
        assert!(rows(&a, split) == rows(&c, split)[..rows(&a, split).len()]);
        assert!(rows(&a, split)[0] != rows(&d, split)[0]);
    }
    assert_eq!(a.tokenizer().unwrap().hash(), d.tokenizer().unwrap().hash());
}

#[test]
fn published_records_round_trip() {
    let Some(path) = published_file() else { return };
    let dir = tempfile::tempdir().unwrap();
    let from = ProsqaOptions {
        from: vec![path.clone()],
        train: usize::MAX,
        valid: 30,
        test: 30,
        ..options(dir.path().join("set"))
    };
    let made = make(&from);
    assert_eq!(made.vocab_size, Tokenizer::words().unwrap().vocab_size(), "the fixed list has every published word");
    let dataset = Dataset::open(&dir.path().join("set")).unwrap();
    let got: Vec<Row> = Split::ALL.into_iter().flat_map(|split| rows(&dataset, split)).collect();
    got.iter().for_each(check_row);
    let records: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let texts = |row: &Row| (row.question.clone(), row.steps.clone(), row.answer.clone());
    let got: BTreeSet<_> = got.iter().map(texts).collect();
    let expected: BTreeSet<_> = (records.as_array().unwrap().iter())
        .map(|record| {
            serde_json::from_value::<(String, Vec<String>, String)>(serde_json::json!([
                record["question"],
                record["steps"],
                record["answer"]
            ]))
            .unwrap()
        })
        .collect();
    assert_eq!(expected.len(), 300);
    assert!(got == expected);
}

#[test]
fn unknown_words_get_their_own_vocabulary_and_wrong_answers_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let record = |answer: &str| {
        serde_json::json!({
            "question": "Zed is a foo. Every foo is a bar. Yan is a baz. Is Zed a bar or baz?",
            "answer": answer, "steps": ["Zed is a foo.", "Every foo is a bar."],
            "idx_to_symbol": ["Zed", "Yan", "foo", "bar", "baz"], "edges": [[0, 2], [2, 3], [1, 4]],
            "root": 0, "target": 3, "neg_target": 4,
        })
    };
    let write = |name: &str, records: &[serde_json::Value]| {
        let path = dir.path().join(name);
        std::fs::write(&path, serde_json::to_vec(records).unwrap()).unwrap();
        path
    };
    let good = record("Zed is a bar.");
    let from = vec![
        write("my_train.json", &[good.clone(), good.clone()]),
        write("my_valid.json", std::slice::from_ref(&good)),
    ];
    let made = make(&ProsqaOptions { from, ..options(dir.path().join("set")) });
    assert_eq!((made.splits[&Split::Train].documents, made.splits[&Split::Valid].documents), (2, 1));
    assert_eq!(made.vocab_size, 4 + 10); // Every Is Yan Zed a bar baz foo is or
    let wrong = write("wrong.json", &[good, record("Zed is a baz.")]);
    let options = ProsqaOptions { from: vec![wrong], valid: 0, test: 0, ..options(dir.path().join("other")) };
    let error = make_prosqa(&options, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("wrong.json: record 1 (counted from 0)") && error.contains("Zed is a bar."), "{error}");
    assert!(!dir.path().join("other").exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4, "a partial folder is left");
}
