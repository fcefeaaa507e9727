//! The set of worlds that still explain a trace.
//!
//! Almost always there is one, and it is changed in place. Several arise where an observation has
//! more than one explanation: requests with the same user data, bytes that two requests could have
//! sent. More than `WIDTH_MAX` are not followed: the answer is then that nothing is claimed.

use crate::cqe::{Completion, Cqe};
use crate::memory::Generation;
use crate::program::{Program, RingId, SocketId, Step};
use crate::request::RequestId;
use crate::rules::Rule;
use crate::space::Segment;
use crate::trace::{Received, Run, What};
use crate::world::{Decision, Law, World};

/// The most worlds that are followed.
pub const WIDTH_MAX: usize = 64;

/// The most pieces of one observation that are tried.
const STEPS_MAX: u32 = 20_000;

/// The worlds that explain what was seen so far; never empty.
pub struct Frontier<'a> {
    law: Law<'a>,
    worlds: Vec<World<'a>>,
    /// More worlds than are followed explained it.
    pub too_wide: bool,
}

impl<'a> Frontier<'a> {
    /// Before the first step.
    pub fn new(law: Law<'a>) -> Frontier<'a> {
        Frontier { law, worlds: vec![World::new(law)], too_wide: false }
    }

    /// The worlds.
    pub fn worlds(&self) -> &[World<'a>] {
        &self.worlds
    }

    /// Begins a step in every world.
    pub fn begin(&mut self, step: &Step) {
        self.worlds.iter_mut().for_each(|world| world.begin(step));
    }

    /// Ends a step; the rule of the last world where none can.
    pub fn finish(&mut self, step: &Step) -> Result<(), Rule> {
        self.keep(|world| world.finish(step))
    }

    /// Ends a step whose patience ran out.
    pub fn finish_in_vain(&mut self) {
        self.worlds.iter_mut().for_each(World::finish_in_vain);
    }

    /// Keeps the worlds that explain `what`, or names the rule that it breaks in the last of them.
    pub fn observe(&mut self, what: &What) -> Result<(), Rule> {
        match what {
            What::Room(report) => {
                self.worlds.iter_mut().for_each(|world| world.room(*report));
                Ok(())
            }
            What::Returned(value) => self.keep(|world| world.after(Decision::Return(*value))),
            What::Cqe(seen) => self.completion(seen.ring, seen.cqe),
            What::Received(received) => self.received(received),
            What::PeerEnded { socket, how } => self.keep(|world| world.peer_ends(*socket, *how)),
            What::GaveUp => Ok(()),
        }
    }

    /// Changes each world in place and keeps those where that went well.
    fn keep(&mut self, mut change: impl FnMut(&mut World<'a>) -> Result<(), Rule>) -> Result<(), Rule> {
        if let [world] = &mut self.worlds[..] {
            return change(world);
        }
        let before = self.worlds.clone();
        let mut broken = None;
        self.worlds.retain_mut(|world| match change(world) {
            Ok(()) => true,
            Err(rule) => {
                broken = Some(rule);
                false
            }
        });
        match broken {
            Some(rule) if self.worlds.is_empty() => {
                self.worlds = before;
                Err(rule)
            }
            _ => Ok(()),
        }
    }

    fn completion(&mut self, ring: RingId, cqe: Cqe) -> Result<(), Rule> {
        let Some(completion) = cqe.completion() else {
            return self.worlds[0].refuse(Rule::CqeMakesSense);
        };
        let decide = |request: RequestId| match completion {
            Completion::Result { res, more } => Decision::Complete { request, res, more },
            Completion::Notification(usage) => Decision::Notify { request, usage },
        };
        if let [world] = &mut self.worlds[..] {
            let mut candidates = world.requests_with(ring, cqe.user_data);
            let first = candidates.next();
            if let (Some(request), None) = (first, candidates.next()) {
                drop(candidates);
                return world.after(decide(request));
            }
        }
        let program = self.law.program;
        self.branch(|world| {
            let candidates: Vec<_> = world.requests_with(ring, cqe.user_data).collect();
            if candidates.is_empty() {
                let rule = nobody(program, ring, cqe.user_data);
                return (world.refuse(rule).map(|()| world.clone()).into_iter().collect(), Some(rule));
            }
            // those that owe their notification come first, so the rule named is the closest one
            let mut explained = Vec::new();
            let mut broken = None;
            for request in candidates {
                let mut next = world.clone();
                match next.after(decide(request)) {
                    Ok(()) => explained.push(next),
                    Err(rule) => broken = Some(rule),
                }
            }
            (explained, broken)
        })
    }

    /// Replaces each world by those that explain something.
    fn branch(&mut self, explain: impl Fn(&World<'a>) -> (Vec<World<'a>>, Option<Rule>)) -> Result<(), Rule> {
        let mut survivors: Vec<World<'a>> = Vec::new();
        let mut broken = None;
        for world in &self.worlds {
            let (explained, rule) = explain(world);
            broken = rule.or(broken);
            for next in explained {
                if !survivors.iter().any(|known| known.state == next.state) {
                    survivors.push(next);
                }
            }
        }
        if survivors.is_empty() {
            return Err(broken.unwrap_or(Rule::StreamNothingInvented));
        }
        if survivors.len() > WIDTH_MAX {
            self.too_wide = true;
            survivors.truncate(WIDTH_MAX);
        }
        self.worlds = survivors;
        Ok(())
    }

    fn received(&mut self, received: &Received) -> Result<(), Rule> {
        if self.worlds[0].datagrams(received.socket).is_some() {
            return self.branch(|world| explain_datagram(world, received));
        }
        if let [world] = &mut self.worlds[..]
            && let Some(()) = read_plainly(world, received)
        {
            return Ok(());
        }
        let exhausted = std::cell::Cell::new(false);
        let result = self.branch(|world| {
            let mut search =
                Search { received, found: Vec::new(), broken: None, deepest: 0, steps_left: STEPS_MAX };
            search.read(world.clone(), 0, 0, 0);
            exhausted.set(exhausted.get() || search.steps_left == 0);
            (search.found, search.broken)
        });
        if exhausted.get() {
            self.too_wide = true;
            return Ok(());
        }
        result
    }
}

/// The rule that a completion nobody waits for breaks.
fn nobody(program: &Program, ring: RingId, user_data: u64) -> Rule {
    let asked = program.steps.iter().any(|step| match step {
        Step::Submit { ring: r, sqes } => *r == ring && sqes.iter().any(|s| s.user_data == user_data),
        _ => false,
    });
    if asked { Rule::RetiredIsSilent } else { Rule::NobodyAsked }
}

/// Explains received bytes where every piece has just one possible writer; leaves the world as it
/// was otherwise.
fn read_plainly(world: &mut World<'_>, received: &Received) -> Option<()> {
    let [run] = &received.runs[..] else { return None };
    let mut front = world.stream(received.socket)?.front();
    let writer = front.next()?;
    if front.next().is_some() {
        return None;
    }
    let (request, len) = (writer.request, run.len_bytes());
    let segment = writer.bytes_from(writer.read, len).next()?;
    let (matched, generation) = matches(world, &segment, run, 0);
    drop(front);
    if matched < len || matched == 0 {
        return None;
    }
    world.after(Decision::Deliver { request, len_bytes: len, generation }).ok()
}

/// The worlds in which a datagram that is on its way has the bytes that were received.
fn explain_datagram<'a>(world: &World<'a>, received: &Received) -> (Vec<World<'a>>, Option<Rule>) {
    let socket = received.socket;
    let queue = world.datagrams(socket).map_or(&[][..], |queue| &queue.queue);
    let total: u64 = received.runs.iter().map(Run::len_bytes).fold(0, u64::saturating_add);
    let mut explained = Vec::new();
    let mut broken = Rule::DatagramBoundaries;
    for (index, datagram) in queue.iter().enumerate() {
        if datagram.len_bytes != total || !is_made_of(world, &datagram.segments, &received.runs) {
            continue;
        }
        let mut next = world.clone();
        match next.after(Decision::Datagram { socket, index }) {
            Ok(()) => explained.push(next),
            Err(rule) => broken = rule,
        }
    }
    (explained, Some(broken))
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

/// Looks for every way in which the writers of a stream explain received bytes.
struct Search<'r, 'a> {
    received: &'r Received,
    found: Vec<World<'a>>,
    broken: Option<Rule>,
    /// Bytes that the best attempt explained; its rule is the one that is named.
    deepest: u64,
    /// How many more pieces are tried before the search is given up.
    steps_left: u32,
}

impl<'a> Search<'_, 'a> {
    fn read(&mut self, world: World<'a>, run: usize, at: u64, depth: u64) {
        if self.found.len() > WIDTH_MAX || self.steps_left == 0 {
            return;
        }
        self.steps_left -= 1;
        let Some(current) = self.received.runs.get(run) else {
            if !self.found.iter().any(|known| known.state == world.state) {
                self.found.push(world);
            }
            return;
        };
        if at == current.len_bytes() {
            return self.read(world, run + 1, 0, depth);
        }
        let socket = self.received.socket;
        let candidates = candidates(&world, socket, current, at);
        let ambiguous = candidates.len() > 1;
        if candidates.is_empty() {
            self.blame(Rule::StreamNothingInvented, depth);
        }
        for (request, matched, generation) in candidates {
            // another writer may take over after any byte; the longest piece is tried first
            let lengths =
                if ambiguous && matched <= 8 { (1..=matched).rev().collect() } else { vec![matched] };
            for len_bytes in lengths {
                let mut next = world.clone();
                match next.after(Decision::Deliver { request, len_bytes, generation }) {
                    Ok(()) => self.read(next, run, at + len_bytes, depth + len_bytes),
                    Err(rule) => self.blame(rule, depth),
                }
            }
        }
        for decision in world.hidden(socket) {
            let mut next = world.clone();
            if next.after(decision).is_ok() {
                self.read(next, run, at, depth);
            }
        }
    }

    fn blame(&mut self, rule: Rule, depth: u64) {
        if self.broken.is_none() || depth > self.deepest {
            (self.broken, self.deepest) = (Some(rule), depth);
        }
    }
}

/// The requests that could have sent the bytes of `run` from `at` on: (request, bytes, contents).
fn candidates(world: &World<'_>, socket: SocketId, run: &Run, at: u64) -> Vec<(RequestId, u64, Generation)> {
    let Some(stream) = world.stream(socket) else { return Vec::new() };
    // all writers, not only those whose turn it is: the relation says which rule that breaks
    let pieces = stream.writers.iter().filter_map(|writer| {
        let segment = writer.bytes_from(writer.read, u64::MAX).next()?;
        let (matched, generation) = matches(world, &segment, run, at);
        let possible = if writer.accepted.1 > writer.read {
            matched.min(writer.accepted.1 - writer.read)
        } else {
            matched
        };
        (possible > 0).then_some((writer.request, possible, generation))
    });
    pieces.collect()
}
