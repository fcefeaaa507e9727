//! What is said of a log, as a page for people and as objects.

use std::fmt::Write;

use serde::Serialize;
use uringspec_model::cqe::{Res, Usage};
use uringspec_model::may::{Counts, May};
use uringspec_model::request::Phase;
use uringspec_model::rules::Rule;
use uringspec_model::space::Segment;
use uringspec_model::verdict::Verdict;
use uringspec_model::world::Open;

use super::Explained;
use crate::report::{listed, rule_lines, trace_lines};
use crate::words;

/// Lines of a trace that are shown; of a longer one the middle is left out.
const TRACE_LINES: usize = 40;
/// Requests and assumptions that are shown before the rest is counted.
const SHOWN_MAX: usize = 12;

/// A request that may still post something, as an object.
#[derive(Debug, Serialize)]
pub struct OpenRow {
    /// What its completions carry.
    pub open: u64,
    /// What may still come, in words.
    pub may_come: String,
    /// The rule that says that it comes although nobody does anything more.
    pub owed: Option<Rule>,
    /// The memory that is the kernel's until then, in words.
    pub lent: Option<String>,
    /// Bytes of it.
    pub lent_bytes: u64,
}

/// An observation as an object.
#[derive(Debug, Serialize)]
pub struct SeenRow {
    /// Its line in what was typed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What was seen, in words.
    pub seen: String,
    /// The rules that had a say.
    pub rules: Vec<&'static str>,
}

/// The requests that are open.
pub fn open_rows(explained: &Explained) -> Vec<OpenRow> {
    let row = |(open, lent): &(Open, Vec<Segment>)| OpenRow {
        open: open.user_data,
        may_come: may_come(open),
        owed: open.owed.as_ref().map(|promise| promise.rule),
        lent: lent_words(explained, lent),
        lent_bytes: lent.iter().map(|segment| segment.len_bytes).sum(),
    };
    explained.account.open.iter().map(row).collect()
}

/// The observations, each with the rules that had a say.
pub fn seen_rows(explained: &Explained) -> Vec<SeenRow> {
    let said = explained.account.said.iter();
    let rows = explained.trace.seen.iter().zip(&explained.lines).zip(said);
    rows.map(|((seen, line), rules)| SeenRow {
        line: *line,
        seen: words::seen(&explained.program, &explained.names, &seen.what).1,
        rules: rules.iter().map(|rule| rule.id()).collect(),
    })
    .collect()
}

/// The page.
pub fn page(file: &str, explained: &Explained) -> String {
    let verdict = &explained.account.verdict;
    let (arrow, below) = arrow(verdict);
    let line = arrow.and_then(|at| explained.lines.get(at).copied().flatten());
    let place = line.map(|line| format!(":{line}")).unwrap_or_default();
    let mut page = format!("{}  {file}{place}   {}\n", verdict.word().to_uppercase(), explained.release);
    match verdict {
        Verdict::Accepted { deviations, .. } => {
            for deviation in deviations {
                let _ = writeln!(page, "  {deviation}  {}", deviation.text());
                let _ = writeln!(page, "  it breaks {}; so {}", deviation.rule(), deviation.consequence());
            }
        }
        Verdict::Rejected(rejection) => page += &rule_lines(rejection.rule),
        Verdict::Stuck { promises, .. } => {
            page += &promises.first().map(|promise| rule_lines(promise.rule)).unwrap_or_default();
        }
        Verdict::Unclaimed { reason } => _ = writeln!(page, "  {reason}"),
    }
    page.push('\n');
    let note = |at: usize| {
        let left_out = explained.lines.get(at).is_some_and(Option::is_none)
            && explained.lines.iter().any(Option::is_some);
        let rules = explained.account.said.get(at).into_iter().flatten().map(|rule| rule.id());
        let rules: Vec<&str> = left_out.then_some("(not in the log)").into_iter().chain(rules).collect();
        rules.join(" ")
    };
    let what = (&explained.program, &explained.names);
    page += &trace_lines(what, &explained.trace, arrow, &below, TRACE_LINES, note);
    page.push('\n');
    let open: Vec<String> =
        open_rows(explained).iter().map(|row| format!("#{} {}", row.open, row.may_come)).collect();
    page += &block("open", &open);
    page += &block("lent", &lent(explained));
    page += &block("assumed", &explained.assumed);
    page
}

/// The observation that the verdict is about, and what is said of it.
fn arrow(verdict: &Verdict) -> (Option<usize>, Vec<String>) {
    match verdict {
        Verdict::Rejected(rejection) => (Some(rejection.at as usize), listed("allowed:", &rejection.allowed)),
        Verdict::Stuck { at, promises } => {
            let owed: Vec<String> = promises.iter().map(ToString::to_string).collect();
            (Some(*at as usize), listed("owed:", &owed))
        }
        Verdict::Accepted { .. } | Verdict::Unclaimed { .. } => (None, Vec::new()),
    }
}

/// Words behind a heading, one a line, the rest of many counted.
fn block(heading: &str, words: &[String]) -> String {
    let mut block = String::new();
    for (n, words) in words.iter().take(SHOWN_MAX).enumerate() {
        let heading = if n == 0 { heading } else { "" };
        let _ = writeln!(block, "  {heading:<9}{words}");
    }
    match words.len() {
        0 => _ = writeln!(block, "  {heading:<9}nothing"),
        n if n > SHOWN_MAX => _ = writeln!(block, "  {:9}and {} more", "", n - SHOWN_MAX),
        _ => {}
    }
    block
}

/// Memory that is the kernel's, and until when.
fn lent(explained: &Explained) -> Vec<String> {
    let row = |(open, lent): &(Open, Vec<Segment>)| {
        let words = lent_words(explained, lent)?;
        let until = match open.phase {
            Phase::Done => "its notification",
            _ if open.announces => "its last completion",
            _ => "its result",
        };
        Some(format!("{words} to #{} until {until}", open.user_data))
    };
    explained.account.open.iter().filter_map(row).collect()
}

fn lent_words(explained: &Explained, lent: &[Segment]) -> Option<String> {
    let range = |segment: &Segment| {
        let region = explained.program.regions.get(usize::from(segment.region?.0))?;
        Some(format!("{} {}..{}", region.name, segment.offset, segment.offset + segment.len_bytes))
    };
    let ranges: Vec<String> = lent.iter().filter_map(range).collect();
    (!ranges.is_empty()).then(|| ranges.join(", "))
}

/// What a request may still post.
fn may_come(open: &Open) -> String {
    let usages: Vec<&str> = open
        .usages
        .iter()
        .map(|usage| match usage {
            Usage::Clear => "0 NOTIF",
            Usage::Copied => "COPIED NOTIF",
        })
        .collect();
    let notification = usages.join(" or ");
    let mut words = match (&open.result, open.phase) {
        (_, Phase::Done) => notification.clone(),
        (Some(may), _) => result_words(may, open.announces),
        (None, _) => match open.behind {
            Some(before) => format!("its result, once #{before} has ended"),
            None => "its result".to_string(),
        },
    };
    if open.phase != Phase::Done && open.announces {
        let _ = write!(words, ", then {notification}");
    }
    let waits = open.result.as_ref().is_some_and(|may| may.waiting);
    let _ = match &open.owed {
        Some(promise) => write!(words, "; it comes by itself ({})", promise.rule),
        None if open.phase == Phase::Done => write!(words, "; once nothing refers to the memory any more"),
        None if waits => write!(words, "; when is not promised, it may wait for room"),
        None => Ok(()),
    };
    words
}

fn result_words(may: &May, more: bool) -> String {
    let mut results = Vec::new();
    match may.bytes {
        Some(Counts { least, most, .. }) if least == most => results.push(Res::Bytes(most).to_string()),
        Some(Counts { least, most, .. }) => results.push(format!("{least}..{most}")),
        None => {}
    }
    for (error, _) in &may.errors {
        results.push(Res::Err(*error).to_string());
    }
    let more = if more { " MORE" } else { "" };
    match results.is_empty() {
        true => format!("its result{more}"),
        false => format!("{}{more}", results.join(" or ")),
    }
}
