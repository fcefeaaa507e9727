//! Entries full of nonsense, and known hangs: the worker survives them all and keeps nothing.

use uringspec_model::abi::{op, setup, sqe_flag};
use uringspec_model::memory::{Contents, HexBytes, Protection, Region, RegionId, WINDOW_BASE};
use uringspec_model::program::{
    Amount, Iovec, Lane, Program, Register, RingId, RingSetup, SocketId, SocketKind, SocketState, Step,
    Until, Want,
};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{Ending, What};
use uringspec_real::{Options, RunError, Worker};

use crate::build::*;
use crate::clean::Holdings;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("a_ring_that_hangs_is_closed_all_the_same", a_ring_that_hangs_is_closed_all_the_same),
    ("nonsense_ends_no_worker", nonsense_ends_no_worker),
    ("many_entries_go_through_small_rings", many_entries_go_through_small_rings),
];

const PROGRAMS: u64 = 3000;

/// On kernels since 6.16 a zero-copy send behind a drain completes nothing, ever.
fn a_ring_that_hangs_is_closed_all_the_same() {
    let mut worker = Worker::new(Options { step_patience_ms: 20, ..options() });
    let drained = Sqe { flags: sqe_flag::DRAIN, ..send_zc(1, at(0), 100) };
    let program = program(
        SocketKind::Tcp4,
        Lane::Loopback,
        vec![submit([drained]), settled(), Step::Fence { ring: RING }, Step::Settle],
    );
    let plain = {
        let mut p = program.clone();
        p.steps.truncate(0);
        p
    };
    if run_on(&mut worker, &plain).is_none() {
        return;
    }
    let pid = worker.pid().expect("the worker has answered");
    let before = Holdings::of(pid);
    for _ in 0..5 {
        let Some(trace) = run_on(&mut worker, &program) else { return };
        let hung = trace.seen.iter().filter(|seen| seen.what == What::GaveUp).count();
        assert!([0, 3].contains(&hung), "{:?}", lines(&trace));
    }
    before.come_back(pid);
}

/// A xorshift generator: the same programs every time.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    fn sqe(&mut self) -> Sqe {
        let opcodes = [op::NOP, op::SEND, op::SENDMSG, op::SEND_ZC, op::SENDMSG_ZC, 200, 255];
        let addrs = [at(0), at(0) + 4095, at(1), at(1) + 56, at(2), at(3), at(9), 0, 1 << 47, u64::MAX];
        let mut sqe = Sqe {
            opcode: self.of(&opcodes),
            fd: self.of(&[600, 600, 602, 604, 601, 605, -1, 999]),
            addr: self.of(&addrs),
            len: self.of(&[0, 1, 2, 5000, 70_000, u32::MAX, 1 << 31]),
            user_data: self.below(6),
            ..Sqe::default()
        };
        let mut bytes = sqe.to_bytes();
        for _ in 0..self.below(3) {
            // The flags, and everything behind the length: pointers and descriptors stay what they are.
            let bit = self.of(&[8, 16, 224, 224, 320, 384]) + self.below(64) / self.of(&[1, 8]);
            bytes[(bit / 8) as usize % 64] ^= 1 << (bit % 8);
        }
        let flipped = Sqe::from_bytes(&bytes);
        sqe = Sqe {
            opcode: sqe.opcode,
            fd: sqe.fd,
            addr: sqe.addr,
            off: 0,
            user_data: sqe.user_data,
            ..flipped
        };
        if self.below(8) == 0 {
            sqe.off = self.of(&addrs);
            sqe.file_index = self.of(&[16, 28, 128, 129, 0x1_0000]);
        }
        sqe
    }

    fn step(&mut self) -> Step {
        let (ring, socket) = (RingId(self.below(2) as u8), SocketId(self.below(4) as u16));
        match self.below(16) {
            0..=5 => Step::Submit { ring, sqes: (0..self.below(6)).map(|_| self.sqe()).collect() },
            6 => Step::Reap { ring, until: Until::Now },
            7 => Step::Reap {
                ring,
                until: Until::Seen(vec![Want {
                    user_data: self.below(6),
                    count: 1,
                    last: self.below(2) == 0,
                }]),
            },
            8 => Step::Fence { ring },
            9 => Step::Drain { socket, amount: Amount::Everything },
            10 => Step::Drain { socket, amount: Amount::Bytes(self.of(&[0, 1, 100, 9000])) },
            11 => Step::ResetPeer { socket },
            12 if self.below(2) == 0 => Step::CloseOwn { socket },
            12 => Step::ShutdownOwn { socket },
            13 => Step::Rewrite { region: RegionId(0) },
            14 => Step::Settle,
            _ => {
                let addr = self.of(&[at(0), at(1), at(2), at(9), 0, u64::MAX]);
                let len_bytes = self.of(&[0, 1, 4096, 1 << 20, 1 << 40, u64::MAX]);
                let what = self.of(&[true, true, false]);
                let buffers = Register::Buffers(vec![Iovec { addr, len_bytes }]);
                Step::Register { ring, what: if what { buffers } else { Register::UnregisterBuffers } }
            }
        }
    }

    fn program(&mut self) -> Program {
        let mut words = Vec::new();
        for word in [0, 0, at(1) + 56, self.below(4), 0, 0, 0, at(0), 3, at(0) + 4000, 2000, at(9), 5] {
            words.extend(word.to_le_bytes());
        }
        let flags =
            [0, 0, setup::SUBMIT_ALL, setup::COOP_TASKRUN, setup::SINGLE_ISSUER | setup::DEFER_TASKRUN];
        let kinds = [SocketKind::Tcp4, SocketKind::Tcp6, SocketKind::UnixStream, SocketKind::Udp4];
        let kind = self.of(&kinds);
        let lane = match kind {
            SocketKind::Tcp4 | SocketKind::Tcp6 => self.of(&[Lane::Loopback, Lane::Gate, Lane::GateFull]),
            _ => Lane::Loopback,
        };
        let mut sockets = vec![socket(kind, lane), socket(SocketKind::NotASocket, Lane::Loopback)];
        sockets.push(socket(self.of(&kinds), Lane::Loopback));
        sockets.push(socket(self.of(&kinds), Lane::Loopback));
        sockets[2].state = SocketState::Unconnected;
        Program {
            rings: (0..2)
                .map(|_| RingSetup {
                    entries: 1 + self.below(8) as u32,
                    cq_entries: None,
                    flags: self.of(&flags),
                })
                .collect(),
            sockets,
            regions: vec![
                region(0, 20_000),
                Region { contents: Contents::Bytes(HexBytes(words)), ..region(1, 4096) },
                Region { protection: Protection::ReadOnly, ..region(2, 4096) },
                Region { protection: Protection::None, addr: WINDOW_BASE + (3 << 24), ..region(3, 4096) },
            ],
            steps: (0..1 + self.below(8)).map(|_| self.step()).collect(),
            ..Program::default()
        }
    }
}

fn nonsense_ends_no_worker() {
    let seed = std::env::var("CHAOS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let programs =
        std::env::var("CHAOS_PROGRAMS").ok().and_then(|text| text.parse().ok()).unwrap_or(PROGRAMS);
    let mut random = Random(seed);
    let mut worker = Worker::new(Options { step_patience_ms: 3, ..options() });
    for kind in [SocketKind::Tcp4, SocketKind::Tcp6] {
        for lane in [Lane::Gate, Lane::Loopback] {
            if run_on(&mut worker, &program(kind, lane, Vec::new())).is_none() {
                return;
            }
        }
    }
    let pid = worker.pid().expect("the worker has answered");
    let before = Holdings::of(pid);
    let (mut run, mut skipped) = (0, 0);
    for _ in 0..programs {
        let program = random.program();
        match worker.run(&program) {
            Ok(trace) => {
                assert_eq!(trace.end, Ending::Complete, "{program:?}");
                run += 1;
            }
            Err(RunError::Skip(_)) => skipped += 1,
            Err(error) => panic!("{error}: {program:?}"),
        }
        assert_eq!(worker.pid(), Some(pid), "the worker was replaced");
    }
    before.come_back(pid);
    eprintln!("{run} run, {skipped} skipped");
}

fn many_entries_go_through_small_rings() {
    let mut program = program(SocketKind::UnixStream, Lane::Loopback, Vec::new());
    program.rings[0] = RingSetup { entries: 16, cq_entries: Some(16), flags: 0 };
    for batch in 0..2000 {
        let sqes: Vec<Sqe> = (0..16).map(|i| Sqe { user_data: batch * 16 + i, ..Sqe::default() }).collect();
        program.steps.push(submit(sqes));
        if batch % 100 == 99 {
            program.steps.push(settled());
        }
    }
    let Some(trace) = run(&program) else { return };
    assert!(cqes(&trace).iter().map(|cqe| cqe.user_data).eq(0..32_000));
}
