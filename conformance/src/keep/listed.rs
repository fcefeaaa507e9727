//! What is expected of a program, from all that the model does: joint outcomes, as few as say it exactly.

use std::collections::{BTreeMap, BTreeSet};

use uringspec_model::cqe::{Completion, Cqe, Res, Usage};
use uringspec_model::program::Step as Do;
use uringspec_model::trace::{Run, Trace, Words};

use super::{NoCase, named};
use crate::case::lowered::Lowered;
use crate::case::{
    Arrival, Case, ExpectLine, Noted, Outcome, Pattern, Piece, ResPattern, Returns, Step, Table, Upto,
    UsagePattern,
};
use crate::outcome::{self, Block};

/// Alternatives of a block, or of what a peer got; more are no claim that somebody reads.
const ALTERNATIVES_MAX: usize = 16;

/// Lists what the traces show.
pub(super) fn fill(case: &mut Case, lowered: &Lowered, traces: &[Trace]) -> Result<(), NoCase> {
    let outcomes: Vec<outcome::Outcome> = traces.iter().map(|t| outcome::Outcome::of(lowered, t)).collect();
    if outcomes.iter().any(|outcome| !outcome.strays.is_empty()) {
        return Err(NoCase::TooMuch(
            "a completion that may come at a fence; a reap before it may help".into(),
        ));
    }
    for (number, noted) in case.steps.iter_mut().enumerate() {
        let at = number as u32;
        match &mut noted.what {
            Step::Submit(submit) => {
                let usual = submit.sqes.len() as i64;
                submit.returns = returns(&outcomes, at, usual)?.map(Noted::plain);
            }
            Step::Register(register) => {
                let usual = match &register.what {
                    Table::Update(slots) => slots.len() as i64,
                    _ => 0,
                };
                register.returns = returns(&outcomes, at, usual)?;
            }
            Step::Enter(call) => call.returns = returns(&outcomes, at, call.to_submit.into())?,
            Step::Look(look) => {
                let said: BTreeSet<Words> =
                    outcomes.iter().filter_map(|o| o.words.get(&at)).copied().collect();
                if said.len() > 1 {
                    return Err(NoCase::TooMuch("a ring that may say several things".into()));
                }
                if let Some(words) = said.first() {
                    (look.flags, look.dropped, look.queued) = (words.flags, words.dropped, words.queued);
                }
            }
            Step::Elsewhere(_, listed) => *listed = returns(&outcomes, at, 0)?,
            Step::Setup(setup) => setup.returns = returns(&outcomes, at, 0)?,
            Step::Expect(expect) => {
                if expect.peek.is_some() {
                    let set: BTreeSet<bool> =
                        outcomes.iter().filter_map(|o| o.overflows.get(&at)).copied().collect();
                    if set.len() > 1 {
                        return Err(NoCase::TooMuch("a peek that may say either".into()));
                    }
                    expect.peek = Some(set.contains(&true));
                }
                let blocks = outcomes.iter().filter_map(|outcome| outcome.blocks.get(&at));
                expect.outcomes = listed(blocks)?;
            }
            Step::Drain(peer, None) | Step::Received(peer, _) => {
                let peer = peer.clone();
                let came: BTreeSet<_> =
                    outcomes.iter().filter_map(|o| o.received.get(&at)).cloned().collect();
                noted.what = arrivals(lowered, at, &came)
                    .map_or(Step::Drain(peer.clone(), None), |arrivals| Step::Received(peer, arrivals));
            }
            _ => {}
        }
    }
    Ok(())
}

fn returns(outcomes: &[outcome::Outcome], step: u32, usual: i64) -> Result<Option<Returns>, NoCase> {
    let values: BTreeSet<i64> = outcomes.iter().filter_map(|o| o.returned.get(&step)).copied().collect();
    match values.iter().copied().collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [value] => Ok((value != usual).then_some(Returns(value))),
        _ => Err(NoCase::TooMuch("a call that may return several values".into())),
    }
}

/// The completions of each request without their counts, so that counts become ranges.
type Shape = BTreeMap<u64, Vec<Cqe>>;
/// The least and the greatest count of each completion of each request.
type Counts = BTreeMap<u64, Vec<(u64, u64)>>;

/// What a block may take: joint outcomes that differ only in counts are one with ranges.
fn listed<'a>(blocks: impl Iterator<Item = &'a Block>) -> Result<Vec<Outcome>, NoCase> {
    let blocks: Vec<&Block> = blocks.collect();
    let requests: BTreeSet<u64> = blocks.iter().flat_map(|block| block.by_request.keys().copied()).collect();
    let mut shapes: BTreeMap<Shape, Counts> = BTreeMap::new();
    for block in blocks {
        let came = |request: &u64| block.by_request.get(request).cloned().unwrap_or_default();
        let shape = requests.iter().map(|r| (*r, came(r).iter().map(shape).collect())).collect();
        let counts = shapes.entry(shape).or_default();
        for request in &requests {
            let now: Vec<u64> = came(request).iter().map(|cqe| u64::try_from(cqe.res).unwrap_or(0)).collect();
            let known = counts.entry(*request).or_insert_with(|| now.iter().map(|n| (*n, *n)).collect());
            for ((least, most), n) in known.iter_mut().zip(now) {
                (*least, *most) = ((*least).min(n), (*most).max(n));
            }
        }
    }
    if shapes.len() > ALTERNATIVES_MAX {
        return Err(NoCase::TooMuch(format!("{} joint outcomes of one block", shapes.len())));
    }
    let outcome = |(shape, counts): (&Shape, &Counts)| Outcome {
        lines: requests
            .iter()
            .map(|request| {
                let counts = counts.get(request).into_iter().flatten();
                let patterns = shape.get(request).into_iter().flatten().zip(counts).map(pattern).collect();
                Noted::plain(ExpectLine::Request(*request, vec![Noted::plain(patterns)]))
            })
            .collect(),
    };
    let outcomes: Vec<Outcome> = shapes.iter().map(outcome).collect();
    Ok(independent(&outcomes).map_or(outcomes, |one| vec![one]))
}

fn shape(cqe: &Cqe) -> Cqe {
    match cqe.completion() {
        Some(Completion::Result { res: Res::Bytes(_), .. }) => Cqe { res: 0, ..*cqe },
        _ => *cqe,
    }
}

fn pattern((cqe, (least, most)): (&Cqe, &(u64, u64))) -> Pattern {
    match cqe.completion() {
        Some(Completion::Result { res: Res::Err(error), more }) => {
            Pattern::Result(ResPattern::Errno(error.0), more)
        }
        Some(Completion::Result { res: Res::Bytes(_), more }) => {
            let res = if least == most { ResPattern::Count(*most) } else { ResPattern::Range(*least, *most) };
            Pattern::Result(res, more)
        }
        Some(Completion::Notification(Usage::Clear)) => Pattern::Notif(UsagePattern::Clear),
        Some(Completion::Notification(Usage::Copied)) => Pattern::Notif(UsagePattern::Copied),
        None => Pattern::Notif(UsagePattern::Any),
    }
}

/// One outcome with alternatives, if every combination of them is there.
fn independent(outcomes: &[Outcome]) -> Option<Outcome> {
    let first = outcomes.first()?;
    let mut lines: Vec<(u64, Vec<Vec<Pattern>>)> = Vec::new();
    for n in 0..first.lines.len() {
        let mut alternatives: Vec<Vec<Pattern>> = Vec::new();
        let mut request = 0;
        for outcome in outcomes {
            let ExpectLine::Request(user_data, patterns) = &outcome.lines.get(n)?.what else { return None };
            request = *user_data;
            let patterns = patterns.first()?.what.clone();
            if !alternatives.contains(&patterns) {
                alternatives.push(patterns);
            }
        }
        lines.push((request, alternatives));
    }
    let combinations: usize = lines.iter().map(|(_, alternatives)| alternatives.len()).product();
    (combinations == outcomes.len()).then(|| Outcome {
        lines: lines
            .into_iter()
            .map(|(request, alternatives)| {
                let alternatives = alternatives.into_iter().map(Noted::plain).collect();
                Noted::plain(ExpectLine::Request(request, alternatives))
            })
            .collect(),
    })
}

/// What a peer may have got, if it can be said.
fn arrivals(lowered: &Lowered, step: u32, came: &BTreeSet<Vec<Vec<Run>>>) -> Option<Vec<Noted<Arrival>>> {
    let datagrams = match lowered.program.steps.get(step as usize) {
        Some(Do::Drain { socket, .. }) => lowered.is_datagram(*socket),
        _ => false,
    };
    let piece = |run: &Run| match run {
        Run::Stamped { region, generation, offset, len_bytes } => Some(Piece {
            buffer: named(&lowered.program.regions.get(usize::from(region.0))?.name),
            generation: generation.0,
            from: *offset,
            to: Upto::Byte(offset + len_bytes),
        }),
        Run::Bytes(_) => None,
    };
    let arrival = |parts: &Vec<Vec<Run>>| {
        let full = parts.iter().filter(|part| datagrams || part.iter().any(|run| run.len_bytes() > 0));
        let parts = full.map(|part| part.iter().map(piece).collect::<Option<Vec<_>>>());
        Some(Noted::plain(Arrival { parts: parts.collect::<Option<Vec<_>>>()?, given: None }))
    };
    let all: Option<Vec<_>> = came.iter().map(arrival).collect();
    all.filter(|all| (1..=ALTERNATIVES_MAX).contains(&all.len()))
}
