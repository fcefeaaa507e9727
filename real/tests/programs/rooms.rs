//! The room that a lane reports is a promise; here it is used up, in the most wasteful ways there are.

use uringspec_model::abi::{msg, op};
use uringspec_model::cqe::{Completion, Res};
use uringspec_model::memory::{Contents, HexBytes, Region};
use uringspec_model::net::REQUEST_OVERHEAD_BYTES;
use uringspec_model::program::{Lane, Program, SocketKind, SocketSetup, Step};
use uringspec_model::sqe::Sqe;
use uringspec_model::trace::{RoomReport, What};
use uringspec_real::Worker;

use crate::build::*;

pub(crate) const TESTS: &[(&str, fn())] = &[
    ("what_has_room_is_accepted_whole", what_has_room_is_accepted_whole),
    ("what_leaves_is_released_unread", what_leaves_is_released_unread),
    ("a_gate_holds_all_but_takes_what_it_says", a_gate_holds_all_but_takes_what_it_says),
];

/// Requests that stay within so much room, in one wasteful manner.
type Manner = fn(u64) -> Vec<Sqe>;

const MANNERS: &[(&str, Manner)] = &[
    ("one large", |room| vec![send_zc(1, at(0) + 1, (room - REQUEST_OVERHEAD_BYTES) as u32)]),
    ("one large copy", |room| vec![send(1, at(0) + 1, (room - REQUEST_OVERHEAD_BYTES) as u32)]),
    ("single bytes", |room| {
        (1..=room / (REQUEST_OVERHEAD_BYTES + 1)).map(|i| send_zc(i, at(0) + 4096 * i, 1)).collect()
    }),
    ("single bytes copied", |room| {
        (1..=room / (REQUEST_OVERHEAD_BYTES + 1)).map(|i| send(i, at(0) + 4096 * i, 1)).collect()
    }),
    ("two bytes on two pages", |room| {
        (1..=room / (REQUEST_OVERHEAD_BYTES + 2)).map(|i| send_zc(i, at(0) + 4096 * i - 1, 2)).collect()
    }),
    ("copies and bytes by turns", |room| {
        let n = room / (REQUEST_OVERHEAD_BYTES + 700);
        let one =
            |i| if i % 2 == 0 { send(i, at(0) + 700 * i, 700) } else { send_zc(i, at(0) + 700 * i, 700) };
        (1..=n).map(one).collect()
    }),
    ("corked", |room| {
        let n = room / (REQUEST_OVERHEAD_BYTES + 5000);
        let cork = |i| if i < n { msg::MORE } else { 0 };
        (1..=n).map(|i| Sqe { op_flags: cork(i), ..send_zc(i, at(0) + 4095 + 5000 * i, 5000) }).collect()
    }),
    ("scattered", |room| {
        (1..=room / (REQUEST_OVERHEAD_BYTES + SCATTERED))
            .map(|i| Sqe { opcode: op::SENDMSG_ZC, ..send(i, at(1), 1) })
            .collect()
    }),
];

/// Iovecs of a scattered message, one byte each, on a page each.
const SCATTERED: u64 = 16;

fn program_of(setup: &SocketSetup, steps: Vec<Step>) -> Program {
    let words = |words: &[u64]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let mut bytes = words(&[0, 0, at(1) + 56, SCATTERED, 0, 0, 0]);
    for i in 0..SCATTERED {
        bytes.extend(words(&[at(0) + 8192 * i, 1]));
    }
    let mut program = program(SocketKind::Tcp4, Lane::Loopback, steps);
    program.rings[0].entries = 4096;
    program.sockets = vec![setup.clone()];
    program.regions =
        vec![region(0, 2 << 20), Region { contents: Contents::Bytes(HexBytes(bytes)), ..region(1, 1 << 16) }];
    program
}

fn room(worker: &mut Worker, setup: &SocketSetup, sqes: Vec<Sqe>) -> Option<RoomReport> {
    let trace = run_on(worker, &program_of(setup, vec![submit(sqes)]))?;
    let report = trace.seen.iter().find_map(|seen| match seen.what {
        What::Room(report) => Some(report),
        _ => None,
    });
    Some(report.expect("a stream socket has a report"))
}

fn once(sqes: Vec<Sqe>) -> Vec<Sqe> {
    sqes.into_iter().map(|sqe| Sqe { op_flags: sqe.op_flags | msg::DONTWAIT, ..sqe }).collect()
}

fn setups(lane: Lane, kinds: &[SocketKind]) -> Vec<SocketSetup> {
    let mut setups = Vec::new();
    for kind in kinds {
        for sndbuf_bytes in [None, Some(1), Some(16384), Some(65536), Some(1 << 20)] {
            for rcvbuf_bytes in [None, Some(1), Some(4096), Some(16384), Some(65536), Some(1 << 20)] {
                setups.push(SocketSetup { sndbuf_bytes, rcvbuf_bytes, ..socket(*kind, lane) });
            }
        }
    }
    setups
}

fn asked_for(sqe: &Sqe) -> u64 {
    if sqe.opcode == op::SENDMSG_ZC { SCATTERED } else { sqe.len.into() }
}

/// Uses up the room that `of_report` names, in every manner; `then` are the steps after submission.
#[track_caller]
fn use_up(
    setup: &SocketSetup,
    worker: &mut Worker,
    of_report: fn(RoomReport) -> u64,
    then: &[Step],
    released: bool,
) {
    for (manner, requests) in MANNERS {
        // How much room there is depends on how many iovecs the program's requests have.
        let Some(report) = room(worker, setup, requests(1 << 16)) else { return };
        let room = of_report(report);
        if room <= REQUEST_OVERHEAD_BYTES + SCATTERED {
            continue;
        }
        let sqes: Vec<Sqe> = requests(room)
            .into_iter()
            .filter(|sqe| sqe.opcode == op::SEND || setup.kind != SocketKind::UnixStream)
            .collect();
        if sqes.is_empty() {
            continue;
        }
        let sqes = once(sqes);
        let mut steps = vec![submit(sqes.clone())];
        steps.extend_from_slice(then);
        let Some(trace) = run_on(worker, &program_of(setup, steps)) else { return };
        for sqe in &sqes {
            let seen = of(&trace, sqe.user_data);
            let whole = Completion::Result { res: Res::Bytes(asked_for(sqe)), more: sqe.is_zero_copy() };
            let told = || {
                format!(
                    "{manner}, {} requests, {report:?} of {setup:?}: #{} {seen:?}",
                    sqes.len(),
                    sqe.user_data
                )
            };
            assert_eq!(seen.first(), Some(&whole), "{}", told());
            assert_eq!(seen.len() == 2, released && sqe.is_zero_copy(), "{}", told());
        }
    }
}

fn what_has_room_is_accepted_whole() {
    let mut worker = worker();
    for setup in setups(Lane::Loopback, &[SocketKind::Tcp4, SocketKind::UnixStream]) {
        let then = [Step::Fence { ring: RING }, drain(), settled()];
        use_up(&setup, &mut worker, |report| report.accepts_bytes, &then, true);
    }
}

fn what_leaves_is_released_unread() {
    let mut worker = worker();
    for setup in setups(Lane::Loopback, &[SocketKind::Tcp4, SocketKind::Tcp6]) {
        let leaves = |report: RoomReport| report.leaves_bytes.min(report.accepts_bytes);
        use_up(&setup, &mut worker, leaves, &[settled()], true);
    }
}

fn a_gate_holds_all_but_takes_what_it_says() {
    let mut worker = worker();
    for setup in setups(Lane::Gate, &[SocketKind::Tcp4, SocketKind::Tcp6]) {
        let then = [Step::Fence { ring: RING }];
        use_up(&setup, &mut worker, |report| report.accepts_bytes, &then, false);
        let then = [drain(), settled()];
        use_up(&setup, &mut worker, |report| report.accepts_bytes, &then, true);
    }
}
