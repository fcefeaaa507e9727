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
        ("unknown", program(Unknown, vec![submit([reporting(zc(1, 0, 2))]), reap(), drain()])),
        (
            "unknown reset",
            program(Unknown, vec![submit([reporting(zc(1, 0, 2))]), reap_now(), reset.clone(), reap()]),
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
    all.extend(more());
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

fn on(kind: SocketKind, mut program: Program) -> Program {
    program.sockets[0].kind = kind;
    program
}

fn asynchronous(sqe: Sqe) -> Sqe {
    Sqe { flags: sqe.flags | sqe_flag::ASYNC, ..sqe }
}

/// The program on a ring whose queue has room for one completion.
pub(crate) fn small_queue(steps: Vec<Step>) -> Program {
    let mut program = program(Lane::Loopback, steps);
    program.rings[0] = RingSetup { entries: 1, cq_entries: Some(1), flags: 0 };
    program
}

fn peek() -> Step {
    Step::Peek { ring: RingId(0) }
}

/// The program as a user who may lock so many pages, of which the ring takes two.
pub(crate) fn limited(pages: u64, mut program: Program) -> Program {
    program.limits = Limits { memlock_bytes: Some(pages * 4096), unprivileged: true };
    program
}

/// The first bytes of a region.
pub(crate) fn few(region: u64) -> Iovec {
    Iovec { addr: WINDOW_BASE + region * STRIDE, len_bytes: 2 }
}

fn silent(sqe: Sqe) -> Sqe {
    Sqe { flags: sqe.flags | sqe_flag::CQE_SKIP_SUCCESS, ..sqe }
}

fn poll_first(sqe: Sqe) -> Sqe {
    Sqe { ioprio: sqe.ioprio | send_flag::POLL_FIRST, ..sqe }
}

/// An `ASYNC_CANCEL` by user data.
pub(crate) fn cancel(user_data: u64, target: u64) -> Sqe {
    Sqe { opcode: op::ASYNC_CANCEL, addr: target, user_data, ..Sqe::default() }
}

/// Tiny programs over the other operations and sockets.
fn more() -> Vec<(&'static str, Program)> {
    use Lane::*;
    use SocketKind::*;
    let fence = || Step::Fence { ring: RingId(0) };
    let files = Step::Register { ring: RingId(0), what: Register::Files(vec![Some(0), None]) };
    let by_index = |sqe: Sqe, index| Sqe { fd: index, flags: sqe.flags | sqe_flag::FIXED_FILE, ..sqe };
    vec![
        ("write", program(Loopback, vec![submit([send(op::WRITE, 1, 0, 3)]), reap(), drain()])),
        ("unix", on(UnixStream, program(Loopback, vec![submit([send(op::SEND, 1, 0, 3)]), reap(), drain()]))),
        ("unix zc", on(UnixStream, program(Loopback, vec![submit([reporting(zc(1, 0, 3))]), reap()]))),
        (
            "udp",
            on(
                Udp4,
                program(
                    Loopback,
                    vec![submit([send(op::SEND, 1, 0, 3), send(op::SEND, 2, 1, 0)]), reap(), drain()],
                ),
            ),
        ),
        ("udp zc", on(Udp6, program(Loopback, vec![submit([reporting(zc(1, 0, 3))]), reap(), drain()]))),
        ("async", program(Loopback, vec![submit([asynchronous(reporting(zc(1, 0, 2)))]), reap(), drain()])),
        (
            "async beside",
            program(
                Loopback,
                vec![
                    submit([asynchronous(send(op::SEND, 1, 0, 2)), send(op::SEND, 2, 1, 1)]),
                    drain(),
                    reap(),
                ],
            ),
        ),
        (
            "async pair",
            program(
                Loopback,
                vec![
                    submit([asynchronous(send(op::SEND, 1, 0, 1)), send(op::SEND, 2, 1, 1)]),
                    reap(),
                    drain(),
                ],
            ),
        ),
        (
            "poll first",
            program(
                Loopback,
                vec![submit([poll_first(send(op::SEND, 1, 0, 1)), send(op::SEND, 2, 1, 1)]), reap(), drain()],
            ),
        ),
        (
            "silent",
            program(
                Loopback,
                vec![submit([linked(silent(send(op::SEND, 1, 0, 1))), nop(2)]), reap(), fence(), drain()],
            ),
        ),
        (
            "silent failure",
            program(
                Loopback,
                vec![
                    submit([
                        linked(silent(Sqe { fd: -1, ..send(op::SEND, 1, 0, 1) })),
                        linked(zc(2, 0, 1)),
                        nop(3),
                    ]),
                    reap_now(),
                    fence(),
                ],
            ),
        ),
        (
            "overflow",
            small_queue(vec![
                submit([nop(1)]),
                submit([nop(2)]),
                peek(),
                submit([nop(3)]),
                peek(),
                reap_now(),
                peek(),
                fence(),
            ]),
        ),
        (
            "overflow zc",
            small_queue(vec![submit([zc(1, 0, 2)]), peek(), submit([nop(2)]), reap(), drain(), peek()]),
        ),
        (
            "memlock",
            limited(
                4,
                program(
                    Gate,
                    vec![
                        submit([reporting(zc(1, 0, 2))]),
                        submit([reporting(zc(2, 1, 1))]),
                        reap_now(),
                        Step::ResetPeer { socket: SocketId(0) },
                        reap(),
                    ],
                ),
            ),
        ),
        (
            "memlock chain",
            limited(
                4,
                program(
                    Loopback,
                    vec![submit([linked(zc(1, 0, 2)), nop(2), zc(3, 0, 1), nop(4)]), reap_now(), fence()],
                ),
            ),
        ),
        (
            "memlock table",
            limited(
                3,
                program(
                    Loopback,
                    vec![
                        Step::Register { ring: RingId(0), what: Register::Buffers(vec![few(0), few(1)]) },
                        Step::Register { ring: RingId(0), what: Register::Buffers(vec![few(0)]) },
                        submit([zc(1, 0, 1)]),
                        reap(),
                    ],
                ),
            ),
        ),
        ("peek", program(Loopback, vec![submit([nop(1), asynchronous(nop(2))]), peek(), reap()])),
        ("cancel waiting", program(GateFull, vec![submit([reporting(zc(1, 0, 2)), cancel(2, 1)]), reap()])),
        ("cancel done", program(Gate, vec![submit([zc(1, 0, 2), cancel(2, 1)]), reap_now(), fence()])),
        ("cancel nothing", program(Loopback, vec![submit([cancel(1, 7)]), reap()])),
        (
            "cancel tail",
            program(
                GateFull,
                vec![
                    submit([linked(send(op::SEND, 1, 0, 1)), send(op::SEND, 2, 1, 1)]),
                    submit([cancel(3, 2), cancel(4, 1)]),
                    reap(),
                ],
            ),
        ),
        (
            "cancel async",
            program(
                Loopback,
                vec![submit([asynchronous(send(op::SEND, 1, 0, 1)), cancel(2, 1)]), reap(), drain()],
            ),
        ),
        (
            "fixed file",
            program(
                Loopback,
                vec![
                    files,
                    submit([by_index(send(op::SEND, 1, 0, 1), 0), by_index(send(op::SEND, 2, 0, 1), 1)]),
                    reap(),
                    drain(),
                ],
            ),
        ),
        (
            "shut down",
            program(
                Loopback,
                vec![
                    submit([send(op::SEND, 1, 0, 1)]),
                    Step::ShutdownOwn { socket: SocketId(0) },
                    submit([reporting(zc(2, 0, 1))]),
                    reap(),
                    drain(),
                ],
            ),
        ),
        (
            "close waiting",
            program(
                GateFull,
                vec![
                    submit([zc(1, 0, 2)]),
                    Step::CloseOwn { socket: SocketId(0) },
                    submit([send(op::SEND, 2, 0, 1)]),
                    reap_now(),
                ],
            ),
        ),
        (
            "shut waiting",
            program(GateFull, vec![submit([zc(1, 0, 2)]), Step::ShutdownOwn { socket: SocketId(0) }, reap()]),
        ),
        (
            "corked",
            program(
                Loopback,
                vec![
                    submit([Sqe { op_flags: msg::MORE, ..send(op::SEND, 1, 0, 1) }, send(op::SEND, 2, 1, 1)]),
                    reap(),
                    drain(),
                ],
            ),
        ),
    ]
}
