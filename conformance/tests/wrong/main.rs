//! Wrong traces: what no kernel may do is refused.
//!
//! *Self* and *tight* share the relation with what they test, so a rule that is too loose shows in
//! neither. These traces come from elsewhere: some were written by hand, each with the rule that has to
//! refuse it, and the others are made from the right traces of every case by one mistake.

mod by_hand;
mod mutants;

use std::collections::BTreeMap;
use std::io::{Write, stdout};

use by_hand::Answer;
use mutants::mutants;
use uringspec::case::lowered::Lowered;
use uringspec::catalog;
use uringspec::mixed::has_mixed;
use uringspec::simulated::STATES_MAX;
use uringspec_model::check::check;
use uringspec_model::profile::Profile;
use uringspec_model::rules::Rule;
use uringspec_model::simulate::{explore, is_simulated};
use uringspec_model::trace::{Ending, Seen, Trace, What};
use uringspec_model::verdict::Verdict;
use uringspec_model::words;

/// Fewer mutants than this would say little.
const MUTANTS_MIN: usize = 10_000;
/// Of a case with more outcomes than this, so many are changed.
const OUTCOMES_MAX: usize = 200;

#[test]
fn wrong_traces_by_hand_are_refused_by_the_rule_they_name() {
    let profile = Profile::v6_18();
    let mut refused: BTreeMap<Rule, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for by_hand in by_hand::all() {
        for lowered in &by_hand.lowered {
            let verdict = check(&lowered.program, &profile, &by_hand.trace);
            let answer = match &verdict {
                Verdict::Accepted { .. } => Some(Answer::Right),
                Verdict::Rejected(rejection) => Some(Answer::Wrong(rejection.rule)),
                Verdict::Stuck { promises, .. } => {
                    promises.first().map(|promise| Answer::Stuck(promise.rule))
                }
                Verdict::Unclaimed { .. } => Some(Answer::Unclaimed),
            };
            if answer != Some(by_hand.answer) {
                wrong.push(format!(
                    "{}, {:?}: {:?} is expected\n{verdict:?}",
                    by_hand.place, lowered.mode, by_hand.answer
                ));
            }
        }
        if let Answer::Wrong(rule) | Answer::Stuck(rule) = by_hand.answer {
            *refused.entry(rule).or_default() += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let count: usize = refused.values().sum();
    // Not `println`, which a test that passes keeps to itself.
    let _ = writeln!(stdout(), "{count} traces by hand are refused by {} rules", refused.len());
    assert!(count >= 40, "only {count} traces");
}

#[test]
fn mutants_of_the_traces_of_every_case_are_refused() {
    let mut counts: BTreeMap<&'static str, (usize, usize)> = BTreeMap::new();
    for found in catalog::all().expect("the cases stand beside this test") {
        let loaded = found.read().expect("cases can be read");
        // what no kernel takes is made wrong beside its contract
        for lowered in loaded.lowered.iter().filter(|lowered| !has_mixed(&lowered.program)) {
            judge_mutants(&loaded.found.name, lowered, &mut counts);
        }
    }
    let (refused, right) = counts.values().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    let mut out = stdout().lock();
    let _ = writeln!(out, "{refused} mutants are refused; {right} are right, as simulations show");
    for (how, (refused, right)) in &counts {
        let _ = writeln!(out, "{refused:8} {right:5}  {how}");
    }
    assert!(refused >= MUTANTS_MIN, "only {refused} mutants");
    let idle: Vec<_> = counts.iter().filter(|(_, (refused, _))| *refused == 0).collect();
    assert!(idle.is_empty(), "no mutant of these sorts is refused: {idle:?}");
}

/// Judges every mutant of the traces of one program. One that is accepted must be the trace of another
/// simulation: then it is no mistake.
fn judge_mutants(name: &str, lowered: &Lowered, counts: &mut BTreeMap<&'static str, (usize, usize)>) {
    let profile = Profile::v6_18();
    let program = &lowered.program;
    let outcomes = explore(program, &profile, STATES_MAX).expect("cases are not too wide").traces;
    for trace in outcomes.iter().step_by(outcomes.len().div_ceil(OUTCOMES_MAX)) {
        for mutant in mutants(program, trace) {
            let (refused, right) = counts.entry(mutant.how).or_default();
            match check(program, &profile, &mutant.trace) {
                Verdict::Rejected(_) | Verdict::Stuck { .. } => *refused += 1,
                Verdict::Accepted { .. } => {
                    let is_right = mutant.trace.end == Ending::Complete
                        && is_simulated(program, &profile, &mutant.trace.seen, STATES_MAX) == Ok(true);
                    assert!(
                        is_right,
                        "{}",
                        told(name, lowered, &mutant, trace, "accepted, and never simulated")
                    );
                    *right += 1;
                }
                Verdict::Unclaimed { reason } => {
                    panic!("{}", told(name, lowered, &mutant, trace, &format!("unclaimed: {reason}")))
                }
            }
        }
    }
}

fn told(name: &str, lowered: &Lowered, mutant: &mutants::Mutant, from: &Trace, what: &str) -> String {
    let lines = |trace: &Trace| {
        let line = |s: &Seen| match &s.what {
            What::GaveUp => format!("  {} gave up\n", s.step),
            what => format!("  {} {}\n", s.step, words::what(&lowered.program, what)),
        };
        trace.seen.iter().map(line).collect::<String>()
    };
    format!(
        "{name}, {:?}: {} is {what}\nof\n{}made\n{}",
        lowered.mode,
        mutant.how,
        lines(from),
        lines(&mutant.trace)
    )
}
