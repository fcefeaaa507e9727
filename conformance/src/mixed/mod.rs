//! Cases with mixed sends on both sides: the model plays the proposal, and a kernel makes them from what it
//! has, in every way that it has.

pub mod draft;
pub mod failure;
pub mod made;

use std::collections::BTreeSet;

use uringspec_model::abi::send_flag;
use uringspec_model::deviation::Deviation;
use uringspec_model::mixed::lowering::{Lowering, Missing};
use uringspec_model::profile::{Feature, Profile};
use uringspec_model::program::{Program, Step};
use uringspec_model::rules::Rule;
use uringspec_model::simulate::explore;
use uringspec_model::trace::{Ending, Trace};
use uringspec_model::verdict::{Unclaimed, Verdict};

pub use self::failure::{Failure, Fault};
pub use self::made::{Made, keeps};

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
pub fn ways(case: Option<&Case>, program: &Program, profile: &Profile) -> Result<Vec<Made>, String> {
    let named: Vec<&str> = case.iter().flat_map(|case| &case.via).map(|name| name.text.as_str()).collect();
    let asked = |lowering: &Lowering| named.is_empty() || named.contains(&lowering.name());
    let mut ways: Vec<Made> = Vec::new();
    let mut missing: Vec<(Lowering, Missing)> = Vec::new();
    for lowering in Lowering::ALL.into_iter().rev().filter(asked) {
        if lowering == Lowering::Copy && named.is_empty() && !ways.is_empty() {
            continue;
        }
        match Made::of(program, profile, lowering) {
            // of ways that come to the same entries one is enough
            Ok(made) if ways.iter().any(|known| known.done.program == made.done.program) => {}
            Ok(made) => ways.push(made),
            Err(why) => missing.push((lowering, why)),
        }
    }
    if ways.is_empty() {
        let why: Vec<String> = missing.iter().map(|(lowering, why)| format!("{lowering}: {why}")).collect();
        return Err(format!("no way to make its mixed sends ({})", why.join("; ")));
    }
    Ok(ways)
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
    for made in ways {
        let trace = match kernel.run(&made.done.program) {
            Ok(trace) => trace,
            Err(NoTrace::Skip(reason)) => return Live { status: Status::Skipped(reason), ..all },
            Err(NoTrace::Broken(reason)) => {
                return Live { status: Status::Broken(format!("{}: {reason}", made.way)), ..all };
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
    for made in ways(Some(case), &lowered.program, profile).unwrap_or_default() {
        let explored =
            explore(&made.done.program, profile, STATES_MAX).map_err(|_| Box::new(Status::TooMany))?;
        for trace in &explored.traces {
            if trace.end == Ending::Cut {
                let reason = Unclaimed::NotModelled("the model has nothing more to say here".into());
                let verdict = Verdict::Unclaimed { reason };
                let failure = made.failure(profile, trace, Fault::Entries(verdict));
                return Err(Box::new(Status::Made(failure)));
            }
            rules.extend(within(lowered, &made, profile, trace)?.0);
        }
    }
    Ok(rules)
}

type Within = (BTreeSet<Rule>, BTreeSet<crate::marks::Mark>, Outcome);

fn within(lowered: &Lowered, made: &Made, profile: &Profile, trace: &Trace) -> Result<Within, Box<Status>> {
    let fine = made.judge(profile, trace).map_err(|failure| Box::new(Status::Made(failure)))?;
    let outcome = Outcome::of(lowered, &fine.seen);
    let marks = expect::within(lowered, &outcome)
        .map_err(|mismatch| Box::new(Status::Made(made.failure(profile, trace, Fault::Listed(mismatch)))))?;
    Ok((fine.rules, marks, outcome))
}
