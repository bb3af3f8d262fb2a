//! Owns: a report as text for a terminal: verdicts, arms, and comparisons with their intervals as strips.
//! Must not know: terminals, colours.
//! Invariant: a line has at most `width` columns; long words are cut with `…`.

use super::contents::Report;
use super::view::{ReportView, number};

/// Columns of an interval strip.
const STRIP: usize = 33;

/// Returns the report in lines of at most `width` columns.
pub fn render(report: &Report, width: usize) -> String {
    let view = ReportView::new(report, &[]);
    let mut lines = vec![view.name.clone()];
    if !view.question.is_empty() {
        lines.extend(wrap(&view.question, width));
    }
    lines.push(String::new());
    for verdict in &view.verdicts {
        let mark = if verdict.class == "better" { "●" } else { "○" };
        let wrapped = wrap(&verdict.text, width.saturating_sub(2));
        lines.extend(
            wrapped.iter().enumerate().map(|(index, line)| format!("{} {line}", if index == 0 { mark } else { " " })),
        );
    }
    lines.push(String::new());
    lines.extend(wrap(&format!("equal in all arms: {}; seeds {}", view.held, view.seeds), width));
    lines.push(String::new());
    lines.extend(arm_lines(&view));
    lines.push(String::new());
    lines.extend(interval_lines(report));
    for (title, entries) in
        [("without a result", &view.absent), ("notes", &view.notes), ("declaration", &view.declarations)]
    {
        if !entries.is_empty() {
            lines.push(String::new());
            lines.push(format!("{title}:"));
            lines.extend(
                entries.iter().flat_map(|entry| wrap(entry, width.saturating_sub(2))).map(|line| format!("  {line}")),
            );
        }
    }
    let cut = |line: String| match line.chars().count() > width {
        true => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => line,
    };
    lines.into_iter().map(|line| cut(line.trim_end().to_owned()) + "\n").collect()
}

fn arm_lines(view: &ReportView) -> Vec<String> {
    let head = ["arm", "n", view.primary.as_str(), "95 % interval", "updates", "operations", "minutes"];
    let rows = view.arms.iter().map(|arm| {
        [&arm.name, &arm.n, &arm.mean, &arm.interval, &arm.steps, &arm.flop, &arm.minutes].map(|cell| cell.clone())
    });
    table(head.map(str::to_owned), rows.collect())
}

/// Returns a table with columns as wide as their longest cell.
fn table<const N: usize>(head: [String; N], rows: Vec<[String; N]>) -> Vec<String> {
    let all: Vec<[String; N]> = std::iter::once(head).chain(rows).collect();
    let widths: Vec<usize> =
        (0..N).map(|at| all.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ")
    };
    all.iter().map(line).collect()
}

/// Returns a strip for each comparison: its interval for all at once, around zero.
fn interval_lines(report: &Report) -> Vec<String> {
    let primary = &report.analysis.question.primary;
    let found: Vec<_> = report.analysis.comparisons.iter().filter(|found| found.metric == *primary).collect();
    let ends =
        found.iter().filter_map(|found| found.joint_interval).flatten().map(f64::abs).filter(|end| end.is_finite());
    let limit = ends.fold(0.0, f64::max);
    if limit == 0.0 {
        return Vec::new();
    }
    let titles: Vec<String> = found.iter().map(|found| format!("{} − {}", found.spec.a, found.spec.b)).collect();
    let width = titles.iter().map(|title| title.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (title, found) in titles.iter().zip(&found) {
        let strip = found.joint_interval.zip(found.paired.mean).map(|(interval, mean)| strip(interval, mean, limit));
        let verdict: &str = found.verdict.into();
        lines.push(format!("{title:<width$}  {}  {verdict}", strip.unwrap_or_else(|| " ".repeat(STRIP))));
    }
    let scale = format!("−{}", number(limit));
    let gap = STRIP.saturating_sub(scale.chars().count() + number(limit).len());
    let middle = format!("{:^gap$}", "0");
    lines.push(format!("{:<width$}  {scale}{middle}{}", "", number(limit)));
    lines
}

/// Draws an interval and its mean between `-limit` and `limit`.
fn strip([low, high]: [f64; 2], mean: f64, limit: f64) -> String {
    let column = |value: f64| ((value / limit + 1.0) / 2.0 * (STRIP - 1) as f64).round() as usize;
    let (low, high, mean, zero) = (column(low), column(high), column(mean), STRIP / 2);
    let glyph = |at: usize| match at {
        at if at == mean => '●',
        at if at == low => '├',
        at if at == high => '┤',
        at if at == zero => '┊',
        at if at > low && at < high => '─',
        _ => ' ',
    };
    (0..STRIP).map(glyph).collect()
}

/// Breaks text into lines of at most `width` columns, at spaces.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last =
            lines.last_mut().filter(|line| line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width);
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_drawn_around_zero() {
        assert_eq!(strip([-1.0, 0.0], -0.5, 1.0), "├───────●───────┤                ");
        assert_eq!(strip([0.5, 1.0], 0.75, 1.0), "                ┊       ├───●───┤");
    }

    #[test]
    fn text_is_broken_at_spaces() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("", 7), [""]);
    }
}
