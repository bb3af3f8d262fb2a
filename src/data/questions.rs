//! Owns: the reading of questions with answers from `.json` (an array), `.jsonl` and `.parquet` files.
//! Must not know: tokens, how an answer is judged.
//! Invariant: every question has a text and an answer; an error names the record, line or row without.

use super::error::{DataError, Result, json_error_text};
use super::parquet_input::{for_each_batch, open_parquet, read_columns};
use super::source::{LineReader, lowercase_extension, string_values};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use serde::Deserialize;
use std::path::Path;

const DECODE_ROWS: usize = 256;
const EXPECTED_FIELDS: &str =
    "an object with strings under `question` and `answer`, and optionally a list of strings under `steps`";

/// A question, the reasoning steps, and the answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Question {
    pub question: String,
    #[serde(default)]
    pub steps: Vec<String>,
    pub answer: String,
}

/// Reads the first `max_questions` questions of a file, at least one, each with question and answer.
pub fn read_questions(path: &Path, max_questions: usize) -> Result<Vec<Question>> {
    let questions = match lowercase_extension(path).as_str() {
        "json" => read_json_array(path, max_questions)?,
        "jsonl" => read_json_lines(path, max_questions)?,
        "parquet" => read_parquet(path, max_questions)?,
        _ => {
            let allowed = "files that end in .json, .jsonl or .parquet, with `question` and `answer`";
            return Err(DataError::InvalidSetting { name: "questions", found: path.display().to_string(), allowed });
        }
    };
    let is_blank = |question: &Question| question.question.trim().is_empty() || question.answer.trim().is_empty();
    if let Some(record) = questions.iter().position(is_blank) {
        let found = "an empty question or answer".to_owned();
        return Err(DataError::Record { file: path.to_path_buf(), record, found, allowed: EXPECTED_FIELDS });
    }
    match questions.is_empty() {
        true => Err(DataError::Empty {
            file: path.to_path_buf(),
            found: "no question".to_owned(),
            allowed: "at least one question",
        }),
        false => Ok(questions),
    }
}

fn read_json_array(path: &Path, max_questions: usize) -> Result<Vec<Question>> {
    let text = std::fs::read(path).map_err(DataError::io(path, "be read"))?;
    let mut questions: Vec<Question> = serde_json::from_slice(&text).map_err(|error| DataError::Line {
        file: path.to_path_buf(),
        line: error.line() as u64,
        found: json_error_text(&error),
        allowed: "an array of objects with strings under `question` and `answer`",
    })?;
    questions.truncate(max_questions);
    Ok(questions)
}

fn read_json_lines(path: &Path, max_questions: usize) -> Result<Vec<Question>> {
    let (mut lines, mut questions) = (LineReader::open(path, u64::MAX)?, Vec::new());
    while questions.len() < max_questions
        && let Some(line) = lines.next_line()?
    {
        if line.trim().is_empty() {
            continue;
        }
        let parsed: std::result::Result<Question, _> = serde_json::from_str(line);
        questions.push(parsed.map_err(|error| lines.line_error(json_error_text(&error), EXPECTED_FIELDS))?);
    }
    Ok(questions)
}

fn read_parquet(path: &Path, max_questions: usize) -> Result<Vec<Question>> {
    let (_, metadata) = open_parquet(path)?;
    let schema = metadata.schema().clone();
    let column = |name: &str| schema.index_of(name).ok();
    let (Some(question), Some(answer)) = (column("question"), column("answer")) else {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(DataError::Column {
            file: path.to_path_buf(),
            found: format!("only the columns `{}`", names.join("`, `")),
            allowed: "columns `question` and `answer` of strings, and optionally `steps` of lists of strings"
                .to_owned(),
        });
    };
    let columns: Vec<usize> = [Some(question), Some(answer), column("steps")].into_iter().flatten().collect();
    let footer = metadata.metadata().clone();
    let (mut questions, mut first_row) = (Vec::new(), 0);
    for (group, group_metadata) in footer.row_groups().iter().enumerate() {
        if questions.len() >= max_questions {
            break;
        }
        let reader = read_columns(path, &metadata, &columns, group, DECODE_ROWS)?;
        for_each_batch(path, first_row, reader, |batch, row| append_batch(path, batch, row, &mut questions))?;
        first_row += u64::try_from(group_metadata.num_rows()).unwrap_or(0);
    }
    questions.truncate(max_questions);
    Ok(questions)
}

/// Appends the questions of one record batch, whose first row is `row` of the file.
fn append_batch(path: &Path, batch: &RecordBatch, row: u64, out: &mut Vec<Question>) -> Result<()> {
    let column = |name: &str| batch.column_by_name(name).cloned();
    let text = |name: &'static str| {
        let column = column(name).filter(is_text);
        column.map(|column| string_values(&column)).ok_or_else(|| DataError::Row {
            file: path.to_path_buf(),
            row,
            found: format!("column `{name}` does not hold strings"),
            allowed: EXPECTED_FIELDS.to_owned(),
        })
    };
    let (questions, answers) = (text("question")?, text("answer")?);
    let steps = column("steps").map_or_else(|| vec![Vec::new(); questions.len()], |column| string_lists(&column));
    let zipped = questions.into_iter().zip(steps).zip(answers);
    out.extend(zipped.map(|((question, steps), answer)| Question { question, steps, answer }));
    Ok(())
}

fn is_text(column: &ArrayRef) -> bool {
    use arrow::datatypes::DataType::{LargeUtf8, Utf8, Utf8View};
    matches!(column.data_type(), Utf8 | LargeUtf8 | Utf8View)
}

/// Returns the lists of strings of a column; empty lists if it has another type.
fn string_lists(column: &ArrayRef) -> Vec<Vec<String>> {
    let to_strings =
        |list: Option<ArrayRef>| list.filter(is_text).map(|texts| string_values(&texts)).unwrap_or_default();
    match (column.as_list_opt::<i32>(), column.as_list_opt::<i64>()) {
        (Some(lists), _) => lists.iter().map(to_strings).collect(),
        (_, Some(lists)) => lists.iter().map(to_strings).collect(),
        _ => vec![Vec::new(); column.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str, max_questions: usize) -> Result<Vec<Question>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_questions(&path, max_questions)
    }

    const LINE: &str = r#"{"question": "Is it?", "answer": "It is.", "steps": ["It may be."], "more": 1}"#;

    #[test]
    fn questions_are_read_from_arrays_and_lines() {
        let one = Question { question: "Is it?".into(), steps: vec!["It may be.".into()], answer: "It is.".into() };
        assert_eq!(read("a.json", &format!("[{LINE}, {LINE}]"), 9).unwrap(), [one.clone(), one.clone()]);
        assert_eq!(read("a.jsonl", &format!("{LINE}\n\n{LINE}\n{LINE}"), 2).unwrap(), [one.clone(), one]);
        let bare = read("a.jsonl", r#"{"question": "Q", "answer": "A"}"#, 9).unwrap();
        assert!(bare[0].steps.is_empty());
    }

    #[test]
    fn invalid_questions_are_clear_errors() {
        for (name, text, wanted) in [
            ("a.csv", "", "questions = "),
            ("a.json", "[]", "no question; allowed: at least one question"),
            ("a.json", "{}", "line 1"),
            ("a.jsonl", &format!("{LINE}\n{{\"question\": 3}}"), "line 2"),
            ("a.jsonl", r#"{"question": "Q", "answer": " "}"#, "record 0 (counted from 0): an empty question"),
            ("a.parquet", "no", "not a readable Parquet file"),
        ] {
            let found = read(name, text, 9).unwrap_err().to_string();
            assert!(found.contains(wanted), "{found}");
        }
    }
}
