//! Explaining received bytes: which requests' bytes a peer may have read, in which order.
//!
//! Bytes name their memory, not their request, and where one request's bytes end another's may begin
//! that are the same. So every place is tried at which another request may have taken over. It errs on
//! the side of refusing where zeros of two requests lie side by side: only the last few places are tried.

use std::collections::BTreeSet;

use crate::frontier::WIDTH_MAX;
use crate::memory::Generation;
use crate::prepare::{Plan, SendPlan};
use crate::program::SocketId;
use crate::request::{Phase, Request, RequestId};
use crate::rules::Rule;
use crate::space::Segment;
use crate::trace::{Received, Run};
use crate::world::{Decision, State, World};

/// The most pieces of one observation that are tried.
const STEPS_MAX: u32 = 20_000;
/// So many stamped bytes in a row name their memory; fewer may be those of another by accident.
const NAMING_BYTES: u64 = 8;

/// What explains received bytes.
pub(crate) struct Explained<'a> {
    /// The worlds after they were read.
    pub(crate) worlds: Vec<World<'a>>,
    /// The rule that the best other attempt broke.
    pub(crate) broken: Option<Rule>,
    /// More was possible than is tried.
    pub(crate) gave_up: bool,
}

/// Every way in which the writers of a stream explain received bytes.
pub(crate) fn explain<'a>(world: &World<'a>, received: &Received) -> Explained<'a> {
    // when a chain went on unseen seldom matters, so first it does so only where its bytes are needed
    let first = Search::run(world, received, false);
    if !first.worlds.is_empty() || first.gave_up { first } else { Search::run(world, received, true) }
}

/// How far received bytes are explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    run: usize,
    /// Bytes of that run.
    at: u64,
    /// Bytes of all runs.
    depth: u64,
}

struct Search<'r, 'a> {
    received: &'r Received,
    /// Whether chains may go on before their bytes are needed.
    eager: bool,
    found: Vec<World<'a>>,
    /// A world on the way of which nothing can be said.
    unclaimed: Option<World<'a>>,
    /// Where more than one way led on from.
    known: BTreeSet<(Place, State)>,
    broken: Option<Rule>,
    /// Bytes that the best attempt explained; its rule is the one that is named.
    deepest: u64,
    /// How many more pieces are tried before the search is given up.
    steps_left: u32,
}

impl<'a> Search<'_, 'a> {
    fn run(world: &World<'a>, received: &Received, eager: bool) -> Explained<'a> {
        let mut search = Search {
            received,
            eager,
            found: Vec::new(),
            unclaimed: None,
            known: BTreeSet::new(),
            broken: None,
            deepest: 0,
            steps_left: STEPS_MAX,
        };
        search.read(world.clone(), Place::default());
        let gave_up = search.steps_left == 0;
        if search.found.is_empty() && eager {
            search.found.extend(search.unclaimed);
        }
        Explained { worlds: search.found, broken: search.broken, gave_up }
    }

    fn read(&mut self, mut world: World<'a>, mut place: Place) {
        while self.found.len() <= WIDTH_MAX && self.steps_left > 0 {
            self.steps_left -= 1;
            if world.unclaimed().is_some() {
                self.unclaimed.get_or_insert(world);
                return;
            }
            let Some(run) = self.received.runs.get(place.run) else {
                if !self.found.iter().any(|known| known.state == world.state) {
                    self.found.push(world);
                }
                return;
            };
            if place.at == run.len_bytes() {
                place = Place { run: place.run + 1, at: 0, depth: place.depth };
                continue;
            }
            let ways = ways(&world, self.received.socket, run, place.at, self.eager);
            match ways[..] {
                [] => return self.blame(Rule::StreamNothingInvented, place),
                [way] => {
                    if let Err(rule) = world.after(way) {
                        return self.blame(rule, place);
                    }
                    place.go(way);
                }
                _ => {
                    if self.known.insert((place, world.state.clone())) {
                        ways.into_iter().for_each(|way| self.branch(&world, place, way));
                    }
                    return;
                }
            }
        }
    }

    fn branch(&mut self, world: &World<'a>, mut place: Place, way: Decision) {
        let mut next = world.clone();
        match next.after(way) {
            Ok(()) => {
                place.go(way);
                self.read(next, place);
            }
            Err(rule) if matches!(way, Decision::Deliver { .. }) => self.blame(rule, place),
            Err(_) => {}
        }
    }

    fn blame(&mut self, rule: Rule, place: Place) {
        if self.broken.is_none() || place.depth > self.deepest {
            (self.broken, self.deepest) = (Some(rule), place.depth);
        }
    }
}

impl Place {
    fn go(&mut self, way: Decision) {
        if let Decision::Deliver { len_bytes, .. } = way {
            self.at += len_bytes;
            self.depth += len_bytes;
        }
    }
}

/// What may come next of a request.
struct Start {
    request: RequestId,
    segment: Segment,
    /// It may take at most so much of the segment.
    most: u64,
    /// It was tried, so it can be read; otherwise it is queued in a chain.
    writes: bool,
}

/// The requests of which a peer of `socket` may read something, now or soon. All writers are among
/// them, not only those whose turn it is: the relation says which rule that breaks.
fn starts(world: &World<'_>, socket: SocketId) -> Vec<Start> {
    let writers = world.stream(socket).map_or(&[][..], |stream| &stream.writers);
    let mut all = Vec::with_capacity(writers.len());
    for writer in writers {
        let Some(segment) = writer.bytes_from(writer.read, u64::MAX).next() else { continue };
        let left = writer.accepted.1.saturating_sub(writer.read);
        let most = if left > 0 { left } else { u64::MAX };
        all.push(Start { request: writer.request, segment, most, writes: true });
    }
    for (id, request) in world.state.requests.iter() {
        let Some(Plan::Send(plan)) = request.plan.as_ref().filter(|_| request.phase == Phase::Queued) else {
            continue;
        };
        let mut segments = queued_segments(world, request, plan).into_iter();
        if let Some(segment) = segments.find(|s| s.len_bytes > 0) {
            all.push(Start { request: *id, segment, most: u64::MAX, writes: false });
        }
    }
    all
}

/// The ways on from `at` of `run`, the longest pieces first.
fn ways(world: &World<'_>, socket: SocketId, run: &Run, at: u64, eager: bool) -> Vec<Decision> {
    let starts = starts(world, socket);
    let mut ways = Vec::new();
    for (i, start) in starts.iter().enumerate() {
        let (matched, generation) = matches(world, &start.segment, run, at);
        let matched = matched.min(start.most);
        if matched == 0 {
            continue;
        }
        if !start.writes {
            ways.extend(world.hidden_towards(start.request, socket).into_iter().filter(|_| !eager));
            continue;
        }
        let mut lengths = vec![matched];
        for (_, other) in starts.iter().enumerate().filter(|(j, _)| *j != i) {
            takeovers(world, &other.segment, run, at, matched, &mut lengths);
        }
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        let request = start.request;
        ways.extend(lengths.into_iter().map(|len_bytes| Decision::Deliver {
            request,
            len_bytes,
            generation,
        }));
    }
    if eager {
        ways.extend(world.hidden(socket));
    }
    ways
}

/// The lengths below `matched` behind which the bytes could be those of `other`.
fn takeovers(world: &World<'_>, other: &Segment, run: &Run, at: u64, matched: u64, into: &mut Vec<u64>) {
    if let Run::Stamped { region, offset, .. } = run
        && other.region == Some(*region)
        && let Some(len) = other.offset.checked_sub(offset + at)
        && (1..matched).contains(&len)
    {
        into.push(len);
    }
    let last = matched.saturating_sub(NAMING_BYTES - 1).max(1);
    into.extend((last..matched).filter(|len| matches(world, other, run, at + len).0 > 0));
}

/// Explains received bytes where every piece is surely of the one writer whose turn it is; leaves the
/// world as it was otherwise.
pub(crate) fn read_plainly(world: &mut World<'_>, received: &Received) -> Option<()> {
    let mut next = world.clone();
    let is_alone = received.runs.len() == 1;
    for run in &received.runs {
        read_run(&mut next, received.socket, run, is_alone)?;
    }
    *world = next;
    Some(())
}

/// Reads a whole run; if it cannot, pieces of it may have been read.
///
/// Whoever surely has all the bytes that its segment asks for is read as far as that goes, if nobody else
/// whose turn it may be has such bytes. One that may have fewer is read only where it is alone and
/// nothing comes behind it.
fn read_run(world: &mut World<'_>, socket: SocketId, run: &Run, is_alone: bool) -> Option<()> {
    let is_queued = |request: &Request| request.phase == Phase::Queued;
    let any_queued = world.state.requests.values().any(is_queued);
    // one that is queued behind others may have sent the same
    let any_unseen = world.queued_on(socket).next().is_some();
    let mut at = 0;
    while at < run.len_bytes() {
        let left = run.len_bytes() - at;
        let (mut found, mut turns) = (None, 0);
        for writer in world.stream(socket)?.front() {
            turns += 1;
            let segment = writer.bytes_from(writer.read, left).next()?;
            let (matched, generation) = matches(world, &segment, run, at);
            if matched > 0 && found.is_some() {
                return None;
            }
            if matched > 0 {
                let wanted = segment.len_bytes.min(left);
                let exact = writer.accepted.0 == writer.accepted.1 && !writer.send.retries;
                found = Some((writer.request, wanted, generation, exact, matched >= wanted));
            }
        }
        let (request, len_bytes, generation, exact, whole) = found?;
        let plain = is_alone && turns == 1 && len_bytes == run.len_bytes() && !any_unseen;
        if !whole || !(plain || exact && !any_queued) {
            return None;
        }
        if !exact && others_take_over(world, socket, request, run) {
            return None;
        }
        world.after(Decision::Deliver { request, len_bytes, generation }).ok()?;
        at += len_bytes;
    }
    Some(())
}

/// Whether the bytes of a run that are of a request, which may have taken fewer, may from some place on be those of
/// another that comes behind it.
fn others_take_over(world: &World<'_>, socket: SocketId, request: RequestId, run: &Run) -> bool {
    let writers = world.stream(socket).map_or(&[][..], |stream| &stream.writers);
    let mut lengths = Vec::new();
    writers.iter().filter(|other| other.request != request).any(|other| {
        let first = other.bytes_from(other.read, u64::MAX).next();
        first.is_some_and(|segment| {
            takeovers(world, &segment, run, 0, run.len_bytes(), &mut lengths);
            !lengths.is_empty()
        })
    })
}

/// Takes bytes that left again, each piece of them from the one place in the stream that it can be of.
pub(crate) fn explain_again(world: &mut World<'_>, received: &Received) -> Result<(), Rule> {
    let socket = received.socket;
    for run in &received.runs {
        let mut at = 0;
        while at < run.len_bytes() {
            let Some((segment, _)) = world.missed(socket) else { return Err(Rule::StreamSentAgain) };
            let (len_bytes, generation) = matches(world, &segment, run, at);
            if len_bytes == 0 {
                return Err(Rule::StreamSentAgain);
            }
            world.after(Decision::SendAgain { socket, len_bytes, generation })?;
            at += len_bytes;
        }
    }
    Ok(())
}

/// The worlds in which a datagram that is on its way has the bytes that were received.
pub(crate) fn explain_datagram<'a>(world: &World<'a>, received: &Received) -> (Vec<World<'a>>, Option<Rule>) {
    let mut broken = Rule::DatagramBoundaries;
    let mut explained = datagrams(world, received, &mut broken);
    // its sender may be queued behind requests that have ended unseen
    for sender in queued_senders(world, received) {
        let mut open = vec![world.clone()];
        while let Some(world) = open.pop().filter(|_| explained.len() <= WIDTH_MAX) {
            for decision in world.hidden_towards(sender, received.socket) {
                let mut next = world.clone();
                if next.after(decision).is_err() {
                    continue;
                }
                if next.state.requests.get(&sender).is_some_and(|r| r.phase == Phase::Queued) {
                    open.push(next);
                } else if next.unclaimed().is_some() {
                    explained.push(next);
                } else {
                    explained.extend(datagrams(&next, received, &mut broken));
                }
            }
        }
    }
    (explained, Some(broken))
}

/// The requests that are queued behind others and send what was received.
fn queued_senders(world: &World<'_>, received: &Received) -> Vec<RequestId> {
    let total: u64 = received.runs.iter().map(Run::len_bytes).fold(0, u64::saturating_add);
    let queued = world.state.requests.iter().filter_map(|(id, request)| match &request.plan {
        Some(Plan::Send(plan)) if request.phase == Phase::Queued => Some((*id, request, plan)),
        _ => None,
    });
    let sends = queued.filter(|(_, request, plan)| {
        plan.len_bytes() == total && is_made_of(world, &queued_segments(world, request, plan), &received.runs)
    });
    sends.map(|(id, ..)| id).collect()
}

/// The bytes of a queued send, with what memory has held since its submission.
fn queued_segments(world: &World<'_>, request: &Request, plan: &SendPlan) -> Vec<Segment> {
    let mut segments = plan.segments(world.space());
    for segment in &mut segments {
        let born = segment.region.and_then(|r| request.born.as_ref()?.get(usize::from(r.0)));
        segment.oldest = born.copied().unwrap_or(segment.oldest);
    }
    segments
}

/// The worlds in which a datagram that is on its way is the one that was received.
fn datagrams<'a>(world: &World<'a>, received: &Received, broken: &mut Rule) -> Vec<World<'a>> {
    let socket = received.socket;
    let queue = world.datagrams(socket).map_or(&[][..], |queue| &queue.queue);
    let total: u64 = received.runs.iter().map(Run::len_bytes).fold(0, u64::saturating_add);
    let mut explained = Vec::new();
    for (index, datagram) in queue.iter().enumerate() {
        let most = world.fill().map_or(u64::MAX, |fill| fill.most);
        let segments = cut_off(&datagram.segments, most);
        if datagram.len_bytes.min(most) != total || !is_made_of(world, &segments, &received.runs) {
            continue;
        }
        let mut next = world.clone();
        match next.after(Decision::Datagram { socket, index }) {
            Ok(()) => explained.push(next),
            Err(rule) => *broken = rule,
        }
    }
    explained
}

/// The first `most` bytes of segments.
pub(crate) fn cut_off(segments: &[Segment], most: u64) -> Vec<Segment> {
    let mut left = most;
    let pieces = segments.iter().map(|segment| {
        let len_bytes = segment.len_bytes.min(left);
        left -= len_bytes;
        Segment { len_bytes, ..*segment }
    });
    pieces.filter(|piece| piece.len_bytes > 0).collect()
}

/// Whether runs have the bytes of segments, in contents that these allow.
fn is_made_of(world: &World<'_>, segments: &[Segment], runs: &[Run]) -> bool {
    let mut runs = runs.iter();
    let mut run = runs.next();
    let mut at = 0;
    for segment in segments {
        let mut done = 0;
        while done < segment.len_bytes {
            let Some(current) = run else { return false };
            let rest =
                Segment { offset: segment.offset + done, len_bytes: segment.len_bytes - done, ..*segment };
            let (n, generation) = matches(world, &rest, current, at);
            let allowed = segment.region.is_none() || (segment.oldest..=segment.newest).contains(&generation);
            if n == 0 || !allowed {
                return false;
            }
            done += n;
            at += n;
            if at == current.len_bytes() {
                run = runs.next();
                at = 0;
            }
        }
    }
    true
}

/// How many bytes of `run` from `at` on are those of `segment`, and in which generation.
fn matches(world: &World<'_>, segment: &Segment, run: &Run, at: u64) -> (u64, Generation) {
    let most = segment.len_bytes.min(run.len_bytes() - at);
    let Some(region) = segment.region else {
        let zeros = (0..most).take_while(|i| run.byte(&world.law.program.regions, at + i) == 0);
        return (zeros.count() as u64, Generation(0));
    };
    if let Run::Stamped { region: r, generation, offset, .. } = run
        && *r == region
        && offset + at == segment.offset
        // the last bytes of a run may be those of another generation, which happen to be the same
        && (segment.oldest..=segment.newest).contains(generation)
    {
        return (most, *generation);
    }
    let regions = &world.law.program.regions;
    let Some(memory) = regions.get(usize::from(region.0)) else { return (0, Generation(0)) };
    let newest = world.state.generations.get(usize::from(region.0)).copied().unwrap_or_default();
    let allowed = segment.oldest.0..=segment.newest.0;
    let count = |generation: u16| {
        let same = |i: &u64| {
            memory.byte(region, Generation(generation), segment.offset + i) == run.byte(regions, at + i)
        };
        (0..most).take_while(same).count() as u64
    };
    // allowed contents first; others only to name the rule that they break
    let others = (0..=newest.0).filter(|g| !allowed.contains(g));
    let mut best = (0, segment.newest);
    for generation in allowed.clone().chain(others) {
        let n = count(generation);
        if n > best.0 {
            best = (n, Generation(generation));
        }
    }
    best
}
