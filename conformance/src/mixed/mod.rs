//! Cases with mixed sends on both sides: the model plays the proposal, and a kernel makes them from what it
//! has, in every way that it has.

pub mod draft;

use std::collections::BTreeSet;

use uringspec_model::abi::send_flag;
use uringspec_model::check::check;
use uringspec_model::deviation::Deviation;
use uringspec_model::mixed::contract::Contract;
use uringspec_model::mixed::lowering::{Lowering, Missing};
use uringspec_model::mixed::program::{self, Lowered as Made};
use uringspec_model::profile::{Feature, Profile};
use uringspec_model::program::{Program, Step};
use uringspec_model::rules::Rule;
use uringspec_model::simulate::explore;
use uringspec_model::trace::{Ending, Trace};
use uringspec_model::verdict::{Rejection, Unclaimed, Verdict};

use crate::case::Case;
use crate::case::lowered::Lowered;
use crate::expect;
use crate::kernel::{Kernel, NoTrace};
use crate::outcome::Outcome;
use crate::side_by_side::{Live, Status};
use crate::simulated::STATES_MAX;

/// Whether a program has mixed sends.
pub fn has_mixed(program: &Program) -> bool {
    program.steps.iter().any(|step| match step {
        Step::Submit { sqes, .. } => {
            sqes.iter().any(|sqe| sqe.is_zero_copy() && sqe.ioprio & send_flag::PER_IOVEC != 0)
        }
        _ => false,
    })
}

/// The kernel that the model plays where `profile` is asked for: a program with mixed sends needs one that
/// takes them.
pub fn played<'p>(program: &Program, profile: &'p Profile) -> std::borrow::Cow<'p, Profile> {
    if has_mixed(program) && !profile.has(Feature::PerIovec) {
        return std::borrow::Cow::Owned(Profile::proposal());
    }
    std::borrow::Cow::Borrowed(profile)
}

/// The ways in which a kernel makes the mixed sends of a program; where there is none, why.
///
/// That everything can be copied is a way of its own only where there is no other.
pub fn ways(
    case: Option<&Case>,
    program: &Program,
    profile: &Profile,
) -> Result<Vec<(Lowering, Made)>, String> {
    let named: Vec<&str> = case.iter().flat_map(|case| &case.via).map(|name| name.text.as_str()).collect();
    let asked = |lowering: &Lowering| named.is_empty() || named.contains(&lowering.name());
    let mut ways = Vec::new();
    let mut missing: Vec<(Lowering, Missing)> = Vec::new();
    for lowering in Lowering::ALL.into_iter().rev().filter(asked) {
        if lowering == Lowering::Copy && named.is_empty() && !ways.is_empty() {
            continue;
        }
        match program::lower(program, profile, lowering) {
            Ok(made) => ways.push((lowering, made)),
            Err(why) => missing.push((lowering, why)),
        }
    }
    if ways.is_empty() {
        let why: Vec<String> = missing.iter().map(|(lowering, why)| format!("{lowering}: {why}")).collect();
        return Err(format!("no way to make its mixed sends ({})", why.join("; ")));
    }
    // of ways that come to the same entries one is enough
    let mut known: Vec<Program> = Vec::new();
    ways.retain(|(_, made)| {
        let is_new = !known.contains(&made.program);
        known.push(made.program.clone());
        is_new
    });
    Ok(ways)
}

/// What a judge says of a trace, and the trace as one of mixed sends.
pub type Refused = (Verdict, Trace);

/// Judges what was seen of a lowered program: the entries by the kernel's rules, the mixed sends by their
/// contract.
pub fn judge(
    program: &Program,
    made: &Made,
    profile: &Profile,
    trace: &Trace,
) -> Result<(Trace, BTreeSet<Rule>), Box<Refused>> {
    let seen = made.view.read(trace);
    let rules = match check(&made.program, profile, trace) {
        Verdict::Accepted { rules, .. } => rules,
        verdict => return Err(Box::new((verdict, seen))),
    };
    keeps(program, &seen).map_err(|verdict| Box::new((verdict, seen.clone())))?;
    Ok((seen, rules))
}

/// Whether what was seen of mixed sends keeps their contract.
pub fn keeps(program: &Program, seen: &Trace) -> Result<(), Verdict> {
    let contract =
        Contract::of(program).map_err(|what| Verdict::Unclaimed { reason: Unclaimed::NotModelled(what) })?;
    contract.judge(seen).map_err(|broken| {
        let allowed = vec![broken.rule.text().to_string()];
        Verdict::Rejected(Rejection { at: broken.at, rule: broken.rule, got: broken.got, allowed })
    })
}

/// One run on the kernel in each of its ways.
pub fn live(case: &Case, lowered: &Lowered, kernel: &mut Kernel) -> Live {
    let mut all =
        Live { status: Status::Skipped(String::new()), marks: BTreeSet::new(), outcome: Outcome::default() };
    let profile = kernel.profile().clone();
    let ways = match ways(Some(case), &lowered.program, &profile) {
        Ok(ways) => ways,
        Err(why) => return Live { status: Status::Skipped(why), ..all },
    };
    let mut rules = BTreeSet::new();
    for (lowering, made) in ways {
        let trace = match kernel.run(&made.program) {
            Ok(trace) => trace,
            Err(NoTrace::Skip(reason)) => return Live { status: Status::Skipped(reason), ..all },
            Err(NoTrace::Broken(reason)) => {
                return Live { status: Status::Broken(format!("{lowering}: {reason}")), ..all };
            }
        };
        match within(lowered, &made, &profile, &trace) {
            Ok((hit, marks, outcome)) => {
                rules.extend(hit);
                all.marks.extend(marks);
                all.outcome = outcome;
            }
            Err(status) => {
                return Live { status: *status, marks: BTreeSet::new(), outcome: Outcome::default() };
            }
        }
    }
    all.status = Status::Accepted { rules, deviations: BTreeSet::<Deviation>::new() };
    all
}

/// Whether the model of a kernel, making the mixed sends in each of its ways, stays within what the case
/// lists; otherwise what came of it.
pub fn on_model(case: &Case, lowered: &Lowered, profile: &Profile) -> Result<BTreeSet<Rule>, Box<Status>> {
    let mut rules = BTreeSet::new();
    // a case that no lowering makes shows what a kernel would refuse
    for (_, made) in ways(Some(case), &lowered.program, profile).unwrap_or_default() {
        let explored = explore(&made.program, profile, STATES_MAX).map_err(|_| Box::new(Status::TooMany))?;
        for trace in &explored.traces {
            if trace.end == Ending::Cut {
                let reason = Unclaimed::NotModelled("the model has nothing more to say here".into());
                let verdict = Verdict::Unclaimed { reason };
                return Err(Box::new(Status::Judged { verdict, trace: made.view.read(trace) }));
            }
            rules.extend(within(lowered, &made, profile, trace)?.0);
        }
    }
    Ok(rules)
}

type Within = (BTreeSet<Rule>, BTreeSet<crate::marks::Mark>, Outcome);

fn within(lowered: &Lowered, made: &Made, profile: &Profile, trace: &Trace) -> Result<Within, Box<Status>> {
    let (seen, rules) = judge(&lowered.program, made, profile, trace).map_err(|judged| {
        let (verdict, trace) = *judged;
        Box::new(Status::Judged { verdict, trace })
    })?;
    let outcome = Outcome::of(lowered, &seen);
    let marks = expect::within(lowered, &outcome)
        .map_err(|mismatch| Box::new(Status::Mismatched { mismatch, trace: seen.clone() }))?;
    Ok((rules, marks, outcome))
}
