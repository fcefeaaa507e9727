//! Rules and cases hold each other up: a model with a mistake no longer does what the cases list.
//!
//! A rule that is switched off, or a kernel with a fault, must be noticed by a case. What only a wrong
//! trace can show is tested beside the model; such rules are listed here, and the list may only shrink.

#[allow(dead_code, reason = "only the answers are looked at here")]
#[path = "wrong/by_hand.rs"]
mod by_hand;

use std::collections::BTreeSet;

use by_hand::Answer;
use uringspec::catalog::{self, Loaded};
use uringspec::mixed::played;
use uringspec::outcome::Outcome;
use uringspec::{expect, marks};
use uringspec_model::mutation::{Fault, Mutation};
use uringspec_model::profile::Profile;
use uringspec_model::rules::Rule;
use uringspec_model::simulate::explore_mutant;

/// A mistake can make a program wide; what is not found in so many states counts as not noticed.
const STATES_MAX: usize = 5_000;

/// Rules whose cases stay right without them: they forbid what the model would not do anyway.
const SHOWN_BY_WRONG_TRACES: &[&str] = &[
    "life.one-result",
    "life.result-comes",
    "life.retired-is-silent",
    "life.nobody-asked",
    "life.cqe-makes-sense",
    "life.calls-return",
    "sqe.skip-success-is-silent",
    "sqe.skip-cuts-silently",
    "send.zero-is-zero",
    "read.fills",
    "dgram.boundaries",
    "drain.never-with-skip",
    "stream.contiguous",
    "stream.nothing-invented",
    "stream.ends-when-closed",
    "link.starts-after-result",
    "link.goes-on",
    "link.open-chain-is-async",
    "zc.no-notice-no-more",
    "zc.notif-comes",
];

/// Of those, what no trace breaks by itself, each with the reason.
const REFUSED_BY_ANOTHER: &[(&str, &str)] = &[
    (
        "sqe.skip-cuts-silently",
        "what posts nothing is over, so life.retired-is-silent refuses its completion",
    ),
    ("link.starts-after-result", "a result that comes too soon breaks link.order first"),
    ("link.goes-on", "what does not start breaks what is promised of its own result"),
    ("link.open-chain-is-async", "it allows an order and asks for nothing"),
];

fn cases() -> Vec<Loaded> {
    let found = catalog::all().expect("the cases stand beside this test");
    found.into_iter().map(|found| found.read().expect("cases can be read")).collect()
}

/// Whether the model with a mistake does something that the case does not list, or leaves out
/// something that it does.
fn notices(case: &Loaded, mutation: Option<Mutation>) -> bool {
    case.lowered.iter().any(|lowered| {
        let kernel = Profile::v6_18();
        let kernel = played(&lowered.program, &kernel);
        let Ok(explored) = explore_mutant(&lowered.program, &kernel, mutation, STATES_MAX) else {
            return false;
        };
        let mut required = marks::required(lowered).expect("cases are not too wide");
        for trace in &explored.traces {
            match expect::within(lowered, &Outcome::of(lowered, trace)) {
                Ok(reached) => required.retain(|mark| !reached.contains(mark)),
                Err(_) => return true,
            }
        }
        !required.is_empty()
    })
}

#[test]
fn without_a_mistake_nothing_is_noticed() {
    let wrong: Vec<String> =
        cases().iter().filter(|case| notices(case, None)).map(|case| case.found.name.clone()).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_fault_is_noticed_by_a_case() {
    let cases = cases();
    for fault in Fault::ALL {
        let mutation = Some(Mutation::Fault(*fault));
        assert!(cases.iter().any(|case| notices(case, mutation)), "no case notices {fault:?}");
    }
}

#[test]
fn every_rule_is_held_up_by_a_case() {
    let cases = cases();
    let names = |case: &&Loaded, rule: Rule| case.case.rules.iter().any(|name| name.text == rule.id());
    // the contract of mixed sends is held up by tests of its own, beside the model
    let idle: Vec<&str> = Rule::ALL
        .iter()
        .filter(|rule| rule.area() != "mixed")
        .filter(|rule| {
            let mut naming = cases.iter().filter(|case| names(case, **rule));
            !naming.any(|case| notices(case, Some(Mutation::Off(**rule))))
        })
        .map(|rule| rule.id())
        .collect();
    let unexpected: Vec<&&str> = idle.iter().filter(|id| !SHOWN_BY_WRONG_TRACES.contains(id)).collect();
    assert!(
        unexpected.is_empty(),
        "switched off, these change nothing in the cases that name them: {unexpected:?}"
    );
    let stale: Vec<&&str> = SHOWN_BY_WRONG_TRACES.iter().filter(|id| !idle.contains(id)).collect();
    assert!(stale.is_empty(), "a case holds these up now: {stale:?}");
}

#[test]
fn what_no_case_holds_up_is_shown_by_wrong_traces() {
    let shown: Vec<&str> = by_hand::all()
        .iter()
        .filter_map(|trace| match trace.answer {
            Answer::Wrong(rule) | Answer::Stuck(rule) => Some(rule.id()),
            Answer::Right | Answer::Unclaimed => None,
        })
        .collect();
    let excused = |id: &&str| REFUSED_BY_ANOTHER.iter().any(|(rule, _)| rule == id);
    let (claimed, told) = (SHOWN_BY_WRONG_TRACES, REFUSED_BY_ANOTHER);
    let idle: Vec<&&str> = claimed.iter().filter(|id| !shown.contains(id) && !excused(id)).collect();
    assert!(idle.is_empty(), "no wrong trace is refused by these: {idle:?}");
    let stale: Vec<_> = told.iter().filter(|(id, _)| shown.contains(id) || !claimed.contains(id)).collect();
    assert!(stale.is_empty(), "a wrong trace or a case shows these now: {stale:?}");
}

/// What the model does with each case, as far as it is not too wide to say.
fn behaviour(cases: &[Loaded], off: Rule) -> Vec<Option<BTreeSet<Outcome>>> {
    let mutation = Some(Mutation::Off(off));
    let of = |case: &Loaded| {
        let lowered = &case.lowered[0];
        let kernel = Profile::v6_18();
        let kernel = played(&lowered.program, &kernel);
        let explored = explore_mutant(&lowered.program, &kernel, mutation, STATES_MAX / 8).ok()?;
        Some(explored.traces.iter().map(|trace| Outcome::of(lowered, trace)).collect())
    };
    cases.iter().map(of).collect()
}

#[test]
fn no_two_rules_are_one() {
    let cases = cases();
    // with any rule off more is imagined, so what is imagined without an effect is no difference
    let idle = Rule::from_id(REFUSED_BY_ANOTHER[0].0).expect("the list names rules");
    let nothing = behaviour(&cases, idle);
    let mut known: Vec<(Rule, Vec<Option<BTreeSet<Outcome>>>)> = Vec::new();
    let mut same = Vec::new();
    for rule in Rule::ALL {
        let without = behaviour(&cases, *rule);
        if without == nothing {
            continue;
        }
        match known.iter().find(|(_, other)| *other == without) {
            Some((other, _)) => same.push(format!("{other} and {rule}")),
            None => known.push((*rule, without)),
        }
    }
    assert!(known.len() > 60, "only {} rules make a difference", known.len());
    assert!(same.is_empty(), "switched off, these change the same cases in the same way: {same:?}");
}
