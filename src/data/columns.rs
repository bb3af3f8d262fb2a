//! Owns: which columns of a shard hold token ids, their padding mask and their labels.
//! Must not know: files beyond their path in a message, row groups, splits.
//! Invariant: the type of a column goes before its name: a list of integers before one integer per row. A column of
//! counts is never taken for tokens without a word.

use super::error::{DataError, Result};
use arrow::datatypes::{DataType, Field, Schema};
use std::path::Path;

/// Accepted names of the token column, in order of preference.
const TOKEN_COLUMNS: [&str; 4] = ["input_ids", "tokens", "token_ids", "token"];
/// Names of a flat token column that mean counts elsewhere, in order of preference.
const AMBIGUOUS_FLAT: [&str; 2] = ["tokens", "token"];
/// Names with these in them are accepted for a column that is the only list of integers but for those below.
const TOKEN_WORDS: [&str; 4] = ["token", "ids", "input", "encoded"];
/// Lists of integers beside the tokens that are no tokens.
const NOT_TOKENS: [&str; 9] = [
    MASK_COLUMN,
    LABEL_COLUMN,
    "token_type_ids",
    "position_ids",
    "special_tokens_mask",
    "loss_mask",
    "segment_ids",
    "word_ids",
    "assistant_masks",
];
/// Column of 1 for tokens and 0 for padding.
const MASK_COLUMN: &str = "attention_mask";
/// Column of the targets, in which [`IGNORED_LABEL`] means no target.
const LABEL_COLUMN: &str = "labels";
pub(crate) const IGNORED_LABEL: i64 = -100;

/// How the token column holds ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnLayout {
    /// A row is a document: a list of ids.
    Lists,
    /// A row is a single id.
    Flat,
}

/// The columns of a shard that are read, by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardColumns {
    pub tokens: usize,
    pub layout: ColumnLayout,
    /// The column `attention_mask` of lists beside lists of tokens.
    pub mask: Option<usize>,
    /// The column `labels` of lists beside lists of tokens.
    pub labels: Option<usize>,
    /// What a reader of the dataset should know about the choice.
    pub notes: Vec<String>,
}

impl ShardColumns {
    /// Returns the indices of all columns that are read, in order.
    pub fn indices(&self) -> Vec<usize> {
        let mut indices: Vec<usize> = [Some(self.tokens), self.mask, self.labels].into_iter().flatten().collect();
        indices.sort_unstable();
        indices
    }
}

/// Finds the token column, which holds integers, and the columns that belong to it.
pub(crate) fn find_columns(path: &Path, schema: &Schema) -> Result<ShardColumns> {
    let fields: Vec<&Field> = schema.fields().iter().map(AsRef::as_ref).collect();
    if let Some(columns) = find_lists(&fields) {
        return Ok(columns);
    }
    let fault = |found: String, allowed: String| DataError::Column { file: path.to_path_buf(), found, allowed };
    let names = format!("`{}`", TOKEN_COLUMNS.join("`, `"));
    let Some(index) = index_by_name(&fields, |_| true) else {
        let found = format!("no token column, only {}", list_columns(&fields));
        return Err(fault(found, format!("a column named {names}, of lists of integers")));
    };
    let flat = index_by_name(&fields, |field| field.data_type().is_integer());
    let Some(tokens) = flat else {
        let field = fields[index];
        let found = format!("column `{}` is {}", field.name(), type_name(field.data_type()));
        return Err(fault(found, "lists of integers, or one integer per row".to_owned()));
    };
    let field = fields[tokens];
    if AMBIGUOUS_FLAT.contains(&field.name().as_str())
        && let Some(other) = fields.iter().find(|field| !field.data_type().is_integer())
    {
        let found = format!(
            "column `{}: {}` has one number per row beside `{}: {}`, so it may be a count of tokens",
            field.name(),
            type_name(field.data_type()),
            other.name(),
            type_name(other.data_type())
        );
        let allowed = format!("a column named {names}, of lists of integers; or no other column beside a flat one");
        return Err(fault(found, allowed));
    }
    let mut notes = passed_over_notes(&fields, tokens, |field| field.data_type().is_integer());
    if fields.len() > 1 {
        notes.push(format!("each row of `{}` is taken for one token: make sure that it is no count", field.name()));
    }
    Ok(ShardColumns { tokens, layout: ColumnLayout::Flat, mask: None, labels: None, notes })
}

/// Finds a token column of lists: by its name, else the only list whose name could be that of tokens.
fn find_lists(fields: &[&Field]) -> Option<ShardColumns> {
    let is_list = |field: &Field| is_integer_list(field.data_type());
    let mut notes = Vec::new();
    let nulls_alone = |field: &Field| field.data_type().is_null();
    let by_name = index_by_name(fields, |field| is_list(field) && !nulls_alone(field));
    let other_spelling = || {
        let possible =
            |field: &Field| is_list(field) && !nulls_alone(field) && !NOT_TOKENS.contains(&field.name().as_str());
        let indices: Vec<usize> = (0..fields.len()).filter(|index| possible(fields[*index])).collect();
        let [only] = indices[..] else { return None };
        let name = fields[only].name().to_lowercase();
        let plausible = TOKEN_WORDS.iter().any(|word| name.contains(word));
        notes.push(format!(
            "the column `{}` is taken for the tokens: it is the only list of integers",
            fields[only].name()
        ));
        plausible.then_some(only)
    };
    let has_flat = index_by_name(fields, |field| field.data_type().is_integer()).is_some();
    let nulls = || index_by_name(fields, nulls_alone).filter(|_| !has_flat);
    let tokens = by_name.or_else(other_spelling).or_else(nulls)?;
    notes.extend(passed_over_notes(fields, tokens, |field| is_list(field) || field.data_type().is_integer()));
    let beside = |name: &str| fields.iter().position(|field| field.name() == name && is_flag_list(field.data_type()));
    let (mask, labels) = (beside(MASK_COLUMN), beside(LABEL_COLUMN));
    Some(ShardColumns { tokens, layout: ColumnLayout::Lists, mask, labels, notes })
}

/// Returns the index of the first of [`TOKEN_COLUMNS`] that there is and that `accept` takes.
fn index_by_name(fields: &[&Field], accept: impl Fn(&Field) -> bool) -> Option<usize> {
    let find = |name: &&str| fields.iter().position(|field| field.name() == *name && accept(field));
    TOKEN_COLUMNS.iter().find_map(find)
}

/// Says which other columns have the name and the type of tokens.
fn passed_over_notes(fields: &[&Field], taken: usize, accept: impl Fn(&Field) -> bool) -> Vec<String> {
    let other = |name: &&str| fields.iter().position(|field| field.name() == *name && accept(field));
    let others = TOKEN_COLUMNS.iter().filter_map(other).filter(|index| *index != taken);
    let say = |index: usize| {
        let field = fields[index];
        let (name, kind) = (field.name(), type_name(field.data_type()));
        format!("the column `{name}` ({kind}) is passed over: the tokens are in `{}`", fields[taken].name())
    };
    others.map(say).collect()
}

fn list_columns(fields: &[&Field]) -> String {
    let columns = fields.iter().map(|field| format!("`{}: {}`", field.name(), type_name(field.data_type())));
    columns.collect::<Vec<_>>().join(", ")
}

/// Returns the type of a list's items. Parquet knows one kind of list; Arrow's others are read as this one.
fn item_type(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(item.data_type()),
        _ => None,
    }
}

/// Whether a type is a list of integers, or has nothing but nulls, as writers type a file of empty lists or null rows.
fn is_integer_list(data_type: &DataType) -> bool {
    data_type.is_null() || item_type(data_type).is_some_and(|item| item.is_integer() || item.is_null())
}

fn is_flag_list(data_type: &DataType) -> bool {
    item_type(data_type).is_some_and(|item| item.is_integer() || item.is_null() || *item == DataType::Boolean)
}

/// Returns the readable name of an Arrow type, such as `list<int32>` or `struct<a: int32>`.
pub(crate) fn type_name(data_type: &DataType) -> String {
    let fields = |fields: &arrow::datatypes::Fields| {
        let named = fields.iter().map(|field| format!("{}: {}", field.name(), type_name(field.data_type())));
        named.collect::<Vec<_>>().join(", ")
    };
    match data_type {
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())),
        DataType::LargeList(item) => format!("large_list<{}>", type_name(item.data_type())),
        DataType::ListView(item) => format!("list_view<{}>", type_name(item.data_type())),
        DataType::LargeListView(item) => format!("large_list_view<{}>", type_name(item.data_type())),
        DataType::FixedSizeList(item, n) => format!("fixed_size_list<{}, {n}>", type_name(item.data_type())),
        DataType::Dictionary(_, values) => format!("dictionary<{}>", type_name(values)),
        DataType::RunEndEncoded(_, values) => format!("run_end_encoded<{}>", type_name(values.data_type())),
        DataType::Struct(inner) => format!("struct<{}>", fields(inner)),
        DataType::Map(entry, _) => format!("map<{}>", type_name(entry.data_type())),
        DataType::Union(..) => "union".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "binary".to_owned(),
        DataType::FixedSizeBinary(bytes) => format!("fixed_size_binary<{bytes}>"),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "time".to_owned(),
        DataType::Duration(_) => "duration".to_owned(),
        DataType::Interval(_) => "interval".to_owned(),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            "decimal".to_owned()
        }
        // What is left are names alone, such as `Int32`.
        plain => format!("{plain:?}").to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn list(name: &str, item: DataType) -> Field {
        Field::new(name, DataType::List(Arc::new(Field::new("item", item, true))), true)
    }

    fn columns(fields: Vec<Field>) -> Result<ShardColumns> {
        find_columns(Path::new("a.parquet"), &Schema::new(fields))
    }

    #[test]
    fn lists_go_before_flat_columns_and_what_is_passed_over_is_said() {
        let text = || Field::new("text", DataType::Utf8, true);
        let count = |name: &str| Field::new(name, DataType::Int64, true);
        let found = columns(vec![text(), count("tokens"), list("token_ids", DataType::Int64)]).unwrap();
        assert_eq!((found.tokens, found.layout), (2, ColumnLayout::Lists));
        assert!(found.notes[0].contains("`tokens` (int64) is passed over"), "{:?}", found.notes);
        let error = columns(vec![text(), count("tokens")]).unwrap_err().to_string();
        assert!(error.contains("count of tokens") && error.contains("`text: string`"), "{error}");
        assert_eq!(columns(vec![count("tokens")]).unwrap().layout, ColumnLayout::Flat);
        let flat = columns(vec![count("doc"), count("token")]).unwrap();
        assert_eq!((flat.tokens, flat.notes.len()), (1, 1));
        let both = columns(vec![list("tokens", DataType::Int32), list("input_ids", DataType::Int32)]).unwrap();
        assert_eq!((both.tokens, both.notes.len()), (1, 1));
    }

    #[test]
    fn other_spellings_are_taken_where_they_are_the_only_list() {
        let (mask, labels) = (|| list("attention_mask", DataType::Int8), || list("labels", DataType::Int64));
        let found = columns(vec![mask(), list("Token_IDs", DataType::UInt16), labels()]).unwrap();
        assert_eq!((found.tokens, found.mask, found.labels, found.notes.len()), (1, Some(0), Some(2), 1));
        assert_eq!(found.indices(), [0, 1, 2]);
        assert!(columns(vec![list("pixels", DataType::UInt8)]).is_err());
        assert!(columns(vec![mask(), labels()]).is_err());
        assert_eq!(columns(vec![list("input_ids", DataType::Null)]).unwrap().layout, ColumnLayout::Lists);
    }

    #[test]
    fn type_names_are_readable() {
        let item = |data_type| Arc::new(Field::new("item", data_type, true));
        assert_eq!(type_name(&DataType::LargeList(item(DataType::Int64))), "large_list<int64>");
        assert_eq!(type_name(&DataType::FixedSizeList(item(DataType::UInt16), 8)), "fixed_size_list<uint16, 8>");
        let pair = Field::new("p", DataType::Struct(vec![Field::new("a", DataType::Int8, true)].into()), true);
        assert_eq!(type_name(pair.data_type()), "struct<a: int8>");
    }
}
