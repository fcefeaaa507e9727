//! Simulation: one run that the kernel may take, or all of them.

use std::collections::BTreeSet;
use std::fmt;
use std::mem::{size_of, size_of_val};

use crate::choices::Choices;
use crate::cqe::Res;
use crate::mutation::Mutation;
use crate::net::Writer;
use crate::profile::Profile;
use crate::program::{Program, SocketId, SocketKind};
use crate::request::{Request, RequestId};
use crate::trace::{Ending, Run, Seen, Trace, What};
use crate::walk::{Walk, Way};
use crate::world::{Decision, Law, Socket, State};

/// Room for so many observations at first, for as many pieces and ways on; small programs need no more.
const USUAL: usize = 16;

/// One run that the kernel of `profile` may take, as `choices` decides.
///
/// Total: a program that the model does not cover gives a trace that ends (`Ending::Cut`) where the
/// model has nothing more to say.
pub fn simulate(program: &Program, profile: &Profile, choices: &mut impl Choices) -> Trace {
    simulate_mutant(program, profile, None, choices)
}

/// As `simulate`, with a deliberate mistake; for tests.
#[doc(hidden)]
pub fn simulate_mutant(
    program: &Program,
    profile: &Profile,
    mutation: Option<Mutation>,
    choices: &mut impl Choices,
) -> Trace {
    let law = Law { mutation, ..Law::of(program, profile) };
    let mut walk = Walk::new(law);
    let mut ways = Vec::with_capacity(USUAL);
    walk.seen.reserve(USUAL);
    walk.runs.reserve(USUAL);
    while walk.step < program.steps.len() {
        walk.find_ways(&mut ways);
        if ways.is_empty() {
            return Trace { seen: walk.seen, end: Ending::Cut };
        }
        let way = ways[choices.pick(ways.len())];
        walk.take(way).expect("a way that was proposed can be taken");
    }
    Trace { seen: walk.seen, end: Ending::Complete }
}

/// States that an exploration keeps take no more than so much memory, by a rough count: what a peer reads in many pieces
/// is kept with each of the states on the way.
pub const BYTES_MAX: usize = 1 << 30;

/// Too many states to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// So many were walked.
    pub states: usize,
    /// Those that were kept took more than `BYTES_MAX`.
    pub fill_memory: bool,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} states", self.states)?;
        if self.fill_memory {
            write!(f, ", which would take more than {} MB", BYTES_MAX >> 20)?;
        }
        Ok(())
    }
}

/// What an exploration found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explored {
    /// Every trace, one for each outcome: completions of different requests that are seen in the same
    /// step count in any order as the same.
    pub traces: Vec<Trace>,
    /// States that were walked.
    pub states: usize,
    /// Why nothing is said of how some of them go on.
    pub unclaimed: BTreeSet<String>,
}

/// Every run that the kernel of `profile` may take, modulo the order of completions in a step.
///
/// Walks at most `states_max` states, design bound 10^6, and keeps no more of them than `BYTES_MAX` holds.
pub fn explore(program: &Program, profile: &Profile, states_max: usize) -> Result<Explored, TooMany> {
    explore_mutant(program, profile, None, states_max)
}

/// As `explore`, with a deliberate mistake; for tests.
#[doc(hidden)]
pub fn explore_mutant(
    program: &Program,
    profile: &Profile,
    mutation: Option<Mutation>,
    states_max: usize,
) -> Result<Explored, TooMany> {
    explore_within(Law { mutation, ..Law::of(program, profile) }, states_max, BYTES_MAX)
}

/// As `explore`, with a bound of its own for memory; for tests.
#[doc(hidden)]
pub fn explore_within(law: Law<'_>, states_max: usize, bytes_max: usize) -> Result<Explored, TooMany> {
    let program = law.program;
    let mut known: BTreeSet<(usize, State, Vec<Seen>)> = BTreeSet::new();
    let mut outcomes: BTreeSet<Vec<Seen>> = BTreeSet::new();
    let mut found = Explored::default();
    let mut open = vec![Walk::new(law)];
    let (mut kept, mut waiting) = (0, bytes_of_walk(&open[0]));
    while let Some(walk) = open.pop() {
        waiting -= bytes_of_walk(&walk);
        let ways = if walk.step < program.steps.len() { walk.ways() } else { Vec::new() };
        if ways.is_empty() {
            let cut = walk.step < program.steps.len();
            found.unclaimed.extend(walk.world.unclaimed().filter(|_| cut).map(str::to_string));
            if outcomes.insert(modulo_order(&walk.seen)) {
                kept += 2 * bytes_of_seen(&walk.seen);
                let end = if cut { Ending::Cut } else { Ending::Complete };
                found.traces.push(Trace { seen: walk.seen, end });
            }
            continue;
        }
        for way in ways.into_iter().filter(|way| !walk.lengthens(*way)) {
            let mut next = walk.clone();
            if next.take(way).is_err() {
                continue;
            }
            // where bytes are being read the state does not hold what was read
            let is_reading = matches!(way, Way::Take(Decision::Deliver { .. }));
            if !is_reading {
                let key = (next.step, next.world.state.clone(), modulo_order(&next.seen));
                if !known.insert(key) {
                    continue;
                }
                kept += bytes_of_state(&next.world.state) + bytes_of_seen(&next.seen);
            }
            found.states += 1;
            waiting += bytes_of_walk(&next);
            let fill_memory = kept + waiting > bytes_max;
            if found.states > states_max || fill_memory {
                return Err(TooMany { states: found.states - 1, fill_memory });
            }
            open.push(next);
        }
    }
    Ok(found)
}

/// Whether some simulation gives these observations, one for one; for tests. Walks at most `states_max` states.
#[doc(hidden)]
pub fn is_simulated(
    program: &Program,
    profile: &Profile,
    wanted: &[Seen],
    states_max: usize,
) -> Result<bool, TooMany> {
    let wanted = &as_read_at_once(program, wanted)[..];
    let mut known = BTreeSet::new();
    let mut walk = Walk::new(Law::of(program, profile));
    walk.eager = true;
    let mut open = vec![walk];
    let mut states = 0;
    while let Some(walk) = open.pop() {
        if walk.step == program.steps.len() {
            if walk.seen.len() == wanted.len() {
                return Ok(true);
            }
            continue;
        }
        // a long piece is read as one, or broken off once
        for way in walk.ways().into_iter().filter(|way| !walk.lengthens_much(*way)) {
            let mut next = walk.clone();
            if next.take(as_much_as_wanted(&walk, wanted, way)).is_err()
                || !is_on_the_way(program, wanted, &next, walk.seen.len())
            {
                continue;
            }
            let key = (next.step, next.world.state.clone(), next.seen.len(), next.runs.clone());
            if !known.insert(key) {
                continue;
            }
            states += 1;
            if states > states_max {
                return Err(TooMany { states: states_max, fill_memory: false });
            }
            open.push(next);
        }
    }
    Ok(false)
}

/// The observations with reads of a stream that follow each other as one: that they were several is nobody's
/// choice.
fn as_read_at_once(program: &Program, seen: &[Seen]) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    for one in seen {
        let is_stream = |socket: SocketId| {
            let kind = program.sockets.get(usize::from(socket.0)).map(|setup| setup.kind);
            !matches!(kind, Some(SocketKind::Udp4 | SocketKind::Udp6))
        };
        match (all.last_mut(), &one.what) {
            (Some(Seen { step, what: What::Received(before) }), What::Received(now))
                if *step == one.step && before.socket == now.socket && is_stream(now.socket) =>
            {
                before.runs.extend(now.runs.iter().cloned());
            }
            _ => all.push(one.clone()),
        }
    }
    all
}

/// The way with no more bytes than are still to be read, since how many a peer reads at once is not the kernel's
/// choice; and with the count that is wanted, where the one that is proposed stands for a range.
fn as_much_as_wanted(walk: &Walk<'_>, wanted: &[Seen], way: Way) -> Way {
    match (way, wanted.get(walk.seen.len()).map(|next| &next.what)) {
        (Way::Take(Decision::Deliver { request, len_bytes, generation }), Some(What::Received(next))) => {
            let all: u64 = next.runs.iter().map(Run::len_bytes).sum();
            let read: u64 = walk.runs.iter().map(|(_, run)| run.len_bytes()).sum();
            let len_bytes = len_bytes.min(all.saturating_sub(read)).max(1);
            Way::Take(Decision::Deliver { request, len_bytes, generation })
        }
        (Way::Take(Decision::Complete { request, res: Res::Bytes(_), more }), Some(What::Cqe(next))) => {
            let of = walk.world.request(request);
            let count = u64::try_from(next.cqe.res).ok();
            let mine = (of.ring, of.user_data) == (next.ring, next.cqe.user_data);
            let inside = |n: &u64| of.may.bytes.is_some_and(|c| (c.least..=c.most).contains(n));
            match count.filter(|n| mine && inside(n)) {
                Some(n) => Way::Take(Decision::Complete { request, res: Res::Bytes(n), more }),
                None => way,
            }
        }
        _ => way,
    }
}

/// Whether `wanted` begins with what a walk has seen, of which the first `known` are known to fit.
fn is_on_the_way(program: &Program, wanted: &[Seen], walk: &Walk<'_>, known: usize) -> bool {
    // the same bytes can be written in several ways
    let bytes = |runs: &mut dyn Iterator<Item = &Run>| -> Vec<u8> {
        let of = |run: &Run| (0..run.len_bytes()).map(|i| run.byte(&program.regions, i)).collect::<Vec<_>>();
        runs.flat_map(of).collect()
    };
    let same = |a: &Seen, b: &Seen| match (&a.what, &b.what) {
        (What::Received(x), What::Received(y)) => {
            let len = |runs: &[Run]| runs.iter().map(Run::len_bytes).sum::<u64>();
            let same_runs = || {
                x.runs == y.runs
                    || len(&x.runs) == len(&y.runs) && bytes(&mut x.runs.iter()) == bytes(&mut y.runs.iter())
            };
            a.step == b.step && x.socket == y.socket && same_runs()
        }
        _ => a == b,
    };
    if walk.seen.len() > wanted.len() || !(known..walk.seen.len()).all(|i| same(&walk.seen[i], &wanted[i])) {
        return false;
    }
    let Some((socket, _)) = walk.runs.first() else { return true };
    match wanted.get(walk.seen.len()).map(|next| (next.step as usize, &next.what)) {
        Some((step, What::Received(next) | What::SentAgain(next)))
            if step == walk.step && next.socket == *socket =>
        {
            let read = bytes(&mut walk.runs.iter().map(|(_, run)| run));
            bytes(&mut next.runs.iter()).starts_with(&read)
        }
        _ => false,
    }
}

/// About so much memory holds a walk.
fn bytes_of_walk(walk: &Walk<'_>) -> usize {
    let runs: usize = walk.runs.iter().map(|(socket, run)| size_of_val(socket) + bytes_of_run(run)).sum();
    size_of::<Walk<'_>>() + bytes_of_state(&walk.world.state) + bytes_of_seen(&walk.seen) + runs
}

/// About so much memory holds a state. Of its requests, all but one are taken as shared with the state before.
fn bytes_of_state(state: &State) -> usize {
    let on_socket = |socket: &Socket| match socket {
        Socket::Stream(stream) => {
            let of = |w: &Writer| {
                size_of_val(w) + size_of_val(&w.send.segments[..]) + size_of_val(&w.unordered[..])
            };
            stream.writers.iter().map(of).sum()
        }
        Socket::Datagrams(datagrams) => size_of_val(&datagrams.queue[..]),
        Socket::File { .. } => 0,
    };
    let sockets: usize = state.sockets.iter().map(|socket| size_of_val(socket) + on_socket(socket)).sum();
    let requests = state.requests.len() * size_of::<(RequestId, usize)>() + size_of::<Request>();
    size_of_val(state) + size_of_val(&state.rings[..]) + sockets + requests
}

fn bytes_of_seen(seen: &[Seen]) -> usize {
    let runs = |one: &Seen| match &one.what {
        What::Received(received) | What::SentAgain(received) => received.runs.iter().map(bytes_of_run).sum(),
        _ => 0,
    };
    size_of_val(seen) + seen.iter().map(runs).sum::<usize>()
}

fn bytes_of_run(run: &Run) -> usize {
    match run {
        Run::Bytes(bytes) => size_of_val(run) + bytes.0.len(),
        Run::Stamped { .. } => size_of_val(run),
    }
}

/// The observations with completions inside a step sorted by ring and user data; those of one
/// request keep their order.
fn modulo_order(seen: &[Seen]) -> Vec<Seen> {
    let mut sorted = seen.to_vec();
    let mut from = 0;
    while from < sorted.len() {
        let step = sorted[from].step;
        let is_cqe = |s: &Seen| s.step == step && matches!(s.what, What::Cqe(_));
        let to = from + sorted[from..].iter().take_while(|s| is_cqe(s)).count();
        sorted[from..to].sort_by_key(|s| match s.what {
            What::Cqe(ref c) => (c.ring, c.cqe.user_data),
            _ => unreachable!("only completions were taken"),
        });
        from = to.max(from + 1);
    }
    sorted
}
