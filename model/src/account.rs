//! The judgement of a record observation by observation: which rules had a say in each, and what is
//! open behind the last.
//!
//! It is `check` that judges here too. What is open where several states explain the record is open in
//! one of them at least; what is owed is owed in all.

use std::collections::{BTreeSet, VecDeque};

use crate::check::Judge;
use crate::prepare::{Plan, Prepared, prepare};
use crate::profile::Profile;
use crate::program::{Program, RingId, Step};
use crate::rules::Rule;
use crate::space::Segment;
use crate::sqe::Sqe;
use crate::trace::Trace;
use crate::verdict::Verdict;
use crate::world::{Law, Open, World};

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// All that was seen.
    Whole,
    /// It may leave out what calls returned and what peers read: a step without a line of its own
    /// went as the model says.
    Partial,
}

/// What the model makes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whether it is allowed.
    pub verdict: Verdict,
    /// The rules that had a say in each observation, up to the one that was refused.
    pub said: Vec<BTreeSet<Rule>>,
    /// The requests that may still post something behind the last observation that was taken, each
    /// with the ranges of memory that are the kernel's until it did.
    pub open: Vec<(Open, Vec<Segment>)>,
    /// The user data of entries that no call has consumed, by their rings.
    pub unconsumed: Vec<(RingId, u64)>,
}

/// Judges `trace` as `check` does, and says what it makes of each observation.
pub fn account(program: &Program, profile: &Profile, trace: &Trace, record: Record) -> Account {
    let law = Law { partial: record == Record::Partial, ..Law::of(program, profile) };
    let mut judge = Judge::new(law, Some(Notes::new(program, record)));
    let verdict = match judge.walk(trace) {
        Err(verdict) => verdict,
        Ok(()) => judge.accept(),
    };
    let worlds = judge.frontier.worlds();
    let mut open: Vec<Open> = Vec::new();
    for (n, world) in worlds.iter().enumerate() {
        for request in world.open() {
            match open.iter_mut().find(|known| known.request == request.request) {
                Some(known) => join(known, request),
                // elsewhere it is done, so nothing more is owed for certain
                None => open.push(Open { owed: request.owed.filter(|_| n == 0), ..request }),
            }
        }
        open.iter_mut()
            .filter(|o| !world.state.requests.contains_key(&o.request))
            .for_each(|o| o.owed = None);
    }
    open.sort_by_key(|request| request.request);
    let notes = judge.notes.unwrap_or_else(|| Notes::new(program, record));
    let lent = |open: &Open| match notes.consumed.get(open.request.0 as usize) {
        Some(sqe) if open.lends => memory_of(sqe, &worlds[0]),
        _ => Vec::new(),
    };
    let open = open.into_iter().map(|request| {
        let lent = lent(&request);
        (request, lent)
    });
    let (mut verdict, total) = (verdict, notes.said.iter().flatten().copied());
    if let Verdict::Accepted { rules, .. } = &mut verdict {
        rules.extend(total);
    }
    let left = notes.queues.iter().enumerate();
    let unconsumed =
        left.flat_map(|(ring, queue)| queue.iter().map(move |sqe| (RingId(ring as u8), sqe.user_data)));
    Account { verdict, open: open.collect(), unconsumed: unconsumed.collect(), said: notes.said }
}

/// Two states of the same request: whatever either allows.
fn join(known: &mut Open, other: Open) {
    known.owed = known.owed.take().filter(|owed| Some(owed) == other.owed.as_ref());
    known.lends |= other.lends;
    known.announces |= other.announces;
    known.behind = known.behind.or(other.behind);
    known.phase = known.phase.min(other.phase);
    known.holds = if known.holds == other.holds { known.holds } else { crate::net::Holds::Maybe };
    known.usages.extend(other.usages);
    known.usages.sort_unstable();
    known.usages.dedup();
    match (&mut known.result, other.result) {
        (Some(known), Some(other)) => known.join(other),
        (known @ None, other) => *known = other,
        (Some(_), None) => {}
    }
}

/// The memory that a request names, as ranges of regions.
fn memory_of(sqe: &Sqe, world: &World<'_>) -> Vec<Segment> {
    let mut segments = Vec::new();
    let space = world.space();
    if let Prepared::Ready(Plan::Send(plan)) = prepare(sqe, world.law.profile, &space) {
        for (addr, len) in &plan.ranges {
            space.segments(*addr, *len, &mut segments);
        }
    }
    segments.retain(|segment| segment.region.is_some());
    segments
}

/// What is written down on the way.
pub(crate) struct Notes<'a> {
    pub(crate) record: Record,
    said: Vec<BTreeSet<Rule>>,
    /// Entries by ring that no call has consumed.
    queues: Vec<VecDeque<&'a Sqe>>,
    /// Entries in the order in which they became requests.
    consumed: Vec<&'a Sqe>,
}

impl<'a> Notes<'a> {
    fn new(program: &Program, record: Record) -> Notes<'a> {
        let queues = program.rings.iter().map(|_| VecDeque::new()).collect();
        Notes { record, said: Vec::new(), queues, consumed: Vec::new() }
    }

    /// A step was begun.
    pub(crate) fn began(&mut self, step: &'a Step, world: &World<'_>) {
        let ring = match step {
            Step::Submit { ring, .. } | Step::Queue { ring, .. } | Step::Fence { ring } => ring,
            Step::Enter(call) => &call.ring,
            _ => return,
        };
        let Some(queue) = self.queues.get_mut(usize::from(ring.0)) else { return };
        queue.extend(step.queued().flatten());
        while self.consumed.len() < world.state.next_id as usize {
            let Some(sqe) = queue.pop_front() else { break };
            self.consumed.push(sqe);
        }
    }

    /// An observation was taken.
    pub(crate) fn observed(&mut self, world: &World<'_>) {
        self.said.push(world.take_rules_hit());
    }
}
