//! The model's side of a case: every outcome that exhaustive choice produces.

use std::collections::{BTreeMap, BTreeSet};

use uringspec_model::check::check;
use uringspec_model::profile::Profile;
use uringspec_model::simulate::{TooMany, explore};
use uringspec_model::trace::{Trace, What};

use crate::case::ExpectLine;
use crate::case::lowered::{Expected, Lowered};
use crate::outcome::Outcome;

/// The most states that are walked for one case; more means that it is too large to be exact about.
pub const STATES_MAX: usize = 1_000_000;

/// Every outcome on the kernel of `profile`, each with one trace that shows it.
pub fn model_outcomes(lowered: &Lowered, profile: &Profile) -> Result<BTreeMap<Outcome, Trace>, TooMany> {
    let explored = explore(&lowered.program, profile, STATES_MAX)?;
    Ok(explored.traces.into_iter().map(|trace| (Outcome::of(lowered, &trace), trace)).collect())
}

/// An order of results that the case states and the model does not promise: a trace in which two
/// neighbours of the list have changed places, and which is accepted all the same.
///
/// Exploration counts traces that differ in the order of completions as one, so what `order` lines
/// say is asked of the judge.
pub fn broken_order(lowered: &Lowered, profile: &Profile, trace: &Trace) -> Option<(u32, Trace)> {
    stated_orders(lowered).into_iter().find_map(|(step, order)| {
        let swapped = other_order(lowered, profile, trace, step, &order)?;
        Some((lowered.line_of(step), swapped))
    })
}

/// The orders that `order` lines state, with their steps.
pub fn stated_orders(lowered: &Lowered) -> BTreeSet<(u32, Vec<u64>)> {
    let mut orders = BTreeSet::new();
    for expectation in &lowered.expectations {
        let Expected::Completions(expect) = &expectation.what else { continue };
        orders.extend(expect.outcomes.iter().flat_map(|outcome| &outcome.lines).filter_map(|line| {
            match &line.what {
                ExpectLine::Order(order) => Some((expectation.step, order.clone())),
                ExpectLine::Request(..) | ExpectLine::Never(..) => None,
            }
        }));
    }
    orders
}

/// A trace with two neighbours of `order` in other places, if the model accepts it.
pub fn other_order(
    lowered: &Lowered,
    profile: &Profile,
    trace: &Trace,
    step: u32,
    order: &[u64],
) -> Option<Trace> {
    let swaps = order.windows(2).filter_map(|pair| swapped(trace, step, pair[0], pair[1]));
    swaps.into_iter().find(|swapped| check(&lowered.program, profile, swapped).is_accepted())
}

/// The trace with the first completion of `first` behind that of `second`, both in one step.
fn swapped(trace: &Trace, step: u32, first: u64, second: u64) -> Option<Trace> {
    let place = |user_data: u64| {
        trace.seen.iter().position(|seen| {
            seen.step == step && matches!(seen.what, What::Cqe(taken) if taken.cqe.user_data == user_data)
        })
    };
    let (from, to) = (place(first)?, place(second)?);
    let mut swapped = trace.clone();
    let moved = swapped.seen.remove(from);
    swapped.seen.insert(to.max(from), moved);
    (from < to).then_some(swapped)
}
