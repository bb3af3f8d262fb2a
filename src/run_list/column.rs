//! Owns: the columns of a list of runs: their names, the value of a run in each, and its text.
//! Must not know: in which order columns are shown, widths.
//! Invariant: every metric and every config key is a column; an unknown name is refused with the nearest one.

use crate::config::{Config, ConfigKey};
use crate::schema::metrics::{ColumnKind, Metric};
use crate::schema::run_list::RunListRow;
use indicatif::{DecimalBytes, HumanCount};
use std::cmp::Ordering;

/// Which value of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricFigure {
    Last,
    Min,
    Max,
}

/// A column of a list of runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Column {
    /// The run's id, which is its folder's name.
    Run,
    Name,
    State,
    Step,
    Steps,
    Began,
    /// The run or checkpoint that the run started from.
    From,
    Size,
    Tags,
    Metric(Metric, MetricFigure),
    Setting(&'static ConfigKey),
}

/// The columns that are neither metrics nor config keys.
const FACTS: [(&str, Column); 10] = [
    ("run", Column::Run),
    ("name", Column::Name),
    ("state", Column::State),
    ("step", Column::Step),
    ("steps", Column::Steps),
    ("began", Column::Began),
    ("from", Column::From),
    ("size", Column::Size),
    ("tags", Column::Tags),
    ("best", BEST_VALIDATION),
];

/// The smallest plain validation loss.
pub const BEST_VALIDATION: Column = Column::Metric(Metric::ValidPlain, MetricFigure::Min);

/// The value of a run in a column.
#[derive(Clone, Debug, PartialEq)]
pub enum CellValue {
    Missing,
    Number(f64),
    Text(String),
    Words(Vec<String>),
}

impl CellValue {
    /// Whether there is no value, or one that has no place in an order.
    pub fn is_unknown(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Number(number) => number.is_nan(),
            Self::Text(text) => text.is_empty(),
            Self::Words(words) => words.is_empty(),
        }
    }

    /// Compares two known values: numbers before texts, texts without regard to case.
    pub fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Number(_), _) => Ordering::Less,
            (_, Self::Number(_)) => Ordering::Greater,
            (a, b) => a.lower_text().cmp(&b.lower_text()),
        }
    }

    fn lower_text(&self) -> String {
        match self {
            Self::Text(text) => text.to_lowercase(),
            Self::Words(words) => words.join(" ").to_lowercase(),
            Self::Missing | Self::Number(_) => String::new(),
        }
    }
}

impl Column {
    /// Parses the name of a column: a fact, `section.key` of the config, or a metric, which may end in `:last` (the
    /// default), `:min`, `:max` or `:best`.
    ///
    /// # Errors
    /// Returns that the name is unknown, and the nearest known one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fact = FACTS.iter().find(|(name, _)| *name == text).map(|(_, column)| *column);
        let setting = || Config::find_key(text).map(Column::Setting);
        let column = fact.or_else(setting).or_else(|| parse_metric(text));
        column.ok_or_else(|| match nearest_name(text) {
            Some(nearest) => format!("unknown column `{text}`; the nearest known one is `{nearest}`"),
            None => format!("unknown column `{text}`"),
        })
    }

    /// Returns the names of all columns, those of metrics with their last value.
    pub fn names() -> Vec<String> {
        let facts = FACTS.iter().map(|(name, _)| (*name).to_owned());
        let metrics = Metric::ALL.iter().map(|metric| metric.spec().name.to_owned());
        let settings = Config::keys().map(ConfigKey::path);
        let mut names: Vec<String> = facts.collect();
        names.extend(metrics.filter(|name| !FACTS.iter().any(|(fact, _)| fact == name)));
        names.extend(settings);
        names
    }

    /// Returns the name that [`parse`](Self::parse) takes.
    pub fn name(self) -> String {
        if let Some((name, _)) = FACTS.iter().find(|(_, column)| *column == self) {
            return (*name).to_owned();
        }
        match self {
            Column::Metric(metric, MetricFigure::Last) => metric.spec().name.to_owned(),
            Column::Metric(metric, MetricFigure::Min) => format!("{}:min", metric.spec().name),
            Column::Metric(metric, MetricFigure::Max) => format!("{}:max", metric.spec().name),
            Column::Setting(key) => key.path(),
            _ => String::new(),
        }
    }

    /// Returns the heading of the column.
    pub fn title(self) -> String {
        if self == BEST_VALIDATION { "best valid".into() } else { self.name() }
    }

    /// Whether all its values are numbers.
    pub fn is_numeric(self) -> bool {
        matches!(self, Column::Step | Column::Steps | Column::Size | Column::Metric(..))
    }

    /// Whether its values are read only on request.
    pub fn needs_last_value(self) -> bool {
        matches!(self, Column::Metric(_, MetricFigure::Last))
    }

    /// Returns the value of a run.
    pub fn value(self, row: &RunListRow) -> CellValue {
        match self {
            Column::Run => CellValue::Text(row.run.clone()),
            Column::Name => CellValue::Text(row.name().to_owned()),
            Column::State => CellValue::Text(row.state_word().to_owned()),
            Column::Step => CellValue::Number(row.step as f64),
            Column::Steps => CellValue::Number(row.steps as f64),
            Column::Began => row.began.map_or(CellValue::Missing, |began| {
                CellValue::Text(began.with_timezone(&chrono::Local).format("%Y-%m-%d %H:%M:%S").to_string())
            }),
            Column::From => row.parent().map_or(CellValue::Missing, CellValue::Text),
            Column::Size => CellValue::Number(row.bytes as f64),
            Column::Tags => CellValue::Words(row.tags.clone()),
            Column::Metric(metric, figure) => {
                let range = row.metric(metric);
                let value = match figure {
                    MetricFigure::Last => range.last,
                    MetricFigure::Min => range.min,
                    MetricFigure::Max => range.max,
                };
                value.map_or(CellValue::Missing, CellValue::Number)
            }
            Column::Setting(key) => setting_value(row, key),
        }
    }

    /// Returns the text of a run's value, `-` if there is none.
    pub fn text(self, row: &RunListRow) -> String {
        let is_count = match self {
            Column::Metric(metric, _) => metric.spec().kind == ColumnKind::Count,
            Column::Steps => true,
            _ => false,
        };
        match (self, self.value(row)) {
            (Column::Step, _) => format!("{} / {}", HumanCount(row.step), HumanCount(row.steps)),
            (Column::Size, _) => DecimalBytes(row.bytes).to_string(),
            (Column::Began, CellValue::Text(text)) => text.get(..16).unwrap_or(&text).to_owned(),
            (_, CellValue::Missing) => "-".into(),
            (_, CellValue::Number(number)) if is_count && number >= 0.0 => HumanCount(number as u64).to_string(),
            (Column::Setting(_), CellValue::Number(number)) => short_number(number),
            (_, CellValue::Number(number)) => number_text(number),
            (_, CellValue::Text(text)) => text,
            (_, CellValue::Words(words)) if words.is_empty() => "-".into(),
            (_, CellValue::Words(words)) => words.join(" "),
        }
    }
}

fn parse_metric(text: &str) -> Option<Column> {
    let (name, figure) = text.rsplit_once(':').unwrap_or((text, "last"));
    let metric = Metric::find(name)?;
    let figure = match figure {
        "last" => MetricFigure::Last,
        "min" => MetricFigure::Min,
        "max" => MetricFigure::Max,
        "best" if metric.larger_is_better() => MetricFigure::Max,
        "best" => MetricFigure::Min,
        _ => return None,
    };
    Some(Column::Metric(metric, figure))
}

fn nearest_name(wanted: &str) -> Option<String> {
    let bare = wanted.rsplit_once(':').map_or(wanted, |(name, _)| name);
    let similarity = |name: &String| strsim::jaro_winkler(bare, name);
    Column::names().into_iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
}

fn setting_value(row: &RunListRow, key: &ConfigKey) -> CellValue {
    match row.settings.get(key.section).and_then(|section| section.get(key.name)) {
        None => CellValue::Missing,
        Some(toml::Value::Integer(number)) => CellValue::Number(*number as f64),
        Some(toml::Value::Float(number)) => CellValue::Number(*number),
        Some(toml::Value::String(text)) => CellValue::Text(text.clone()),
        Some(other) => CellValue::Text(other.to_string()),
    }
}

/// Formats a measured number with four decimals, or four digits if it is very small or large.
fn number_text(number: f64) -> String {
    match number.abs() {
        n if n == 0.0 || (1e-3..1e6).contains(&n) => format!("{number:.4}"),
        _ => format!("{number:.3e}"),
    }
}

/// Formats a setting as briefly as it can be read back.
fn short_number(number: f64) -> String {
    match number.abs() {
        n if n == 0.0 || (1e-3..1e7).contains(&n) => number.to_string(),
        _ => format!("{number:e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::run_list::MetricRange;

    #[test]
    fn every_name_is_a_column_and_comes_back() {
        for name in Column::names() {
            let column = Column::parse(&name).unwrap();
            assert_eq!(column.name(), name);
        }
        for (text, name) in [
            ("valid_loss_plain:best", "best"),
            ("valid_loss_plain_nats:min", "best"),
            ("valid_accuracy:best", "valid_accuracy:max"),
            ("loss_plain:best", "loss_plain_nats:min"),
            ("lr", "lr"),
            ("rewards/exact/mean:best", "rewards/exact/mean:max"),
            ("completions/mean_length:best", "completions/mean_length:min"),
        ] {
            assert_eq!(Column::parse(text).unwrap().name(), name, "{text}");
        }
        for (text, nearest) in
            [("optim.lrr", "optim.lr"), ("valid_acuracy:best", "valid_accuracy"), ("stat", "state"), ("lr:mean", "lr")]
        {
            let error = Column::parse(text).unwrap_err();
            assert!(error.ends_with(&format!("`{nearest}`")), "{error}");
        }
    }

    #[test]
    fn values_and_texts() {
        let mut row = RunListRow { run: "20261124-101500-a".into(), step: 1200, steps: 2000, ..RunListRow::default() };
        row.metrics = vec![MetricRange::default(); Metric::ALL.len()];
        row.metrics[Metric::ValidPlain as usize] =
            MetricRange { last: Some(0.00001), min: Some(0.00001), max: Some(9.5) };
        row.settings = toml::Table::try_from(Config::default()).unwrap();
        let text = |name: &str| Column::parse(name).unwrap().text(&row);
        for (name, wanted) in [
            ("name", "a"),
            ("step", "1,200 / 2,000"),
            ("steps", "2,000"),
            ("best", "1.000e-5"),
            ("valid_loss_plain:max", "9.5000"),
            ("valid_accuracy", "-"),
            ("optim.lr", "0.001"),
            ("data.shuffle", "true"),
            ("model.arch", "llama"),
            ("tags", "-"),
            ("from", "-"),
        ] {
            assert_eq!(text(name), wanted, "{name}");
        }
        let unreadable = RunListRow::default();
        assert_eq!(Column::parse("optim.lr").unwrap().value(&unreadable), CellValue::Missing);
    }
}
