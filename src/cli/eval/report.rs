//! Owns: what `eval` prints: the tables, and the JSON object.
//! Must not know: how anything is measured.
//! Invariant: every mean stands beside its interval and the number of what it is over.

use super::question_set::QuestionSet;
use super::thought_tests::{test_rows, write_thought_tests};
use crate::data::Split;
use crate::generate::Intervention;
use crate::policy::switch::Policy;
use crate::statistics::Estimate;
use crate::train::eval::accuracy::AccuracySummary;
use crate::train::eval::perplexity::PerplexitySummary;
use crate::train::eval::thought_tests::ThoughtTestResult;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

pub(super) struct PerplexityReport {
    pub data: PathBuf,
    pub split: Split,
    pub summary: PerplexitySummary,
}

impl PerplexityReport {
    fn write_table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Self { data, split, summary } = self;
        let (data, split, in_split) = (data.display(), split.name(), summary.in_split);
        let of_all = match summary.rows < in_split.rows {
            true => format!(" of {} (--most); the split has {} targets", in_split.rows, in_split.targets),
            false => String::new(),
        };
        writeln!(out, "\n{data} {split}: {} tokens in {} rows{of_all}", summary.tokens, summary.rows)?;
        let line = |out: &mut dyn Write, name: &str, estimate: Estimate, decimals: usize, of: String| {
            let interval = estimate.interval_text(decimals);
            writeln!(out, "{name:<14} {:>10.decimals$}   {interval:<22}{of}", estimate.mean)
        };
        line(out, "perplexity", summary.perplexity, 3, String::new())?;
        line(out, "nats/token", summary.nats_per_token, 4, String::new())?;
        if let Some(estimate) = summary.nats_per_document {
            line(out, "nats/document", estimate, 3, format!(" {} documents", summary.documents))?;
        }
        if let (Some(estimate), Some(bytes)) = (summary.bits_per_byte, summary.bytes) {
            line(out, "bits/byte", estimate, 4, format!(" {bytes} bytes"))?;
        }
        Ok(())
    }

    fn to_json(&self) -> Value {
        let Self { data, split, summary } = self;
        json!({
            "data": data, "split": split.name(), "tokens": summary.tokens, "rows": summary.rows,
            "documents": summary.documents, "bytes": summary.bytes,
            "rows_in_split": summary.in_split.rows, "tokens_in_split": summary.in_split.targets,
            "perplexity": summary.perplexity, "nats_per_token": summary.nats_per_token,
            "nats_per_document": summary.nats_per_document, "bits_per_byte": summary.bits_per_byte,
        })
    }
}

/// The answers under one policy.
pub(super) struct Answered {
    /// The policy, or what else says how the questions were answered.
    pub label: String,
    pub summary: AccuracySummary,
    pub policy: Policy,
    /// How many latents each question got, if that was fixed before its answer.
    pub latents: Option<Vec<usize>>,
    pub intervention: Intervention,
}

/// The answers to one file of questions.
pub(super) struct AnsweredSet {
    pub questions: QuestionSet,
    pub answers: Vec<Answered>,
    /// The thought tests of each policy that can be tested, by its label.
    pub tested: Vec<(String, Vec<ThoughtTestResult>)>,
}

pub(super) struct EvalReport {
    pub dir: PathBuf,
    pub perplexity: Option<PerplexityReport>,
    pub sets: Vec<AnsweredSet>,
}

impl EvalReport {
    pub fn write_table(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "{}", self.dir.display())?;
        if let Some(report) = &self.perplexity {
            report.write_table(out)?;
        }
        self.sets.iter().try_for_each(|set| set.write_table(out))
    }

    /// Returns one object. The keys of the first file of questions stand at its top, too.
    pub fn to_json(&self) -> Value {
        let mut report = json!({
            "model": self.dir, "shards": self.perplexity.as_ref().map(PerplexityReport::to_json),
            "sets": self.sets.iter().map(AnsweredSet::to_json).collect::<Vec<_>>(),
        });
        let first = self.sets.first().map_or_else(|| json!({ "policies": [] }), AnsweredSet::to_json);
        if let (Some(report), Value::Object(first)) = (report.as_object_mut(), first) {
            report.extend(first);
        }
        report
    }
}

impl AnsweredSet {
    fn write_table(&self, out: &mut impl Write) -> std::io::Result<()> {
        let set = &self.questions;
        writeln!(out, "\n{}: {} questions, judged as {}", set.file.display(), set.count(), set.judges_text())?;
        for remark in set.remarks() {
            writeln!(out, "note: {remark}")?;
        }
        let [correct, interval] = ["correct", "95 %"];
        let [tokens, latents, truncated] = ["tokens", "latents", "truncated"];
        writeln!(out, "{correct:>8}  {interval:<16}  {tokens:>7}  {latents:>8}  {truncated:>9}  policy")?;
        for Answered { label, summary, .. } in &self.answers {
            let truncated = format!("{:.1} %", 100.0 * summary.truncated.mean);
            let (tokens, latents) = (summary.tokens.mean, summary.latents.mean);
            let counts = format!("{tokens:>7.1}  {latents:>8.2}  {truncated:>9}");
            writeln!(out, "{}  {counts}  {label}", share_text(summary.accuracy))?;
            for (steps, count, accuracy) in &summary.by_steps {
                let questions = format!("{steps} steps, {count} questions");
                writeln!(out, "{}  {:>26}  {questions}", share_text(*accuracy), "")?;
            }
        }
        self.tested.iter().try_for_each(|(label, results)| write_thought_tests(label, results, out))
    }

    fn to_json(&self) -> Value {
        let set = &self.questions;
        let policies = self.answers.iter().map(|Answered { label, summary, .. }| {
            let by_steps = summary.by_steps.iter().map(
                |(steps, questions, accuracy)| json!({ "steps": steps, "questions": questions, "accuracy": accuracy }),
            );
            json!({
                "policy": label, "questions": summary.questions, "accuracy": summary.accuracy,
                "tokens": summary.tokens, "latents": summary.latents, "cut": summary.truncated,
                "by_steps": by_steps.collect::<Vec<_>>(),
            })
        });
        json!({
            "questions": set.file, "left_out": set.skipped, "judge": set.judges_text(), "notes": set.remarks(),
            "policies": policies.collect::<Vec<_>>(),
            "thought_tests": test_rows(&set.file, &self.tested),
        })
    }
}

/// Formats a share and its interval in percent, in 26 cells.
fn share_text(share: Estimate) -> String {
    let percent = share.map(|share| 100.0 * share);
    format!("{:>6.1} %  {:<16}", percent.mean, format!("{} %", percent.interval_text(1)))
}
