//! What came of a campaign or of a fuzz run, in one form, so that it can be kept and compared.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Serialize;
use uringspec_model::rules::{Rule, Source};

use super::ledger::{Totals, write_whole};

/// What came of random programs on a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct Summary<'a> {
    /// What the programs were: `programs`, `mixed`, or the name of a fuzz target.
    pub what: String,
    /// Of which features they were made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// From which they follow; a fuzzer has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The release of the kernel.
    pub kernel: &'a str,
    /// How long they were run, all runs of the campaign together.
    pub seconds: u64,
    programs: u64,
    accepted: u64,
    /// What is wrong: `rejected`, `stuck`, `died`, `endless` and `panicked` together.
    found: u64,
    rejected: u64,
    stuck: u64,
    died: u64,
    endless: u64,
    panicked: u64,
    unclaimed: u64,
    skipped: u64,
    impatient: u64,
    programs_per_s: u64,
    completions: u64,
    judge_ns_per_completion: u64,
    rules_reached: usize,
    rules: usize,
    pairs_reached: usize,
    /// Of mixed sends: where they went and how they were made, and what became of them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ways: &'a BTreeMap<String, BTreeMap<String, u64>>,
    /// Sorts of disagreement, reasons of silence, and reasons of skips.
    sorts: &'a BTreeMap<String, u64>,
}

impl<'a> Summary<'a> {
    /// What came of it so far.
    pub fn of(what: &str, kernel: &'a str, totals: &'a Totals) -> Summary<'a> {
        Summary {
            what: what.into(),
            features: Vec::new(),
            seed: None,
            kernel,
            seconds: totals.millis / 1000,
            programs: totals.programs,
            accepted: totals.accepted,
            found: totals.found(),
            rejected: totals.rejected,
            stuck: totals.stuck,
            died: totals.died,
            endless: totals.endless,
            panicked: totals.panicked,
            unclaimed: totals.unclaimed,
            skipped: totals.skipped,
            impatient: totals.impatient,
            programs_per_s: totals.per_second(),
            completions: totals.completions,
            judge_ns_per_completion: totals.judge_ns / totals.completions.max(1),
            rules_reached: totals.rules.len(),
            rules: judging_rules().count(),
            pairs_reached: totals.pairs.len(),
            ways: &totals.ways,
            sorts: &totals.sorts,
        }
    }

    /// Writes it, a line a value.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        write_whole(path, text.as_bytes())
    }
}

/// The rules that these programs are judged by; those of mixed sends judge programs of their own.
pub fn judging_rules() -> impl Iterator<Item = Rule> {
    Rule::ALL.iter().copied().filter(|rule| !matches!(rule.source(), Source::Contract(_)))
}
