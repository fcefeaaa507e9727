#![allow(dead_code, reason = "each test file uses some of these")]
//! Small programs for the tests of the model.

use uringspec_model::abi::{msg, op, send_flag, setup, sqe_flag};
use uringspec_model::memory::{Contents, HexBytes, Region, RegionId, WINDOW_BASE};
use uringspec_model::program::*;
use uringspec_model::sqe::Sqe;

/// Bytes between the starts of two regions.
const STRIDE: u64 = 1 << 20;

/// A program with one ring, one socket and two stamped regions of 4096 bytes, K and P.
pub(crate) fn program(lane: Lane, steps: Vec<Step>) -> Program {
    let region = |name: &str, i: u64| Region {
        name: name.into(),
        addr: WINDOW_BASE + i * STRIDE,
        len_bytes: 4096,
        protection: Default::default(),
        contents: Contents::Stamped,
    };
    Program {
        rings: vec![RingSetup { entries: 8, ..RingSetup::default() }],
        sockets: vec![SocketSetup {
            kind: SocketKind::Tcp4,
            lane,
            state: SocketState::Connected,
            sndbuf_bytes: None,
            rcvbuf_bytes: None,
        }],
        regions: vec![region("K", 0), region("P", 1)],
        steps,
        ..Program::default()
    }
}

/// The same program on a ring that defers its work.
pub(crate) fn deferring(mut program: Program) -> Program {
    for ring in &mut program.rings {
        ring.flags |= setup::SINGLE_ISSUER | setup::DEFER_TASKRUN;
    }
    program
}

/// A send of the first `len` bytes of region `region`.
pub(crate) fn send(opcode: u8, user_data: u64, region: u64, len: u32) -> Sqe {
    let addr = WINDOW_BASE + region * STRIDE;
    Sqe { opcode, fd: FD_BASE, addr, len, user_data, ..Sqe::default() }
}

pub(crate) fn nop(user_data: u64) -> Sqe {
    Sqe { opcode: op::NOP, user_data, ..Sqe::default() }
}

pub(crate) fn zc(user_data: u64, region: u64, len: u32) -> Sqe {
    send(op::SEND_ZC, user_data, region, len)
}

pub(crate) fn reporting(sqe: Sqe) -> Sqe {
    Sqe { ioprio: sqe.ioprio | send_flag::REPORT_USAGE, ..sqe }
}

pub(crate) fn linked(sqe: Sqe) -> Sqe {
    Sqe { flags: sqe.flags | sqe_flag::LINK, ..sqe }
}

pub(crate) fn wait_all(sqe: Sqe) -> Sqe {
    Sqe { op_flags: sqe.op_flags | msg::WAITALL, ..sqe }
}

pub(crate) fn dont_wait(sqe: Sqe) -> Sqe {
    Sqe { op_flags: sqe.op_flags | msg::DONTWAIT, ..sqe }
}

pub(crate) fn submit(sqes: impl Into<Vec<Sqe>>) -> Step {
    Step::Submit { ring: RingId(0), sqes: sqes.into() }
}

pub(crate) fn reap() -> Step {
    Step::Reap { ring: RingId(0), until: Until::Settled }
}

pub(crate) fn reap_now() -> Step {
    Step::Reap { ring: RingId(0), until: Until::Now }
}

pub(crate) fn drain() -> Step {
    Step::Drain { socket: SocketId(0), amount: Amount::Everything }
}

pub(crate) fn rewrite(region: u16) -> Step {
    Step::Rewrite { region: RegionId(region) }
}

/// A `SENDMSG_ZC` or `SENDMSG` of `ranges`; its header goes to a region of its own.
pub(crate) fn message(program: &mut Program, opcode: u8, user_data: u64, ranges: &[(u64, u64)]) -> Sqe {
    let addr = WINDOW_BASE + program.regions.len() as u64 * STRIDE;
    let mut bytes = vec![0; 56];
    bytes[16..24].copy_from_slice(&(addr + 56).to_le_bytes());
    bytes[24..32].copy_from_slice(&(ranges.len() as u64).to_le_bytes());
    for (base, len) in ranges {
        bytes.extend(base.to_le_bytes());
        bytes.extend(len.to_le_bytes());
    }
    program.regions.push(Region {
        name: format!("message {user_data}"),
        addr,
        len_bytes: bytes.len() as u64,
        protection: Default::default(),
        contents: Contents::Bytes(HexBytes(bytes)),
    });
    Sqe { opcode, fd: FD_BASE, addr, user_data, ..Sqe::default() }
}

/// Programs with lengths up to three bytes, for the laws.
pub(crate) fn tiny() -> Vec<(&'static str, Program)> {
    use Lane::*;
    let reset = Step::ResetPeer { socket: SocketId(0) };
    let mut all = vec![
        ("nop", program(Loopback, vec![submit([nop(1)]), reap()])),
        ("send", program(Loopback, vec![submit([send(op::SEND, 1, 0, 3)]), reap(), drain()])),
        ("zc", program(Loopback, vec![submit([reporting(zc(1, 0, 2))]), reap(), drain()])),
        ("zero", program(Loopback, vec![submit([reporting(zc(1, 0, 0))]), reap(), drain()])),
        ("two", program(Loopback, vec![submit([zc(1, 0, 2), send(op::SEND, 2, 1, 1)]), reap(), drain()])),
        (
            "gate",
            program(Gate, vec![submit([reporting(zc(1, 0, 2))]), reap_now(), rewrite(0), drain(), reap()]),
        ),
        ("gate reset", program(Gate, vec![submit([reporting(zc(1, 0, 2))]), reset.clone(), reap()])),
        (
            "two reset",
            program(
                Gate,
                vec![submit([reporting(zc(1, 0, 2)), reporting(zc(2, 1, 2))]), reset.clone(), reap()],
            ),
        ),
        (
            "full",
            program(GateFull, vec![submit([send(op::SEND, 1, 0, 3)]), reap_now(), drain(), reap(), drain()]),
        ),
        ("full again", program(GateFull, vec![submit([dont_wait(zc(1, 0, 3))]), reap()])),
        (
            "full reset",
            program(GateFull, vec![submit([wait_all(zc(1, 0, 3)), send(op::SEND, 2, 1, 1)]), reset, reap()]),
        ),
        (
            "chain",
            program(
                Loopback,
                vec![submit([linked(send(op::SEND, 1, 0, 1)), linked(zc(2, 1, 2)), nop(3)]), reap(), drain()],
            ),
        ),
        (
            "failed head",
            program(
                Loopback,
                vec![
                    submit([
                        Sqe { fd: -1, ..linked(nop(1)) },
                        Sqe { fd: -1, ..linked(zc(2, 1, 2)) },
                        zc(3, 0, 1),
                    ]),
                    reap(),
                    Step::Fence { ring: RingId(0) },
                ],
            ),
        ),
        (
            "stopped batch",
            program(
                Loopback,
                vec![
                    submit([nop(1), Sqe { opcode: 200, ..nop(2) }, nop(3)]),
                    reap(),
                    submit([nop(4)]),
                    reap(),
                ],
            ),
        ),
        (
            "full chain",
            program(
                GateFull,
                vec![
                    submit([linked(wait_all(send(op::SEND, 1, 0, 2))), send(op::SEND, 2, 1, 2)]),
                    drain(),
                    reap(),
                    drain(),
                    reap(),
                ],
            ),
        ),
    ];
    let deferred: Vec<_> = all.iter().map(|(name, p)| (*name, deferring(p.clone()))).collect();
    all.extend(deferred);
    all
}

/// A trace, a line an observation.
pub(crate) fn show(program: &Program, trace: &uringspec_model::trace::Trace) -> String {
    let lines = trace
        .seen
        .iter()
        .map(|seen| format!("{} {}", seen.step, uringspec_model::words::what(program, &seen.what)));
    lines.collect::<Vec<_>>().join("\n")
}
