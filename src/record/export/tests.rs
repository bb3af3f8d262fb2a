//! Tests exported tables by reading them back, and that a failed export leaves nothing behind.

use super::*;
use arrow::array::{
    Array, AsArray, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatchOptions,
    UInt64Array,
};
use arrow::datatypes::{Float64Type, Int64Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::metadata::KeyValue;
use std::collections::HashMap;
use std::path::PathBuf;

type Column = (&'static str, ArrayRef, bool);

fn table(columns: Vec<Column>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn ints(name: &'static str, values: &[i64]) -> Column {
    (name, Arc::new(Int64Array::from(values.to_vec())), false)
}

fn floats(name: &'static str, values: &[Option<f64>]) -> Column {
    (name, Arc::new(Float64Array::from(values.to_vec())), true)
}

fn texts(name: &'static str, values: &[Option<&str>]) -> Column {
    (name, Arc::new(StringArray::from(values.to_vec())), true)
}

fn list(name: &'static str) -> Column {
    let values = [Some(vec![Some(1), None]), None];
    (name, Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(values)), true)
}

/// Returns each column's name and type, with `?` if it is nullable.
fn shape(batch: &RecordBatch) -> String {
    let fields = batch.schema_ref().fields().iter();
    let fields = fields
        .map(|field| format!("{} {}{}", field.name(), field.data_type(), ["", "?"][field.is_nullable() as usize]));
    fields.collect::<Vec<_>>().join(", ")
}

fn with_column_metadata(batch: RecordBatch, column: &str, metadata: &[(&str, &str)]) -> RecordBatch {
    let metadata: HashMap<String, String> = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let fields: Vec<Field> = batch
        .schema_ref()
        .fields()
        .iter()
        .map(|field| match field.name() == column {
            true => field.as_ref().clone().with_metadata(metadata.clone()),
            false => field.as_ref().clone(),
        })
        .collect();
    let schema = Schema::new_with_metadata(fields, HashMap::from([("run".to_owned(), "a".to_owned())]));
    RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec()).unwrap()
}

#[test]
fn columns_are_unified_in_order_of_appearance_and_filled_with_nulls() {
    let first = table(vec![ints("step", &[1, 2]), floats("loss", &[Some(0.5), None])]);
    let second = table(vec![texts("note", &[Some("a")]), ints("step", &[3]), ints("only", &[7])]);
    let unified = unify(vec![first, second]).unwrap();
    assert_eq!(shape(&unified[0]), "step Int64, loss Float64?, note Utf8?, only Int64?");
    assert_eq!(unified[0].schema(), unified[1].schema());
    assert_eq!((unified[0].num_rows(), unified[1].num_rows()), (2, 1));
    assert_eq!((unified[0].column(3).null_count(), unified[1].column(1).null_count()), (2, 1));
    assert_eq!(unified[1].column(0).as_primitive::<Int64Type>().values(), &[3]);
}

#[test]
fn numbers_widen_and_other_types_must_agree() {
    let cases: [(ArrayRef, ArrayRef, &str); 7] = [
        (Arc::new(Int32Array::from(vec![1])), Arc::new(Int32Array::from(vec![1])), "c Int32"),
        (Arc::new(Int32Array::from(vec![1])), Arc::new(UInt64Array::from(vec![1])), "c Int64"),
        (Arc::new(Int32Array::from(vec![1])), Arc::new(Float32Array::from(vec![1.0])), "c Float64"),
        (Arc::new(Float32Array::from(vec![1.0])), Arc::new(Float64Array::from(vec![1.0])), "c Float64"),
        (new_null(), Arc::new(BooleanArray::from(vec![true])), "c Boolean?"),
        (
            Arc::new(StringArray::from(vec!["1"])),
            Arc::new(Int64Array::from(vec![1])),
            "column `c` is Utf8 in one table and Int64 in another",
        ),
        (
            Arc::new(UInt64Array::from(vec![u64::MAX])),
            Arc::new(Int64Array::from(vec![1])),
            "column `c` does not fit into Int64",
        ),
    ];
    for (first, second, expected) in cases {
        let unified = unify(vec![table(vec![("c", first, false)]), table(vec![("c", second, false)])]);
        let found = unified.map(|tables| shape(&tables[1])).unwrap_or_else(|error| error.to_string());
        assert!(found.starts_with(expected), "{found}, expected {expected}");
    }
}

fn new_null() -> ArrayRef {
    arrow::array::new_null_array(&DataType::Null, 1)
}

#[test]
fn metadata_of_a_column_is_kept_from_the_first_that_has_it() {
    let bare = table(vec![ints("n", &[1])]);
    let second = with_column_metadata(bare.clone(), "n", &[("unit", "s")]);
    let third = with_column_metadata(bare.clone(), "n", &[("unit", "ms"), ("description", "time")]);
    let unified = unify(vec![bare, second, third]).unwrap();
    let metadata = unified[0].schema_ref().field(0).metadata().clone();
    assert_eq!((metadata["unit"].as_str(), metadata["description"].as_str()), ("s", "time"));
    assert!(unified[2].schema_ref().metadata().is_empty());
}

#[test]
fn tables_without_columns_are_unified_and_duplicate_columns_refused() {
    assert!(unify(Vec::new()).unwrap().is_empty());
    let rows = RecordBatchOptions::new().with_row_count(Some(3));
    let bare = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &rows).unwrap();
    let unified = unify(vec![bare.clone(), table(vec![list("l")])]).unwrap();
    assert_eq!((unified[0].num_rows(), unified[0].column(0).null_count()), (3, 3));
    assert_eq!(unify(vec![bare]).unwrap()[0].num_rows(), 3);
    // `try_from_iter` does not check names.
    let duplicates = table(vec![ints("n", &[1]), ints("n", &[2])]);
    assert_eq!(unify(vec![duplicates]).unwrap_err().to_string(), "column `n` exists twice");
}

#[test]
fn a_text_column_is_put_first() {
    let batch = with_column_metadata(table(vec![ints("n", &[1, 2])]), "n", &[("unit", "s")]);
    let named = with_text_column(&batch, "run", "a,b").unwrap();
    assert_eq!(shape(&named), "run Utf8, n Int64");
    assert_eq!(named.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("a,b"); 2]);
    assert_eq!(named.schema_ref().field(1).metadata()["unit"], "s");
    assert_eq!(with_text_column(&batch.slice(0, 0), "run", "a").unwrap().num_rows(), 0);
    assert_eq!(with_text_column(&named, "run", "c").unwrap_err().to_string(), "column `run` exists twice");
}

/// Creates a temporary folder. Returns it and the path of the file `name` in it.
fn folder(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join(name);
    (dir, out)
}

fn names(dir: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(dir.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn parquet_round_trips_with_footer_and_metadata() {
    let (dir, out) = folder("t.parquet");
    std::fs::write(&out, "old").unwrap();
    let columns = vec![ints("step", &[1, 2]), floats("x", &[None, Some(f64::NAN)]), list("l")];
    let batch = with_column_metadata(table(columns), "x", &[("unit", "nats")]);
    write_table(&out, &[batch.clone(), batch.slice(0, 1)], &[("key".into(), "value".into())]).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&out).unwrap()).unwrap();
    let footer = reader.metadata().file_metadata().key_value_metadata().unwrap();
    assert!(footer.contains(&KeyValue::new("key".to_owned(), "value".to_owned())));
    let compression = reader.metadata().row_group(0).column(0).compression();
    assert!(matches!(compression, Compression::ZSTD(_)));
    let read = reader.build().unwrap().next().unwrap().unwrap();
    assert_eq!((read.num_rows(), shape(&read)), (3, shape(&batch)));
    assert_eq!(read.schema_ref().field(1).metadata()["unit"], "nats");
    assert!(read.column(1).is_null(0) && read.column(1).as_primitive::<Float64Type>().value(1).is_nan());
    assert_eq!(names(&dir), ["t.parquet"]);
}

#[test]
fn csv_round_trips() {
    let (dir, out) = folder("t.CSV");
    let columns = vec![texts("run", &[Some("a,\"b\"\nc"), None]), ints("n", &[1, 2]), floats("x", &[None, Some(0.1)])];
    let batch = table(columns);
    write_table(&out, &[batch.clone(), batch.slice(1, 1)], &[]).unwrap();
    let text = std::fs::read_to_string(&out).unwrap();
    assert_eq!(text, "run,n,x\n\"a,\"\"b\"\"\nc\",1,\n,2,0.1\n,2,0.1\n");
    let reader = arrow::csv::ReaderBuilder::new(batch.schema()).with_header(true);
    let read = reader.build(File::open(&out).unwrap()).unwrap().next().unwrap().unwrap();
    assert_eq!((read.slice(0, 2).columns(), read.num_rows()), (batch.columns(), 3));
    assert_eq!(names(&dir), ["t.CSV"]);
}

#[test]
fn a_table_without_rows_is_a_file_without_rows() {
    let (_dir, out) = folder("t.parquet");
    let none = table(vec![ints("n", &[]), texts("s", &[])]);
    write_table(&out, std::slice::from_ref(&none), &[]).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&out).unwrap()).unwrap();
    assert_eq!((reader.metadata().file_metadata().num_rows(), reader.schema().fields().len()), (0, 2));
    let out = out.with_extension("csv");
    write_table(&out, &[none], &[]).unwrap();
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "n,s\n");
}

#[test]
fn a_failed_export_reports_why_and_leaves_nothing_behind() {
    let batch = table(vec![ints("n", &[1, 2])]);
    let other = table(vec![ints("m", &[1])]);
    let lists = table(vec![ints("n", &[1, 2]), list("l")]);
    let empty = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let cases: [(&str, &[RecordBatch], &str); 8] = [
        ("t.csv", &[], "nothing to export"),
        ("t.parquet", &[empty], "nothing to export"),
        ("t.json", std::slice::from_ref(&batch), "must end in .parquet or .csv"),
        ("csv", std::slice::from_ref(&batch), "must end in .parquet or .csv"),
        ("t.csv", &[lists], "column `l` has type List(Int64), which CSV cannot hold; export to .parquet instead"),
        ("t.csv", &[batch.clone(), other], "batch 1 has other columns than batch 0"),
        ("no/t.csv", std::slice::from_ref(&batch), "cannot write "),
        ("no/t.parquet", std::slice::from_ref(&batch), "t.parquet: "),
    ];
    for (name, batches, expected) in cases {
        let (dir, out) = folder(name);
        let error = write_table(&out, batches, &[]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
        assert!(names(&dir).is_empty(), "{error}: {:?}", names(&dir));
    }
}

#[test]
fn a_file_that_cannot_be_renamed_is_removed_and_the_old_one_kept() {
    let (dir, out) = folder("t.csv");
    std::fs::create_dir(&out).unwrap();
    assert!(write_table(&out, &[table(vec![ints("n", &[1])])], &[]).is_err());
    assert_eq!(names(&dir), ["t.csv"]);
    assert!(out.is_dir());
}

#[test]
fn times_are_text_in_csv() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("x.csv");
    let times = arrow::array::TimestampMillisecondArray::from(vec![Some(1_500), None]).with_timezone("UTC");
    let batch = RecordBatch::try_from_iter([("time", Arc::new(times) as ArrayRef)]).unwrap();
    write_table(&out, &[batch], &[]).unwrap();
    assert_eq!(std::fs::read_to_string(out).unwrap(), "time\n1970-01-01T00:00:01.500Z\n\"\"\n");
}

#[test]
fn text_that_a_spreadsheet_would_run_is_quoted_and_numbers_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("a.csv");
    let texts = ["=1+1", "+a", "-b", "@c", "\tx", "-0.5", "+1e-4", "plain", ""];
    let numbers: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![-1.5; texts.len()]));
    let text: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
    let batch = RecordBatch::try_from_iter([("text", text), ("number", numbers)]).unwrap();
    write_table(&out, &[batch], &[]).unwrap();
    let written = std::fs::read_to_string(out).unwrap();
    let cells: Vec<&str> = written.lines().skip(1).map(|line| line.rsplit_once(',').unwrap().0).collect();
    assert_eq!(cells, ["'=1+1", "'+a", "'-b", "'@c", "'\tx", "-0.5", "+1e-4", "plain", ""]);
    assert!(written.lines().skip(1).all(|line| line.ends_with(",-1.5")));
}

#[test]
fn rollouts_are_exported_with_the_runs_name_and_their_latents() {
    use super::run_tables::{RunTable, StepRange, export_table};
    use crate::record::recorder::{RecordTiming, Recorder};
    use crate::schema::rollout_rows::RolloutRow;
    use std::time::Duration;
    let dir = tempfile::tempdir().unwrap();
    let run = crate::record::run_folder::RunFolder::create(dir.path(), "x", chrono::Local::now()).unwrap();
    std::fs::write(run.config_file(), "").unwrap();
    let (long, none) = (Duration::from_secs(9), Duration::ZERO);
    let timing = RecordTiming { sync_time: long, sync_rows: 9, part_rows: 9, part_time: long, system_time: none };
    let recorder = Recorder::start(&run, timing, String::new()).unwrap();
    let row =
        |step| RolloutRow { step, text: "⟨4⟩ 1".into(), token_ids: vec![None, Some(7)], ..RolloutRow::default() };
    recorder.record_rollouts([5, 10, 15].map(row).to_vec());
    recorder.flush();
    let out = dir.path().join("rollouts.parquet");
    let steps = StepRange { first: 6, last: 10 };
    assert_eq!(export_table(&[run.path()], RunTable::Rollouts, steps, &out).unwrap().rows, 1);
    let file = std::fs::File::open(&out).unwrap();
    let mut read = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batch = read.next().unwrap().unwrap();
    assert_eq!(batch.schema().field(0).name(), "run");
    assert_eq!(crate::record::rows::read_rollout_rows(&batch), [row(10)]);
    let csv = export_table(&[run.path()], RunTable::Rollouts, StepRange::ALL, &dir.path().join("rollouts.csv"));
    assert!(csv.unwrap_err().to_string().contains("token_ids"), "lists do not fit into csv");
}
