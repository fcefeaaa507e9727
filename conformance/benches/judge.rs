//! What judging costs: processor time of `simulate` and `check` on a mix that is always the same, half of
//! it zero copy, with links, messages of several pieces, and queues of completions that overflow.
//!
//! `cargo bench --bench judge`. What is measured is the time that this thread ran, so other work on the
//! machine shows little. The README has the table, and what it was to be.

use std::fs;
use std::hint::black_box;

use uringspec_model::abi::{op, send_flag, sqe_flag};
use uringspec_model::check::check;
use uringspec_model::choices::Seeded;
use uringspec_model::memory::{Contents, HexBytes, Protection, Region, WINDOW_BASE};
use uringspec_model::profile::Profile;
use uringspec_model::program::{
    Amount, End, Lane, Program, RingId, RingSetup, SocketId, SocketKind, SocketSetup, SocketState, Step,
    Until, fd_of,
};
use uringspec_model::simulate::simulate;
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Trace, What};
use uringspec_real::{Options, Worker, WorkerCommand};

/// Requests of a round.
const ROUND: u64 = 8;
/// Where message headers lie: behind the region that is sent.
const HEADERS: u64 = WINDOW_BASE + (1 << 24);
/// Bytes between two regions of iovecs and headers; each message has its own.
const HEADER_BYTES: u64 = 56 + 2 * 16;
/// How long a sample is at least: reading the clock takes as long as a small program does, so several share one
/// reading.
const SAMPLE_NS: u64 = 10_000_000;
/// How long each figure is measured, and how often at least; the least sample counts, since what else runs only adds.
const FIGURE_NS: u64 = 1_000_000_000;
const SAMPLES: u64 = 5;
/// Requests of a program for the kernel: more is more memory than a worker's window takes in one go.
const LIVE_REQUESTS: u64 = 8_000;

/// What one size of program costs.
struct Cost {
    completions: u64,
    simulated_ns: u64,
    checked_ns: u64,
}

fn main() {
    let profile = Profile::v6_18();
    let mut costs = Vec::new();
    println!("{:>10} {:>12} {:>14} {:>14} {:>12}", "requests", "completions", "simulate", "check", "peak");
    for requests in sizes() {
        let program = mix(requests / ROUND);
        let simulated = each(|| drop(black_box(simulate(&program, &profile, &mut Seeded::new(1)))));
        let trace = simulate(&program, &profile, &mut Seeded::new(1));
        let checked = each(|| {
            let verdict = check(&program, &profile, &trace);
            assert!(verdict.is_accepted(), "{verdict:?}");
        });
        let completions = completions(&trace);
        let cost =
            Cost { completions, simulated_ns: simulated / completions, checked_ns: checked / completions };
        println!(
            "{requests:>10} {completions:>12} {:>11} ns {:>11} ns {:>9} MB",
            cost.simulated_ns,
            cost.checked_ns,
            peak_bytes() >> 20
        );
        if requests == ROUND {
            let programs = 1_000_000_000 / simulated.max(1);
            say(
                "programs of 8 requests a second, simulated",
                programs,
                programs >= 100_000,
                "100000 or more",
            );
        }
        costs.push(cost);
    }
    goals(&costs);
    live(&profile);
}

/// What was to be reached, and whether it was.
fn goals(costs: &[Cost]) {
    let most = |of: fn(&Cost) -> u64| costs.iter().map(of).max().unwrap_or(0);
    for (what, ns) in [("simulate", most(|c| c.simulated_ns)), ("check", most(|c| c.checked_ns))] {
        say(&format!("{what}, ns a completion, at most"), ns, ns <= 1000, "1000 or less");
    }
    let megabytes = peak_bytes() >> 20;
    say("most memory of the process, MB", megabytes, megabytes < 256, "below 256");
    // the smallest programs pay for their beginning
    let grown = costs.iter().filter(|cost| cost.completions >= 1000);
    if let [first, .., last] = &grown.collect::<Vec<_>>()[..] {
        let percent = 100 * last.checked_ns / first.checked_ns.max(1);
        let what = format!("check, {} completions beside {}, percent", last.completions, first.completions);
        say(&what, percent, percent <= 150, "150 or less");
    }
}

fn say(what: &str, figure: u64, met: bool, goal: &str) {
    println!("{what}: {figure}, goal {goal}: {}", if met { "met" } else { "NOT met" });
}

/// Requests of the programs: as the command line says, or up to a million completions.
fn sizes() -> Vec<u64> {
    let named: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    if named.is_empty() { vec![8, 800, 8_000, 80_000, 672_000] } else { named }
}

/// What the same costs on the kernel.
fn live(profile: &Profile) {
    let worker =
        WorkerCommand { program: env!("CARGO_BIN_EXE_uringspec").into(), args: vec!["worker".into()] };
    let mut worker = Worker::new(Options::new(worker));
    let program = mix(LIVE_REQUESTS / ROUND);
    let trace = match worker.run(&program) {
        Ok(trace) => trace,
        Err(why) => return println!("on the kernel: {why}"),
    };
    let verdict = check(&program, profile, &trace);
    let before = ran_ns(&pid_of(&worker));
    const TIMES: u64 = 10;
    for _ in 0..TIMES {
        _ = worker.run(&program);
    }
    let ran = (ran_ns(&pid_of(&worker)) - before) / TIMES / completions(&trace);
    println!("on the kernel: {ran} ns a completion in the worker, {}", verdict.word());
}

fn pid_of(worker: &Worker) -> String {
    worker.pid().map_or_else(String::new, |pid| format!("{pid}/task/{pid}"))
}

/// The processor time of one call, in nanoseconds.
fn each(mut call: impl FnMut()) -> u64 {
    let mut times = 1;
    let mut least = sample(times, &mut call);
    while least * times < SAMPLE_NS {
        times *= 2;
        least = sample(times, &mut call);
    }
    let samples = SAMPLES.max(FIGURE_NS / (least * times));
    (0..samples).map(|_| sample(times, &mut call)).fold(least, u64::min)
}

/// What one of so many calls takes.
fn sample(times: u64, call: &mut impl FnMut()) -> u64 {
    let before = ran_ns("thread-self");
    (0..times).for_each(|_| call());
    (ran_ns("thread-self") - before) / times
}

/// How long a thread has run, in nanoseconds.
fn ran_ns(thread: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{thread}/schedstat")).expect("Linux has it");
    text.split_whitespace().next().and_then(|ns| ns.parse().ok()).expect("it begins with a number")
}

/// The most memory that this process has had, in bytes.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it says so");
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).expect("a number") << 10
}

fn completions(trace: &Trace) -> u64 {
    trace.seen.iter().filter(|seen| matches!(seen.what, What::Cqe(_))).count() as u64
}

/// So many rounds on a ring with room, and on one whose queue of completions overflows, in turn.
fn mix(rounds: u64) -> Program {
    let socket = SocketId(0);
    let mut steps = Vec::new();
    for round in 0..rounds {
        let ring = RingId((round % 2) as u8);
        steps.push(Step::Submit { ring, sqes: (0..ROUND).map(|n| entry(n, round * ROUND + n)).collect() });
        steps.push(Step::Reap { ring, until: Until::Settled });
        steps.push(Step::Drain { socket, amount: Amount::Everything });
    }
    let region = |name: &str, addr, len_bytes, contents| Region {
        name: name.into(),
        addr,
        len_bytes,
        protection: Protection::ReadWrite,
        contents,
    };
    let headers: Vec<u8> = (0..ROUND).flat_map(header).collect();
    Program {
        rings: vec![
            RingSetup { entries: 16, ..RingSetup::default() },
            RingSetup { entries: 8, cq_entries: Some(8), ..RingSetup::default() },
        ],
        sockets: vec![SocketSetup {
            kind: SocketKind::Tcp4,
            lane: Lane::Loopback,
            state: SocketState::Connected,
            sndbuf_bytes: None,
            rcvbuf_bytes: None,
        }],
        regions: vec![
            region("K", WINDOW_BASE, 1 << 16, Contents::Stamped),
            region("headers", HEADERS, headers.len() as u64, Contents::Bytes(HexBytes(headers))),
        ],
        steps,
        ..Program::default()
    }
}

/// Entry `n` of a round.
fn entry(n: u64, user_data: u64) -> Sqe {
    let sends = Sqe { fd: fd_of(SocketId(0), End::Near), user_data, ..Sqe::default() };
    let plain = Sqe { addr: WINDOW_BASE + 5000 * n, len: 700, ..sends };
    let message = Sqe { addr: HEADERS + n * HEADER_BYTES, len: 1, ..sends };
    let (linked, reports) = (sqe_flag::LINK, send_flag::REPORT_USAGE);
    match n {
        0 => Sqe { opcode: op::SEND_ZC, flags: linked, ioprio: reports, ..plain },
        1 => Sqe { opcode: op::SENDMSG_ZC, ..message },
        3 => Sqe { opcode: op::SENDMSG, flags: linked, ..message },
        4 => Sqe { opcode: op::SEND_ZC, ..plain },
        5 => Sqe { opcode: op::NOP, user_data, ..Sqe::default() },
        6 => Sqe { opcode: op::SENDMSG_ZC, ioprio: reports, ..message },
        _ => Sqe { opcode: op::SEND, ..plain },
    }
}

/// The message header of entry `n`, and its two iovecs.
fn header(n: u64) -> Vec<u8> {
    let iovecs = HEADERS + n * HEADER_BYTES + 56;
    let pieces = [WINDOW_BASE + 100 * n, 24, WINDOW_BASE + 4096 + 100 * n, 900];
    [0, 0, iovecs, 2, 0, 0, 0].iter().chain(&pieces).flat_map(|word| word.to_le_bytes()).collect()
}
