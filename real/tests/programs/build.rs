//! Short words for programs and traces.

use uringspec_model::abi::op;
use uringspec_model::cqe::{Completion, Cqe};
use uringspec_model::memory::{Contents, Generation, Protection, Region, RegionId, WINDOW_BASE};
use uringspec_model::program::{
    Amount, End, Lane, Program, RingId, RingSetup, SocketId, SocketKind, SocketSetup, SocketState, Step,
    Until, fd_of,
};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Ending, Run, Trace, What};
use uringspec_real::{Options, RunError, Worker, WorkerCommand};

pub(crate) const A: SocketId = SocketId(0);
pub(crate) const RING: RingId = RingId(0);

/// Where region `index` begins: each has 16 MB to itself.
pub(crate) fn at(index: u64) -> u64 {
    WINDOW_BASE + (index << 24)
}

pub(crate) fn options() -> Options {
    Options::new(WorkerCommand::current_exe(&["worker"]).expect("a running test has a path"))
}

pub(crate) fn worker() -> Worker {
    Worker::new(options())
}

pub(crate) fn socket(kind: SocketKind, lane: Lane) -> SocketSetup {
    SocketSetup { kind, lane, state: SocketState::Connected, sndbuf_bytes: None, rcvbuf_bytes: None }
}

pub(crate) fn region(index: u64, len_bytes: u64) -> Region {
    Region {
        name: format!("R{index}"),
        addr: at(index),
        len_bytes,
        protection: Protection::ReadWrite,
        contents: Contents::Stamped,
    }
}

/// One ring, one socket, one stamped region of 1 MB.
pub(crate) fn program(kind: SocketKind, lane: Lane, steps: Vec<Step>) -> Program {
    Program {
        rings: vec![RingSetup { entries: 64, ..RingSetup::default() }],
        sockets: vec![socket(kind, lane)],
        regions: vec![region(0, 1 << 20)],
        steps,
        ..Program::default()
    }
}

pub(crate) fn send(user_data: u64, addr: u64, len: u32) -> Sqe {
    Sqe { opcode: op::SEND, fd: fd_of(A, End::Near), addr, len, user_data, ..Sqe::default() }
}

pub(crate) fn send_zc(user_data: u64, addr: u64, len: u32) -> Sqe {
    Sqe { opcode: op::SEND_ZC, ..send(user_data, addr, len) }
}

pub(crate) fn submit(sqes: impl Into<Vec<Sqe>>) -> Step {
    Step::Submit { ring: RING, sqes: sqes.into() }
}

pub(crate) fn settled() -> Step {
    Step::Reap { ring: RING, until: Until::Settled }
}

pub(crate) fn now() -> Step {
    Step::Reap { ring: RING, until: Until::Now }
}

pub(crate) fn drain() -> Step {
    Step::Drain { socket: A, amount: Amount::Everything }
}

/// Runs it, or says why not and returns nothing.
pub(crate) fn run(program: &Program) -> Option<Trace> {
    run_on(&mut worker(), program)
}

/// The same on a worker that is kept.
#[track_caller]
pub(crate) fn run_on(worker: &mut Worker, program: &Program) -> Option<Trace> {
    match worker.run(program) {
        Ok(trace) => {
            assert_eq!(trace.end, Ending::Complete);
            Some(trace)
        }
        Err(RunError::Skip(skip)) => {
            eprintln!("skipped: {skip}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// What was seen, a line each: `step: what`.
pub(crate) fn lines(trace: &Trace) -> Vec<String> {
    trace.seen.iter().map(|seen| format!("{}: {}", seen.step, words(&seen.what))).collect()
}

fn words(what: &What) -> String {
    match what {
        What::Room(room) if room.full => "full".into(),
        What::Room(_) => "room".into(),
        What::Returned(n) => format!("returned {n}"),
        What::Overflow { set, .. } => format!("overflow {set}"),
        What::Words(words) => format!("says {} {} {}", words.flags, words.dropped, words.queued),
        What::Cqe(cqe) => cqe.cqe.to_string(),
        What::Received(received) => {
            format!("received {}", received.runs.iter().map(run_words).collect::<Vec<_>>().join(", "))
        }
        What::Acked { len_bytes, .. } => format!("acked {len_bytes}"),
        What::SentAgain(again) => {
            format!("sent again {}", again.runs.iter().map(run_words).collect::<Vec<_>>().join(", "))
        }
        What::PeerEnded { how, .. } => format!("peer ended: {how:?}"),
        What::GaveUp => "gave up".into(),
    }
}

fn run_words(run: &Run) -> String {
    match run {
        Run::Stamped { region: RegionId(r), generation: Generation(g), offset, len_bytes } => {
            format!("R{r}.{g} {offset}..{}", offset + len_bytes)
        }
        Run::Bytes(bytes) => format!("{} bytes", bytes.0.len()),
    }
}

/// All completions.
pub(crate) fn cqes(trace: &Trace) -> Vec<Cqe> {
    trace.seen.iter().filter_map(|s| if let What::Cqe(c) = &s.what { Some(c.cqe) } else { None }).collect()
}

/// All completions with this user data, read.
pub(crate) fn of(trace: &Trace, user_data: u64) -> Vec<Completion> {
    let read = |cqe: Cqe| cqe.completion().expect("sends and nops post nothing else");
    cqes(trace).into_iter().filter(|cqe| cqe.user_data == user_data).map(read).collect()
}

/// Bytes that the peer received.
pub(crate) fn received_bytes(trace: &Trace) -> u64 {
    let runs = trace.seen.iter().flat_map(|seen| match &seen.what {
        What::Received(received) => received.runs.as_slice(),
        _ => &[],
    });
    runs.map(Run::len_bytes).sum()
}
