//! How a failure prints: the rule, the trace with one arrow, what was allowed, how to see it again.
//!
//! A page has at most `PAGE_LINES` lines; of a long trace the middle is left out, never the arrow.

use std::fmt::Write;

use uringspec_model::program::{Program, Step};
use uringspec_model::rules::Rule;
use uringspec_model::trace::{Trace, What};
use uringspec_model::verdict::{Rejection, Verdict};

use crate::case::Mode;
use crate::case::lowered::Lowered;
use crate::case::names::Names;
use crate::case::print::mode_word;
use crate::catalog::Loaded;
use crate::side_by_side::{Report, Side, Status};
use crate::{token, words};

/// The longest page.
const PAGE_LINES: usize = 25;
/// The longest line of a trace; a vector of a thousand elements is not read anyway.
const WORDS_MAX: usize = 160;
/// The longest line of a trace that others are made as long as, so that notes stand below each other.
const NOTED_MAX: usize = 60;
/// Alternatives that are shown before the rest is counted.
const ALLOWED_MAX: usize = 4;

/// One line of a trace in words.
struct Row {
    keyword: &'static str,
    words: String,
    /// The index in `Trace::seen`; steps have none.
    seen: Option<usize>,
    step: u32,
}

/// The page of a failure; `None` for what is fine or was skipped.
pub fn page(loaded: &Loaded, report: &Report) -> Option<String> {
    let lowered = loaded.lowered.iter().find(|l| l.mode == report.mode)?;
    let head = |word: &str, line: u32| {
        let side = match report.side {
            Side::Model => format!("model, {}", report.release),
            Side::Kernel => format!("kernel, Linux {}", report.release),
        };
        let ring = match report.mode {
            Mode::AsWritten => String::new(),
            mode => format!(", {} ring", mode_word(mode)),
        };
        format!("{}  {}:{line}   {side}{ring}\n", word.to_uppercase(), loaded.found.file)
    };
    let (mut page, trace, arrow, below) = match &report.status {
        Status::Accepted { .. } | Status::Skipped(_) => return None,
        Status::Judged { verdict, trace } => judged(lowered, verdict, trace, head)?,
        Status::Made(failure) => {
            return Some(failure.page(&loaded.found.file, lowered, &foot(&loaded.found.file)));
        }
        Status::Mismatched { mismatch, trace } => {
            let page = head("rejected", mismatch.line) + "  the case lists something else\n";
            let arrow = arrow_at_step(trace, mismatch.step);
            let mut below = vec![format!("came:    {}", mismatch.came)];
            below.extend(listed("listed:", &mismatch.listed));
            (page, Some(trace), arrow, below)
        }
        Status::Deviated { deviation, trace } => {
            let mut page = head("rejected", 1);
            let (_, rule) = (writeln!(page, "  {deviation}  {}", deviation.text()), deviation.rule());
            let _ = writeln!(page, "  it breaks {rule}: {}", rule.text());
            let below = vec![format!("so: {}", deviation.consequence())];
            (page, Some(trace), None, below)
        }
        Status::Unreached(alternatives) => {
            let line = alternatives.first().map_or(1, |(line, _)| *line);
            let page = head("rejected", line) + "  the case lists what the model never does\n";
            let words = alternatives.iter().map(|(line, words)| format!("line {line}: {words}"));
            (page, None, None, listed("never:", &words.collect::<Vec<_>>()))
        }
        Status::Broken(reason) => {
            (head("rejected", 1) + &format!("  the worker was lost: {reason}\n"), None, None, Vec::new())
        }
        Status::TooMany => {
            let page = head("rejected", 1)
                + "  the case has too many runs to be exact about; split it, or ask for fewer at once\n";
            (page, None, None, Vec::new())
        }
    };
    let foot = format!("\n{}", foot(&loaded.found.file));
    if let Some(trace) = trace {
        let taken = page.lines().count() + below.len() + foot.lines().count() + 1;
        page.push('\n');
        let what = (&lowered.program, &lowered.names);
        let room = PAGE_LINES.saturating_sub(taken).max(3);
        page += &trace_lines(what, trace, arrow, &below, room, |_| String::new());
    } else {
        for line in below {
            let _ = writeln!(page, "    {line}");
        }
    }
    Some(page + &foot)
}

/// How a case is seen again.
fn foot(file: &str) -> String {
    format!("  check with  uringspec check {file}\n  replay      uringspec replay {file} --times 100\n")
}

/// A program that is no case, and what the judge says of a run of it.
#[derive(Clone, Copy, Debug)]
pub struct Find<'a> {
    /// How a message names it.
    pub file: &'a str,
    /// What was done.
    pub lowered: &'a Lowered,
    /// The release of the kernel.
    pub release: &'a str,
    /// What the judge says.
    pub verdict: &'a Verdict,
    /// What was seen.
    pub trace: &'a Trace,
    /// How many steps it had before it was made smaller.
    pub shrunk_from: Option<usize>,
    /// It is a case already.
    pub is_case: bool,
}

/// The page of a find; `None` for what is fine.
pub fn find_page(find: &Find<'_>) -> Option<String> {
    let head =
        |word: &str, _| format!("{}  {}   kernel, Linux {}\n", word.to_uppercase(), find.file, find.release);
    let (mut page, trace, arrow, below) = judged(find.lowered, find.verdict, find.trace, head)?;
    let token = token::encode(&find.lowered.program);
    let steps = match (find.lowered.program.steps.len(), find.shrunk_from) {
        (now, Some(before)) => format!("({now} steps, shrunk from {before})"),
        (now, None) => format!("({now} steps)"),
    };
    let mut foot = format!("\n  replay  uringspec replay {token}   {steps}\n");
    if !find.is_case {
        let _ = writeln!(foot, "  keep    uringspec keep {token} AREA/NAME");
        let _ = writeln!(foot, "  export  uringspec export {token} --c");
    }
    if let Some(trace) = trace {
        let taken = page.lines().count() + below.len() + foot.lines().count() + 1;
        page.push('\n');
        let what = (&find.lowered.program, &find.lowered.names);
        let room = PAGE_LINES.saturating_sub(taken).max(3);
        page += &trace_lines(what, trace, arrow, &below, room, |_| String::new());
    }
    Some(page + &foot)
}

pub(crate) type Parts<'a> = (String, Option<&'a Trace>, Option<usize>, Vec<String>);

pub(crate) fn judged<'a>(
    lowered: &Lowered,
    verdict: &Verdict,
    trace: &'a Trace,
    head: impl Fn(&str, u32) -> String,
) -> Option<Parts<'a>> {
    let line_at = |at: usize| {
        let step = trace.seen.get(at).map_or(lowered.lines.len().saturating_sub(1) as u32, |s| s.step);
        lowered.line_of(step)
    };
    Some(match verdict {
        Verdict::Accepted { .. } => return None,
        Verdict::Rejected(Rejection { at, rule, allowed, .. }) => {
            let at = *at as usize;
            let page = head("rejected", line_at(at)) + &rule_lines(*rule);
            (page, Some(trace), Some(at), listed("allowed:", allowed))
        }
        Verdict::Stuck { at, promises } => {
            let at = *at as usize;
            let mut page = head("stuck", line_at(at));
            if let Some(promise) = promises.first() {
                page += &rule_lines(promise.rule);
            }
            let owed: Vec<String> = promises.iter().map(ToString::to_string).collect();
            (page, Some(trace), Some(at), listed("owed:", &owed))
        }
        Verdict::Unclaimed { reason } => {
            let page = head("unclaimed", lowered.lines.first().copied().unwrap_or(1));
            (format!("{page}  {reason}\n"), Some(trace), None, Vec::new())
        }
    })
}

pub(crate) fn rule_lines(rule: Rule) -> String {
    let id = rule.id();
    format!("  {id}  {}\n  {:width$}  {}\n", rule.text(), "", rule.source(), width = id.len())
}

/// Words behind a heading, one a line, the first few of many.
pub(crate) fn listed(heading: &str, words: &[String]) -> Vec<String> {
    let mut lines = Vec::new();
    for (n, words) in words.iter().take(ALLOWED_MAX).enumerate() {
        let heading = if n == 0 { heading } else { "" };
        lines.push(format!("{heading:<9}{words}"));
    }
    match words.len() {
        0 => lines.push(format!("{heading:<9}nothing")),
        n if n > ALLOWED_MAX => lines.push(format!("{:9}and {} more", "", n - ALLOWED_MAX)),
        _ => {}
    }
    lines
}

/// The first observation of a step, or the end.
pub(crate) fn arrow_at_step(trace: &Trace, step: u32) -> Option<usize> {
    trace.seen.iter().rposition(|seen| seen.step == step)
}

fn rows(program: &Program, names: &Names, trace: &Trace) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut seen = trace.seen.iter().enumerate().peekable();
    let mut take = |step: u32, rows: &mut Vec<Row>| {
        while let Some((n, observation)) = seen.next_if(|(_, s)| s.step == step) {
            let (keyword, words) = words::seen(program, names, &observation.what);
            rows.push(Row { keyword, words, seen: Some(n), step });
        }
    };
    for (step, what) in program.steps.iter().enumerate() {
        let number = step as u32;
        // A reap shows in what it takes; alone it says nothing.
        if !matches!(what, Step::Reap { .. }) {
            let lines = words::step(program, names, what);
            rows.extend(lines.into_iter().map(|(keyword, words)| Row {
                keyword,
                words,
                seen: None,
                step: number,
            }));
        }
        take(number, &mut rows);
    }
    // What a lying trace says of steps that do not exist, or out of turn, is shown all the same.
    for (n, observation) in seen {
        let (keyword, words) = words::seen(program, names, &observation.what);
        rows.push(Row { keyword, words, seen: Some(n), step: observation.step });
    }
    // A return value that says no more than the entries above it is left out.
    let plain = |row: &Row| {
        let sqes = match program.steps.get(row.step as usize) {
            Some(Step::Submit { sqes, .. }) => sqes.len() as i64,
            Some(Step::Enter(call)) => call.to_submit.into(),
            Some(Step::Register { .. } | Step::Setup(_) | Step::EnterElsewhere { .. }) => 0,
            _ => return false,
        };
        let what = row.seen.and_then(|n| trace.seen.get(n)).map(|s| &s.what);
        what == Some(&What::Returned(sqes))
    };
    for row in &mut rows {
        if let Some((end, _)) = row.words.char_indices().nth(WORDS_MAX) {
            row.words.truncate(end);
            row.words.push('…');
        }
    }
    rows.retain(|row| {
        !plain(row)
            && !matches!(row.seen.and_then(|n| trace.seen.get(n)).map(|s| &s.what), Some(What::Room(_)))
    });
    rows
}

/// A trace up to the arrow, in at most `room` lines, with what is noted at each observation, and below it
/// what is said of the arrow.
pub(crate) fn trace_lines(
    (program, names): (&Program, &Names),
    trace: &Trace,
    arrow: Option<usize>,
    below: &[String],
    room: usize,
    note: impl Fn(usize) -> String,
) -> String {
    let rows = rows(program, names, trace);
    let wide = rows.iter().map(|row| row.words.chars().count()).filter(|wide| *wide <= NOTED_MAX).max();
    let wide = wide.unwrap_or(0);
    let width = rows.iter().map(|row| row.keyword.len()).max().unwrap_or(0);
    // The row of the arrow: the observation, or where it was left out the step it belongs to.
    let pointed = arrow.and_then(|at| {
        let step = trace.seen.get(at).map(|s| s.step);
        rows.iter()
            .position(|row| row.seen == Some(at))
            .or(rows.iter().rposition(|row| Some(row.step) == step))
    });
    let last = pointed.unwrap_or(rows.len().saturating_sub(1));
    let mut out = String::new();
    // The rows up to the arrow: some of the beginning, and as many as there is room for before it.
    let (head, tail_from) =
        if last < room { (last + 1, last + 1) } else { (room / 3, last + 2 + room / 3 - room) };
    for (n, row) in rows.iter().enumerate().take(last + 1) {
        if n >= head && n < tail_from {
            if n == head {
                let _ = writeln!(out, "       … {} lines …", tail_from - head);
            }
            continue;
        }
        let mark = if pointed == Some(n) { " > " } else { "   " };
        let note = row.seen.map(&note).unwrap_or_default();
        let line = format!("{mark}{:>2}  {:<width$}  {:<wide$}  {note}", n + 1, row.keyword, row.words);
        let _ = writeln!(out, "{}", line.trim_end());
    }
    if arrow.is_some() && pointed.is_none() {
        let _ = writeln!(out, " >     the end of the trace");
    }
    for line in below {
        let _ = writeln!(out, "       {:width$}  {line}", "");
    }
    out
}
