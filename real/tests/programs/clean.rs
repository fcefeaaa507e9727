//! Ten thousand programs on one worker leave nothing behind: no descriptor, mapping, thread or socket.

use std::fs;
use std::time::{Duration, Instant};

use uringspec_model::abi::{send_flag, setup};
use uringspec_model::program::{Amount, Iovec, Lane, Program, Register, RingSetup, SocketKind, Step};
use uringspec_model::sqe::Sqe;

use crate::build::*;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("ten_thousand_programs_leave_nothing", ten_thousand_programs_leave_nothing),
    ("unprivileged_programs_get_their_memory_back", unprivileged_programs_get_their_memory_back),
];

const PROGRAMS: usize = 10_000;

/// What a process holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    descriptors: usize,
    mappings: usize,
    threads: usize,
    /// Of all families in its network namespace, in any state.
    sockets: usize,
}

impl Holdings {
    pub(crate) fn of(pid: u32) -> Holdings {
        let entries = |folder: &str| fs::read_dir(format!("/proc/{pid}/{folder}")).map_or(0, Iterator::count);
        let lines = |file: &str| {
            fs::read_to_string(format!("/proc/{pid}/{file}")).map_or(0, |text| text.lines().count())
        };
        let tables = ["net/tcp", "net/tcp6", "net/udp", "net/udp6", "net/unix"];
        Holdings {
            descriptors: entries("fd"),
            mappings: lines("maps"),
            threads: entries("task"),
            sockets: tables.map(lines).iter().sum(),
        }
    }

    /// Rings and sockets end a little later than they are closed.
    #[track_caller]
    pub(crate) fn come_back(&self, pid: u32) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let now = Holdings::of(pid);
            if now == *self {
                return;
            }
            assert!(Instant::now() < deadline, "{now:?} remains of {self:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Every kind, lane and way to leave things unfinished.
fn mix() -> Vec<Program> {
    let zc = [send_zc(1, at(0), 20_000), send(2, at(0) + 5, 100)];
    let buffers = || Register::Buffers(vec![Iovec { addr: at(0), len_bytes: 65536 }]);
    let fixed = Sqe { ioprio: send_flag::FIXED_BUF, ..send_zc(3, at(0), 5000) };
    let mut programs = vec![
        program(SocketKind::Tcp4, Lane::Loopback, vec![submit(zc), settled(), drain()]),
        // Unread bytes, an unseen completion, a held notification.
        program(SocketKind::Tcp6, Lane::Loopback, vec![submit(zc)]),
        program(SocketKind::Tcp4, Lane::Gate, vec![submit(zc), now()]),
        // A request that waits for room when all ends, and one whose descriptor is closed.
        program(SocketKind::Tcp4, Lane::GateFull, vec![submit(zc), now()]),
        program(SocketKind::Tcp6, Lane::GateFull, vec![submit(zc), Step::CloseOwn { socket: A }]),
        program(SocketKind::Tcp4, Lane::Gate, vec![submit(zc), Step::ResetPeer { socket: A }, settled()]),
        program(SocketKind::Tcp4, Lane::Loopback, vec![submit(zc), Step::CloseOwn { socket: A }, drain()]),
        program(SocketKind::Tcp4, Lane::Loopback, vec![Step::ShutdownOwn { socket: A }, submit(zc)]),
        program(SocketKind::Udp4, Lane::Loopback, vec![submit(zc), Step::Settle]),
        program(SocketKind::Udp6, Lane::Loopback, vec![submit(zc)]),
        program(SocketKind::UnixStream, Lane::Loopback, vec![submit(zc), settled()]),
        program(SocketKind::NotASocket, Lane::Loopback, vec![submit(zc), settled()]),
        program(
            SocketKind::Tcp4,
            Lane::Gate,
            vec![
                Step::Register { ring: RING, what: buffers() },
                submit([fixed]),
                Step::Drain { socket: A, amount: Amount::Bytes(100) },
            ],
        ),
    ];
    for (index, program) in programs.iter_mut().enumerate() {
        program.regions[0].len_bytes = 65536;
        if index % 2 == 1 {
            let flags = setup::SINGLE_ISSUER | setup::DEFER_TASKRUN;
            program.rings.push(RingSetup { entries: 4, cq_entries: Some(16), flags });
        }
    }
    programs
}

fn ten_thousand_programs_leave_nothing() {
    let programs = mix();
    let mut worker = worker();
    for program in &programs {
        if run_on(&mut worker, program).is_none() {
            return;
        }
    }
    let pid = worker.pid().expect("the worker has answered");
    std::thread::sleep(Duration::from_millis(50));
    let before = Holdings::of(pid);
    let start = Instant::now();
    for program in programs.iter().cycle().take(PROGRAMS) {
        run_on(&mut worker, program);
    }
    eprintln!("{PROGRAMS} programs in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(worker.pid(), Some(pid), "the worker was replaced");
    before.come_back(pid);
}

fn unprivileged_programs_get_their_memory_back() {
    let mut worker = worker();
    let mut program = mix().remove(2);
    program.limits.unprivileged = true;
    program.limits.memlock_bytes = Some(256 << 10);
    for _ in 0..300 {
        let Some(trace) = run_on(&mut worker, &program) else { return };
        assert_eq!(of(&trace, 1).len(), 1, "{:?}", lines(&trace));
    }
}
