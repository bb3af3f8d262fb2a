//! Owns reading questions with their answers: `.json` (an array), `.jsonl`, `.parquet`.
//!
//! Must not know: tokens, how an answer is judged. Invariant: every question that leaves here has a text and an answer;
//! what has not is an error with its record, line or row.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use serde::Deserialize;

use super::error::{DataError, Result, json_fault};
use super::shard::{for_each_batch, open_parquet, read_columns};
use super::source::{Lines, ending, strings};

/// Rows decoded at a time.
const ROWS: usize = 256;
const ALLOWED: &str =
    "an object with strings under `question` and `answer`, and perhaps a list of strings under `steps`";

/// A question, the steps to its answer, and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Question {
    pub question: String,
    #[serde(default)]
    pub steps: Vec<String>,
    pub answer: String,
}

/// The first `most` questions of a file, or of the shards of a dataset's split.
///
/// # Errors
/// An unknown ending, an unreadable file, a record without question or answer, or none at all.
pub fn read_questions(path: &Path, most: usize) -> Result<Vec<Question>> {
    let read = match ending(path).as_str() {
        "json" => json_array(path, most)?,
        "jsonl" => json_lines(path, most)?,
        "parquet" => parquet(path, most)?,
        _ => {
            let allowed = "files that end in .json, .jsonl or .parquet, with `question` and `answer`";
            return Err(DataError::Setting { name: "questions", found: path.display().to_string(), allowed });
        }
    };
    let blank =
        |question: &Question| question.question.trim().is_empty() || question.answer.trim().is_empty();
    if let Some(record) = read.iter().position(blank) {
        let found = "an empty question or answer".to_owned();
        return Err(DataError::Record { file: path.to_path_buf(), record, found, allowed: ALLOWED });
    }
    match read.is_empty() {
        true => Err(DataError::Empty {
            file: path.to_path_buf(),
            found: "no question".to_owned(),
            allowed: "at least one question",
        }),
        false => Ok(read),
    }
}

fn json_array(path: &Path, most: usize) -> Result<Vec<Question>> {
    let text = std::fs::read(path).map_err(DataError::io(path, "be read"))?;
    let mut all: Vec<Question> = serde_json::from_slice(&text).map_err(|error| DataError::Line {
        file: path.to_path_buf(),
        line: error.line() as u64,
        found: json_fault(&error),
        allowed: "an array of objects with strings under `question` and `answer`",
    })?;
    all.truncate(most);
    Ok(all)
}

fn json_lines(path: &Path, most: usize) -> Result<Vec<Question>> {
    let (mut lines, mut read) = (Lines::open(path, u64::MAX)?, Vec::new());
    while read.len() < most
        && let Some(line) = lines.next()?
    {
        if line.trim().is_empty() {
            continue;
        }
        let parsed: std::result::Result<Question, _> = serde_json::from_str(line);
        read.push(parsed.map_err(|error| lines.fault(json_fault(&error), ALLOWED))?);
    }
    Ok(read)
}

fn parquet(path: &Path, most: usize) -> Result<Vec<Question>> {
    let (_, metadata) = open_parquet(path)?;
    let schema = metadata.schema().clone();
    let column = |name: &str| schema.index_of(name).ok();
    let (Some(question), Some(answer)) = (column("question"), column("answer")) else {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(DataError::Column {
            file: path.to_path_buf(),
            found: format!("only the columns `{}`", names.join("`, `")),
            allowed: "columns `question` and `answer` of strings, and perhaps `steps` of lists of strings"
                .to_owned(),
        });
    };
    let columns: Vec<usize> = [Some(question), Some(answer), column("steps")].into_iter().flatten().collect();
    let footer = metadata.metadata().clone();
    let (mut read, mut first_row) = (Vec::new(), 0);
    for (group, about) in footer.row_groups().iter().enumerate() {
        if read.len() >= most {
            break;
        }
        let reader = read_columns(path, &metadata, &columns, group, ROWS)?;
        for_each_batch(path, first_row, reader, |batch, row| of_batch(path, batch, row, &mut read))?;
        first_row += u64::try_from(about.num_rows()).unwrap_or(0);
    }
    read.truncate(most);
    Ok(read)
}

fn of_batch(path: &Path, batch: &RecordBatch, row: u64, read: &mut Vec<Question>) -> Result<()> {
    let of = |name: &str| batch.column_by_name(name).cloned();
    let text = |name: &'static str| {
        let column = of(name).filter(is_text);
        column.map(|column| strings(&column)).ok_or_else(|| DataError::Row {
            file: path.to_path_buf(),
            row,
            found: format!("`{name}` is not of strings"),
            allowed: ALLOWED.to_owned(),
        })
    };
    let (questions, answers) = (text("question")?, text("answer")?);
    let steps = of("steps").map_or_else(|| vec![Vec::new(); questions.len()], |column| lists(&column));
    let all = questions.into_iter().zip(steps).zip(answers);
    read.extend(all.map(|((question, steps), answer)| Question { question, steps, answer }));
    Ok(())
}

fn is_text(column: &ArrayRef) -> bool {
    use arrow::datatypes::DataType::{LargeUtf8, Utf8, Utf8View};
    matches!(column.data_type(), Utf8 | LargeUtf8 | Utf8View)
}

/// Lists of strings; of anything else, empty ones.
fn lists(column: &ArrayRef) -> Vec<Vec<String>> {
    let own = |own: Option<ArrayRef>| own.filter(is_text).map(|texts| strings(&texts)).unwrap_or_default();
    match (column.as_list_opt::<i32>(), column.as_list_opt::<i64>()) {
        (Some(lists), _) => lists.iter().map(own).collect(),
        (_, Some(lists)) => lists.iter().map(own).collect(),
        _ => vec![Vec::new(); column.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str, most: usize) -> Result<Vec<Question>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_questions(&path, most)
    }

    const LINE: &str = r#"{"question": "Is it?", "answer": "It is.", "steps": ["It may be."], "more": 1}"#;

    #[test]
    fn questions_are_read_from_arrays_and_lines() {
        let one =
            Question { question: "Is it?".into(), steps: vec!["It may be.".into()], answer: "It is.".into() };
        assert_eq!(read("a.json", &format!("[{LINE}, {LINE}]"), 9).unwrap(), [one.clone(), one.clone()]);
        assert_eq!(read("a.jsonl", &format!("{LINE}\n\n{LINE}\n{LINE}"), 2).unwrap(), [one.clone(), one]);
        let bare = read("a.jsonl", r#"{"question": "Q", "answer": "A"}"#, 9).unwrap();
        assert!(bare[0].steps.is_empty());
    }

    #[test]
    fn what_is_no_question_is_named() {
        for (name, text, wanted) in [
            ("a.csv", "", "questions = "),
            ("a.json", "[]", "no question; allowed: at least one question"),
            ("a.json", "{}", "line 1"),
            ("a.jsonl", &format!("{LINE}\n{{\"question\": 3}}"), "line 2"),
            (
                "a.jsonl",
                r#"{"question": "Q", "answer": " "}"#,
                "record 0 (counted from 0): an empty question",
            ),
            ("a.parquet", "no", "not a readable Parquet file"),
        ] {
            let found = read(name, text, 9).unwrap_err().to_string();
            assert!(found.contains(wanted), "{found}");
        }
    }
}
