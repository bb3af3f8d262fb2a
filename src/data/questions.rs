//! Owns: the reading of questions with answers from `.json` (an array, or an object with one), `.jsonl` and `.parquet` files,
//! and from lines of GSM8k-aug.
//! Must not know: tokens, how an answer is judged.
//! Invariant: every question has a text and an answer; records without are counted, any other fault is an error that names
//! the record, line or row.

use super::columns::type_name;
use super::error::{DataError, Result, json_error_text};
use super::parquet_input::{for_each_batch, open_parquet, read_columns};
use super::source::{LineReader, lowercase_extension};
use crate::files::foreign;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{can_cast_types, cast};
use arrow::datatypes::DataType;
use serde_json::Value;
use std::path::Path;

const DECODE_ROWS: usize = 256;
const EXPECTED_FIELDS: &str = "an object with a text or number under `question` and `answer`, and optionally a list of \
     strings, one string or null under `steps`; or a chat under `messages`";
/// Usual names of the fields, in the order of preference.
const QUESTION_NAMES: &[&str] = &["question", "problem", "query", "prompt"];
const ANSWER_NAMES: &[&str] = &["answer", "final_answer", "target"];
const STEP_NAMES: &[&str] = &["steps", "cot", "rationale", "reasoning", "solution"];
const FRONTIER_NAME: &str = "frontier";

/// A question, the reasoning steps, and the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub question: String,
    pub steps: Vec<String>,
    pub answer: String,
    /// Nodes at distance 1, 2, … from the root of a graph, separated by spaces; empty if the question has none.
    pub frontier: Vec<String>,
}

impl Question {
    /// Moves what precedes the last `####` of an answer into the steps, a line each, if it has no steps (GSM8k).
    pub fn with_rationale_as_steps(mut self) -> Self {
        if let Some((rationale, answer)) = self.answer.rsplit_once("####").filter(|_| self.steps.is_empty()) {
            let lines = rationale.lines().map(str::trim).filter(|line| !line.is_empty());
            self.steps = lines.map(str::to_owned).collect();
            self.answer = answer.trim().to_owned();
        }
        self
    }
}

/// The questions of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    pub questions: Vec<Question>,
    /// Number of records that were left out because question or answer is null or blank.
    pub incomplete: usize,
}

impl Questions {
    fn is_full(&self, max_questions: usize) -> bool {
        self.questions.len() >= max_questions
    }

    /// Appends a record, or counts it as incomplete.
    fn push(&mut self, question: Option<String>, steps: Vec<String>, answer: Option<String>, frontier: Vec<String>) {
        let text = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        match (text(question), text(answer)) {
            (Some(question), Some(answer)) => self.questions.push(Question { question, steps, answer, frontier }),
            _ => self.incomplete += 1,
        }
    }
}

/// Reads the first `max_questions` questions of a file, at least one.
pub fn read_questions(path: &Path, max_questions: usize) -> Result<Questions> {
    let found = match lowercase_extension(path).as_str() {
        "json" => read_json(path, max_questions)?,
        "jsonl" => read_json_lines(path, max_questions)?,
        "parquet" => read_parquet(path, max_questions)?,
        "txt" => read_bar_lines(path, max_questions)?,
        _ => {
            let allowed = "files that end in .json, .jsonl, .parquet, with `question` and `answer`, or .txt of lines question||steps #### answer";
            return Err(DataError::InvalidSetting { name: "questions", found: path.display().to_string(), allowed });
        }
    };
    match (found.questions.is_empty(), found.incomplete) {
        (true, incomplete) => Err(DataError::Empty {
            file: path.to_path_buf(),
            found: match incomplete {
                0 => "no question".to_owned(),
                count => format!("no question with an answer; question or answer of {count} records is empty"),
            },
            allowed: "at least one question",
        }),
        (false, _) => Ok(found),
    }
}

/// A record of a JSON file: the values of its fields, whatever names they have. A missing question or answer is an error; a
/// null one is counted.
struct JsonRecord {
    question: Value,
    answer: Value,
    steps: Value,
    frontier: Value,
}

impl JsonRecord {
    /// Finds the fields of a record by their usual names, or the messages of a chat.
    fn from_value(value: Value) -> std::result::Result<Self, String> {
        let Value::Object(mut fields) = value else { return Err(format!("{}, not an object", json_kind(&value))) };
        if let Some(messages) = fields.remove("messages") {
            let message = |role: &str| {
                last_message(&messages, role).ok_or_else(|| format!("`messages` without one of the {role}"))
            };
            let (question, answer) = (message("user")?, message("assistant")?);
            return Ok(Self { question, answer, steps: Value::Null, frontier: Value::Null });
        }
        let mut take = |names: &[&str]| names.iter().find_map(|name| fields.remove(*name));
        let question = take(QUESTION_NAMES).ok_or("no field `question`")?;
        let answer = take(ANSWER_NAMES);
        let (steps, frontier) = (take(STEP_NAMES), take(&[FRONTIER_NAME]));
        // A rationale alone states its answer.
        let (answer, steps) = match (answer, steps) {
            (Some(answer), steps) => (answer, steps.unwrap_or(Value::Null)),
            (None, Some(Value::String(rationale))) => (Value::String(rationale), Value::Null),
            (None, _) => return Err("no field `answer`".to_owned()),
        };
        Ok(Self { question, answer, steps, frontier: frontier.unwrap_or(Value::Null) })
    }

    /// Appends the record to `found`. The error says which field cannot be read.
    fn append_to(self, found: &mut Questions) -> std::result::Result<(), String> {
        let texts = |field: &'static str, value: Value| match value {
            Value::Null => Ok(Vec::new()),
            Value::Array(items) => items.into_iter().filter_map(|item| json_text(field, item).transpose()).collect(),
            Value::String(text) => {
                Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
            }
            item => Ok::<Vec<String>, String>(json_text(field, item)?.into_iter().collect()),
        };
        let (steps, frontier) = (texts("steps", self.steps)?, texts(FRONTIER_NAME, self.frontier)?);
        found.push(json_text("question", self.question)?, steps, json_text("answer", self.answer)?, frontier);
        Ok(())
    }
}

/// Returns the content of the last message of a role in a chat.
fn last_message(messages: &Value, role: &str) -> Option<Value> {
    let of_role = |message: &&Value| message.get("role").and_then(Value::as_str) == Some(role);
    messages.as_array()?.iter().rev().find(of_role)?.get("content").cloned()
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) | Value::Number(_) => "a number or boolean",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Returns a JSON text, number or boolean as text; `None` for null.
fn json_text(field: &str, value: Value) -> std::result::Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        Value::Number(_) | Value::Bool(_) => Ok(Some(value.to_string())),
        Value::Array(_) => Err(format!("a list under `{field}`")),
        Value::Object(_) => Err(format!("an object under `{field}`")),
    }
}

/// Reads an array of records, an object with one array in it, or one record per line.
fn read_json(path: &Path, max_questions: usize) -> Result<Questions> {
    let text = foreign::read_text(path, u64::MAX).map_err(|error| DataError::io(path, "be read")(error.cause))?;
    let parsed: Value = match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(_)
            if serde_json::from_str::<Value>(text.lines().next().unwrap_or_default())
                .is_ok_and(|first| first.is_object()) =>
        {
            return read_json_lines(path, max_questions);
        }
        Err(error) => {
            return Err(DataError::Line {
                file: path.to_path_buf(),
                line: error.line() as u64,
                found: json_error_text(&error),
                allowed: "an array of objects with `question` and `answer`",
            });
        }
    };
    let mut found = Questions::default();
    for (record, value) in json_records(parsed).into_iter().enumerate() {
        if found.is_full(max_questions) {
            break;
        }
        let appended = JsonRecord::from_value(value).and_then(|read| read.append_to(&mut found));
        appended.map_err(|found| DataError::Record {
            file: path.to_path_buf(),
            record,
            found,
            allowed: EXPECTED_FIELDS,
        })?;
    }
    Ok(found)
}

/// Returns the records of a JSON value: an array, or the only array in an object (such as `{"data": […]}`).
fn json_records(value: Value) -> Vec<Value> {
    match value {
        Value::Array(records) => records,
        Value::Object(fields) if !QUESTION_NAMES.iter().chain(&["messages"]).any(|name| fields.contains_key(*name)) => {
            let arrays: Vec<&Value> = fields.values().filter(|value| value.is_array()).collect();
            match arrays[..] {
                [Value::Array(records)] => records.clone(),
                _ => vec![Value::Object(fields)],
            }
        }
        record => vec![record],
    }
}

fn read_json_lines(path: &Path, max_questions: usize) -> Result<Questions> {
    let (mut lines, mut found) = (LineReader::open(path, u64::MAX)?, Questions::default());
    while !found.is_full(max_questions)
        && let Some(line) = lines.next_line()?
    {
        if line.trim().is_empty() {
            continue;
        }
        let value: std::result::Result<Value, _> = serde_json::from_str(line);
        let appended = value
            .map_err(|error| json_error_text(&error))
            .and_then(JsonRecord::from_value)
            .and_then(|read| read.append_to(&mut found));
        appended.map_err(|found| lines.line_error(found, EXPECTED_FIELDS))?;
    }
    Ok(found)
}

/// Reads lines such as `question||<<4-2=2>> <<2*3=6>> #### 6` (GSM8k-aug).
fn read_bar_lines(path: &Path, max_questions: usize) -> Result<Questions> {
    let (mut lines, mut found) = (LineReader::open(path, u64::MAX)?, Questions::default());
    while !found.is_full(max_questions)
        && let Some(line) = lines.next_line()?
    {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let parts = line.split_once("||").and_then(|(question, rest)| Some((question, rest.rsplit_once("####")?)));
        let Some((question, (steps, answer))) = parts else {
            return Err(lines.line_error("no `||` or no `####`".to_owned(), "question||steps #### answer"));
        };
        // A step ends where the next begins.
        let steps = steps.split(" <<").map(str::trim).filter(|step| !step.is_empty());
        let steps = steps.map(|step| {
            if step.starts_with("<<") || !step.ends_with(">>") { step.to_owned() } else { format!("<<{step}") }
        });
        found.push(Some(question.trim().to_owned()), steps.collect(), Some(answer.trim().to_owned()), Vec::new());
    }
    Ok(found)
}

fn read_parquet(path: &Path, max_questions: usize) -> Result<Questions> {
    let (_, metadata) = open_parquet(path)?;
    let schema = metadata.schema().clone();
    let column = |names: &[&str]| names.iter().find_map(|name| schema.index_of(name).ok());
    let (Some(question), Some(answer)) = (column(QUESTION_NAMES), column(ANSWER_NAMES)) else {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(DataError::Column {
            file: path.to_path_buf(),
            found: format!("only the columns `{}`", names.join("`, `")),
            allowed: "columns `question` and `answer`, and optionally `steps` of lists of strings".to_owned(),
        });
    };
    let columns: Vec<usize> =
        [Some(question), Some(answer), column(STEP_NAMES), column(&[FRONTIER_NAME])].into_iter().flatten().collect();
    let footer = metadata.metadata().clone();
    let (mut found, mut first_row) = (Questions::default(), 0);
    for (group, group_metadata) in footer.row_groups().iter().enumerate() {
        if found.is_full(max_questions) {
            break;
        }
        let reader = read_columns(path, &metadata, &columns, group, DECODE_ROWS)?;
        for_each_batch(path, first_row, reader, |batch, row| {
            append_batch(path, batch, row, max_questions, &mut found)
        })?;
        first_row += u64::try_from(group_metadata.num_rows()).unwrap_or(0);
    }
    Ok(found)
}

/// Appends the questions of one record batch, whose first row is `row` of the file.
fn append_batch(path: &Path, batch: &RecordBatch, row: u64, max_questions: usize, found: &mut Questions) -> Result<()> {
    let column = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| Some((*name, batch.column_by_name(name)?.clone())))
            .map(|(name, column)| (name.to_owned(), column))
    };
    let fault = |name: &str, column: &ArrayRef| DataError::Row {
        file: path.to_path_buf(),
        row,
        found: format!("column `{name}` holds {}", type_name(column.data_type())),
        allowed: "texts, numbers or booleans; under `steps` also lists of them".to_owned(),
    };
    let texts = |names: &[&str]| match column(names) {
        Some((name, column)) => as_texts(&column).ok_or_else(|| fault(&name, &column)),
        None => Ok(vec![None; batch.num_rows()]),
    };
    let lists = |names: &[&str]| match column(names) {
        Some((name, column)) => as_text_lists(&column).ok_or_else(|| fault(&name, &column)),
        None => Ok(vec![Vec::new(); batch.num_rows()]),
    };
    let rows = texts(QUESTION_NAMES)?.into_iter().zip(texts(ANSWER_NAMES)?);
    let rows = rows.zip(lists(STEP_NAMES)?.into_iter().zip(lists(&[FRONTIER_NAME])?));
    for ((question, answer), (steps, frontier)) in rows {
        if !found.is_full(max_questions) {
            found.push(question, steps, answer, frontier);
        }
    }
    Ok(())
}

/// Returns the values of a column as texts, `None` for nulls; nothing if values of its type are no texts.
fn as_texts(column: &ArrayRef) -> Option<Vec<Option<String>>> {
    if column.data_type().is_nested() || !can_cast_types(column.data_type(), &DataType::Utf8) {
        return None;
    }
    let texts = cast(column, &DataType::Utf8).ok()?;
    Some(texts.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect())
}

/// Returns the lists of texts of a column. A text is a list of one, a null an empty list.
fn as_text_lists(column: &ArrayRef) -> Option<Vec<Vec<String>>> {
    let inner = match column.data_type() {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => Some(field),
        DataType::ListView(field) | DataType::LargeListView(field) => Some(field),
        _ => None,
    };
    let Some(inner) = inner else {
        return Some(as_texts(column)?.into_iter().map(|text| text.into_iter().collect()).collect());
    };
    let lists = DataType::LargeList(inner.clone());
    let lists = cast(column, &lists).ok()?;
    let to_texts = |list: Option<ArrayRef>| match list {
        Some(list) => Some(as_texts(&list)?.into_iter().flatten().collect()),
        None => Some(Vec::new()),
    };
    lists.as_list::<i64>().iter().map(to_texts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Float64Array, Int64Array, ListArray, StringArray};
    use arrow::datatypes::{Int32Type, Int64Type};
    use std::sync::Arc;

    fn read(name: &str, text: &str, max_questions: usize) -> Result<Questions> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_questions(&path, max_questions)
    }

    fn question(question: &str, steps: &[&str], answer: &str) -> Question {
        let steps = steps.iter().map(|step| (*step).to_owned()).collect();
        Question { question: question.to_owned(), steps, answer: answer.to_owned(), frontier: Vec::new() }
    }

    const LINE: &str = r#"{"question": "Is it?", "answer": "It is.", "steps": ["It may be."], "more": 1}"#;

    #[test]
    fn questions_are_read_from_arrays_and_lines() {
        let one = question("Is it?", &["It may be."], "It is.");
        let two = [one.clone(), one.clone()];
        assert_eq!(read("a.json", &format!("[{LINE}, {LINE}]"), 9).unwrap().questions, two);
        assert_eq!(
            read("a.json", &format!("\u{feff}{{\"n\": 2, \"data\": [{LINE}, {LINE}]}}"), 9).unwrap().questions,
            two
        );
        assert_eq!(read("a.json", &format!("{LINE}\n{LINE}\n"), 9).unwrap().questions, two);
        assert_eq!(read("a.json", LINE, 9).unwrap().questions, std::slice::from_ref(&one));
        assert_eq!(read("a.jsonl", &format!("\u{feff}{LINE}\n\n{LINE}\n{LINE}"), 2).unwrap().questions, two);
    }

    #[test]
    fn numbers_nulls_and_single_steps_are_read() {
        let lines = r#"{"question": "1+1", "answer": 2, "steps": null}
            {"question": "1/2", "answer": 0.5, "steps": "halve it"}
            {"question": "is 1 1", "answer": true, "steps": ["yes", 1, null]}
            {"question": "Q", "answer": null}
            {"question": " ", "answer": "A"}"#;
        let found = read("a.jsonl", lines, 9).unwrap();
        let expected = [
            question("1+1", &[], "2"),
            question("1/2", &["halve it"], "0.5"),
            question("is 1 1", &["yes", "1"], "true"),
        ];
        assert_eq!((found.questions.as_slice(), found.incomplete), (expected.as_slice(), 2));
    }

    /// Writes the columns as a Parquet file and reads it.
    fn read_columns(columns: Vec<(&str, ArrayRef)>) -> Result<Questions> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.parquet");
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)));
        let batch = batch.unwrap();
        let sink = std::fs::File::create(&path).unwrap();
        crate::files::parquet::write_parquet(sink, batch.schema(), &[batch], &[]).unwrap();
        read_questions(&path, 9)
    }

    #[test]
    fn parquet_columns_of_other_types_are_read_or_named() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("1+1"), Some("2+2"), Some("3+3")]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(2), None, Some(6)]));
        let steps: ArrayRef = Arc::new(StringArray::from(vec![Some("add"), None, None]));
        let found = read_columns(vec![("question", texts.clone()), ("answer", numbers), ("steps", steps)]).unwrap();
        assert_eq!(found.questions, [question("1+1", &["add"], "2"), question("3+3", &[], "6")]);
        assert_eq!(found.incomplete, 1);
        let dictionary =
            cast(&texts, &DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))).unwrap();
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([Some([Some(1)]), None, Some([Some(3)])]);
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![2.0, 4.0, 6.5]));
        let found =
            read_columns(vec![("question", dictionary), ("answer", floats), ("steps", Arc::new(lists))]).unwrap();
        assert_eq!(found.questions[2], question("3+3", &["3"], "6.5"));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some([Some(1)]); 3]));
        let error = read_columns(vec![("question", texts), ("answer", lists)]).unwrap_err().to_string();
        assert!(error.contains("column `answer` holds list<int32>"), "{error}");
    }

    #[test]
    fn invalid_questions_are_clear_errors() {
        for (name, text, wanted) in [
            ("a.csv", "", "questions = "),
            ("a.json", "[]", "no question; allowed: at least one question"),
            ("a.json", "{}", "record 0 (counted from 0): no field `question`"),
            ("a.json", "[", "line 1"),
            ("a.jsonl", &format!("{LINE}\n{{\"question\": 3}}"), "line 2"),
            ("a.jsonl", r#"{"question": "Q", "answer": ["A"]}"#, "line 1: a list under `answer`"),
            ("a.jsonl", r#"{"question": "Q", "answer": " "}"#, "question or answer of 1 records is empty"),
            ("a.parquet", "no", "not a readable Parquet file"),
        ] {
            let found = read(name, text, 9).unwrap_err().to_string();
            assert!(found.contains(wanted), "{found}");
        }
    }
}
