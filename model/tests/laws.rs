//! Law *self*: every simulated trace is accepted. Law *tight*: for tiny programs the accepted traces
//! are exactly the simulated ones.

mod programs;

use std::collections::BTreeSet;

use uringspec_model::abi::{op, send_flag, sqe_flag};
use uringspec_model::check::check;
use uringspec_model::choices::{Exhaustive, Seeded};
use uringspec_model::cqe::Cqe;
use uringspec_model::memory::{Generation, HexBytes, RegionId};
use uringspec_model::profile::Profile;
use uringspec_model::program::{
    Amount, End, Lane, Program, RingId, SocketId, SocketKind, SocketSetup, Step, fd_of,
};
use uringspec_model::simulate::{explore, explore_within, simulate};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Ending, Received, RingCqe, Run, Seen, Trace, What};
use uringspec_model::world::Law;

#[test]
fn every_simulated_trace_is_accepted() {
    let profile = Profile::v6_18();
    for (name, program) in programs::tiny() {
        for seed in 0..300 {
            let trace = simulate(&program, &profile, &mut Seeded::new(seed));
            let verdict = check(&program, &profile, &trace);
            assert!(
                verdict.is_accepted(),
                "{name}, seed {seed}: {verdict:?}\n{}",
                programs::show(&program, &trace)
            );
        }
        let all = explore(&program, &profile, 1_000_000).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        println!("{name}: {} outcomes, {} states", all.traces.len(), all.states);
        for trace in &all.traces {
            let verdict = check(&program, &profile, trace);
            assert!(verdict.is_accepted(), "{name}: {verdict:?}\n{}", programs::show(&program, trace));
        }
    }
}

/// Every observation that could be imagined of a tiny program in `step`, sense or nonsense.
fn imaginable(program: &Program, step: usize) -> Vec<What> {
    let mut all = Vec::new();
    match &program.steps[step] {
        Step::Submit { sqes, .. } => all.extend((-22..=sqes.len() as i64 + 2).map(What::Returned)),
        Step::Register { .. } => all.extend((-22..=3).map(What::Returned)),
        Step::Reap { .. } | Step::Fence { .. } | Step::Peek { .. } => {
            all.push(What::GaveUp);
            all.extend([true, false].map(|set| What::Overflow { ring: RingId(0), set }));
            let results =
                [-125, -114, -104, -95, -88, -32, -22, -14, -12, -11, -9, -4, -2, 0, 1, 2, 3, 4, i32::MIN];
            for user_data in 1..=5 {
                for (res, flags) in results.iter().flat_map(|r| [0, 2, 8, 10].map(|f| (*r, f))) {
                    all.push(What::Cqe(RingCqe { ring: RingId(0), cqe: Cqe { user_data, res, flags } }));
                }
            }
        }
        Step::Drain { .. } => {
            let mut runs = Vec::new();
            for (region, generation) in [(0, 0), (0, 1), (1, 0)] {
                for (offset, len_bytes) in [(0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (2, 1)] {
                    let (region, generation) = (RegionId(region), Generation(generation));
                    runs.push(Run::Stamped { region, generation, offset, len_bytes });
                }
            }
            all.push(What::Received(Received { socket: SocketId(0), runs: Vec::new() }));
            let received = |runs| What::Received(Received { socket: SocketId(0), runs });
            for first in &runs {
                all.push(received(vec![first.clone()]));
                all.extend(runs.iter().map(|second| received(vec![first.clone(), second.clone()])));
            }
        }
        _ => {}
    }
    all
}

/// Adds every way on from `seen` that is accepted; completes those that end well.
fn accepted(program: &Program, seen: &[Seen], into: &mut BTreeSet<Vec<Seen>>) {
    let profile = Profile::v6_18();
    let whole = Trace { seen: seen.to_vec(), end: Ending::Complete };
    if check(program, &profile, &whole).is_accepted() {
        into.insert(in_bytes(program, whole.seen));
    }
    let from = seen.last().map_or(0, |s| s.step as usize);
    for step in from..program.steps.len() {
        for what in imaginable(program, step) {
            let last = seen.last().map(|s| (s.step as usize == step, &s.what));
            let is_stream = matches!(program.sockets[0].kind, SocketKind::Tcp4 | SocketKind::UnixStream);
            let again = matches!((&what, last), (What::Received(_), Some((true, What::Received(_)))));
            let empty = matches!(&what, What::Received(r) if r.runs.is_empty());
            // reads of a stream are written down as one
            let twice = is_stream && (again || empty);
            let after_end = matches!(last, Some((true, What::GaveUp)));
            if twice || after_end || joins(&what) {
                continue;
            }
            let mut next = seen.to_vec();
            next.push(Seen { step: step as u32, what });
            let cut = Trace { seen: next, end: Ending::Cut };
            if check(program, &profile, &cut).is_accepted() {
                accepted(program, &cut.seen, into);
            }
        }
    }
}

/// The same observations with received bytes as bytes: both ways of writing them mean the same.
fn in_bytes(program: &Program, mut seen: Vec<Seen>) -> Vec<Seen> {
    for one in &mut seen {
        if let What::Received(received) = &mut one.what {
            let bytes =
                |run: &Run| (0..run.len_bytes()).map(|i| run.byte(&program.regions, i)).collect::<Vec<_>>();
            received.runs = vec![Run::Bytes(HexBytes(received.runs.iter().flat_map(bytes).collect()))];
        }
    }
    seen
}

/// Whether two runs are one, written as two.
fn joins(what: &What) -> bool {
    let What::Received(Received { runs, .. }) = what else { return false };
    matches!(&runs[..], [
        Run::Stamped { region: a, generation: b, offset, len_bytes },
        Run::Stamped { region: c, generation: d, offset: next, .. },
    ] if (a, b, offset + len_bytes) == (c, d, *next))
}

#[test]
fn accepted_traces_of_tiny_programs_are_the_simulated_ones() {
    let profile = Profile::v6_18();
    for (name, program) in programs::tiny() {
        let mut simulated = BTreeSet::new();
        let mut every = Exhaustive::default();
        while let Some(mut run) = every.next_run() {
            simulated.insert(in_bytes(&program, simulate(&program, &profile, &mut run).seen));
        }
        let mut allowed = BTreeSet::new();
        accepted(&program, &[], &mut allowed);
        let show =
            |seen: &Vec<Seen>| programs::show(&program, &Trace { seen: seen.clone(), end: Ending::Complete });
        if let Some(seen) = allowed.difference(&simulated).next() {
            panic!("{name}: accepted and never simulated\n{}", show(seen));
        }
        if let Some(seen) = simulated.difference(&allowed).next() {
            panic!("{name}: simulated and not accepted\n{}", show(seen));
        }
        println!("{name}: {} traces", allowed.len());
    }
}

#[test]
fn an_exploration_that_would_fill_memory_is_given_up() {
    use programs::{program, submit, wait_all, zc};
    let profile = Profile::v6_18();
    // two sends that both wait for room are read in turns, in pieces of any length
    let sends = [1, 2].map(|user_data| Sqe { flags: sqe_flag::ASYNC, ..wait_all(zc(user_data, 0, 4000)) });
    let meant = program(Lane::Gate, vec![submit(sends), Step::Settle]);
    let given_up = explore_within(Law::of(&meant, &profile), 1_000_000, 1 << 16).unwrap_err();
    assert!(given_up.fill_memory, "{given_up:?}");
    assert!(given_up.to_string().ends_with(" states, which would take more than 1024 MB"), "{given_up}");
    let all = explore_within(Law::of(&meant, &profile), 100, usize::MAX).unwrap_err();
    assert_eq!(all.to_string(), "more than 100 states");
}

/// A send of the first `len` bytes of region 0 on a socket.
fn on_socket(socket: u16, user_data: u64, len: u32) -> Sqe {
    Sqe { fd: fd_of(SocketId(socket), End::Near), ..programs::send(op::SEND, user_data, 0, len) }
}

#[test]
fn traces_of_several_sockets_and_declared_peers_are_accepted() {
    let profile = Profile::v6_18();
    let ack = |n| Step::Ack { socket: SocketId(0), amount: Amount::Bytes(n) };
    let acks = programs::program(Lane::RepairTcp, vec![programs::submit([on_socket(0, 1, 1)]), ack(8)]);
    let first = Sqe { ioprio: send_flag::POLL_FIRST, ..on_socket(1, 1, 3) };
    let chain = [first, programs::linked(programs::cancel(2, 1)), on_socket(0, 3, 2)];
    let mut sockets = programs::program(Lane::GateFull, vec![programs::submit(chain), Step::Settle]);
    let udp = SocketSetup { kind: SocketKind::Udp4, lane: Lane::Loopback, ..sockets.sockets[0].clone() };
    sockets.sockets.push(udp);
    for (name, program) in [("ack of more than was sent", acks), ("datagrams and streams", sockets)] {
        for seed in 0..1000 {
            let trace = simulate(&program, &profile, &mut Seeded::new(seed));
            let verdict = check(&program, &profile, &trace);
            let shown = programs::show(&program, &trace);
            assert!(verdict.is_accepted(), "{name}, seed {seed}: {verdict:?}\n{shown}");
        }
    }
}
