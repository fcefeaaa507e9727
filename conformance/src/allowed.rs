//! All that the model allows for a case, in words: one joint outcome for each way in which it may end.
//!
//! Outcomes that differ only in the order of completions count as one; of the orders that the case states,
//! an outcome names those that the model promises.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uringspec_model::cqe::{Cqe, Errno};
use uringspec_model::profile::Profile;
use uringspec_model::program::{End, Step};
use uringspec_model::simulate::{TooMany, explore};
use uringspec_model::trace::{Ending, Run, Trace, What};

use crate::case::lowered::{Expected, Lowered};
use crate::outcome::{Block, Outcome};
use crate::simulated::{other_order, stated_orders};
use crate::words;

/// What may come of a case on one kind of ring.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Each outcome, and how many runs come to it. Runs that differ in the order of completions within a
    /// step are one. Of a range of counts, the ends, their neighbours and one inside are walked.
    pub outcomes: Vec<(Vec<Part>, usize)>,
    /// States that were walked.
    pub states: usize,
}

/// What is seen at one line of a case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Part {
    /// The line.
    pub line: u32,
    /// What is seen, in the words of the case form.
    pub seen: String,
}

/// Every outcome on the kernel of `profile`, or how many states were walked in vain.
pub fn allowed(lowered: &Lowered, profile: &Profile, states_max: usize) -> Result<Allowed, TooMany> {
    let explored = explore(&lowered.program, profile, states_max)?;
    // In the order of what was seen, not of its words: 2 comes before 10.
    let mut traces: Vec<(Outcome, &Trace)> =
        explored.traces.iter().map(|trace| (Outcome::of(lowered, trace), trace)).collect();
    traces.sort_by(|a, b| a.0.cmp(&b.0));
    let mut outcomes: Vec<(Vec<Part>, usize)> = Vec::new();
    let mut places: BTreeMap<Vec<Part>, usize> = BTreeMap::new();
    for (outcome, trace) in &traces {
        let parts = parts(lowered, profile, outcome, trace);
        let at = *places.entry(parts.clone()).or_insert(outcomes.len());
        match outcomes.get_mut(at) {
            Some((_, runs)) => *runs += 1,
            None => outcomes.push((parts, 1)),
        }
    }
    Ok(Allowed { outcomes, states: explored.states })
}

/// What one trace of a program shows, in the words of outcomes.
pub fn of_trace(lowered: &Lowered, profile: &Profile, trace: &Trace) -> Vec<Part> {
    parts(lowered, profile, &Outcome::of(lowered, trace), trace)
}

/// An outcome in one line.
pub fn line(outcome: &[Part]) -> String {
    let seen: Vec<&str> = outcome.iter().map(|part| part.seen.as_str()).collect();
    if seen.is_empty() { "nothing is seen".into() } else { seen.join("; ") }
}

fn parts(lowered: &Lowered, profile: &Profile, outcome: &Outcome, trace: &Trace) -> Vec<Part> {
    let mut by_step: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (step, value) in &outcome.returned {
        by_step.entry(*step).or_default().extend(unusual_return(lowered, *step, *value));
    }
    for (step, block) in &outcome.blocks {
        let mut words = vec![completions(block)];
        for (_, order) in
            stated_orders(lowered).iter().filter(|(at, order)| at == step && all_came(order, block))
        {
            if is_in(order, block) && other_order(lowered, profile, trace, *step, order).is_none() {
                words.push(format!("order{}", order.iter().map(|u| format!(" #{u}")).collect::<String>()));
            }
        }
        by_step.entry(*step).or_default().push(words.join(", "));
    }
    for (step, cqes) in elsewhere(outcome, trace) {
        let keyword = match lowered.program.steps.get(step as usize) {
            Some(Step::Settle) => "settle",
            Some(Step::Fence { .. }) => "fence",
            _ => "unasked",
        };
        by_step.entry(step).or_default().push(format!("{keyword} {}", completions(&cqes)));
    }
    for (step, received) in &outcome.received {
        let Some(Step::Drain { socket, .. }) = lowered.program.steps.get(*step as usize) else { continue };
        let peer = lowered.names.socket_name(*socket, End::Far).unwrap_or("?");
        let is_empty = |part: &Vec<Run>| part.iter().all(|run| run.len_bytes() == 0);
        let parts: Vec<String> = received
            .iter()
            .filter(|part| !is_empty(part) || lowered.is_datagram(*socket))
            .map(|part| match is_empty(part) {
                true => "empty".into(),
                false => words::runs(&lowered.program.regions, part),
            })
            .collect();
        let parts = if parts.is_empty() { "nothing".to_string() } else { parts.join(" | ") };
        by_step.entry(*step).or_default().push(format!("received {peer}  {parts}"));
    }
    if let Some(step) = outcome.waiting {
        by_step.entry(step).or_default().push("what was waited for does not come".into());
    }
    let mut parts: Vec<Part> = by_step
        .into_iter()
        .flat_map(|(step, seen)| seen.into_iter().map(move |seen| Part { line: lowered.line_of(step), seen }))
        .collect();
    if trace.end == Ending::Cut {
        let step = trace.seen.last().map_or(0, |seen| seen.step);
        parts.push(Part { line: lowered.line_of(step), seen: CUT.into() });
    }
    parts
}

/// What stands behind the last thing that the model speaks of.
pub const CUT: &str = "the model says nothing of what comes then";

/// A return value that the case does not list.
fn unusual_return(lowered: &Lowered, step: u32, value: i64) -> Option<String> {
    let listed = lowered.expectations.iter().any(|expectation| {
        expectation.step == step && matches!(expectation.what, Expected::Returned(usual) if usual == value)
    });
    let errno = u16::try_from(value.unsigned_abs()).ok().filter(|_| value < 0);
    let value = errno.map_or(value.to_string(), |number| format!("-{}", Errno(number)));
    (!listed).then(|| format!("returns {value}"))
}

/// Completions at steps that are no `expect` blocks.
fn elsewhere(outcome: &Outcome, trace: &Trace) -> BTreeMap<u32, Block> {
    let mut found: BTreeMap<u32, Block> = BTreeMap::new();
    for seen in &trace.seen {
        let What::Cqe(taken) = &seen.what else { continue };
        if !outcome.blocks.contains_key(&seen.step) {
            let block = found.entry(seen.step).or_default();
            block.by_request.entry(taken.cqe.user_data).or_default().push(taken.cqe);
        }
    }
    found
}

fn completions(block: &Block) -> String {
    let request = |(user_data, cqes): (&u64, &Vec<Cqe>)| {
        // The user data stands once, before the first completion.
        let words = cqes.iter().map(|cqe| match cqe.completion() {
            Some(completion) => completion.to_string(),
            None => cqe.to_string(),
        });
        format!("#{user_data} {}", words.collect::<Vec<_>>().join(" then "))
    };
    let requests: Vec<String> = block.by_request.iter().map(request).collect();
    if requests.is_empty() { "no completion".into() } else { requests.join(", ") }
}

fn all_came(order: &[u64], block: &Block) -> bool {
    let came: BTreeSet<u64> = block.order.iter().copied().collect();
    order.iter().all(|user_data| came.contains(user_data))
}

fn is_in(order: &[u64], block: &Block) -> bool {
    order.iter().map(|user_data| block.order.iter().position(|u| u == user_data)).is_sorted()
}
