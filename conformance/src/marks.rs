//! What a case lists and the model must reach: each combination of alternatives, both ends of each
//! range. An alternative that nothing reaches would be a comfort, not a promise.

use std::collections::BTreeSet;

use crate::case::lowered::{Expected, Lowered};
use crate::case::print::patterns_words;
use crate::case::{self, ExpectLine, Noted, Pattern, ResPattern};
use crate::expect::Mismatch;
use crate::outcome::Block;

/// The most combinations of independent alternatives in one block; more need `outcome` blocks.
const COMBINATIONS_MAX: usize = 4096;

/// Something in the list that must be reached on the model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// One alternative for each request line of one joint outcome.
    Combination {
        /// The index of the expectation.
        expectation: usize,
        /// The joint outcome.
        outcome: usize,
        /// The alternative of each request line.
        alternatives: Vec<usize>,
    },
    /// An end of a range.
    End {
        /// The index of the expectation.
        expectation: usize,
        /// The joint outcome, its line, the alternative, the pattern.
        place: [usize; 4],
        /// The count that must come.
        count: u64,
    },
    /// An alternative of a `received` line.
    Arrival {
        /// The index of the expectation.
        expectation: usize,
        /// The alternative.
        alternative: usize,
    },
}

/// Everything that must be reached on the model, or the line that lists too much.
pub fn required(lowered: &Lowered) -> Result<BTreeSet<Mark>, Mismatch> {
    let mut marks = BTreeSet::new();
    for (index, expectation) in lowered.expectations.iter().enumerate() {
        match &expectation.what {
            Expected::Returned(_) | Expected::Overflow(_) | Expected::Words(_) | Expected::Resent(_) => {}
            Expected::Arrivals(arrivals) => marks.extend(
                (0..arrivals.len()).map(|alternative| Mark::Arrival { expectation: index, alternative }),
            ),
            Expected::Completions(expect) => {
                for (number, outcome) in expect.outcomes.iter().enumerate() {
                    let every = |(_, alternatives): (usize, &[Noted<Vec<Pattern>>])| {
                        (0..alternatives.len()).collect::<Vec<_>>()
                    };
                    let choices: Vec<_> = requests(outcome).map(|(l, _, a)| every((l, a))).collect();
                    let combinations = product(&choices).ok_or_else(|| Mismatch {
                        step: expectation.step,
                        line: expectation.line,
                        came: format!("more than {COMBINATIONS_MAX} combinations of alternatives"),
                        listed: vec!["`outcome` blocks that list the joint outcomes".into()],
                    })?;
                    marks.extend(combinations.into_iter().map(|alternatives| Mark::Combination {
                        expectation: index,
                        outcome: number,
                        alternatives,
                    }));
                    marks.extend(ends(index, number, outcome));
                }
            }
        }
    }
    Ok(marks)
}

/// A mark in the words of the case, and its line.
pub fn mark_words(lowered: &Lowered, mark: &Mark) -> (u32, String) {
    let (index, words) = match mark {
        Mark::Arrival { expectation, alternative } => {
            let Some(Expected::Arrivals(arrivals)) = lowered.expectations.get(*expectation).map(|e| &e.what)
            else {
                return (0, String::new());
            };
            (expectation, arrivals.get(*alternative).map(|a| a.words.clone()).unwrap_or_default())
        }
        Mark::Combination { expectation, outcome, alternatives } => {
            let words: Vec<String> = listed_outcome(lowered, *expectation, *outcome)
                .into_iter()
                .flat_map(requests)
                .zip(alternatives)
                .map(|((_, user_data, all), n)| format!("#{user_data} {}", patterns_words(&all[*n].what)))
                .collect();
            (expectation, words.join(", "))
        }
        Mark::End { expectation, place: [outcome, line, ..], count } => {
            let request = listed_outcome(lowered, *expectation, *outcome)
                .and_then(|outcome| requests(outcome).find(|(l, ..)| l == line))
                .map_or(0, |(_, user_data, _)| user_data);
            (expectation, format!("#{request} {count}, an end of its range"))
        }
    };
    (lowered.expectations.get(*index).map_or(0, |e| e.line), words)
}

fn listed_outcome(lowered: &Lowered, expectation: usize, outcome: usize) -> Option<&case::Outcome> {
    match &lowered.expectations.get(expectation)?.what {
        Expected::Completions(expect) => expect.outcomes.get(outcome),
        _ => None,
    }
}

/// The request lines of an outcome: line, user data, alternatives.
pub(crate) fn requests(
    outcome: &case::Outcome,
) -> impl Iterator<Item = (usize, u64, &[Noted<Vec<Pattern>>])> {
    outcome.lines.iter().enumerate().filter_map(|(n, line)| match &line.what {
        ExpectLine::Request(user_data, alternatives) => Some((n, *user_data, alternatives.as_slice())),
        ExpectLine::Never(..) | ExpectLine::Order(_) => None,
    })
}

/// Both ends of every range in an outcome.
fn ends(index: usize, number: usize, outcome: &case::Outcome) -> BTreeSet<Mark> {
    let mut marks = BTreeSet::new();
    for (line, _, alternatives) in requests(outcome) {
        for (alternative, patterns) in alternatives.iter().enumerate() {
            for (place, pattern) in patterns.what.iter().enumerate() {
                if let Pattern::Result(ResPattern::Range(from, to), _) = pattern {
                    let place = [number, line, alternative, place];
                    marks.extend([*from, *to].map(|count| Mark::End { expectation: index, place, count }));
                }
            }
        }
    }
    marks
}

/// The ends of ranges that a block reached with the chosen alternatives.
pub(crate) fn ends_reached(
    index: usize,
    number: usize,
    outcome: &case::Outcome,
    chosen: &[usize],
    block: &Block,
) -> BTreeSet<Mark> {
    let mut marks = ends(index, number, outcome);
    let lines: Vec<_> = requests(outcome).collect();
    marks.retain(|mark| {
        let Mark::End { place: [_, line, alternative, place], count, .. } = mark else { return false };
        lines.iter().zip(chosen).find(|((l, ..), _)| l == line).is_some_and(|((_, user_data, _), n)| {
            let came = block.by_request.get(user_data).and_then(|cqes| cqes.get(*place));
            n == alternative && came.is_some_and(|cqe| i64::from(cqe.res) == *count as i64)
        })
    });
    marks
}

/// Every way to take one of each; `None` if there are too many.
pub(crate) fn product(choices: &[Vec<usize>]) -> Option<Vec<Vec<usize>>> {
    let mut all = vec![Vec::new()];
    for choice in choices {
        if all.len().checked_mul(choice.len())? > COMBINATIONS_MAX {
            return None;
        }
        let longer = |head: &Vec<usize>| {
            let head = head.clone();
            choice.iter().map(move |n| [head.as_slice(), &[*n]].concat()).collect::<Vec<_>>()
        };
        all = all.iter().flat_map(longer).collect();
    }
    Some(all)
}
