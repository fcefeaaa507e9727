//! Compares outcomes with what a case lists.
//!
//! On the kernel, what was seen must be within the list. On the model the two must be equal: every
//! outcome is listed, and every listed alternative is an outcome. Alternatives of different requests
//! in one block are independent unless they stand in `outcome` blocks, so each combination must be
//! reached, and of a range both ends.

use std::collections::BTreeSet;

use uringspec_model::abi::{cqe_flag, errno, name_of};
use uringspec_model::cqe::{Completion, Cqe, Res, Usage};
use uringspec_model::memory::{Generation, Region};
use uringspec_model::program::Step;
use uringspec_model::trace::{Run, Words};

use crate::case::lowered::{Expectation, Expected, Lowered, PlacedArrival, PlacedPiece};
use crate::case::print::patterns_words;
use crate::case::{self, ExpectLine, Pattern, ResPattern, Silence, Upto, UsagePattern};
use crate::marks::{Mark, ends_reached, product, requests};
use crate::outcome::{Block, Outcome};
use crate::words::ring_words as in_words;

/// What came and was not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The step of the program.
    pub step: u32,
    /// The line of the case.
    pub line: u32,
    /// What came, in words.
    pub came: String,
    /// What was listed.
    pub listed: Vec<String>,
}

/// Compares one outcome with the list; says which marks it reached.
pub fn within(lowered: &Lowered, outcome: &Outcome) -> Result<BTreeSet<Mark>, Mismatch> {
    if let Some((step, cqe)) = outcome.strays.first() {
        let line = lowered.line_of(*step);
        let listed = vec!["no completion at this step".to_string()];
        return Err(Mismatch { step: *step, line, came: cqe.to_string(), listed });
    }
    let mut marks = BTreeSet::new();
    for (index, expectation) in lowered.expectations.iter().enumerate() {
        match &expectation.what {
            Expected::Returned(value) => returned(expectation, *value, outcome)?,
            Expected::Overflow(set) => overflow(expectation, *set, outcome)?,
            Expected::Words(words) => words_are(expectation, *words, outcome)?,
            Expected::Completions(expect) => {
                let block = outcome.blocks.get(&expectation.step);
                marks.extend(block_within(index, expectation, expect, block.unwrap_or(&Block::default()))?);
            }
            Expected::Resent(listed) => resent(expectation, listed, lowered, outcome)?,
            Expected::Arrivals(arrivals) => {
                marks.extend(arrivals_within(index, expectation, arrivals, lowered, outcome)?);
            }
        }
    }
    Ok(marks)
}

fn returned(expectation: &Expectation, expected: i64, outcome: &Outcome) -> Result<(), Mismatch> {
    let came = outcome.returned.get(&expectation.step);
    if came == Some(&expected) {
        return Ok(());
    }
    let words = |value: i64| match name_of(errno::NAMES, value.unsigned_abs() as u16) {
        Some(name) if value < 0 => format!("returned -{name}"),
        _ => format!("returned {value}"),
    };
    Err(Mismatch {
        step: expectation.step,
        line: expectation.line,
        came: came.map_or("nothing was returned".into(), |value| words(*value)),
        listed: vec![words(expected)],
    })
}

fn overflow(expectation: &Expectation, expected: bool, outcome: &Outcome) -> Result<(), Mismatch> {
    let words = |set: bool| format!("{} outside the queue", if set { "more waits" } else { "nothing waits" });
    match outcome.overflows.get(&expectation.step) {
        Some(came) if *came == expected => Ok(()),
        came => Err(Mismatch {
            step: expectation.step,
            line: expectation.line,
            came: came.map_or("the ring was not asked".into(), |came| words(*came)),
            listed: vec![words(expected)],
        }),
    }
}

fn words_are(expectation: &Expectation, expected: Words, outcome: &Outcome) -> Result<(), Mismatch> {
    match outcome.words.get(&expectation.step) {
        Some(came) if *came == expected => Ok(()),
        came => Err(Mismatch {
            step: expectation.step,
            line: expectation.line,
            came: came.map_or("the ring was not asked".into(), |came| in_words(*came)),
            listed: vec![in_words(expected)],
        }),
    }
}

fn block_within(
    index: usize,
    expectation: &Expectation,
    expect: &case::Expect,
    block: &Block,
) -> Result<BTreeSet<Mark>, Mismatch> {
    let mut marks = BTreeSet::new();
    let mut fits_any = expect.outcomes.is_empty() && block.by_request.is_empty();
    for (number, outcome) in expect.outcomes.iter().enumerate() {
        let Some(choices) = fitting(outcome, block) else { continue };
        fits_any = true;
        for alternatives in product(&choices).unwrap_or_default() {
            marks.extend(ends_reached(index, number, outcome, &alternatives, block));
            marks.insert(Mark::Combination { expectation: index, outcome: number, alternatives });
        }
    }
    if fits_any {
        return Ok(marks);
    }
    let came: Vec<String> = block.by_request.values().flatten().map(Cqe::to_string).collect();
    let listed = expect.outcomes.iter().map(outcome_words).collect();
    let came = if came.is_empty() { "no completion".to_string() } else { came.join(", ") };
    let came = if in_order_problem(expect, block) { format!("{came}, in another order") } else { came };
    Err(Mismatch { step: expectation.step, line: expectation.line, came, listed })
}

/// For each request line the alternatives that fit, if every line has one and nothing else came.
fn fitting(outcome: &case::Outcome, block: &Block) -> Option<Vec<Vec<usize>>> {
    let none = Vec::new();
    let mut listed = BTreeSet::new();
    let mut choices = Vec::new();
    for (_, user_data, alternatives) in requests(outcome) {
        listed.insert(user_data);
        let came = block.by_request.get(&user_data).unwrap_or(&none);
        let fits: Vec<usize> =
            (0..alternatives.len()).filter(|n| all_fit(&alternatives[*n].what, came)).collect();
        if fits.is_empty() {
            return None;
        }
        choices.push(fits);
    }
    let silent = outcome.lines.iter().all(|line| match &line.what {
        ExpectLine::Never(user_data, silence) => {
            let came = block.by_request.get(user_data).unwrap_or(&none);
            !came.iter().any(|cqe| *silence == Silence::All || cqe.flags & cqe_flag::NOTIF != 0)
        }
        ExpectLine::Order(order) => in_order(order, block),
        ExpectLine::Request(..) => true,
    });
    (silent && block.by_request.keys().all(|user_data| listed.contains(user_data))).then_some(choices)
}

fn in_order(order: &[u64], block: &Block) -> bool {
    let places: Vec<Option<usize>> =
        order.iter().map(|user_data| block.order.iter().position(|u| u == user_data)).collect();
    places.iter().flatten().is_sorted()
}

fn in_order_problem(expect: &case::Expect, block: &Block) -> bool {
    expect.outcomes.iter().any(|outcome| {
        let mut unordered = outcome.clone();
        unordered.lines.retain(|line| !matches!(line.what, ExpectLine::Order(_)));
        fitting(&unordered, block).is_some()
    })
}

fn all_fit(patterns: &[Pattern], came: &[Cqe]) -> bool {
    patterns.len() == came.len() && patterns.iter().zip(came).all(|(pattern, cqe)| fits(*pattern, *cqe))
}

fn fits(pattern: Pattern, cqe: Cqe) -> bool {
    match (pattern, cqe.completion()) {
        (Pattern::Result(res, more), Some(Completion::Result { res: came, more: came_more })) => {
            more == came_more && res_fits(res, came)
        }
        (Pattern::Notif(UsagePattern::Any), Some(Completion::Notification(_))) => true,
        (Pattern::Notif(usage), Some(Completion::Notification(came))) => {
            came == if usage == UsagePattern::Clear { Usage::Clear } else { Usage::Copied }
        }
        _ => false,
    }
}

fn res_fits(pattern: ResPattern, came: Res) -> bool {
    match (pattern, came) {
        (ResPattern::Count(n), Res::Bytes(came)) => n == came,
        (ResPattern::Range(from, to), Res::Bytes(came)) => (from..=to).contains(&came),
        (ResPattern::Errno(e), Res::Err(came)) => e == came.0,
        (ResPattern::AnyErrno, Res::Err(_)) => true,
        _ => false,
    }
}

fn arrivals_within(
    index: usize,
    expectation: &Expectation,
    arrivals: &[PlacedArrival],
    lowered: &Lowered,
    outcome: &Outcome,
) -> Result<BTreeSet<Mark>, Mismatch> {
    let regions = &lowered.program.regions;
    let datagrams = match lowered.program.steps.get(expectation.step as usize) {
        Some(Step::Drain { socket, .. }) => lowered.is_datagram(*socket),
        _ => false,
    };
    let came = outcome.received.get(&expectation.step);
    // On a stream, a part without bytes is no part.
    let counts = |part: &&Vec<Run>| datagrams || part.iter().any(|run| run.len_bytes() > 0);
    let parts: Vec<&Vec<Run>> = came.into_iter().flatten().filter(counts).collect();
    let result = |user_data: u64| outcome.results.get(&user_data).copied().and_then(Res::from_raw);
    let fits = |arrival: &PlacedArrival| {
        let given =
            arrival.given.is_none_or(|(user_data, res)| result(user_data).is_some_and(|r| res_fits(res, r)));
        let run = |piece: &PlacedPiece| {
            let count = |user_data: u64| match result(user_data) {
                Some(Res::Bytes(n)) => n,
                Some(Res::Err(_)) | None => 0,
            };
            run_of(piece, count)
        };
        let listed: Vec<Vec<Run>> = arrival.parts.iter().map(|part| part.iter().map(run).collect()).collect();
        let listed: Vec<&Vec<Run>> = listed.iter().filter(counts).collect();
        let same = listed.iter().zip(&parts).all(|(a, b)| same_bytes(a, b, regions));
        given && listed.len() == parts.len() && same
    };
    let marks: BTreeSet<Mark> = (0..arrivals.len())
        .filter(|n| fits(&arrivals[*n]))
        .map(|alternative| Mark::Arrival { expectation: index, alternative })
        .collect();
    if !marks.is_empty() {
        return Ok(marks);
    }
    Err(Mismatch {
        step: expectation.step,
        line: expectation.line,
        came: format!("received {}", parts_words(regions, &parts)),
        listed: arrivals.iter().map(|arrival| arrival.words.clone()).collect(),
    })
}

/// The bytes of a piece, given what requests reported.
fn run_of(piece: &PlacedPiece, count: impl Fn(u64) -> u64) -> Run {
    let to = match piece.to {
        Upto::Byte(to) => to,
        Upto::Result(user_data) => piece.from.saturating_add(count(user_data)),
    };
    let (region, generation) = (piece.region, Generation(piece.generation));
    Run::Stamped { region, generation, offset: piece.from, len_bytes: to - piece.from }
}

fn resent(
    expectation: &Expectation,
    listed: &PlacedArrival,
    lowered: &Lowered,
    outcome: &Outcome,
) -> Result<(), Mismatch> {
    let regions = &lowered.program.regions;
    let none = Vec::new();
    let came = outcome.resent.get(&expectation.step).unwrap_or(&none);
    let pieces: Vec<Run> = listed.parts.iter().flatten().map(|piece| run_of(piece, |_| 0)).collect();
    if same_bytes(&pieces, came, regions) {
        return Ok(());
    }
    Err(Mismatch {
        step: expectation.step,
        line: expectation.line,
        came: format!("resent {}", parts_words(regions, &[came])),
        listed: vec![listed.words.clone()],
    })
}

fn parts_words(regions: &[Region], parts: &[&Vec<Run>]) -> String {
    let words: Vec<String> = parts.iter().map(|part| crate::words::runs(regions, part)).collect();
    if words.is_empty() { "nothing".into() } else { words.join(" | ") }
}

/// Whether two lists of runs stand for the same bytes. Equal stamps are compared as ranges, so long
/// runs cost nothing.
fn same_bytes(a: &[Run], b: &[Run], regions: &[Region]) -> bool {
    let total = |runs: &[Run]| runs.iter().map(|r| u128::from(r.len_bytes())).sum::<u128>();
    if total(a) != total(b) {
        return false;
    }
    let (mut a, mut b) = (a.iter(), b.iter());
    let (mut x, mut y) = (a.next(), b.next());
    let (mut at_x, mut at_y) = (0, 0);
    while let (Some(run_x), Some(run_y)) = (x, y) {
        let len = (run_x.len_bytes() - at_x).min(run_y.len_bytes() - at_y);
        let same = same_stamps(run_x, at_x, run_y, at_y)
            || (0..len).all(|n| run_x.byte(regions, at_x + n) == run_y.byte(regions, at_y + n));
        if !same {
            return false;
        }
        (at_x, at_y) = (at_x + len, at_y + len);
        if at_x == run_x.len_bytes() {
            (x, at_x) = (a.next(), 0);
        }
        if at_y == run_y.len_bytes() {
            (y, at_y) = (b.next(), 0);
        }
    }
    true
}

fn same_stamps(x: &Run, at_x: u64, y: &Run, at_y: u64) -> bool {
    match (x, y) {
        (
            Run::Stamped { region: r, generation: g, offset: o, .. },
            Run::Stamped { region: s, generation: h, offset: p, .. },
        ) => r == s && g == h && o.saturating_add(at_x) == p.saturating_add(at_y),
        _ => false,
    }
}

fn outcome_words(outcome: &case::Outcome) -> String {
    let words: Vec<String> = outcome
        .lines
        .iter()
        .map(|line| match &line.what {
            ExpectLine::Request(user_data, alternatives) => {
                let words: Vec<String> = alternatives.iter().map(|a| patterns_words(&a.what)).collect();
                format!("#{user_data} {}", words.join(" or "))
            }
            ExpectLine::Never(user_data, Silence::All) => format!("nothing for #{user_data}"),
            ExpectLine::Never(user_data, Silence::Notif) => format!("no notification for #{user_data}"),
            ExpectLine::Order(order) => {
                let order: Vec<String> = order.iter().map(|u| format!("#{u}")).collect();
                format!("{} in this order", order.join(" "))
            }
        })
        .collect();
    words.join("; ")
}
