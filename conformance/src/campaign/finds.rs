//! What a campaign finds: written at once, looked at again, and made smaller.

use std::collections::BTreeSet;
use std::path::PathBuf;

use uringspec_model::trace::Trace;
use uringspec_model::verdict::Verdict;
use uringspec_real::Worker;

use super::ledger::{Totals, write_whole};
use super::{ALIKE_MAX, Plan, Shared, Subject, unpanicked};
use crate::log::{self, Log};
use crate::shrink::shrink;

/// How often a disagreement is looked for again while its program is made smaller.
const REPEATS: usize = 3;

/// What sort of disagreement it is, without numbers, so that like ones count together.
pub fn sort(verdict: &Verdict) -> Option<String> {
    let plain = |text: &str| -> String {
        let text =
            text.strip_prefix("ring ").and_then(|rest| rest.split_once(' ')).map_or(text, |(_, rest)| rest);
        let words = text.split_whitespace().filter(|word| !word.starts_with('#'));
        let kept = words.map(|word| if word.bytes().all(|b| b.is_ascii_digit()) { "n" } else { word });
        kept.collect::<Vec<_>>().join(" ").chars().take(60).collect()
    };
    match verdict {
        // Which bytes were received differs from program to program.
        Verdict::Rejected(rejection) if rejection.got.starts_with("received") => {
            Some(format!("rejected {} got bytes", rejection.rule))
        }
        Verdict::Rejected(rejection) => {
            Some(format!("rejected {} got {}", rejection.rule, plain(&rejection.got)))
        }
        Verdict::Stuck { promises, .. } => {
            let rules: BTreeSet<&str> = promises.iter().map(|promise| promise.rule.id()).collect();
            Some(format!("stuck {}", rules.into_iter().collect::<Vec<_>>().join(" ")))
        }
        Verdict::Accepted { .. } | Verdict::Unclaimed { .. } => None,
    }
}

/// What seems to be one is looked at again if patience may have been short; what is one is written, then
/// counted, then made smaller.
pub(super) fn disagreement(
    shared: &Shared,
    number: u64,
    subject: &Subject,
    trace: &Trace,
    verdict: &Verdict,
    count: impl FnOnce(&mut Totals),
) {
    let plan = &shared.plan;
    let mut patient = Worker::new(plan.options.clone());
    let again = match verdict {
        Verdict::Stuck { .. } => {
            let again = patient.run(subject.program()).ok();
            again.and_then(|trace| Some((unpanicked(|| subject.judge(&plan.profile, &trace)).ok()?, trace)))
        }
        _ => None,
    };
    let (verdict, trace) = again.as_ref().map_or((verdict, trace), |(verdict, trace)| (verdict, trace));
    let Some(sort) = subject.sort(verdict) else {
        return impatient(shared, number, verdict, count);
    };
    let times = shared.ledger().totals.times(&sort);
    if times < ALIKE_MAX {
        let path = write_find(plan, number, "found", subject, trace, Some(verdict));
        write_page(plan, path, subject, trace, verdict, None);
    }
    shared.ledger().close(number, |totals| {
        count(totals);
        match verdict {
            Verdict::Stuck { .. } => totals.stuck += 1,
            _ => totals.rejected += 1,
        }
        totals.sort(sort.as_str());
    });
    if times == 0 {
        make_smaller(shared, number, subject, &sort, &mut patient);
    }
}

/// The second run of a program counts for the first.
fn impatient(shared: &Shared, number: u64, verdict: &Verdict, count: impl FnOnce(&mut Totals)) {
    shared.ledger().close(number, |totals| {
        count(totals);
        totals.impatient += 1;
        totals.sort("stuck only with little patience");
        match verdict {
            Verdict::Accepted { rules, deviations } => totals.accepted(rules, deviations),
            _ => totals.unclaimed += 1,
        }
    });
}

/// Looks for a smaller program that shows the same.
fn make_smaller(shared: &Shared, number: u64, subject: &Subject, wanted: &str, patient: &mut Worker) {
    let plan = &shared.plan;
    let mut smallest: Option<(Subject, Trace, Verdict)> = None;
    shrink(subject.meant(), |candidate| {
        let shows = || {
            let candidate = subject.instead(candidate, &plan.profile)?;
            (0..REPEATS).find_map(|_| {
                let trace = patient.run(candidate.program()).ok()?;
                let verdict = candidate.judge(&plan.profile, &trace);
                let same = candidate.sort(&verdict).is_some_and(|sort| sort == wanted);
                same.then(|| (candidate.clone(), trace, verdict))
            })
        };
        // one that nobody can judge shows something else
        let found = if shared.is_over() { None } else { unpanicked(shows).ok().flatten() };
        let same = found.is_some();
        smallest = found.or(smallest.take());
        same
    });
    match smallest {
        Some((small, trace, verdict)) => {
            let path = write_find(plan, number, "small", &small, &trace, Some(&verdict));
            write_page(plan, path, &small, &trace, &verdict, Some(subject.meant().steps.len()));
        }
        None => shared.ledger().totals.sort("not seen again"),
    }
}

/// Writes the page of a find beside its log; what is lost with it can be had again by `replay`.
fn write_page(
    plan: &Plan,
    path: Option<PathBuf>,
    subject: &Subject,
    trace: &Trace,
    verdict: &Verdict,
    shrunk_from: Option<usize>,
) {
    let Some(path) = path else { return };
    let file = path.to_string_lossy();
    let page = unpanicked(|| subject.page(&file, &plan.profile, trace, verdict, shrunk_from));
    if let Ok(Some(page)) = page {
        let _ = write_whole(&path.with_extension("txt"), page.as_bytes());
    }
}

/// Writes a find as a log of what was run; its path.
pub(super) fn write_find(
    plan: &Plan,
    number: u64,
    what: &str,
    subject: &Subject,
    trace: &Trace,
    verdict: Option<&Verdict>,
) -> Option<PathBuf> {
    let rule = match verdict {
        Some(Verdict::Rejected(rejection)) => rejection.rule.id(),
        Some(Verdict::Stuck { promises, .. }) => {
            promises.first().map_or("stuck", |promise| promise.rule.id())
        }
        _ => "none",
    };
    let path = plan.dir.join(format!("{what}-{rule}-{}-{number}.jsonl", plan.seed));
    let found = Log {
        program: Some(subject.program().clone()),
        profile: Some(plan.profile.clone()),
        trace: trace.clone(),
        skip: None,
        verdict: verdict.cloned(),
    };
    let mut bytes = Vec::new();
    let written = log::write(&mut bytes, &found).and_then(|()| write_whole(&path, &bytes));
    written.ok().map(|()| path)
}
